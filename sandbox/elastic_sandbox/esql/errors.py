"""What a query can be refused for, worded as the server words it."""

from __future__ import annotations

from collections.abc import Iterable

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.esql.tree import Node
from elastic_sandbox.esql.types import Value, shown


def parsing_error(line: int, column: int, reason: str) -> ElasticError:
    """400 parsing_exception; columns count from 1."""
    return ElasticError(400, "parsing_exception", f"line {line}:{column}: {reason}")


def verification_error(problems: Iterable[str]) -> ElasticError:
    """400 verification_exception that lists every problem of the query, each ``line:column: words``."""
    found = list(dict.fromkeys(problems))
    plural = "" if len(found) == 1 else "s"
    listed = "\n".join(f"line {problem}" for problem in found)
    return ElasticError(400, "verification_exception", f"Found {len(found)} problem{plural}\n{listed}")


class Problem(Exception):  # noqa: N818  the server calls it so
    """One thing wrong with one expression; the analyzer collects them."""

    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(f"{node.line}:{node.column}: {reason}")


def wrong_type(node: Node, words: str, value: Value, ordinal: str = "") -> Problem:
    """``second argument of [f(a, b)] must be [words], found value [b] type [keyword]``; ``ordinal`` ends in a blank."""
    found = f"found value [{value.node.text}] type [{shown(value.type)}]"
    return Problem(node, f"{ordinal}argument of [{node.text}] must be [{words}], {found}")


def similar(name: str, known: Iterable[str]) -> list[str]:
    """Names at least half alike, most alike first (Lucene's LevenshteinDistance, which the server asks)."""
    scored = [(1 - _distance(name, other) / max(len(name), len(other), 1), other) for other in known]
    return [other for score, other in sorted(scored, key=lambda item: -item[0]) if score >= 0.5]


def unknown(what: str, name: str, known: Iterable[str], compared: str | None = None) -> str:
    """``Unknown column [x], did you mean any of [y, z]?``."""
    matches = similar(compared or name, known)
    if not matches:
        return f"Unknown {what} [{name}]"
    meant = f"[{matches[0]}]" if len(matches) == 1 else f"any of [{', '.join(matches)}]"
    return f"Unknown {what} [{name}], did you mean {meant}?"


def _distance(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]
