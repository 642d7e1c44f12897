"""Compares what a project wants with what a cluster has, and writes the differences."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from elastic_ml import __version__
from elastic_ml.project.bodies import MANAGED_BY
from elastic_ml.project.desired_state import DesiredObject
from elastic_ml.project.server_objects import ENRICH_POLICY, INDEX, Body, differences

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

Mode = Literal["plan", "verify", "apply"]
State = Literal[
    "created", "changed", "unchanged", "would create", "differs", "edited by hand", "newer", "conflict", "removed"
]
DRIFT: frozenset[State] = frozenset({"would create", "differs", "edited by hand", "conflict"})
"""States that mean: this is not as the project wants it. A newer object is another release's business."""


@dataclass(frozen=True)
class Row:
    """One line of setup's table: the object, what was found or done, and what differs."""

    kind: str
    name: str
    state: State
    detail: str = ""

    def as_dict(self) -> dict[str, str]:
        """JSON-able, for an XCom."""
        return asdict(self)


def reconcile(
    client: Elasticsearch,
    objects: Iterable[DesiredObject],
    *,
    mode: Mode,
    overwrite_edited: bool = False,
) -> list[Row]:
    """Bring each object to the wanted body, in order; `plan` and `verify` only read and say what they would do.

    What somebody edited by hand is left alone, unless `overwrite_edited`. Where a newer release wrote one of the
    objects, nothing is written at all: what belongs together would be half of each release.
    A run that is interrupted after any write leaves objects that the next run finds unchanged.
    """
    found = [(wanted, wanted.kind.read(client, wanted.name)) for wanted in objects]
    if mode == "apply" and any(
        row.state == "newer" for row in (_one(client, *each, "plan", overwrite_edited) for each in found)
    ):
        mode = "plan"
    return [_one(client, *each, mode, overwrite_edited) for each in found]


def downgrades(rows: Iterable[Row]) -> list[str]:
    """Why nothing was written, one sentence per object of a newer release: it, both releases, the remedy."""
    return [
        f"{row.kind} {row.name} was {row.detail.partition(': ')[0]}: nothing was written. Install the release that "
        "wrote it, or a newer one, where elastic_setup runs; to go back on purpose, read docs/upgrading.md."
        for row in rows
        if row.state == "newer"
    ]


def _one(client: Elasticsearch, wanted: DesiredObject, actual: Body | None, mode: Mode, overwrite_edited: bool) -> Row:
    kind = wanted.kind
    if actual is None:
        if mode != "apply":
            return Row(kind.word, wanted.name, "would create")
        _write(client, wanted)
        return Row(kind.word, wanted.name, "created")
    found = differences(kind.canonical(wanted.body), kind.canonical(actual))
    if not found:
        return Row(kind.word, wanted.name, "unchanged")
    detail = shortened(found)
    protected = _protection(wanted, actual)
    if protected is not None and (protected.state == "newer" or not overwrite_edited):
        return Row(kind.word, wanted.name, protected.state, f"{protected.detail}: {detail}")
    if kind is ENRICH_POLICY:
        return Row(kind.word, wanted.name, "conflict", f"enrich policies cannot be changed: {detail}")
    if kind is INDEX and (conflicts := _retyped(wanted, actual)):
        return Row(
            kind.word, wanted.name, "conflict", f"{conflicts}: the type of a field cannot be changed, reindex it"
        )
    if mode != "apply":
        return Row(kind.word, wanted.name, "differs", detail)
    _write(client, wanted)
    return Row(kind.word, wanted.name, "changed", detail)


def _write(client: Elasticsearch, wanted: DesiredObject) -> None:
    if wanted.executes is not None:
        # "no enrich index exists for policy with name [x]": a pipeline is refused until its policy was executed once.
        client.enrich.execute_policy(name=wanted.executes, wait_for_completion=True)
    wanted.kind.write(client, wanted.name, wanted.body)


@dataclass(frozen=True)
class _Protection:
    state: Literal["newer", "edited by hand"]
    detail: str


def _protection(wanted: DesiredObject, actual: Body) -> _Protection | None:
    """Why an existing object that differs must not be overwritten, None when it may be."""
    kind = wanted.kind
    if kind.meta is None:
        return None
    ours, theirs = kind.metadata(wanted.body), kind.metadata(actual)
    if theirs.get("managed_by") != MANAGED_BY:
        return _Protection("edited by hand", "made by somebody else (no _meta of this package)")
    if theirs.get("project") != ours["project"]:
        return _Protection("edited by hand", f"belongs to project {theirs.get('project')}, which shares this prefix")
    if _version(theirs.get("version")) > _version(__version__):
        return _Protection("newer", f"written by release {theirs.get('version')}, this is {__version__}")
    if theirs.get("hash") != kind.hash(actual):
        return _Protection("edited by hand", "changed since this package wrote it")
    return None


def _version(text: object) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", str(text or "0")))


def _retyped(wanted: DesiredObject, actual: Body) -> str:
    ours, theirs = wanted.kind.canonical(wanted.body), wanted.kind.canonical(actual)
    changed = [
        f"{path.removeprefix('mappings.').removesuffix('.type')} is {theirs[path]}, wanted {ours[path]}"
        for path in sorted(ours.keys() & theirs.keys())
        if path.endswith(".type") and ours[path] != theirs[path]
    ]
    return "; ".join(changed)


def shortened(found: list[str], most: int = 6) -> str:
    """The differences as one line; beyond `most` only their number."""
    rest = len(found) - most
    return "; ".join(found[:most]) + (f"; and {rest} more" if rest > 0 else "")


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """Rows per state."""
    found: dict[str, int] = {}
    for row in rows:
        found[row.state] = found.get(row.state, 0) + 1
    return found


def table(rows: Iterable[Row]) -> str:
    """The rows as aligned text."""
    lines = [("object", "name", "state", "what differs"), *((r.kind, r.name, r.state, r.detail) for r in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]]).rstrip()
        for line in lines
    )
