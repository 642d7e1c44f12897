"""Values of runtime fields: scripts run over batches of documents, and what they emit becomes columns of the search.

Only documents that can still match are evaluated, and of the fields only those that the request names: what the query
reads, for documents that its other conditions keep; what is shown, sorted or aggregated, for documents that match. The
values lie in temporary tables beside the index's own, so that queries and aggregations see them as any column.
"""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import orjson

from elastic_sandbox.documents.columns import Column, ip_from_column
from elastic_sandbox.errors import ElasticError, unsupported
from elastic_sandbox.indices.document_parser import Field
from elastic_sandbox.painless.doc_values import CLASSES, Doc, DocValues, Loader
from elastic_sandbox.painless.errors import ScriptThrow
from elastic_sandbox.painless.java_time import UTC_ZONE, ZonedDateTime
from elastic_sandbox.search.failures import ShardFailure, fielddata_disabled
from elastic_sandbox.search.query import Bool, ConstantScore, Query
from elastic_sandbox.search.runtime_fields import RuntimeField, RuntimeMappings, named, texts
from elastic_sandbox.search.runtime_fields import parse_runtime_fields as parse
from elastic_sandbox.search.runtime_source import from_source
from elastic_sandbox.search.view import KIND_SQL, IndexView

if TYPE_CHECKING:
    from elastic_sandbox.search.plan import Plan

BATCH: Final = 10_000
"""Documents evaluated at a time, which bounds the memory of an evaluation."""
MAX_CHAIN: Final = 5
"""Runtime fields that may read each other in a row (Elasticsearch's `SearchLookup`)."""
_REPEATED: Final = 0.1
"""The share of a batch whose inputs have occurred before from which on it pays to remember them."""


def apply(plan: Plan, runtime: RuntimeMappings) -> None:
    """Give every view of a plan the runtime fields, evaluated as far as its request needs them."""
    plan.each(lambda view: _declare(view, runtime))
    if not plan.views:
        return
    found = plan.views[0].runtime
    in_query = named(tuple(texts(plan.query)), found)
    if in_query:
        others = [one for one in _conjuncts(plan.query) if not named(tuple(texts(one)), found)]
        plan.each(lambda view: Evaluation(plan, view, in_query).run(_joined(view, others, plan.extra), "query"))
    plan.each(plan.where)
    shown = [name for name in named(runtime.uses, found) if name not in in_query]
    if shown:
        plan.each(lambda view: Evaluation(plan, view, shown).run(plan.where(view), "shown"))


def _declare(view: IndexView, runtime: RuntimeMappings) -> None:
    try:
        view.runtime = parse(runtime.body)
    except ElasticError as error:
        raise _failure(error) from None
    declared = {
        name: Field(name, one.type, {"format": one.format} if one.type == "date" else {})
        for name, one in view.runtime.items()
    }
    view.fields = {**view.fields, **declared}


def _failure(error: ElasticError) -> Exception:
    """As a shard reports it; what only the sandbox lacks stays what it is."""
    if error.status == 501:
        return error
    return ShardFailure(error.type, error.reason, caused_by=error.caused_by, metadata=error.metadata)


def _conjuncts(query: Query) -> list[Query]:
    """Queries that every match of ``query`` matches."""
    if isinstance(query, Bool):
        return [inner for clause in (*query.must, *query.filter) for inner in _conjuncts(clause)]
    return _conjuncts(query.filter) if isinstance(query, ConstantScore) else [query]


def _joined(view: IndexView, queries: list[Query], extra: str) -> str:
    return " AND ".join([*(f"({query.sql(view)})" for query in queries), f"({extra})"])


class Evaluation:
    """Some runtime fields over the documents of one index.

    :param names: the fields whose values are wanted; those they read are run where they are read
    """

    def __init__(self, plan: Plan, view: IndexView, names: list[str]) -> None:
        self._plan = plan
        self._view = view
        self._names = names
        self._fields: dict[str, RuntimeField] = view.runtime
        self._columns: list[str] = []
        self._lists = False
        self._source_at: int | None = None
        self._loaders: dict[str, Loader] = {}
        self._at: dict[str, int] = {}
        self._inputs: dict[str, Callable[[tuple[Any, ...]], Any]] = {}
        self._remembered: dict[str, dict[Any, list[Any]] | None] = {}
        for name in names:
            self._prepare(name)
        for name in names:
            positions = self._positions(name, set())
            self._inputs[name] = itemgetter(*sorted(positions)) if positions else lambda _row: None
            self._remembered[name] = None if self._source_at in positions else {}

    def run(self, condition: str, stage: str) -> None:
        """Evaluate the documents that satisfy ``condition``; the view then has the fields as columns.

        :param stage: part of the name of the table the values lie in
        :raises ShardFailure: a script failed on a document
        """
        view, plan = self._view, self._plan
        if not view.schema.created:
            return
        table = f"runtime_{stage}_{view.ordinal}"
        kinds = [KIND_SQL[self._fields[name].type] for name in self._names]
        columns = "".join(f", v{at} {kind}[]" for at, kind in enumerate(kinds))
        plan.cursor.execute(f"CREATE OR REPLACE TEMP TABLE {table} (s BIGINT{columns})")
        several = self._fill(table, condition, kinds)
        made, shown = dict(view.schema.columns), []
        for at, (name, multi) in enumerate(zip(self._names, several, strict=True)):
            column = f"{table}_{at}"
            made[name] = Column(column, name, self._fields[name].type, multi)
            shown.append(f", r.v{at}{'' if multi else '[1]'} AS {column}")
        joined = f"(SELECT d.*{''.join(shown)} FROM {view.schema.table} AS d LEFT JOIN {table} AS r ON d._seq_no = r.s)"
        view.schema = replace(view.schema, table=joined, columns=made)
        view.evaluated = view.evaluated | set(self._names)

    # Documents ------------------------------------------------------------------------------------------------------

    def _fill(self, table: str, condition: str, kinds: list[str]) -> list[bool]:
        """Write the values of all documents; whether a field has several values in any."""
        plan, source = self._plan, self._view.schema.table
        several = [False] * len(self._names)
        columns = ", ".join(["_seq_no", *self._columns])
        numbers = plan.run(f"SELECT _seq_no FROM {source} WHERE {condition} ORDER BY _seq_no").fetchnumpy()["_seq_no"]
        for start in range(0, len(numbers), BATCH):
            window = numbers[start : start + BATCH]
            within = f"_seq_no BETWEEN {window[0]} AND {window[-1]} AND ({condition})"
            rows = plan.run(f"SELECT {columns} FROM {source} WHERE {within}").fetchall()
            values = [self._values(name, rows) for name in self._names]
            for at, column in enumerate(values):
                several[at] = several[at] or max(map(len, column), default=0) > 1
            kept = [at for at, found in enumerate(zip(*values, strict=True)) if any(found)]
            self._write(table, [rows[at][0] for at in kept], [[column[at] for at in kept] for column in values], kinds)
        return several

    def _values(self, name: str, rows: list[tuple[Any, ...]]) -> list[list[Any]]:
        """The values of a field for each row; a script that has seen a row's inputs before is not run again."""
        remembered = self._remembered.get(name)
        if remembered is None:
            return [self._document(name, row) for row in rows]
        inputs = self._inputs[name]
        keys = list(map(inputs, rows))
        if self._lists:
            keys = list(map(_hashable, keys))
        before = len(remembered)
        for key, row in zip(keys, rows, strict=True):
            if key not in remembered:
                remembered[key] = self._document(name, row)
        found = [remembered[key] for key in keys]
        if len(remembered) - before > (1 - _REPEATED) * len(rows):
            self._remembered[name] = None
        elif len(remembered) > 5 * BATCH:
            remembered.clear()
        return found

    def _document(self, name: str, row: tuple[Any, ...]) -> list[Any]:
        try:
            return self._field(name, Doc(self._loaders, self._view.fields.__contains__, row, (name,)))
        except ElasticError as error:
            raise _failure(error) from None

    def _field(self, name: str, doc: Doc) -> list[Any]:
        """The sorted values of one runtime field of a document, as columns hold them."""
        definition = self._fields[name]
        if definition.script is None:
            values = from_source(definition, self._source(doc))
        else:
            params = definition.params
            if definition.script.source:
                params = {**params, "_source": self._source(doc)}
            try:
                values = definition.script.values(doc, params)
            except ElasticError as error:
                if definition.lenient and error.type == "script_exception":
                    return []
                raise
        if len(values) > 1:
            values.sort()
        return values

    def _source(self, doc: Doc) -> dict[str, Any]:
        assert self._source_at is not None
        source: dict[str, Any] = orjson.loads(doc.row[self._source_at])
        return source

    def _write(self, table: str, numbers: list[int], values: list[list[list[Any]]], kinds: list[str]) -> None:
        if not numbers:
            return
        known: dict[str, Any] = {"s": numbers}
        shape: dict[str, Any] = {"s": ["BIGINT"]}
        for at, (column, kind) in enumerate(zip(values, kinds, strict=True)):
            # JSON has no infinities.
            odd = kind == "DOUBLE" and not all(math.isfinite(value) for one in column for value in one)
            known[f"v{at}"] = [[repr(value) for value in one] for one in column] if odd else column
            shape[f"v{at}"] = [["VARCHAR" if odd else kind]]
        lists = "".join(f", unnest(k.v{at})::{kind}[]" for at, kind in enumerate(kinds))
        self._plan.cursor.execute(
            f"INSERT INTO {table} SELECT unnest(k.s){lists} FROM (SELECT from_json(?, ?) AS k)",
            [orjson.dumps(known).decode(), orjson.dumps(shape).decode()],
        )

    # What scripts read ----------------------------------------------------------------------------------------------

    def _prepare(self, name: str) -> None:
        """Ask for the columns that a field needs, and those of the fields it reads."""
        definition = self._fields[name]
        if definition.script is None or definition.script.source:
            self._need_source()
        for read in definition.script.reads if definition.script is not None else ():
            if read in self._loaders:
                continue
            if read in self._fields:
                self._loaders[read] = self._runtime_loader(read)
                self._prepare(read)
            else:
                self._loaders[read] = self._loader(read)

    def _positions(self, name: str, seen: set[str]) -> set[int]:
        """Where in a row the values lie that a field's depend on."""
        definition, found = self._fields[name], set[int]()
        seen.add(name)
        if definition.script is None or definition.script.source:
            assert self._source_at is not None
            found.add(self._source_at)
        for read in definition.script.reads if definition.script is not None else ():
            if read in self._at:
                found.add(self._at[read])
            elif read in self._fields and read not in seen:
                found |= self._positions(read, seen)
        return found

    def _need_source(self) -> None:
        if self._source_at is None:
            self._columns.append("_source")
            self._source_at = len(self._columns)

    def _runtime_loader(self, name: str) -> Loader:
        wrap, made = _WRAP.get(self._fields[name].type), CLASSES[self._fields[name].type]

        def load(doc: Doc) -> DocValues:
            chain = doc.chain
            if name in chain or len(chain) == MAX_CHAIN:
                problem = (
                    "Cyclic dependency detected while resolving runtime fields"
                    if name in chain
                    else "Field requires resolving too many dependent fields"
                )
                raise ScriptThrow("illegal_argument_exception", f"{problem}: {' -> '.join((*chain, name))}")
            doc.chain = (*chain, name)
            try:
                values = self._field(name, doc)
            finally:
                doc.chain = chain
            return made(values if wrap is None else map(wrap, values))

        return load

    def _loader(self, name: str) -> Loader:
        view = self._view
        mapped = view.index.mapping.fields.get(name)
        if mapped is None:
            if name.startswith("_"):
                return _refused(unsupported(f"Painless doc['{name}']"))
            return _refused(ScriptThrow("illegal_argument_exception", f"No field found for [{name}] in mapping"))
        target = view.target(name)
        if mapped.nested is not None or target is None:
            return lambda _doc: CLASSES["keyword"]()
        if target.kind == "text":
            reason = fielddata_disabled(name, view.index.name).reason
            return _refused(ScriptThrow("illegal_argument_exception", reason))
        kind = target.kind
        if kind not in KIND_SQL or mapped.type == "unsigned_long":
            return _refused(unsupported(f"Painless doc['{name}'] of a field of type [{mapped.type}]"))
        if target.sql is None:
            return lambda _doc: CLASSES[kind]()
        sql = target.sql
        if target.multi:
            self._lists = True
            sql = f"list_sort(list_distinct({sql}))" if kind in {"keyword", "ip"} else f"list_sort({sql})"
        self._columns.append(sql)
        self._at[name] = len(self._columns)
        return _column_loader(len(self._columns), kind, multi=target.multi)


_WRAP: Final[dict[str, Callable[[Any], Any]]] = {
    "date": lambda ms: ZonedDateTime(ms, UTC_ZONE),
    "ip": ip_from_column,
}
"""From a column's value to what a script sees."""


def _refused(error: Exception) -> Loader:
    def load(_doc: Doc) -> DocValues:
        raise error

    return load


def _hashable(key: Any) -> Any:
    if type(key) is tuple:
        return tuple(map(_hashable, key))
    return tuple(key) if type(key) is list else key


def _column_loader(at: int, kind: str, *, multi: bool) -> Loader:
    wrap, made = _WRAP.get(kind), CLASSES[kind]

    def load_all(doc: Doc) -> DocValues:
        values = doc.row[at] or ()
        return made(values if wrap is None else map(wrap, values))

    def load_one(doc: Doc) -> DocValues:
        value = doc.row[at]
        if value is None:
            return made()
        return made((value if wrap is None else wrap(value),))

    return load_all if multi else load_one
