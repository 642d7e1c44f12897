"""Result documents of anomaly jobs: their index, their shape and ids, and the results APIs that read them.

Ids and fields follow Elasticsearch's result classes (Bucket, AnomalyRecord, Influencer, BucketInfluencer), so that a
bucket that is analysed again replaces what it wrote before. `_search` on ``.ml-anomalies-*`` is an ordinary search.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from elastic_sandbox.documents.operations import BulkOperation
from elastic_sandbox.errors import ElasticError
from elastic_sandbox.ml.anomaly.analysis import Bucket
from elastic_sandbox.ml.anomaly.config import RESULTS_PREFIX
from elastic_sandbox.ml.anomaly.detection import Finding
from elastic_sandbox.ml.anomaly.detectors import FUNCTIONS
from elastic_sandbox.ml.anomaly.tails import score_of

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

_TOGETHER: Final = 0.3
"""`y` of a bucket or influencer: its largest, and this much of log10 of how many there are."""
_BULK: Final = 400
_KINDS: Final = {
    "long": "event_count bucket_span processing_time_ms processed_record_count processed_field_count input_bytes "
    "input_field_count invalid_date_count missing_field_count out_of_order_timestamp_count empty_bucket_count "
    "sparse_bucket_count bucket_count input_record_count model_bytes peak_model_bytes model_bytes_exceeded "
    "model_bytes_memory_limit total_by_field_count total_over_field_count total_partition_field_count "
    "bucket_allocation_failures_count snapshot_doc_count forecast_memory_bytes",
    "integer": "detector_index",
    "double": "actual typical anomaly_score initial_anomaly_score raw_anomaly_score record_score initial_record_score "
    "influencer_score initial_influencer_score probability multi_bucket_impact forecast_lower forecast_upper "
    "forecast_prediction forecast_progress total_bucket_processing_time_ms minimum_bucket_processing_time_ms "
    "maximum_bucket_processing_time_ms average_bucket_processing_time_ms search_count total_search_time_ms",
    "date": "timestamp log_time last_data_time earliest_record_timestamp latest_record_timestamp "
    "latest_empty_bucket_timestamp latest_sparse_bucket_timestamp latest_bucket_timestamp latest_record_time_stamp "
    "latest_result_time_stamp forecast_create_timestamp forecast_expiry_timestamp forecast_start_timestamp "
    "forecast_end_timestamp",
    "boolean": "is_interim retain",
    "keyword": "job_id result_type function function_description field_name by_field_name by_field_value "
    "over_field_name over_field_value partition_field_name partition_field_value influencer_field_name "
    "influencer_field_value scheduled_events snapshot_id min_version memory_status categorization_status "
    "forecast_id forecast_status",
    "text": "description",
}
_TYPE_OF: Final = {name: kind for kind, names in _KINDS.items() for name in names.split()}


def _nested(names: str) -> dict[str, Any]:
    return {"type": "nested", "properties": {name: {"type": _TYPE_OF.get(name, "keyword")} for name in names.split()}}


MAPPING: Final[dict[str, Any]] = {
    "_meta": {"version": "12.0.0", "managed_index_mappings_version": 1},
    # YAML test ml_anomalies_default_mappings: a field nobody foresaw is a keyword.
    "dynamic_templates": [
        {"map_objects": {"match_mapping_type": "object", "mapping": {"type": "object"}}},
        {"non_objects_as_keywords": {"match": "*", "mapping": {"type": "keyword"}}},
    ],
    "properties": {
        **{name: {"type": kind} for name, kind in _TYPE_OF.items()},
        "bucket_influencers": _nested(
            "job_id result_type influencer_field_name anomaly_score initial_anomaly_score raw_anomaly_score "
            "probability timestamp bucket_span is_interim"
        ),
        "causes": _nested(
            "probability function function_description actual typical field_name by_field_name by_field_value "
            "over_field_name over_field_value partition_field_name partition_field_value correlated_by_field_value"
        ),
        "influencers": _nested("influencer_field_name influencer_field_values"),
        "anomaly_score_explanation": {"type": "object", "enabled": False},
        "model_size_stats": {"type": "object", "enabled": False},
        "exponential_average_calculation_context": {"type": "object", "enabled": False},
    },
}


def read_alias(job_id: str) -> str:
    """The alias that shows one job's results and no others."""
    return f"{RESULTS_PREFIX}{job_id}"


def write_alias(job_id: str) -> str:
    """The alias results are written through."""
    return f"{RESULTS_PREFIX}.write-{job_id}"


def ensure_index(backend: Backend, job_id: str, suffix: str) -> None:
    """Make the results index and the job's two aliases on it, where they are missing.

    The name ends in a number since 9.1 (YAML test get_datafeed_stats: ``.ml-anomalies-shared-000001``).
    """
    name = f"{RESULTS_PREFIX}{suffix}-000001"
    with backend.lock:
        if backend.indices.get(name) is None:
            settings = {"index.hidden": True, "index.auto_expand_replicas": "0-1"}
            backend.indices.create(name, {"settings": settings, "mappings": MAPPING}, internal=True)
        index = backend.indices.get(name)
        assert index is not None
        wanted: dict[str, dict[str, Any]] = {
            read_alias(job_id): {"filter": {"term": {"job_id": {"value": job_id}}}, "is_hidden": True},
            write_alias(job_id): {"is_hidden": True},
        }
        if any(index.aliases.get(alias) != body for alias, body in wanted.items()):
            index.aliases |= wanted
            index.save()


def remove_aliases(backend: Backend, job_id: str) -> None:
    """Take the job's aliases off."""
    with backend.lock:
        for index in backend.indices.all():
            for alias in (read_alias(job_id), write_alias(job_id)):
                if index.aliases.pop(alias, None) is not None:
                    index.save()


def values_id(values: Iterable[str]) -> str:
    """What Elasticsearch makes of field values in an id: MurmurHash3 x64 128 as a number, and the length."""
    import mmh3

    joined = "".join(values)
    low, high = mmh3.hash64(joined.encode(), seed=0, x64arch=True, signed=False)
    number = (low << 64) | high
    return f"{number - (1 << 128) if number >> 127 else number}_{len(joined)}"


def documents_of(
    job_id: str, analysis: dict[str, Any], span: int, bucket: Bucket, took_ms: int
) -> list[tuple[str, dict[str, Any]]]:
    """(id, document) of everything a bucket writes: itself, its records, influencers, bucket influencers."""
    base = {"job_id": job_id, "timestamp": bucket.start, "bucket_span": span, "is_interim": bucket.interim}
    prefix = f"{job_id}_{{}}_{bucket.start}_{span}"
    records = [_record(base, analysis, finding) for finding in bucket.findings]
    documents = []
    influenced: dict[tuple[str, str], list[Finding]] = {}
    for finding, record in zip(bucket.findings, records, strict=True):
        key = values_id(record[f"{kind}_field_value"] for kind in ("by", "over", "partition")
                        if f"{kind}_field_value" in record)  # fmt: skip
        documents.append((f"{prefix.format('record')}_{finding.detector_index}_{key}", record))
        for name, values in finding.influencers.items():
            for value in values:
                influenced.setdefault((name, value), []).append(finding)
    for (name, value), findings in sorted(influenced.items()):
        score = round(float(score_of(_joint(findings))), 5)
        documents.append((
            f"{prefix.format('influencer')}_{name}_{values_id([value])}",
            {**base, "result_type": "influencer", "influencer_field_name": name, "influencer_field_value": value,
             "influencer_score": score, "initial_influencer_score": score, "probability": _least(findings),
             name: [value]},
        ))  # fmt: skip
    score = round(float(score_of(_joint(bucket.findings))), 5) if bucket.findings else 0.0
    shares = []
    if bucket.findings:
        shares.append(_bucket_influencer(base, "bucket_time", bucket.findings))
        for field in sorted({name for name, _ in influenced}):
            touched = [finding for finding in bucket.findings if field in finding.influencers]
            shares.append(_bucket_influencer(base, field, touched))
    documents += [(f"{prefix.format('bucket_influencer')}_{one['influencer_field_name']}", one) for one in shares]
    document = {
        **base, "result_type": "bucket", "anomaly_score": score, "initial_anomaly_score": score,
        "event_count": bucket.event_count, "bucket_influencers": shares, "processing_time_ms": took_ms,
    }  # fmt: skip
    if bucket.scheduled_events:
        document["scheduled_events"] = bucket.scheduled_events
    documents.append((prefix.format("bucket"), document))
    return documents


def _joint(findings: list[Finding]) -> float:
    positive = sum(finding.y > 0 for finding in findings)
    return max(finding.y for finding in findings) + _TOGETHER * float(np.log10(max(positive, 1)))


def _least(findings: list[Finding]) -> float:
    return min(finding.probability for finding in findings)


def _bucket_influencer(base: dict[str, Any], name: str, findings: list[Finding]) -> dict[str, Any]:
    score = round(float(score_of(_joint(findings))), 5)
    return {
        **base, "result_type": "bucket_influencer", "influencer_field_name": name, "anomaly_score": score,
        "initial_anomaly_score": score, "raw_anomaly_score": round(max(_joint(findings), 0.0), 5),
        "probability": _least(findings),
    }  # fmt: skip


def _record(base: dict[str, Any], analysis: dict[str, Any], finding: Finding) -> dict[str, Any]:
    detector = analysis["detectors"][finding.detector_index]
    function = FUNCTIONS[detector["function"]]
    score = round(float(score_of(finding.y)), 5)
    record: dict[str, Any] = {
        **base, "result_type": "record", "probability": finding.probability, "record_score": score,
        "initial_record_score": score, "multi_bucket_impact": round(finding.multi, 3),
        "detector_index": finding.detector_index, "function": detector["function"],
        "function_description": function.shown,
    }  # fmt: skip
    if "field_name" in detector:
        record["field_name"] = detector["field_name"]
    inputs: dict[str, list[str]] = {name: list(values) for name, values in finding.influencers.items()}
    for kind in ("partition", "by", "over"):
        name = detector.get(f"{kind}_field_name")
        if name is not None:
            value = finding.values[f"{kind}_field_value"]
            record[f"{kind}_field_name"], record[f"{kind}_field_value"] = name, value
            inputs.setdefault(name, [value])
    numbers = {"typical": [finding.typical], "actual": [finding.actual]}
    if "over_field_name" in detector:
        # A population's record carries its numbers in its causes as well; here there is one cause, the person.
        kept = {key: value for key, value in record.items() if key.endswith(("_field_name", "_field_value"))}
        cause = {"probability": finding.probability, "function": record["function"],
                 "function_description": function.shown, **numbers, **kept}  # fmt: skip
        if "field_name" in record:
            cause["field_name"] = record["field_name"]
        record["causes"] = [cause]
    record |= numbers
    if finding.influencers:
        record["influencers"] = [
            {"influencer_field_name": name, "influencer_field_values": values}
            for name, values in sorted(finding.influencers.items())
        ]
    record["anomaly_score_explanation"] = {
        "anomaly_type": "dip" if finding.actual < finding.typical else "spike",
        "single_bucket_impact": int(np.clip(round(5 - finding.multi) * 10, 0, 100)),
        "multi_bucket_impact": int(np.clip(round(5 + finding.multi) * 10, 0, 100)),
        "typical_value": finding.typical,
        "lower_confidence_bound": finding.lower,
        "upper_confidence_bound": finding.upper,
    }
    return record | {name: values for name, values in inputs.items() if name not in record}


def write(backend: Backend, job_id: str, documents: list[tuple[str, dict[str, Any]]], *, refresh: bool = False) -> None:
    """Write result documents through the job's write alias, few at a time, so that requests pass in between."""
    for at in range(0, len(documents), _BULK):
        operations = [
            BulkOperation("index", write_alias(job_id), id=doc_id, source=source, pipeline="_none")
            for doc_id, source in documents[at : at + _BULK]
        ]
        for item in backend.documents.bulk(operations):
            error = next(iter(item.values())).get("error")
            if error is not None:
                raise ElasticError(500, "status_exception", f"failed to write results of [{job_id}]: {error['reason']}")
    if refresh:
        backend.documents.refresh(backend.indices.resolve(write_alias(job_id), ignore_unavailable=True))


def delete(backend: Backend, job_id: str, query: list[dict[str, Any]]) -> int:
    """Delete the job's documents that satisfy every clause; how many."""
    indices = backend.indices.resolve(read_alias(job_id), ignore_unavailable=True)
    if not indices:
        return 0
    backend.documents.refresh(indices)
    names = ",".join(index.name for index in indices)
    matching = {"bool": {"filter": [{"term": {"job_id": job_id}}, *query]}}
    doomed = [(hit.index, hit.id) for hit in backend.documents.scan(names, matching, source=False)]
    for at in range(0, len(doomed), _BULK):
        backend.documents.bulk([BulkOperation("delete", index, id=doc_id) for index, doc_id in doomed[at : at + _BULK]])
    backend.documents.refresh(indices)
    return len(doomed)


def find(
    backend: Backend, job_id: str, query: list[dict[str, Any]], sort: list[Any], first: int = 0, size: int = 10_000
) -> tuple[int, list[dict[str, Any]]]:
    """(how many there are, one page of them as ``_source``) of the job's documents that satisfy every clause."""
    from elastic_sandbox.search.request import parse_body

    indices = backend.indices.resolve(read_alias(job_id), ignore_unavailable=True)
    if not indices:
        return 0, []
    body = {
        "query": {"bool": {"filter": [{"term": {"job_id": job_id}}, *query]}},
        "sort": sort, "from": first, "size": size, "track_total_hits": True,
    }  # fmt: skip
    found = backend.search.search(sorted(indices, key=lambda index: index.name), parse_body(body))["hits"]
    return found["total"]["value"], [hit["_source"] for hit in found["hits"]]
