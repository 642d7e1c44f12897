"""Keeping an anomaly job and its datafeed, against the sandbox; each pain of other tools has a test named after it."""

from datetime import timedelta

import pytest
from harness.task_runner import crash_after

from elastic_ml.exceptions import AlreadyExistsError, InvalidRequestError, WaitTimeoutError


def kept(task):
    result = task.run()
    assert result.state == "success", result.error
    return result.value


def test_job_and_datafeed_are_made_in_one_request_and_say_where_they_come_from(sign_ins):
    sign_ins.forget()
    value = kept(sign_ins.keeper())
    assert (value["state"], value["job_id"], value["datafeed_id"]) == ("created", "sign_ins", "datafeed-sign_ins")
    assert sign_ins.writes() == ["PUT /_ml/anomaly_detectors/sign_ins"]
    config = sign_ins.config()
    about = config["custom_settings"]
    assert (about["airflow_dag"], about["airflow_task"], about["airflow_run"]) == (
        "anomalies_sign_ins", "detect", "manual__1",
    )  # fmt: skip
    assert len(about["hash"]) == 16
    assert config["allow_lazy_open"] is True
    assert config["datafeed_config"]["indices"] == ["sign-ins"]


def test_terraform_provider_elasticstack_520_creating_again_is_no_conflict_and_writes_nothing(sign_ins):
    kept(sign_ins.keeper())
    sign_ins.forget()
    assert kept(sign_ins.keeper())["state"] == "unchanged"
    assert sign_ins.writes() == []


def test_elasticsearch_128109_what_differs_is_updated_in_place_and_said(sign_ins):
    kept(sign_ins.keeper())
    sign_ins.job["description"] = "Another description"
    value = kept(sign_ins.keeper())
    assert value["state"] == "updated"
    assert value["changes"] == ['description is "Sign-ins by user" (wanted "Another description")']
    assert sign_ins.config()["description"] == "Another description"


def test_terraform_provider_elasticstack_813_a_running_datafeed_is_stopped_updated_and_started_again(sign_ins):
    sign_ins.index(days=1)
    kept(sign_ins.keeper(run="realtime"))
    assert sign_ins.states() == ("opened", "started")
    sign_ins.datafeed["query_delay"] = "90s"
    value = kept(sign_ins.keeper(run="realtime"))
    assert value["state"] == "updated"
    assert sign_ins.config()["datafeed_config"]["query_delay"] == "90s"
    assert sign_ins.states() == ("opened", "started")


def test_terraform_provider_elasticstack_1557_starting_is_no_drift(sign_ins):
    sign_ins.index(days=1)
    kept(sign_ins.keeper(run="realtime"))
    sign_ins.forget()
    assert kept(sign_ins.keeper(run="realtime"))["changes"] == []
    # Only the start is sent again, which answers that it runs; nothing is stopped.
    assert sign_ins.writes() == ["POST /_ml/datafeeds/datafeed-sign_ins/_start"]
    assert sign_ins.states() == ("opened", "started")


def test_a_memory_limit_is_raised_by_closing_and_opening_the_job(sign_ins):
    sign_ins.index(days=1)
    kept(sign_ins.keeper(run="realtime"))
    sign_ins.job["analysis_limits"] = {"model_memory_limit": "32mb"}
    kept(sign_ins.keeper(run="realtime"))
    assert sign_ins.config()["analysis_limits"]["model_memory_limit"] == "32mb"
    assert sign_ins.states() == ("opened", "started")


def test_elasticsearch_74354_and_139024_after_a_stop_the_job_is_closed_by_name(sign_ins):
    from elastic_ml.clients.elasticsearch import connect
    from elastic_ml.clients.remote_jobs import stop
    from elastic_ml.clients.settings import ElasticsearchSettings

    sign_ins.index(days=1)
    kept(sign_ins.keeper(run="realtime"))
    with connect(ElasticsearchSettings(url=sign_ins.sandbox.elasticsearch_url)) as client:
        sign_ins.forget()
        assert stop(client, "datafeed", "datafeed-sign_ins")
        assert sign_ins.writes() == [
            "POST /_ml/datafeeds/datafeed-sign_ins/_stop",
            "POST /_ml/anomaly_detectors/sign_ins/_close",
        ]
        assert sign_ins.states() == ("closed", "stopped")
        assert stop(client, "datafeed", "datafeed-sign_ins"), "stopping again is fine"
        assert stop(client, "anomaly_job", "no-such-job"), "so is what is not there"


def test_elasticsearch_48931_a_datafeed_that_does_not_stop_is_stopped_by_force(sign_ins):
    sign_ins.index(days=1)
    kept(sign_ins.keeper(run="realtime"))
    sign_ins.sandbox.faults.add(
        method="POST", path="*/_stop", status=409, type="status_exception", reason="cannot stop now"
    )
    sign_ins.datafeed["query_delay"] = "90s"
    kept(sign_ins.keeper(run="realtime"))
    stops = [r for r in sign_ins.sandbox.requests if r.path.endswith("/_stop")]
    assert stops[-1].body == {"force": True}
    assert sign_ins.config()["datafeed_config"]["query_delay"] == "90s"


def test_kibana_122134_a_datafeed_started_again_in_real_time_stays_at_work(sign_ins):
    sign_ins.index(days=1)
    kept(sign_ins.keeper(run="realtime"))
    sign_ins.client.ml.stop_datafeed(datafeed_id="datafeed-sign_ins")
    sign_ins.client.ml.close_job(job_id="sign_ins")
    kept(sign_ins.keeper(run="realtime"))
    assert sign_ins.states() == ("opened", "started")


def test_what_somebody_edited_by_hand_stays_until_the_file_changes(sign_ins, caplog):
    kept(sign_ins.keeper())
    rule = {"conditions": [{"applies_to": "actual", "operator": "lt", "value": 3.0}]}
    sign_ins.client.ml.update_job(job_id="sign_ins", detectors=[{"detector_index": 0, "custom_rules": [rule]}])
    sign_ins.forget()
    value = kept(sign_ins.keeper())
    assert value["state"] == "edited by hand"
    assert "custom_rules" in value["changes"][0]
    assert sign_ins.writes() == []
    assert kept(sign_ins.keeper(overwrite_edited=True))["state"] == "updated"
    assert not sign_ins.config()["analysis_config"]["detectors"][0].get("custom_rules")


def test_settings_that_kibana_keeps_on_the_job_survive_an_update(sign_ins):
    kept(sign_ins.keeper())
    mine = {**sign_ins.config()["custom_settings"], "custom_urls": [{"url_name": "runbook"}]}
    sign_ins.client.ml.update_job(job_id="sign_ins", custom_settings=mine)
    sign_ins.job["description"] = "Another"
    kept(sign_ins.keeper())
    assert sign_ins.config()["custom_settings"]["custom_urls"] == [{"url_name": "runbook"}]


def test_a_frequency_that_left_the_file_is_taken_away_by_making_the_datafeed_anew(sign_ins):
    sign_ins.datafeed["frequency"] = "5m"
    kept(sign_ins.keeper())
    del sign_ins.datafeed["frequency"]
    assert kept(sign_ins.keeper())["state"] == "updated"
    assert "frequency" not in sign_ins.config()["datafeed_config"]
    assert kept(sign_ins.keeper())["state"] == "unchanged"


def test_a_datafeed_that_somebody_deleted_is_made_again(sign_ins):
    kept(sign_ins.keeper())
    sign_ins.client.ml.delete_datafeed(datafeed_id="datafeed-sign_ins")
    assert kept(sign_ins.keeper())["changes"] == ["the datafeed is missing"]
    assert sign_ins.config()["datafeed_config"]["datafeed_id"] == "datafeed-sign_ins"


def test_detectors_that_changed_make_a_v2_in_real_time_and_the_first_is_closed(sign_ins):
    sign_ins.index(days=1)
    kept(sign_ins.keeper(run="realtime"))
    sign_ins.job["analysis_config"]["detectors"][0]["function"] = "count"
    value = kept(sign_ins.keeper(run="realtime"))
    assert (value["job_id"], value["state"]) == ("sign_ins_v2", "created")
    assert sign_ins.states("sign_ins_v2") == ("opened", "started")
    assert sign_ins.states("sign_ins") == ("closed", "stopped")
    assert kept(sign_ins.keeper(run="realtime"))["job_id"] == "sign_ins_v2"
    sign_ins.job["analysis_config"]["bucket_span"] = "2h"
    assert kept(sign_ins.keeper())["job_id"] == "sign_ins_v3"


def test_a_job_whose_name_only_begins_alike_is_no_version(sign_ins):
    kept(sign_ins.keeper(job_id="sign_ins_very_private"))
    assert kept(sign_ins.keeper())["state"] == "created"


def test_replace_makes_the_job_anew_under_its_own_id(four_days):
    four_days.learn(0)
    four_days.job["analysis_config"]["bucket_span"] = "2h"
    value = kept(four_days.keeper(if_exists="replace"))
    assert (value["job_id"], value["state"]) == ("sign_ins", "created")
    assert four_days.config()["analysis_config"]["bucket_span"] == "2h"
    assert four_days.buckets() == []


def test_fail_refuses_a_job_that_is_there_and_reattaches_to_its_own(sign_ins):
    task = sign_ins.keeper(if_exists="fail")
    with crash_after(1, only="PUT"):
        assert task.run().state == "killed"
    assert task.run().state == "success"
    error = sign_ins.keeper(if_exists="fail").run().error
    assert isinstance(error, AlreadyExistsError)


@pytest.mark.parametrize("calls", range(1, 4))
def test_a_crash_while_a_datafeed_is_updated_is_finished_by_the_retry(sign_ins, calls):
    sign_ins.index(days=1)
    kept(sign_ins.keeper(run="realtime"))
    sign_ins.datafeed["query_delay"] = "90s"
    task = sign_ins.keeper(run="realtime")
    with crash_after(calls, only="POST "):
        assert task.run().state == "killed"
    assert task.run().state == "success"
    assert sign_ins.config()["datafeed_config"]["query_delay"] == "90s"
    assert sign_ins.states() == ("opened", "started")
    assert kept(sign_ins.keeper(run="realtime"))["state"] == "unchanged"


def test_a_lost_answer_to_the_put_makes_no_second_job(sign_ins):
    sign_ins.sandbox.faults.add(method="PUT", path="/_ml/anomaly_detectors/*", action="cut_after")
    assert kept(sign_ins.keeper())["state"] == "unchanged"
    assert sign_ins.client.ml.get_jobs(job_id="_all")["count"] == 1


def test_a_look_back_finishes_its_last_bucket_and_closes_the_job(four_days):
    value = kept(four_days.keeper(run="lookback", start="2026-03-02T00:00:00Z", end="2026-03-03"))
    assert (value["start"], value["end"]) == ("2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z")
    assert four_days.buckets() == four_days.expected_buckets(days=1)
    assert four_days.states() == ("closed", "stopped")


def test_a_look_back_without_an_end_is_refused(sign_ins):
    assert isinstance(sign_ins.keeper(run="lookback").run().error, InvalidRequestError)


def test_an_index_that_is_not_there_is_said_before_anything_is_started(sign_ins):
    sign_ins.datafeed["indices"] = ["utopia"]
    error = sign_ins.keeper(run="lookback", end="2026-03-03").run().error
    assert "utopia" in str(error)
    assert sign_ins.states() == ("closed", "stopped")


def test_real_time_waits_without_a_slot_for_a_node_and_the_deadline_closes_the_job(sign_ins):
    sign_ins.sandbox.faults.lazy_assignment = True
    task = sign_ins.keeper(run="realtime", deferrable=True, timeout=timedelta(seconds=0.3))
    result = task.run()
    assert result.state == "deferred", result.error
    assert result.deferral.trigger_kwargs["kind"] == "anomaly_job"
    assert sign_ins.states() == ("opening", "stopped")
    result = task.resume(task.fire())
    assert isinstance(result.error, WaitTimeoutError)
    assert sign_ins.states() == ("closed", "stopped")


def test_a_job_that_is_being_reset_is_waited_for(sign_ins):
    from elastic_ml.clients.anomaly_jobs import get_job
    from elastic_ml.exceptions import LockHeldError

    class Busy:
        class ml:  # noqa: N801 - the client's own name
            @staticmethod
            def get_jobs(job_id):
                return {"jobs": [{"job_id": job_id, "blocked": {"reason": "reset", "task_id": "n:1"}}]}

    with pytest.raises(LockHeldError, match="busy with: reset"):
        get_job(Busy(), "sign_ins")  # type: ignore[arg-type]
