"""`check`: everything that can be wrong in a project folder and can be found without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elastic_ml.cli.output import counted
from elastic_ml.exceptions import ElasticMLError, IngestError, ProjectFileError
from elastic_ml.kibana.findings import kibana_findings
from elastic_ml.project.check import findings
from elastic_ml.project.doubts import doubts
from elastic_ml.project.project import load_project
from elastic_ml.project.yaml_files import file_error, line_of_key

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from elastic_ml.cli.output import Output
    from elastic_ml.project.project import Project


def run_check(options: argparse.Namespace, output: Output) -> int:
    """Print each finding, or how much was found right, and what is worth a look; 1 when there is a finding."""
    found = all_findings(options.folder)
    warnings = doubts(options.folder)
    if found:
        lines = "\n".join(f"  {error}" for error in found)
        text = f"{counted(len(found), 'finding')} in {options.folder}:\n{lines}"
    else:
        project = load_project(options.folder)
        much = ", ".join(
            counted(len(names), what)
            for what, names in (
                ("model", project.models()),
                ("anomaly job", project.anomaly_jobs()),
                ("source", project.sources()),
            )
        )
        text = f"{options.folder} is right: {much}, every body rendered for both flavors."
    if warnings:
        lines = "\n".join(f"  {warning}" for warning in warnings)
        text += f"\n{counted(len(warnings), 'warning')}, which may be meant so:\n{lines}"
    data = {"findings": [_as_dict(error) for error in found], "warnings": [_as_dict(error) for error in warnings]}
    output.result(text, {"ok": not found, **data})
    return 1 if found else 0


def all_findings(folder: Path) -> list[ProjectFileError]:
    """Findings of the folder's own YAML; when there are none, of all else that it holds or names."""
    found = findings(folder)
    if found:
        return found
    project = load_project(folder)
    return [*_findings_of_name_tables(project), *kibana_findings(project), *_findings_of_own_bodies(project)]


def _findings_of_name_tables(project: Project) -> Iterator[ProjectFileError]:
    from elastic_ml.sources.people import NameTable

    for source in map(project.source, project.sources()):
        if source.names:
            try:
                NameTable.read(source.name, project.folder / source.names)
            except IngestError as error:
                path = project.folder / "sources" / f"{source.name}.yml"
                yield file_error(path, line_of_key(path, "names"), "names", error.message, error.remedy)


def _findings_of_own_bodies(project: Project) -> list[ProjectFileError]:
    """Of templates that take the place of those for training and scoring.

    They are rendered as for the Dev Tools scripts, which needs Airflow's libraries: that is worth its second only where
    there are such templates.
    """
    if not any(name.startswith("model/") for name in project.templates.own()):
        return []
    from elastic_ml.console import models
    from elastic_ml.console.example import Example

    example = Example(project, unknown_type="keyword")
    for model in map(project.model, project.models()):
        try:
            models.train(example, model, 0)
            if model.supervised:
                models.promote(example, model, 0)
                models.rescore(example, model, 0)
        except ProjectFileError as error:
            return [error]
        except ElasticMLError as error:
            path = project.folder / "models" / f"{model.name}.yml"
            return [file_error(path, 1, "", error.message, error.remedy or "correct the model's templates")]
    return []


def _as_dict(error: ProjectFileError) -> dict[str, object]:
    return {
        "file": error.file,
        "line": error.line,
        "field": error.field,
        "problem": error.problem,
        "remedy": error.remedy,
    }
