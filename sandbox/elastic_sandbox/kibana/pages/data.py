"""Data views, indices, enrich policies, and Discover: rows of a query."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.kibana.application import KibanaRequest
from elastic_sandbox.kibana.errors import KibanaError, bad_request
from elastic_sandbox.kibana.pages import formats
from elastic_sandbox.kibana.pages.html import Cell, Choice, Facts, Page, Table, Text, segment
from elastic_sandbox.kibana.pages.lens import Question
from elastic_sandbox.kibana.pages.times import rison, time_range
from elastic_sandbox.kibana.saved_objects import DATA_VIEW

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

_INDICES: Final = "/app/management/data/index_management/indices"
_VIEWS: Final = "/app/management/kibana/dataViews"
_POLICIES: Final = "/app/management/data/index_management/enrich_policies"
_HOME: Final = [("Home", "/app/home")]
_ROWS: Final = 100


def _result(question: Question, query: str, field: str | None, title: str = "") -> list[Any]:
    """The rows of a query as a table, or why there are none."""
    try:
        found = question.ask(query, field)
    except ElasticError as error:
        return [Text(error.reason, title, "bad")]
    types = [column["type"] for column in found.columns]
    # A column without a value in any row says nothing, and an index has hundreds.
    filled = [at for at in range(len(types)) if any(row[at] is not None for row in found.values)]
    rows = [[formats.cell(row[at], types[at]) for at in filled] for row in found.values[:_ROWS]]
    note = f"The first {_ROWS} of {len(found.values):,} rows." if len(found.values) > _ROWS else f"{len(rows):,} rows."
    if len(filled) < len(types) and rows:
        note += f" {len(types) - len(filled)} columns without a value are left out."
    return [
        *([Text(" ".join(found.warnings), tone="warning")] if found.warnings else []),
        Table([found.columns[at]["name"] for at in filled], rows, title, "The query answered no rows.", note),
    ]


def _quoted(pattern: str) -> str:
    return ", ".join('"' + one.strip().replace('"', "") + '"' for one in pattern.split(","))


def discover(backend: Backend, request: KibanaRequest) -> Page:
    """ES|QL, typed or as a link brings it; within the time range where the rows have ``@timestamp``."""
    state = rison(request.params["_a"]) if request.params.get("_a") else {}
    kept = (state.get("query") or {}).get("esql") if isinstance(state, dict) else None
    query = (request.params.get("esql") or str(kept or "")).strip()
    span = time_range(backend, request.params)
    blocks: list[Any] = [
        Text("Write a query, for example FROM logs-* | SORT @timestamp DESC | LIMIT 20.", tone="quiet")
    ]
    if query:
        question = Question(backend, span)
        field = request.params.get("timeField")
        blocks = _result(question, query, _usual_time_field(backend, query) if field is None else field or None)
    return Page("Discover", blocks, _HOME, time=span, choices=[Choice("esql", "ES|QL", query, None, wide=True)])


def _usual_time_field(backend: Backend, query: str) -> str | None:
    """`@timestamp` where the sources have it: a range over a field that is not there would find nothing."""
    from elastic_sandbox.esql.commands import source_names
    from elastic_sandbox.esql.parser import parse

    try:
        commands = parse(query)
        patterns = source_names(commands)[0] if commands[0].kind == "from" else []
        found = backend.esql.query(f"FROM {_quoted(','.join(patterns))} | LIMIT 0") if patterns else None
    except ElasticError:
        return None  # the query itself will say why
    names = {column["name"] for column in found.columns} if found else set()
    return "@timestamp" if "@timestamp" in names else None


def locator(_backend: Backend, request: KibanaRequest) -> Page:
    """``/app/r``: a link with its parameters, as alerts carry it."""
    if request.params.get("l") != "DISCOVER_APP_LOCATOR":
        raise KibanaError(404, f"The sandbox knows no locator [{request.params.get('l', '')}].")
    try:
        params = json.loads(request.params.get("p", "{}"))
        span = params.get("timeRange") or {}
        asked = {"esql": params["query"]["esql"], **{name: span[name] for name in ("from", "to") if name in span}}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise bad_request(f"The link's parameters cannot be read: {error}") from None
    return Page("Discover", status=302, headers={"location": f"/app/discover?{urlencode(asked)}"})


def data_views(backend: Backend, request: KibanaRequest) -> Page:
    """All data views of the space."""
    rows = []
    for saved in backend.kibana.objects.all(DATA_VIEW, request.space):
        shown = saved["attributes"]
        link = f"{_VIEWS}/dataView/{segment(saved['id'])}"
        rows.append([Cell(str(shown.get("name") or shown["title"]), link), Cell(shown["title"]), _time_field(shown)])
    return Page("Data views", [Table(["Name", "Indices", "Time field"], rows)], _HOME)


def data_view(backend: Backend, request: KibanaRequest) -> Page:
    """One data view: what it names, and the fields of that."""
    saved = backend.kibana.objects.get(DATA_VIEW, request.path_params["id"], request.space)
    shown = saved["attributes"]
    facts = Facts([("Indices", Cell(shown["title"])), ("Time field", _time_field(shown)), ("Id", Cell(saved["id"]))])
    blocks = [facts, *_fields(backend, shown["title"])]
    return Page(str(shown.get("name") or shown["title"]), blocks, [*_HOME, ("Data views", _VIEWS)])


def _time_field(attributes: dict[str, Any]) -> Cell:
    return Cell(str(attributes.get("timeFieldName") or formats.NOTHING))


def _fields(backend: Backend, pattern: str) -> list[Any]:
    try:
        found = backend.esql.query(f"FROM {_quoted(pattern)} | LIMIT 0")
    except ElasticError as error:
        return [Text(error.reason, "Fields", "quiet")]
    rows = [[Cell(column["name"]), Cell(column["type"])] for column in found.columns]
    return [Table(["Field", "Type"], rows, "Fields")]


def indices(backend: Backend, request: KibanaRequest) -> Page:
    """Data streams and indices; hidden ones are left out."""
    names = [name for name in backend.indices.streams.names() if not name.startswith(".")]
    streams = [[_index(name), Cell(str(len(backend.indices.resolve(name))), number=True)] for name in names]
    plain = [one for one in backend.indices.all() if not one.hidden and backend.indices.data_stream_of(one) is None]
    rows = [[_index(index.name), Cell(index.mode)] for index in plain]
    blocks = [
        Table(["Data stream", "Backing indices"], streams, "Data streams"),
        Table(["Index", "Mode"], rows, "Indices"),
    ]
    return Page("Indices", blocks, [*_HOME, ("Data views", _VIEWS), ("Enrich policies", _POLICIES)])


def _index(name: str) -> Cell:
    return Cell(name, f"{_INDICES}/index_details?indexName={quote(name, safe='')}")


def index_details(backend: Backend, request: KibanaRequest) -> Page:
    """One index, alias or data stream: documents, fields, some rows."""
    name = request.params.get("indexName", "")
    if not backend.indices.resolve(name, ignore_unavailable=True, expand_wildcards="all") or not name:
        raise KibanaError(404, f"There is no index [{name}].")
    question = Question(backend, time_range(backend, {}))
    count = question.ask(f"FROM {_quoted(name)} | STATS COUNT(*)").values[0][0]
    backing = ", ".join(index.name for index in backend.indices.resolve(name, expand_wildcards="all"))
    facts = Facts([("Documents", Cell(f"{count:,}")), ("Indices", Cell(backing))])
    rows = _result(question, f"FROM {_quoted(name)} | LIMIT 10", None, "Ten documents")
    return Page(name, [facts, *rows, *_fields(backend, name)], [*_HOME, ("Indices", _INDICES)])


def enrich_policies(backend: Backend, request: KibanaRequest) -> Page:
    """All enrich policies; the one that a link names comes first."""
    wanted = request.params.get("policy", "")
    rows = [
        [Cell(one.name, tone="good" if one.name == wanted else ""), Cell(", ".join(one.indices)), Cell(one.match_field),
         Cell(", ".join(one.enrich_fields))]
        for one in sorted(backend.enrich.policies(), key=lambda one: (one.name != wanted, one.name))
    ]  # fmt: skip
    table = Table(["Policy", "Source", "Match field", "Enrich fields"], rows)
    return Page("Enrich policies", [table], [*_HOME, ("Indices", _INDICES)])


PAGES: Final = {
    "/app/discover": discover,
    "/app/r": locator,
    _VIEWS: data_views,
    f"{_VIEWS}/dataView/{{id}}": data_view,
    _INDICES: indices,
    f"{_INDICES}/index_details": index_details,
    _POLICIES: enrich_policies,
}
