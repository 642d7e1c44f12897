"""`plan` and `verify`: what `elastic_setup` would do, from a terminal; read rights suffice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elastic_ml.cli.connecting import client_of, settings_of
from elastic_ml.clients.elasticsearch import server_facts
from elastic_ml.project import load_project
from elastic_ml.project.setup import run_setup

if TYPE_CHECKING:
    import argparse

    from elastic_ml.cli.output import Output
    from elastic_ml.project.setup import SetupReport


def run_plan(options: argparse.Namespace, output: Output) -> int:
    """Print every object that differs; 0 whatever there is to do."""
    _looked_at(options, output)
    return 0


def run_verify(options: argparse.Namespace, output: Output) -> int:
    """Print the same; 1 when anything differs or cannot be as the project wants it."""
    report = _looked_at(options, output)
    return 1 if report.drift or report.problems else 0


def _looked_at(options: argparse.Namespace, output: Output) -> SetupReport:
    project = load_project(options.folder)
    settings = settings_of(options, project.settings.connections.setup)
    client = client_of(settings)
    facts = server_facts(client)
    report = run_setup(client, project, facts, mode="plan")
    version = ".".join(map(str, facts.version))
    where = f"{facts.cluster_name} at {settings.address}, Elasticsearch {version}, flavor {facts.flavor}"
    counted = ", ".join(f"{number} {state}" for state, number in report.counts().items())
    text = f"Project {project.name} on {where}.\n\n{report.table()}\n\n{counted or 'nothing'}."
    if report.drift:
        text += " elastic_setup with mode=apply writes what would be created or differs."
    data = {**report.as_dict(), "cluster": facts.cluster_name, "version": version, "flavor": facts.flavor}
    output.result(text, {"ok": not (report.drift or report.problems), **data})
    return report
