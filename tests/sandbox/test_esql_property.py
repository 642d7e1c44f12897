"""ES|QL against a plain reading of the same documents in Python, over queries and documents hypothesis makes up.

Python reads an expression as (value, failed): a list where one value is wanted, a division by zero and an overflow
are None, and the sandbox must warn exactly when a row that is kept by then fails.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness.esql import syntax_errors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sandbox.esql_world import DEFAULT_LIMIT

from elastic_sandbox.backend import Backend
from elastic_sandbox.documents import BulkOperation

MAPPINGS = {
    "properties": {"k": {"type": "keyword"}, "n": {"type": "long"}, "i": {"type": "integer"}, "d": {"type": "double"},
                   "b": {"type": "boolean"}}
}  # fmt: skip
WORDS = st.sampled_from(["", "a", "ab", "b", "ä"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "k": WORDS,
    "n": st.integers(-3, 3) | st.just(2**63 - 1),
    "i": st.integers(-3, 3) | st.just(2**31 - 1),
    "d": st.integers(-8, 8).map(lambda n: n / 2),
    "b": st.booleans(),
}


def documents_of(values: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    fields = {path: value | st.lists(value, min_size=1, max_size=3) for path, value in values.items()}
    return st.lists(st.fixed_dictionaries({}, optional=fields), max_size=10)


DOCUMENTS = documents_of(VALUES)
# A sum beyond the range of a long is refused.
SMALL = documents_of({**VALUES, "n": st.integers(-3, 3), "i": st.integers(-3, 3)})
Row = dict[str, Any]
Read = Callable[[Row], Any]


class Expression:
    """ES|QL text, its type, and what it is in Python."""

    def __init__(self, text: str, kind: str, read: Read) -> None:
        self.text, self.kind, self.read = text, kind, read


def column(name: str, kind: str) -> Expression:
    return Expression(name, kind, lambda row: single(row.get(name)))


def single(value: Any) -> Any:
    """One value, None for several: every operator wants one."""
    return None if isinstance(value, list) else value


COLUMNS = {"k": "keyword", "n": "long", "i": "integer", "d": "double", "b": "boolean"}
NUMBERS = [column(name, COLUMNS[name]) for name in "nid"]
LITERALS = [Expression(str(n), "integer", lambda _row, n=n: n) for n in (0, 1, 2, -1)] + [
    Expression(str(x), "double", lambda _row, x=x: x) for x in (0.5, -2.5)
]
_RANK = ["integer", "long", "double"]


def arithmetic(left: Expression, operator: str, right: Expression) -> Expression:
    kind = max(left.kind, right.kind, key=_RANK.index)

    def read(row: Row) -> Any:
        a, b = left.read(row), right.read(row)
        if a is None or b is None:
            return None
        if operator in "/%":
            if b == 0:
                return None
            if kind == "double":
                return a / b if operator == "/" else _remainder(float(a), float(b))
            quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
            return quotient if operator == "/" else a - b * quotient
        made = {"+": a + b, "-": a - b, "*": a * b}[operator]
        bits = {"integer": 31, "long": 63}.get(kind)
        return float(made) if bits is None else made if -(2**bits) <= made < 2**bits else None

    return Expression(f"({left.text} {operator} {right.text})", kind, read)


def _remainder(a: float, b: float) -> float:
    import math

    return math.fmod(a, b)


def numbers() -> st.SearchStrategy[Expression]:
    return st.recursive(
        st.sampled_from(NUMBERS + LITERALS),
        lambda inner: st.builds(arithmetic, inner, st.sampled_from("+-*/%"), inner),
        max_leaves=4,
    )


def compared(left: Expression, operator: str, right: Expression) -> Expression:
    apply = {"==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b, ">=": lambda a, b: a >= b}

    def read(row: Row) -> Any:
        a, b = left.read(row), right.read(row)
        if a is None or b is None:
            return None
        if "double" in {left.kind, right.kind}:
            a, b = (float(x) if isinstance(x, int) else x for x in (a, b))
        return apply[operator](a, b)

    return Expression(f"{left.text} {operator} {right.text}", "boolean", read)


def conditions() -> st.SearchStrategy[Expression]:
    words = WORDS.map(lambda word: Expression(f'"{word}"', "keyword", lambda _row: word))
    keyword = column("k", "keyword")
    operators = st.sampled_from(["==", "!=", "<", ">="])
    leaves = st.one_of(
        st.builds(compared, numbers(), operators, numbers()),
        st.builds(compared, st.just(keyword), operators, words),
        st.just(column("b", "boolean")),
        st.sampled_from("knidb").map(
            lambda name: Expression(f"{name} IS NULL", "boolean", lambda row: row.get(name) is None)
        ),
        st.lists(WORDS, min_size=1, max_size=3).map(
            lambda among: Expression(
                "k IN (" + ", ".join(f'"{word}"' for word in among) + ")",
                "boolean",
                lambda row: None if (v := keyword.read(row)) is None else v in among,
            )
        ),
        st.sampled_from(["a*", "?", "*b"]).map(
            lambda pattern: Expression(f'k LIKE "{pattern}"', "boolean", lambda row: _like(keyword.read(row), pattern))
        ),
    )
    return st.recursive(leaves, _logic, max_leaves=4)


def _like(value: Any, pattern: str) -> Any:
    if value is None:
        return None
    return {"a*": value.startswith("a"), "?": len(value) == 1, "*b": value.endswith("b")}[pattern]


def _logic(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    def both(a: Expression, b: Expression) -> Expression:
        def read(row: Row) -> Any:
            values = {a.read(row), b.read(row)}
            return False if False in values else None if None in values else True

        return Expression(f"({a.text} AND {b.text})", "boolean", read)

    def either(a: Expression, b: Expression) -> Expression:
        def read(row: Row) -> Any:
            values = {a.read(row), b.read(row)}
            return True if True in values else None if None in values else False

        return Expression(f"({a.text} OR {b.text})", "boolean", read)

    def negated(a: Expression) -> Expression:
        return Expression(f"NOT ({a.text})", "boolean", lambda row: None if (v := a.read(row)) is None else not v)

    return st.one_of(st.builds(both, inner, inner), st.builds(either, inner, inner), st.builds(negated, inner))


def stored(document: Row) -> Row:
    """A document as its doc values have it: sorted, keywords once, one value without a list."""
    row = {}
    for path, value in document.items():
        values = sorted(value) if isinstance(value, list) else [value]
        if path == "k":
            values = sorted(set(values), key=str.encode)
        row[path] = values[0] if len(values) == 1 else values
    return row


def listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    made = Backend()
    yield made
    made.close()


def _load(backend: Backend, documents: list[Row]) -> list[Row]:
    import orjson

    backend.reset()
    backend.indices.create("x", {"mappings": MAPPINGS})
    operations = [BulkOperation("index", "x", str(n), raw=orjson.dumps(one)) for n, one in enumerate(documents)]
    if operations:
        backend.documents.bulk(operations, refresh=True)
    return [{"_id": str(n), **stored(one)} for n, one in enumerate(documents)]


def _ask(backend: Backend, query: str) -> Any:
    answer = backend.esql.query(query)
    return answer.values, [text for text in answer.warnings if text != DEFAULT_LIMIT]


PROFILE = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@PROFILE
@given(documents=DOCUMENTS, condition=conditions())
def test_where_keeps_the_rows_python_keeps(backend: Backend, documents: list[Row], condition: Expression) -> None:
    rows = _load(backend, documents)
    found, _ = _ask(backend, f"FROM x METADATA _id | WHERE {condition.text} | KEEP _id | SORT _id")
    assert [row[0] for row in found] == sorted(row["_id"] for row in rows if condition.read(row) is True)


@PROFILE
@given(documents=DOCUMENTS, expression=st.builds(arithmetic, numbers(), st.sampled_from("+-*/%"), numbers()))
def test_eval_computes_what_python_computes_and_warns_of_what_it_cannot(
    backend: Backend, documents: list[Row], expression: Expression
) -> None:
    rows = _load(backend, documents)
    found, warnings = _ask(backend, f"FROM x METADATA _id | EVAL v = {expression.text} | KEEP _id, v | SORT _id")
    wanted = {row["_id"]: expression.read(row) for row in rows}
    got = {row[0]: row[1] for row in found}
    assert got == {key: value if value is None else pytest.approx(value) for key, value in wanted.items()}
    used = [name for name in "nid" if name in expression.text.replace("integer", "")]
    whole = all(row.get(name) is not None for row in rows for name in used)
    if whole and any(value is None for value in wanted.values()):
        assert any("failed, treating result as null" in text for text in warnings)
    if all(value is not None for value in wanted.values()):
        assert warnings == []


@PROFILE
@given(documents=SMALL, condition=conditions(), key=st.sampled_from("kbi"), value=st.sampled_from("ndi"))
def test_stats_group_and_sum_as_python_does(
    backend: Backend, documents: list[Row], condition: Expression, key: str, value: str
) -> None:
    rows = _load(backend, documents)
    query = (
        f"FROM x | STATS rows = COUNT(*), some = COUNT(*) WHERE {condition.text}, c = COUNT({value}), "
        f"s = SUM({value}), a = AVG({value}), lo = MIN({value}), hi = MAX({value}), m = MEDIAN({value}), "
        f"u = COUNT_DISTINCT({value}), vs = VALUES({value}) BY {key} | LIMIT 1000"
    )
    found = {row[-1]: row[:-1] for row in _ask(backend, query)[0]}
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        for one in set(listed(row.get(key))) or {None}:
            groups.setdefault(one, []).append(row)
    assert set(found) == set(groups)
    for name, members in groups.items():
        every = [v for row in members for v in listed(row.get(value))]
        distinct = sorted(set(every))
        wanted = [
            len(members),
            sum(condition.read(row) is True for row in members),
            len(every),
            sum(every) if every else None,
            statistics.fmean(every) if every else None,
            min(every, default=None),
            max(every, default=None),
            statistics.median(every) if every else None,
            len(distinct),
        ]
        assert found[name][:-1] == [None if one is None else pytest.approx(one) for one in wanted]
        assert listed(found[name][-1]) == distinct


@settings(PROFILE, max_examples=8)
@given(condition=conditions(), expression=numbers())
def test_what_is_made_up_here_parses_with_elastics_grammar(condition: Expression, expression: Expression) -> None:
    query = f"FROM x | WHERE {condition.text} | EVAL v = {expression.text} | STATS COUNT(*) WHERE {condition.text}"
    assert syntax_errors(query) == []


KEYS = st.lists(
    st.tuples(st.sampled_from("knidb"), st.booleans(), st.sampled_from([None, True, False])), min_size=1, max_size=3
)


@PROFILE
@given(documents=DOCUMENTS, keys=KEYS)
def test_sort_orders_as_python_does(
    backend: Backend, documents: list[Row], keys: list[tuple[str, bool, bool | None]]
) -> None:
    ordered = sorted(_load(backend, documents), key=lambda row: str(row["_id"]))
    clauses = [
        name + (" DESC" if down else "") + ("" if first is None else " NULLS FIRST" if first else " NULLS LAST")
        for name, down, first in keys
    ]
    found, _ = _ask(backend, f"FROM x METADATA _id | SORT {', '.join(clauses)}, _id | KEEP _id")
    for name, down, first in reversed(keys):
        ordered = _sorted(ordered, name, down, down if first is None else first)
    assert [row[0] for row in found] == [row["_id"] for row in ordered]


def _sorted(rows: list[Row], name: str, down: bool, nulls_first: bool) -> list[Row]:
    """Stable, a list by its smallest value, or by its largest when the order descends."""

    def rank(row: Row) -> Any:
        values = [value.encode() if isinstance(value, str) else value for value in listed(row[name])]
        return max(values) if down else min(values)

    present = [row for row in rows if row.get(name) is not None]
    absent = [row for row in rows if row.get(name) is None]
    present = sorted(present, key=rank, reverse=down)
    return absent + present if nulls_first else present + absent
