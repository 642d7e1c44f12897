"""What is wrong in the asset folders and in `kibana:` of project.yml, found without a Kibana."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from elastic_ml.exceptions import ProjectFileError
from elastic_ml.kibana.connectors import actions_for, connectors_of
from elastic_ml.kibana.rules import rules_of
from elastic_ml.kibana_bundle.assets import Assets
from elastic_ml.kibana_bundle.bundle import saved_objects
from elastic_ml.kibana_bundle.folders import asset_folders
from elastic_ml.kibana_bundle.lint import problems_of

if TYPE_CHECKING:
    from elastic_ml.project.project import Project


def kibana_findings(project: Project) -> list[ProjectFileError]:
    """Everything wrong with dashboards and data views, and the first mistake of rules, of connectors and of actions."""
    try:
        return list(_findings(project))
    except ProjectFileError as error:
        return [error, *error.also]


def _findings(project: Project) -> Iterator[ProjectFileError]:
    folders = asset_folders(project)
    assets = Assets(project, folders)
    yield from assets.problems
    yield from problems_of(assets, saved_objects(project, assets))
    try:
        rules_of(project, folders, every_model=False)
    except ProjectFileError as error:
        yield from (error, *error.also)
    for connector in connectors_of(project, folders):
        actions_for(project, folders, connector, {"severity": "P1", "rule": ""})
