"""Check that requirements*.txt still satisfy pyproject.toml: `python -m tests.requirements_are_current`.

Resolving anew would fail each time a dependency makes a release; what matters is that no range or group of
pyproject.toml has changed without `make requirements`.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def wanted(group: str, project: dict) -> Iterator[Requirement]:
    """Yield what pyproject.toml asks for: the wheel's dependencies and those of a group with all it includes."""
    yield from map(Requirement, project["project"]["dependencies"])
    pending = [group]
    while pending:
        for entry in project["dependency-groups"][pending.pop()]:
            if isinstance(entry, str):
                yield Requirement(entry)
            else:
                pending.append(entry["include-group"])


def pinned(path: Path) -> dict[str, list[Requirement]]:
    """Return the pins of a compiled file by name; one name may have several, told apart by markers."""
    pins: dict[str, list[Requirement]] = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            requirement = Requirement(line.rstrip("\\ "))
            pins.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return pins


def problems() -> Iterator[str]:
    """Yield one sentence per requirement that the compiled files do not satisfy."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for file, group in (("requirements.txt", "demo"), ("requirements-dev.txt", "dev")):
        pins = pinned(ROOT / file)
        for requirement in wanted(group, project):
            found = pins.get(canonicalize_name(requirement.name), [])
            versions = [next(iter(pin.specifier)).version for pin in found]
            if not versions or not all(requirement.specifier.contains(version) for version in versions):
                yield f"{file}: {requirement} is not satisfied by {versions or 'any pin'}; run `make requirements`"


if __name__ == "__main__":
    found = list(problems())
    sys.exit("\n".join(found) if found else 0)
