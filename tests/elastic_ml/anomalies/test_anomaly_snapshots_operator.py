"""Taking an anomaly job back to a snapshot by hand, against the sandbox."""

from harness.task_runner import TaskRunner, crash_after

from elastic_ml.exceptions import LicenseError, NotFoundError, VersionError
from elastic_ml.operators.anomaly_snapshots import RevertModelSnapshotOperator
from elastic_sandbox.testing import serve


def revert(world, snapshot, **more):
    return world.runner(RevertModelSnapshotOperator, job_id="sign_ins", snapshot_id=snapshot, **more)


def test_the_job_goes_back_and_the_next_partition_learns_again_what_came_after(four_days):
    four_days.learn(0, 1)
    [first, _] = four_days.learnt()["2026-03-03"]
    result = revert(four_days, first).run()
    assert result.value == {
        "job_id": "sign_ins", "snapshot_id": first, "reverted": True,
        "latest_record": 1772494200000, "latest_result": result.value["latest_result"],
    }  # fmt: skip
    assert len(four_days.buckets()) < 25
    assert four_days.learn(2)["partitions"] == 2
    assert four_days.buckets() == four_days.expected_buckets(days=3)


def test_reverting_again_changes_nothing(four_days):
    four_days.learn(0, 1)
    [first, _] = four_days.learnt()["2026-03-03"]
    revert(four_days, first).run()
    four_days.forget()
    assert revert(four_days, first).run().value["reverted"] is False
    assert four_days.writes() == []


def test_an_open_job_is_closed_for_it(four_days):
    four_days.learn(0, 1)
    four_days.keeper(run="realtime").run()
    assert four_days.states() == ("opened", "started")
    assert revert(four_days, four_days.learnt()["2026-03-03"][0]).run().state == "success"
    assert four_days.states() == ("closed", "stopped")


def test_the_empty_snapshot_takes_everything_back(four_days):
    four_days.learn(0)
    assert revert(four_days, "empty").run().state == "success"
    assert four_days.buckets() == []
    assert four_days.learn(1)["partitions"] == 2
    assert four_days.buckets() == four_days.expected_buckets(days=2)


def test_a_snapshot_that_is_not_there_is_named_and_nothing_is_sent(four_days):
    four_days.learn(0)
    four_days.forget()
    error = revert(four_days, "17").run().error
    assert isinstance(error, NotFoundError)
    assert "no model snapshot 17" in str(error)
    assert four_days.writes() == []


def test_a_crash_after_any_write_is_finished_by_the_retry(four_days):
    four_days.learn(0, 1)
    snapshots = [closing[0] for closing in four_days.learnt().values()]
    for calls in (2, 3, 4):  # closed, recorded, reverted; the first POST reads the snapshot
        target = snapshots[calls % 2]
        task = revert(four_days, target)
        with crash_after(calls, only="POST ") as sent:
            state = task.run().state
        assert state == "killed" or len(sent) < calls, "a job at the other snapshot has less to write"
        assert task.run().state == "success"
        assert four_days.config()["model_snapshot_id"] == target
    assert four_days.learnt()["2026-03-04"][1] is None


def test_a_missing_licence_says_which(four_days):
    four_days.sandbox.faults.add(
        path="/_ml/*", status=403, type="security_exception", times=None,
        reason="current license is non-compliant for [ml]",
    )  # fmt: skip
    assert isinstance(revert(four_days, "17").run().error, LicenseError)


def test_on_serverless_it_is_refused_and_nothing_private_is_sent():
    with serve(flavor="serverless") as sandbox:
        task = TaskRunner(
            lambda: RevertModelSnapshotOperator(task_id="revert", job_id="sign_ins", snapshot_id="17"),
            connections={"elasticsearch_default": sandbox.elasticsearch_url},
        )
        assert isinstance(task.run().error, VersionError)
        assert {r.path for r in sandbox.requests} == {"/"}
