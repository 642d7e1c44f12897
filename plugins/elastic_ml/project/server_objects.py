"""The kinds of objects that setup keeps as the project wants them: how each is read, written and compared.

A server does not answer with the body it was sent: settings come back as nested strings, defaults appear, object types
vanish from mappings. `canonical` brings the wanted body and the server's answer to one flat form, `path: text`, so that
equal forms mean equal objects, and the difference of two forms is what a person wants to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elastic_ml.project.bodies import body_hash
from elastic_ml.project.features import arguments, delete_transform

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

Body = dict[str, Any]
Form = dict[str, str]


@dataclass(frozen=True)
class Kind:
    """One kind of object: `word` is its name in tables; `meta` the path of `_meta`, None where there is none.

    `defaults` are what servers add to a body that does not mention them; `ignored` what only they write.
    """

    word: str
    read: Callable[[Elasticsearch, str], Body | None]
    write: Callable[[Elasticsearch, str, Body], Any]
    meta: tuple[str, ...] | None = ("_meta",)
    defaults: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()

    def metadata(self, body: Body) -> Body:
        """The body's `_meta`, empty when it has none."""
        for step in self.meta or ():
            body = body.get(step) or {}
        return body if self.meta else {}

    def with_metadata(self, body: Body, metadata: Body) -> Body:
        """The body with `_meta` set; the body itself where the kind has none."""
        return _placed(body, self.meta, metadata) if self.meta else body

    def canonical(self, body: Body) -> Form:
        """The body as `path: text`, without `_meta`, defaults and what only the server writes."""
        meta = ".".join(self.meta or ())
        form: Form = {}
        for path, value in _flat(body, ""):
            name = _spelled_out(path)
            if path.split(".")[0] in self.ignored or (meta and (name + ".").startswith(f"{meta}.")):
                continue
            default = self.defaults.get(name, self.defaults.get("*." + name.rpartition(".")[2]))
            if default is None or value not in default.split("|"):
                form[name] = value
        return form

    def hash(self, body: Body) -> str:
        """Hash of the canonical form: the same for a body and for the server's echo of it."""
        return body_hash(self.canonical(body))


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
    if isinstance(value, Mapping):
        if path == "data_stream":
            yield path, "{}"  # its presence says something, even empty
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _flat(inner, f"{path}.{position}")
    elif isinstance(value, bool):
        yield path, str(value).lower()
    elif value is not None:
        yield path, str(value)


def _spelled_out(path: str) -> str:
    """Settings may be written with or without `index.`; servers always answer with it."""
    for prefix in ("template.settings.", "settings."):
        if path.startswith(prefix) and not path.startswith(f"{prefix}index."):
            return f"{prefix}index.{path[len(prefix) :]}"
    return path


def _read_ilm(client: Elasticsearch, name: str) -> Body | None:
    found = _get(client, f"/_ilm/policy/{name}").get(name)
    return {"policy": found["policy"]} if found else None


def _read_component(client: Elasticsearch, name: str) -> Body | None:
    found = _get(client, f"/_component_template/{name}").get("component_templates", [])
    return found[0]["component_template"] if found else None


def _read_index_template(client: Elasticsearch, name: str) -> Body | None:
    found = _get(client, f"/_index_template/{name}").get("index_templates", [])
    return found[0]["index_template"] if found else None


def _read_pipeline(client: Elasticsearch, name: str) -> Body | None:
    return _get(client, f"/_ingest/pipeline/{name}").get(name)


def _read_enrich(client: Elasticsearch, name: str) -> Body | None:
    found = _get(client, f"/_enrich/policy/{name}").get("policies", [])
    if not found:
        return None
    kind, config = next(iter(found[0]["config"].items()))
    return {kind: {k: v for k, v in config.items() if k not in {"name", "elasticsearch_version"}}}


def _read_index(client: Elasticsearch, name: str) -> Body | None:
    found = _get(client, f"/{name}").get(name)
    return {"mappings": found.get("mappings", {})} if found else None


def _read_transform(client: Elasticsearch, name: str) -> Body | None:
    found = _get(client, f"/_transform/{name}").get("transforms", [])
    return found[0] if found else None


def _write_transform(client: Elasticsearch, name: str, body: Body) -> None:
    """Create the transform, update what runs, or replace it where another pivot or source needs everything anew."""
    actual = _read_transform(client, name)
    if actual is not None and not replaces(TRANSFORM.canonical(body), TRANSFORM.canonical(actual)):
        client.transform.update_transform(
            transform_id=name, **arguments({k: v for k, v in body.items() if k in _UPDATABLE})
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

ILM_POLICY = Kind(
    "ILM policy",
    _read_ilm,
    lambda client, name, body: client.ilm.put_lifecycle(name=name, body=body),
    meta=("policy", "_meta"),
    defaults={"*.min_age": "0ms|0s|0d", "*.delete_searchable_snapshot": "true", "*.min_docs": "1"},
)
COMPONENT_TEMPLATE = Kind(
    "component template",
    _read_component,
    lambda client, name, body: client.cluster.put_component_template(name=name, body=body),
    ignored=_SERVER_WRITTEN,
)
INDEX_TEMPLATE = Kind(
    "index template",
    _read_index_template,
    lambda client, name, body: client.indices.put_index_template(name=name, body=body),
    ignored=_SERVER_WRITTEN,
    defaults={
        "template.lifecycle.enabled": "true",
        "data_stream.hidden": "false",
        "data_stream.allow_custom_routing": "false",
    },
)
PIPELINE = Kind(
    "ingest pipeline",
    _read_pipeline,
    lambda client, name, body: client.ingest.put_pipeline(id=name, body=body),
    ignored=_SERVER_WRITTEN,
)
ENRICH_POLICY = Kind(
    "enrich policy",
    _read_enrich,
    lambda client, name, body: client.enrich.put_policy(name=name, body=body),
    meta=None,
)
INDEX = Kind(
    "index",
    _read_index,
    _write_index,
    meta=("mappings", "_meta"),
    ignored=frozenset({"settings", "aliases"}),
    # An object with properties needs no type, and servers leave it out.
    defaults={"*.type": "object"},
)
TRANSFORM = Kind(
    "transform",
    _read_transform,
    _write_transform,
    ignored=frozenset({"id", "version", "create_time", "authorization"}),
)
_UPDATABLE = frozenset({"source", "dest", "frequency", "sync", "description", "settings", "_meta"})
