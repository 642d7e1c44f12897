"""Reading records: all of them, in order, a page at a time, by the results API and by search."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from webshop_jobs.world import DAY, HOUR, JOB, Shop

from elastic_ml.clients.anomaly_records import Record, Split, highest_record, moment, read_records
from elastic_ml.exceptions import ElasticMLError, NotFoundError

START, END = moment(DAY), moment(DAY + 24 * HOUR)
both_ways = pytest.mark.parametrize("serverless", [False, True], ids=["results API", "search"])


def read(shop: Shop, *, serverless: bool, page: int = 1000, min_score: float = 0, **more: object) -> list[Record]:
    window = {"start": START, "end": END} | more
    return list(read_records(shop.client, JOB, min_score=min_score, serverless=serverless, page=page, **window))  # type: ignore[arg-type]


@both_ways
def test_a_record_is_read_with_what_it_is_about(shop: Shop, serverless: bool) -> None:
    shop.put_job()
    shop.put_record(DAY + 2 * HOUR, "ana", 91.5)
    [record] = read(shop, serverless=serverless)
    assert record == Record(
        job_id=JOB, bucket=datetime(2026, 6, 1, 2, tzinfo=UTC), bucket_span=3600, score=91.5, detector=0,
        function="high_count", field=None, split=(Split("partition", "user.id", "ana"),), typical=(1.5,),
        actual=(12.0,), influencers={"user.id": ("ana",), "source.ip": ("10.0.0.9", "10.0.0.7")},
    )  # fmt: skip


@both_ways
def test_a_populations_numbers_stand_in_its_cause(shop: Shop, serverless: bool) -> None:
    shop.put_job()
    cause = {"probability": 1e-6, "function": "high_sum", "field_name": "rows", "typical": [3.0], "actual": [900.0]}
    shop.put_record(DAY, "ana", 80, typical=[], actual=[], causes=[cause], over_field_name="user.id",
                    over_field_value="ana", partition_field_name="role", partition_field_value="clerk")  # fmt: skip
    [record] = read(shop, serverless=serverless)
    assert (record.field, record.typical, record.actual) == ("rows", (3.0,), (900.0,))
    assert record.split == (Split("partition", "role", "clerk"), Split("over", "user.id", "ana"))


@both_ways
def test_the_window_and_the_score_bound_what_is_read_and_interim_results_are_left_out(
    shop: Shop, serverless: bool
) -> None:
    shop.put_job()
    for at, user, score in ((DAY - HOUR, "early", 90), (DAY, "first", 60), (DAY + HOUR, "low", 59.9),
                            (DAY + 23 * HOUR, "last", 60), (DAY + 24 * HOUR, "late", 90)):  # fmt: skip
        shop.put_record(at, user, score)
    shop.put_record(DAY + 5 * HOUR, "interim", 99, is_interim=True)
    shop.put_record(DAY + 5 * HOUR, "other", 99, job="another")
    assert [one.split[0].value for one in read(shop, serverless=serverless, min_score=60)] == ["first", "last"]


@both_ways
def test_an_unknown_job_is_an_error_and_not_a_quiet_one(shop: Shop, serverless: bool) -> None:
    with pytest.raises(NotFoundError, match=JOB):
        read(shop, serverless=serverless)
    with pytest.raises(NotFoundError, match=JOB):
        highest_record(shop.client, JOB, start=START, serverless=serverless)


@both_ways
def test_the_highest_record_of_a_window_is_found(shop: Shop, serverless: bool) -> None:
    shop.put_job()
    assert highest_record(shop.client, JOB, start=START, serverless=serverless) is None
    for hour, score in ((1, 70), (2, 85), (3, 80), (30, 99)):
        shop.put_record(DAY + hour * HOUR, "ana", score)
    best = highest_record(shop.client, JOB, start=START, end=END, serverless=serverless)
    assert best is not None
    assert best.score == 85
    later = highest_record(shop.client, JOB, start=START, serverless=serverless)
    assert later is not None
    assert later.score == 99


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hours=st.lists(st.integers(0, 5), max_size=14), page=st.integers(1, 6))
def test_paging_misses_and_repeats_nothing(shop: Shop, hours: list[int], page: int) -> None:
    shop.empty()
    shop.put_job()
    lines = []
    for number, hour in enumerate(hours):
        record = {
            "job_id": JOB, "result_type": "record", "timestamp": DAY + hour * HOUR, "bucket_span": 3600,
            "detector_index": 0, "is_interim": False, "record_score": 10.0, "function": "high_count",
            "partition_field_name": "user.id", "partition_field_value": f"u{number}",
        }  # fmt: skip
        lines += [{"index": {"_id": f"record-{number}"}}, record]
    if lines:
        shop.client.bulk(index=".ml-anomalies-shared-000001", operations=lines, refresh=True)
    for serverless in (False, True):
        found = read(shop, serverless=serverless, page=page)
        assert sorted(one.split[0].value for one in found) == sorted(f"u{number}" for number in range(len(hours)))
        assert [one.bucket for one in found] == sorted(one.bucket for one in found)


def test_reading_asks_for_one_page_at_a_time(shop: Shop) -> None:
    shop.put_job()
    for hour in range(7):
        shop.put_record(DAY + hour * HOUR, "ana", 90)
    shop.sandbox.requests.clear()
    records = read_records(shop.client, JOB, start=START, end=END, page=3)
    next(records)
    assert len(shop.sandbox.requests.matching("GET", f"/_ml/anomaly_detectors/{JOB}/results/records")) + len(
        shop.sandbox.requests.matching("POST", f"/_ml/anomaly_detectors/{JOB}/results/records")
    ) == 1  # fmt: skip


def test_more_records_in_one_bucket_than_can_be_paged_is_an_error(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elastic_ml.clients.anomaly_records._WINDOW", 4)
    shop.put_job()
    for number in range(6):
        shop.put_record(DAY, f"u{number}", 90)
    with pytest.raises(ElasticMLError, match="in the bucket of 2026-06-01T00:00:00"):
        read(shop, serverless=False, page=2)
    assert len(read(shop, serverless=True, page=2)) == 6


def test_search_closes_its_point_in_time_also_when_reading_stops_early(shop: Shop) -> None:
    shop.put_job()
    for hour in range(4):
        shop.put_record(DAY + hour * HOUR, "ana", 90)
    records = read_records(shop.client, JOB, start=START, end=END, page=2, serverless=True)
    next(records)
    records.close()  # type: ignore[attr-defined]
    assert len(shop.sandbox.requests.matching("DELETE", "/_pit")) == 1


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("2026-06-01", START), ("2026-06-01T02:00:00+02:00", START), ("2026-06-01T00:00:00Z", START),
        (str(DAY), START), (DAY, START),
    ],
)  # fmt: skip
def test_moments_are_read_as_people_and_servers_write_them(written: str | int, read_as: datetime) -> None:
    assert moment(written) == read_as
