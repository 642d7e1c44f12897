"""What each answer of a cluster means to Airflow: try again, or fail at once; by real answers over HTTP."""

import json
from pathlib import Path

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.serialization.serialized_objects import DagSerialization
from harness.task_runner import TaskRunner

from elastic_ml import exceptions as e
from elastic_ml.operators.api import ElasticsearchApiOperator
from elastic_ml.operators.base import RETRY_POLICY
from elastic_ml.project import load_project
from elastic_ml.stages.shared import dag_arguments

WEBSHOP = Path(__file__).parents[1] / "project" / "webshop"
FLOOD = "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark];"
ANSWERS = [
    # status, type and words of the server → our error, state of the task
    (400, "parse_exception", "unknown field", e.InvalidRequestError, "failed"),
    (400, "resource_already_exists_exception", "index [x] already exists", e.AlreadyExistsError, "failed"),
    (401, "security_exception", "unable to authenticate", e.SecurityError, "failed"),
    (403, "security_exception", "action [x] is unauthorized", e.SecurityError, "failed"),
    (403, "security_exception", "current license is non-compliant for [ml]", e.LicenseError, "failed"),
    (404, "index_not_found_exception", "no such index [x]", e.NotFoundError, "failed"),
    (409, "status_exception", "cannot close job because it failed", e.ConflictError, "up_for_retry"),
    (410, "api_not_available_exception", "not available when running in serverless mode", e.VersionError, "failed"),
    (429, "es_rejected_execution_exception", "rejected execution", e.UnavailableError, "up_for_retry"),
    (429, "cluster_block_exception", FLOOD, e.DiskFullError, "failed"),
    (502, "bad_gateway", "gateway", e.UnavailableError, "up_for_retry"),
    (503, "unavailable_shards_exception", "primary shard is not active", e.UnavailableError, "up_for_retry"),
    (504, "timeout", "gateway timeout", e.UnavailableError, "up_for_retry"),
]
IDS = [f"{status}-{error.__name__}" for status, _, _, error, _ in ANSWERS]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("elastic_ml.clients.elasticsearch.BACKOFF_BASE_SECONDS", 0.001)


def run(url: str) -> tuple[str, BaseException | None]:
    runner = TaskRunner(
        lambda: ElasticsearchApiOperator(task_id="t", api="count", arguments={"index": "x"}, retries=2),
        connections={"elasticsearch_default": url},
        retries=2,
    )
    result = runner.run()
    return result.state, result.error


@pytest.mark.parametrize(
    ("status", "kind", "reason", "error", "state"), ANSWERS, ids=[str(a[3].__name__) for a in ANSWERS]
)
def test_an_answer_is_an_error_of_its_own_and_is_tried_again_or_not(sandbox, status, kind, reason, error, state):
    sandbox.faults.add(path="/x/_count", status=status, type=kind, reason=reason, times=None)
    found, raised = run(sandbox.elasticsearch_url)
    assert type(raised) is error
    assert (raised.status, found) == (status, state)


def test_a_cluster_that_cannot_be_reached_is_tried_again():
    state, raised = run("http://127.0.0.1:9")
    assert (type(raised), state) == (e.UnavailableError, "up_for_retry")


def test_the_policy_names_only_this_packages_errors_so_that_parsing_imports_no_client():
    names = [rule["exception"] for rule in RETRY_POLICY.serialize()["rules"]]
    assert names
    for name in names:
        module, _, cls = name.rpartition(".")
        assert module == "elastic_ml.exceptions"
        assert issubclass(getattr(e, cls), e.ElasticMLError)


def test_every_task_of_our_dags_has_the_policy_also_those_that_are_not_ours():
    arguments = dag_arguments(load_project(WEBSHOP), "A page.")
    with DAG("d", schedule=None, **arguments) as dag:
        BaseOperator(task_id="foreign")
    again = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
    assert dag.get_task("foreign").retry_policy is RETRY_POLICY
    assert again.task_ids == ["foreign"]
