"""What a request touches: each index, data stream or alias it names, and in what part it names it.

Parts are those of Elasticsearch's own descriptions of privileges: `index` (the path), `source` and `dest` (reindex,
transform, analytics), `alias`, `stream`, and for bulk what is done with the documents. `?refresh` is a part of its own,
since it needs a privilege of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from harness.specification import Call

    from elastic_sandbox.testing import LoggedRequest

PATH_PARTS = {"index": "index", "new_index": "dest", "target": "dest"}
STREAM_APIS = re.compile(r"indices\.\w*data_stream\w*|indices\.\w*data_lifecycle")
"""APIs whose `{name}` is a data stream's."""
ALIAS_APIS = {"indices.get_alias", "indices.delete_alias", "indices.put_alias", "indices.exists_alias"}


class Target(NamedTuple):
    """A part of a request, and the name that stands there."""

    part: str
    name: str


def targets_of(call: Call, entry: LoggedRequest) -> tuple[Target, ...]:
    """Every target of a request, sorted, names made timeless."""
    assert not entry.truncated, f"{entry.method} {entry.path}: its body was cut, so its targets are not known"
    return tuple(sorted({Target(part, timeless(name)) for part, name in _targets(call, entry) if name}))


def _targets(call: Call, entry: LoggedRequest) -> Iterator[tuple[str, str]]:
    placed = _placeholders(call.url, entry.path)
    body = entry.body
    for placeholder, value in placed.items():
        part = PATH_PARTS.get(placeholder)
        if placeholder == "name" and STREAM_APIS.fullmatch(call.api):
            part = "stream"
        elif placeholder == "name" and call.api in ALIAS_APIS:
            part = "alias"
        elif placeholder == "alias" and call.api == "indices.rollover":
            part = "index"
        if part and call.api != "bulk":
            yield from ((part, name) for name in value.split(","))
    if entry.params.get("refresh", "false") != "false" and call.api != "indices.refresh":
        yield from (("refresh", name) for name in _written(call, placed, body))
    if call.api == "bulk":
        yield from ((action, name) for action, name in _items(placed, body))
    elif isinstance(body, Mapping):
        yield from _named_in_body(call.api, body)


def _written(call: Call, placed: Mapping[str, str], body: Any) -> Iterator[str]:
    if call.api == "bulk":
        yield from (name for _, name in _items(placed, body))
    elif call.api == "reindex":
        yield str(body["dest"]["index"])
    else:
        yield from placed.get("index", "").split(",")


def _items(placed: Mapping[str, str], lines: Any) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(lines):
        ((action, target),) = lines[position].items()
        yield action, str(target.get("_index", placed.get("index", "")))
        position += 1 if action == "delete" else 2


def _named_in_body(api: str, body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part in ("source", "dest"):
        if isinstance(inner := body.get(part), Mapping) and "index" in inner:
            yield from ((part, name) for name in _listed(inner["index"]))
    if api == "indices.update_aliases":
        for action in body["actions"]:
            for of in action.values():
                yield from (("index", name) for name in _listed(of.get("index", of.get("indices"))))
                yield from (("alias", name) for name in _listed(of.get("alias", of.get("aliases"))))
    elif api == "indices.modify_data_stream":
        for action in body["actions"]:
            for of in action.values():
                yield from (("stream", of["data_stream"]), ("index", of["index"]))
    elif api == "mget":
        yield from (("index", str(one["_index"])) for one in body.get("docs", []) if "_index" in one)
    elif api == "esql.query":
        yield from (("index", name) for name in _from(body["query"]))
    elif api == "enrich.put_policy":
        yield from (("source", name) for policy in body.values() for name in _listed(policy["indices"]))
    elif api == "ml.evaluate_data_frame":
        yield "index", str(body["index"])
    elif api == "ml.put_datafeed" or (api == "ml.update_datafeed" and "indices" in body):
        yield from (("source", name) for name in _listed(body.get("indices", body.get("indexes"))))
    elif api == "ml.put_job" and "datafeed_config" in body:
        yield from (("source", name) for name in _listed(body["datafeed_config"]["indices"]))


def _from(query: str) -> Iterator[str]:
    source = re.match(r"\s*FROM\s+(.*?)(?:\s+METADATA\b.*?)?(?:\||$)", query, re.DOTALL | re.IGNORECASE)
    assert source is not None, query
    yield from (name.strip().strip('"') for name in source[1].split(","))
    yield from re.findall(r"LOOKUP\s+JOIN\s+(\S+)", query, re.IGNORECASE)


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value or ()]


def _placeholders(url: str, path: str) -> dict[str, str]:
    from urllib.parse import unquote

    pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(url))
    found = re.fullmatch(pattern, path)
    return {name: unquote(value) for name, value in found.groupdict().items()} if found else {}


def timeless(name: str) -> str:
    """The name without what differs from day to day: backing indices by their stream; dates, digests, epochs as `~`.

    A role that names a data stream covers its backing indices ("Granting privileges for data streams and aliases").
    """
    name = re.sub(r"^repaired-[0-9a-f]{8}-(.+)-\d{4}\.\d{2}\.\d{2}-\d{6}$", r"repaired-~-\1-~", name)
    name = re.sub(r"^(-?)(\.ds|\.fs)-(.+)-\d{4}\.\d{2}\.\d{2}-\d{6}$", _stream, name)
    name = re.sub(r"-\d{8}-[0-9a-f]{8}(-\d+)?", "-~", name)
    name = re.sub(r"(?<=-)\d{4}\.\d{2}-\d+$", "~", name)
    return re.sub(r"-[0-9a-f]{8}$", "-~", name)


def _stream(found: re.Match[str]) -> str:
    return found[1] + found[3] + ("::failures" if found[2] == ".fs" else "")
