"""Where Kibana's assets lie: the folders that project.yml lists, and the files of one kind in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from elastic_ml.project.yaml_files import file_error, line_of_key

if TYPE_CHECKING:
    from elastic_ml.project.project import Project

PLATFORM = "platform"
"""The word in `project.yml` for the folder that comes with the package."""


def asset_folders(project: Project) -> list[Path]:
    """The folders that `kibana.folders` of project.yml lists; raises ProjectFileError for one that does not exist."""
    found = []
    for position, folder in enumerate(project.settings.kibana.folders):
        path = platform_folder() if folder == PLATFORM else (project.folder / folder).resolve()
        if not os.path.isdir(path):  # Path's own raises an error for a name that no file system takes
            written = project.folder / "project.yml"
            raise file_error(
                written,
                line_of_key(written, "kibana", "folders", position),
                f"kibana.folders.{position}",
                f"there is no folder {path}",
                "correct the path (it is relative to the project folder), or remove the line",
            )
        found.append(path)
    return found


def platform_folder() -> Path:
    """The package's own assets: inside the wheel, or beside `plugins/` in a checkout."""
    inside = Path(str(resources.files("elastic_ml"))) / "kibana" / PLATFORM
    return inside if inside.is_dir() else Path(__file__).resolve().parents[3] / "kibana" / PLATFORM


def files_of(folders: Sequence[Path], kind: str) -> dict[str, Path]:
    """Files `<kind>/<name>.yml` by name; that of a later folder replaces one of an earlier folder."""
    return {path.stem: path for folder in folders for path in sorted((folder / kind).glob("*.yml"))}
