"""`check`: everything that can be wrong in a project folder and can be found without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elastic_ml.project.check import findings
from elastic_ml.project.project import load_project

if TYPE_CHECKING:
    import argparse

    from elastic_ml.cli.output import Output
    from elastic_ml.exceptions import ProjectFileError


def run_check(options: argparse.Namespace, output: Output) -> int:
    """Print each finding, or how much was found right; 1 when there is a finding."""
    found = findings(options.folder)
    if found:
        many = "s" if len(found) > 1 else ""
        lines = "\n".join(f"  {error}" for error in found)
        text = f"{len(found)} finding{many} in {options.folder}:\n{lines}"
    else:
        project = load_project(options.folder)
        text = (
            f"{options.folder} is right: {len(project.models())} models, {len(project.anomaly_jobs())} anomaly jobs, "
            f"{len(project.sources())} sources, every body rendered for both flavors."
        )
    output.result(text, {"ok": not found, "findings": [_as_dict(error) for error in found]})
    return 1 if found else 0


def _as_dict(error: ProjectFileError) -> dict[str, object]:
    return {
        "file": error.file,
        "line": error.line,
        "field": error.field,
        "problem": error.problem,
        "remedy": error.remedy,
    }
