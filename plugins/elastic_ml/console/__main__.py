"""`python -m elastic_ml.console PROJECT_FOLDER SCRIPTS_FOLDER [--day 2026-06-30]` writes the scripts of a project.

The scripts' folder may hold `sample.ndjson`, documents as an ingestion sends them: what cannot be told from templates
(types of `audit.*`) is read from them. Scripts of DAGs that are gone are deleted.
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

from elastic_ml.console.example import DAY, Example
from elastic_ml.console.scripts import scripts
from elastic_ml.exceptions import ElasticMLError


def main(arguments: list[str] | None = None) -> int:
    """Write the scripts; 1 when a file of the project is wrong."""
    parser = argparse.ArgumentParser(prog="python -m elastic_ml.console", description=__doc__)
    parser.add_argument("project", type=Path, help="the folder of project.yml")
    parser.add_argument("folder", type=Path, help="where the scripts go")
    parser.add_argument("--day", type=date.fromisoformat, default=DAY, help="the day that trainings are for")
    options = parser.parse_args(arguments)
    from elastic_ml.project import load_project

    try:
        example = Example.of(load_project(options.project), options.folder, options.day)
        made = {script.name: script.text() for script in scripts(example)}
    except ElasticMLError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command line
        return 1
    options.folder.mkdir(parents=True, exist_ok=True)
    for old in options.folder.glob("*.console"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (options.folder / name).write_text(text, encoding="utf-8")
    print(f"{len(made)} scripts in {options.folder}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
