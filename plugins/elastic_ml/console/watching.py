"""Scripts of what watches and tidies up: Kibana's rules, health, housekeeping, keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from elastic_ml.console.script import Request, Script
from elastic_ml.kibana.connectors import actions_for, connectors_of
from elastic_ml.kibana.rules import rules_of
from elastic_ml.kibana_bundle import asset_folders, build_bundle

if TYPE_CHECKING:
    from elastic_ml.console.example import Example

KIBANA = "kbn:/api"


def deploy(example: Example) -> Script:
    """Connectors and rules; dashboards come by a file."""
    project = example.project
    return Script(
        project.names.dag_id("kibana_deploy"),
        2,
        "Connectors and alert rules, in the space whose Console this is. For dashboards: `make kibana-bundle`, then "
        "Stack Management, Saved Objects, Import.",
        "once, after elastic_setup.",
        "Stack Management, Alerts and Rules: each rule ran and is in no error. Rules run with your own rights.",
        "imports the dashboards, compares, updates what differs, leaves alone what somebody edited or switched off, "
        "and skips what the licence or the flavor lacks.",
        list(_deploy(example)),
    )


def _deploy(example: Example) -> Iterator[Request]:
    project = example.project
    folders = asset_folders(project)
    connectors = connectors_of(project, folders)
    for one in connectors:
        yield Request("POST", f"{KIBANA}/actions/connector/{one.id}", one.body)
    dashboards = {str(one["id"]) for one in build_bundle(project).objects if one["type"] == "dashboard"}
    for rule in rules_of(project, folders, dashboards):
        actions: list[dict[str, Any]] = []
        for one in connectors:
            if rule.severity in one.severities:
                about = {"severity": rule.severity, "rule": rule.name}
                actions += actions_for(project, folders, one, about) or []
        why = "Leave it out on Serverless." if rule.unless == "serverless" else ""
        yield Request("POST", f"{KIBANA}/alerting/rule/{rule.id}", {**rule.body, "actions": actions}, why=why)
    yield Request("GET", f"{KIBANA}/ml/saved_objects/sync", why="Lets Kibana list jobs made through Elasticsearch.")


def health(example: Example) -> Script:
    """What the DAG looks at every five minutes."""
    names = example.project.names
    requests = [
        Request(
            "GET",
            "/_nodes/stats/fs?filter_path=nodes.*.name,nodes.*.fs.total",
            why="Disks, per node. Serverless has none.",
        ),
        Request("GET", f"/_data_stream/logs-{names.prefix}.*/_stats?human=true", why="Streams: size and newest event."),
        Request(
            "GET",
            "/_ml/trained_models/_stats?filter_path=trained_model_stats.model_id,trained_model_stats.ingest",
            why="What each `<model>@score` scored and failed to score since its node started.",
        ),
        Request("GET", "/_ml/anomaly_detectors/_stats?filter_path=jobs.job_id,jobs.state"),
        Request(
            "GET", "/_ml/data_frame/analytics/_stats?filter_path=data_frame_analytics.id,data_frame_analytics.state"
        ),
    ]
    if names.features:
        requests.append(Request("GET", f"/_transform/{names.features}/_stats"))
    return Script(
        names.dag_id("elastic_health"),
        5,
        "Looks at the cluster and at every model in production.",
        "when something seems wrong.",
        "`failed` beside `count` of a pipeline; a job or transform in state failed; a disk above 80 %.",
        "does so every five minutes, takes the difference to the look before, and writes it into "
        f"{names.predictions} and {names.health}, where rules and dashboards read it.",
        requests,
    )


def housekeeping(example: Example, order: int) -> Script:
    """What trainings leave behind."""
    names = example.project.names
    requests = [
        Request(
            "GET",
            "/_ml/data_frame/analytics?filter_path=data_frame_analytics.id,data_frame_analytics.create_time",
            why="Jobs. One that has its model can go: DELETE /_ml/data_frame/analytics/<id>",
        ),
        Request(
            "GET",
            "/_ml/trained_models?filter_path=trained_model_configs.model_id,trained_model_configs.create_time",
            why="Models. Never delete one that has an alias or that a pipeline names.",
        ),
        Request(
            "GET",
            f"/_cat/indices/{names.prefix}-train-*,{names.prefix}-holdout-*,{names.prefix}-results-*,"
            f"{names.prefix}-scores-*?v=true&h=index,docs.count,store.size,creation.date.string&s=index",
            why="Training sets, holdouts, results, rescored history. DELETE /<index>, unless an alias shows it.",
        ),
    ]
    if example.project.anomaly_jobs():
        requests.append(
            Request("DELETE", "/_ml/_delete_expired_data", why="Results, snapshots and forecasts beyond their time.")
        )
    return Script(
        names.dag_id("elastic_housekeeping"),
        order,
        "Lists what trainings leave behind.",
        "when disks fill up.",
        "what is old and has no alias.",
        "knows what is in use, deletes the rest beyond its age, and stops jobs whose run is over.",
        requests,
    )


def rotate(example: Example, order: int) -> Script:
    """What runs with the key of whoever touched it last."""
    project, names = example.project, example.project.names
    requests: list[Request] = []
    if names.features:
        requests += [
            Request("GET", f"/_transform/{names.features}?filter_path=transforms.id,transforms.authorization"),
            Request(
                "POST",
                f"/_transform/{names.features}/_update",
                {"description": "User-hours across the audit streams."},
                why="It takes the rights of whoever sends this.",
            ),
        ]
    folders = asset_folders(project)
    requests += [
        Request("POST", f"{KIBANA}/alerting/rule/{rule.id}/_update_api_key") for rule in rules_of(project, folders)
    ]
    return Script(
        names.dag_id("elastic_rotate_credentials"),
        order,
        "Lets transforms and rules run with a new key: yours.",
        "after a key was replaced, before the old one is invalidated.",
        "`authorization` of the first answer, sent again.",
        "does the same for datafeeds, stopping those that run for a moment, and lists what is still on the old key.",
        requests,
    )
