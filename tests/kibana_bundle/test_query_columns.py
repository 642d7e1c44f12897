"""Which columns a query answers with, from its text: what the lint relies on."""

from __future__ import annotations

import pytest

from elastic_ml.kibana_bundle.columns import answer_of, commands

TOLD = {
    "FROM a | STATS n = COUNT(*), s = SUM(x) WHERE y == \"a, | c\" BY at = BUCKET(t, 1 day), k": ["n", "s", "at", "k"],
    "FROM a | KEEP x, `y z` | EVAL x = 1, w = CASE(x == 1, \"a|b\", \"c\")": ["y z", "x", "w"],
    "FROM a | STATS COUNT(*) BY name": ["COUNT(*)", "name"],
    "FROM a | STATS BY name": ["name"],
    "ROW a = 1, b = [1, 2] | RENAME a AS c | DROP b": ["c"],
    "FROM a | KEEP a1, a2, b | KEEP a*": ["a1", "a2"],
    "FROM a // | KEEP x\n| KEEP y /* | DROP y */": ["y"],
    "FROM a | STATS n = COUNT(*) BY k | LOOKUP JOIN l ON k | KEEP n, extra": ["n", "extra"],
}  # fmt: skip


@pytest.mark.parametrize("query", TOLD)
def test_columns_are_told_in_order(query: str) -> None:
    answer = answer_of(query)
    assert (answer.columns, answer.open) == (TOLD[query], False)


@pytest.mark.parametrize(
    "query",
    [
        "FROM a",
        "FROM a | WHERE x == 1 | EVAL y = 2",
        "FROM a | STATS n = COUNT(*) BY k | LOOKUP JOIN l ON k",
        "FROM a | KEEP x*",
    ],
)
def test_what_depends_on_an_index_is_open(query: str) -> None:
    assert answer_of(query).open


def test_texts_and_comments_hold_no_commands() -> None:
    names = [name for name, _ in commands('FROM a | WHERE x == "| KEEP y" AND z == """a "quoted" | b""" // | DROP q')]
    assert names == ["FROM", "WHERE"]
