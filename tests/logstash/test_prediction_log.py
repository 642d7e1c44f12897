"""A service's prediction log: complete lines, whatever happens, and never an exception into a request."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shipped_pipelines.world import PIPELINES, Cluster

from elastic_ml.prediction_log import PredictionLog, registry_event
from elastic_sandbox.logstash.runner import Runner


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> PredictionLog:
    return PredictionLog(
        tmp_path / "p.ndjson", model_name="fraud", model_version="3", environment="test", service="scoring"
    )


def test_a_prediction_is_one_line_in_the_fields_of_the_operations_logs(log: PredictionLog):
    log.predict(latency_ms=12.3456, request_id="r-1", user="ana", stage="champion")
    [line] = lines(log.path)
    assert line["event"].pop("id")
    assert line.pop("@timestamp").endswith("Z")
    assert line == {
        "ecs": {"version": "8.11.0"},
        "log": {"level": "info"},
        "message": "fraud 3: predicted in 12.3 ms",
        "event": {"kind": "event", "action": "predict", "outcome": "success", "duration": 12345600},
        "event_type": "predict",
        "status": "success",
        "provider": "service",
        "count": 1,
        "model_name": "fraud",
        "model_version": "3",
        "stage": "champion",
        "environment": "test",
        "latency_ms": 12.346,
        "request_id": "r-1",
        "user": {"name": "ana"},
        "service": {"name": "scoring"},
    }


def test_an_exception_is_timed_written_as_an_error_and_raised(log: PredictionLog):
    with pytest.raises(KeyError), log.timed(request_id="r-1"):
        raise KeyError("no such feature")
    with log.timed():
        pass
    failed, fine = lines(log.path)
    assert (failed["status"], failed["event"]["outcome"], failed["log"]["level"]) == ("error", "failure", "error")
    assert failed["error"] == {"message": "'no such feature'", "type": "KeyError"}
    assert failed["latency_ms"] >= 0
    assert (fine["status"], "error" in fine) == ("success", False)


def test_it_reaches_the_stream_unchanged(cluster: Cluster, log: PredictionLog):
    log.predict(latency_ms=4.25, request_id="r-1", model_version="4")
    log.predict(latency_ms=None, error="the model is not loaded")
    written = lines(log.path)
    runner = cluster.runner()
    # As Filebeat's ndjson parser sends a line, and as one is posted.
    runner.beats([{**written[0], "data_stream": {"dataset": "ml.predictions"}}])
    runner.http("/ml.predictions", json.dumps(written[1]).encode())
    runner.drain()
    stored = {each["_id"]: each for each in cluster.documents("logs-ml.predictions-default")}
    for line in written:
        found = stored[line["event"]["id"]]
        assert {name: found[name] for name in line if name != "event"} == {
            n: v for n, v in line.items() if n != "event"
        }
        assert line["event"].items() <= found["event"].items()
    mapped = cluster.client.search(
        index="logs-ml.predictions-default", query={"range": {"latency_ms": {"lt": 5}}}, size=0
    )["hits"]["total"]["value"]
    assert mapped == 1


def test_registry_events_are_those_that_the_dags_write(cluster: Cluster):
    """One format for what the DAGs write themselves and what a service or script writes into a file."""
    from elastic_ml.registry.events import events_of, write_event

    event = {
        "event_type": "deployed", "model_name": "fraud", "model_version": "fraud-1", "stage": "champion",
        "reason": "better", "user": "ana", "metrics": {"auc_roc": 0.9}, "environment": "test",
    }  # fmt: skip
    names: Any = type("N", (), {"registry": "logs-ml.registry-default", "environment": event["environment"]})
    decided = {name: value for name, value in event.items() if name != "environment"}
    write_event(cluster.client, names, event_id="by-dag", **decided)
    runner = cluster.runner()
    runner.http("/ml.registry", json.dumps(registry_event(event_id="by-file", **event)).encode())
    runner.drain()
    by_dag, by_file = sorted(events_of(cluster.client, names, "fraud-1"), key=lambda each: each["event"]["id"])
    for document in (by_dag, by_file):
        del document["@timestamp"], document["event"]["id"], document["event"]["ingested"]
    # What only Logstash sets.
    assert by_file.pop("data_stream") == {"type": "logs", "dataset": "ml.registry", "namespace": "default"}
    assert by_file["event"].pop("dataset") == "ml.registry"
    assert by_file == by_dag


def test_files_are_renamed_and_no_line_is_cut_or_lost(tmp_path: Path):
    log = PredictionLog(tmp_path / "p.ndjson", model_name="m", max_bytes=4000, backups=3)
    for number in range(60):
        log.predict(latency_ms=1, request_id=str(number))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["p.ndjson", "p.ndjson.1", "p.ndjson.2", "p.ndjson.3"]
    assert all(path.stat().st_size <= 4000 for path in tmp_path.iterdir())
    kept = [line["request_id"] for name in reversed(names) for line in lines(tmp_path / name)]
    assert kept == [str(number) for number in range(60 - len(kept), 60)]


def test_without_backups_the_file_starts_anew(tmp_path: Path):
    log = PredictionLog(tmp_path / "p.ndjson", model_name="m", max_bytes=1000, backups=0)
    for _ in range(9):
        log.predict(latency_ms=1)
    assert [path.name for path in tmp_path.iterdir()] == ["p.ndjson"]


def test_threads_write_whole_lines(tmp_path: Path):
    log = PredictionLog(tmp_path / "p.ndjson", model_name="m", max_bytes=20_000, backups=20)

    def write(thread: int) -> None:
        for number in range(50):
            log.predict(latency_ms=number, request_id=f"{thread}-{number}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [line["request_id"] for path in tmp_path.iterdir() for line in lines(path)]
    assert len(found) == len(set(found)) == 300
    assert log.dropped == 0


def test_a_forked_worker_writes_a_file_of_its_own(tmp_path: Path):
    log = PredictionLog(tmp_path / "p-{pid}.ndjson", model_name="m")
    log.predict(latency_ms=1)
    child = os.fork()
    if child == 0:
        log.predict(latency_ms=2)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    log.predict(latency_ms=3)
    assert [line["latency_ms"] for line in lines(log.path)] == [1, 3]
    assert [line["latency_ms"] for line in lines(tmp_path / f"p-{child}.ndjson")] == [2]


def test_a_log_that_cannot_be_written_fails_no_request_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("")
    log = PredictionLog(tmp_path / "file" / "p.ndjson", model_name="m")
    for _ in range(3):
        with log.timed():
            pass
    assert log.dropped == 3
    assert len([record for record in caplog.records if "were not logged" in record.getMessage()]) == 1


def test_a_full_disk_leaves_no_half_line_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = PredictionLog(tmp_path / "p.ndjson", model_name="m")
    log.predict(latency_ms=1)
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:20]))
    log.predict(latency_ms=2)
    monkeypatch.setattr(os, "write", real)
    log.predict(latency_ms=3)
    assert log.dropped == 1
    first, half, last = log.path.read_text().splitlines()
    assert json.loads(first)["latency_ms"] == 1
    assert len(half) == 20
    assert json.loads(last)["latency_ms"] == 3


class Awkward:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@settings(max_examples=40, deadline=None)
@given(
    latency=st.none() | st.floats() | st.integers() | st.text(max_size=3),
    request=st.none() | st.text(max_size=30) | st.integers() | st.just(Awkward()),
    user=st.none() | st.text(max_size=2000),
)
def test_no_argument_raises_and_every_line_is_json(tmp_path_factory, latency: Any, request: Any, user: Any):
    log = PredictionLog(tmp_path_factory.getbasetemp() / "any.ndjson", model_name="m")
    before = len(lines(log.path)) if log.path.exists() else 0
    log.predict(latency_ms=latency, request_id=request, user=user)
    after = lines(log.path) if log.path.exists() else []
    assert len(after) - before + log.dropped == 1


def test_it_needs_nothing_but_the_standard_library(tmp_path: Path):
    source = Path(sys.modules["elastic_ml.prediction_log"].__file__ or "").read_text()
    (tmp_path / "prediction_log.py").write_text(source)
    code = (
        "import sys; before = set(sys.modules); import prediction_log as p; "
        "p.PredictionLog('p.ndjson', model_name='m').predict(latency_ms=1); "
        "print(sorted(n for n in set(sys.modules) - before if n.partition('.')[0] not in sys.stdlib_module_names))"
    )
    found = subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['prediction_log']"
    assert lines(tmp_path / "p.ndjson")[0]["model_name"] == "m"


def test_importing_it_from_the_package_brings_no_airflow():
    code = "import sys, elastic_ml.prediction_log; sys.exit(any(n.partition('.')[0] == 'airflow' for n in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_runner_without_a_cluster_takes_it_too(log: PredictionLog):
    log.predict(latency_ms=1)
    runner = Runner(PIPELINES)
    runner.http("/ml.predictions", log.path.read_bytes())
    runner.drain()
    assert [written.stream for written in runner.written] == ["logs-ml.predictions-default"]
