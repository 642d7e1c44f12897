"""`check`: everything that can be wrong in a project folder and can be found without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elastic_ml.cli.output import counted
from elastic_ml.project.check import findings
from elastic_ml.project.doubts import doubts
from elastic_ml.project.project import load_project

if TYPE_CHECKING:
    import argparse

    from elastic_ml.cli.output import Output
    from elastic_ml.exceptions import ProjectFileError


def run_check(options: argparse.Namespace, output: Output) -> int:
    """Print each finding, or how much was found right, and what is worth a look; 1 when there is a finding."""
    found = findings(options.folder)
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


def _as_dict(error: ProjectFileError) -> dict[str, object]:
    return {
        "file": error.file,
        "line": error.line,
        "field": error.field,
        "problem": error.problem,
        "remedy": error.remedy,
    }
