"""`init`: a project folder and DAG files to start from."""

from __future__ import annotations

import ast
import os
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from elastic_ml.cli.output import aligned
from elastic_ml.exceptions import ElasticMLError
from elastic_ml.project.check import check_files
from elastic_ml.project.project import load_project

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
PRIVATE = (".airflow/", ".venv/")
"""What stands beside a project on a laptop and never goes into its repository."""
_STREAM = re.compile(r"(?P<type>[a-z]+)-(?P<dataset>[^-\s]+)-(?P<namespace>[^-\s][^\s]*)")

_BUILDS = re.compile(
    r"Path\(__file__\)(?:\.resolve\(\))?(?:\.parents\[(?P<index>\d)\]|(?P<parents>(?:\.parent)+))"
    r"""\s*/\s*["'](?P<folder>[^"']+)["']"""
)
"""How DAG files name their project folder."""


def run_init(options: argparse.Namespace, output: Output) -> int:
    """Write what is missing, keep what is there, and say which is which.

    :raises ElasticMLError: what is there belongs to another project; nothing is written then.
    """
    _refuse_files_for_folders(options.folder, options.dags)
    variables = _variables(options)
    dags = list(_dag_files(options, variables))
    _refuse_dags_of_others(options, [path for path, _ in dags])
    rows = []
    for path, text in [*_project_files(options.folder, variables), *dags]:
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
    if private := _uncovered(folder):
        text += f"\nKeep out of git: {', '.join(private)}\n"
    output.result(text, {"ok": True, "files": dict(rows)})
    return 0


def _refuse_files_for_folders(*folders: Path) -> None:
    for folder in folders:
        file = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
        if file is not None:
            raise ElasticMLError(
                f"{file} is a file, and init makes folders; nothing was written.",
                remedy="Give a folder that is not there yet, or the project's.",
            )


def _refuse_dags_of_others(options: argparse.Namespace, paths: list[Path]) -> None:
    """A DAG file that is kept has to build this project's DAGs, or the project would have none."""
    folder = options.folder.resolve()
    others: dict[Path, list[str]] = {}
    for path in paths:
        if path.is_file():
            named = [_resolved(path, found) for found in _BUILDS.finditer(path.read_text(encoding="utf-8"))]
            if named and folder not in named:
                others.setdefault(named[0], []).append(path.name)
    if others:
        shown = "; ".join(
            f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''} for {of}"
            for of, names in others.items()
        )
        raise ElasticMLError(
            f"{options.dags} holds DAG files of another project folder: {shown}; nothing was written.",
            remedy=f"Give those of {options.folder} a folder of their own: --dags {options.dags / folder.name}. "
            "Two projects in one Airflow need another dag_id_prefix each, in project.yml.",
        )


def _resolved(path: Path, found: re.Match[str]) -> Path:
    """The folder that a DAG file names by where it stands itself."""
    up = int(found["index"]) + 1 if found["index"] else found["parents"].count(".parent")
    return (path.resolve().parents[min(up, len(path.resolve().parents)) - 1] / found["folder"]).resolve()


def _uncovered(folder: Path) -> list[str]:
    """What no .gitignore between here, or the project folder, and the root leaves out."""
    beside = {path for start in (folder.resolve(), Path.cwd()) for path in (start, *start.parents)}
    files = [path / ".gitignore" for path in beside if (path / ".gitignore").is_file()]
    lines = {line.strip().strip("/").removeprefix("**/") for file in files for line in file.read_text().splitlines()}
    return [] if lines & {".*", "*"} else [name for name in PRIVATE if name.rstrip("/") not in lines]


def _variables(options: argparse.Namespace) -> dict[str, Any]:
    """What the files are rendered with.

    :raises ElasticMLError: a name that Elasticsearch or project.yml would refuse.
    """
    there = load_project(options.folder).name if (options.folder / "project.yml").exists() else None
    if there and options.name and options.name != there:
        raise ElasticMLError(
            f"{options.folder} holds the project {there}, not {options.name}; nothing was written.",
            remedy=f"Leave --name out to add what is missing to {there}, or give another folder for {options.name}.",
        )
    named = there or options.name or re.sub(r"\W+", "_", options.folder.resolve().name.lower()).strip("_")
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


@cache
def _stages() -> list[tuple[str, str]]:
    """Modules of `elastic_ml.stages` that build DAGs, with the first line of their page; read, not imported."""
    found = []
    for entry in sorted(resources.files("elastic_ml.stages").iterdir(), key=lambda one: one.name):
        if entry.name.endswith(".py") and not entry.name.startswith("_"):
            module = ast.parse(entry.read_text(encoding="utf-8"))
            builds = any(isinstance(node, ast.FunctionDef) and node.name == "build" for node in module.body)
            if builds:
                summary = (ast.get_docstring(module) or "").split("\n", 1)[0]
                # Where most formatters break lines.
                found.append((entry.name.removesuffix(".py"), textwrap.fill(summary, 88)))
    return found


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
