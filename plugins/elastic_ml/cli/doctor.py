"""`doctor`: is everything in place? One line per check, with the remedy where something is wrong."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from elastic_ml import __version__
from elastic_ml.cli.output import aligned, counted

if TYPE_CHECKING:
    import argparse

    from elastic_ml.cli.output import Output

DISTRIBUTION = "airflow-provider-elastic-ml"
OLDEST_PYTHON = (3, 11)
OLDEST_AIRFLOW = (3, 3)
OLDEST_CLIENT = (9, 2)

Verdict = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: what was looked at, how it is, what was seen, what to do."""

    check: str
    verdict: Verdict
    seen: str
    remedy: str = ""


def run_doctor(options: argparse.Namespace, output: Output) -> int:
    """Print one line per check; 1 when any is wrong, warnings do not count."""
    found = list(_installation())
    if options.folder is not None:
        found += _about_project(options)
    rows = [(one.verdict, one.check, f"{one.seen} {one.remedy}".strip()) for one in found]
    wrong = sum(one.verdict == "wrong" for one in found)
    warnings = sum(one.verdict == "warning" for one in found)
    if wrong:
        ending = f"{wrong} of {len(found)} checks failed."
    elif warnings:
        ending = f"None of {len(found)} checks failed; {counted(warnings, 'warning')}."
    else:
        ending = f"All {len(found)} checks passed."
    data = {"ok": not wrong, "checks": [asdict(one) for one in found]}
    output.result(f"{aligned(rows)}\n\n{ending}", data)
    return 1 if wrong else 0


def _about_project(options: argparse.Namespace) -> Iterator[Finding]:
    try:
        # Imports what reads YAML, checks it and talks to servers: any of that may be missing.
        from elastic_ml.cli.project_checks import project_checks

        yield from project_checks(options)
    except ModuleNotFoundError as error:
        yield Finding(
            "project", "wrong", f"{options.folder} cannot be looked at: {error}.", "Install what is missing, see above."
        )


# What is installed ----------------------------------------------------------------------------------------------------


def _installation() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield judged(
        "Python", sys.version_info[:2] >= OLDEST_PYTHON, python, "Use Python 3.11 or newer, as Airflow's image does."
    )
    yield _distribution("Airflow", "apache-airflow-core", OLDEST_AIRFLOW, (4,), "apache-airflow>=3.3,<4")
    yield _distribution("client", "elasticsearch", OLDEST_CLIENT, (10,), "elasticsearch>=9.2,<10")
    yield _own_distribution()
    yield _dependencies()
    copies = _copies(sys.path)
    yield judged(
        "copies",
        len(copies) == 1,
        f"elastic_ml from {', '.join(copies)}.",
        "Which one Airflow imports depends on the order of its path: remove all but one (a plugins folder beside the "
        "wheel is the usual cause).",
    )


def _distribution(check: str, name: str, oldest: tuple[int, ...], first_too_new: tuple[int, ...], pin: str) -> Finding:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(check, "wrong", f"{name} is not installed.", f"pip install '{pin}'.")
    fits = oldest <= _numbers(found) < first_too_new
    return judged(check, fits, f"{name} {found}", f"Install {pin}.")


def _own_distribution() -> Finding:
    try:
        found = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return Finding(
            "package",
            "wrong",
            f"elastic_ml {__version__} has no distribution metadata, so Airflow does not know its connection types.",
            f"pip install {DISTRIBUTION} instead of copying the folder.",
        )
    return judged(
        "package",
        found == __version__,
        f"{DISTRIBUTION} {found}" + ("" if found == __version__ else f", but the code imported is {__version__}."),
        f"pip install --force-reinstall {DISTRIBUTION}=={found}, and remove the other copy.",
    )


def _dependencies() -> Finding:
    """What the wheel asks for and pip did not bring, as after `pip install --no-deps`."""
    try:
        required = [one for one in metadata.requires(DISTRIBUTION) or [] if ";" not in one]
    except metadata.PackageNotFoundError:
        return Finding("libraries", "warning", f"Without metadata of {DISTRIBUTION} nobody knows which it needs.")
    missing = [one for one in required if not _installed(re.split(r"[^\w.-]", one, maxsplit=1)[0])]
    pins = " ".join(f"'{one}'" for one in missing)
    return judged(
        "libraries",
        not missing,
        f"Not installed: {', '.join(missing)}." if missing else f"All {len(required)} that the package needs.",
        f"pip install {pins}.",
    )


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _copies(path: list[str]) -> list[str]:
    """Folders of `path` that hold a package elastic_ml, each once."""
    found: dict[str, None] = {}
    for entry in path:
        package = Path(entry or ".") / "elastic_ml"
        if (package / "__init__.py").is_file():
            found[str(package.resolve().parent)] = None
    return list(found)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def judged(check: str, fits: bool, seen: str, remedy: str) -> Finding:
    """Ok where it fits, else wrong with the remedy."""
    return Finding(check, "ok", seen) if fits else Finding(check, "wrong", seen, remedy)
