"""What users of other tools report (Elastic's and Terraform's trackers), and the test that is named after each."""

import re
from pathlib import Path

import pytest

ROOMS = Path(__file__).parents[1]
PAINS: dict[str, dict[str, str]] = {
    "create is not idempotent": {
        "elastic/elasticsearch#128109": "test_pain_create_is_not_idempotent",
        "elastic/terraform-provider-elasticstack#520": (
            "test_terraform_provider_elasticstack_520_creating_again_is_no_conflict_and_writes_nothing"
        ),
    },
    "a datafeed cannot be updated while it runs": {
        "elastic/terraform-provider-elasticstack#813": (
            "test_terraform_provider_elasticstack_813_a_running_datafeed_is_stopped_updated_and_started_again"
        ),
    },
    "drift on start, and one resource for each state": {
        "elastic/terraform-provider-elasticstack#1557": (
            "test_terraform_provider_elasticstack_1557_starting_is_no_drift"
        ),
        "elastic/terraform-provider-elasticstack#1337": "test_pain_a_stopped_or_failed_one_stays_down",
        "elastic/terraform-provider-elasticstack#1340": (
            "test_job_and_datafeed_are_made_in_one_request_and_say_where_they_come_from"
        ),
    },
    "a stop leaves the job open": {
        "elastic/elasticsearch#74354": "test_elasticsearch_74354_and_139024_after_a_stop_the_job_is_closed_by_name",
        "elastic/elasticsearch#48931": "test_elasticsearch_48931_a_datafeed_that_does_not_stop_is_stopped_by_force",
        "elastic/elasticsearch#48931, analytics": "test_pain_a_failed_job_cannot_be_stopped",
    },
    "guesswork on memory": {
        "elastic/elasticsearch#61505, elastic/elasticsearch#44699": "test_pain_the_memory_limit_is_guesswork",
        "elastic/elasticsearch#49454": "test_pain_the_estimate_ignores_the_query",
        "elastic/kibana#60486": "test_pain_the_largest_limit_is_a_dead_end",
    },
    "a job cannot be run again": {"elastic/kibana#174125": "test_pain_a_job_cannot_be_run_again"},
    "replacing a model means editing every pipeline": {
        "elastic/elasticsearch#68922": "test_pain_replacing_a_model_means_editing_every_pipeline",
        "elastic/elasticsearch#68922, review": "test_pain_an_alias_can_only_be_read_from_the_models",
    },
    "inference pipelines": {
        "elastic/elasticsearch#100760": "test_pain_a_pipeline_before_its_model",
        "elastic/elasticsearch#129864": "test_pain_an_unhelpful_error_of_an_inference_processor",
    },
    "old snapshots block upgrades": {
        "elastic/elasticsearch#80621": (
            "test_elasticsearch_80621_beyond_replay_days_snapshots_are_released_and_partitions_refused"
        ),
    },
    "import and version skew": {
        "elastic/eland#639": "test_eland_639_what_another_version_exported_and_this_one_refuses_names_both",
        "elastic/kibana#122134": "test_kibana_122134_a_datafeed_started_again_in_real_time_stays_at_work",
    },
}


def tests_of_the_package() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(ROOMS.rglob("test_*.py")))


@pytest.mark.parametrize("pain", PAINS)
def test_a_pain_has_a_test_of_its_name(pain: str) -> None:
    written = set(re.findall(r"^def (test_\w+)\(", tests_of_the_package(), re.MULTILINE))
    assert [issue for issue, test in PAINS[pain].items() if test not in written] == []
