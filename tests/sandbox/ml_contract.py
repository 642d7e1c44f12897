"""The ML requests of a test, and the answers to them, against Elastic's API specification.

A module takes the fixture in with `from sandbox.ml_contract import by_the_specification` and
`pytestmark = pytest.mark.usefixtures("by_the_specification")`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from contract.deviations import deviates, numberless, unexplained
from harness.specification import CONTRACTS, specification

if TYPE_CHECKING:
    from elastic_sandbox.testing import Sandbox

_WHOLE = 1 << 30
"""Bytes of a body that are kept: all of it."""
_STATS = "$.data_frame_analytics[]"
# Beyond those of the lifecycle (tests/contract/deviations.py): problem → source.
DEVIATIONS = {
    (
        "ml.get_data_frame_analytics_stats",
        f"{_STATS}.analysis_stats.*_stats.validation_loss.fold_values[]: *",
    ): "real answers have {fold, values}",
    (
        "ml.get_data_frame_analytics_stats",
        f"{_STATS}: unknown property 'failure_reason'",
    ): "the server's GetDataFrameAnalyticsStatsAction writes it of a failed job",
    ("ml.get_trained_models", "?include: * not in enum *"): "the documentation takes a comma-separated list",
    (
        "ml.get_trained_models",
        "$.trained_model_configs[]: unknown property 'definition'",
    ): "what include=definition is for",
    (
        "ml.get_trained_models",
        "$.trained_model_configs[].metadata.feature_importance_baseline.classes: expected string, got list *",
    ): "in the documentation's example of a classification",
    (
        "ml.get_trained_models",
        "$.trained_model_configs[].metadata.feature_importance_baseline.baseline: expected string, got float *",
    ): "the server's FeatureImportanceBaseline writes a number",
    (
        "ml.infer_trained_model",
        "$.inference_results[].top_classes[].class_name: expected string, got bool *",
    ): "what prediction_field_type=boolean is for",
    (
        "ml.evaluate_data_frame",
        "$.regression.*.value: expected number, got str *",
    ): "the server's JSON writer makes texts of NaN and infinities",
    ("ml.get_buckets", "$.buckets[]: unknown property 'records'"): "what expand=true is for",
    ("ml.get_buckets", "$.buckets[]: unknown property 'scheduled_events'"): "the server's Bucket writes it",
    ("ml.get_records", "$.records[]: unknown property 'multi_bucket_impact'"): "in the documentation's example",
    ("ml.get_records", "$.records[]: unknown property 'user.name'"): "the server's AnomalyRecord writes the values of "
    "its fields under their own names",
    ("ml.get_influencers", "$.influencers[]: unknown property 'user.name'"): "so does its Influencer",
    ("ml.get_jobs", "$.jobs[]: unknown property 'model_snapshot_min_version'"): "the server's Job writes it",
    ("ml.reset_job", "$: unknown property 'task'"): "wait_for_completion=false answers a task",
    (
        "ml.reset_job",
        "$: missing required 'acknowledged'",
    ): "wait_for_completion=false answers a task",
    (
        "ml.infer_trained_model",
        "$.inference_results[]: unknown property '*'",
    ): "results are named by the model's results_field",
}


@pytest.fixture
def by_the_specification(sandbox: Sandbox) -> Iterator[None]:
    """After the test, every ML request that was accepted and every answer is looked at."""
    kept, sandbox.requests.kept = sandbox.requests.kept, _WHOLE
    yield
    sandbox.requests.kept = kept
    if not (CONTRACTS / "spec_validator.py").exists():
        return
    spec = specification()
    problems: dict[tuple[str, str], Any] = {}
    for entry in sandbox.requests.matching("*", "/_ml/*"):
        call = spec.api_of(entry.method, entry.path)
        assert call is not None, entry
        found: list[str] = []
        if entry.status is None:  # the connection was cut before an answer
            continue
        if entry.status >= 400:
            found += spec.check_error(entry.response)
        else:
            assert not entry.truncated
            found += spec.check_parameters(call.api, entry.params)
            found += spec.check_request(call.api, entry.body) + spec.check_response(call.api, entry.response)
        problems |= {(call.api, numberless(problem)): entry.response for problem in found}
    known = {p for p in problems if any(deviates(deviation, p) for deviation in DEVIATIONS)}
    left = unexplained({p: example for p, example in problems.items() if p not in known})
    assert not left, "\n".join(left)
