"""Checks every file of a project folder at once, for an import error in Airflow's UI and for CI."""

from __future__ import annotations

from pathlib import Path

from elastic_ml.exceptions import PartialFailureError, ProjectFileError
from elastic_ml.project.features import continuous_transform
from elastic_ml.project.project import load_project


def invalid_files(folder: Path | str) -> list[ProjectFileError]:
    """One error per invalid file: project.yml, or else the transform, models, anomaly jobs and sources by name."""
    try:
        project = load_project(folder)
    except ProjectFileError as error:
        return [error]
    found: list[ProjectFileError] = []
    if project.settings.features is not None:
        try:
            continuous_transform(project)
        except ProjectFileError as error:
            found.append(error)
    for names, read in (
        (project.models(), project.model),
        (project.anomaly_jobs(), project.anomaly_job),
        (project.sources(), project.source),
    ):
        for name in names:
            try:
                read(name)
            except ProjectFileError as error:
                found.append(error)
    return found


def check_files(folder: Path | str) -> None:
    """Raise one error that lists each invalid file with line, field and remedy; return quietly when all are valid."""
    found = invalid_files(folder)
    if found:
        raise PartialFailureError(
            f"{len(found)} invalid file{'s' if len(found) > 1 else ''} in {folder}:\n"
            + "\n".join(f"- {error}" for error in found),
            failures={error.file: str(error) for error in found},
        )
