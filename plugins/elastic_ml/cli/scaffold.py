"""`init`: a project folder and DAG files to start from."""

from __future__ import annotations

import ast
import os
import re
import textwrap
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from elastic_ml.cli.output import aligned
from elastic_ml.exceptions import ElasticMLError
from elastic_ml.project.check import check_files

if TYPE_CHECKING:
    import argparse
    from importlib.resources.abc import Traversable

    from elastic_ml.cli.output import Output


class Integration(NamedTuple):
    """What is particular about the documents of one of Elastic's integrations.

    :param model: name of the model file that fits them.
    :param job: name of the anomaly job.
    :param who: the field that says who acted.
    :param failed: query for what failed.
    """

    model: str
    job: str
    who: str
    failed: str


GENERAL = Integration("unusual_action", "failures_by_user", "user.id", "{term: {event.outcome: failure}}")
INTEGRATIONS = {
    "ping_one.audit": GENERAL._replace(model="identity_misuse"),
    # Its event.outcome is always success, and nobody has a user.id.
    "oracle.database_audit": Integration(
        "database_misuse",
        "database_failures_by_user",
        "server.user.name",
        '{bool: {must_not: {term: {oracle.database_audit.status: "0"}}}}',
    ),
}
_STREAM = re.compile(r"(?P<type>[a-z]+)-(?P<dataset>[^-\s]+)-(?P<namespace>[^-\s][^\s]*)")


def run_init(options: argparse.Namespace, output: Output) -> int:
    """Write what is missing, keep what is there, and say which is which."""
    variables = _variables(options)
    rows = []
    for path, text in [*_project_files(options.folder, variables), *_dag_files(options, variables)]:
        if path.exists():
            rows.append((str(path), "kept"))
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, text)
        rows.append((str(path), "written"))
    check_files(options.folder)
    folder = options.folder
    text = f"""{aligned(rows)}

Next:
  1. Read {folder / "project.yml"} and name what is yours.
  2. python -m elastic_ml check {folder}
  3. Make Airflow's connections elasticsearch_default and kibana_default, then: python -m elastic_ml doctor {folder}
  4. Trigger elastic_setup with mode=plan, read its table, then with mode=apply.
"""
    output.result(text, {"ok": True, "files": dict(rows)})
    return 0


def _variables(options: argparse.Namespace) -> dict[str, Any]:
    """What the files are rendered with.

    :raises ElasticMLError: a name that Elasticsearch or project.yml would refuse.
    """
    named = options.name or re.sub(r"\W+", "_", options.folder.resolve().name.lower()).strip("_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", named):
        raise ElasticMLError(
            f"{named!r} can be no project's name.",
            remedy="Give --name: lower-case letters, digits and _, a letter first.",
        )
    streams = []
    for stream in options.stream:
        found = _STREAM.fullmatch(stream)
        if found is None:
            raise ElasticMLError(
                f"{stream!r} is no data stream's name.",
                remedy="Write <type>-<dataset>-<namespace>, such as logs-ping_one.audit-default.",
            )
        streams.append({**found.groupdict(), "name": stream})
    namespace = options.namespace or (streams[0]["namespace"] if streams else "default")
    return {"name": named, "namespace": namespace, "streams": streams}


def _project_files(folder: Path, variables: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    scaffold = _scaffold()
    yield folder / "project.yml", _rendered(scaffold / "project.yml.j2", variables)
    models: dict[Integration, list[Any]] = {}
    jobs: dict[Integration, list[Any]] = {}
    for stream in variables["streams"] or [None]:
        fitting = INTEGRATIONS.get(stream["dataset"], GENERAL) if stream else GENERAL
        here = [stream] if stream else []
        models.setdefault(fitting, []).extend(here)
        jobs.setdefault(fitting._replace(model=""), []).extend(here)
    for fitting, streams in models.items():
        text = _rendered(scaffold / "models" / f"{fitting.model}.yml.j2", {**variables, "streams": streams})
        yield folder / "models" / f"{fitting.model}.yml", text
    for fitting, streams in jobs.items():
        job = {**variables, "streams": streams, "who": fitting.who, "failed": fitting.failed}
        yield folder / "anomaly_jobs" / f"{fitting.job}.yml", _rendered(scaffold / "anomaly_job.yml.j2", job)
    if not variables["streams"]:
        yield folder / "sources" / "audit.yml", _rendered(scaffold / "source.yml.j2", variables)
    yield folder / "sources" / "verdicts.yml", _rendered(scaffold / "verdicts.yml.j2", variables)
    yield folder / "templates" / "README.md", _rendered(scaffold / "templates.md.j2", variables)


def _dag_files(options: argparse.Namespace, variables: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    relative = Path(os.path.relpath(options.folder.resolve(), options.dags.resolve())).as_posix()
    here = {**variables, "folder": relative}
    for stage, summary in _stages():
        text = _rendered(_scaffold() / "stage.py.j2", {**here, "stage": stage, "summary": summary})
        yield options.dags / f"{stage}.py", text
    yield options.dags / "check_model_files.py", _rendered(_scaffold() / "check_model_files.py.j2", here)


def _stages() -> Iterator[tuple[str, str]]:
    """Modules of `elastic_ml.stages` that build DAGs, with the first line of their page; read, not imported."""
    for entry in sorted(resources.files("elastic_ml.stages").iterdir(), key=lambda one: one.name):
        if entry.name.endswith(".py") and not entry.name.startswith("_"):
            module = ast.parse(entry.read_text(encoding="utf-8"))
            builds = any(isinstance(node, ast.FunctionDef) and node.name == "build" for node in module.body)
            if builds:
                summary = (ast.get_docstring(module) or "").split("\n", 1)[0]
                yield entry.name.removesuffix(".py"), textwrap.fill(summary, 88)  # where most formatters break lines


def _scaffold() -> Traversable:
    return resources.files("elastic_ml") / "scaffold"


def _rendered(template: Traversable, variables: dict[str, Any]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - YAML and Python, never HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # YAML and Airflow's own templates have braces of their own.
        variable_start_string="<<",
        variable_end_string=">>",
    )
    return environment.from_string(template.read_text(encoding="utf-8")).render(variables)


def _write(path: Path, text: str) -> None:
    """Write the whole file or none of it."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
