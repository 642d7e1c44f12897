"""Taking a project out of Kibana: what `kibana_deploy` brought there, and nothing that a person made or changed."""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from elastic_ml.clients.kibana_assets import delete_connector, delete_rule
from elastic_ml.clients.kibana_changes import found_in
from elastic_ml.clients.kibana_data_views import DATA_VIEWS
from elastic_ml.clients.kibana_rules import rules_with_tags
from elastic_ml.clients.kibana_saved_objects import delete_saved_objects, objects_referring_to
from elastic_ml.exceptions import (
    ConflictError,
    ConnectionSettingsError,
    InvalidRequestError,
    PartialFailureError,
)
from elastic_ml.kibana.connectors import connectors_of
from elastic_ml.kibana.deployment import Deployment
from elastic_ml.kibana.rules import TAG
from elastic_ml.kibana.saved_objects import compare, edited_since, key_of, last_import
from elastic_ml.kibana_bundle import asset_folders
from elastic_ml.kibana_bundle.assets import Assets
from elastic_ml.kibana_bundle.bundle import saved_objects
from elastic_ml.maintenance.steps import DELETED, REFUSED, Step

if TYPE_CHECKING:
    from elastic_ml.clients.kibana import KibanaClient
    from elastic_ml.kibana.saved_objects import Finding, Imported, Key, SavedObject
    from elastic_ml.project.project import Project

OURS = "brought by kibana_deploy"
EDITED = "edited by hand, or of another version of the package: delete_edited deletes it all the same"
TYPES = {"dashboard": "dashboard", "data view": "index-pattern", "tag": "tag"}
"""Type of saved object by the word of a step."""
CHANGED = {"differs", "refused"}
"""States of a deployment's plan: what is there is not what would be written."""


class KibanaEstate:
    """What one project owns in the space of a Kibana connection, in the order in which it can be deleted.

    :param client: None where there is no connection.
    :param conn_id: the connection's id, for the table.
    :param delete_edited: also delete what a person edited.
    """

    def __init__(
        self, client: "KibanaClient | None", project: "Project", *, conn_id: str, delete_edited: bool = False
    ) -> None:
        self._client = client
        self.project = project
        self._conn_id = conn_id
        self._delete_edited = delete_edited

    @property
    def client(self) -> "KibanaClient":
        """The client; asked for only where there is one."""
        assert self._client is not None
        return self._client

    def steps(self) -> list[Step]:
        """Return every object with what happens to it: `delete`, or `keep` with the reason."""
        if self._client is None:
            return [Step("Kibana", self._conn_id, "keep", "there is no such connection: nothing of it was looked at")]
        try:
            self.client.require_space()
        except ConnectionSettingsError as error:
            return [Step("Kibana", self._conn_id, "keep", f"nothing can be there: {error.message}")]
        rules, dashboards = list(self._rules()), list(self._dashboards())
        going: set[Key] = {(TYPES["dashboard"], step.name) for step in dashboards if step.action == "delete"}
        # Tags last: what an interrupted removal needs to tell a person's edits from ours is noted on them.
        return [
            *rules,
            *dashboards,
            *self._data_views(going),
            *self._connectors({step.name for step in rules if step.action == "delete"}),
            *self._tags(going),
        ]

    def do(self, step: Step) -> Step:
        """Carry out one step; what is gone already is fine, what Kibana refuses stays, with its words."""
        try:
            if step.kind == "rule":
                delete_rule(self.client, step.name)
            elif step.kind == "connector":
                delete_connector(self.client, step.name)
            else:
                delete_saved_objects(self.client, [(TYPES[step.kind], step.name)])
        except (ConflictError, InvalidRequestError, PartialFailureError) as error:
            return step._replace(action="keep", reason=f"{REFUSED}{error.message}")
        return step._replace(action=DELETED)

    # What there is --------------------------------------------------------------------------------------------------

    def _rules(self) -> Iterator[Step]:
        """By their tags; those that an asset folder has are compared with their files."""
        for rule in self._all_rules:
            if {TAG, self.project.name} <= set(rule.get("tags") or []):
                edited = self._planned["rule"].get(rule["id"]) in CHANGED
                yield self._step("rule", rule["id"], str(rule["name"]), edited=edited)

    def _dashboards(self) -> Iterator[Step]:
        """Those of the asset folders, and those with our tag and an id of ours that no folder has any more."""
        for found in self._found("dashboard"):
            yield self._compared("dashboard", found)
        described = {key_of(one) for one in self._bundle}
        for one in objects_referring_to(self.client, [key for key in described if key[0] == "tag"]):
            kind, name = key_of(one)
            if (
                kind == "dashboard"
                and (kind, name) not in described
                and name.startswith(self.project.names.kibana_asset(""))
            ):
                edited = self._imported is None or edited_since(one, self._imported)
                yield self._step("dashboard", name, "no asset folder has it any more", edited=edited)

    def _data_views(self, going: "set[Key]") -> Iterator[Step]:
        for found in self._found("index-pattern"):
            name = found.key[1]
            # Deleting it would delete it in each of its spaces.
            spaces = ((found_in(self.client, DATA_VIEWS, name) or {}).get("data_view") or {}).get("namespaces") or []
            if len(spaces) > 1:
                yield Step("data view", name, "keep", f"shared by the spaces {', '.join(sorted(spaces))}")
            elif users := self._staying(found.key, going):
                yield Step("data view", name, "keep", f"shown by what stays: {users}")
            else:
                yield self._compared("data view", found)

    def _connectors(self, going: set[str]) -> Iterator[Step]:
        """Those of the asset folders; never one of Kibana's own configuration, or one that a rule that stays tells."""
        there = {one["id"]: one for one in self.client.request("GET", "/api/actions/connectors")}
        staying = [rule for rule in self._all_rules if rule["id"] not in going]
        for connector in connectors_of(self.project, asset_folders(self.project)):
            shown = there.get(connector.id)
            if shown is None or shown.get("is_preconfigured"):
                continue
            users = sorted(
                str(rule["name"])
                for rule in staying
                if any(action["id"] == connector.id for action in rule.get("actions") or [])
            )
            if users:
                yield Step("connector", connector.id, "keep", f"told by rules that stay: {', '.join(users)}")
            else:
                edited = self._planned["connector"].get(str((connector.body or {})["name"])) in CHANGED
                yield self._step("connector", connector.id, str(shown["name"]), edited=edited)

    def _tags(self, going: "set[Key]") -> Iterator[Step]:
        for found in self._found("tag"):
            if users := self._staying(found.key, going):
                yield Step("tag", found.key[1], "keep", f"on what stays: {users}")
            else:
                yield Step("tag", found.key[1], "delete", OURS)

    def _staying(self, key: "Key", going: "set[Key]") -> str:
        """What refers to an object and stays, as text: a person's own, or one of ours that was edited."""
        found = {key_of(one) for one in objects_referring_to(self.client, [key])} - going
        return ", ".join(f"{kind} {name}" for kind, name in sorted(found))

    # Ours, or changed by somebody -----------------------------------------------------------------------------------

    def _step(self, kind: str, name: str, about: str, *, edited: bool) -> Step:
        if edited and not self._delete_edited:
            return Step(kind, name, "keep", f"{about}; {EDITED}")
        return Step(kind, name, "delete", f"{about}; edited by hand" if edited else about)

    def _compared(self, kind: str, found: "Finding") -> Step:
        # What differs where no import was noted, nobody can tell from what a person changed.
        edited = found.state == "edited" or (found.state == "differs" and self._imported is None)
        return self._step(kind, found.key[1], found.detail if edited else OURS, edited=edited)

    def _found(self, kind: str) -> "list[Finding]":
        return [one for one in self._findings if one.key[0] == kind]

    @cached_property
    def _all_rules(self) -> list[dict[str, Any]]:
        return sorted(rules_with_tags(self.client, []), key=lambda rule: str(rule["id"]))

    @cached_property
    def _bundle(self) -> "tuple[SavedObject, ...]":
        """The saved objects of the asset folders; whether they are well made is no question here."""
        return saved_objects(self.project, Assets(self.project, asset_folders(self.project)))

    @cached_property
    def _findings(self) -> "list[Finding]":
        found = compare(self.client, self._bundle) if self._bundle else []
        return [one for one in found if one.state != "missing"]

    @cached_property
    def _imported(self) -> "Imported | None":
        return last_import(self.client, self._bundle) if self._found("tag") else None

    @cached_property
    def _planned(self) -> dict[str, dict[str, str]]:
        """What a deployment would say of rules (by id) and connectors (by name): the state of each."""
        states: dict[str, dict[str, str]] = {"rule": {}, "connector": {}}
        for row in Deployment(self.client, self.project, self._bundle, mode="plan").run().rows:
            if row.kind in states:
                states[row.kind][row.name] = row.state
        return states
