"""The filters that the shipped pipelines use, each with its plugin's own rules; the source of each is named there.

A filter is built once from its settings and then called for each event. What a plugin of Logstash has and the runner
has not is refused by name: better no pipeline than a wrong one.
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

from elastic_sandbox.logstash.event import Event, text_of
from elastic_sandbox.logstash.mutate import Mutate
from elastic_sandbox.logstash.parsing import Date, GrokFilter, Json, KeyValue
from elastic_sandbox.logstash.plugin import Filter, Settings, array


class Drop(Filter):
    """logstash-filter-drop."""

    def __call__(self, event: Event) -> None:  # noqa: D102
        event.cancelled = True
        self.matched(event)


class Fingerprint(Filter):
    """logstash-filter-fingerprint, fingerprint.rb, without a key."""

    supported = frozenset({"source", "target", "method", "concatenate_sources"})

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.source = settings.list("source") or ["message"]
        self.target = settings.get("target", "[event][hash]")  # the ECS default
        self.concatenate = settings.flag("concatenate_sources", default=False)
        method = settings.get("method", "SHA1")
        if method not in {"SHA1", "SHA256", "SHA512", "MD5"}:
            raise settings.error(f"the method {method} is not supported by the runner")
        self.digest = getattr(hashlib, method.lower())

    def __call__(self, event: Event) -> None:  # noqa: D102
        if self.concatenate:
            joined = "".join(f"|{field}|{text_of(event.get(field))}" for field in sorted(self.source)) + "|"
            event.set(self.target, self._hash(joined))
        else:
            for field in self.source:
                if event.include(field):
                    value = event.get(field)
                    hashes = [self._hash(text_of(item)) for item in array(value)]
                    event.set(self.target, hashes if isinstance(value, list) else hashes[0])
        self.matched(event)

    def _hash(self, text: str) -> str:
        return str(self.digest(text.encode("utf-8", "surrogatepass")).hexdigest())


class Translate(Filter):
    """logstash-filter-translate: an exact look-up; a file is read once (Logstash re-reads it every 5 minutes)."""

    supported = frozenset({"source", "target", "dictionary", "dictionary_path", "fallback", "override",
                           "refresh_interval"})  # fmt: skip

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if settings.keys().isdisjoint({"target"}) or "source" not in settings:
            raise settings.error("target is not given; with ECS it would be the source itself: write it down")
        self.source, self.target = str(settings["source"]), str(settings["target"])
        self.fallback = settings.get("fallback")
        self.override = settings.flag("override", default=self.target == self.source)
        self.dictionary = settings.hash("dictionary")
        if path := settings.get("dictionary_path"):
            try:
                with Path(path).open(encoding="utf-8-sig", newline="") as file:
                    self.dictionary = {row[0]: row[1] if len(row) > 1 else None for row in csv.reader(file) if row}
            except OSError as error:
                raise settings.error(f"the dictionary {path} cannot be read: {error.strerror}") from None

    def __call__(self, event: Event) -> None:  # noqa: D102
        if not event.include(self.source) or (not self.override and event.include(self.target)):
            return
        value = event.get(self.source)
        key = text_of(value[0] if isinstance(value, list) and value else value)
        if key in self.dictionary:
            event.set(self.target, self.dictionary[key])
        elif self.fallback is not None:
            event.set(self.target, event.sprintf(self.fallback))
        else:
            return
        self.matched(event)


class Truncate(Filter):
    """logstash-filter-truncate: bytes of strings, never in the middle of a character."""

    supported = frozenset({"fields", "length_bytes"})

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.fields = settings.list("fields")
        if not self.fields:
            raise settings.error("without fields it takes all of them, which the runner does not")
        self.length = int(settings["length_bytes"])

    def __call__(self, event: Event) -> None:  # noqa: D102
        changed = False
        for field in self.fields:
            value = event.get(field)
            if isinstance(value, str) and len(data := value.encode("utf-8", "surrogatepass")) > self.length:
                event.set(field, data[: self.length].decode("utf-8", "ignore"))
                changed = True
        if changed:
            self.matched(event)


FILTERS: dict[str, type[Filter]] = {
    "date": Date,
    "drop": Drop,
    "fingerprint": Fingerprint,
    "grok": GrokFilter,
    "json": Json,
    "kv": KeyValue,
    "mutate": Mutate,
    "translate": Translate,
    "truncate": Truncate,
}
