"""Data shaped like audit logs, for the anomaly tests: weekends, holidays, drift, and anomalies put in on purpose."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from elasticsearch import helpers

from elastic_sandbox.ml.anomaly.analysis import Analysis, Records
from elastic_sandbox.ml.anomaly.detection import Finding
from elastic_sandbox.ml.anomaly.tails import score_of

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

START = 1_767_571_200_000  # Monday 2026-01-05
HOUR = 3_600_000
DAYS = 49
HOLIDAYS = (14, 31)
ALERT = 75


def busyness(hours: Any) -> Any:
    """How busy people are at hours from START: two humps on working days, little at night and on free days."""
    day, hour = hours // 24, hours % 24
    humps = 0.08 + np.exp(-0.5 * ((hour - 10.5) / 2.2) ** 2) + 0.8 * np.exp(-0.5 * ((hour - 15) / 2.0) ** 2)
    return humps * np.where((day % 7 >= 5) | np.isin(day, HOLIDAYS), 0.12, 1.0)


def _records(times: Any, **columns: Any) -> Records:
    order = np.argsort(times, kind="stable")
    fields = {name.replace("__", "."): [values[i] for i in order] for name, values in columns.items()}
    return Records(times[order].astype(np.int64), fields)


def _names(prefix: str, numbers: Any) -> Any:
    return np.array([f"{prefix}{number:03d}" for number in numbers], dtype=object)


def _spread(counts: Any, span_ms: int, generator: np.random.Generator) -> tuple[Any, Any]:
    buckets, who = np.nonzero(counts)
    times = counts[buckets, who]
    buckets, who = np.repeat(buckets, times), np.repeat(who, times)
    return START + buckets * span_ms + generator.integers(0, span_ms, len(buckets)), who


def failed_logins(seed: int, *, burst: tuple[int, int, int] | None = None) -> Records:
    """Failed authentications of 120 users, more clustered than Poisson's; a burst is (hour, user, how many)."""
    generator = np.random.default_rng(seed)
    hours = np.arange(DAYS * 24)
    rates = generator.gamma(0.6, 0.08, 60) + 0.003
    mean = np.outer(busyness(hours) * (1 + 0.3 * hours / len(hours)), rates)
    counts = generator.poisson(mean * generator.gamma(2.0, 0.5, mean.shape))
    if burst is not None:
        counts[burst[0], burst[1]] += burst[2]
    times, who = _spread(counts, HOUR, generator)
    return _records(times, user__name=_names("user", who))


def record_reads(seed: int, *, bulk: tuple[int, int, float] | None = None) -> Records:
    """Records read by 50 users, lognormal and drifting upwards; a bulk read is (hour, user, how many)."""
    generator = np.random.default_rng(seed)
    hours = np.arange(DAYS * 24)
    counts = generator.poisson(np.outer(busyness(hours), generator.gamma(2, 0.6, 50)))
    times, who = _spread(counts, HOUR, generator)
    drift = 1 + 0.3 * (times - START) / (DAYS * 24 * HOUR)
    amounts = np.ceil(generator.lognormal(2.5, 1.0, len(times)) * generator.lognormal(0, 0.5, 50)[who] * drift)
    if bulk is not None:
        times = np.append(times, START + bulk[0] * HOUR + 1000)
        who, amounts = np.append(who, bulk[1]), np.append(amounts, bulk[2])
    return _records(times, user__name=_names("user", who), records=amounts.astype(object))


def latencies(seed: int, *, slow: tuple[int, int, int, float] | None = None) -> Records:
    """Prediction latencies of 2 models in quarters of an hour; slow is (first quarter, last, model, factor)."""
    generator = np.random.default_rng(seed)
    quarters = np.arange(DAYS * 96)
    counts = generator.poisson(np.outer(busyness(quarters / 4), generator.uniform(4, 8, 2)))
    times, model = _spread(counts, HOUR // 4, generator)
    quarter = (times - START) // (HOUR // 4)
    values = (
        generator.uniform(20, 300, 2)[model] * (1 + 0.15 * busyness(quarter / 4)) * (1 + 0.2 * quarter / len(quarters))
    )
    values *= generator.lognormal(0, 0.35, len(times))
    values *= np.where(generator.random(len(times)) < 0.002, generator.uniform(3, 8, len(times)), 1)
    if slow is not None:
        hit = (quarter >= slow[0]) & (quarter < slow[1]) & (model == slow[2])
        values = np.where(hit, values * slow[3], values)
    return _records(times, model_name=_names("model", model), latency_ms=values.astype(object))


def privileged_actions(seed: int, *, rare: tuple[int, int, str] | None = None) -> Records:
    """24 kinds of actions of 30 administrators, each with habits; rare is (hour, user, action)."""
    generator = np.random.default_rng(seed)
    hours = np.arange(DAYS * 24)
    habits = generator.dirichlet(3 / np.arange(1, 25) ** 1.1, 30).cumsum(axis=1)
    counts = generator.poisson(np.outer(busyness(hours), generator.gamma(2, 0.25, 30)))
    times, who = _spread(counts, HOUR, generator)
    actions = _names("action", (generator.random(len(times))[:, None] > habits[who]).sum(axis=1).clip(0, 23))
    users = _names("user", who)
    if rare is not None:
        times = np.append(times, START + rare[0] * HOUR + 5)
        users, actions = np.append(users, f"user{rare[1]:03d}"), np.append(actions, rare[2])
    return _records(times, user__name=users, event__action=actions)


CONFIGS: dict[str, dict[str, Any]] = {
    "failed_logins": {
        "bucket_span": "1h",
        "detectors": [{"function": "high_count", "partition_field_name": "user.name"}],
        "influencers": ["user.name"],
    },
    "record_reads": {
        "bucket_span": "1h",
        "detectors": [{"function": "high_sum", "field_name": "records", "over_field_name": "user.name"}],
        "influencers": ["user.name"],
    },
    "latencies": {
        "bucket_span": "15m",
        "detectors": [{"function": "high_mean", "field_name": "latency_ms", "by_field_name": "model_name"}],
        "influencers": ["model_name"],
    },
    "privileged_actions": {
        "bucket_span": "1h",
        "detectors": [{"function": "rare", "by_field_name": "event.action", "partition_field_name": "user.name"}],
        "influencers": ["user.name", "event.action"],
    },
}
"""analysis_config of four jobs, the shapes of those an audit trail is watched by."""


def config(name: str) -> dict[str, Any]:
    """An analysis_config as the server keeps it."""
    made = CONFIGS[name]
    return {**made, "detectors": [{**one, "detector_index": i} for i, one in enumerate(made["detectors"])]}


def analyse(name: str, records: Records, cuts: int = 1) -> list[tuple[int, float, Finding]]:
    """(start of the bucket, score, finding) of everything a job of that shape finds, fed in ``cuts`` portions."""
    analysis = Analysis(config(name))
    found = []
    edges = np.linspace(0, len(records.times), cuts + 1).astype(int)
    for start, end in pairwise(edges):
        for bucket in analysis.add(records.part(int(start), int(end)))[0]:
            found += [(bucket.start, float(score_of(finding.y)), finding) for finding in bucket.findings]
    return found


def index_records(client: Elasticsearch, index: str, records: Records) -> None:
    """Store records as documents, user.name as an object."""
    sample = {name: values[0] for name, values in records.fields.items()}
    kinds = {name: {"type": "keyword" if isinstance(value, str) else "double"} for name, value in sample.items()}
    client.indices.create(index=index, mappings={"properties": {"@timestamp": {"type": "date"}, **kinds}})
    names = list(records.fields)
    rows = zip(records.times.tolist(), *(records.fields[name] for name in names), strict=True)
    documents = ({"_index": index, "@timestamp": row[0], **dict(zip(names, row[1:], strict=True))} for row in rows)
    helpers.bulk(client, documents, chunk_size=5000, refresh=True)


def wait_until_stopped(client: Elasticsearch, datafeed_id: str, seconds: float = 60) -> None:
    """Return when the datafeed's look-back is over and its job closed."""
    until = time.monotonic() + seconds
    while client.ml.get_datafeed_stats(datafeed_id=datafeed_id)["datafeeds"][0]["state"] != "stopped":
        assert time.monotonic() < until, "the datafeed did not stop"
        time.sleep(0.02)


def look_back(client: Elasticsearch, job_id: str, start: int, end: int) -> None:
    """Open the job, feed it the range with the datafeed of the same name, and wait."""
    client.ml.open_job(job_id=job_id)
    client.ml.start_datafeed(datafeed_id=job_id, start=str(start), end=str(end))
    wait_until_stopped(client, job_id)
