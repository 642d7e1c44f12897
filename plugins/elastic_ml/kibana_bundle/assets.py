"""Reads the files of the asset folders: dashboards and data views, with the project's names put in.

Every text is a Jinja template of `names` (:class:`elastic_ml.project.names.Names`), `project` (`project.yml`) and
`airflow`, a function from a DAG id to the address of its page, empty where nobody said where Airflow is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from elastic_ml.exceptions import ProjectFileError
from elastic_ml.kibana_bundle.description import Dashboard, DataView
from elastic_ml.kibana_bundle.folders import files_of
from elastic_ml.kibana_bundle.texts import put_in
from elastic_ml.project.yaml_files import FileModel, read_file

if TYPE_CHECKING:
    from elastic_ml.project.project import Project

AnyAsset = TypeVar("AnyAsset", bound=FileModel)


@dataclass(frozen=True)
class Asset(Generic[AnyAsset]):
    """A file and what it says."""

    path: Path
    content: AnyAsset

    @property
    def name(self) -> str:
        """The name of its file."""
        return self.path.stem


class Assets:
    """What the folders hold; a later folder's file replaces one of the same name in an earlier folder.

    A file that cannot be read is one of `problems`, and the others are read all the same.

    :param airflow_url: where Airflow's pages are, instead of `kibana.airflow` of project.yml.
    """

    def __init__(self, project: Project, folders: Sequence[Path], airflow_url: str | None = None) -> None:
        self.problems: list[ProjectFileError] = []
        self._variables = {
            "names": project.names,
            "project": project.settings,
            "airflow": partial(_dag_page, airflow_url or project.settings.kibana.airflow),
        }
        self.data_views = list(self._read(folders, "data_views", DataView))
        dashboards = self._read(folders, "dashboards", Dashboard)
        self.dashboards = sorted(dashboards, key=lambda one: (one.content.order, one.name))

    def _read(self, folders: Sequence[Path], kind: str, shape: type[AnyAsset]) -> Iterator[Asset[AnyAsset]]:
        for name, path in sorted(files_of(folders, kind).items()):
            prepare = partial(put_in, path, variables=self._variables)
            try:
                yield Asset(path, read_file(path, shape, defaults={"name": name}, prepare=prepare))
            except ProjectFileError as error:
                self.problems.append(error)


def _dag_page(airflow_url: str | None, dag_id: str) -> str:
    # The form of a run has no address of its own in Airflow 3.3: it opens from the DAG's page, with "Trigger".
    return f"{airflow_url.rstrip('/')}/dags/{dag_id}" if airflow_url else ""
