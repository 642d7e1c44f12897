"""An anomaly job that is fed by runtime fields finds what it finds by the same values indexed."""

from __future__ import annotations

from typing import Any

from elasticsearch import Elasticsearch
from sandbox.anomaly_world import HOUR, START, index_records, look_back, privileged_actions


def test_a_job_finds_by_runtime_fields_what_it_finds_by_the_same_fields_indexed(elasticsearch: Elasticsearch) -> None:
    records = privileged_actions(3, rare=(800, 3, "drop_all"))
    index_records(elasticsearch, "audit", records)
    end = START + 36 * 24 * HOUR
    for job_id, action, user, runtime in (
        ("indexed", "event.action", "user.name", {}),
        ("runtime", "what", "who", {
            "what": {"type": "keyword", "script": "emit(doc['event.action'].value)"},
            "who": {"type": "keyword", "script": "emit(params._source['user.name'])"},
        }),
    ):  # fmt: skip
        elasticsearch.ml.put_job(
            job_id=job_id,
            data_description={"time_field": "@timestamp"},
            analysis_config={
                "bucket_span": "1h",
                "detectors": [{"function": "rare", "by_field_name": action, "partition_field_name": user}],
                "influencers": [user, action],
            },
        )
        elasticsearch.ml.put_datafeed(datafeed_id=job_id, job_id=job_id, indices=["audit"], runtime_mappings=runtime)
        look_back(elasticsearch, job_id, START, end)

    def found(job_id: str) -> list[tuple[Any, ...]]:
        records = elasticsearch.ml.get_records(job_id=job_id, size=1000)["records"]
        names = ("timestamp", "partition_field_value", "by_field_value", "record_score", "probability")
        influencers = [[one["influencer_field_values"] for one in record["influencers"]] for record in records]
        return [
            (*(record[name] for name in names), values) for record, values in zip(records, influencers, strict=True)
        ]

    assert found("runtime") == found("indexed")
    assert any(record[2] == "drop_all" for record in found("runtime"))
    counts = [elasticsearch.ml.get_job_stats(job_id=one)["jobs"][0]["data_counts"] for one in ("indexed", "runtime")]
    assert counts[0]["processed_record_count"] == counts[1]["processed_record_count"] > 1000
