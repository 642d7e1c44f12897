"""Reads what an anomaly job found, however much it is, in constant memory.

Records come in the order of time, a page at a time: from the results API, or, where that is private (Serverless), by
`_search` on the results indices. Interim results, which the next look may take back, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from elastic_ml.exceptions import ElasticMLError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

RESULTS: Final = ".ml-anomalies-*"
PAGE: Final = 1000
_WINDOW: Final = 10_000
"""How far `from` + `size` may reach: `index.max_result_window` of the results indices."""


class Split(NamedTuple):
    """How a detector splits the data, and the value that a record is about: `by`, `user.id`, `u-0300`."""

    kind: str
    field: str
    value: str


@dataclass(frozen=True)
class Record:
    """One anomaly record.

    :param job_id: the job, or the version of it, that found it.
    :param bucket: begin of its bucket.
    :param score: 0 to 100; Elasticsearch lowers it when something worse is found later.
    :param detector: index of the detector.
    :param function: what the detector computes, such as `high_count`.
    :param field: the field that the function is of; None for counts.
    :param split: whom or what the record is about.
    :param typical: what was expected; empty where the job does not say.
    :param actual: what was seen.
    :param influencers: values by influencer field.
    """

    job_id: str
    bucket: datetime
    bucket_span: int
    score: float
    detector: int
    function: str
    field: str | None
    split: tuple[Split, ...]
    typical: tuple[float, ...]
    actual: tuple[float, ...]
    influencers: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Record:
        """Read a record as the results API and `_search` give it."""
        causes: list[Mapping[str, Any]] = found.get("causes") or []
        # What a population's record is about stands in its one cause; the record itself may have no numbers.
        cause: Mapping[str, Any] = causes[0] if len(causes) == 1 else {}
        named = [(kind, found.get(f"{kind}_field_name"), found.get(f"{kind}_field_value")) for kind in _SPLITS]
        return cls(
            job_id=str(found["job_id"]),
            bucket=moment(found["timestamp"]),
            bucket_span=int(found["bucket_span"]),
            score=float(found["record_score"]),
            detector=int(found["detector_index"]),
            function=str(found.get("function") or ""),
            field=found.get("field_name") or cause.get("field_name"),
            split=tuple(Split(kind, field, str(value)) for kind, field, value in named if field and value is not None),
            typical=tuple(found.get("typical") or cause.get("typical") or ()),
            actual=tuple(found.get("actual") or cause.get("actual") or ()),
            influencers={
                one["influencer_field_name"]: tuple(one["influencer_field_values"])
                for one in found.get("influencers") or ()
            },
        )


_SPLITS: Final = ("partition", "by", "over")


def moment(stamp: str | int | float) -> datetime:
    """Read epoch milliseconds, or an ISO date or time (UTC unless it says otherwise).

    :raises ValueError: it is neither.
    """
    if isinstance(stamp, str) and not stamp.isdigit():
        read = datetime.fromisoformat(stamp)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    return datetime.fromtimestamp(int(stamp) / 1000, UTC)


def read_records(
    client: Elasticsearch,
    job_id: str,
    *,
    start: datetime,
    end: datetime,
    min_score: float = 0.0,
    serverless: bool = False,
    page: int = PAGE,
) -> Iterator[Record]:
    """Yield the final records of a job whose bucket begins in [start, end), the oldest first.

    :param min_score: leave out records below this score (0 to 100).
    :param serverless: the results API is private there; see `ServerFacts.serverless`.
    :param page: records per request; never more of them are in memory.
    :raises NotFoundError: there is no such job.
    :raises ElasticMLError: one bucket has more than 10,000 such records.
    """
    look = _searched if serverless else _listed
    for found in look(client, job_id, _millis(start), _millis(end), min_score, page):
        yield Record.of(found)


def _millis(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _listed(client: Elasticsearch, job_id: str, start: int, end: int, score: float, page: int) -> Iterator[Any]:
    """By the results API, which pages by `from`: each page begins at the bucket where the one before ended."""
    skip = 0
    while start < end:
        if skip + page > _WINDOW:
            raise ElasticMLError(
                f"Job {job_id} has more than {_WINDOW - page} records with a score of {score:g} or more in the bucket "
                f"of {moment(start).isoformat()}.",
                remedy="Ask for a higher score; so many anomalies at once are usually one fault in the data.",
            )
        found = client.ml.get_records(
            job_id=job_id, start=str(start), end=str(end), record_score=score, exclude_interim=True,
            sort="timestamp", desc=False, from_=skip, size=page,
        )["records"]  # fmt: skip
        yield from found
        if len(found) < page:
            return
        last = int(found[-1]["timestamp"])
        there = sum(int(one["timestamp"]) == last for one in found)
        skip, start = (skip + there, start) if last == start else (there, last)


def _searched(client: Elasticsearch, job_id: str, start: int, end: int, score: float, page: int) -> Iterator[Any]:
    """By `_search` in one point in time; needs `read` on the results indices."""
    client.ml.get_jobs(job_id=job_id)  # an unknown job would look like one that found nothing
    pit = client.open_point_in_time(index=RESULTS, keep_alive="2m")["id"]
    after: list[Any] | None = None
    try:
        while True:
            answer = client.search(
                pit={"id": pit, "keep_alive": "2m"},
                query=records_query(job_id, start, end, score),
                sort=[{"timestamp": "asc"}, {"_shard_doc": "asc"}],
                search_after=after,
                size=page,
                track_total_hits=False,
            )
            hits = answer["hits"]["hits"]
            yield from (hit["_source"] for hit in hits)
            if len(hits) < page:
                return
            after, pit = hits[-1]["sort"], answer.get("pit_id", pit)
    finally:
        client.close_point_in_time(id=pit)


def highest_record(
    client: Elasticsearch,
    job_id: str,
    *,
    start: datetime,
    end: datetime | None = None,
    min_score: float = 0.0,
    serverless: bool = False,
) -> Record | None:
    """The final record with the highest score whose bucket begins in [start, end), None when there is none.

    :raises NotFoundError: there is no such job.
    """
    first, last = _millis(start), _millis(end) if end else None
    found: list[Mapping[str, Any]]
    if serverless:
        client.ml.get_jobs(job_id=job_id)
        query = records_query(job_id, first, last, min_score)
        answer = client.search(index=RESULTS, query=query, sort=[{"record_score": "desc"}], size=1)
        found = [hit["_source"] for hit in answer["hits"]["hits"]]
    else:
        found = client.ml.get_records(
            job_id=job_id, start=str(first), end=None if last is None else str(last), record_score=min_score,
            exclude_interim=True, sort="record_score", desc=True, size=1,
        )["records"]  # fmt: skip
    return Record.of(found[0]) if found else None


def records_query(job_id: str, start: int, end: int | None, score: float) -> dict[str, Any]:
    """Query for final records of a job in [start, end) (epoch ms; None: no end), at or above a score."""
    bounds = {"gte": start, "format": "epoch_millis"} | ({} if end is None else {"lt": end})
    return {
        "bool": {
            "filter": [
                {"term": {"job_id": job_id}},
                {"term": {"result_type": "record"}},
                {"range": {"timestamp": bounds}},
                {"range": {"record_score": {"gte": score}}},
            ],
            "must_not": [{"term": {"is_interim": True}}],
        }
    }
