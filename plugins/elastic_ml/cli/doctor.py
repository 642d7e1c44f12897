"""`doctor`: is everything in place? One line per check, with the remedy where something is wrong."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from elastic_ml import __version__
from elastic_ml.cli.connecting import client_of, settings_of
from elastic_ml.cli.output import aligned
from elastic_ml.clients.elasticsearch import server_facts
from elastic_ml.exceptions import ElasticMLError, ProjectFileError
from elastic_ml.project.check import findings
from elastic_ml.project.privileges import ROLES, Role, role_descriptor
from elastic_ml.project.project import Project, load_project

if TYPE_CHECKING:
    import argparse

    from elasticsearch import Elasticsearch

    from elastic_ml.cli.output import Output
    from elastic_ml.clients.elasticsearch import ServerFacts

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
        found += _project(options)
    rows = [(one.verdict, one.check, f"{one.seen} {one.remedy}".strip()) for one in found]
    wrong = sum(one.verdict == "wrong" for one in found)
    ending = f"{wrong} of {len(found)} checks failed." if wrong else f"All {len(found)} checks passed."
    data = {"ok": not wrong, "checks": [asdict(one) for one in found]}
    output.result(f"{aligned(rows)}\n\n{ending}", data)
    return 1 if wrong else 0


# What is installed ----------------------------------------------------------------------------------------------------


def _installation() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield _judged(
        "Python", sys.version_info[:2] >= OLDEST_PYTHON, python, "Use Python 3.11 or newer, as Airflow's image does."
    )
    yield _distribution("Airflow", "apache-airflow-core", OLDEST_AIRFLOW, (4,), "apache-airflow>=3.3,<4")
    yield _distribution("client", "elasticsearch", OLDEST_CLIENT, (10,), "elasticsearch>=9.2,<10")
    yield _own_distribution()
    copies = _copies(sys.path)
    yield _judged(
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
    return _judged(check, fits, f"{name} {found}", f"Install {pin}.")


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
    return _judged(
        "package",
        found == __version__,
        f"{DISTRIBUTION} {found}" + ("" if found == __version__ else f", but the code imported is {__version__}."),
        f"pip install --force-reinstall {DISTRIBUTION}=={found}, and remove the other copy.",
    )


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


def _judged(check: str, fits: bool, seen: str, remedy: str) -> Finding:
    return Finding(check, "ok", seen) if fits else Finding(check, "wrong", seen, remedy)


# The project and its connections --------------------------------------------------------------------------------------


def _project(options: argparse.Namespace) -> Iterator[Finding]:
    try:
        project = load_project(options.folder)
    except ProjectFileError as error:
        yield Finding("project", "wrong", str(error))
        return
    invalid = findings(options.folder)
    yield _judged(
        "project",
        not invalid,
        f"{project.name} in {options.folder}" + (f": {len(invalid)} findings." if invalid else ""),
        f"See them: python -m elastic_ml check {options.folder}.",
    )
    if invalid:
        return  # rights follow from the models' sources
    yield from _connections(options, project)


def _connections(options: argparse.Namespace, project: Project) -> Iterator[Finding]:
    """Each connection once, then what each role that uses it may do."""
    roles: dict[str, list[Role]] = {}
    for role in ROLES:
        roles.setdefault(getattr(project.settings.connections, role), []).append(role)
    for connection, used_by in roles.items():
        what = f"connection {connection}"
        try:
            settings = settings_of(options, connection)
            client = client_of(settings)
            facts = server_facts(client)
        except ElasticMLError as error:
            yield Finding(what, "wrong", error.message, error.remedy)
            continue
        version = ".".join(map(str, facts.version))
        license_ = f", licence {facts.license}" if facts.license else ""
        yield Finding(what, "ok", f"{settings.address}, Elasticsearch {version}, flavor {facts.flavor}{license_}.")
        yield _machine_learning(facts)
        for role in used_by:
            yield _rights(client, project, role, facts)


def _machine_learning(facts: ServerFacts) -> Finding:
    if facts.ml_available:
        return Finding("machine learning", "ok", "It answers.")
    return Finding(
        "machine learning",
        "warning",
        "It does not answer: the licence, this Serverless project type, or this key's rights.",
        "Ingestion works without; training, scoring and anomaly jobs need a trial, Platinum or Enterprise licence.",
    )


def _rights(client: Elasticsearch, project: Project, role: Role, facts: ServerFacts) -> Finding:
    """Whether the key may do what its role needs (has privileges API, which every key may ask about itself)."""
    wanted = role_descriptor(project, role, serverless=facts.serverless)
    what = f"rights {role}"
    try:
        answer: Any = client.security.has_privileges(
            cluster=wanted["cluster"],
            index=[{"names": one["names"], "privileges": one["privileges"]} for one in wanted["indices"]],
        )
    except ElasticMLError as error:
        return Finding(what, "warning", f"Could not be asked: {error.message}", error.remedy)
    missing = sorted(name for name, granted in answer["cluster"].items() if not granted)
    missing += sorted(
        f"{privilege} on {name}"
        for name, granted in answer["index"].items()
        for privilege, allowed in granted.items()
        if not allowed
    )
    if not missing:
        return Finding(what, "ok", "The key may do all that the role needs.")
    shown = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
    return Finding(
        what,
        "wrong",
        f"Missing: {shown}.",
        f"The whole role: python -m elastic_ml roles {project.folder} --role {role}.",
    )
