"""Connectors of the asset folders, those of Kibana's own configuration, and what each is told of an alert."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from elastic_ml.kibana_bundle.folders import files_of
from elastic_ml.kibana_bundle.texts import put_in
from elastic_ml.project.settings import Severity
from elastic_ml.project.yaml_files import FileModel, read_file

if TYPE_CHECKING:
    from elastic_ml.project.project import Project

SHIPPED_PREFIX = "ml"
"""The prefix for which the ids in the files are the ids in Kibana."""


class ConnectorFile(FileModel):
    """One connector: the body of Kibana's API, its id, and the severities of the rules that tell it."""

    id: str
    name: str
    connector_type_id: str
    config: dict[str, Any] = Field(default_factory=dict)
    severities: list[Severity] = Field(default_factory=list)


@dataclass(frozen=True)
class Connector:
    """A connector as Kibana gets it.

    :param id: its id in Kibana.
    :param type: such as ``.index``.
    :param severities: rules of which severities tell it.
    :param body: what Kibana's API takes; None for one that Kibana's own configuration has.
    :param to: recipients of an email.
    """

    id: str
    type: str
    severities: Sequence[str]
    body: Mapping[str, Any] | None = None
    to: Sequence[str] = ()


class ActionsFile(FileModel):
    """What connectors of one type are told: a list of actions of Kibana's rule API, without id and frequency."""

    actions: list[dict[str, Any]] = Field(min_length=1)


def connector_id(shipped: str, prefix: str) -> str:
    """The id of a connector of a file for projects of this prefix.

    Ids are taken in all spaces at once, and Kibana takes random UUIDs (version 4) only: two projects on one cluster
    need two, and each always the same one.
    """
    if prefix == SHIPPED_PREFIX:
        return shipped
    digest = hashlib.sha256(f"{shipped}|{prefix}".encode()).digest()[:16]
    return str(uuid.UUID(bytes=digest, version=4))


def connectors_of(project: Project, folders: Sequence[Path]) -> list[Connector]:
    """The connectors of the folders' `connectors/*.yml`; a later folder's file replaces one of the same name."""
    variables = {"names": project.names, "project": project.settings}
    made = []
    for path in files_of(folders, "connectors").values():
        one = read_file(path, ConnectorFile, prepare=partial(put_in, path, variables=variables))
        body = {"name": one.name, "connector_type_id": one.connector_type_id, "config": one.config}
        name = connector_id(one.id, project.names.prefix)
        made.append(Connector(name, one.connector_type_id, tuple(one.severities), body))
    return made


def actions_for(
    project: Project, folders: Sequence[Path], connector: Connector, variables: Mapping[str, Any]
) -> list[dict[str, Any]] | None:
    """What the connector is told, as actions of a rule; None when no folder has a file for its type.

    :param variables: what the texts of `actions/<type>.yml` may name beside `names`, `project` and `to`.
    """
    path = files_of(folders, "actions").get(connector.type.lstrip("."))
    if path is None:
        return None
    known = {"names": project.names, "project": project.settings, "to": list(connector.to), **variables}
    read = read_file(path, ActionsFile, prepare=partial(put_in, path, variables=known, marks="[["))
    frequency = {"summary": False, "notify_when": "onActionGroupChange", "throttle": None}
    return [{"id": connector.id, **one, "frequency": frequency} for one in read.actions]
