"""Brings a project's assets to a Kibana: compared, then written, and one table of what became of each.

Needs a client, no Airflow. Safe to repeat and to interrupt: each object is compared before it is written, ids are
fixed, and what is done already is found unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from elastic_ml.clients.kibana_assets import delete_rule, sync_ml, upsert_connector, upsert_rule
from elastic_ml.clients.kibana_changes import Change, check_type
from elastic_ml.clients.kibana_rules import rules_with_tags
from elastic_ml.exceptions import (
    ConnectionSettingsError,
    ElasticMLError,
    LicenseError,
    PartialFailureError,
    UnavailableError,
    VersionError,
)
from elastic_ml.kibana.connectors import Connector, actions_for, connectors_of
from elastic_ml.kibana.rules import TAG, Rule, rules_of
from elastic_ml.kibana.saved_objects import WORDS, Key, SavedObject, compare, key_of, with_note
from elastic_ml.kibana_bundle import asset_folders

if TYPE_CHECKING:
    from elastic_ml.clients.kibana import KibanaClient, KibanaFacts
    from elastic_ml.project.project import Project

Mode = Literal["plan", "apply"]
OLDEST = (9, 2)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    :param state: ``created``, ``changed``, ``unchanged``, ``deleted``; ``left`` (not ours to decide), ``skipped`` (this
        Kibana lacks what it needs), ``refused`` (nothing was written: a person has to act); in a plan ``would create``,
        ``differs``, ``would delete``.
    :param detail: what differed, or why.
    """

    kind: str
    name: str
    state: str
    detail: str = ""


@dataclass(frozen=True)
class Choices:
    """What is done only when somebody asks for it.

    :param overwrite_edited: replace dashboards, data views and tags that a person edited.
    :param enforce_enabled: switch rules on that a person switched off.
    :param delete_retired: delete rules of this project that its folders no longer have.
    """

    overwrite_edited: bool = False
    enforce_enabled: bool = False
    delete_retired: bool = False


@dataclass
class DeployReport:
    """What was found or done, one row per object, in the order in which it was."""

    mode: Mode
    space: str
    rows: list[Row] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Rows per state."""
        found: dict[str, int] = {}
        for row in self.rows:
            found[row.state] = found.get(row.state, 0) + 1
        return found

    def table(self) -> str:
        """The rows as aligned text."""
        lines = [("object", "name", "state", "why"), *((r.kind, r.name, r.state, r.detail) for r in self.rows)]
        widths = [max(len(line[at]) for line in lines) for at in range(3)]
        return "\n".join(
            "  ".join([*(line[at].ljust(widths[at]) for at in range(3)), line[3]]).rstrip() for line in lines
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, for an XCom."""
        return {
            "mode": self.mode,
            "space": self.space,
            "counts": self.counts(),
            "rows": [asdict(row) for row in self.rows],
        }

    def raise_for_state(self) -> None:
        """Raise PartialFailureError where something was refused; the rest is done."""
        refused = {f"{row.kind} {row.name}": row.detail for row in self.rows if row.state == "refused"}
        if refused:
            listed = "; ".join(f"{name}: {why}" for name, why in refused.items())
            raise PartialFailureError(
                f"Kibana refused {len(refused)} of {len(self.rows)} objects: {listed}",
                remedy="Mend these and deploy again: what is right already is left alone.",
                failures=refused,
            )


class Deployment:
    """One deployment of a project into the space of the client.

    :param bundle: the saved objects, as :func:`elastic_ml.kibana_bundle.build_bundle` gives them.
    :param mode: ``plan`` only reads and says what it would do.
    """

    def __init__(
        self,
        client: KibanaClient,
        project: Project,
        bundle: Sequence[SavedObject],
        *,
        mode: Mode = "plan",
        choices: Choices | None = None,
    ) -> None:
        self._client = client
        self._project = project
        self._folders = asset_folders(project)
        self._bundle = bundle
        self._write = mode == "apply"
        self._choices = choices or Choices()
        self.report = DeployReport(mode, client.settings.space or "default")

    def run(self) -> DeployReport:
        """Deploy; what was done before an error is in :attr:`report`.

        :raises VersionError: this Kibana is older than 9.2.
        :raises UnavailableError: it did not answer; deploying again goes on where this ended.
        :raises ConnectionSettingsError: the space does not exist, or the address is no Kibana's.
        :raises ProjectFileError: a file of an asset folder is wrong; nothing was sent.
        """
        dashboards = {str(one["id"]) for one in self._bundle if one["type"] == "dashboard"}
        rules = rules_of(self._project, self._folders, dashboards)
        connectors = connectors_of(self._project, self._folders)
        facts = self._client.facts()
        if not facts.serverless and facts.version[:2] < OLDEST:
            raise VersionError(
                f"This Kibana is {'.'.join(map(str, facts.version))}; the assets are made for 9.2 and newer.",
                remedy="Upgrade the stack.",
            )
        self._client.require_space()
        self._saved_objects()
        told = [*self._connectors(connectors), *self._preconfigured()]
        self._rules(rules, told, facts)
        self._retired({rule.id for rule in rules})
        self._ml()
        return self.report

    # Saved objects --------------------------------------------------------------------------------------------------

    def _saved_objects(self) -> None:
        findings = compare(self._client, self._bundle)
        edited = [] if self._choices.overwrite_edited else [one.key for one in findings if one.state == "edited"]
        wanted = {one.key for one in findings if one.state != "same"} - set(edited)
        refused, renamed = self._import(wanted, edited) if wanted and self._write else ({}, {})
        for one in findings:
            kind, name = WORDS.get(one.key[0], one.key[0]), one.key[1]
            if one.key in edited:
                self._row(kind, name, "left", f"edited by hand; overwrite_edited takes it back: {one.detail}")
            elif one.key not in wanted:
                self._row(kind, name, "unchanged", one.detail)
            elif one.key in refused:
                self._row(kind, name, "refused", refused[one.key])
            else:
                done, plan = ("created", "would create") if one.state == "missing" else ("changed", "differs")
                self._row(kind, name, done if self._write else plan, renamed.get(one.key, one.detail))

    def _import(self, wanted: set[Key], edited: list[Key]) -> tuple[dict[Key, str], dict[Key, str]]:
        """Import; return why objects were refused, and what is to be said of objects that got another id."""
        # Tags go along with each import: their note says what was imported last, and when.
        send = [one for one in with_note(self._bundle, edited) if key_of(one) in wanted or one["type"] == "tag"]
        lines = b"\n".join(json.dumps(one, sort_keys=True).encode() for one in send)
        try:
            result = self._client.import_saved_objects(lines, existing="replace")
        except PartialFailureError as error:
            same = {one.key for one in compare(self._client, self._bundle) if one.state == "same"}
            return {
                key: error.failures.get(" ".join(key), "not imported, since others were refused")
                for key in wanted - same
            }, {}
        return {}, {
            (kind, name): f"Kibana made it {result.renamed[f'{kind} {name}']}, since another space holds this id"
            for kind, name in wanted
            if f"{kind} {name}" in result.renamed
        }

    # Connectors -----------------------------------------------------------------------------------------------------

    def _connectors(self, connectors: list[Connector]) -> Iterator[Connector]:
        """Keep the connectors of the folders; yield those that are there to be told."""
        for one in connectors:
            body = one.body or {}
            there = self._done(
                "connector",
                str(body["name"]),
                partial(upsert_connector, self._client, one.id, body, write=self._write),
            )
            if there:
                yield one

    def _preconfigured(self) -> Iterator[Connector]:
        """Connectors of Kibana's own configuration that project.yml names; yield those that are there."""
        wanted = self._project.settings.kibana.notify
        if not wanted:
            return
        there = {one["id"]: one for one in self._client.request("GET", "/api/actions/connectors")}
        types = {one["id"]: one for one in self._client.request("GET", "/api/actions/connector_types")}
        for one in wanted:
            found = there.get(one.connector)
            kind = str(found["connector_type_id"]) if found else ""
            made = Connector(one.connector, kind, tuple(one.severities), to=tuple(one.to))
            why = self._unusable(made, types.get(kind))
            if why:
                self._row("connector", one.connector, "skipped", why)
            else:
                self._row("connector", one.connector, "unchanged", "of Kibana's own configuration")
                yield made

    def _unusable(self, one: Connector, offered: Mapping[str, Any] | None) -> str:
        """Why rules cannot tell a connector of Kibana's own configuration; empty when they can."""
        if not one.type:
            return "this Kibana has no connector of that id: add it to xpack.actions.preconfigured in kibana.yml"
        try:
            check_type("connector type", one.type, offered)
        except (LicenseError, VersionError) as error:
            return error.message
        if one.type == ".email" and not one.to:
            return "an email needs recipients: add `to` beside it in project.yml"
        if actions_for(self._project, self._folders, one, {"severity": "P1", "rule": ""}) is None:
            return f"no asset folder has actions/{one.type.lstrip('.')}.yml"
        return ""

    # Rules ----------------------------------------------------------------------------------------------------------

    def _rules(self, rules: list[Rule], connectors: list[Connector], facts: KibanaFacts) -> None:
        for rule in rules:
            if rule.unless == "serverless" and facts.serverless:
                self._row("rule", rule.id, "skipped", "makes no sense on Serverless")
                continue
            body = {**rule.body, "actions": self._actions(rule, connectors)}
            self._done(
                "rule",
                rule.id,
                partial(
                    upsert_rule,
                    self._client,
                    rule.id,
                    body,
                    enforce_enabled=self._choices.enforce_enabled,
                    write=self._write,
                ),
            )

    def _actions(self, rule: Rule, connectors: list[Connector]) -> list[dict[str, Any]]:
        variables: Mapping[str, Any] = {"severity": rule.severity, "rule": rule.name}
        return [
            action
            for one in connectors
            if rule.severity in one.severities
            for action in actions_for(self._project, self._folders, one, variables) or []
        ]

    def _retired(self, wanted: set[str]) -> None:
        """Rules of ours that no folder has any more: only named, unless somebody asks for more."""
        try:
            ours = list(rules_with_tags(self._client, (TAG, self._project.name)))
        except (UnavailableError, ConnectionSettingsError):
            raise
        except ElasticMLError as error:
            self._row("rule", "(retired ones)", "skipped", error.message)
            return
        for name in sorted(str(rule["id"]) for rule in ours):
            if name in wanted:
                continue
            if self._choices.delete_retired:
                self._done("rule", name, partial(delete_rule, self._client, name, write=self._write))
            else:
                self._row("rule", name, "left", "no asset folder has it any more; delete_retired deletes it")

    # Machine learning -----------------------------------------------------------------------------------------------

    def _ml(self) -> None:
        """Kibana syncs by itself, too, so that a failure is worth a line and no more."""
        if not self._write:
            return
        try:
            counted = sync_ml(self._client)
        except UnavailableError:
            raise
        except ElasticMLError as error:
            self._row("ML objects", "sync", "skipped", f"Kibana will do it by itself: {error.message}")
            return
        state = "changed" if any(counted.values()) else "unchanged"
        self._row("ML objects", "sync", state, f"{counted['added']} added, {counted['removed']} removed")

    # Together -------------------------------------------------------------------------------------------------------

    def _row(self, kind: str, name: str, state: str, detail: str = "") -> None:
        self.report.rows.append(Row(kind, name, state, detail))

    def _done(self, kind: str, name: str, do: Callable[[], Change]) -> bool:
        """Do one thing and note what became of it; whether the object is there now (or would be)."""
        try:
            change = do()
        except (UnavailableError, ConnectionSettingsError):
            raise
        except (LicenseError, VersionError) as error:
            self._row(kind, name, "skipped", error.message)
            return False
        except ElasticMLError as error:
            self._row(kind, name, "refused", str(error))
            return False
        self._row(kind, name, change.state, change.detail)
        return True
