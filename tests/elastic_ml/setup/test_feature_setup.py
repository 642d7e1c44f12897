"""The user-hours' index and transform on a cluster: created, started, compared, updated or replaced."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.specification import specification

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.exceptions import InvalidRequestError, NotReadyError
from elastic_ml.project import Project, load_project
from elastic_ml.project.features import continuous_transform, month_transform
from elastic_ml.project.reconcile import Row
from elastic_ml.project.setup import SetupReport, run_setup
from elastic_sandbox.testing import Sandbox

WEBSHOP = Path(__file__).parents[1] / "project" / "webshop"
STREAM, ELSEWHERE = "logs-shop.audit-eu", "logs-auth0.logs-prod"
INDEX = "features-shop.user_hour"
OWN_PIVOT = """
description: Mine.
{% include "transforms/frame.yml.j2" %}

pivot:
  group_by:
    user.id: {terms: {field: user.id}}
    "@timestamp": {date_histogram: {field: "@timestamp", fixed_interval: 1h}}
  aggregations:
    events: {value_count: {field: "@timestamp"}}
    AGGREGATION
"""

Run = Callable[..., SetupReport]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(WEBSHOP, tmp_path / "webshop"))
    with (folder / "project.yml").open("a") as project:
        project.write("features: {dataset: shop.user_hour, frequency: 1m, sync_delay: 30s}\n")
    return folder


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Any]:
    with connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        client.index(index=ELSEWHERE, document={"@timestamp": "2024-01-01T00:00:00Z"}, op_type="create")
        yield client


@pytest.fixture
def run(client: Any, folder: Path) -> Run:
    def once(mode: str = "apply", **options: Any) -> SetupReport:
        return run_setup(client, load_project(folder), server_facts(client), mode=mode, **options)

    return once


@pytest.fixture
def project(folder: Path) -> Project:
    return load_project(folder)


def own_pivot(folder: Path, aggregation: str = "") -> None:
    path = folder / "templates" / "transforms" / "user_hour.yml.j2"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OWN_PIVOT.replace("AGGREGATION", aggregation))


def frame(folder: Path, before: str, after: str) -> None:
    path = folder / "project.yml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def rows(report: SetupReport) -> dict[str, Row]:
    return {row.kind: row for row in report.rows if row.name.startswith(INDEX)}


def writes(sandbox: Sandbox) -> list[str]:
    found = [
        f"{request.method} {request.path}"
        for request in sandbox.requests
        if request.method not in {"GET", "HEAD"} and not re.search("_simulate|_field_caps", request.path)
    ]
    sandbox.requests.clear()
    return found


def state(client: Any, name: str = INDEX) -> str:
    return str(client.transform.get_transform_stats(transform_id=name)["transforms"][0]["state"])


# Setup -------------------------------------------------------------------------------------------------------------


def test_apply_creates_and_starts_the_transform_and_the_second_run_changes_nothing(
    sandbox: Sandbox, run: Run, client: Any
):
    assert {rows(run("plan"))[kind].state for kind in ("transform", "features index")} == {"would create"}
    first = run()
    first.raise_for_state()
    assert rows(first)["transform"].state == "created"
    assert state(client) in {"started", "indexing"}
    assert "PUT /_transform/features-shop.user_hour" in writes(sandbox)
    second = run()
    assert writes(sandbox) == []
    assert {row.state for row in second.rows} == {"unchanged"}
    run("verify").raise_for_state()
    assert writes(sandbox) == []


def test_the_features_index_has_the_templates_explicit_mapping(run: Run, client: Any):
    run().raise_for_state()
    mappings = client.indices.get_mapping(index=INDEX)[INDEX]["mappings"]
    properties = mappings["properties"]
    assert (mappings["dynamic"], mappings["_meta"]) == ("false", {"index_template": "webshop-features"})
    assert (properties["events"]["type"], properties["hour"]["type"]) == ("long", "double")
    assert properties["shop_audit"]["properties"]["failures"] == {"type": "long"}
    assert (properties["has_shop_audit"]["type"], properties["user_hour"]["type"]) == ("boolean", "keyword")


def test_what_can_be_updated_is_updated_in_place(sandbox: Sandbox, run: Run, client: Any, folder: Path):
    run().raise_for_state()
    made = client.transform.get_transform(transform_id=INDEX)["transforms"][0]["create_time"]
    frame(folder, "frequency: 1m, sync_delay: 30s", "frequency: 2m, sync_delay: 45s")
    planned = rows(run("plan"))["transform"]
    said = "updated in place: frequency is 1m (wanted 2m); sync.time.delay is 30s (wanted 45s)"
    assert (planned.state, planned.detail) == ("differs", said)
    writes(sandbox)
    run().raise_for_state()
    assert writes(sandbox) == [f"POST /_transform/{INDEX}/_update"]
    found = client.transform.get_transform(transform_id=INDEX)["transforms"][0]
    assert found["create_time"] == made
    run("verify").raise_for_state()


def test_a_changed_pivot_is_shown_by_plan_and_replaced_by_apply(run: Run, client: Any, folder: Path):
    own_pivot(folder)
    run().raise_for_state()
    own_pivot(folder, "records: {sum: {field: audit.records}}")
    planned = rows(run("plan"))
    assert planned["transform"].detail.startswith(
        "replaced, every user-hour is written again: pivot.aggregations.records"
    )
    with pytest.raises(NotReadyError, match=r"transform features-shop\.user_hour \(differs\)"):
        run("verify").raise_for_state()
    applied = rows(run())
    assert (applied["features index"].detail, applied["transform"].state) == ("adds records", "changed")
    assert applied["transform state"].state == "changed"
    run("verify").raise_for_state()
    assert client.indices.get_mapping(index=INDEX)[INDEX]["mappings"]["properties"]["records"] == {"type": "double"}


def test_a_transform_that_somebody_stopped_is_drift_and_apply_starts_it(run: Run, client: Any):
    run().raise_for_state()
    client.transform.stop_transform(transform_id=INDEX, wait_for_completion=True)
    assert rows(run("plan"))["transform state"].detail == "stopped (wanted started)"
    with pytest.raises(NotReadyError, match="transform state"):
        run("verify").raise_for_state()
    run().raise_for_state()
    assert state(client) in {"started", "indexing"}


def test_a_transform_that_somebody_edited_is_left_alone_unless_told_otherwise(run: Run, client: Any):
    run().raise_for_state()
    client.transform.update_transform(transform_id=INDEX, frequency="10m")
    report = run()
    assert rows(report)["transform"].state == "edited by hand"
    assert client.transform.get_transform(transform_id=INDEX)["transforms"][0]["frequency"] == "10m"
    assert rows(run(overwrite_edited=True))["transform"].state == "changed"
    run("verify").raise_for_state()


def test_an_unmanaged_stream_without_data_is_named_and_the_rest_is_set_up(sandbox: Sandbox, folder: Path):
    with connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        report = run_setup(client, load_project(folder), server_facts(client), mode="apply")
        assert rows(report)["transform"].state == "conflict"
        assert rows(report)["features index"].state == "created"
        with pytest.raises(NotReadyError, match=r"no such index \[logs-auth0\.logs-prod\]"):
            report.raise_for_state()


def test_a_feature_that_changes_its_type_is_a_conflict_with_its_remedy(run: Run, client: Any, folder: Path):
    own_pivot(folder, "seen: {max: {field: audit.hour}}")
    run().raise_for_state()
    own_pivot(folder, "seen: {cardinality: {field: audit.hour}}")
    report = run()
    assert rows(report)["features index"].detail == "seen is double, the template says long"
    with pytest.raises(NotReadyError, match="delete the index and its transform"):
        report.raise_for_state()


def test_a_run_that_broke_off_between_creating_and_starting_is_finished_by_the_next(
    sandbox: Sandbox, run: Run, client: Any
):
    sandbox.faults.add(method="POST", path=f"/_transform/{INDEX}/_start", status=400, times=1)
    with pytest.raises(InvalidRequestError):
        run()
    assert state(client) == "stopped"
    run().raise_for_state()
    assert state(client) in {"started", "indexing"}


@pytest.mark.parametrize("offered", [{"stack": (9, 2)}, {"serverless": True}], ids=["9.2", "serverless"])
def test_the_packages_own_pivot_is_valid_where_it_is_sent(project: Project, offered: dict[str, Any]):
    spec = specification(**offered)
    for body in (continuous_transform(project), month_transform(project, "2026.12")):
        assert spec.check_request("transform.put_transform", project.stamp(body)) == []
