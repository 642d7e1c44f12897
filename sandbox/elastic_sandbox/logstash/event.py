"""Events: nested fields, `@metadata` beside them, tags, and `%{...}` in settings.

Rules: Event.java, Accessors.java, FieldReference.java, StringInterpolation.java and decorators.rb of elastic/logstash.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

METADATA = "@metadata"
TIMESTAMP = "@timestamp"
_SPRINTF = re.compile(r"%\{([^}]*)\}")
_ISO8601 = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:[.,](?P<fraction>\d{1,9}))?)?(?P<zone>Z|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)


class FieldError(Exception):
    """A field cannot be set: its parent is a value, its reference is no reference, or `tags` would be no list."""


@lru_cache(maxsize=4096)
def path_of(reference: str) -> tuple[str, ...]:
    """The keys of `[a][b]`, or of a bare `a`.

    :raises FieldError: brackets and bare text are mixed, or a bracket is left over (StrictTokenizer).
    """
    if "[" not in reference and "]" not in reference:
        return (reference,)
    keys = re.findall(r"\[([^\[\]]+)\]", reference)
    if "".join(f"[{key}]" for key in keys) != reference:
        raise FieldError(f"Invalid FieldReference: `{reference}`")
    return tuple(keys)


def timestamp_of(text: object) -> datetime | None:
    """A time as events take it in `@timestamp`, None when it is none; without a zone it is the machine's: here UTC."""
    if isinstance(text, datetime):
        return text
    found = _ISO8601.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    assert isinstance(text, str)
    try:
        moment = datetime.fromisoformat(text.replace(",", "."))
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def timestamp_text(moment: datetime) -> str:
    """As Logstash prints it: UTC with milliseconds, or microseconds where there are any (Timestamp.java)."""
    timespec = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def number_text(value: float) -> str:
    """As Java prints a number: `12.7`, `1.0E10`."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    if isinstance(value, int) or 1e-3 <= abs(value) < 1e7 or value == 0:
        return str(value)
    mantissa, exponent = f"{value!r}".split("e") if "e" in repr(value) else f"{value:.16e}".split("e")
    mantissa = mantissa.rstrip("0") if "." in mantissa else mantissa + "."
    return f"{mantissa}{'0' if mantissa.endswith('.') else ''}E{int(exponent)}"


class Event:
    """One event on its way through pipelines.

    :param fields: what an input decoded; `@timestamp` is set when it is missing or no time.
    """

    __slots__ = ("cancelled", "fields", "metadata")

    def __init__(self, fields: dict[str, Any] | None = None, now: datetime | None = None) -> None:
        self.fields: dict[str, Any] = fields if fields is not None else {}
        metadata = self.fields.pop(METADATA, None)
        self.metadata: dict[str, Any] = metadata if isinstance(metadata, dict) else {}
        self.cancelled = False
        given = self.fields.get(TIMESTAMP)
        moment = timestamp_of(given) if given is not None else (now or datetime.now(UTC))
        if moment is None:
            self.fields["_@timestamp"] = given
            moment = now or datetime.now(UTC)
            self.tag("_timestampparsefailure")
        self.fields[TIMESTAMP] = moment

    def clone(self) -> Event:
        """A copy that shares nothing, as one goes to another pipeline: `@metadata` goes along."""
        other = Event.__new__(Event)
        other.fields, other.metadata = copied(self.fields), copied(self.metadata)
        other.cancelled = False
        return other

    def document(self) -> dict[str, Any]:
        """What an output sends: no `@metadata`, times as text."""
        return {key: _plain(value) for key, value in self.fields.items()}

    # Fields.

    def get(self, reference: str) -> Any:
        """The value, None when it or its parent is not there."""
        path = path_of(reference)
        current: Any = self.metadata if path[0] == METADATA else self.fields
        for key in path[1:] if path[0] == METADATA else path:
            current = _fetch(current, key)
            if current is None:
                return None
        return current

    def include(self, reference: str) -> bool:
        """Whether the field is there, null or not."""
        path = path_of(reference)
        parent = self.get("".join(f"[{key}]" for key in path[:-1])) if len(path) > 1 else self.fields
        if path == (METADATA,):
            return True
        return path[-1] in parent if isinstance(parent, dict) else _fetch(parent, path[-1]) is not None

    def set(self, reference: str, value: Any) -> None:
        """Set a field, making the objects on the way.

        :raises FieldError: a value stands where an object is needed, or `tags` would hold no strings.
        """
        path = path_of(reference)
        if path[0] == "tags" and (len(path) > 1 or not _is_tags(value)):
            raise FieldError(f"Could not set the reserved tags field '{reference}'")
        if path == (TIMESTAMP,) and not isinstance(value, datetime):
            raise FieldError("wrong argument type (expected LogStash::Timestamp)")
        if path == (METADATA,):
            if not isinstance(value, dict):
                raise FieldError("@metadata is an object")
            self.metadata = value
            return
        current: Any = self.fields
        if path[0] == METADATA:
            current, path = self.metadata, path[1:]
        for key in path[:-1]:
            found = _fetch(current, key)
            if found is None:
                found = {}
                _put(current, key, found)
            current = found
        _put(current, path[-1], value)

    def remove(self, reference: str) -> Any:
        """Take a field out, and return what it held."""
        path = path_of(reference)
        if path == (METADATA,):
            held, self.metadata = self.metadata, {}
            return held
        parent = self.get("".join(f"[{key}]" for key in path[:-1])) if len(path) > 1 else self.fields
        if isinstance(parent, dict):
            return parent.pop(path[-1], None)
        if isinstance(parent, list) and _fetch(parent, path[-1]) is not None:
            return parent.pop(int(path[-1]))
        return None

    def tag(self, tag: str) -> None:
        """Add a tag, once."""
        tags = self.fields.get("tags")
        if tags is None:
            self.fields["tags"] = [tag]
        elif tag not in (tags := tags if isinstance(tags, list) else [tags]):
            self.fields["tags"] = [*tags, tag]

    def sprintf(self, template: Any) -> str:
        """Replace `%{[a][b]}`; what does not resolve stays as it is written."""
        if not isinstance(template, str):
            return text_of(template)
        return _SPRINTF.sub(self._resolved, template) if "%{" in template else template

    def _resolved(self, found: re.Match[str]) -> str:
        try:
            value = self.get(found[1])
        except FieldError:
            value = None
        return found[0] if value is None else text_of(value)


def text_of(value: Any) -> str:
    """A value inside a text: lists joined by commas, objects as JSON, null as nothing."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, datetime):
        return timestamp_text(value)
    if isinstance(value, list):
        return ",".join(text_of(item) for item in value)
    return orjson.dumps(_plain(value)).decode()


def copied(value: Any) -> Any:
    """A value that shares no object or list with another."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return number_text(value)  # Jackson writes what JSON has no number for as a text
    return timestamp_text(value) if isinstance(value, datetime) else value


def _is_tags(value: Any) -> bool:
    return value is None or isinstance(value, str) or (isinstance(value, list) and all(type(i) is str for i in value))


def _fetch(target: Any, key: str) -> Any:
    if isinstance(target, dict):
        return target.get(key)
    if isinstance(target, list):
        try:
            return target[int(key)]
        except (ValueError, IndexError):
            return None
    return None


def _put(target: Any, key: str, value: Any) -> None:
    if isinstance(target, dict):
        target[key] = value
    elif isinstance(target, list):
        try:
            index = int(key)
        except ValueError:
            return  # as Accessors.setOnList: nothing happens
        target.extend([None] * (index + 1 - len(target)))
        target[index] = value
    else:
        raise FieldError(f"Could not set field '{key}' on a value of type {type(target).__name__}")
