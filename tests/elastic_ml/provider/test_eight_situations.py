"""Every operator and sensor in each of eight situations: walked by class, so that a new one cannot leave any out.

A test of each stands in `test_situations_of_all.py` where it is the same for all, is named here, or is the matrix of
`make chaos`, which runs each task of each DAG, runs it again, and kills it after each of its writes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from airflow.sdk import BaseOperator
from harness.operator_specimens import ELASTIC, STOPPABLE, of_dags
from harness.provider_classes import concrete
from matrix.story import STORY
from matrix.world import write_project

from elastic_ml.sensors.look import LookSensor

TESTS = Path(__file__).parents[2]
SITUATIONS = ("happy path", "already done", "crash", "kill", "deadline", "burst", "licence", "unknown state")
MATRIX = "test_each_task_run_twice_changes_nothing_and_killed_anywhere_is_finished"
BURST = "test_a_burst_is_sat_out_and_a_missing_licence_is_named_and_not_retried"
STOPS = "test_what_a_task_waits_for_is_stopped"
STATES = "test_a_state_of_a_newer_server_fails_that_task_and_no_other"
ASSET = "test_it_is_made_once_and_left_alone_afterwards"
READS, BASIC = "- it only reads", "- a Basic licence is enough"
ONE_ANSWER = "- everything it asked for is over when it is answered"
OF_ALL_KIBANA: Mapping[str, str] = {
    "happy path": ASSET, "already done": ASSET, "crash": "test_a_lost_answer_to_a_creation_makes_no_second_one",
    "burst": "test_a_burst_of_refusals_is_sat_out",
    "licence": "test_what_a_kibana_cannot_take_fails_or_skips_with_a_sentence",
}  # fmt: skip
DATA = "test_data_that_does_not_come_is_named_at_the_deadline"
ALONE = "test_what_works_in_kibana_alone_sits_out_a_burst"
ROW: Mapping[str, Mapping[str, str]] = {
    "AnomalyCalendarsOperator": {
        "happy path": "test_everything_is_created_before_the_job_exists",
        "already done": "test_a_second_run_writes_nothing",
        "crash": "test_a_worker_that_dies_after_any_request_leaves_each_event_once",
    },
    "AnomalyDataSensor": {"deadline": DATA},
    "AnomalyForecastOperator": {
        "happy path": "test_a_closed_job_is_opened_forecast_and_closed",
        "already done": "test_a_second_run_makes_no_second_forecast",
        "crash": "test_a_worker_that_dies_after_any_request_leaves_one_forecast_and_a_closed_job",
    },
    "AnomalyJobOperator": {
        "happy path": "test_job_and_datafeed_are_made_in_one_request_and_say_where_they_come_from",
        "already done": "test_terraform_provider_elasticstack_520_creating_again_is_no_conflict_and_writes_nothing",
        "crash": "test_a_crash_while_a_datafeed_is_updated_is_finished_by_the_retry",
    },
    "AnomalyPartitionOperator": {
        "happy path": "test_a_partition_is_learnt_to_its_last_bucket_and_its_closing_snapshot_is_kept",
        "already done": "test_a_run_over_a_learnt_partition_with_the_same_documents_only_reads",
        "crash": "test_a_crash_after_any_write_of_a_forward_run_gives_each_bucket_once",
    },
    "AnomalyRecordsSensor": {
        "happy path": "test_a_record_that_is_there_is_returned_at_once", "already done": READS, "crash": READS,
        "deadline": "test_a_wait_that_is_over_fails_or_skips",
    },
    "ApplyObjectsOperator": {
        "happy path": "test_plan_writes_nothing_apply_everything_and_verify_finds_it",
        "already done": "test_pain_create_is_not_idempotent",
        "crash": "test_a_worker_that_dies_after_any_answer_leaves_what_the_next_try_finishes",
    },
    "BatchTransformOperator": {
        "happy path": "test_a_month_is_written_and_its_transform_deleted",
        "already done": "test_a_month_under_bursts_is_written_once_and_written_again_the_same",
        "crash": "test_a_worker_that_dies_after_any_request_leaves_one_month_and_no_transform",
    },
    "BulkIngestOperator": {"kill": "test_a_killed_task_gives_its_lease_up"},
    "DataFrameAnalyticsOperator": {
        "happy path": "test_a_job_is_made_trained_and_its_model_returned",
        "already done": "test_a_run_over_a_finished_job_only_reads",
        "crash": "test_a_crash_after_any_request_gives_one_put_and_one_start",
    },
    "ElasticsearchApiOperator": {
        "happy path": "test_the_answer_is_the_result_and_arguments_are_templated",
        "already done": "- it sends what it is told; whether twice is once is the method's own",
        "crash": "test_a_crash_right_after_the_start_finds_the_task_again",
    },
    "EsqlCheckOperator": {
        "happy path": "test_a_check_wants_every_cell_to_be_true", "already done": READS, "crash": READS,
    },
    "EsqlQueryOperator": {
        "happy path": "test_rows_come_back_as_dictionaries", "already done": READS, "crash": READS,
    },
    "EsqlThresholdSensor": {
        "happy path": "test_a_threshold_that_is_met_needs_no_wait", "already done": READS, "crash": READS,
        "deadline": "test_a_trigger_ends_at_its_deadline_and_the_task_says_why",
    },
    "ExecuteEnrichPolicyOperator": {
        "happy path": "test_an_execution_makes_new_documents_joinable",
        "already done": "test_a_try_after_a_crash_executes_once_more_and_needs_no_task",
        "crash": "test_a_try_after_a_crash_executes_once_more_and_needs_no_task",
    },
    "ImportModelOperator": {
        "burst": "test_every_task_under_bursts_leaves_links_that_lead_to_a_page",
        "licence": "- it sends nothing before its file was read, and its first request is as everybody's",
    },
    "KibanaConnectorOperator": OF_ALL_KIBANA,
    "KibanaDataViewOperator": {**OF_ALL_KIBANA, "licence": BASIC},
    "KibanaDeployOperator": {"burst": ALONE, "licence": "test_everything_works_on_9_2_with_a_basic_licence"},
    "KibanaImportOperator": {
        "happy path": "test_a_bundle_is_imported_and_imported_again",
        "already done": "test_a_bundle_is_imported_and_imported_again",
        "crash": "- one request, which may be sent again", "burst": "test_an_import_sits_out_a_burst", "licence": BASIC,
    },
    "KibanaMlSyncOperator": {
        "happy path": "test_jobs_are_shown_in_kibana", "already done": "test_jobs_are_shown_in_kibana",
        "crash": "- one request, which may be sent again", "burst": ALONE,
        "licence": "test_a_sync_that_fails_fails_the_task_only_when_asked",
    },
    "KibanaRuleOperator": OF_ALL_KIBANA,
    "MonitoredDaySensor": {"deadline": DATA},
    "PromotionApprovalOperator": {
        "burst": "- it asks a person, and no cluster", "licence": "- it asks a person, and no cluster",
        "deadline": "test_silence_is_a_rejection",
    },
    "ReindexOperator": {
        "happy path": "test_documents_are_copied_and_counted",
        "already done": "test_running_it_again_copies_nothing_twice",
        "crash": "test_a_crash_after_any_request_leaves_one_task_and_no_duplicate",
    },
    "RevertModelSnapshotOperator": {
        "happy path": "test_the_job_goes_back_and_the_next_partition_learns_again_what_came_after",
        "already done": "test_reverting_again_changes_nothing",
        "crash": "test_a_crash_after_any_write_is_finished_by_the_retry",
    },
    "TrainingDataSensor": {"deadline": DATA},
}  # fmt: skip
"""What a class has beside what all have: a test by its name, or `-` and why it does not apply."""


def standing(cls: type[BaseOperator], in_matrix: set[str]) -> dict[str, str]:
    """What all classes of a kind have."""
    found: dict[str, str] = {}
    if cls.__name__ in in_matrix:
        found |= dict.fromkeys(("happy path", "already done", "crash"), MATRIX)
    if cls.__name__ in ELASTIC:
        found |= {"burst": BURST, "licence": BURST}
    if cls.__name__ in STOPPABLE:
        kind = STOPPABLE[cls.__name__]
        states = "- tasks have no state: they run, or are over" if kind == "task" else STATES
        return {**found, "kill": STOPS, "deadline": STOPS, "unknown state": states}
    if issubclass(cls, LookSensor):
        return {**found, "kill": "- it starts nothing", "unknown state": "- it reads no job's state"}
    return {**found, "kill": ONE_ANSWER, "deadline": ONE_ANSWER, "unknown state": "- it waits for nothing that has one"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("situations")
    write_project(folder)
    return folder


@cache
def written() -> set[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    return set(re.findall(r"^(?:async )?def (test_\w+)\(", text, re.MULTILINE))


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_class_has_a_test_of_it_or_a_reason_for_none(situation: str, home: Path) -> None:
    told = {(step.dag, step.task) for step in STORY}
    in_matrix = {name for name, (task, _) in of_dags(home).items() if (task.dag_id, task.task_id) in told}
    missing, reasons = [], 0
    for name, cls in concrete().items():
        entry = {**standing(cls, in_matrix), **ROW.get(name, {})}.get(situation, "")
        reasons += entry.startswith("- ")
        if not entry.startswith("- ") and entry not in written():
            missing.append(f"{name}: {entry or 'nothing'}")
    assert missing == []
    assert set(ROW) <= set(concrete()), "a class that is gone"
    assert reasons < len(concrete()), "nobody is in this situation"


def test_every_kind_of_work_with_states_is_asked_for_one_that_nobody_knows() -> None:
    from elastic_ml.clients import job_states

    read = (TESTS / "elastic_ml" / "provider" / "test_stumbling_cluster.py").read_text(encoding="utf-8")
    kinds = {getattr(job_states, name) for name in ("ANALYTICS", "ANOMALY_JOB", "DATAFEED", "FORECAST", "TRANSFORM")}
    assert {kind for kind in kinds if f'    "{kind}": (' not in read} == set()
    waits = {job_states.TASK, job_states.UPGRADE_MODE, job_states.PAUSE}
    assert set(job_states.KINDS) - {job_states.REQUEST} == kinds | waits
