"""Answers of real stacks against the sandbox's, and whether that comparison notices anything."""

import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch
from recording.exchanges import FOLDER, Exchange, condensed, read, redacted, write
from recording.recorder import Recorder, recording
from recording.replay import replay

from elastic_sandbox.testing import Sandbox, serve

RECORDINGS = sorted(FOLDER.glob("*.ndjson.gz"))
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("path", RECORDINGS or [None], ids=lambda path: path.name if path else "none")
def test_the_sandbox_answers_as_the_stack_did(path: Path | None) -> None:
    if path is None:
        pytest.skip("no recording of a real stack yet: make record")
    name = path.name.removesuffix(".ndjson.gz")
    flavor = {"flavor": "serverless"} if name == "serverless" else {"version": name}
    with serve(**flavor) as sandbox:
        findings = list(replay(read(path), sandbox.elasticsearch_url))
    print(f"{name}: {dict(Counter(finding.verdict for finding in findings))}")
    assert [str(finding) for finding in findings if finding.verdict == "wrong"] == []


def converse(url: str) -> None:
    """A conversation with ids that the server makes, a poll, an error and a bulk."""
    with Elasticsearch(url, max_retries=0) as client:
        client.indices.create(index="shelf", mappings={"properties": {"title": {"type": "keyword"}}})
        client.bulk(operations=[{"index": {"_index": "shelf"}}, {"title": "a"}, {"create": {"_index": "shelf"}}, {}])
        client.indices.refresh(index="shelf")
        point = client.open_point_in_time(index="shelf", keep_alive="1m")["id"]
        client.search(pit={"id": point}, sort=["title"])
        client.close_point_in_time(id=point)
        task = client.reindex(source={"index": "shelf"}, dest={"index": "copy"}, wait_for_completion=False)["task"]
        while not client.tasks.get(task_id=task)["completed"]:
            pass
        client.options(ignore_status=400).indices.create(index="shelf")


def recorded_from(sandbox: Sandbox) -> list[Exchange]:
    with recording(sandbox.elasticsearch_url) as recorder:
        converse(recorder.elasticsearch_url)
    return list(condensed(recorder.exchanges))


def test_a_conversation_is_the_same_on_another_sandbox(sandbox: Sandbox) -> None:
    exchanges = recorded_from(sandbox)
    sandbox.reset()
    findings = list(replay(exchanges, sandbox.elasticsearch_url, patience=5))
    assert [str(finding) for finding in findings if finding.verdict != "same"] == []
    assert len(findings) == 9


def test_another_status_key_type_word_or_number_is_wrong(sandbox: Sandbox) -> None:
    answer = {"acknowledged": True, "shards_acknowledged": True, "index": "shelf"}
    for change in (
        {"status": 201},
        {"answer": {**answer, "more": 1}},
        {"answer": {"acknowledged": True, "index": "shelf"}},
        {"answer": {**answer, "acknowledged": "true"}},
        {"answer": {**answer, "index": "other"}},
    ):
        sandbox.reset()
        exchange = replace(Exchange("PUT", "/shelf", JSON, "{}", 200, answer), **change)
        (finding,) = replay([exchange], sandbox.elasticsearch_url)
        assert (finding.verdict, len(finding.differences)) == ("wrong", 1)
        assert str(finding).startswith("wrong: PUT /shelf")


def test_what_the_sandbox_lacks_is_refused_and_not_wrong(sandbox: Sandbox) -> None:
    exchange = Exchange("PUT", "/_watcher/watch/w", JSON, "{}", 201, {"_id": "w"})
    (finding,) = replay([exchange], sandbox.elasticsearch_url)
    assert finding.verdict == "refused"
    assert "_watcher" in finding.differences[0]


def test_a_read_that_differs_is_read_again_while_work_goes_on(sandbox: Sandbox, elasticsearch: Elasticsearch) -> None:
    good = redacted(elasticsearch.info().body)
    sandbox.faults.add(method="GET", path="/", status=503, times=2)
    (finding,) = replay([Exchange("GET", "/", {}, "", 200, good)], sandbox.elasticsearch_url)
    assert finding.verdict == "same"


def test_a_recording_names_neither_the_cluster_nor_a_secret(sandbox: Sandbox, tmp_path: Path) -> None:
    recorder = Recorder(sandbox.elasticsearch_url, api_key="c2VjcmV0OmtleQ==", ca_certs=None)
    recorder.forward("GET", "/", {"authorization": "never forwarded, never noted"}, b"")
    path = tmp_path / "9.5.0.ndjson.gz"
    assert write(path, recorder.exchanges) == 1
    text = gzip.decompress(path.read_bytes()).decode()
    assert "c2VjcmV0" not in text
    assert "never" not in text
    assert json.loads(text)["answer"]["cluster_name"] == "recorded"
    assert redacted([{"host": "es01.bank.example", "ip": "192.0.2.7"}]) == [{"host": "127.0.0.1", "ip": "192.0.2.7"}]
    assert list(read(path)) == recorder.exchanges


def test_of_a_repeated_read_the_last_answer_is_kept() -> None:
    poll = Exchange("GET", "/_tasks/n:1", {}, "", 200, {"completed": False})
    done = replace(poll, answer={"completed": True})
    write_ = Exchange("PUT", "/x", JSON, "{}", 200, {})
    assert list(condensed([poll, poll, done, write_, poll])) == [done, write_, poll]
