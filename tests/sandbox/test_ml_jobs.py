"""Data frame analytics jobs through the official client: lifecycle, results, failures, pauses, restarts."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
from elasticsearch import ApiError, BadRequestError, ConflictError, Elasticsearch, NotFoundError
from sandbox.ml_contract import by_the_specification  # noqa: F401
from sandbox.ml_world import FEATURES, events, index_events, job_body, run_job, stats, tree_model, wait_for

if TYPE_CHECKING:
    from elastic_sandbox.testing import Sandbox

pytestmark = pytest.mark.usefixtures("by_the_specification")

PHASES = [
    "reindexing",
    "loading_data",
    "feature_selection",
    "coarse_parameter_search",
    "fine_tuning_parameters",
    "final_training",
    "writing_results",
    "inference",
]


@pytest.fixture
def es(elasticsearch: Elasticsearch) -> Elasticsearch:
    index_events(elasticsearch, events())
    return elasticsearch


def refusal(error: pytest.ExceptionInfo[ApiError]) -> str:
    return str(error.value.body["error"]["reason"])


def test_a_new_job_is_stopped_with_every_phase_at_zero(es: Elasticsearch) -> None:
    created = es.ml.put_data_frame_analytics(id="job", **job_body())
    assert created["id"] == "job"
    assert created["analyzed_fields"] == {"includes": ["label", *FEATURES], "excludes": []}
    found = stats(es, "job")
    assert found["state"] == "stopped"
    assert found["progress"] == [{"phase": phase, "progress_percent": 0} for phase in PHASES]
    assert found["data_counts"] == {"training_docs_count": 0, "test_docs_count": 0, "skipped_docs_count": 0}
    assert found["memory_usage"] == {"peak_usage_bytes": 0, "status": "ok"}


def test_a_finished_job_has_written_predictions_and_made_a_model(es: Elasticsearch) -> None:
    model_id = run_job(es, training_percent=80, num_top_classes=-1, num_top_feature_importance_values=2)
    found = stats(es, "job")
    assert {item["progress_percent"] for item in found["progress"]} == {100}
    assert found["data_counts"]["training_docs_count"] == 320
    assert found["data_counts"]["test_docs_count"] == 80
    assert found["memory_usage"]["peak_usage_bytes"] > 0
    reported = found["analysis_stats"]["classification_stats"]
    assert reported["hyperparameters"]["max_trees"] == 8
    assert reported["validation_loss"] == {"loss_type": "binomial_logistic"}
    verbose = es.ml.get_data_frame_analytics_stats(id="job", verbose=True)["data_frame_analytics"][0]
    assert len(verbose["analysis_stats"]["classification_stats"]["validation_loss"]["fold_values"]) == 2

    hits = es.search(index="results", size=400, sort=["_doc"])["hits"]["hits"]
    assert len(hits) == 400
    assert sum(hit["_source"]["ml"]["is_training"] for hit in hits) == 320
    result = hits[0]["_source"]["ml"]
    top = result["top_classes"]
    assert {entry["class_name"] for entry in top} == {"true", "false"}
    assert sum(entry["class_probability"] for entry in top) == pytest.approx(1.0)
    assert result["label_prediction"] == top[0]["class_name"]
    assert result["prediction_probability"] == top[0]["class_probability"]
    assert result["prediction_score"] == top[0]["class_score"] == max(entry["class_score"] for entry in top)
    assert len(result["feature_importance"]) == 2
    one, other = result["feature_importance"][0]["classes"]
    assert one["importance"] == -other["importance"]

    mapping = es.indices.get_mapping(index="results")["results"]["mappings"]
    assert mapping["properties"]["ml"]["properties"]["top_classes"]["type"] == "nested"
    assert mapping["_meta"]["created_by"] == "data-frame-analytics"
    assert model_id.startswith("job-")
    assert model_id.removeprefix("job-").isdigit()


def test_the_model_of_a_job_carries_what_is_needed_to_find_and_judge_it(es: Elasticsearch) -> None:
    model_id = run_job(es, prediction_field_name="verdict")
    model = es.ml.get_trained_models(model_id=model_id)["trained_model_configs"][0]
    assert model["tags"] == ["job"]
    assert model["created_by"] == "_xpack"
    assert model["license_level"] == "platinum"
    assert model["input"] == {"field_names": sorted(FEATURES)}
    assert model["inference_config"]["classification"]["results_field"] == "verdict"
    assert model["metadata"]["analytics_config"]["id"] == "job"
    assert "total_feature_importance" not in model["metadata"]
    include = ["total_feature_importance", "feature_importance_baseline", "hyperparameters"]
    shown = es.ml.get_trained_models(model_id=model_id, include=",".join(include))["trained_model_configs"][0]
    full = shown["metadata"]
    assert {item["feature_name"] for item in full["total_feature_importance"]} == set(FEATURES)
    assert full["feature_importance_baseline"]["classes"][0]["class_name"] == "false"
    supplied = {item["name"] for item in full["hyperparameters"] if item["supplied"]}
    assert supplied == {"max_trees"}


def test_the_same_job_over_the_same_documents_predicts_the_same(es: Elasticsearch, sandbox: Sandbox) -> None:
    run_job(es)
    first = {h["_id"]: h["_source"]["ml"] for h in es.search(index="results", size=400)["hits"]["hits"]}
    sandbox.reset()
    index_events(es, list(reversed(events())))
    run_job(es)
    again = {h["_id"]: h["_source"]["ml"] for h in es.search(index="results", size=400)["hits"]["hits"]}
    assert first == again


def test_rows_without_a_label_are_predicted_only_and_rows_with_arrays_are_skipped(elasticsearch: Elasticsearch) -> None:
    documents = events(200)
    for document in documents[:10]:
        del document["label"]
    documents[20]["kind"] = ["kind 1", "kind 2"]
    documents[21]["kind"] = ["kind 1"]
    index_events(elasticsearch, documents)
    run_job(elasticsearch)
    counts = stats(elasticsearch, "job")["data_counts"]
    assert counts == {"training_docs_count": 189, "test_docs_count": 10, "skipped_docs_count": 1}
    unlabelled = elasticsearch.get(index="results", id="e00003")["_source"]
    assert unlabelled["ml"]["is_training"] is False
    assert unlabelled["ml"]["label_prediction"] in {"true", "false"}
    assert "ml" not in elasticsearch.get(index="results", id="e00020")["_source"]
    assert "ml" in elasticsearch.get(index="results", id="e00021")["_source"]


def test_three_classes_are_told_apart(elasticsearch: Elasticsearch) -> None:
    index_events(elasticsearch, events(600, classes=3))
    run_job(elasticsearch, num_top_classes=-1, num_top_feature_importance_values=1, max_trees=20)
    result = elasticsearch.get(index="results", id="e00000")["_source"]["ml"]
    assert len(result["top_classes"]) == 3
    assert len(result["feature_importance"][0]["classes"]) == 3
    metrics = elasticsearch.ml.evaluate_data_frame(
        index="results",
        evaluation={"classification": {"actual_field": "label", "predicted_field": "ml.label_prediction"}},
    )["classification"]
    assert set(metrics) == {"accuracy", "precision", "recall", "multiclass_confusion_matrix"}
    assert metrics["accuracy"]["overall_accuracy"] > 0.6


def test_a_boolean_label_is_predicted_as_a_boolean(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.create(
        index="events", mappings={"properties": {"label": {"type": "boolean"}, "amount": {"type": "double"}}}
    )
    for number in range(40):
        elasticsearch.index(index="events", document={"amount": number, "label": number > 20})
    elasticsearch.indices.refresh(index="events")
    body = job_body() | {"analyzed_fields": ["label", "amount"]}
    elasticsearch.ml.put_data_frame_analytics(id="job", **body)
    elasticsearch.ml.start_data_frame_analytics(id="job")
    wait_for(elasticsearch, "job", "stopped")
    hits = elasticsearch.search(index="results", size=40)["hits"]["hits"]
    right = sum(hit["_source"]["ml"]["label_prediction"] is hit["_source"]["label"] for hit in hits)
    assert right > 35


def test_explain_lists_fields_with_reasons_and_estimates_memory(es: Elasticsearch) -> None:
    body = job_body()
    del body["dest"], body["analyzed_fields"]
    explained = es.ml.explain_data_frame_analytics(**body)
    listed = {item["name"]: item for item in explained["field_selection"]}
    assert listed["when"]["is_included"] is False
    assert "unsupported type" in listed["when"]["reason"]
    assert listed["label"]["is_required"]
    assert explained["memory_estimation"]["expected_memory_without_disk"].endswith("mb")
    es.ml.put_data_frame_analytics(id="job", **job_body())
    assert es.ml.explain_data_frame_analytics(id="job")["field_selection"]


def test_get_selects_by_id_wildcard_and_page_and_404s_only_where_elasticsearch_does(es: Elasticsearch) -> None:
    for job_id in ("foo-1", "foo-2", "bar"):
        es.ml.put_data_frame_analytics(id=job_id, **job_body() | {"dest": {"index": f"{job_id}-results"}})
    found = es.ml.get_data_frame_analytics(id="foo-*")
    assert [job["id"] for job in found["data_frame_analytics"]] == ["foo-1", "foo-2"]
    paged = es.ml.get_data_frame_analytics(from_=1, size=1)
    assert (paged["count"], [job["id"] for job in paged["data_frame_analytics"]]) == (3, ["foo-1"])
    assert es.ml.get_data_frame_analytics(id="missing*")["count"] == 0
    with pytest.raises(NotFoundError) as missing:
        es.ml.get_data_frame_analytics(id="missing")
    assert refusal(missing) == "No known data frame analytics with id [missing]"
    with pytest.raises(NotFoundError):
        es.ml.get_data_frame_analytics_stats(id="missing*", allow_no_match=False)


def test_an_id_in_use_is_a_400_and_not_a_409(es: Elasticsearch) -> None:
    es.ml.put_data_frame_analytics(id="job", **job_body())
    with pytest.raises(BadRequestError) as taken:
        es.ml.put_data_frame_analytics(id="job", **job_body())
    assert taken.value.body["error"]["type"] == "resource_already_exists_exception"
    assert refusal(taken) == "A data frame analytics with id [job] already exists"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": {"index": "missing"}}, "no such index [missing]"),
        ({"source": {"index": "far:events"}}, "remote source indices are not supported"),
        ({"dest": {"index": "Upper"}}, "Destination index [Upper] must be lowercase"),
        ({"dest": {"index": "star*"}}, "Invalid index name [star*]"),
        ({"dest": {"index": "events"}}, "Destination index [events] is included in source expression [events]"),
    ],
)
def test_an_impossible_source_or_destination_is_refused(es: Elasticsearch, change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        es.ml.put_data_frame_analytics(id="job", **job_body() | change)
    assert words in refusal(refused)


def test_a_missing_wildcard_source_is_accepted_at_put(es: Elasticsearch) -> None:
    assert es.ml.put_data_frame_analytics(id="job", **job_body() | {"source": {"index": "missing*"}})["id"] == "job"


def test_start_refuses_a_destination_with_documents_and_a_source_without_classes(es: Elasticsearch) -> None:
    es.index(index="results", document={"a": 1}, refresh=True)
    es.ml.put_data_frame_analytics(id="job", **job_body())
    with pytest.raises(BadRequestError) as full:
        es.ml.start_data_frame_analytics(id="job")
    assert refusal(full) == "dest index [results] must be empty"

    one_class = job_body() | {"source": {"index": "events", "query": {"term": {"label": "true"}}}}
    es.ml.put_data_frame_analytics(id="one-class", **one_class)
    with pytest.raises(BadRequestError) as poor:
        es.ml.start_data_frame_analytics(id="one-class")
    assert refusal(poor) == "Field [label] must have at least [2] distinct values but there were [1]"
    with pytest.raises(NotFoundError):
        es.ml.start_data_frame_analytics(id="missing")


def test_a_finished_job_cannot_be_started_again(es: Elasticsearch) -> None:
    run_job(es)
    with pytest.raises(BadRequestError) as finished:
        es.ml.start_data_frame_analytics(id="job")
    assert refusal(finished) == "Cannot start because the job has already finished"
    assert es.ml.stop_data_frame_analytics(id="job")["stopped"] is True


def test_a_running_job_refuses_start_update_and_delete_until_it_is_stopped_and_resumes_where_it_was(
    es: Elasticsearch, sandbox: Sandbox
) -> None:
    es.ml.put_data_frame_analytics(id="job", **job_body())
    sandbox.faults.slow_start_seconds = 600
    es.ml.start_data_frame_analytics(id="job")
    assert stats(es, "job")["state"] == "starting"
    with pytest.raises(ConflictError) as twice:
        es.ml.start_data_frame_analytics(id="job")
    assert refusal(twice) == "Cannot start data frame analytics [job] because it has already been started"
    with pytest.raises(ConflictError) as update:
        es.ml.update_data_frame_analytics(id="job", model_memory_limit="30mb")
    assert refusal(update) == "Cannot update analytics [job] unless it's stopped"
    assert es.ml.update_data_frame_analytics(id="job", description="while it runs")["description"] == "while it runs"
    with pytest.raises(ConflictError) as delete:
        es.ml.delete_data_frame_analytics(id="job")
    assert "Cannot delete data frame analytics [job] while its status is [starting]" in refusal(delete)
    assert es.ml.stop_data_frame_analytics(id="job", force=True)["stopped"] is True
    assert stats(es, "job")["state"] == "stopped"

    sandbox.faults.slow_start_seconds = 0
    es.ml.start_data_frame_analytics(id="job")
    assert wait_for(es, "job", "stopped")["progress"][-1]["progress_percent"] == 100
    assert es.count(index="results")["count"] == 400


def test_a_job_waits_for_a_node_when_it_may_start_lazily_and_is_refused_otherwise(
    es: Elasticsearch, sandbox: Sandbox
) -> None:
    sandbox.faults.lazy_assignment = True
    es.ml.put_data_frame_analytics(id="eager", **job_body())
    with pytest.raises(ApiError) as refused:
        es.ml.start_data_frame_analytics(id="eager")
    assert refused.value.status_code == 429

    es.ml.put_data_frame_analytics(id="lazy", **job_body(), allow_lazy_start=True)
    assert es.ml.start_data_frame_analytics(id="lazy")["node"] == ""
    waiting = wait_for(es, "lazy", "starting")
    until = time.monotonic() + 5
    while not waiting["assignment_explanation"] and time.monotonic() < until:
        waiting = stats(es, "lazy")
    assert "insufficient available memory" in waiting["assignment_explanation"]
    sandbox.faults.lazy_assignment = False
    assert wait_for(es, "lazy", "stopped", "failed")["state"] == "stopped"


def test_upgrade_mode_refuses_starts_and_pauses_what_runs(es: Elasticsearch, sandbox: Sandbox) -> None:
    es.ml.put_data_frame_analytics(id="job", **job_body())
    es.ml.set_upgrade_mode(enabled=True)
    assert es.ml.info()["upgrade_mode"] is True
    with pytest.raises(ApiError) as refused:
        es.ml.start_data_frame_analytics(id="job")
    assert refused.value.status_code == 429
    assert refusal(refused) == (
        "Cannot perform cluster:admin/xpack/ml/data_frame/analytics/start action while upgrade mode is enabled"
    )
    es.ml.set_upgrade_mode(enabled=False)
    sandbox.faults.slow_start_seconds = 0.3
    es.ml.start_data_frame_analytics(id="job")
    es.ml.set_upgrade_mode(enabled=True)
    until = time.monotonic() + 5
    while (paused := stats(es, "job")).get("assignment_explanation", "") == "" and time.monotonic() < until:
        time.sleep(0.05)
    assert paused["state"] in {"starting", "started"}
    assert "upgrade mode is enabled" in paused["assignment_explanation"]
    # A job that waits must not hold what others need: writes and changes of other jobs go on.
    es.options(request_timeout=5).index(index="elsewhere", document={"n": 1})
    es.options(request_timeout=5).ml.put_data_frame_analytics(id="another", **job_body())
    es.ml.set_upgrade_mode(enabled=False)
    assert wait_for(es, "job", "stopped", "failed")["state"] == "stopped"


def test_too_little_memory_fails_the_job_with_the_figure_to_set_and_it_resumes_with_more(es: Elasticsearch) -> None:
    es.ml.put_data_frame_analytics(id="job", **job_body(), model_memory_limit="2mb")
    es.ml.start_data_frame_analytics(id="job")
    failed = wait_for(es, "job", "failed")
    assert failed["memory_usage"]["status"] == "hard_limit"
    needed = failed["memory_usage"]["memory_reestimate_bytes"]
    assert "memory limit [2mb] has been exceeded" in failed["failure_reason"]
    with pytest.raises(ConflictError) as plain_stop:
        es.ml.stop_data_frame_analytics(id="job")
    assert refusal(plain_stop) == "cannot close data frame analytics [job] because it failed, use force stop instead"
    es.ml.stop_data_frame_analytics(id="job", force=True)
    es.ml.update_data_frame_analytics(id="job", model_memory_limit=f"{needed // 1024}kb")
    es.ml.start_data_frame_analytics(id="job")
    assert wait_for(es, "job", "stopped", "failed")["state"] == "stopped"
    assert es.count(index="results")["count"] == 400


def test_a_results_field_that_the_source_already_has_fails_the_job(elasticsearch: Elasticsearch) -> None:
    documents = [document | {"ml": {"score": 1.0}} for document in events(50)]
    index_events(elasticsearch, documents)
    elasticsearch.ml.put_data_frame_analytics(id="job", **job_body())
    elasticsearch.ml.start_data_frame_analytics(id="job")
    failed = wait_for(elasticsearch, "job", "failed", "stopped")
    assert "A field that matches the dest.results_field [ml] already exists" in failed["failure_reason"]


def test_deleting_a_job_keeps_its_results_and_model(es: Elasticsearch) -> None:
    model_id = run_job(es)
    assert es.ml.delete_data_frame_analytics(id="job")["acknowledged"] is True
    with pytest.raises(NotFoundError):
        es.ml.get_data_frame_analytics(id="job")
    assert es.count(index="results")["count"] == 400
    assert es.ml.get_trained_models(model_id=model_id)["count"] == 1


def test_training_does_not_keep_other_requests_waiting(elasticsearch: Elasticsearch) -> None:
    index_events(elasticsearch, events(3000))
    elasticsearch.ml.put_data_frame_analytics(id="job", **job_body(max_trees=100))
    elasticsearch.ml.start_data_frame_analytics(id="job")
    answers: list[float] = []
    moved: list[list[int]] = []
    while True:
        started = time.perf_counter()
        found = stats(elasticsearch, "job")
        answers.append(time.perf_counter() - started)
        moved.append([item["progress_percent"] for item in found["progress"]])
        if found["state"] in {"stopped", "failed"}:
            break
        time.sleep(0.01)
    assert found["state"] == "stopped"
    assert len(answers) > 10
    assert median(answers) < 0.05
    assert max(answers) < 1.5  # other work on the machine included
    assert len({tuple(percents) for percents in moved}) > 5
    assert moved == sorted(moved)  # never back, and
    assert all(percents == sorted(percents, reverse=True) for percents in moved)  # no phase before the one before it


def test_a_job_that_ran_when_the_sandbox_died_has_failed_after_the_restart_and_goes_on_once_stopped(
    tmp_path: Path,
) -> None:
    from elastic_sandbox.testing import serve

    with serve(data=tmp_path) as first:
        client = Elasticsearch(first.elasticsearch_url)
        index_events(client, events(100))
        client.ml.put_data_frame_analytics(id="job", **job_body())
        first.faults.slow_start_seconds = 600
        client.ml.start_data_frame_analytics(id="job")
        assert stats(client, "job")["state"] == "starting"
    with serve(data=tmp_path) as second:
        client = Elasticsearch(second.elasticsearch_url)
        failed = stats(client, "job")
        assert failed["state"] == "failed"
        assert "the sandbox was restarted while the job ran" in failed["failure_reason"]
        with pytest.raises(ConflictError):
            client.ml.start_data_frame_analytics(id="job")
        client.ml.stop_data_frame_analytics(id="job", force=True)
        client.ml.start_data_frame_analytics(id="job")
        wait_for(client, "job", "stopped")
        model_id = client.ml.get_trained_models(tags="job")["trained_model_configs"][0]["model_id"]
    with serve(data=tmp_path) as third:
        client = Elasticsearch(third.elasticsearch_url)
        assert stats(client, "job")["progress"][-1]["progress_percent"] == 100
        answer = client.ml.infer_trained_model(model_id=model_id, docs=[{"amount": 1.0}])
        assert "label_prediction" in answer["inference_results"][0]


def test_serverless_has_neither_explain_nor_info_nor_upgrade_mode() -> None:
    from elastic_sandbox.testing import serve

    with serve(flavor="serverless") as served:
        client = Elasticsearch(served.elasticsearch_url)
        body = {"source": {"index": "events"}, "analysis": {"classification": {"dependent_variable": "label"}}}
        calls = [client.ml.info, client.ml.set_upgrade_mode, lambda: client.ml.explain_data_frame_analytics(**body)]
        for call in calls:
            with pytest.raises(ApiError) as refused:
                call()
            assert refused.value.status_code == 410
        assert client.ml.get_data_frame_analytics()["count"] == 0


def test_serverless_trains_without_showing_a_node() -> None:
    """The destination takes shards and replicas from its source, which only the server itself may set there."""
    from elastic_sandbox.testing import serve

    with serve(flavor="serverless") as served:
        client = Elasticsearch(served.elasticsearch_url)
        index_events(client, events())
        run_job(client, max_trees=60)
        assert client.count(index="results")["count"] == 400
        shown = [
            job
            for entry in served.requests.matching("GET", "/_ml/data_frame/analytics/*")
            for job in (entry.response or {}).get("data_frame_analytics", [])
        ]
        assert "started" in {job.get("state") for job in shown}
        assert not [job for job in shown if "node" in job]


def test_a_basic_licence_refuses_machine_learning() -> None:
    from elastic_sandbox.testing import serve

    with serve(license="basic") as served:
        client = Elasticsearch(served.elasticsearch_url)
        calls = [
            client.ml.info,
            lambda: client.ml.put_data_frame_analytics(id="job", **job_body()),
            client.ml.get_trained_models,
            lambda: client.ml.put_trained_model(model_id="m", **tree_model()),
        ]
        for call in calls:
            with pytest.raises(ApiError) as refused:
                call()
            assert refused.value.status_code == 403
            assert refusal(refused) == "current license is non-compliant for [ml]"
