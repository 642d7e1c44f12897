"""The project folder: `project.yml`, `sources/`, `models/`, `anomaly_jobs/`, `templates/`; read file by file."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elastic_ml.project.bodies import MANAGED_BY, body_hash
from elastic_ml.project.names import Names
from elastic_ml.project.settings import ProjectSettings
from elastic_ml.project.yaml_files import file_error, line_of_key, read_file

if TYPE_CHECKING:
    from elastic_ml.project.anomaly_job import AnomalyJob
    from elastic_ml.project.model import Model
    from elastic_ml.project.source import Source
    from elastic_ml.project.templates import Templates


LONGEST_NAME = 30
"""Of a model, with the project's `id_prefix`: a trained model's id adds 32 characters, and 64 is all there may be."""


LONGEST_ID = 64
"""Characters, of an id of Elasticsearch's machine learning."""


def load_project(folder: Path | str) -> Project:
    """Read `<folder>/project.yml` and nothing else; raises ProjectFileError (file, line, field, remedy)."""
    folder = Path(folder)
    return Project(folder, read_file(folder / "project.yml", ProjectSettings))


class Project:
    """One project folder, read lazily: listing reads directory names only, `model(name)` one file."""

    def __init__(self, folder: Path, settings: ProjectSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.names = Names(settings)

    @property
    def name(self) -> str:
        """The project's name."""
        return self.settings.name

    def models(self) -> list[str]:
        """Names of the model files, valid or not, sorted."""
        return self._files("models")

    def sources(self) -> list[str]:
        """Names of the source files, valid or not, sorted."""
        return self._files("sources")

    def anomaly_jobs(self) -> list[str]:
        """Names of the anomaly job files, valid or not, sorted."""
        return self._files("anomaly_jobs")

    def model(self, name: str) -> Model:
        """Read `models/<name>.yml`; raises ProjectFileError, also when its name can be no model's name."""
        from elastic_ml.project.model import Model

        path = self._path("models", name)
        _must_name("model", path)
        if len(self.names.on_cluster(name)) > LONGEST_NAME:
            raise file_error(
                path,
                None,
                "name",
                f"{self.names.on_cluster(name)}, with the id_prefix of project.yml, is longer than {LONGEST_NAME} "
                "characters: trained models could not be named after it",
                "shorten one of the two",
            )
        self._must_exist("model", path)
        return read_file(path, Model, defaults={"name": name})

    def anomaly_job(self, name: str) -> AnomalyJob:
        """Read `anomaly_jobs/<name>.yml`; raises ProjectFileError, also for holidays that project.yml does not have."""
        from elastic_ml.project.anomaly_job import AnomalyJob

        path = self._path("anomaly_jobs", name)
        _must_name("anomaly job", path)
        self._must_exist("anomaly_job", path)
        job = read_file(path, AnomalyJob, defaults={"name": name})
        for calendar, settings in job.calendars.items():
            if settings.holidays and self.settings.holidays is None:
                raise file_error(
                    path,
                    line_of_key(path, "calendars", calendar, "holidays"),
                    f"calendars.{calendar}.holidays",
                    "project.yml names no holidays",
                    "add `holidays: {country: US, years: [2020, 2035]}` to project.yml, or write the events",
                )
        for kind, ids in (
            ("calendars", {part: self.names.anomaly_calendar(name, part) for part in job.calendars}),
            ("filters", {part: self.names.anomaly_filter(name, part) for part in job.filters}),
        ):
            for part, id_ in ids.items():
                if len(id_) > LONGEST_ID:
                    raise file_error(
                        path,
                        line_of_key(path, kind, part),
                        f"{kind}.{part}",
                        f"its id {id_} is longer than {LONGEST_ID} characters",
                        "shorten its name, the file's, or the id_prefix of project.yml",
                    )
        return job

    def source(self, name: str) -> Source:
        """Read `sources/<name>.yml`; its stream must be a managed one of project.yml, or the verdict stream."""
        from elastic_ml.project.source import Source

        path = self._path("sources", name)
        self._must_exist("source", path)
        source = read_file(path, Source, defaults={"name": name})
        allowed = (
            [self.names.labels_stream]
            if source.kind == "labels"
            else [stream.name for stream in self.names.audit_streams if stream.managed]
        )
        if source.stream not in allowed:
            raise file_error(
                path,
                line_of_key(path, "stream"),
                "stream",
                f"{source.stream} is no stream that a source of kind {source.kind} may write",
                f"use one of {', '.join(allowed) or 'none: list a managed stream in project.yml first'}",
            )
        return source

    def _must_exist(self, kind: str, path: Path) -> None:
        if not path.exists():
            there = ", ".join(self._files(f"{kind}s")) or "none yet"
            raise file_error(
                path,
                None,
                "",
                f"there is no {kind.replace('_', ' ')} {path.stem!r} in this project",
                f"use one that is there ({there}), or create the file",
            )

    @cached_property
    def templates(self) -> Templates:
        """Bodies: the project folder's templates first, then the package's."""
        from elastic_ml.project.templates import Templates

        return Templates(self.folder, {"names": self.names, "project": self.settings})

    def stamp(self, body: dict[str, Any], *, hashed: Any = None) -> dict[str, Any]:
        """The body with `_meta` saying who manages it; the hash is over `hashed`, by default the body."""
        from elastic_ml import __version__

        meta = {
            **body.get("_meta", {}),
            "managed_by": MANAGED_BY,
            "project": self.name,
            "version": __version__,
            "hash": body_hash(body if hashed is None else hashed),
        }
        return {**body, "_meta": meta}

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{name}.yml"

    def _files(self, kind: str) -> list[str]:
        return sorted(path.stem for path in (self.folder / kind).glob("*.yml"))


def _must_name(kind: str, path: Path) -> None:
    from elastic_ml.project.model import MODEL_NAME_PATTERN

    if not re.fullmatch(MODEL_NAME_PATTERN, path.stem):
        raise file_error(
            path,
            None,
            "name",
            f"{path.stem!r} can be no {kind}'s name",
            "rename the file: 2 to 30 characters of a-z, 0-9 and _, starting and ending with a letter",
        )
