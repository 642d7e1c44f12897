"""Staging and production on one cluster: no name is both's, taking one away leaves the other, a model goes across."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import requests
from clinic.operations import TREE
from clinic.world import CLINIC, Clinic, short_waits
from harness.task_runner import TaskRunner
from matrix.picture import differences, picture, without

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.exceptions import ProjectFileError
from elastic_ml.kibana.connectors import connector_id
from elastic_ml.kibana.rules import rules_of
from elastic_ml.kibana_bundle import build_bundle
from elastic_ml.maintenance.possessions import Possessions
from elastic_ml.project import Project, load_project
from elastic_ml.project.check import findings
from elastic_ml.project.desired_state import desired_objects
from elastic_ml.project.privileges import role_descriptor
from elastic_ml.project.setup import run_setup
from elastic_ml.project.streams import managed_streams
from elastic_ml.registry.champion_switch import score_pipeline
from elastic_sandbox.testing import Sandbox, serve

PLATFORM = Path(__file__).parents[3] / "kibana" / "platform"
JOB = """
owner: privacy
mode: realtime
job:
  analysis_config: {bucket_span: 1h, influencers: [user.id], detectors: [{function: count, custom_rules: [
    {actions: [skip_result], scope: {user.id: {filter_id: robots}}}], partition_field_name: user.id}]}
  analysis_limits: {model_memory_limit: 32mb}
  data_description: {time_field: "@timestamp"}
datafeed: {indices: [logs-clinic.access-eu]}
alert_score: 1
calendars:
  works:
    timezone: Europe/Berlin
    events: [{description: Move, start: 2026-06-06T20:00:00, end: 2026-06-07T06:00:00}]
filters:
  robots: {items: [crawler]}
"""
SETTINGS = {
    "name: clinic": "name: clinicstg",
    "prefix: clinicml": "prefix: clinicmlstg",
    "namespace: eu": "namespace: stg",
    "environment: test": "environment: staging\ndag_id_prefix: stg_\nid_prefix: stg_",
    "clinic.user_hour": "clinicstg.user_hour",
}
"""What a second environment on the same cluster says in its project.yml."""
FILES = {"logs-clinic.access-eu": "logs-clinic.access-stg", "logs-clinic.verdicts-eu": "logs-clinic.verdicts-stg",
         "clinic-audit@score": "clinicstg-audit@score"}  # fmt: skip
"""And in its other files: names of streams and of the pipeline that scores."""


def write_environments(home: Path) -> tuple[Project, Project]:
    """The clinic's project for production, and its copy for staging."""
    production = Path(shutil.copytree(CLINIC, home / "production"))
    (production / "anomaly_jobs").mkdir()
    (production / "anomaly_jobs" / "live.yml").write_text(JOB)
    staging = Path(shutil.copytree(production, home / "staging"))
    for file in staging.rglob("*.yml"):
        text = file.read_text()
        for old, new in (SETTINGS if file.name == "project.yml" else FILES).items():
            text = text.replace(old, new)
        file.write_text(text)
    return load_project(production), load_project(staging)


@cache
def names_of(project: Project) -> dict[str, set[str]]:
    """Every name that a project takes on a cluster, in Kibana and in Airflow, by what it is a name of."""
    names = project.names
    models, jobs = project.models(), project.anomaly_jobs()
    found: dict[str, set[str]] = {}
    for wanted in desired_objects(project):
        found.setdefault(wanted.kind.word, set()).add(wanted.name)
    found["data stream"] = {stream.name for stream in managed_streams(project)}
    found["transform"] = {str(names.features), names.month_transform("2026.10")}
    found["ingest pipeline"] |= {of(m) for m in models for of in (names.score_pipeline, names.rescore_pipeline)}
    found["index"] |= {names.scores_index(m, "x") for m in models} | {
        names.history_index(s.name, "2026.10", 1) for s in (*names.audit_streams, names.verdicts)
    }
    made = [names.job_id(m, "2026-11-16", "0" * 8) for m in models]
    found["analytics job"] = set(made)
    found["ingest pipeline"] |= {of(job) for job in made for of in (names.training_pipeline, names.holdout_pipeline)}
    found["index"] |= {of(job) for job in made for of in (names.train_index, names.holdout_index, names.results_index)}
    found["model alias"] = {of(m) for m in models for of in (names.champion, names.previous)}
    found["index alias"] = {of(m) for m in models for of in (names.results_alias, names.scores_alias)}
    found["anomaly job"] = {names.anomaly_job(j, v) for j in jobs for v in (1, 2)}
    found["datafeed"] = {names.datafeed(job) for job in found["anomaly job"]}
    found["calendar"] = {names.anomaly_calendar(j, "works") for j in jobs}
    found["filter"] = {names.anomaly_filter(j, "robots") for j in jobs}
    found["saved object"] = {one["id"] for one in build_bundle(project).objects}
    found["rule"] = {rule.id for rule in rules_of(project, [PLATFORM])}
    found["connector"] = {connector_id("0f6c2f4e-5c1d-4a7b-9c58-2f6a9d1e7b30", names.prefix)}
    found["DAG"] = {names.dag_id(stage, m) for stage in ("train", "promote") for m in models} | {
        names.dag_id("rescore")
    }
    found["asset"] = {names.candidate_asset(m)[0] for m in models} | {names.drift_asset(m)[0] for m in models}
    found["role"] = {f"{project.name}-setup"}
    return found


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Project]:
    """(production, staging)."""
    return write_environments(tmp_path_factory.mktemp("environments"))


def test_no_name_belongs_to_both(environments: tuple[Project, Project]) -> None:
    ours, theirs = (names_of(project) for project in environments)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 18
    assert {kind: ours[kind] & theirs[kind] for kind in ours if ours[kind] & theirs[kind]} == {}


def test_no_index_pattern_of_the_one_takes_in_the_other(environments: tuple[Project, Project]) -> None:
    """A template, a role or an alias pattern would reach into the other's data."""
    from fnmatch import fnmatchcase

    for one, other in (environments, environments[::-1]):
        indices = names_of(other)["index"] | names_of(other)["data stream"]
        granted = {name for grant in role_descriptor(one, "learn")["indices"] for name in grant["names"]}
        granted |= {name for grant in role_descriptor(one, "setup")["indices"] for name in grant["names"]}
        assert [(name, index) for name in granted for index in indices if fnmatchcase(index, name)] == []


def test_the_files_of_both_are_right(environments: tuple[Project, Project]) -> None:
    for project in environments:
        assert list(findings(project.folder)) == []


def test_an_id_of_the_one_is_no_possession_of_the_other(environments: tuple[Project, Project]) -> None:
    production, staging = environments
    for one, other in ((production, staging), (staging, production)):
        job = other.names.job_id("misuse", "2026-11-16", "0" * 8)
        assert Possessions(None, one)._job.fullmatch(job) is None  # type: ignore[arg-type]
        assert Possessions(None, other)._job.fullmatch(job)  # type: ignore[arg-type]
    assert staging.names.in_project(staging.names.anomaly_job("live")) == "live"


def test_a_model_s_name_that_gets_too_long_is_refused_with_the_file(tmp_path: Path) -> None:
    _, staging = write_environments(tmp_path)
    long = "a" * 27
    shutil.copy(staging.folder / "models" / "stay.yml", staging.folder / "models" / f"{long}.yml")
    with pytest.raises(ProjectFileError, match=f"stg_{long}, with the id_prefix of project.yml, is longer than 30"):
        staging.model(long)


# on one cluster


@dataclass
class Cluster:
    """Both environments on one sandbox."""

    sandbox: Sandbox
    client: Any
    production: Project
    staging: Project

    def set_up(self, project: Project) -> None:
        report = run_setup(self.client, project, server_facts(self.client), mode="apply")
        report.raise_for_state()
        # `changed` is the transform that was started.
        assert {row.state for row in report.rows} <= {"created", "changed", "unchanged"}, report.table()

    def task(self, project: Project, stage: str, dag: str, task_id: str, space: str = "", **conf: Any) -> Any:
        """Run a task of one of the environment's DAGs; its connection to Kibana names a space of its own."""
        kibana = {"conn_type": "kibana", "host": self.sandbox.kibana_url, "extra": json.dumps({"space": space})}
        dag_id = project.names.dag_id(*dag.split("/"))
        result = TaskRunner(
            lambda: import_module(f"elastic_ml.stages.{stage}").build(project.folder)[dag_id].get_task(task_id),
            connections={"elasticsearch_default": self.sandbox.elasticsearch_url, "kibana_default": kibana},
            dag_id=dag_id,
            conf=conf,
            triggering_user_name="bo",
        ).complete()
        assert result.state == "success", (dag_id, task_id, result.error)
        return result.value

    def champion(self, project: Project) -> str:
        """A model in production that took no training."""
        names = project.names
        job = names.job_id("misuse", "2026-11-10", "abcdef01")
        self.client.ml.put_trained_model(
            model_id=f"{job}-1", tags=[job], input={"field_names": ["audit.records"]},
            inference_config={"classification": {"num_top_classes": -1}},
            definition={"trained_model": {"tree": TREE}},
        )  # fmt: skip
        self.client.index(index=names.model_cards, id=f"{job}-1", document={"model_id": f"{job}-1"}, refresh=True)
        alias = names.champion("misuse")
        self.client.ml.put_trained_model_alias(model_id=f"{job}-1", model_alias=alias)
        kept = {f"{job}-1": {"true": 1.0, "false": 1.0}}
        body = score_pipeline(project, project.model("misuse"), reference=alias, kept=kept)
        self.client.ingest.put_pipeline(id=names.score_pipeline("misuse"), body=project.stamp(body))
        return f"{job}-1"

    def kibana(self, space: str) -> set[str]:
        """Ids of what a space shows."""
        root = f"{self.sandbox.kibana_url}/s/{space}"
        rules = requests.get(f"{root}/api/alerting/rules/_find", params={"per_page": 100}, timeout=10).json()["data"]
        exported = requests.post(
            f"{root}/api/saved_objects/_export", json={"type": ["dashboard", "index-pattern", "tag"]},
            headers={"kbn-xsrf": "x"}, timeout=10,
        ).text  # fmt: skip
        saved = [json.loads(line) for line in exported.splitlines() if line]
        return {rule["id"] for rule in rules} | {one["id"] for one in saved if "id" in one}


@pytest.fixture
def cluster(environments: tuple[Project, Project]) -> Iterator[Cluster]:
    with (
        serve() as sandbox, short_waits(),
        connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client,
    ):  # fmt: skip
        for space in ("production", "staging"):
            requests.post(
                f"{sandbox.kibana_url}/api/spaces/space", json={"id": space, "name": space},
                headers={"kbn-xsrf": "x"}, timeout=10,
            ).raise_for_status()  # fmt: skip
        yield Cluster(sandbox, client, *environments)


def test_taking_one_away_leaves_the_other_as_it_was(cluster: Cluster) -> None:
    for project, space in ((cluster.production, "production"), (cluster.staging, "staging")):
        if project is cluster.staging:
            alone = seen(cluster)
            shown = cluster.kibana("production")
        cluster.set_up(project)
        cluster.champion(project)
        cluster.task(project, "anomalies", "anomalies/live", "detect", space)
        cluster.task(project, "kibana_deploy", "kibana_deploy", "deploy", space, mode="apply")
    assert len(shown) > 10
    assert len(cluster.kibana("staging")) == len(shown)
    assert not shown & cluster.kibana("staging")
    ids = {config["model_id"] for config in cluster.client.ml.get_trained_models()["trained_model_configs"]}
    assert {"misuse-20261110-abcdef01-1", "stg_misuse-20261110-abcdef01-1"} <= ids

    remove = {"apply": True, "confirm": cluster.staging.name, "data": True}
    removed = cluster.task(cluster.staging, "remove", "elastic_remove", "remove", "staging", **remove)
    assert sum(step["action"] == "deleted" for step in removed["steps"]) > 40
    assert [step for step in removed["steps"] if step["action"] == "keep"] == []
    assert differences(alone, seen(cluster)) == []
    assert cluster.kibana("production") == shown
    assert cluster.kibana("staging") == set()


def seen(cluster: Cluster) -> dict[str, Any]:
    """The cluster, without what production's own datafeed and rules go on writing."""
    own = (
        r"^document/\.ml-",
        r"(job|datafeed).*stats",
        r"^document/\.internal",
        r"^document/\.ds-logs-clinicml\.alerts",
    )
    return without(picture(cluster.client), *own)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_model_learned_in_staging_is_judged_and_promoted_in_production(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__ELASTIC_ML__EXCHANGE_FOLDER", f"file://{tmp_path}/exchange/")
    monkeypatch.setattr("clinic.world.STREAM", "logs-clinic.access-stg")
    staging = EnvironmentClinic(cluster.sandbox, cluster.staging.folder, cluster.client)
    production = EnvironmentClinic(cluster.sandbox, cluster.production.folder, cluster.client)
    cluster.set_up(cluster.production)
    cluster.set_up(cluster.staging)
    staging.fill()
    staging.train()
    assert staging.model_id.startswith("stg_misuse-")
    exported = staging.run("export_model", "export", model="misuse", model_id=staging.model_id)
    assert exported.state == "success", exported.error

    monkeypatch.setattr("clinic.world.STREAM", "logs-clinic.access-eu")
    production.fill()
    for task_id in ("import", "evaluate"):
        taken = production.run("import_model", task_id, file=exported.value["file"], day="2026-11-16", user="dora")
        assert taken.state == "success", (task_id, taken.error)
    model_id = production.xcoms["import", "return_value"]["model_id"]
    assert model_id == staging.model_id.removeprefix("stg_")
    card = production.client.get(index=production.names.model_cards, id=model_id)["_source"]
    assert card["imported_from"]["environment"] == "staging"
    assert production.gate(model_id).state == "success"
    assert production.answer("Approve").state == "success"
    for task_id in ("switch", "record"):
        done = production.run("promote_misuse", task_id)
        assert done.state == "success", (task_id, done.error)

    assert (production.champion(), staging.champion()) == (model_id, None)
    event = {"@timestamp": "2026-11-16T08:00:00Z", "event": {"id": "e", "action": "export", "dataset": "clinic.access"},
             "audit": {"records": 12, "distance": 40.0}}  # fmt: skip
    for stream, scored in (("logs-clinic.access-eu", True), ("logs-clinic.access-stg", False)):
        cluster.client.index(index=stream, id="e", document=event, op_type="create", refresh=True)
        found = cluster.client.search(index=stream, query={"ids": {"values": ["e"]}})["hits"]["hits"][0]["_source"]
        assert ("misuse" in (found.get("ml") or {})) is scored, found

    remove = {"apply": True, "confirm": cluster.staging.name, "data": True}
    cluster.task(cluster.staging, "remove", "elastic_remove", "remove", "staging", **remove)
    assert production.champion() == model_id
    ids = [one["model_id"] for one in cluster.client.ml.get_trained_models()["trained_model_configs"]]
    assert model_id in ids
    assert staging.model_id not in ids


class EnvironmentClinic(Clinic):
    """The clinic whose DAGs have the environment's prefix."""

    def runner(self, dag: str, task_id: str, **more: Any) -> TaskRunner:
        runner = super().runner(dag, task_id, **more)
        stage, _, subject = dag.partition("_")
        dag_id = self.names.dag_id(stage, subject)
        module = {"export": "exchange", "import": "exchange"}.get(stage, stage)
        runner.make_task = lambda: (
            import_module(f"elastic_ml.stages.{module}").build(self.folder)[dag_id].get_task(task_id)
        )
        runner.dag_id = dag_id
        return runner
