"""The commands, each from the rows before it to the rows after it."""

# Statements are made of generated names; every text of a request is a parameter.

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from elastic_sandbox.errors import unsupported
from elastic_sandbox.esql.errors import Problem, parsing_error, unknown
from elastic_sandbox.esql.expressions import Expressions
from elastic_sandbox.esql.scope import Compilation, Rows
from elastic_sandbox.esql.source import Source
from elastic_sandbox.esql.stats import stats
from elastic_sandbox.esql.tree import Command, Name, Node
from elastic_sandbox.esql.types import AMOUNTS, Value, shown, wider
from elastic_sandbox.search.source import wildcard_regex
from elastic_sandbox.versions import knows

if TYPE_CHECKING:
    from elastic_sandbox.documents import Snapshot
    from elastic_sandbox.indices import Index
    from elastic_sandbox.search.query import Query

DEFAULT_LIMIT = 1000
MAX_LIMIT = 10_000


@dataclass
class Compiler:
    """Compiles the commands of one query.

    :param indices: those of FROM
    :param lookups: those of each LOOKUP JOIN, by its name
    """

    compilation: Compilation
    snapshot: Snapshot
    indices: list[Index]
    lookups: dict[str, list[Index]]
    query: Query | None

    def __post_init__(self) -> None:
        self.sources: list[Source] = []
        self.rows = Rows(self.compilation, "", {})
        self.limited = False
        self.cut = ""  # the last command after which a field's index is out of reach
        self._unbounded = False
        self._sorted: Node | None = None
        self._lost_order: Node | None = None

    def compile(self, commands: tuple[Command, ...]) -> tuple[str, dict[str, Value]]:
        """The statement, and the columns of its answer."""
        handlers: dict[str, Callable[[Command], None]] = {
            "from": self._from, "row": self._row, "where": self._where, "eval": self._eval, "stats": self._stats,
            "sort": self._sort, "limit": self._limit, "keep": self._keep, "drop": self._drop,
            "rename": self._rename, "mv_expand": self._mv_expand, "lookup_join": self._lookup_join,
        }  # fmt: skip
        for command in commands:
            try:
                handlers[command.kind](command)
            except Problem as problem:
                self.compilation.problem(problem)
        return self._finished()

    def _finished(self) -> tuple[str, dict[str, Value]]:
        limit = MAX_LIMIT
        if not self.limited:
            limit = DEFAULT_LIMIT
            self.compilation.notes.append(f"No limit defined, adding default limit of [{DEFAULT_LIMIT}]")
        lost = self._lost_order
        if lost is not None and knows(self.compilation.version, "esql.lookup_join_sort_warning"):
            self.compilation.notes.append(
                f"Line {lost.line}:{lost.column}: SORT is followed by a LOOKUP JOIN which does not preserve order; "
                "add another SORT after the LOOKUP JOIN if order is required"
            )
        columns = self.rows.columns
        listed = ", ".join(f"{value.sql} AS r{number}" for number, value in enumerate(columns.values()))
        inner = self.rows.flushed()
        sql = f"SELECT {listed or '1'} FROM ({inner}){self.rows.ordered()} LIMIT {limit}"
        for source in reversed(self.sources):
            marker = f"\0{source.label}\0"
            sql = sql.replace(marker, source.select(sql))
        return sql, columns

    def _expressions(self, *, matching: str | None = "is only supported in WHERE and STATS commands") -> Expressions:
        return Expressions(self.rows, matching=matching)

    # Sources --------------------------------------------------------------------------------------------------------

    def _source(self, indices: list[Index], query: Query | None) -> Source:
        source = Source(self.compilation, self.snapshot, indices, f"s{len(self.sources)}", query)
        self.sources.append(source)
        return source

    def _from(self, command: Command) -> None:
        source = self._source(self.indices, self.query)
        # The SELECT is put in when it is known which columns are used.
        self.rows = Rows(self.compilation, f"\0{source.label}\0", source.columns(command.parts[1], command.node))

    def _row(self, command: Command) -> None:
        self.rows = Rows(self.compilation, "SELECT 1 AS nothing", {})
        expressions = self._expressions()
        for field in command.parts:
            value = expressions.value(field.expression)
            if value.type in AMOUNTS:
                self.compilation.problem(
                    Problem(field.expression, f"cannot use [{field.expression.text}] directly in a row assignment")
                )
            self._put(str(field.name), value)

    # Rows -----------------------------------------------------------------------------------------------------------

    def _where(self, command: Command) -> None:
        matching = f"cannot be used after {self.cut}" if self.cut else None
        condition = Expressions(self.rows, matching=matching).value(command.parts[0])
        sql = boolean_condition(self.compilation, Expressions(self.rows), condition)
        if self._unbounded:
            raise unsupported(
                "a SORT without LIMIT before MV_EXPAND or LOOKUP JOIN and WHERE, which Elasticsearch may refuse"
            )
        self.rows.sql = f"SELECT * FROM ({self.rows.flushed()}) WHERE {sql}"

    def _limit(self, command: Command) -> None:
        node = command.parts[0]
        value, kind = node.args
        if kind != "integer" or value < 0:
            named = {"keyword": "String", "double": "Double", "boolean": "Boolean", "long": "Long"}.get(kind, "Integer")
            raise parsing_error(
                command.node.line, command.node.column,
                f"Invalid value for LIMIT [{value}: {named}], expecting a non negative integer",
            )  # fmt: skip
        self.rows.sql = f"SELECT * FROM ({self.rows.flushed()}){self.rows.ordered()} LIMIT {value}"
        self.limited = True
        self._unbounded = False
        self.cut = "LIMIT"

    def _sort(self, command: Command) -> None:
        expressions = self._expressions()
        order = []
        for key in command.parts:
            value = expressions.value(key.expression)
            if value.type in {"geo_point", "_source"}:
                self.compilation.problem(Problem(key.expression, f"cannot sort on {value.type}"))
            if value.multi:
                # A list sorts by its smallest value, descending by its largest.
                value = Value(f"list_{'max' if key.descending else 'min'}({value.sql})", value.type, value.node)
            nulls_first = key.descending if key.nulls_first is None else key.nulls_first
            direction = f"{'DESC' if key.descending else 'ASC'} NULLS {'FIRST' if nulls_first else 'LAST'}"
            if value.type not in {"null", "unresolved"} and not value.constant:
                order.append(f"{self.rows.bind(value).sql} {direction}")
        self.rows.order = order
        self._sorted, self._lost_order = command.node, None
        self._unbounded = False

    def _mv_expand(self, command: Command) -> None:
        name = str(command.parts[0].name)
        value = self._expressions().named(name, command.parts[0].node)
        if value.type == "unsupported":
            raise Problem(command.parts[0].node, value.field.refusal())
        self._lose_bounds()
        self.cut = "MV_EXPAND"
        if not value.multi:
            self.rows.columns[name] = replace(value, field=None)
            return
        expanded = f"t{len(self.compilation.definitions)}"
        self.compilation.definitions[expanded] = "NULL"
        listed = f"CASE WHEN len({value.sql}) > 0 THEN {value.sql} ELSE [NULL] END"
        self.rows.sql = f"SELECT *, unnest({listed}) AS {expanded} FROM ({self.rows.flushed()})"
        self.rows.columns[name] = replace(value, sql=expanded, multi=False, field=None)

    def _lose_bounds(self) -> None:
        if self.rows.order and not self.limited:
            self._unbounded = True

    # Columns --------------------------------------------------------------------------------------------------------

    def _put(self, name: str, value: Value) -> None:
        """A column that replaces its namesake and comes last."""
        if not (value.constant and value.atom):
            value = self.rows.bind(value)
        self.rows.columns = {**{key: one for key, one in self.rows.columns.items() if key != name}, name: value}

    def _eval(self, command: Command) -> None:
        for field in command.parts:
            value = self._expressions().value(field.expression)
            if value.type in AMOUNTS:
                self.compilation.problem(
                    Problem(
                        field.expression,
                        f"EVAL does not support type [{value.type}] as the return data type of expression "
                        f"[{field.expression.text}]",
                    )
                )
            # What EVAL makes is no field of an index any more.
            self._put(str(field.name), replace(value, field=None))

    def _chosen(self, name: Name) -> list[str]:
        """The columns a name or pattern means.

        :raises Problem: there are none
        """
        text = str(name.name)
        if not name.pattern:
            if text not in self.rows.columns:
                raise Problem(name.node, unknown("column", text, self.rows.columns))
            return [text]
        regex = wildcard_regex(text)
        found = [column for column in self.rows.columns if regex.fullmatch(column)]
        if not found and text != "*":
            raise Problem(name.node, f"No matches found for pattern [{text}]")
        return found

    def _each(self, names: tuple[Name, ...]) -> list[tuple[Name, list[str]]]:
        found = []
        for name in names:
            try:
                found.append((name, self._chosen(name)))
            except Problem as problem:
                self.compilation.problem(problem)
        return found

    def _keep(self, command: Command) -> None:
        # A full name wins over a pattern, a pattern over `*`; among equals the last decides the place.
        kept: dict[str, int] = {}
        for name, columns in self._each(command.parts):
            priority = 1 if not name.pattern else 4 if name.name == "*" else 3
            for column in columns:
                if kept.get(column, 9) >= priority:
                    kept.pop(column, None)
                    kept[column] = priority
        self.rows.columns = {column: self.rows.columns[column] for column in kept}

    def _drop(self, command: Command) -> None:
        gone = set()
        for name, columns in self._each(command.parts):
            if name.pattern and name.name == "*":
                raise parsing_error(name.node.line, name.node.column, "Removing all fields is not allowed [*]")
            gone |= set(columns)
        self.rows.columns = {column: value for column, value in self.rows.columns.items() if column not in gone}

    def _rename(self, command: Command) -> None:
        renamed: dict[str, str] = {}
        for old, new, node in command.parts:
            if old.pattern or new.pattern:
                raise parsing_error(
                    old.node.line, old.node.column,
                    f"Using wildcards [*] in RENAME is not allowed [{node.text}]",
                )  # fmt: skip
            before, after = old.name, new.name
            if before not in self.rows.columns:
                words = unknown("column", before, self.rows.columns)
                if before in renamed:
                    words = f"Column [{before}] renamed to [{renamed[before]}] and is no longer available [{node.text}]"
                self.compilation.problem(Problem(node if before in renamed else old.node, words))
                continue
            value = self.rows.columns[before]
            if value.type == "unsupported":
                self.compilation.problem(Problem(old.node, value.field.refusal()))
            renamed[before] = after
            columns = {}
            for name, column in self.rows.columns.items():
                if name == before:
                    columns[after] = column
                elif name != after:
                    columns[name] = column
            self.rows.columns = columns

    def _stats(self, command: Command) -> None:
        aggregates, groups = command.parts
        if not aggregates and not groups:
            raise parsing_error(
                command.node.line, command.node.column,
                f"At least one aggregation or grouping expression required in [{command.node.text}]",
            )  # fmt: skip
        matching = f"cannot be used after {self.cut}" if self.cut else None
        self.rows = stats(self.rows, aggregates, groups, matching)
        self.cut = "STATS"
        self._sorted = self._lost_order = None
        self._unbounded = False

    # LOOKUP JOIN ----------------------------------------------------------------------------------------------------

    def _lookup_join(self, command: Command) -> None:
        (text, node), names = command.parts
        found = self.lookups[text]
        if not found:
            raise Problem(node, f"Unknown index [{text}]")
        if len(found) > 1 or found[0].mode != "lookup":
            listed = ", ".join(index.name for index in found)
            modes = ", ".join(sorted({index.mode for index in found}))
            raise Problem(
                node,
                f"Lookup Join requires a single lookup mode index; [{text}] resolves to [{listed}] in [{modes}] mode",
            )
        if len(names) > 1 and len({name.name for name in names}) < len(names):
            raise parsing_error(command.node.line, command.node.column, "JOIN ON clause does not support "
                                "multiple fields of the same name")  # fmt: skip
        self._lose_bounds()
        self._lost_order = self._sorted
        source = self._source(found, None)
        right = Rows(self.compilation, f"\0{source.label}\0", source.columns((), command.node))
        on, keys = [], []
        for name in names:
            key = str(name.name)
            pair = self._join_key(command.node, name.node, key, right)
            if pair is not None:
                keys.append(key)
                on.append(f"l.{pair[0]} = r.{pair[1]}")
        brought = {name: value for name, value in right.columns.items() if name not in keys}
        self.rows.sql = (
            f"SELECT l.*, r.* FROM ({self.rows.flushed()}) AS l LEFT JOIN ({right.flushed()}) AS r "
            f"ON {' AND '.join(on) or 'false'}"
        )
        kept = {name: value for name, value in self.rows.columns.items() if name not in brought}
        self.rows.columns = {**kept, **{name: replace(value, field=None) for name, value in brought.items()}}
        self.cut = "LOOKUP JOIN"

    def _join_key(self, command: Node, node: Node, key: str, right: Rows) -> tuple[str, str] | None:
        sides = []
        for side, rows in (("left", self.rows), ("right", right)):
            try:
                sides.append(Expressions(rows).named(key, node))
            except Problem as problem:
                words = re.sub(r"^(\d+:\d+: Unknown column \[.*?\])", rf"\1 in {side} side of join", str(problem))
                self.compilation.problems.append(words)
        if len(sides) < 2:
            return None
        left, other = sides
        for value in (left, other):
            if value.type == "unsupported":
                raise Problem(node, value.field.refusal())
        if other.type == "text":
            raise Problem(node, f"JOIN with right field [{key}] of type [TEXT] is not supported")
        kind = wider(left.type, other.type)
        if left.type != "unresolved" and kind is None:
            raise Problem(
                node,
                f"JOIN left field [{key}] of type [{shown(left.type).upper()}] is incompatible with right field "
                f"[{key}] of type [{shown(other.type).upper()}]",
            )
        pair = []
        words = "java.lang.IllegalArgumentException: LOOKUP JOIN encountered multi-value"
        for value, rows in ((left, self.rows), (other, right)):
            expressions = Expressions(rows)
            one = expressions.single(value, command, words=words)
            cast = Value(expressions.cast_to(one, kind or value.type), kind or value.type, node)
            pair.append(rows.bind(cast).sql)
        return pair[0], pair[1]


def boolean_condition(compilation: Compilation, expressions: Expressions, condition: Value) -> str:
    """SQL of a WHERE; what is no boolean is refused, and null is false."""
    if condition.type == "unresolved":
        return "false"
    if condition.type not in {"boolean", "null"}:
        compilation.problem(
            Problem(
                condition.node,
                f"Condition expression needs to be boolean, found [{shown(condition.type).upper()}]",
            )
        )
        return "false"
    return expressions.single(condition, condition.node).sql if condition.type == "boolean" else "false"


def source_names(commands: tuple[Command, ...]) -> tuple[list[str], list[tuple[str, Node]]]:
    """The patterns of FROM, and the index of every LOOKUP JOIN.

    :raises ElasticError: 400 for a pattern where one index is wanted
    """
    patterns = [text for text, _ in commands[0].parts[0]] if commands[0].kind == "from" else []
    lookups = []
    for command in commands:
        if command.kind == "lookup_join":
            text, node = command.parts[0]
            if "*" in text:
                raise parsing_error(
                    node.line, node.column, f"invalid index pattern [{text}], * is not allowed in LOOKUP JOIN"
                )
            lookups.append((text, node))
    return patterns, lookups
