"""Live audit through Logstash becomes the documents that the package's own adapters make of the same records."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from shipped_pipelines.world import NOW, PIPELINES

from elastic_ml.sources.adapters.oracle import OracleAdapter
from elastic_ml.sources.adapters.ping_one import PingOneAdapter
from elastic_ml.sources.records import Raw, Rejected, pruned
from elastic_sandbox.logstash.runner import Runner
from lendpath import feeds

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
DAY = datetime(2026, 5, 4, tzinfo=UTC)
# Set by the output, which the adapters leave to the stream's template.
OF_THE_OUTPUT = {"data_stream.type", "data_stream.dataset", "data_stream.namespace"}
# No filter of Logstash leaves out what a list holds already.
AS_SETS = {"related.user", "related.ip", "related.hosts"}


def flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names; a list of one is its value, as for Elasticsearch."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        path = prefix + name
        if isinstance(value, dict):
            found |= flat(value, f"{path}.")
        elif path in AS_SETS:
            found[path] = set(value)
        else:
            found[path] = value[0] if isinstance(value, list) and len(value) == 1 else value
    return found


def through_logstash(dataset: str, records: Iterable[bytes]) -> list[dict[str, Any]]:
    runner = Runner(PIPELINES, now=lambda: NOW)
    runner.beats([{"message": record.decode(), "data_stream": {"dataset": dataset}} for record in records])
    runner.drain()
    assert runner.lost == []
    return [written.document for written in runner.written]


def compare(dataset: str, records: list[bytes], adapter: Callable[..., Any]) -> None:
    adapted = [each for n, record in enumerate(records) for each in adapter([Raw(record.rstrip(b"\n"), f"f:{n}")])]
    assert not [each for each in adapted if isinstance(each, Rejected)]
    shipped = through_logstash(dataset, records)
    assert len(shipped) == len(adapted) > 10
    for ours, theirs in zip(adapted, shipped, strict=True):
        there = {name: value for name, value in flat(pruned(theirs)).items() if name not in OF_THE_OUTPUT}
        assert there == flat(pruned(ours))


def test_pingone_activities():
    records = feeds.ping_one(DAY, DAY + timedelta(days=1), seed=11, events_per_day=400)
    compare("ping_one.audit", list(islice(records, 60)), PingOneAdapter())


def test_oracle_records():
    records = feeds.oracle_audit(DAY, DAY + timedelta(days=1), seed=11, events_per_day=400)
    compare("oracle.database_audit", list(islice(records, 60)), OracleAdapter())


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples of real events are not here (../shared/samples)")
def test_real_events_of_both():
    compare("ping_one.audit", (SAMPLES / "pingone/audit-events.ndjson").read_bytes().splitlines(), PingOneAdapter())
    records = re.split(rb"\n\n(?=[A-Z][a-z]{2} [A-Z])", (SAMPLES / "oracle/database-audit.aud").read_bytes())
    compare("oracle.database_audit", records, OracleAdapter())


def test_an_object_audit_record():
    record = (
        b'Wed Oct  7 11:58:08 2026 -04:00\nLENGTH: "385"\nSESSIONID:[5] "12354" ENTRYID:[1] "1" STATEMENT:[2] "12" '
        b'USERID:[5] "SCOTT" USERHOST:[7] "ws-2853" TERMINAL:[5] "pts/1" ACTION:[3] "103" RETURNCODE:[1] "0" '
        b'OBJ$CREATOR:[3] "LOS" OBJ$NAME:[5] "LOANS" SES$ACTIONS:[16] "---------S------" SES$TID:[5] "12345" '
        b'OS$USERID:[6] "oracle" DBID:[10] "2471903355" CURRENT_USER:[5] "SCOTT"'
    )
    [ours] = OracleAdapter()([Raw(record, "f:1")])
    [theirs] = through_logstash("oracle.database_audit", [record])
    assert {k: v for k, v in flat(pruned(theirs)).items() if k not in OF_THE_OUTPUT} == flat(pruned(ours))


def test_both_give_an_event_the_same_id():
    """What came live and is backfilled later is one document."""
    records = list(islice(feeds.oracle_audit(DAY, DAY + timedelta(days=1), seed=11, events_per_day=400), 5))
    ours = [each["event"]["id"] for record in records for each in OracleAdapter()([Raw(record, "f:1")])]
    # Filebeat joins a record's lines, the blank one after it too.
    assert [each["event"]["id"] for each in through_logstash("oracle.database_audit", records)] == ours


def test_the_internal_trail_keeps_what_ecs_has_no_name_for():
    records = list(islice(feeds.internal_audit(DAY, DAY + timedelta(days=1), seed=11, events_per_day=400), 50))
    for document in through_logstash("internal.audit", records):
        assert document["event"]["id"]
        assert document["event"]["timezone"]
        assert document["user"]["id"]
        assert "gap_seconds" in document["audit"]
        assert document["source"]["ip"]
