"""An anomaly job learns partition by partition, whatever happens in between, against the sandbox."""

from datetime import timedelta

import pytest
from harness.task_runner import WorkerKilledError, crash_after

from elastic_ml.exceptions import (
    InvalidRequestError,
    JobFailedError,
    LicenseError,
    NotReadyError,
    VersionError,
    WaitTimeoutError,
)
from elastic_ml.operators.anomaly_partition import AnomalyPartitionOperator
from elastic_sandbox.testing import serve


def test_a_partition_is_learnt_to_its_last_bucket_and_its_closing_snapshot_is_kept(four_days):
    value = four_days.learn(0)
    assert value == {
        "job_id": "sign_ins", "datafeed_id": "datafeed-sign_ins", "state": "created", "changes": [],
        "start": "2026-03-02T00:00:00Z", "end": "2026-03-03T00:00:00Z", "partitions": 1, "documents": 24,
        "reverted_to": None, "snapshot_id": value["snapshot_id"],
    }  # fmt: skip
    assert four_days.buckets() == four_days.expected_buckets(days=1)
    assert four_days.states() == ("closed", "stopped")
    assert four_days.retained() == {value["snapshot_id"]}
    assert four_days.learnt() == {"2026-03-03": [value["snapshot_id"], 24]}


def test_partitions_follow_each_other_without_a_gap(four_days):
    four_days.learn(0, 1)
    assert four_days.buckets() == four_days.expected_buckets(days=2)
    assert list(four_days.learnt()) == ["2026-03-03", "2026-03-04"]
    assert {closing[0] for closing in four_days.learnt().values()} == four_days.retained()


def test_a_partition_that_no_run_took_is_learnt_with_the_next(four_days):
    four_days.learn(0)
    value = four_days.learn(3)
    assert (value["start"], value["end"], value["documents"]) == ("2026-03-03T00:00:00Z", "2026-03-06T00:00:00Z", 72)
    assert four_days.buckets() == four_days.expected_buckets(days=4)


def test_a_job_says_which_run_feeds_it_before_its_datafeed_starts(four_days):
    # Housekeeping stops datafeeds whose run is over: of the run before it would be this one.
    four_days.learn(0)
    settings = {**four_days.config()["custom_settings"], "airflow_run": "the one before"}
    four_days.client.ml.update_job(job_id="sign_ins", custom_settings=settings)
    four_days.forget()
    four_days.learn(1)
    writes = four_days.writes()
    assert writes.index("POST /_ml/anomaly_detectors/sign_ins/_update") < writes.index(
        "POST /_ml/datafeeds/datafeed-sign_ins/_start"
    )
    assert four_days.config()["custom_settings"]["airflow_run"] == "manual__1"


def test_a_run_over_a_learnt_partition_with_the_same_documents_only_reads(four_days):
    four_days.learn(0, 1)
    four_days.forget()
    value = four_days.learn(0)
    assert (value["partitions"], value["state"], value["reverted_to"]) == (0, "unchanged", None)
    assert four_days.writes() == []


def test_a_late_document_takes_the_job_back_and_forward_to_the_newest_partition(four_days):
    four_days.learn(0, 1, 2)
    before = four_days.learnt()
    four_days.add(day=1, hour=12, times=3)
    value = four_days.learn(1)
    assert value["reverted_to"] == before["2026-03-03"][0]
    assert (value["start"], value["end"], value["partitions"]) == ("2026-03-03T00:00:00Z", "2026-03-05T00:00:00Z", 2)
    assert four_days.buckets() == four_days.expected_buckets(days=3, extra={"2026-03-03T12": 3})
    after = four_days.learnt()
    assert after["2026-03-03"] == before["2026-03-03"]
    assert [documents for _, documents in after.values()] == [24, 27, 24]
    # The snapshots of the past that was replaced may be pruned again.
    assert four_days.retained() == {closing[0] for closing in after.values()}


def test_the_first_partition_is_run_again_from_an_empty_model(four_days):
    four_days.learn(0, 1)
    four_days.add(day=0)
    assert four_days.learn(0)["reverted_to"] == "empty"
    assert four_days.buckets() == four_days.expected_buckets(days=2, extra={"2026-03-02T12": 1})


def test_a_partition_before_the_first_one_is_learnt_from_an_empty_model_up_to_the_newest(four_days):
    four_days.learn(2)
    value = four_days.learn(0)
    assert (value["reverted_to"], value["partitions"]) == ("empty", 3)
    assert four_days.buckets() == four_days.expected_buckets(days=3)
    four_days.forget()
    four_days.learn(1)  # what lay between was learnt on the way
    assert four_days.writes() == []


def test_always_learns_again_although_nothing_was_added(four_days):
    four_days.learn(0, 1)
    value = four_days.learn(1, replay="always")
    assert value["partitions"] == 1
    assert value["reverted_to"] is not None
    assert four_days.buckets() == four_days.expected_buckets(days=2)


def test_elasticsearch_80621_beyond_replay_days_snapshots_are_released_and_partitions_refused(four_days):
    """Old snapshots block upgrades of the cluster: none is kept for longer than it is of use."""
    four_days.learn(0, 1, 2, replay_days=1)
    partitions = four_days.config()["custom_settings"]["partitions"]
    assert (partitions["start"], list(partitions["ends"])) == ("2026-03-04T00:00:00Z", ["2026-03-05T00:00:00Z"])
    assert four_days.retained() == {partitions["base"], *(closing[0] for closing in partitions["ends"].values())}
    four_days.add(day=0)
    four_days.forget()
    result = four_days.learner(0, replay_days=1).run()
    assert isinstance(result.error, InvalidRequestError)
    assert "too old to be run again" in str(result.error)
    assert four_days.writes() == [], "nothing is deleted"
    four_days.add(day=2)
    value = four_days.learn(2, replay_days=1)
    assert (value["reverted_to"], value["partitions"]) == (partitions["base"], 1)


def test_a_partition_without_data_closes_the_job_and_is_recorded(sign_ins):
    """elastic/kibana#122134: a look-back that retrieves no data ends silently, the job closed."""
    sign_ins.index(days=1)
    sign_ins.learn(0)
    value = sign_ins.learn(1)
    assert value["documents"] == 0
    assert sign_ins.learnt()["2026-03-04"][1] == 0
    assert sign_ins.states() == ("closed", "stopped")
    # The quiet day has buckets too: an alarm on silence needs them.
    assert len(sign_ins.buckets()) == 48


def test_a_job_that_never_saw_data_is_recorded_as_empty_and_learns_later(sign_ins):
    assert sign_ins.learn(0)["snapshot_id"] == "empty"
    sign_ins.index(days=1)
    assert sign_ins.learn(0)["reverted_to"] == "empty"
    assert sign_ins.buckets() == sign_ins.expected_buckets(days=1)


def test_a_changed_bucket_span_gives_a_v2_that_learns_what_the_first_learnt(four_days):
    four_days.learn(0, 1)
    four_days.job["analysis_config"]["bucket_span"] = "30m"
    value = four_days.learn(2)
    assert (value["job_id"], value["state"], value["partitions"]) == ("sign_ins_v2", "created", 3)
    assert (value["start"], value["end"], value["documents"]) == ("2026-03-02T00:00:00Z", "2026-03-05T00:00:00Z", 72)
    assert list(four_days.learnt("sign_ins_v2")) == ["2026-03-03", "2026-03-04", "2026-03-05"]
    assert len(four_days.buckets("sign_ins_v2")) == 3 * 48 - 1, "the first event came half an hour after midnight"
    assert len(four_days.buckets("sign_ins")) == 2 * 24, "the first keeps its results"


def test_a_changed_datafeed_is_updated_in_place_and_what_it_now_finds_is_learnt_again(four_days):
    four_days.learn(0, 1)
    four_days.datafeed["query"] = {"bool": {"must_not": {"term": {"user": "u0"}}}}
    value = four_days.learn(1)
    assert (value["state"], value["partitions"], value["documents"]) == ("updated", 1, 16)
    assert "query" in value["changes"][0]


def test_a_partition_that_is_not_over_is_refused(sign_ins):
    error = sign_ins.learner("2099-01-01").run().error
    assert isinstance(error, NotReadyError)
    assert "2099-01-01 is not over" in str(error)


def test_a_job_with_data_and_without_a_record_is_not_taken_back_blindly(four_days):
    assert four_days.keeper(run="lookback", end="2026-03-04T00:00:00Z").run().state == "success"
    error = four_days.learner(0).run().error
    assert isinstance(error, InvalidRequestError)
    assert "do not say which snapshot" in str(error)
    four_days.learn(2)  # goes on behind what it has learnt
    assert four_days.buckets() == four_days.expected_buckets(days=3)


def test_a_snapshot_that_somebody_deleted_is_named(four_days):
    four_days.learn(0, 1)
    [gone, _] = four_days.learnt()["2026-03-03"]
    four_days.client.ml.delete_model_snapshot(job_id="sign_ins", snapshot_id=gone)
    four_days.add(day=1)
    error = four_days.learner(1).run().error
    assert isinstance(error, JobFailedError)
    assert gone in str(error)
    assert four_days.learn(0)["partitions"] == 2
    assert four_days.buckets() == four_days.expected_buckets(days=2, extra={"2026-03-03T12": 1})


def test_a_job_that_somebody_reset_learns_from_the_partition_that_is_run(four_days):
    four_days.learn(0, 1)
    four_days.client.ml.reset_job(job_id="sign_ins")
    value = four_days.learn(1)
    assert (value["partitions"], value["reverted_to"]) == (1, None)
    assert four_days.buckets() == four_days.expected_buckets(days=2)[24:]
    assert list(four_days.learnt()) == ["2026-03-04"]


def test_a_job_that_somebody_took_back_in_kibana_learns_again_what_came_after(four_days):
    four_days.learn(0, 1)
    [first, _] = four_days.learnt()["2026-03-03"]
    four_days.client.ml.revert_model_snapshot(job_id="sign_ins", snapshot_id=first, delete_intervening_results=True)
    assert four_days.learn(2)["partitions"] == 2
    assert four_days.buckets() == four_days.expected_buckets(days=3)


# Crashes ----------------------------------------------------------------------------------------------------------


def crashes(runner, limit=60):
    """Kill the worker after its 1st, then 2nd, ... write, each time in another run of the same task."""
    for calls in range(1, limit):
        task = runner(calls)
        with crash_after(calls, only="POST /_ml") as sent:
            result = task.run()
        if result.state != "killed":
            assert result.state == "success", result.error
            return
        assert len(sent) == calls
        yield calls, task
    raise AssertionError("the task does not end")


def test_a_crash_after_any_write_of_a_forward_run_gives_each_bucket_once(sign_ins):
    sign_ins.index(days=16)
    reached = 0
    for calls, task in crashes(lambda calls: sign_ins.learner(calls - 1)):
        result = task.run()
        assert result.state == "success", (calls, result.error)
        assert sign_ins.buckets() == sign_ins.expected_buckets(days=calls)
        assert sign_ins.retained() == {closing[0] for closing in sign_ins.learnt().values()}
        reached = calls
    assert reached >= 7, "open, start, open, flush, close, retain, record"
    assert sign_ins.client.ml.get_jobs(job_id="sign_ins*")["count"] == 1


def test_a_crash_while_the_job_goes_back_is_finished_by_the_retry(four_days):
    four_days.learn(0, 1)
    for times, calls in enumerate([2, 3, 4], start=1):  # closed, recorded, reverted
        four_days.add(day=1, hour=5)
        task = four_days.learner(1)
        with crash_after(calls, only="POST "):
            assert task.run().state == "killed"
        assert task.run().state == "success"
        assert four_days.buckets() == four_days.expected_buckets(days=2, extra={"2026-03-03T05": times})
        assert four_days.retained() == {closing[0] for closing in four_days.learnt().values()}
        assert [documents for _, documents in four_days.learnt().values()] == [24, 24 + times]


def test_a_replay_that_died_for_good_is_taken_up_by_the_run_of_another_partition(four_days):
    four_days.learn(0, 1)
    extra = {}
    for day, calls in ((1, 3), (2, 7)):  # before the revert, and behind it
        four_days.add(day=day)
        extra[f"2026-03-0{day + 2}T12"] = 1
        with crash_after(calls, only="POST "):
            assert four_days.learner(day).run().state == "killed"
        value = four_days.learn(day + 1)
        assert (value["partitions"], value["end"]) == (2, f"2026-03-0{day + 4}T00:00:00Z")
        assert four_days.buckets() == four_days.expected_buckets(days=day + 2, extra=extra)
        assert None not in {documents for _, documents in four_days.learnt().values()}


def test_a_lost_answer_changes_nothing(four_days):
    four_days.learn(0, 1)
    for times, path in enumerate(["_start", "_flush", "_revert"], start=1):
        four_days.add(day=1)
        four_days.sandbox.faults.add(method="POST", path=f"*/{path}", action="cut_after")
        assert four_days.learn(1)["partitions"] == 1, path
        assert four_days.buckets() == four_days.expected_buckets(days=2, extra={"2026-03-03T12": times}), path


# Waiting, killing, failing ----------------------------------------------------------------------------------------


def waiting(four_days, **more):
    """A deferred task whose job waits for a node."""
    four_days.sandbox.faults.lazy_assignment = True
    task = four_days.learner(0, deferrable=True, **more)
    result = task.run()
    assert result.state == "deferred", result.error
    return task, result


def test_a_job_that_waits_for_a_node_is_waited_for_without_a_slot(four_days):
    task, result = waiting(four_days)
    assert result.deferral.trigger_kwargs["kind"] == "datafeed"
    assert four_days.states() == ("opening", "starting")
    assert "job%3A" not in result.xcoms["_link_AnomalyExplorerLink"]
    assert result.xcoms["_link_AnomalyExplorerLink"] == (
        f"{four_days.sandbox.kibana_url}/app/ml/explorer?_g=(ml:(jobIds:!('sign_ins')),"
        "time:(from:'2026-03-02T00:00:00Z',to:'2026-03-03T00:00:00Z'))"
        "&_a=(explorer:(mlExplorerFilter:(),mlExplorerSwimlane:()))"
    )
    assert "/app/ml/timeseriesexplorer?_g=(ml:(jobIds:!('sign_ins'))" in result.xcoms["_link_SingleMetricViewerLink"]
    four_days.sandbox.faults.lazy_assignment = False
    result = task.resume(task.fire())
    while result.state == "deferred":
        result = task.resume(task.fire())
    assert result.value["partitions"] == 1
    assert four_days.buckets() == four_days.expected_buckets(days=1)


def test_killing_the_deferred_task_stops_the_datafeed_and_closes_the_job(four_days):
    task, _ = waiting(four_days)
    task.kill_deferred()
    assert four_days.states() == ("closed", "stopped")
    four_days.sandbox.faults.lazy_assignment = False
    four_days.learn(0)
    assert four_days.buckets() == four_days.expected_buckets(days=1)


class TerminatedWhileWaiting(AnomalyPartitionOperator):
    """Gets SIGTERM, whose handler calls on_kill, as soon as it waits in the worker."""

    def _over_within(self, *args):
        self.on_kill()
        raise WorkerKilledError


@pytest.mark.parametrize(
    ("cancel", "states"), [(True, ("closed", "stopped")), (False, ("opening", "starting"))], ids=["default", "left"]
)
def test_killing_the_running_task_stops_datafeed_and_job_unless_told_otherwise(four_days, cancel, states):
    four_days.sandbox.faults.lazy_assignment = True
    task = four_days.runner(
        TerminatedWhileWaiting, job_id="sign_ins", body=four_days.job, datafeed=four_days.datafeed,
        partition=four_days.day(0), cancel_on_kill=cancel,
    )  # fmt: skip
    assert task.run().state == "killed"
    assert four_days.states() == states


def test_clearing_a_deferred_task_survives_the_old_triggers_kill(four_days):
    task, _ = waiting(four_days)
    old = task.deferral
    task.clear()
    assert task.run().state == "deferred"
    with task.environment():
        old.kill()
    assert four_days.states() == ("closed", "stopped")
    four_days.sandbox.faults.lazy_assignment = False
    result = task.resume(task.fire())
    while result.state == "deferred":
        result = task.resume(task.fire())
    assert result.state == "success", result.error
    assert four_days.buckets() == four_days.expected_buckets(days=1)


def test_the_deadline_stops_datafeed_and_job(four_days):
    task, _ = waiting(four_days, timeout=timedelta(seconds=0.3))
    result = task.resume(task.fire())
    assert isinstance(result.error, WaitTimeoutError)
    assert four_days.states() == ("closed", "stopped")


def test_upgrade_mode_is_waited_for(four_days):
    four_days.learn(0)
    four_days.client.ml.set_upgrade_mode(enabled=True)
    task = four_days.learner(1, deferrable=True)
    result = task.run()
    assert result.deferral.trigger_kwargs["kind"] == "upgrade_mode"
    four_days.client.ml.set_upgrade_mode(enabled=False)
    result = task.resume(task.fire())
    while result.state == "deferred":
        result = task.resume(task.fire())
    assert result.value["partitions"] == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_burst_of_refusals_is_survived_by_the_clients_retries(four_days, status):
    four_days.sandbox.faults.add(path="/_ml/*", status=status, times=2)
    four_days.learn(0)
    assert four_days.buckets() == four_days.expected_buckets(days=1)


def test_a_missing_licence_says_which(four_days):
    four_days.sandbox.faults.add(
        path="/_ml/*", status=403, type="security_exception", times=None,
        reason="current license is non-compliant for [ml]",
    )  # fmt: skip
    error = four_days.learner(0).run().error
    assert isinstance(error, LicenseError)
    assert "Platinum" in str(error)


def test_a_job_that_failed_is_told_and_the_retry_takes_it_back_to_where_it_was_sound(four_days):
    four_days.learn(0)
    flood = four_days.sandbox.faults
    flood.flood_stage_pattern = ".ml-anomalies-*"
    task = four_days.learner(1, retries=1)
    error = task.run().error
    assert isinstance(error, JobFailedError), error
    assert "sign_ins is failed" in str(error)
    flood.flood_stage_pattern = None
    assert task.run().state == "success"
    assert four_days.buckets() == four_days.expected_buckets(days=2)


def test_a_datafeed_that_somebody_stops_goes_on_once_then_says_so(four_days):
    task, _ = waiting(four_days)
    four_days.client.ml.stop_datafeed(datafeed_id="datafeed-sign_ins")
    result = task.resume(task.fire())
    assert result.state == "deferred", "started again"
    four_days.client.ml.stop_datafeed(datafeed_id="datafeed-sign_ins")
    error = task.resume(task.fire()).error
    assert isinstance(error, JobFailedError)
    assert "ended at nothing, and there are documents up to 2026-03-02T23:30:00Z" in str(error)


def test_on_serverless_partitions_are_refused_and_nothing_private_is_sent():
    from harness.task_runner import TaskRunner

    with serve(flavor="serverless") as sandbox:
        task = TaskRunner(
            lambda: AnomalyPartitionOperator(
                task_id="detect", job_id="sign_ins", body={"a": 1}, datafeed={"b": 1}, partition="2026-03-02"
            ),
            connections={"elasticsearch_default": sandbox.elasticsearch_url},
        )
        error = task.run().error
        assert isinstance(error, VersionError)
        assert "mode: realtime" in str(error)
        assert {r.path for r in sandbox.requests} == {"/"}
