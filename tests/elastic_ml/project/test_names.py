"""Names, exactly as the design lists them for LendPath."""

from datetime import date
from pathlib import Path

import pytest

from elastic_ml.project import Names, load_project

INCLUDE = Path(__file__).parents[3] / "include"
WEBSHOP = Path(__file__).parent / "webshop"
JOB = "audit_fraud-20261110-1a2b3c4d"


@pytest.fixture(scope="module")
def names() -> Names:
    return load_project(INCLUDE).names


def test_streams(names: Names):
    assert [stream.name for stream in names.audit_streams] == [
        "logs-ping_one.audit-lendpath",
        "logs-oracle.database_audit-lendpath",
        "logs-lendpath.audit-lendpath",
    ]
    assert all(stream.managed for stream in names.audit_streams)
    assert names.labels_stream == "logs-lendpath.labels-lendpath"
    assert names.operations_streams == [
        "logs-ml.registry-default",
        "logs-ml.predictions-default",
        "logs-ml.drift-default",
        "logs-ml.alerts-default",
        "logs-ml.health-default",
        "logs-ml.dead_letter-default",
    ]
    assert names.history_index(names.audit_streams[0].name, "2024.03", 1) == (
        "history-logs-ping_one.audit-lendpath-2024.03-1"
    )


def test_own_indices(names: Names):
    assert (names.ledger, names.labels, names.baselines, names.model_cards) == (
        "ml-ledger",
        "ml-labels",
        "ml-baselines",
        "ml-model-cards",
    )


def test_templates_policies_and_pipelines(names: Names):
    assert (names.audit_template, names.labels_template, names.ml_logs_template) == (
        "lendpath-audit",
        "lendpath-labels",
        "ml-logs",
    )
    assert (names.audit_mappings, names.audit_settings, names.audit_custom) == (
        "lendpath-audit@mappings",
        "lendpath-audit@settings",
        "lendpath-audit@custom",
    )
    assert (names.audit_policy, names.ml_logs_policy) == ("lendpath-audit", "ml-logs")
    assert (names.audit_normalize, names.audit_score, names.ml_logs_normalize) == (
        "lendpath-audit@normalize",
        "lendpath-audit@score",
        "ml-logs@normalize",
    )
    assert names.score_pipeline("audit_fraud") == "audit_fraud@score"
    assert names.label_pipeline("audit_fraud") == "audit_fraud@label"
    assert names.rescore_pipeline("audit_fraud") == "audit_fraud@rescore"
    assert names.enrich_policy("by_event", "1a2b3c4d5e6f") == "ml-labels-by-event-1a2b3c4d"
    assert names.enrich_policy("by_user_hour", "1a2b3c4d5e6f") == "ml-labels-by-user-hour-1a2b3c4d"


def test_user_hours(names: Names):
    assert (names.features, names.features_template) == ("features-lendpath.user_hour", "lendpath-features")
    assert (names.features_prepare, names.features_score) == (
        "features-lendpath.user_hour@prepare",
        "features-lendpath.user_hour@score",
    )
    assert names.month_transform("2026.03") == "features-lendpath.user_hour-2026.03"
    assert load_project(WEBSHOP).names.features is None


def test_names_of_one_training(names: Names):
    assert names.job_id("audit_fraud", date(2026, 11, 10), "1a2b3c4d5e6f") == JOB
    assert names.job_id("audit_fraud", "2026-11-10", "1a2b3c4d5e6f") == JOB
    assert (names.train_index(JOB), names.holdout_index(JOB), names.results_index(JOB)) == (
        f"ml-train-{JOB}",
        f"ml-holdout-{JOB}",
        f"ml-results-{JOB}",
    )
    assert (names.training_pipeline(JOB), names.holdout_pipeline(JOB)) == (f"{JOB}@training", f"{JOB}@holdout")
    assert (names.champion("audit_fraud"), names.previous("audit_fraud")) == (
        "audit_fraud_champion",
        "audit_fraud_previous",
    )
    assert names.results_alias("user_outliers") == "user_outliers_results"


def test_a_job_of_the_longest_model_name_fits_into_64_characters(names: Names):
    assert len(names.job_id("a" * 30, date(2026, 11, 10), "f" * 16)) <= 64


def test_assets_dags_and_ledger(names: Names):
    assert names.candidate_asset("audit_fraud") == (
        "ml_audit_fraud_candidate",
        "elasticsearch://elasticsearch_default/ml_audit_fraud_candidate",
    )
    assert names.drift_asset("audit_fraud")[0] == "ml_audit_fraud_drift"
    assert (names.dag_id("elastic_setup"), names.dag_id("train", "audit_fraud")) == (
        "elastic_setup",
        "train_audit_fraud",
    )
    assert names.partition_id("internal", "2026-11-10") == "partition|internal|2026-11-10"
    assert names.partition_label("internal", "2026-11-10") == "internal|2026-11-10"
    assert names.lock_id("model|audit_fraud") == "lock|model|audit_fraud"


def test_two_environments_share_no_name():
    here, there = load_project(INCLUDE).names, load_project(WEBSHOP).names

    def cluster_wide(names: Names) -> set[str]:
        return {
            *names.operations_streams,
            names.labels_stream,
            *(stream.name for stream in names.audit_streams),
            *(names.ledger, names.labels, names.baselines, names.model_cards),
            *(names.audit_template, names.labels_template, names.ml_logs_template),
            *(names.audit_normalize, names.audit_score, names.ml_logs_normalize),
        }

    assert cluster_wide(here).isdisjoint(cluster_wide(there))


def test_an_unmanaged_stream_keeps_its_own_namespace_and_names_its_hook():
    stream = load_project(WEBSHOP).names.audit_streams[1]
    assert (stream.name, stream.managed, stream.custom_pipeline) == (
        "logs-auth0.logs-prod",
        False,
        "logs-auth0.logs@custom",
    )
