"""LendPath's feeds: the same bytes on any worker, in the sources' own formats, and read by the product's adapters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from elastic_ml.project import load_project
from elastic_ml.sources.adapters import adapt
from elastic_ml.sources.adapters.oracle import OracleAdapter
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.readers import python as python_reader
from elastic_ml.sources.records import Document, Raw, Rejected
from lendpath import feeds
from lendpath.__main__ import names_csv
from lendpath.events import block
from lendpath.people import directory
from lendpath.sessions import draw_sessions
from lendpath.verdicts import CAUGHT, CONFIRMED, FOUND_OUT

INCLUDE = Path(__file__).parents[2] / "include"
DAY = datetime(2026, 11, 3, tzinfo=UTC)
NEXT = DAY + timedelta(days=1)
FEEDS = ("internal_audit", "ping_one", "oracle_audit", "oracle_unified", "verdicts")
SOURCES = ("internal_audit", "ping_one", "oracle_audit", "verdicts")


def made(feed: str, start: datetime = DAY, end: datetime = NEXT, **options) -> list[bytes]:
    return list(getattr(feeds, feed)(start, end, **options))


def moment(feed: str, record: bytes) -> datetime:
    if feed == "oracle_audit":
        return datetime.strptime(record.split(b"\n")[0].decode(), "%a %b %d %H:%M:%S %Y %z")
    key = {"internal_audit": "time", "ping_one": "recordedAt", "oracle_unified": "EVENT_TIMESTAMP_UTC",
           "verdicts": "decided_at"}[feed]  # fmt: skip
    return datetime.fromisoformat(json.loads(record)[key])


@pytest.mark.parametrize("feed", FEEDS)
def test_a_day_alone_is_the_day_of_a_longer_time(feed):
    alone = made(feed)
    draw_sessions.cache_clear()
    block.cache_clear()
    longer = made(feed, DAY - timedelta(days=2), NEXT + timedelta(days=1))
    assert [record for record in longer if DAY <= moment(feed, record) < NEXT] == alone
    assert made(feed, seed=12) != alone


@pytest.mark.parametrize("feed", FEEDS)
def test_the_hours_of_a_day_are_the_day(feed):
    hours = [DAY + timedelta(hours=n) for n in range(24)]
    parts = [record for hour in hours for record in made(feed, hour, hour + timedelta(hours=1))]
    assert Counter(parts) == Counter(made(feed))


@pytest.mark.parametrize("feed", ["internal_audit", "ping_one", "oracle_audit", "oracle_unified"])
def test_records_come_in_the_order_of_their_times_and_lie_in_the_partition(feed):
    times = [moment(feed, record) for record in made(feed, events_per_day=20_000)]
    assert times == sorted(times)
    assert DAY <= times[0] <= times[-1] < NEXT


def test_another_process_makes_the_same_bytes():
    program = (
        "import hashlib; from datetime import *; from lendpath import feeds; d = datetime(2026, 11, 3, tzinfo=UTC); "
        "print(hashlib.sha256(b''.join(r for f in ('internal_audit', 'ping_one', 'oracle_audit', 'verdicts') "
        "for r in getattr(feeds, f)(d, d + timedelta(hours=6)))).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo"}
    other = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    import hashlib

    here = b"".join(record for feed in SOURCES for record in made(feed, DAY, DAY + timedelta(hours=6)))
    assert other.stdout.strip() == hashlib.sha256(here).hexdigest()


@cache
def documents(source_name: str) -> list[Document]:
    """What the product makes of one day of a feed, with the sources and the name table that ship."""
    source = load_project(INCLUDE).source(source_name)
    people = NameTable.read(source_name, INCLUDE / source.names) if source.names else None
    found = list(adapt(source, python_reader.read(source, Partition.parse("2026-11-03")), people))
    assert [item for item in found if isinstance(item, Rejected)] == []
    assert people is None or people.unresolved == 0
    return found


@pytest.mark.parametrize("source", SOURCES)
def test_every_record_becomes_one_document_with_an_id_of_its_own(source):
    assert len(documents(source)) == len(made(source)) == len({doc["event"]["id"] for doc in documents(source)})


@pytest.mark.parametrize("source", ["ping_one", "oracle_audit", "internal_audit"])
def test_every_trail_names_the_same_people(source):
    known = set(directory().user_ids)
    assert {doc["user"]["id"] for doc in documents(source)} <= known


def test_a_session_is_seen_in_the_three_trails_at_the_same_time_by_the_same_person():
    records = [json.loads(line) for line in made("internal_audit")]
    ends = {(r["actor"]["id"], r["time"][:16]) for r in records if r["action"] == "sign_out"}
    begins = {(r["actor"]["id"], r["time"][:15]) for r in records if r["action"] == "sign_in"}
    created = [d for d in documents("ping_one") if d["event"]["action"] == "session.created"]
    opened = {(d["user"]["id"], d["@timestamp"][:15]) for d in created}
    assert len(begins & opened) > 0.97 * len(begins)
    assert len(ends) > 100
    active = {(r["actor"]["id"], r["time"][:15]) for r in records}
    statements = [(d["user"]["id"], d["@timestamp"][:15]) for d in documents("oracle_audit")]
    assert sum(statement in active for statement in statements) > 0.97 * len(statements)


def test_a_sign_out_carries_how_long_the_session_took():
    ends = [d for d in documents("internal_audit") if "duration" in d.get("session", {})]
    assert {d["event"]["action"] for d in ends} == {"sign_out"}
    starts = {d["audit"]["session_id"]: d for d in documents("internal_audit") if d["event"]["action"] == "sign_in"}
    checked = [d for d in ends if d["audit"]["session_id"] in starts]
    for end in checked:
        began, ended = (datetime.fromisoformat(d["@timestamp"]) for d in (starts[end["audit"]["session_id"]], end))
        assert (ended - began).total_seconds() == pytest.approx(end["session"]["duration"], abs=0.06)
    assert len(checked) > 100


def test_protect_evaluates_the_risk_of_each_sign_in_and_its_level_is_its_scores():
    scored = [d["ping_one"]["audit"]["protect"] for d in documents("ping_one") if "protect" in d["ping_one"]["audit"]]
    levels = {level: [s["score"] for s in scored if s["level"] == level] for level in ("LOW", "MEDIUM", "HIGH")}
    assert max(levels["LOW"]) < 40 <= min(levels["MEDIUM"]) <= max(levels["MEDIUM"]) < 70
    assert len(scored) > 200


def test_unified_audit_rows_tell_of_the_same_statements_as_the_audit_file():
    rows = [json.loads(line) for line in made("oracle_unified")]
    records = documents("oracle_audit")
    assert [row["RETURN_CODE"] != 0 for row in rows] == [doc["event"]["outcome"] == "failure" for doc in records]
    assert [" ".join(row["SQL_TEXT"].split()) for row in rows] == [
        doc["oracle"]["database_audit"]["action"] for doc in records
    ]
    assert [row["OBJECT_NAME"] for row in rows if row["OBJECT_NAME"] == "LOANS"]


def test_unified_audit_rows_are_read_by_the_same_adapter_with_the_same_people_and_times():
    people = NameTable.read("oracle_audit", INCLUDE / "names.csv")
    rows = [Raw(row, f"row {number}") for number, row in enumerate(made("oracle_unified"))]
    adapted = list(OracleAdapter(people)(rows))
    assert [item for item in adapted if isinstance(item, Rejected)] == []
    assert [doc["user"]["id"] for doc in adapted] == [doc["user"]["id"] for doc in documents("oracle_audit")]
    assert [doc["@timestamp"][:19] for doc in adapted] == [doc["@timestamp"][:19] for doc in documents("oracle_audit")]


def test_the_name_table_of_the_project_is_the_worlds():
    assert (INCLUDE / "names.csv").read_bytes() == b"".join(names_csv()), (
        "python -m lendpath names --out include/names.csv"
    )


def test_verdicts_come_late_about_events_of_all_trails_with_misses_and_mistakes():
    records = [
        json.loads(line) for n in range(6) for line in made("verdicts", DAY + n * (NEXT - DAY), NEXT + n * (NEXT - DAY))
    ]
    hours = [
        (datetime.fromisoformat(r["decided_at"]) - datetime.fromisoformat(r["event_time"])).total_seconds() / 3600
        for r in records
        if not r["decision_id"].endswith("-1")
    ]
    assert 6 <= min(hours) <= max(hours) <= 40
    ids = {doc["event"]["id"] for source in SOURCES[:3] for doc in documents(source)}
    about = [r for r in records if r["event_time"].startswith("2026-11-03")]
    assert {r["event_id"] for r in about} <= ids
    assert {r["user_id"] for r in records} <= set(directory().user_ids)
    assert len({r["decision_id"] for r in records}) == len(records)
    assert {"confirmed", "suspicious", "none"} == {r["verdict"] for r in records}


def test_a_decision_may_be_revised_and_the_later_one_counts():
    records = [json.loads(line) for line in made("verdicts", DAY, DAY + timedelta(days=20))]
    first = {r["event_id"]: r for r in records if r["decision_id"].endswith("-1")}
    final = {r["event_id"]: r for r in records if not r["decision_id"].endswith("-1")}
    both = first.keys() & final.keys()
    assert len(both) > 20
    assert all(first[i]["decided_at"] < final[i]["decided_at"] and final[i]["verdict"] == CONFIRMED for i in both)


def test_the_rates_of_misses_and_mistakes_are_the_stated_ones():
    import numpy as np

    from lendpath.events import blocks
    from lendpath.scenarios import Parameters
    from lendpath.verdicts import MISTAKEN, REVIEWED, decide

    made_blocks = [b for day in range(DAY.toordinal(), DAY.toordinal() + 60) for b in blocks(Parameters(), day)]
    harm = np.concatenate([b.internal.harm for b in made_blocks])
    confirmed = np.concatenate([decide(b).confirmed(len(b.internal)) for b in made_blocks])
    assert confirmed[harm].mean() == pytest.approx(FOUND_OUT * CAUGHT, abs=0.03)
    assert confirmed[~harm].mean() == pytest.approx(REVIEWED * MISTAKEN, rel=0.6)


def test_slower_reviewers_decide_the_same_later():
    slow = [json.loads(line) for line in made("verdicts", longest_delay_hours=240)]
    ages = [datetime.fromisoformat(r["decided_at"]) - datetime.fromisoformat(r["event_time"]) for r in slow]
    assert timedelta(days=4) < max(ages) <= timedelta(days=10)
    with pytest.raises(ValueError, match="longest_delay_hours=3"):
        made("verdicts", longest_delay_hours=3)


def test_memory_stays_that_of_a_block_however_many_events_a_day_has():
    sum(1 for _ in feeds.internal_audit(DAY, NEXT, events_per_day=30_000))
    peaks = []
    for events in (30_000, 120_000):
        draw_sessions.cache_clear()
        block.cache_clear()
        tracemalloc.start()
        sum(1 for _ in feeds.internal_audit(DAY, DAY + timedelta(hours=16), events_per_day=events))
        peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.stop()
    assert peaks[1] < 75
    assert peaks[1] < 2.2 * peaks[0], peaks


def test_dates_of_the_feeds_reach_from_2024_on():
    first = date(2024, 1, 1)
    assert len(made("internal_audit", datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC))) > 100
    assert first.toordinal() < DAY.toordinal()
