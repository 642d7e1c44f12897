"""What looks like a mistake in a project folder and may be meant: files nobody reads, indices nobody here knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from elastic_ml.exceptions import ProjectFileError
from elastic_ml.project.analytics_options import SET_BY_TRAINING
from elastic_ml.project.elastic_query import KNOWN, unknown_queries
from elastic_ml.project.project import Project, load_project
from elastic_ml.project.yaml_files import file_error, line_of_key

READ = {"models": "*.yml", "anomaly_jobs": "*.yml", "sources": "*.yml", "templates": "*.j2"}
"""The folders of a project, and which of their files are read."""


def doubts(folder: Path | str) -> list[ProjectFileError]:
    """What is no error and yet worth a look; files that are wrong are `findings`' part and said nothing of here."""
    try:
        project = load_project(folder)
    except ProjectFileError:
        return []
    return [
        *_unread_files(project),
        *_unread_folders(project),
        *_unknown_indices(project),
        *_options_without_effect(project),
        *_unknown_queries(project),
    ]


def _unread_files(project: Project) -> Iterator[ProjectFileError]:
    for path in (project.folder / "project.yaml",):
        if path.is_file():
            yield file_error(path, None, "", "nobody reads this file", "remove it: project.yml beside it is read")
    tables = _name_tables(project)
    for kind, pattern in READ.items():
        folder = project.folder / kind
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_dir() or path.suffix == ".md" or any(_is_hidden(part) for part in inside.parts):
                continue
            nested = kind != "templates" and len(inside.parts) > 1
            if (nested or not fnmatchcase(path.name, pattern)) and path.resolve() not in tables:
                remedy = (
                    f"name it {path.stem}.yml directly in {kind}/" if kind != "templates" else f"name it {path.name}.j2"
                )
                yield file_error(path, None, "", f"nobody reads this file: {kind}/{pattern} is read", remedy)


def _unread_folders(project: Project) -> Iterator[ProjectFileError]:
    """Folders and files beside project.yml that are almost named like one that is read."""
    used = {(project.folder / one).resolve() for one in project.settings.kibana.folders}
    for path in sorted(project.folder.iterdir()):
        if path.name in READ or path.resolve() in used or (path.is_file() and path.suffix not in {".yml", ".yaml"}):
            continue
        stem = path.stem if path.is_file() else path.name
        near = difflib.get_close_matches(stem.lower().replace("-", "_"), READ, n=1, cutoff=0.8)
        if near:
            what = "folder" if path.is_dir() else "file"
            yield file_error(
                path,
                None,
                "",
                f"nobody reads this {what}: project.yml and {', '.join(f'{one}/' for one in READ)} are read",
                f"did you mean {near[0]}/?",
            )


def _unknown_indices(project: Project) -> Iterator[ProjectFileError]:
    names = project.names
    results = [alias(model) for model in project.models() for alias in (names.results_alias, names.scores_alias)]
    streams = [stream.name for stream in names.audit_streams]
    known = [
        *streams,
        *([names.features] if names.features else []),
        *([names.labels_stream] if project.settings.labels else []),
        *names.operations_streams,
        *(names.ledger, names.labels, names.baselines, names.model_cards),
        *results,
    ]
    for name in project.models():
        yield from _unknown(project, "models", name, ("source", "index"), known)
    for name in project.anomaly_jobs():
        yield from _unknown(project, "anomaly_jobs", name, ("datafeed", "indices"), known)


def _unknown(
    project: Project, kind: str, name: str, place: tuple[str, str], known: list[str]
) -> Iterator[ProjectFileError]:
    try:
        asked = project.model(name).source.index if kind == "models" else project.anomaly_job(name).datafeed.indices
    except ProjectFileError:
        return
    path = project.folder / kind / f"{name}.yml"
    for position, index in enumerate(asked):
        if index.startswith("-") or any(fnmatchcase(one, index) for one in known):
            continue
        near = difflib.get_close_matches(index, known, n=1)
        remedy = (
            f"correct it to {near[0]} if that was meant" if near else f"this project has {', '.join(known[:3])}, ..."
        )
        if index.startswith("features-") and project.names.features is None:
            remedy = "add `features:` to project.yml if its user-hours were meant"
        yield file_error(
            path,
            line_of_key(path, *place, position),
            ".".join([*place, str(position)]),
            f"{index} is no stream of project.yml, nor an index that this project makes",
            f"{remedy}; any other index must exist before it is read",
        )


def _options_without_effect(project: Project) -> Iterator[ProjectFileError]:
    """Options of an analysis that the package's template sets itself; a template of the project's own may use them."""
    if "model/analytics.json.j2" in project.templates.own():
        return
    for name in project.models():
        try:
            model = project.model(name)
        except ProjectFileError:
            continue
        for option, value in SET_BY_TRAINING[model.kind].items():
            written = model.analysis[model.kind].get(option, value)
            if written != value:
                path = project.folder / "models" / f"{name}.yml"
                place = ("analysis", model.kind, option)
                yield file_error(
                    path,
                    line_of_key(path, *place),
                    ".".join(place),
                    f"training sets {option} to {value} in any case",
                    "remove it, or keep a template model/analytics.json.j2 of your own",
                )


def _unknown_queries(project: Project) -> Iterator[ProjectFileError]:
    for kind, names, at in (
        ("models", project.models(), ("source", "query")),
        ("anomaly_jobs", project.anomaly_jobs(), ("datafeed", "query")),
    ):
        for name in names:
            try:
                query = (
                    project.model(name).source.query if kind == "models" else project.anomaly_job(name).datafeed.query
                )
            except ProjectFileError:
                continue
            for written, place in unknown_queries(query, *at):
                near = difflib.get_close_matches(written, KNOWN, n=1)
                path = project.folder / kind / f"{name}.yml"
                yield file_error(
                    path,
                    line_of_key(path, *place),
                    ".".join(map(str, place)),
                    f"{written} is no query of Elasticsearch's own",
                    f"did you mean {near[0]}?" if near else "a plugin of the cluster has to know it",
                )


def _name_tables(project: Project) -> set[Path]:
    """Name tables of the sources: they may lie anywhere below the project folder."""
    found = set()
    for name in project.sources():
        try:
            table = project.source(name).names
        except ProjectFileError:
            continue
        if table:
            found.add((project.folder / table).resolve())
    return found


def _is_hidden(part: str) -> bool:
    return part.startswith((".", "__")) or part.endswith("~")
