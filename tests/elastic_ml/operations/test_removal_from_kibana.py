"""Removal in Kibana: what was deployed goes, what a person made or changed stays and is named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from clinic.world import CLINIC
from harness.task_runner import TaskRunner, WorkerKilledError
from requests.adapters import HTTPAdapter

from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.clients.kibana_saved_objects import delete_saved_objects
from elastic_ml.clients.settings import KibanaSettings
from elastic_ml.exceptions import PartialFailureError
from elastic_ml.kibana.deployment import Deployment
from elastic_ml.kibana_bundle import build_bundle
from elastic_ml.operators.removal import RemoveOperator
from elastic_ml.project import load_project
from elastic_sandbox.testing import Sandbox

ASSETS = {
    "dashboards/model-operations": """
title: Models
description: What they do.
tags: [operations]
time: {from: now-24h}
controls: [{field: model_name, title: Model, data_view: operations}]
panels:
  - {title: About, chart: text, at: {x: 0, y: 0, w: 48, h: 4}, text: Ask.}
""",
    "data_views/operations": """
called: "{{ project.name }}: operations"
pattern: "{{ names.operations_streams | join(',') }}"
""",
    "rules/unwell": """
id: "{{ names.prefix }}-unwell"
name: Unwell
severity: P1
every: 5m
window: 10m
esql: FROM {{ names.health }} | STATS n = COUNT(*) BY name | WHERE n > 9
guide: Look.
""",
    "connectors/alerts": """
id: 0f6c2f4e-5c1d-4a7b-9c58-2f6a9d1e7b30
name: "{{ project.prefix }} alerts"
connector_type_id: .index
severities: [P1]
config: {index: told}
""",
    "actions/index": """
actions:
  - {group: query matched, params: {documents: [{rule: "[[ rule ]]"}]}}
""",
}
KINDS = {"dashboard", "index-pattern", "tag", "alert", "action"}
DASHBOARD, VIEW, TAG = "clinicml-model-operations", "clinicml-operations", "clinicml-tag-operations"


class Kibana:
    """A Kibana with the clinic's assets, on which people work as well."""

    def __init__(self, sandbox: Sandbox, folder: Path, space: str = "") -> None:
        self.sandbox, self.folder, self.space = sandbox, folder, space
        self.prefix = f"/s/{space}" if space else ""
        self.store = sandbox.backend.kibana.objects
        self.project = load_project(folder)

    def deploy(self) -> None:
        with KibanaClient(KibanaSettings(url=self.sandbox.kibana_url, space=self.space)) as client:
            Deployment(client, self.project, build_bundle(self.project).objects, mode="apply").run().raise_for_state()
        self.sandbox.clock.advance(60)

    def task(self, conn: str = "kibana_default", **arguments: Any) -> TaskRunner:
        def make() -> RemoveOperator:
            confirmed = {"apply": True, "confirm": "clinic", **arguments}
            return RemoveOperator(task_id="remove", project_folder=str(self.folder), kibana_conn_id=conn, **confirmed)

        kibana = {"conn_type": "kibana", "host": self.sandbox.kibana_url, "extra": {"space": self.space}}
        return TaskRunner(
            make, connections={"elasticsearch_default": self.sandbox.elasticsearch_url, "kibana_default": kibana}
        )

    def remove(self, **arguments: Any) -> dict[str, tuple[str, str]]:
        """Steps in Kibana as `kind name` → (action, reason)."""
        result = self.task(**arguments).complete()
        assert result.state == "success", result.error
        return {f"{s['kind']} {s['name']}": (s["action"], s["reason"]) for s in result.value["steps"]}

    def there(self) -> set[str]:
        space = self.space or "default"
        return {f"{kind} {one['id']}" for kind in KINDS for one in self.store.all(kind, space)}

    def by_hand(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        url = self.sandbox.kibana_url + self.prefix + path
        answer = httpx.request(method, url, json=body, headers={"kbn-xsrf": "by hand"}, **more)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def dashboard_of_somebody(self, *references: tuple[str, str]) -> None:
        listed = [{"type": kind, "id": name, "name": f"{kind}-{name}"} for kind, name in references]
        attributes = {"title": "Mine", "panelsJSON": "[]"}
        self.store.create("dashboard", attributes, self.space or "default", name="mine", references=listed)

    def edit(self, kind: str, object_id: str, /, **attributes: Any) -> None:
        """What saving in Kibana does, some time later."""
        self.store.update(kind, object_id, self.space or "default", lambda shown: shown.update(attributes))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clinic with one asset of each kind, which are quickly made."""
    folder = Path(shutil.copytree(CLINIC, tmp_path_factory.mktemp("removal") / "clinic"))
    for name, text in ASSETS.items():
        path = folder / "assets" / f"{name}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    settings = folder / "project.yml"
    settings.write_text(settings.read_text(encoding="utf-8") + "kibana: {folders: [assets]}\n", encoding="utf-8")
    return folder


@pytest.fixture
def kibana(sandbox: Sandbox, small: Path) -> Kibana:
    sandbox.backend.kibana.scheduler.by_hand = True
    made = Kibana(sandbox, small)
    made.deploy()
    return made


def test_everything_that_comes_with_the_package_goes(sandbox: Sandbox) -> None:
    sandbox.backend.kibana.scheduler.by_hand = True
    platform = Kibana(sandbox, CLINIC)
    platform.deploy()
    assert len(platform.there()) > 15
    assert {action for action, _ in platform.remove().values()} == {"deleted"}
    assert platform.there() == set()


def test_what_was_deployed_goes_and_a_second_removal_finds_nothing(kibana: Kibana) -> None:
    assert {one.partition(" ")[0] for one in kibana.there()} == KINDS
    steps = kibana.remove()
    assert {action for action, _ in steps.values()} == {"deleted"}, steps
    assert kibana.there() == set()
    assert kibana.remove() == {}


def test_without_apply_it_lists_what_would_go_and_deletes_nothing(kibana: Kibana) -> None:
    before = kibana.there()
    steps = kibana.remove(apply=False, confirm="")
    assert kibana.there() == before
    words = {"data view": "index-pattern", "rule": "alert", "connector": "action"}
    listed = {tuple(name.rsplit(" ", 1)) for name, (action, _) in steps.items() if action == "delete"}
    assert {f"{words.get(kind, kind)} {name}" for kind, name in listed} == before


def test_of_other_people_nothing_goes_and_what_their_dashboards_use_stays(kibana: Kibana) -> None:
    kibana.dashboard_of_somebody(("tag", TAG), ("index-pattern", VIEW))
    kibana.by_hand("POST", "/api/data_views/data_view", {"data_view": {"id": "theirs", "title": "theirs-*"}})
    rule = next(one["id"] for one in kibana.store.all("alert", "default"))
    shown = kibana.by_hand("GET", f"/api/alerting/rule/{rule}")
    kept = {name: shown[name] for name in ("consumer", "params", "rule_type_id", "schedule")}
    another = {**kept, "name": "Theirs", "tags": ["elastic-ml", "another"], "actions": []}
    kibana.by_hand("POST", "/api/alerting/rule/theirs", another)
    steps = kibana.remove()
    assert steps[f"tag {TAG}"] == ("keep", "on what stays: dashboard mine")
    assert steps[f"data view {VIEW}"] == ("keep", "shown by what stays: dashboard mine")
    theirs = {"dashboard mine", "index-pattern theirs", "alert theirs"}
    assert kibana.there() == {*theirs, f"tag {TAG}", f"index-pattern {VIEW}"}


def test_what_a_person_edited_is_named_and_stays_with_what_it_needs(kibana: Kibana) -> None:
    kibana.edit("dashboard", DASHBOARD, title="Our models")
    steps = kibana.remove()
    action, reason = steps[f"dashboard {DASHBOARD}"]
    assert action == "keep"
    assert "Our models" in reason
    assert "delete_edited deletes it all the same" in reason
    assert {f"dashboard {DASHBOARD}", f"index-pattern {VIEW}", f"tag {TAG}"} <= kibana.there()
    assert not any(one.startswith(("alert", "action")) for one in kibana.there())
    assert kibana.remove()[f"dashboard {DASHBOARD}"][0] == "keep", "a second removal knows it still"
    kibana.remove(delete_edited=True)
    assert kibana.there() == set()


def test_a_rule_or_connector_that_a_person_edited_stays_with_what_it_tells(kibana: Kibana) -> None:
    rule = next(one["id"] for one in kibana.store.all("alert", "default") if one["attributes"]["actions"])
    kibana.edit("alert", rule, name="Louder")
    steps = kibana.remove()
    assert steps[f"rule {rule}"][0] == "keep"
    told = [name for name, (_, reason) in steps.items() if reason == "told by rules that stay: Louder"]
    assert told
    assert all(name.startswith("connector ") for name in told)
    kibana.remove(delete_edited="true")
    assert kibana.there() == set()


def test_a_dashboard_that_no_folder_has_any_more_goes_too(kibana: Kibana) -> None:
    kibana.sandbox.clock.advance(-60)
    tags = [{"type": "tag", "id": TAG, "name": f"tag-ref-{TAG}"}]
    kibana.store.create("dashboard", {"title": "Old"}, "default", name="clinicml-old", references=tags)
    assert kibana.remove()["dashboard clinicml-old"] == ("deleted", "no asset folder has it any more")
    assert kibana.there() == set()


def test_a_data_view_that_several_spaces_share_stays(kibana: Kibana) -> None:
    saved = kibana.store.anywhere("index-pattern", VIEW)
    assert saved is not None
    kibana.store.write({**saved, "namespaces": ["default", "team"]})
    assert kibana.remove()[f"data view {VIEW}"] == ("keep", "shared by the spaces default, team")


def test_only_the_connections_space_is_touched(sandbox: Sandbox, small: Path) -> None:
    sandbox.backend.kibana.scheduler.by_hand = True
    theirs, ours = Kibana(sandbox, small), Kibana(sandbox, small, "team")
    theirs.by_hand("POST", "/api/spaces/space", {"id": "team", "name": "Team"})
    theirs.dashboard_of_somebody()
    ours.deploy()
    before = theirs.there()
    assert ours.there()
    ours.remove()
    assert ours.there() == set()
    assert theirs.there() == before


def test_a_project_without_assets_has_nothing_there(sandbox: Sandbox, small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "bare"))
    shutil.rmtree(folder / "assets")
    (folder / "assets").mkdir()
    assert Kibana(sandbox, folder).remove() == {}


def test_a_space_that_is_gone_holds_nothing(sandbox: Sandbox, small: Path) -> None:
    steps = Kibana(sandbox, small, "gone").remove()
    assert [name for name in steps if "Kibana" in name] == ["Kibana kibana_default"]
    assert "has no space 'gone'" in steps["Kibana kibana_default"][1]


def test_killed_after_each_deletion_the_next_try_finishes(kibana: Kibana, monkeypatch: pytest.MonkeyPatch) -> None:
    kibana.edit("dashboard", DASHBOARD, title="Our models")
    task, send, deleted = kibana.task(), HTTPAdapter.send, 0

    def killed(adapter: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal deleted
        answer = send(adapter, request, *args, **kwargs)
        if request.method == "DELETE" or request.path_url.endswith("_bulk_delete"):
            deleted += 1
            raise WorkerKilledError
        return answer

    before = len(kibana.there())
    monkeypatch.setattr(HTTPAdapter, "send", killed)
    while task.run().state == "killed":
        assert deleted <= before
    left = {f"dashboard {DASHBOARD}", f"index-pattern {VIEW}"}
    assert left <= kibana.there()
    assert {one.partition(" ")[0] for one in kibana.there()} <= {"dashboard", "index-pattern", "tag"}
    assert deleted == before - len(kibana.there()), "each was deleted once"


def test_what_kibana_refuses_is_named_and_everything_else_is_done(kibana: Kibana) -> None:
    kibana.sandbox.faults.add(method="POST", path="*/_bulk_delete", status=409, reason="somebody holds it", times=1)
    result = kibana.task().complete()
    assert result.state == "failed"
    assert "1 objects were not deleted: dashboard" in str(result.error)
    assert "somebody holds it" in str(result.error)
    assert len(kibana.there()) == 1


def test_deleting_what_is_not_there_is_no_error_and_a_wrong_type_is(kibana: Kibana) -> None:
    with KibanaClient(KibanaSettings(url=kibana.sandbox.kibana_url)) as client:
        delete_saved_objects(client, [("dashboard", "nobody")])
        with pytest.raises(PartialFailureError, match="Unsupported saved object type: 'wigwags': Bad Request"):
            delete_saved_objects(client, [("tag", TAG), ("wigwags", "x")])
    assert f"tag {TAG}" not in kibana.there(), "the others of the request are done"
