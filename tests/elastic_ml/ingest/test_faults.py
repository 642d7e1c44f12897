"""A bad day for the cluster: after it, the stream holds every distinct event once and the figures add up."""

from __future__ import annotations

import threading

import pytest

from elastic_ml.exceptions import DiskFullError, IngestError, SecurityError, UnavailableError
from elastic_ml.ingest.bulk import BulkWriter
from elastic_ml.ingest.encoding import ChunkSize

STREAM = "logs-acme.audit-test"
BULK = {"method": "PUT", "path": f"/{STREAM}/_bulk"}
EVENTS = 400


def small() -> ChunkSize:
    return ChunkSize(documents=50, most=50)


def check(acme, counted, figures, events: int = EVENTS) -> None:
    counted(figures)
    assert acme.ids() == [f"e-{n:06d}" for n in range(events)]
    assert acme.record()["state"] == "done"
    assert acme.record()["indexed"] == events


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "times": 3},
        {"status": 503, "times": 3},
        {"status": 502, "times": 1},
        {"action": "cut_before", "times": 2},
        {"action": "cut_after", "times": 1},
        {"action": "cut_after", "times": 4},
        {"status": 503, "share": 0.4, "times": 12},
    ],
    ids=lambda fault: "-".join(str(v) for v in fault.values()),
)
def test_every_event_arrives_once_whatever_happens_to_requests(acme, counted, fault):
    acme.deliver(acme.events(EVENTS))
    acme.sandbox.faults.add(**BULK, **fault)
    figures = acme.ingest(size=small())
    assert figures == {"read": EVENTS, "indexed": EVENTS, "duplicate": 0, "rejected": 0}
    check(acme, counted, figures)


def test_a_lost_answer_is_counted_right_where_a_chunk_also_holds_duplicates(acme, counted):
    """Each event is delivered twice and every second answer is lost; no single answer tells which copy was first."""
    acme.deliver([event for event in acme.events(100) for _ in range(2)])
    acme.sandbox.faults.add(**BULK, action="cut_after", times=4, share=0.5)
    figures = acme.ingest(size=small())
    assert figures == {"read": 200, "indexed": 100, "duplicate": 100, "rejected": 0}
    check(acme, counted, figures, 100)


@pytest.mark.parametrize("status", [429, 503])
def test_items_that_fail_for_now_are_sent_again_alone(acme, counted, status):
    acme.deliver(acme.events(EVENTS))
    acme.sandbox.faults.add(method="*", path=".ds-logs-acme*", action="bulk_items", status=status, share=0.3, times=60)
    acme.sandbox.faults.add(method="*", path=STREAM, action="bulk_items", status=status, share=0.3, times=60)
    figures = acme.ingest(size=small())
    check(acme, counted, figures)
    sizes = [len(r.body) // 2 for r in acme.sandbox.requests.matching("PUT", "*/_bulk")]
    assert min(sizes) < 50, "only the failed items went again"
    assert sum(sizes) == EVENTS + 60


def test_a_full_disk_ends_it_at_once_with_a_sentence_and_a_later_run_finishes(acme, counted):
    acme.deliver(acme.events(EVENTS))
    acme.sandbox.faults.flood_stage_pattern = "*logs-acme.audit*"
    acme.sandbox.requests.clear()
    with pytest.raises(DiskFullError, match="flood-stage watermark"):
        acme.ingest(size=small())
    assert len(acme.sandbox.requests.matching("PUT", "*/_bulk")) <= 2, "nothing was retried"
    assert acme.record()["state"] == "failed"
    acme.sandbox.faults.clear()
    check(acme, counted, acme.ingest())


def test_a_missing_privilege_ends_it_at_once(acme):
    acme.deliver(acme.events(10))
    acme.sandbox.faults.add(
        **BULK,
        status=403,
        type="security_exception",
        reason="action [indices:data/write/bulk] is unauthorized",
        times=None,
    )
    with pytest.raises(SecurityError):
        acme.ingest()


def test_a_cluster_that_does_not_come_back_fails_the_attempt_and_gives_the_lease_up(acme, counted, monkeypatch):
    monkeypatch.setattr("elastic_ml.ingest.bulk.MOST_ATTEMPTS", 4)
    acme.deliver(acme.events(EVENTS))
    acme.sandbox.faults.add(**BULK, status=503, times=None)
    with pytest.raises(UnavailableError, match=r"documents for logs-acme.audit-test could not be written in 4 tries"):
        acme.ingest(size=small())
    assert acme.record()["state"] == "failed"
    assert acme.record()["owner"] is None
    acme.sandbox.faults.clear()
    check(acme, counted, acme.ingest(owner="another/run/ingest"))


class Killed(BaseException):
    """Stands for SIGKILL: nothing is tidied up."""


@pytest.mark.parametrize("after_chunks", [0, 1, 3, 7])
def test_killed_between_chunks_and_run_again(acme, counted, after_chunks):
    acme.deliver(acme.events(EVENTS))
    attempt = acme.prepared(size=small())
    account, done = attempt._account, []

    def die(result):
        if len(done) == after_chunks:
            raise Killed
        done.append(result)
        account(result)

    attempt._account = die
    with pytest.raises(Killed):
        attempt.run()
    assert acme.record()["state"] == "running", "nobody told the ledger"
    figures = acme.ingest()
    assert figures["read"] == EVENTS
    assert figures["duplicate"] >= 50 * after_chunks
    check(acme, counted, figures)
    assert [a["state"] for a in acme.record()["attempts"]] == ["running", "done"]


def test_stopped_from_outside_it_sends_nothing_more_and_gives_the_lease_up(acme, counted):
    acme.deliver(acme.events(EVENTS))
    attempt = acme.prepared(size=small())
    account, done = attempt._account, []

    def stop_after_two(result):
        account(result)
        done.append(result)
        if len(done) == 2:
            attempt.stop("the task was killed")

    attempt._account = stop_after_two
    with pytest.raises(IngestError):
        attempt.run()
    assert acme.record()["owner"] is None
    assert acme.record()["state"] == "failed"
    assert len(acme.ids()) < EVENTS
    check(acme, counted, acme.ingest(owner="another/run/ingest"))


def test_an_attempt_whose_supervisor_is_gone_stops_before_the_next_one_begins(acme, counted):
    acme.deliver(acme.events(EVENTS))
    asked = iter([False, False, False])
    with pytest.raises(IngestError, match="the process that supervised this attempt is gone"):
        acme.ingest(size=small(), abandoned=lambda: next(asked, True))
    assert (acme.record()["owner"], acme.record()["state"]) == (None, "failed")
    assert 0 < len(acme.ids()) < EVENTS
    check(acme, counted, acme.ingest())


def test_a_request_that_is_too_large_is_cut_in_half(acme, counted):
    acme.deliver(acme.events(100))
    refused = acme.sandbox.faults.add(**BULK, status=413, type="content_too_long", times=2)
    figures = acme.ingest(size=ChunkSize(documents=100, most=100))
    assert refused.hits == 2
    check(acme, counted, figures, 100)


def test_the_size_of_requests_follows_the_cluster_in_documents_and_in_bytes():
    size = ChunkSize(documents=1000, bytes=1_000_000)
    size.shrink()
    assert (size.documents, size.bytes) == (500, 500_000)
    size.answered(500, 300_000, 0.1)
    assert (size.documents, size.bytes) == (625, 625_000)
    size.answered(100, 600_000, 0.1)
    assert size.documents == 781, "few documents, but full by their bytes"
    size.answered(100, 100_000, 0.1)
    assert size.documents == 781, "a short last chunk says nothing"
    size.answered(781, 700_000, 3.0)
    assert size.documents == 781, "neither quick nor slow"
    size.answered(781, 700_000, 8.0)
    assert size.documents == 624
    for _ in range(20):
        size.shrink()
    assert (size.documents, size.bytes) == (50, 256 * 1024)
    for _ in range(40):
        size.answered(size.documents, size.bytes, 0.1)
    assert (size.documents, size.bytes) == (5_000, 10 * 1024 * 1024)


def test_a_crowded_cluster_gets_a_request_in_parts(acme, counted):
    acme.deliver(acme.events(EVENTS))
    acme.sandbox.faults.add(**BULK, status=429, times=2)
    figures = acme.ingest(size=ChunkSize(documents=400, most=400))
    check(acme, counted, figures)
    sent = acme.sandbox.requests.matching("PUT", "*/_bulk")
    assert [r.status for r in sent] == [429, 429, 200, 200, 200, 200], "400, then 200, then 100 each"


def test_without_a_way_to_look_ids_up_a_lost_answer_is_sent_again(sandbox, elasticsearch):
    """Right for writes that do no harm twice: external versions and dead letters."""
    from elastic_ml.clients.elasticsearch import connect
    from elastic_ml.clients.settings import ElasticsearchSettings
    from elastic_ml.ingest.encoding import Chunk, Operation, create_action

    elasticsearch.indices.create(index="plain")
    sandbox.faults.add(method="PUT", path="/plain/_bulk", action="cut_after", times=1)
    client = connect(ElasticsearchSettings(url=sandbox.elasticsearch_url))
    writer = BulkWriter(client, "plain", data_stream=False, stop=threading.Event(), backoff_seconds=0.01)
    result = writer.write(Chunk([Operation(str(n), create_action(str(n)), b"{}") for n in range(3)]))
    assert result.outcomes == ["uncertain"] * 3
