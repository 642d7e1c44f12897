"""Where rows come from: the fields of some indices as columns, and the SELECT over their tables.

Only fields that a query uses are read, so the SELECT is written last, when it is known which those are.
"""

# Statements are made of names from the schema; every text of a request is a parameter.

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elastic_sandbox.documents.columns import tokens
from elastic_sandbox.errors import ElasticError, index_not_found, unsupported
from elastic_sandbox.esql.errors import Problem, parsing_error
from elastic_sandbox.esql.scope import Compilation
from elastic_sandbox.esql.tree import Node
from elastic_sandbox.esql.types import FIELD_TYPES, NUMBERS, SQL, STRINGS, Value, shown
from elastic_sandbox.search.failures import ShardFailure
from elastic_sandbox.search.query import Query
from elastic_sandbox.search.view import IndexView

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.documents import Snapshot
    from elastic_sandbox.indices import Index

METADATA = {
    "_id": ("keyword", "_id"),
    "_index": ("keyword", ""),
    "_version": ("long", "_version"),
    "_ignored": ("keyword", "_ignored"),
    "_source": ("_source", "_source"),
}
"""Name after METADATA to (type, column of the table); the index's name is a constant of its table."""
_OTHER_METADATA = frozenset({"_index_mode", "_score", "_tier", "_size", "_tsid", "_slice", "_fork"})


def resolve_sources(backend: Backend, patterns: list[str]) -> list[Index] | None:
    """The indices of FROM; None when there is none at all.

    :raises ElasticError: 404 for a name that is missing beside others that are there (Elastic's REST test
        EsqlRestValidationTestCase)
    """
    pieces = [piece.strip() for pattern in patterns for piece in pattern.split(",")]
    found = backend.indices.resolve(",".join(pieces), ignore_unavailable=True)
    missing = [piece for piece in pieces if "*" not in piece and not piece.startswith("-") and _absent(backend, piece)]
    if missing and found:
        raise index_not_found(missing[0])
    # A failure store without documents has no index yet, and is no unknown index either.
    if missing or not (found or any("::" in piece for piece in pieces)):
        return None
    return sorted(found, key=lambda index: index.name)


def _absent(backend: Backend, name: str) -> bool:
    try:
        backend.indices.resolve(name)
    except ElasticError as error:
        if error.status != 404:
            raise
        return True
    return False


@dataclass
class SourceField:
    """A field of FROM: its type in each index.

    :param types: ES|QL type to the indices where it has that type
    :param original: the mapping's own types
    """

    source: Source
    path: str
    types: dict[str, list[str]]
    original: list[str]
    number: int

    @property
    def type(self) -> str:
        """The type of all; ``unsupported`` when they differ."""
        return next(iter(self.types)) if len(self.types) == 1 else "unsupported"

    def refusal(self) -> str:
        """Why the field cannot be used."""
        if len(self.types) == 1:
            return f"Cannot use field [{self.path}] with unsupported type [{self.original[0]}]"
        listed = []
        for kind, names in sorted(self.types.items()):
            named = ", ".join(sorted(names)[:3])
            more = len(names) - 3
            plural = "index" if more == 1 else "indices"
            listed.append(f"[{kind}] in [{named}]" + (f" and [{more}] other {plural}" if more > 0 else ""))
        return (
            f"Cannot use field [{self.path}] due to ambiguities being mapped as [{len(self.types)}] incompatible "
            f"types: {', '.join(listed)}"
        )

    def variants(self) -> list[Value]:
        """A field of several types as one column per type, each null where the field has another."""
        if len(self.types) == 1 or "unsupported" in self.types:
            return []
        return [self.source.column(self, kind) for kind in self.types]

    def matches(self, expressions: Any, node: Node, column: Value, constant: Value) -> Value:
        """The ``:`` operator: a term of a keyword or number, any word of a text. Never null."""
        if column.type in STRINGS and constant.type == "keyword":
            if column.type == "text":
                words = list(dict.fromkeys(tokens(str(constant.literal))))
                known = self.source.words(self)
                parameter = expressions.compilation.parameters.add(words)
                sql = f"list_has_any({known}, {parameter})" if words else "false"
                return Value(f"coalesce({sql}, false)", "boolean", node)
        elif column.type in {"date", "ip", "boolean"} or (column.type in NUMBERS and constant.type not in NUMBERS):
            raise unsupported(f"[:] on a field of type [{shown(column.type)}] with a [{constant.type}]")
        elif not (column.type in NUMBERS and constant.type in NUMBERS):
            raise Problem(node, f"second argument of [{node.text}] must be [string], found value "
                                f"[{constant.node.text}] type [{constant.type}]")  # fmt: skip
        sql = f"list_contains({column.sql}, {constant.sql})" if column.multi else f"{column.sql} = {constant.sql}"
        return Value(f"coalesce({sql}, false)", "boolean", node)


@dataclass
class Source:
    """The rows of some indices.

    :param label: what its columns' names start with
    :param query: which documents there are at all
    """

    compilation: Compilation
    snapshot: Snapshot
    indices: list[Index]
    label: str
    query: Query | None = None
    fields: dict[str, SourceField] = field(default_factory=dict)
    views: list[IndexView] = field(default_factory=list)
    _columns: dict[str, tuple[SourceField, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        schemas = {index.uuid: schema for index, schema in self.snapshot.views}
        for ordinal, index in enumerate(self.indices):
            names = {index.name, *index.aliases}
            if index.data_stream is not None:
                names.add(index.data_stream)
            self.views.append(
                IndexView(
                    index, schemas[index.uuid], ordinal, self.compilation.now_ms, self.compilation.parameters,
                    frozenset(names),
                )
            )  # fmt: skip
        self._collect()

    def _collect(self) -> None:
        found: dict[str, tuple[dict[str, list[str]], list[str]]] = {}
        for view in self.views:
            for path, mapped in view.fields.items():
                if mapped.nested is not None:
                    continue  # invisible (REST test 40_unsupported_types, "nested declared inline")
                types, original = found.setdefault(path, ({}, []))
                types.setdefault(FIELD_TYPES[mapped.type], []).append(view.index.name)
                if mapped.type not in original:
                    original.append(mapped.type)
        # Objects are walked level by level, each sorted by name, as the mapping is.
        for number, path in enumerate(sorted(found, key=lambda path: path.split("."))):
            types, original = found[path]
            self.fields[path] = SourceField(self, path, types, original, number)

    def columns(self, metadata: tuple[Any, ...], node: Node) -> dict[str, Value]:
        """The fields by name, then the metadata asked for."""
        made = {path: self.column(one, one.type, node) for path, one in self.fields.items()}
        if not made:
            made["<no-fields>"] = Value("NULL", "null", node, atom=True)
        for name in metadata:
            if name.name not in METADATA:
                if name.name in _OTHER_METADATA:
                    raise unsupported(f"METADATA {name.name}")
                raise parsing_error(name.node.line, name.node.column, f"unsupported metadata field [{name.name}]")
            kind = METADATA[name.name][0]
            made.pop(name.name, None)
            made[name.name] = Value(f"{self.label}{name.name}", kind, node, multi=name.name == "_ignored", atom=True)
        return made

    def column(self, one: SourceField, kind: str, node: Node | None = None) -> Value:
        """A field as a column; ``kind`` chooses among its types."""
        name = f"{self.label}_{one.number}" + ("" if kind == one.type else f"_{kind}")
        self._columns[name] = (one, kind)
        multi = kind == "text" or any(
            view.schema.columns[one.path].multi
            for view in self.views
            if one.path in view.schema.columns and FIELD_TYPES.get(view.schema.columns[one.path].type) == kind
        )
        return Value(name, kind, node or Node("column", one.path, 0, 0), multi=multi, atom=True, field=one)

    def words(self, one: SourceField) -> str:
        """The column of a text's tokens."""
        name = f"{self.label}_{one.number}_words"
        self._columns[name] = (one, "words")
        return name

    # The SELECT -----------------------------------------------------------------------------------------------------

    def select(self, used_by: str) -> str:
        """All rows, with the columns that the SQL ``used_by`` names."""
        used = sorted(set(re.findall(rf"\b{self.label}_\w+\b", used_by)))
        parts = []
        for view in self.views:
            if not view.schema.created:
                continue
            condition = "" if self.query is None else f" WHERE {self._condition(view)}"
            listed = ", ".join(f"{self._sql(view, name)} AS {name}" for name in used) or "1 AS nothing"
            parts.append(f"SELECT {listed} FROM {view.schema.table}{condition}")
        if parts:
            return " UNION ALL ".join(parts)
        listed = ", ".join(f"CAST(NULL AS {self._sql_type(name)}) AS {name}" for name in used) or "1 AS nothing"
        return f"SELECT {listed} WHERE false"

    def _condition(self, view: IndexView) -> str:
        assert self.query is not None
        try:
            return f"({self.query.sql(view)})"
        except ShardFailure as failure:
            raise ElasticError(failure.status, failure.type, failure.reason, caused_by=failure.caused_by) from None

    def _sql_type(self, name: str) -> str:
        if name.removeprefix(self.label) in METADATA:
            return SQL[METADATA[name.removeprefix(self.label)][0]] + ("[]" if name.endswith("_ignored") else "")
        one, kind = self._columns[name]
        return "VARCHAR[]" if kind == "words" else self.column(one, kind).sql_type

    def _sql(self, view: IndexView, name: str) -> str:
        special = METADATA.get(name.removeprefix(self.label))
        if special is not None:
            return special[1] or f"CAST({self.compilation.text(view.index.name)} AS VARCHAR)"
        one, kind = self._columns[name]
        mapped = view.fields.get(one.path)
        target = None if mapped is None or mapped.nested is not None else view.target(one.path)
        wanted = self._sql_type(name)
        if target is None or target.sql is None:
            return f"CAST(NULL AS {wanted})"
        if kind == "words":
            return target.sql
        if FIELD_TYPES[target.type] != kind or (kind == "unsupported"):
            return f"CAST(NULL AS {wanted})"
        if kind == "text":
            path = self.compilation.text(_source_path(view, one.path))
            return f"CAST(CAST(esql_text('source', _source, {path}) AS JSON) AS VARCHAR[])"
        if target.multi:
            # Values come from doc values: sorted, and keywords and addresses each once.
            once = f"list_distinct({target.sql})" if kind in {"keyword", "ip"} else target.sql
            return f"list_sort({once})"
        if wanted.endswith("[]"):
            return f"CASE WHEN {target.sql} IS NOT NULL THEN [{target.sql}] END"
        return target.sql


def _source_path(view: IndexView, path: str) -> str:
    """Where in the source a field's value is: a multi-field's is its parent's."""
    pieces = path.split(".")
    for cut in range(1, len(pieces)):
        if ".".join(pieces[:cut]) in view.fields:
            return ".".join(pieces[:cut])
    return path
