"""Checks every file of a project folder at once, for an import error in Airflow's UI and for CI."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from elastic_ml.exceptions import PartialFailureError, ProjectFileError
from elastic_ml.project.anomaly_bodies import calendar_bodies, datafeed_body, filter_bodies, job_body
from elastic_ml.project.desired_state import desired_objects
from elastic_ml.project.features import continuous_transform
from elastic_ml.project.project import Project, load_project
from elastic_ml.project.yaml_files import file_error, line_of_key

VERDICT_CLASSES = {"by_event": ("true", "false"), "by_user_hour": ("none", "suspicious", "confirmed")}
"""What `pipelines/label.yml.j2` of the package makes of verdicts."""


def findings(folder: Path | str) -> list[ProjectFileError]:
    """Everything that can be found wrong without a network: files, and bodies once the files are right.

    Bodies are rendered for both flavors; the project folder's templates of later bodies are read. A template file that
    takes no other's place and a `serve.pipeline` that nothing calls are findings, too: both would change nothing,
    without a word.
    """
    found = invalid_files(folder)
    if not found:
        found = list(_body_findings(load_project(folder)))
    return found


def invalid_files(folder: Path | str) -> list[ProjectFileError]:
    """Errors by file: of project.yml, or else of the transform, models, anomaly jobs and sources by name."""
    try:
        project = load_project(folder)
    except ProjectFileError as error:
        return _each(error)
    found: list[ProjectFileError] = []
    if project.settings.features is not None:
        try:
            continuous_transform(project)
        except ProjectFileError as error:
            found += _each(error)
    for names, read in (
        (project.models(), project.model),
        (project.anomaly_jobs(), project.anomaly_job),
        (project.sources(), project.source),
    ):
        for name in names:
            try:
                read(name)
            except ProjectFileError as error:
                found += _each(error)
    return found


def _each(error: ProjectFileError) -> list[ProjectFileError]:
    """All that is wrong with one file, by line."""
    return sorted([error, *error.also], key=lambda one: one.line or 0)


def check_files(folder: Path | str) -> None:
    """Raise one error that lists each invalid file with line, field and remedy; return quietly when all are valid."""
    found = invalid_files(folder)
    if found:
        failures: dict[str, str] = {}
        for error in found:
            failures[error.file] = f"{failures[error.file]}\n{error}" if error.file in failures else str(error)
        raise PartialFailureError(
            f"{len(failures)} invalid file{'s' if len(failures) > 1 else ''} in {folder}:\n"
            + "\n".join(f"- {error}" for error in found),
            failures=failures,
        )


def _body_findings(project: Project) -> Iterator[ProjectFileError]:
    yield from _templates_without_effect(project)
    yield from _pipelines_that_nothing_calls(project)
    yield from _classes_that_no_verdict_has(project)
    yield from _groups_named_like_a_job(project)
    seen: set[str] = set()
    for serverless in (False, True):
        try:
            desired_objects(project, serverless=serverless)
        except ProjectFileError as error:
            if str(error) not in seen:
                seen.add(str(error))
                yield error
    for name in project.anomaly_jobs():
        job = project.anomaly_job(name)
        try:
            job_body(project, job, {})
            datafeed_body(project, job, project.names.anomaly_job(name))
            calendar_bodies(project, job)
            filter_bodies(project, job)
        except ProjectFileError as error:
            yield error
    for template in project.templates.own():
        if template not in project.templates.rendered:
            try:
                project.templates.check(template)
            except ProjectFileError as error:
                yield error


def _templates_without_effect(project: Project) -> Iterator[ProjectFileError]:
    ours = resources.files("elastic_ml") / "templates"
    features = project.settings.features
    asked = {features.transform} if features else set()
    folder = project.folder / "templates"
    for path in sorted(folder.rglob("*.j2")):
        name = path.relative_to(folder).as_posix()
        if name not in asked and not (ours / name).is_file():
            near = [other for other in project.templates.names() if other.endswith(f"/{path.name}") and other != name]
            yield file_error(
                path,
                None,
                "",
                "the template takes no other's place, so it is never rendered",
                f"name it as one of the package's{': ' + ', '.join(near) if near else ', such as ilm/audit.yml.j2'}",
            )


def _pipelines_that_nothing_calls(project: Project) -> Iterator[ProjectFileError]:
    names = project.names
    called = [names.audit_score, *([names.features_score] if names.features else [])]
    for name in project.models():
        serve = project.model(name).serve
        if serve is not None and serve.pipeline not in called:
            path = project.folder / "models" / f"{name}.yml"
            yield file_error(
                path,
                line_of_key(path, "serve", "pipeline"),
                "serve.pipeline",
                f"nothing calls {serve.pipeline}, so no event would be scored",
                f"write {' or '.join(called)}",
            )


def _classes_that_no_verdict_has(project: Project) -> Iterator[ProjectFileError]:
    """The package's own pipeline gives a label few values; one of the project's own may give others."""
    if "pipelines/label.yml.j2" in project.templates.own():
        return
    for name in project.models():
        label = project.model(name).label
        if label is None or label.verdicts is None or label.positive_class is None:
            continue
        if label.positive_class not in VERDICT_CLASSES[label.verdicts]:
            path = project.folder / "models" / f"{name}.yml"
            yield file_error(
                path,
                line_of_key(path, "label", "positive_class"),
                "label.positive_class",
                f"no row would be of the class {label.positive_class!r}",
                f"write {' or '.join(f'{chr(34)}{one}{chr(34)}' for one in VERDICT_CLASSES[label.verdicts])}",
            )


def _groups_named_like_a_job(project: Project) -> Iterator[ProjectFileError]:
    """Jobs and groups of a cluster share their names."""
    ids = {project.names.anomaly_job(name): name for name in project.anomaly_jobs()}
    for name in project.anomaly_jobs():
        for position, group in enumerate(project.anomaly_job(name).groups):
            if group in ids:
                path = project.folder / "anomaly_jobs" / f"{name}.yml"
                yield file_error(
                    path,
                    line_of_key(path, "groups", position),
                    f"groups.{position}",
                    f"anomaly_jobs/{ids[group]}.yml makes a job of that name, and a group cannot have it",
                    "rename the group",
                )
