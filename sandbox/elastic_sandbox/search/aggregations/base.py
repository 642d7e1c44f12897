"""How aggregations run: every node once, over the documents of all its parent's buckets together.

The matching documents are a relation, one row per document with the columns the tree needs and ``b``, the ordinal of
the bucket it lies in. A bucket aggregation groups by ``b`` and its key, chooses its buckets in
Python, and hands its children a relation whose ``b`` is the ordinal of the new bucket. So the number of SQL
statements depends on the size of the tree, never on the number of buckets.
"""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elastic_sandbox.documents.columns import ip_from_column
from elastic_sandbox.errors import unsupported
from elastic_sandbox.indices.dates import DEFAULT_FORMAT, format_date
from elastic_sandbox.search.failures import ShardFailure, fielddata_disabled, fielddata_of_id
from elastic_sandbox.search.view import KIND_SQL

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from elastic_sandbox.search.plan import Plan
    from elastic_sandbox.search.query import Query
    from elastic_sandbox.search.view import IndexView

Result = dict[str, Any]

COPY_FROM = 8
"""Top-level aggregations from which on the matching documents are copied rather than found again by each of them."""


@dataclass(frozen=True)
class FieldColumn:
    """A field over all indices: its column ``name`` in the relation, the kind of its values, and whether it is "
    "a list."""

    path: str
    name: str
    kind: str
    multi: bool
    format: str

    def key(self, expression: str = "{}") -> str:
        """SELECT expression of one row per distinct key; ``{}`` stands for the value."""
        if self.multi:
            inner = expression.replace("{}", "x")
            return f"unnest(list_distinct(list_transform({self.name}, lambda x: {inner})))"
        return expression.replace("{}", self.name)

    def values(self) -> str:
        """SELECT expression of one row per value, equal ones included."""
        return f"unnest({self.name})" if self.multi else self.name

    def shown(self, key: Any, date_format: str | None = None, zone: tzinfo | None = None) -> Result:
        """``key`` and ``key_as_string`` of a bucket."""
        if self.kind == "boolean":
            return {"key": int(key), "key_as_string": "true" if key else "false"}
        if self.kind == "ip":
            return {"key": ip_from_column(key)}
        if self.kind == "date":
            shown = date_format or self.format
            text = format_date(key, shown) if zone is None else format_date(key, shown, zone)
            return {"key": key, "key_as_string": text}
        return {"key": key}


@dataclass
class Aggregation:
    """A node of the tree."""

    name: str
    body: dict[str, Any]
    children: list[Aggregation] = field(default_factory=list)

    def prepare(self, run: Run) -> None:
        """Ask for the columns this node needs; called before anything is read."""
        raise NotImplementedError

    def results(self, run: Run, relation: str, buckets: int) -> list[Result]:
        """One result for each bucket ordinal from 0."""
        raise NotImplementedError


class Run:
    """One execution of a tree of aggregations."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._columns: dict[str, tuple[str, Callable[[IndexView], str]]] = {}
        self._fields: dict[tuple[str, str], FieldColumn] = {}
        self._tables: list[str] = []

    # Columns --------------------------------------------------------------------------------------------------------

    def column(self, key: str, make: Callable[[IndexView], str]) -> str:
        """A column of the relation by what it is; the same key is the same column."""
        if key not in self._columns:
            self._columns[key] = (f"f{len(self._columns)}", make)
        return self._columns[key][0]

    def predicate(self, query: Query) -> str:
        """A boolean column: whether a document matches ``query``."""
        self.plan.each(query.sql)
        return self.column(f"query {query!r}", lambda view: f"coalesce(({query.sql(view)}), false)")

    def field(self, path: str, missing: Any = None) -> FieldColumn:
        """The column of a field; documents without it count as ``missing`` when given.

        :raises ElasticError: 400 for text and ``_id``, 501 for types or mixtures the sandbox cannot aggregate
        """
        key = (path, repr(missing))
        if key not in self._fields:
            self._fields[key] = self._field(path, missing)
        return self._fields[key]

    def _field(self, path: str, missing: Any) -> FieldColumn:
        if path in {"_index", "_seq_no"}:
            kind = "keyword" if path == "_index" else "long"
            literal = (
                (lambda view: f"{view.parameters.add(view.index.name)}::VARCHAR")
                if path == "_index"
                else (lambda _view: "_seq_no")
            )
            return FieldColumn(path, self.column(path, literal), kind, False, DEFAULT_FORMAT)
        targets = [target for target in self.plan.each(lambda view: _target(view, path)) if target is not None]
        kinds = {target.kind for target in targets}
        if kinds == {"long", "double"}:
            kinds = {"double"}
        if len(kinds) > 1:
            types = ", ".join(sorted({target.type for target in targets}))
            raise unsupported(f"an aggregation on field [{path}], which is mapped as {types} in different indices,")
        kind = next(iter(kinds), _kind_of(missing))
        sql_type = KIND_SQL[kind]
        multi = any(target.multi for target in targets)
        date_format = next((target.params["format"] for target in targets if "format" in target.params), DEFAULT_FORMAT)
        filled = None if missing is None else _default(kind, missing)

        def make(view: IndexView) -> str:
            target = view.target(path)
            if target is None or target.sql is None:
                sql = f"NULL::{sql_type}{'[]' if multi else ''}"
            elif multi and not target.multi:
                sql = f"CASE WHEN {target.sql} IS NULL THEN NULL ELSE [({target.sql})::{sql_type}] END"
            else:
                sql = f"({target.sql})::{sql_type}{'[]' if multi else ''}"
            if filled is None:
                return sql
            default = f"{view.parameters.add(filled)}::{sql_type}"
            if multi:
                return f"CASE WHEN coalesce(len({sql}), 0) = 0 THEN [{default}] ELSE {sql} END"
            return f"coalesce({sql}, {default})"

        return FieldColumn(path, self.column(f"{path} {missing!r}", make), kind, multi, date_format)

    # Relations ------------------------------------------------------------------------------------------------------

    def base(self, readers: int) -> str:
        """The matching documents, all in bucket 0, to be read by as many aggregations.

        Each reads the few columns it needs from the index again, unless there are many: copying a million documents
        costs as much as four such readings.
        """
        columns = list(self._columns.values())

        def select(view: IndexView) -> str:
            listed = "".join(f", {make(view)} AS {name}" for name, make in columns)
            return f"0::BIGINT AS b, {view.ordinal} AS i, _seq_no AS s{listed}"

        union = self.plan.union(select)
        return f"({union})" if readers < COPY_FROM else self.table(union)

    def table(self, sql: str) -> str:
        """Keep the result of a statement for as long as the run lasts."""
        name = f"aggregation_{id(self)}_{len(self._tables)}"
        self.plan.run(f"CREATE TEMP TABLE {name} AS {sql}")
        self._tables.append(name)
        return name

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The result of a statement."""
        return self.plan.run(sql).fetchall()

    def inside(self, keyed: str, chosen: list[tuple[int, Any]], key_type: str) -> str:
        """The documents of chosen buckets, ``b`` being the position in ``chosen``.

        :param keyed: relation with the parent's ``b`` and the key ``v``
        :param chosen: (parent ordinal, key)
        """
        add = self.plan.parameters.add
        parents, keys = [b for b, _ in chosen], [v for _, v in chosen]
        mapping = (
            f"SELECT unnest({add(parents)}::BIGINT[]) AS b, unnest({add(keys)}::{key_type}[]) AS v, "
            f"unnest({add(list(range(len(chosen))))}::BIGINT[]) AS n"
        )
        return self.table(
            f"SELECT m.n AS b, k.* EXCLUDE (b, v) FROM ({keyed}) AS k JOIN ({mapping}) AS m "
            "ON k.b = m.b AND k.v IS NOT DISTINCT FROM m.v"
        )

    def children(self, children: list[Aggregation], relation: str, buckets: int) -> list[Result]:
        """The results of all children for each bucket, by name."""
        joined: list[Result] = [{} for _ in range(buckets)]
        for child in children:
            for into, result in zip(joined, child.results(self, relation, buckets), strict=True):
                into[child.name] = result
        return joined

    def close(self) -> None:
        """Drop what was kept."""
        for name in self._tables:
            self.plan.cursor.execute(f"DROP TABLE IF EXISTS {name}")


def _target(view: IndexView, path: str) -> Any:
    if path == "_id":
        raise fielddata_of_id()
    if path.startswith("_") and path not in view.fields:
        raise unsupported(f"an aggregation on [{path}]")
    target = view.target(path)
    if target is None:
        return None
    if target.kind == "text":
        raise fielddata_disabled(path, view.index.name)
    if target.kind not in KIND_SQL:
        raise unsupported(f"an aggregation on field [{path}] of type [{target.type}]")
    return target


def _kind_of(missing: Any) -> str:
    if isinstance(missing, bool):
        return "boolean"
    if isinstance(missing, int):
        return "long"
    return "double" if isinstance(missing, float) else "keyword"


def _default(kind: str, missing: Any) -> Any:
    if kind == "date":
        from elastic_sandbox.indices.dates import parse_date

        return parse_date(missing)
    if kind == "boolean":
        return missing in {True, "true"}
    try:
        return {"long": int, "double": float}.get(kind, str)(missing)
    except ValueError:
        raise ShardFailure("number_format_exception", f'For input string: "{missing}"') from None
