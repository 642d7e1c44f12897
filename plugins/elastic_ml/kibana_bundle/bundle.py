"""The bundle of a project: everything of its asset folders that Kibana imports as one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from elastic_ml.exceptions import PartialFailureError
from elastic_ml.kibana_bundle.assets import Assets
from elastic_ml.kibana_bundle.builder import SavedObject, dashboard_object, data_view_object, tag_object
from elastic_ml.kibana_bundle.folders import asset_folders

if TYPE_CHECKING:
    from elastic_ml.project.project import Project


@dataclass(frozen=True)
class Bundle:
    """What `POST /api/saved_objects/_import` takes.

    :param name: the project's name.
    :param objects: saved objects: tags, data views, dashboards; each refers only to the others and to none outside.
    :param assets: the descriptions that they were made of.
    """

    name: str
    objects: tuple[SavedObject, ...]
    assets: Assets

    @property
    def ndjson(self) -> bytes:
        """The file: one object a line, keys sorted; the same bytes for the same asset files."""
        lines = (json.dumps(one, ensure_ascii=False, sort_keys=True, separators=(",", ":")) for one in self.objects)
        return "".join(f"{line}\n" for line in lines).encode()


def build_bundle(project: Project, folders: Sequence[Path] | None = None, *, airflow_url: str | None = None) -> Bundle:
    """Read the asset folders, check them, and make the bundle.

    :param folders: instead of those that `kibana.folders` of project.yml lists.
    :param airflow_url: where Airflow's pages are, instead of `kibana.airflow` of project.yml.
    :raises PartialFailureError: one sentence per problem: file, panel, field, remedy.
    """
    from elastic_ml.kibana_bundle.lint import problems_of

    assets = Assets(project, asset_folders(project) if folders is None else folders, airflow_url)
    objects = saved_objects(project, assets)
    found = [*assets.problems, *problems_of(assets, objects)]
    if found:
        raise PartialFailureError(
            f"{len(found)} problem{'s' if len(found) > 1 else ''} in what Kibana is to show:\n"
            + "\n".join(f"- {error}" for error in found),
            failures={f"{error.file}: {error.field}": str(error) for error in found},
        )
    return Bundle(project.name, objects, assets)


def saved_objects(project: Project, assets: Assets) -> tuple[SavedObject, ...]:
    """The saved objects of descriptions, checked or not."""
    prefix = project.names.prefix
    tags = sorted({tag for dashboard in assets.dashboards for tag in dashboard.content.tags})
    return (
        *(tag_object(prefix, tag) for tag in tags),
        *(data_view_object(prefix, view.content) for view in assets.data_views),
        *(dashboard_object(prefix, one.content, assets.dashboards) for one in assets.dashboards),
    )
