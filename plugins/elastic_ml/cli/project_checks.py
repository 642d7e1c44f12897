"""What `doctor` says of a project folder, of the connections that it names, and of their rights."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from elastic_ml.cli.check import all_findings
from elastic_ml.cli.connecting import TIMEOUT_SECONDS, client_of, named, settings_of
from elastic_ml.cli.doctor import Finding, Verdict, judged
from elastic_ml.cli.output import counted
from elastic_ml.clients.elasticsearch import server_facts
from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.exceptions import ElasticMLError, ProjectFileError
from elastic_ml.project.privileges import ROLES, Role, role_descriptor
from elastic_ml.project.project import Project, load_project

if TYPE_CHECKING:
    import argparse

    from elasticsearch import Elasticsearch

    from elastic_ml.clients.elasticsearch import ServerFacts


def project_checks(options: argparse.Namespace) -> Iterator[Finding]:
    """The folder's files, then each connection with its rights, then Kibana."""
    try:
        project = load_project(options.folder)
    except ProjectFileError as error:
        yield Finding("project", "wrong", str(error))
        return
    invalid = all_findings(options.folder)
    yield judged(
        "project",
        not invalid,
        f"{project.name} in {options.folder}" + (f": {counted(len(invalid), 'finding')}." if invalid else ""),
        f"See them: python -m elastic_ml check {options.folder}.",
    )
    if invalid:
        return  # rights follow from the models' sources
    yield from _connections(options, project)
    yield from _kibana(project)


def _connections(options: argparse.Namespace, project: Project) -> Iterator[Finding]:
    """Each connection once, then what each role that uses it may do."""
    one_for_all = named(options)
    roles: dict[str, list[Role]] = {}
    for role in ROLES:
        connection = getattr(project.settings.connections, role)
        roles.setdefault(one_for_all or f"connection {connection}", []).append(role)
    for what, used_by in roles.items():
        try:
            settings = settings_of(options, what.removeprefix("connection "))
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


def _kibana(project: Project) -> Iterator[Finding]:
    """Whether Kibana answers, and has the space; Airflow's connection says where it is, as for links and DAGs."""
    connection = project.settings.connections.kibana
    what = f"connection {connection}"
    remedy = f"airflow connections add {connection} --conn-type kibana --conn-host https://<host>:5601."
    try:
        from airflow.exceptions import AirflowNotFoundException

        from elastic_ml.hooks.kibana import KibanaHook
    except ImportError as error:
        yield Finding(what, "warning", f"Airflow is not there to ask for it ({error}).")
        return
    try:
        settings = KibanaHook(connection).client.settings
    except AirflowNotFoundException:
        yield Finding(
            what, "warning", f"No connection {connection}: links to Kibana and kibana_deploy do nothing.", remedy
        )
        return
    except ElasticMLError as error:
        yield Finding(what, "wrong", error.message, error.remedy)
        return
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # its tries, which Airflow would show
    with KibanaClient(replace(settings, request_timeout=TIMEOUT_SECONDS), retries=1) as client:
        try:
            facts = client.facts()
        except ElasticMLError as error:
            yield Finding(what, "wrong", error.message, error.remedy)
            return
        level: Verdict = "ok" if facts.level == "available" else "warning"
        yield Finding(what, level, f"{settings.url}, Kibana {'.'.join(map(str, facts.version))}, {facts.level}.")
        try:
            client.require_space()
        except ElasticMLError as error:
            yield Finding("Kibana space", "wrong", error.message, error.remedy)
        else:
            yield Finding("Kibana space", "ok", settings.space or "default")
