"""Every request of the operations DAGs against Elastic's API specification, as 9.2 and as Serverless have it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clinic.operations import MODEL_ID, Operations
from clinic.world import open_clinic
from contract.deviations import unexplained
from harness.specification import specification

from elastic_ml.stages import elastic_health, elastic_setup, housekeeping, monitor, remove, rotate_credentials
from elastic_sandbox.testing import serve

FLAVORS: dict[str, dict[str, Any]] = {
    "9.2": {"server": {"version": "9.2.0"}, "offered": {"stack": (9, 2)}},
    "serverless": {"server": {"flavor": "serverless"}, "offered": {"serverless": True}},
}
JOB = """
owner: privacy
mode: realtime
job:
  analysis_config: {bucket_span: 15m, detectors: [{function: count}]}
datafeed: {indices: [logs-clinic.access-eu]}
"""


@pytest.mark.parametrize("flavor", FLAVORS)
def test_every_request_is_one_that_everybody_is_offered(flavor: str, tmp_path: Path) -> None:
    spec = specification(**FLAVORS[flavor]["offered"])
    with serve(kept_bytes=1 << 24, **FLAVORS[flavor]["server"]) as sandbox, open_clinic(sandbox, tmp_path) as opened:
        clinic = Operations(opened)
        prepare(clinic)
        sandbox.requests.clear()
        live(clinic)
        unknown, problems, seen = set(), {}, set()
        for entry in sandbox.requests:
            call = spec.api_of(entry.method, entry.path)
            if call is None:
                unknown.add(f"{entry.method} {entry.path}")
                continue
            body = None if call.api == "bulk" else entry.body
            key = (call.api, json.dumps(body, sort_keys=True), str(sorted(entry.params)))
            if key in seen:
                continue
            seen.add(key)
            found = spec.check_parameters(call.api, entry.params)
            found += [] if call.api == "bulk" else spec.check_request(call.api, body)
            problems |= {(call.api, problem): (body, entry.params) for problem in found}
    assert unknown == set()
    assert unexplained(problems) == []
    apis = {api for api, *_ in seen}
    assert {"bulk", "esql.query", "ml.get_trained_models_stats", "transform.update_transform"} <= apis
    assert ("nodes.stats" in apis) == (flavor == "9.2")


def prepare(clinic: Operations) -> None:
    """What there is to see, to drift, to tidy up, to rotate and to repair."""
    folder = Path(clinic.folder) / "anomaly_jobs"
    folder.mkdir()
    (folder / "bursts.yml").write_text(JOB)
    # Somebody else's key made what this connection will take over.
    clinic.sandbox.backend.api_key_id = "old"
    clinic.client.transform.update_transform(transform_id="features-clinic.user_hour", description="of before")
    clinic.promote(MODEL_ID)
    clinic.card()
    clinic.deployed(MODEL_ID, datetime(2026, 11, 1, tzinfo=UTC))
    clinic.day(datetime(2026, 11, 10, tzinfo=UTC).date())
    clinic.client.ml.put_job(
        job_id="bursts",
        analysis_config={"bucket_span": "15m", "detectors": [{"function": "count"}]},
        data_description={"time_field": "@timestamp"},
    )
    clinic.client.ml.put_datafeed(datafeed_id="datafeed-bursts", job_id="bursts", indices=["logs-clinic.access-eu"])
    clinic.client.ml.open_job(job_id="bursts")
    clinic.client.ml.start_datafeed(datafeed_id="datafeed-bursts")
    clinic.sandbox.backend.api_key_id = None
    old = "misuse-20250101-0000aaaa"
    clinic.sandbox.clock.set(datetime.now(UTC) - timedelta(days=180))
    clinic.put_model(f"{old}-1", tags=[old])
    clinic.client.indices.create(index=clinic.names.train_index(old))
    clinic.sandbox.clock.reset()
    body = clinic.client.cluster.get_component_template(name="clinic-audit@mappings")["component_templates"][0]
    template = {k: v for k, v in body["component_template"].items() if not k.endswith(("_date", "_date_millis"))}
    template["template"]["mappings"]["properties"]["audit"]["properties"]["distance"] = {"type": "keyword"}
    clinic.client.cluster.put_component_template(name="clinic-audit@mappings", body=template)


def live(clinic: Operations) -> None:
    """Run every task, each with what makes it ask the most."""
    at = datetime.now(UTC).isoformat()
    for stage, dag_id, task_id, params in (
        (elastic_health, "elastic_health", "look", {"at": at}),
        (monitor, "monitor_misuse", "wait_for_data", {"day": "2026-11-10"}),
        (monitor, "monitor_misuse", "measure", {"day": "2026-11-10"}),
        (housekeeping, "elastic_housekeeping", "housekeeping", {"apply": True}),
        (rotate_credentials, "elastic_rotate_credentials", "rotate", {"apply": True}),
        (elastic_setup, "elastic_setup", "repair", {"repair": "logs-clinic.access-eu"}),
        (remove, "elastic_remove", "remove", {"apply": True, "confirm": "clinic"}),
        (remove, "elastic_remove", "remove", {"apply": True, "confirm": "clinic", "data": True}),
    ):
        runner = clinic.runner(stage, dag_id, task_id, retries=0, **params)
        # The sensor would wait for an ingest that does not come.
        result = runner.run() if task_id == "wait_for_data" else runner.complete()
        expected = {"success", "skipped", "deferred"} if task_id != "wait_for_data" else {"deferred", "success"}
        assert result.state in expected, (dag_id, task_id, result.error)
