"""Whether a role suffices for a call: by what each API needs (endpoints.yml) and what one privilege contains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

if TYPE_CHECKING:
    from rights.recording import Call

ENDPOINTS = Path(__file__).parent / "endpoints.yml"
REST = "any of them"
FAILURES = "::failures"
"""Selector of a stream's failure store, which has privileges of its own."""


@cache
def data() -> dict[str, Any]:
    """The file: `sources`, `implied`, `endpoints`."""
    return dict(yaml.safe_load(ENDPOINTS.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Need:
    """One of these privileges is needed: on the cluster, or on the index that is named."""

    anyone: tuple[str, ...]
    index: str | None = None

    def __str__(self) -> str:
        return " or ".join(self.anyone) + (f" on {self.index}" if self.index else "")


def needs(call: Call) -> Iterator[Need]:
    """What a call needs. KeyError for an API that endpoints.yml does not have."""
    entry = data()["endpoints"][call.api]
    if "cluster" in entry:
        yield Need(tuple(entry["cluster"].split("|")))
    parts = entry.get("index", {})
    for part, name in call.targets:
        wanted = parts.get(part, parts.get(REST, ()))
        for each in [wanted] if isinstance(wanted, str) else wanted:
            yield Need(tuple(each.split("|")), name.removeprefix("-"))


def missing(descriptor: Mapping[str, Any], call: Call) -> list[Need]:
    """What the role (a descriptor as Elasticsearch takes it) lacks for the call."""
    return [need for need in needs(call) if not _granted(descriptor, need)]


def granting(descriptor: Mapping[str, Any], need: Need) -> Iterator[tuple[str, str]]:
    """The privileges of the role that satisfy the need: (privilege, pattern of names), "" for the cluster."""
    for privilege, pattern in _held(descriptor, need):
        kind: Literal["cluster", "index"] = "index" if need.index else "cluster"
        wanted = {_of_failures(one) for one in need.anyone} if _failures(need) else set(need.anyone)
        if wanted & contained(kind, privilege):
            yield privilege, pattern


def _granted(descriptor: Mapping[str, Any], need: Need) -> bool:
    return any(granting(descriptor, need))


def _failures(need: Need) -> bool:
    return bool(need.index and need.index.endswith(FAILURES))


def _of_failures(privilege: str) -> str:
    """Administration of the failure store is `manage_failure_store`, reading `read_failure_store`."""
    return "read_failure_store" if privilege == "read" else "manage_failure_store"


def _held(descriptor: Mapping[str, Any], need: Need) -> Iterator[tuple[str, str]]:
    if need.index is None:
        yield from ((privilege, "") for privilege in descriptor["cluster"])
        return
    name = need.index.removesuffix(FAILURES)
    for grant in descriptor["indices"]:
        for pattern in grant["names"]:
            # A wildcard of a request stands for whatever there is of what its key may see.
            if fnmatchcase(name, pattern) or ("*" in name and fnmatchcase(pattern, name)):
                yield from ((privilege, pattern) for privilege in grant["privileges"])


@cache
def contained(kind: Literal["cluster", "index"], privilege: str) -> frozenset[str]:
    """The privilege and all that it contains."""
    found, todo = {privilege}, [privilege]
    while todo:
        new = set(data()["implied"][kind].get(todo.pop(), ())) - found
        found |= new
        todo += new
    return frozenset(found)


def unused(descriptor: Mapping[str, Any], calls: Iterable[Call]) -> set[tuple[str, str]]:
    """Grants of the role that no call needs: (privilege, pattern)."""
    granted = {(privilege, "") for privilege in descriptor["cluster"]}
    granted |= {(p, name) for grant in descriptor["indices"] for name in grant["names"] for p in grant["privileges"]}
    used = {each for call in calls for need in needs(call) for each in granting(descriptor, need)}
    return granted - used
