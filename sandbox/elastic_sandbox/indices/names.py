"""Which names indices, aliases and data streams may have, and patterns over names."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from elastic_sandbox.errors import ElasticError, illegal_argument

_FORBIDDEN = ["\\", "/", "*", "?", '"', "<", ">", "|", " ", ","]


def name_problem(name: str) -> str | None:
    """What is wrong with an index name in the server's words, or None."""
    problem = None
    if any(character in name for character in _FORBIDDEN):
        listed = ",".join(f"'{character}'" for character in _FORBIDDEN)
        problem = f"must not contain the following characters [{listed}]"
    elif not name:
        problem = "must not be empty"
    elif "#" in name:
        problem = "must not contain '#'"
    elif ":" in name:
        problem = "must not contain ':'"
    elif name[0] in "_-+":
        problem = "must not start with '_', '-', or '+'"
    elif len(name.encode()) > 255:
        problem = f"index name is too long, ({len(name.encode())} > 255)"
    elif name in {".", ".."}:
        problem = "must not be '.' or '..'"
    return problem


def check_index_name(name: str) -> None:
    """Raise 400 invalid_index_name_exception for a name no index can have."""
    problem = name_problem(name) or ("must be lowercase" if name != name.lower() else None)
    if problem is not None:
        raise ElasticError(
            400,
            "invalid_index_name_exception",
            f"Invalid index name [{name}], {problem}",
            index_uuid="_na_",
            index=name,
        )


def check_data_stream_name(name: str) -> None:
    """Raise 400 illegal_argument_exception for a name no data stream can have."""
    problem = name_problem(name)
    if problem is None and name != name.lower():
        problem = "must be lowercase"
    if problem is None and name.startswith((".ds-", ".fs-")):
        problem = f"must not start with '{name[:4]}'"
    if problem is not None:
        raise illegal_argument(f"data_stream [{name}] {problem}")


def check_alias_name(name: str) -> None:
    """Raise 400 invalid_alias_name_exception for a name no alias can have."""
    problem = name_problem(name)
    if problem is not None:
        raise ElasticError(400, "invalid_alias_name_exception", f"Invalid alias name [{name}]: {problem}")


@lru_cache(maxsize=1024)
def pattern(text: str) -> re.Pattern[str]:
    """A wildcard expression (only ``*`` is special) as a regular expression for fullmatch."""
    return re.compile(".*".join(re.escape(piece) for piece in text.split("*")), re.DOTALL)


def matches(text: str, name: str) -> bool:
    """Whether the wildcard expression ``text`` covers ``name``."""
    return text == name or ("*" in text and pattern(text).fullmatch(name) is not None)


def overlap(one: str, other: str) -> bool:
    """Whether some name is covered by both wildcard expressions."""

    @cache
    def meet(i: int, j: int) -> bool:
        if i == len(one) and j == len(other):
            return True
        if i < len(one) and one[i] == "*":
            return meet(i + 1, j) or (j < len(other) and meet(i, j + 1))
        if j < len(other) and other[j] == "*":
            return meet(i, j + 1) or (i < len(one) and meet(i + 1, j))
        return i < len(one) and j < len(other) and one[i] == other[j] and meet(i + 1, j + 1)

    return meet(0, 0)
