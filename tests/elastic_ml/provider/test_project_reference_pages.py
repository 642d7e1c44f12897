"""The examples of docs/reference that need a project and a cluster which is set up, run as they are printed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from clinic.operations import MODEL_ID, Operations
from clinic.world import STREAM, ClinicApi, open_clinic, short_waits
from harness.reference_pages import examples, run_example
from matrix.story import _older_types

from elastic_sandbox.testing import serve

JOB = """
owner: privacy
mode: partition
job:
  analysis_config: {bucket_span: 1h, detectors: [{function: count}]}
  data_description: {time_field: "@timestamp"}
datafeed: {indices: [logs-clinic.access-eu]}
"""
DAY = datetime.now(UTC).date() - timedelta(days=1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operations]:
    """The clinic with a model in production and one day of accesses."""
    home = tmp_path_factory.mktemp("pages")
    with serve() as sandbox, open_clinic(sandbox, home) as clinic, short_waits():
        (home / "include").symlink_to(clinic.folder)
        sandbox.backend.kibana.scheduler.by_hand = True
        (clinic.folder / "anomaly_jobs").mkdir()
        (clinic.folder / "anomaly_jobs" / "reads.yml").write_text(JOB)
        operations = Operations(clinic)
        operations.promote(MODEL_ID)
        operations.card()
        operations.deployed(MODEL_ID, datetime.now(UTC) - timedelta(days=3))
        operations.day(DAY)
        for source in ("access", "verdicts"):
            clinic.ledger(source, DAY, "done")
        yield operations


def run(world: Operations, block: str, *, partition: date | None = None, **conf: Any) -> dict[str, Any]:
    file = world.folder.parent / "dags" / "example.py"
    key = f"{partition}" if partition else None
    return run_example(block, world.sandbox, file=file, conf=conf, partition_key=key, api=ClinicApi)


def test_the_examples_of_setup_run(world: Operations) -> None:
    ready, mend, take_off = examples("setup")
    first = run(world, ready)
    assert set(first["setup"]["counts"]) == {"unchanged"}
    assert first["deploy"]["counts"]["created"] > 10
    _older_types(world)  # type: ignore[arg-type]
    assert run(world, mend, stream=STREAM)["repair"]["repaired"]
    report = run(world, take_off)["remove"]
    assert not report["applied"]
    assert {"delete rule", "delete dashboard", "delete ingest pipeline", "keep data stream"} <= set(report["counts"])


def test_the_examples_of_operations_run(world: Operations) -> None:
    watch, decide, put_away = examples("operations")
    seen = run(world, watch, day=f"{DAY}")
    assert seen["look"]["models"].keys() == {"misuse"}
    assert seen["measure"]["model_id"] == MODEL_ID
    event_id = world.client.search(index=STREAM, size=1)["hits"]["hits"][0]["_id"]
    assert run(world, decide, event_id=event_id)["record"]["decided_by"] == "ana"
    assert run(world, put_away)["keys"]["applied"] is False


def test_the_example_of_transforms_runs(world: Operations) -> None:
    [block] = examples("transforms")
    assert run(world, block, month=f"{DAY:%Y.%m}")["month"]["user_hours"] > 0


def test_the_example_of_anomaly_files_runs(world: Operations) -> None:
    [block] = examples("anomaly-files")
    told = run(world, block, partition=DAY)
    assert told["detect"]["job_id"] == "reads"
    assert told["forecast"]["records"] > 0
