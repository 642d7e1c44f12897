"""The second half of a search: the documents of the hits that were chosen."""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from elastic_sandbox.documents.columns import ip_from_column, one_of
from elastic_sandbox.errors import illegal_argument, unsupported
from elastic_sandbox.indices.dates import DEFAULT_FORMAT, format_date
from elastic_sandbox.search.source import wildcard_regex

if TYPE_CHECKING:
    from elastic_sandbox.search.plan import Plan
    from elastic_sandbox.search.view import IndexView

Stored = tuple[str, str, int, str | None, list[str] | None]
"""(_id, _source, _version, _routing, _ignored)."""


def stored(plan: Plan, wanted: list[tuple[int, int]], *, source: bool = True) -> dict[tuple[int, int], Stored]:
    """The rows of (index ordinal, _seq_no)."""
    by_index: dict[int, list[int]] = {}
    for ordinal, seq_no in wanted:
        by_index.setdefault(ordinal, []).append(seq_no)
    views = {view.ordinal: view for view in plan.views}
    found: dict[tuple[int, int], Stored] = {}
    for ordinal, seq_nos in by_index.items():
        column = "_source" if source else "''"
        chosen, given = one_of(seq_nos)
        rows = plan.cursor.execute(
            f"SELECT _seq_no, _id, {column}, _version, _routing, _ignored FROM {views[ordinal].schema.table} "
            f"WHERE _seq_no {chosen}",
            [given],
        ).fetchall()
        for row in rows:
            found[ordinal, row[0]] = row[1:]
    return found


def runtime_values(
    plan: Plan, hits: list[tuple[int, int]], wanted: tuple[Any, ...]
) -> dict[tuple[int, int], dict[str, list[Any]]]:
    """Of (index ordinal, _seq_no), the values of the runtime fields that ``wanted`` means."""
    found: dict[tuple[int, int], dict[str, list[Any]]] = {}
    for view in plan.views:
        names = [name for item in wanted for name in view.expand(_pattern(item)[0]) if name in view.evaluated]
        columns = [view.schema.columns[name] for name in dict.fromkeys(names)]
        if not columns:
            continue
        listed = "".join(f", {column.name}" for column in columns)
        numbers = [seq_no for ordinal, seq_no in hits if ordinal == view.ordinal]
        rows = plan.cursor.execute(
            f"SELECT _seq_no{listed} FROM {view.schema.table} WHERE _seq_no IN (SELECT unnest(?))", [numbers]
        ).fetchall()
        for seq_no, *row in rows:
            values = found[view.ordinal, seq_no] = {}
            for column, value in zip(columns, row, strict=True):
                listed_values = [] if value is None else value if column.multi else [value]
                if listed_values:
                    values[column.path] = (
                        list(map(ip_from_column, listed_values)) if column.type == "ip" else listed_values
                    )
    return found


def fields_of(
    view: IndexView, source: str, wanted: tuple[Any, ...], computed: dict[str, list[Any]] | None = None
) -> dict[str, list[Any]]:
    """The ``fields`` of a hit: values by field, as the mapping reads them.

    :param computed: values of runtime fields, which hide mapped fields of their name
    :raises ElasticError: 400 for an entry that is neither a pattern nor an object with ``field``
    """
    index = view.index
    parsed = index.mapping.parse(orjson.loads(source)).values
    if view.runtime:
        parsed = {path: values for path, values in parsed.items() if path not in view.runtime} | (computed or {})
    found: dict[str, list[Any]] = {}
    for item in wanted:
        pattern, date_format = _pattern(item)
        regex = wildcard_regex(pattern)
        mapped = index.mapping.fields.get(pattern)
        if mapped is not None and mapped.nested is not None:
            raise unsupported(f"[fields] of nested field [{pattern}]")
        for path, values in parsed.items():
            if regex.fullmatch(path):
                field = view.fields[path]
                if field.type == "date":
                    shown = date_format or field.params.get("format", DEFAULT_FORMAT)
                    found[path] = [format_date(value, shown) for value in values]
                    continue
                if date_format is not None:
                    raise illegal_argument(f"Field [{path}] of type [{field.type}] doesn't support formats.")
                found[path] = values
    return found


def _pattern(item: Any) -> tuple[str, str | None]:
    if isinstance(item, str):
        return item, None
    if not isinstance(item, dict) or "field" not in item or set(item) - {"field", "format"}:
        raise unsupported(f"the entry {item} of [fields]")
    return item["field"], item.get("format")
