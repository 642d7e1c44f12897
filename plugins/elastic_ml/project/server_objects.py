"""The kinds of objects that setup keeps as the project wants them: how each is read, written and compared.

A server does not answer with the body it was sent: settings come back as nested strings, defaults appear, object types
vanish from mappings. `canonical` brings the wanted body and the server's answer to one flat form, `path: text`, so that
equal forms mean equal objects, and the difference of two forms is what a person wants to read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from elastic_ml.project.bodies import body_hash
from elastic_ml.project.features import arguments, delete_transform

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

Body = dict[str, Any]
Form = dict[str, str]


@dataclass(frozen=True)
class Kind:
    """One kind of object: `word` is its name in tables; `meta` the path of `_meta`, None where there is none.

    `defaults` are what servers add to a body that does not mention them, `path: text|text`, where a text is JSON for
    an object or a list; `*.name` stands for that name anywhere. `ignored` is what only servers write, at the top.
    `lists` may be written as one text where servers answer with a list, `synonyms` are other names of a key. `typed`
    kinds are echoed as they were sent, so that `"1"` and `1` differ.
    """

    word: str
    read: Callable[[Elasticsearch, str], Body | None]
    write: Callable[[Elasticsearch, str, Body], Any]
    meta: tuple[str, ...] | None = ("_meta",)
    defaults: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()
    synonyms: Mapping[str, str] = field(default_factory=dict)
    typed: bool = False

    def metadata(self, body: Body) -> Body:
        """The body's `_meta`, empty when it has none."""
        for step in self.meta or ():
            body = body.get(step) or {}
        return body if self.meta else {}

    def with_metadata(self, body: Body, metadata: Body) -> Body:
        """The body with `_meta` set; the body itself where the kind has none."""
        return _placed(body, self.meta, metadata) if self.meta else body

    def canonical(self, body: Body) -> Form:
        """The body as `path: text`, without `_meta`, defaults and what only the server writes.

        Empty objects count: the ILM action `readonly: {}` and the query `match_none: {}` say something.
        """
        reduced = self._reduced({key: value for key, value in body.items() if key not in self.ignored}, "")
        return {_spelled_out(path): text for path, text in _flat(reduced, "")} if reduced else {}

    def hash(self, body: Body) -> str:
        """Hash of the canonical form: the same for a body and for the server's echo of it."""
        return body_hash(self.canonical(body))

    def _reduced(self, value: Any, path: str) -> Any:
        """The value with texts for its leaves and without what says nothing; None where nothing is left to say."""
        reduced: Any
        if value is None or (self.meta and path == ".".join(self.meta)):
            return None
        if isinstance(value, Mapping):
            inner = {}
            for key, item in value.items():
                name = self.synonyms.get(f"{path}.{key}", str(key))
                if (kept := self._reduced(item, f"{path}.{name}" if path else name)) is not None:
                    inner[name] = kept
            reduced = inner
        elif isinstance(value, list | tuple) or path in self.lists:
            items = value if isinstance(value, list | tuple) else [value]
            reduced = [self._reduced(item, f"{path}.{position}") for position, item in enumerate(items)]
        else:
            reduced = _text(value, typed=self.typed)
        name = _spelled_out(path)
        default = self.defaults.get(name, self.defaults.get("*." + name.rpartition(".")[2]))
        if default is None:
            return reduced
        shown = reduced if isinstance(reduced, str) else json.dumps(reduced, separators=(",", ":"))
        return None if shown in default.split("|") else reduced


def differences(wanted: Form, actual: Form) -> list[str]:
    """What separates the server's object from the wanted one, one sentence fragment per path."""
    found = []
    for path in sorted(wanted.keys() | actual.keys()):
        if path not in actual:
            found.append(f"{path} is missing (wanted {wanted[path]})")
        elif path not in wanted:
            found.append(f"{path} is {actual[path]} (not wanted)")
        elif wanted[path] != actual[path]:
            found.append(f"{path} is {actual[path]} (wanted {wanted[path]})")
    return found


def _placed(body: Body, path: tuple[str, ...], value: Body) -> Body:
    step, *rest = path
    return {**body, step: _placed(body.get(step) or {}, tuple(rest), value) if rest else value}


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str | None):
        yield path, value or ""
    elif not value:
        yield path, "[]" if isinstance(value, list) else "{}"
    else:
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _flat(inner, f"{path}.{key}" if path else str(key))


def _text(value: Any, *, typed: bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a setting sent as 500 comes back as 500.0
    if typed and isinstance(value, str) and _LIKE_JSON.fullmatch(value):
        return json.dumps(value)
    return str(value)


_LIKE_JSON = re.compile(r"true|false|-?\d+(\.\d+)?")


def _spelled_out(path: str) -> str:
    """Settings may be written with or without `index.`; servers always answer with it."""
    for prefix in ("template.settings.", "settings."):
        if path.startswith(prefix) and not path.startswith(f"{prefix}index."):
            return f"{prefix}index.{path[len(prefix) :]}"
    return path


def _read_ilm(client: Elasticsearch, name: str) -> Body | None:
    found = _get(client, f"/_ilm/policy/{_quoted(name)}").get(name)
    return {"policy": found["policy"]} if found else None


def _read_component(client: Elasticsearch, name: str) -> Body | None:
    found = _get(client, f"/_component_template/{_quoted(name)}").get("component_templates", [])
    return found[0]["component_template"] if found else None


def _read_index_template(client: Elasticsearch, name: str) -> Body | None:
    found = _get(client, f"/_index_template/{_quoted(name)}").get("index_templates", [])
    return found[0]["index_template"] if found else None


def _read_pipeline(client: Elasticsearch, name: str) -> Body | None:
    return _get(client, f"/_ingest/pipeline/{_quoted(name)}").get(name)


def _read_enrich(client: Elasticsearch, name: str) -> Body | None:
    found = _get(client, f"/_enrich/policy/{_quoted(name)}").get("policies", [])
    if not found:
        return None
    kind, config = next(iter(found[0]["config"].items()))
    return {kind: {k: v for k, v in config.items() if k not in {"name", "elasticsearch_version"}}}


def _read_index(client: Elasticsearch, name: str) -> Body | None:
    found = _get(client, f"/{_quoted(name)}").get(name)
    return {"mappings": found.get("mappings", {})} if found else None


def _read_transform(client: Elasticsearch, name: str) -> Body | None:
    found = _get(client, f"/_transform/{_quoted(name)}").get("transforms", [])
    return found[0] if found else None


def _read_stream_lifecycle(client: Elasticsearch, name: str) -> Body | None:
    found = _get(client, f"/_data_stream/{_quoted(name)}/_lifecycle").get("data_streams", [])
    return found[0].get("lifecycle") if found else None


def _write_transform(client: Elasticsearch, name: str, body: Body) -> None:
    """Create the transform, update what runs, or replace it where another pivot or source needs everything anew."""
    actual = _read_transform(client, name)
    if actual is not None and not replaces(TRANSFORM.canonical(body), TRANSFORM.canonical(actual)):
        client.transform.update_transform(
            transform_id=name, **arguments({k: v for k, v in body.items() if k in UPDATABLE})
        )
        return
    delete_transform(client, name)
    client.transform.put_transform(transform_id=name, **arguments(body))


def replaces(wanted: Form, actual: Form) -> bool:
    """Whether this difference of two transforms cannot be updated: every document has to be written again."""
    return any(
        wanted.get(path) != actual.get(path)
        for path in wanted.keys() | actual.keys()
        if path.startswith(("pivot.", "source.", "dest.index", "sync.time.field"))
    )


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _get(client: Elasticsearch, path: str) -> Body:
    answer = client.options(ignore_status=404).perform_request("GET", path, headers={"accept": "application/json"})
    return dict(answer.body) if answer.meta.status == 200 else {}


def _write_index(client: Elasticsearch, name: str, body: Body) -> None:
    if client.indices.exists(index=name):
        client.indices.put_mapping(index=name, body=body["mappings"])
    else:
        client.indices.create(index=name, body=body)


DATES = frozenset({"created_date", "created_date_millis", "modified_date", "modified_date_millis"})
"""What servers add since 9.2 and refuse to be sent ("managed by the system")."""
_SERVER_WRITTEN = DATES | {"version", "deprecated"}
_EMPTY_TEMPLATE = {"*.settings": "{}", "*.mappings": "{}", "*.aliases": "{}", "*.properties": "{}", "template": "{}"}

ILM_POLICY = Kind(
    "ILM policy",
    _read_ilm,
    lambda client, name, body: client.ilm.put_lifecycle(name=name, body=body),
    meta=("policy", "_meta"),
    # What each action writes of itself (toXContent of the classes in org.elasticsearch.xpack.core.ilm).
    defaults={
        "*.min_age": "0ms|0s|0d|0",
        "*.actions": "{}",
        "*.delete_searchable_snapshot": "true",
        "*.min_docs": "1",
        "*.allow_write_after_shrink": "false",
        "*.force_merge_index": "true",
        "*.enabled": "true",
        "*.wait_timeout": "1d",
        "*.include": "{}",
        "*.exclude": "{}",
        "*.require": "{}",
    },
)
COMPONENT_TEMPLATE = Kind(
    "component template",
    _read_component,
    lambda client, name, body: client.cluster.put_component_template(name=name, body=body),
    ignored=_SERVER_WRITTEN,
    defaults={**_EMPTY_TEMPLATE, "template.lifecycle.enabled": "true"},
)
INDEX_TEMPLATE = Kind(
    "index template",
    _read_index_template,
    lambda client, name, body: client.indices.put_index_template(name=name, body=body),
    ignored=_SERVER_WRITTEN,
    defaults={
        **_EMPTY_TEMPLATE,
        "composed_of": "[]",
        "ignore_missing_component_templates": "[]",
        "template.lifecycle.enabled": "true",
        "data_stream.hidden": "false",
        "data_stream.allow_custom_routing": "false",
    },
    lists=frozenset({"index_patterns", "composed_of", "ignore_missing_component_templates"}),
)
PIPELINE = Kind(
    "ingest pipeline",
    _read_pipeline,
    lambda client, name, body: client.ingest.put_pipeline(id=name, body=body),
    ignored=_SERVER_WRITTEN,
    typed=True,
)
ENRICH_POLICY = Kind(
    "enrich policy",
    _read_enrich,
    lambda client, name, body: client.enrich.put_policy(name=name, body=body),
    meta=None,
    lists=frozenset(f"{kind}.{of}" for kind in ("match", "geo_match", "range") for of in ("indices", "enrich_fields")),
)
INDEX = Kind(
    "index",
    _read_index,
    _write_index,
    meta=("mappings", "_meta"),
    ignored=frozenset({"settings", "aliases"}),
    # An object with properties needs no type, and servers leave it out.
    defaults={"*.type": "object", "*.properties": "{}", "mappings": "{}"},
)
TRANSFORM = Kind(
    "transform",
    _read_transform,
    _write_transform,
    ignored=frozenset({"id", "version", "create_time", "authorization"}),
    defaults={
        "source.query": '{"match_all":{}}',
        "source.runtime_mappings": "{}",
        "settings": "{}",
        "sync.time.delay": "60s|1m",
    },
    lists=frozenset({"source.index"}),
    synonyms={"pivot.aggs": "aggregations"},
)
STREAM_LIFECYCLE = Kind(
    "data stream lifecycle",
    _read_stream_lifecycle,
    lambda client, name, body: client.indices.put_data_lifecycle(name=name, body=body),
    meta=None,
    ignored=frozenset({"effective_retention", "retention_determined_by"}),
    defaults={"enabled": "true"},
)
UPDATABLE = frozenset({"source", "dest", "frequency", "sync", "description", "settings", "retention_policy", "_meta"})
