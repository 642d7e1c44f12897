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
        "elastic/elasticsearch#138010, elastic/elasticsearch#138634, elastic/elasticsearch#139024": (
            "test_elasticsearch_74354_and_139024_after_a_stop_the_job_is_closed_by_name"
        ),
        "elastic/elasticsearch#145283": "test_a_look_back_finishes_its_last_bucket_and_closes_the_job",
        "elastic/elasticsearch#48931": "test_elasticsearch_48931_a_datafeed_that_does_not_stop_is_stopped_by_force",
        "elastic/elasticsearch#48931, analytics": "test_pain_a_failed_job_cannot_be_stopped",
    },
    "guesswork on memory": {
        "elastic/elasticsearch#61505, elastic/elasticsearch#44699": "test_pain_the_memory_limit_is_guesswork",
        "elastic/elasticsearch#49454": "test_pain_the_estimate_ignores_the_query",
        "elastic/kibana#60486": "test_pain_the_largest_limit_is_a_dead_end",
    },
    "a job cannot be run again": {
        "elastic/kibana#174125, elastic/kibana#80825": "test_pain_a_job_cannot_be_run_again",
    },
    "replacing a model means editing every pipeline": {
        "elastic/elasticsearch#68922": "test_pain_replacing_a_model_means_editing_every_pipeline",
        "elastic/elasticsearch#68922, review": "test_pain_an_alias_can_only_be_read_from_the_models",
    },
    "inference pipelines": {
        "elastic/elasticsearch#100760": "test_pain_a_pipeline_before_its_model",
        "elastic/elasticsearch#129864": "test_pain_an_unhelpful_error_of_an_inference_processor",
        "elastic/elasticsearch#127022": (
            "test_elasticsearch_127022_an_event_without_its_inputs_is_scored_alike_each_time_and_never_fails"
        ),
    },
    "old snapshots block upgrades": {
        "elastic/elasticsearch#134541": (
            "test_elasticsearch_134541_a_results_index_that_is_read_only_is_named_with_the_remedy_and_not_retried"
        ),
        "elastic/elasticsearch#80621, elastic/elasticsearch#78382": (
            "test_elasticsearch_80621_beyond_replay_days_snapshots_are_released_and_partitions_refused"
        ),
    },
    "import and version skew": {
        "elastic/eland#708": "test_eland_708_one_package_works_with_every_minor_version_alike",
        "elastic/eland#639": "test_eland_639_what_another_version_exported_and_this_one_refuses_names_both",
        "elastic/kibana#122134": "test_kibana_122134_a_datafeed_started_again_in_real_time_stays_at_work",
    },
}


NOT_OURS = {
    "elastic/kibana#93392": "the aliases of models in Kibana's own lists",
    "elastic/elasticsearch#109407": "deployments of PyTorch models, which this package leaves out",
}
REPORTED = {
    "elastic/eland": {639, 708},
    "elastic/elasticsearch": {
        44699, 48931, 49454, 61505, 68922, 74354, 78382, 80621, 100760, 109407, 127022, 128109, 129864, 134541, 138010,
        138634, 139024, 145283,
    },
    "elastic/kibana": {60486, 80825, 93392, 122134, 174125},
    "elastic/terraform-provider-elasticstack": {520, 813, 1337, 1340, 1557},
}  # fmt: skip
"""Every issue and pull request that the reference names under "What users hit"."""
REFERENCE = Path(__file__).parents[4] / "shared" / "reference" / "elasticsearch.md"
ISSUE = re.compile(r"(elastic/[\w-]+)#(\d+)")


def package_tests() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(ROOMS.rglob("test_*.py")))


@pytest.mark.parametrize("pain", PAINS)
def test_a_pain_has_a_test_of_its_name(pain: str) -> None:
    written = set(re.findall(r"^def (test_\w+)\(", package_tests(), re.MULTILINE))
    assert [issue for issue, test in PAINS[pain].items() if test not in written] == []


def test_no_issue_is_forgotten() -> None:
    told = set(ISSUE.findall(" ".join(key for pain in PAINS.values() for key in pain) + " ".join(NOT_OURS)))
    assert {(repository, str(number)) for repository, numbers in REPORTED.items() for number in numbers} == told


def test_the_list_is_that_of_the_reference() -> None:
    if not REFERENCE.is_file():
        pytest.skip("the reference is not beside this checkout")
    section = REFERENCE.read_text(encoding="utf-8").split("## 22. What users hit")[1].split("\n## ")[0]
    named: dict[str, set[int]] = {}
    for repository, number in ISSUE.findall(section):
        named.setdefault(repository, set()).add(int(number))
    assert named == REPORTED
