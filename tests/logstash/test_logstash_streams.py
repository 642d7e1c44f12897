"""From what a shipper sends to the data streams: nothing is lost, and what is wrong says why."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shipped_pipelines.world import NOW, PIPELINES, Cluster

from elastic_sandbox.logstash.config import parse, plugins
from elastic_sandbox.logstash.output import Answer
from elastic_sandbox.logstash.runner import Runner

REGISTRY, PREDICTIONS, DEAD = (f"logs-ml.{name}-default" for name in ("registry", "predictions", "dead_letter"))
PREDICT = "2026-05-28T10:15:30.123Z PREDICT request_id=r-{} model=fraud latency=12.7 status=success"
Line = Callable[..., dict[str, Any]]


def test_both_lines_of_the_usual_example_reach_their_streams(cluster: Cluster, line: Line):
    runner = cluster.runner()
    runner.beats([
        line("ml.registry", "2026-05-28T10:15:30Z INFO transitioned model=fraud version=3 stage=Production user=alice"),
        line("ml.registry", PREDICT.format(1)),
    ])  # fmt: skip
    runner.drain()
    [registered] = cluster.documents(REGISTRY)
    assert (registered["user"]["name"], registered["status"]) == ("alice", "success")
    assert registered["event"]["action"] == "transitioned"
    [predicted] = cluster.documents(PREDICTIONS)
    assert (predicted["event_type"], predicted["latency_ms"], predicted["count"]) == ("predict", 12.7, 1)
    assert predicted["_id"] == predicted["event"]["id"]
    assert cluster.documents(DEAD) == [] == runner.lost


def test_a_line_that_is_sent_twice_is_one_document(cluster: Cluster, line: Line):
    for _ in range(2):
        runner = cluster.runner()
        runner.beats([line("ml.predictions", PREDICT.format(1)), line("ml.predictions", PREDICT.format(2))])
        runner.drain()
    assert len(cluster.documents(PREDICTIONS)) == 2
    assert [written.answer.status for written in runner.written] == [409, 409]


def test_a_value_of_the_wrong_type_goes_to_the_failure_store(cluster: Cluster, line: Line):
    runner = cluster.runner()
    record = {"event_type": "predict", "status": "success", "model_name": "fraud", "latency_ms": "fast"}
    runner.beats([line("ml.predictions", json.dumps(record))])
    runner.drain()
    assert [written.answer.failure_store for written in runner.written] == [True]
    [failed] = cluster.documents(f"{PREDICTIONS}::failures")
    assert "latency_ms" in failed["error"]["message"]


def test_what_is_refused_outright_comes_back_from_the_dead_letter_queue(cluster: Cluster, line: Line):
    without = {"failure_store": {"enabled": False}}
    cluster.client.indices.put_data_stream_options(name=PREDICTIONS, **without)
    runner = cluster.runner()
    record = {"event_type": "predict", "status": "ok", "model_name": "fraud", "latency_ms": "fast", "rejected": "yes"}
    runner.beats([line("ml.predictions", json.dumps(record), log={"file": {"path": "/var/log/a"}, "offset": 7})])
    runner.drain()
    [dead] = cluster.documents(DEAD)
    assert "latency_ms" in dead["reason"]
    assert dead["reason"].startswith("Could not index event to Elasticsearch. status: 400")
    assert json.loads(dead["raw"]) == record
    assert dead["rejected"]["latency_ms"] == "fast"
    assert dead["rejected"]["rejected"] == "yes"
    assert (dead["source"]["name"], dead["position"]) == ("ml.predictions", "/var/log/a:7")
    assert runner.lost == []


@pytest.mark.parametrize("status", [400, 404, 413])
def test_these_answers_lead_to_the_dead_letters(line: Line, status: int):
    def refusing(items: Any) -> list[Answer]:
        return [Answer(201) if stream == DEAD else Answer(status, error="why") for stream, _ in items]

    runner = Runner(PIPELINES, sink=refusing, now=lambda: NOW)
    runner.beats([line("ml.predictions", PREDICT.format(1))])
    runner.drain()
    assert [written.stream for written in runner.written] == [PREDICTIONS, DEAD]
    assert runner.written[1].document["raw"] == PREDICT.format(1)


def test_a_busy_cluster_is_waited_for(cluster: Cluster, line: Line):
    cluster.sandbox.faults.add(method="POST", path="/_bulk", status=429, times=2)
    cluster.sandbox.faults.add(method="POST", path="/_bulk", status=503, times=1)
    runner = cluster.runner()
    runner.beats([line("ml.predictions", PREDICT.format(1))])
    runner.drain()
    assert len(cluster.documents(PREDICTIONS)) == 1


def test_a_huge_line_keeps_its_first_32_kibibytes(cluster: Cluster, line: Line):
    runner = cluster.runner()
    runner.beats([line("ml.registry", "ä" * 1_000_000)])
    runner.drain()
    [dead] = cluster.documents(DEAD)
    assert len(dead["raw"].encode()) == 32768
    assert len(dead["message"].encode()) <= 2000


def test_a_request_of_bad_and_good_lines_loses_none(cluster: Cluster):
    runner = cluster.runner()
    good = [b'{"event_type":"predict","status":"ok","model_name":"m","request_id":"%d"}' % n for n in range(3)]
    bad = [b"\xff\xfe\x00", b"{", b'{"a":1e999}', b"NaN", '{"event_type":"predict\u2028'.encode(), b"x" * 40_000]
    runner.http("/ml.predictions", b"\n".join([good[0], *bad, good[1], b"", b"   ", good[2]]))
    runner.drain()
    assert len(cluster.documents(PREDICTIONS)) == 3
    assert all(letter["reason"] for letter in cluster.documents(DEAD))
    assert len(cluster.documents(DEAD)) == len(bad)


def test_no_secret_of_a_request_reaches_a_document(line: Line):
    runner = Runner(PIPELINES, now=lambda: NOW)
    runner.http("/nobody", b"hello", {"Authorization": "Basic c2VjcmV0", "Host": "logstash:8080", "User-Agent": "curl"})
    runner.drain()
    [written] = runner.written
    assert "c2VjcmV0" not in json.dumps(written.document)
    assert not written.document.keys() & {"http", "url", "user_agent", "host"}


def test_variables_name_prefix_namespaces_and_datasets(line: Line):
    names = {
        "ML_PREFIX": "risk",
        "OPERATIONS_NAMESPACE": "ops",
        "AUDIT_NAMESPACE": "bank",
        "INTERNAL_DATASET": "core.audit",
    }
    runner = Runner(PIPELINES, {**names, "KEEP_ORIGINAL": "true"}, now=lambda: NOW)
    record = '{"id":"1","time":"2026-05-28T10:15:30Z","action":"read"}'
    runner.beats([line("risk.predictions", PREDICT.format(1)), line("core.audit", record), line("ml.registry", "x")])
    runner.drain()
    assert {written.stream for written in runner.written} == {
        "logs-risk.predictions-ops", "logs-core.audit-bank", "logs-risk.dead_letter-ops",
    }  # fmt: skip
    [audit] = [written.document for written in runner.written if written.stream == "logs-core.audit-bank"]
    assert audit["event"]["original"] == record


def test_the_dead_letters_put_every_mapped_field_aside(cluster: Cluster):
    """Otherwise a value that its stream refused would be refused a second time, and be lost."""
    mappings = cluster.client.indices.get_mapping(index=DEAD).body.values()
    fields = {field for each in mappings for field in each["mappings"]["properties"]} - {"@timestamp"}
    sections = parse((PIPELINES / "pipelines/dead_letters.conf").read_text(), "dead_letters.conf")
    [rename] = [p.settings["rename"] for p in plugins(sections["filter"]) if p.settings["id"] == "dead_letters_fields"]
    assert len(fields) > 30
    assert {field: rename.get(field) for field in fields} == {field: f"[rejected][{field}]" for field in fields}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from([
    "event", "event_type", "status", "model_name", "tags", "@metadata", "@timestamp", "data_stream", "user", "log",
    "message", "rejected", "fields", "service", "latency_ms", "raw", "entity", "action", "data", "timestamp", "_id",
    "a[b",
])  # fmt: skip
_SHARED: dict[str, Runner] = {}


@settings(max_examples=30, deadline=None)
@given(
    record=st.dictionaries(_NAMES | st.text(max_size=5), _JSON, max_size=8),
    sound=st.booleans(),
    dataset=st.sampled_from(["ml.registry", "ml.predictions", "ping_one.audit", "internal.audit"]),
)
def test_no_json_object_stops_a_pipeline_or_is_lost(record: dict[str, Any], sound: bool, dataset: str):
    if sound:
        record = {
            **record,
            "event_type": "predict" if "pre" in dataset else "deployed",
            "model_name": "m",
            "status": "ok",
        }
    runner = _SHARED.setdefault("runner", Runner(PIPELINES, now=lambda: NOW))
    start = len(runner.written)
    message = json.dumps(record)
    runner.beats([{"message": message, "data_stream": {"dataset": dataset}}])
    runner.drain()
    [written] = runner.written[start:]
    assert written.stream in {DEAD, f"logs-{dataset}-default"}
    assert written.stream != DEAD or (written.document["reason"] and written.document["raw"])


@settings(max_examples=30, deadline=None)
@given(
    text=st.text(max_size=60)
    | st.from_regex(r"2026-05-28T10:15:3\dZ (INFO )?(PREDICT|deployed) ([a-z]{1,8}=[^\n]{0,9} ){0,4}", fullmatch=True),
    dataset=st.sampled_from(["ml.registry", "ml.predictions", "oracle.database_audit", "ping_one.audit", "other", ""]),
)
def test_no_line_is_lost(text: str, dataset: str):
    runner = _SHARED.setdefault("runner", Runner(PIPELINES, now=lambda: NOW))
    start = len(runner.written)
    runner.beats([{"message": text, "data_stream": {"dataset": dataset}}])
    runner.drain()
    assert len(runner.written) == start + 1
    assert runner.lost == []
