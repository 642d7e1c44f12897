"""LIKE and RLIKE patterns as regular expressions of DuckDB (RE2)."""

from __future__ import annotations

import re

from elastic_sandbox.errors import illegal_argument, unsupported

_SPECIAL = frozenset('#@&<>~"')
"""Lucene's optional operators: what they do has no RE2 equivalent."""


def wildcard(pattern: str) -> str:
    """``*`` is any text, ``?`` any character, a backslash takes what follows as it is."""
    pieces, at = ["(?s)"], 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "\\" and at + 1 < len(pattern):
            at += 1
            pieces.append(re.escape(pattern[at]))
        else:
            pieces.append({"*": ".*", "?": "."}.get(letter) or re.escape(letter))
        at += 1
    return "".join(pieces)


def lucene(pattern: str) -> str:
    """The part of Lucene's syntax that both engines read alike; ``^`` and ``$`` are plain characters there.

    :raises ElasticError: 501 for the operators ``# @ & < > ~ "``
    """
    pieces, at, inside = ["(?s)"], 0, False
    while at < len(pattern):
        letter = pattern[at]
        if letter == "\\":
            at += 1
            following = pattern[at : at + 1]
            if following.isalpha() and following not in "dDsSwW":
                raise unsupported(f"RLIKE with [\\{following}]")
            pieces.append("\\" + following if following in "dDsSwW" else re.escape(following))
        elif letter in _SPECIAL and not inside:
            raise unsupported(f"RLIKE with Lucene's operator [{letter}]")
        elif letter in "^$" and not (inside and pattern[at - 1] == "["):
            pieces.append("\\" + letter)
        else:
            inside = (inside or letter == "[") and letter != "]"
            pieces.append(letter)
        at += 1
    made = "".join(pieces)
    try:
        re.compile(made)
    except re.error as error:
        raise illegal_argument(f"invalid regular expression [{pattern}]: {error}") from None
    return made
