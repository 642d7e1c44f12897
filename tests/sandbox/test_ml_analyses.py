"""Regression and outlier detection as jobs, previews, and what start refuses; all of it by Elastic's specification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from elasticsearch import ApiError, BadRequestError, ConflictError, Elasticsearch, NotFoundError, helpers
from sandbox.ml_contract import by_the_specification  # noqa: F401
from sandbox.ml_world import events, index_events, job_body, run_job, stats, wait_for
from sklearn.metrics import roc_auc_score

if TYPE_CHECKING:
    from elastic_sandbox.testing import Sandbox

pytestmark = pytest.mark.usefixtures("by_the_specification")

STAYS = {
    "minutes": {"type": "double"},
    "records": {"type": "integer"},
    "far": {"type": "boolean"},
    "ward": {"type": "keyword"},
    "nurse": {"type": "keyword"},
}


def stays(count: int = 400) -> list[dict[str, Any]]:
    """Stays whose minutes follow from records, far and nurse; the same every time."""
    generator = np.random.default_rng(8)
    made = []
    for number in range(count):
        records, far, nurse = (
            int(generator.integers(1, 12)),
            bool(generator.integers(0, 2)),
            int(generator.integers(30)),
        )
        minutes = 5.0 * records + 20.0 * far + 15.0 * (nurse % 7 == 0) + float(generator.normal(0, 1))
        made.append(
            {
                "_id": f"s{number:04}",
                "minutes": minutes,
                "records": records,
                "far": far,
                "ward": f"ward {generator.integers(0, 3)}",
                "nurse": f"nurse {nurse}",
            }
        )
    return made


def index_stays(client: Elasticsearch, documents: list[dict[str, Any]]) -> None:
    client.indices.create(index="stays", mappings={"properties": STAYS})
    helpers.bulk(client, [{"_index": "stays", **document} for document in documents], refresh=True)


def analysis(kind: str, **options: Any) -> dict[str, Any]:
    if kind == "regression":
        options = {"dependent_variable": "minutes", "randomize_seed": 3, "max_trees": 30} | options
    return {"source": {"index": "stays"}, "dest": {"index": "results"}, "analysis": {kind: options}}


def run(client: Elasticsearch, body: dict[str, Any], job_id: str = "job") -> dict[str, Any]:
    client.ml.put_data_frame_analytics(id=job_id, **body)
    client.ml.start_data_frame_analytics(id=job_id)
    ended = wait_for(client, job_id, "stopped", "failed")
    assert ended["state"] == "stopped", ended
    return ended


def results(client: Elasticsearch) -> dict[str, dict[str, Any]]:
    return {hit["_id"]: hit["_source"] for hit in client.search(index="results", size=2000)["hits"]["hits"]}


def refusal(error: pytest.ExceptionInfo[ApiError]) -> str:
    return str(error.value.body["error"]["reason"])


# Regression ----------------------------------------------------------------------------------------------------------


def test_a_regression_writes_numbers_with_reasons_and_leaves_a_model(elasticsearch: Elasticsearch) -> None:
    es = elasticsearch
    index_stays(es, stays())
    ended = run(es, analysis("regression", training_percent=75, num_top_feature_importance_values=2))
    assert {item["progress_percent"] for item in ended["progress"]} == {100}
    assert ended["data_counts"] == {"training_docs_count": 300, "test_docs_count": 100, "skipped_docs_count": 0}
    reported = ended["analysis_stats"]["regression_stats"]
    assert reported["validation_loss"] == {"loss_type": "mse"}
    assert "class_assignment_objective" not in reported["hyperparameters"]
    verbose = es.ml.get_data_frame_analytics_stats(id="job", verbose=True)["data_frame_analytics"][0]
    assert len(verbose["analysis_stats"]["regression_stats"]["validation_loss"]["fold_values"]) == 2

    written = results(es)
    assert sum(source["ml"]["is_training"] for source in written.values()) == 300
    one = written["s0001"]["ml"]
    assert set(one) == {"minutes_prediction", "is_training", "feature_importance"}
    assert [set(item) for item in one["feature_importance"]] == [{"feature_name", "importance"}] * 2
    mapping = es.indices.get_mapping(index="results")["results"]["mappings"]["properties"]["ml"]["properties"]
    assert mapping["minutes_prediction"]["type"] == "double"
    assert mapping["feature_importance"]["type"] == "nested"

    judged = es.ml.evaluate_data_frame(
        index="results",
        query={"term": {"ml.is_training": False}},
        evaluation={"regression": {"actual_field": "minutes", "predicted_field": "ml.minutes_prediction"}},
    )["regression"]
    assert judged["r_squared"]["value"] > 0.9

    include = "total_feature_importance,feature_importance_baseline,hyperparameters,definition"
    model = es.ml.get_trained_models(tags="job", include=include)["trained_model_configs"][0]
    assert model["inference_config"] == {
        "regression": {"results_field": "minutes_prediction", "num_top_feature_importance_values": 2}
    }
    assert model["definition"]["trained_model"]["ensemble"]["target_type"] == "regression"
    importance = {item["feature_name"]: item["importance"] for item in model["metadata"]["total_feature_importance"]}
    assert max(importance, key=lambda name: importance[name]["mean_magnitude"]) == "records"
    average = np.mean([source["minutes"] for source in written.values()])
    assert model["metadata"]["feature_importance_baseline"]["baseline"] == pytest.approx(average, abs=3)

    asked = {name: value for name, value in written["s0001"].items() if name not in {"ml", "minutes"}}
    inferred = es.ml.infer_trained_model(model_id=model["model_id"], docs=[asked])["inference_results"][0]
    assert inferred == {name: value for name, value in one.items() if name != "is_training"}


def test_the_processor_reports_a_regression_as_its_configuration_says(elasticsearch: Elasticsearch) -> None:
    es = elasticsearch
    index_stays(es, stays(200))
    run(es, analysis("regression"))
    model_id = es.ml.get_trained_models(tags="job")["trained_model_configs"][0]["model_id"]
    es.ml.put_trained_model_alias(model_id=model_id, model_alias="stay_champion")
    options = {"results_field": "expected", "num_top_feature_importance_values": 1}
    processor = {"model_id": "stay_champion", "target_field": "ml", "inference_config": {"regression": options}}
    es.ingest.put_pipeline(id="score", processors=[{"inference": processor}])
    es.index(index="new", id="1", document={"records": 11, "far": True, "ward": "ward 1"}, pipeline="score")
    written = es.get(index="new", id="1")["_source"]["ml"]
    assert written["expected"] == pytest.approx(77, abs=8)
    assert written["feature_importance"][0]["feature_name"] == "records"
    assert set(written) == {"expected", "feature_importance", "model_id"}
    wrong = {**processor, "inference_config": {"classification": {}}}
    es.ingest.put_pipeline(id="score", processors=[{"inference": wrong}])
    with pytest.raises(BadRequestError, match="has inference config of type"):
        es.index(index="new", id="2", document={"records": 11}, pipeline="score")


def test_rows_without_the_number_are_predicted_only_and_nothing_to_learn_from_fails_the_job(
    elasticsearch: Elasticsearch,
) -> None:
    documents = stays(120)
    for document in documents[:20]:
        del document["minutes"]
    documents[30]["records"] = [1, 2]
    index_stays(elasticsearch, documents)
    ended = run(elasticsearch, analysis("regression", prediction_field_name="expected"))
    assert ended["data_counts"] == {"training_docs_count": 99, "test_docs_count": 20, "skipped_docs_count": 1}
    written = results(elasticsearch)
    assert written["s0003"]["ml"]["is_training"] is False
    assert 0 < written["s0003"]["ml"]["expected"] < 100
    assert "ml" not in written["s0030"]

    unlabelled = {"source": {"index": "stays", "query": {"bool": {"must_not": {"exists": {"field": "minutes"}}}}}}
    elasticsearch.ml.put_data_frame_analytics(
        id="blind", **analysis("regression") | unlabelled | {"dest": {"index": "b"}}
    )
    elasticsearch.ml.start_data_frame_analytics(id="blind")
    failed = wait_for(elasticsearch, "blind", "failed", "stopped")
    assert failed["failure_reason"] == "no document has a value of the dependent variable [minutes]"


def test_the_same_seed_trains_on_the_same_rows_and_predicts_the_same(
    elasticsearch: Elasticsearch, sandbox: Sandbox
) -> None:
    found = []
    for threads in (1, 2):
        sandbox.reset()
        index_stays(elasticsearch, stays(200) if threads == 1 else list(reversed(stays(200))))
        run(elasticsearch, analysis("regression", training_percent=50) | {"max_num_threads": threads})
        found.append({doc_id: source["ml"] for doc_id, source in results(elasticsearch).items()})
    assert found[0] == found[1]


# Outlier detection ---------------------------------------------------------------------------------------------------


def odd_stays() -> list[dict[str, Any]]:
    """300 stays of which every thirtieth is far out in `minutes`, and two lack a value."""
    documents = stays(300)
    for number, document in enumerate(documents):
        document["odd"] = number % 30 == 0
        document["minutes"] = 900.0 + number if document["odd"] else document["minutes"]
    del documents[5]["minutes"]
    documents[6]["records"] = None
    return documents


NUMBERS = {"analyzed_fields": ["minutes", "records", "far"]}


def test_outlier_detection_scores_every_complete_row_says_why_and_makes_no_model(elasticsearch: Elasticsearch) -> None:
    es = elasticsearch
    index_stays(es, odd_stays())
    ended = run(es, analysis("outlier_detection") | NUMBERS)
    assert [item["phase"] for item in ended["progress"]] == [
        "reindexing", "loading_data", "computing_outliers", "writing_results"
    ]  # fmt: skip
    assert {item["progress_percent"] for item in ended["progress"]} == {100}
    assert ended["data_counts"] == {"training_docs_count": 298, "test_docs_count": 0, "skipped_docs_count": 2}
    reported = ended["analysis_stats"]["outlier_detection_stats"]
    assert reported["parameters"]["method"] == "ensemble"
    assert reported["parameters"]["outlier_fraction"] == 0.05
    assert set(reported["timing_stats"]) == {"elapsed_time"}

    written = results(es)
    assert "ml" not in written["s0005"]
    assert "ml" not in written["s0006"]
    scores = {doc_id: source["ml"]["outlier_score"] for doc_id, source in written.items() if "ml" in source}
    assert min(scores.values()) >= 0
    assert max(scores.values()) <= 1
    assert roc_auc_score([written[doc_id]["odd"] for doc_id in scores], list(scores.values())) > 0.99
    odd = written["s0030"]["ml"]
    influence = {item["feature_name"]: item["influence"] for item in odd["feature_influence"]}
    assert set(influence) == {"minutes", "records", "far"}
    assert sum(influence.values()) == pytest.approx(1.0)
    for source in written.values():
        result = source.get("ml", {"outlier_score": 0})
        assert ("feature_influence" in result) == (result["outlier_score"] >= 0.1)
    assert es.ml.get_trained_models(tags="job")["count"] == 0

    judged = es.ml.evaluate_data_frame(
        index="results",
        evaluation={"outlier_detection": {"actual_field": "odd", "predicted_probability_field": "ml.outlier_score"}},
    )["outlier_detection"]
    assert judged["auc_roc"]["value"] > 0.99
    assert judged["recall"]["0.5"] > 0.9


@pytest.mark.parametrize("method", ["lof", "ldof", "distance_kth_nn", "distance_knn"])
def test_each_method_can_be_asked_for_and_influence_switched_off(elasticsearch: Elasticsearch, method: str) -> None:
    index_stays(elasticsearch, odd_stays())
    options = {"method": method, "n_neighbors": 20, "compute_feature_influence": False}
    ended = run(elasticsearch, analysis("outlier_detection", **options) | NUMBERS)
    parameters = ended["analysis_stats"]["outlier_detection_stats"]["parameters"]
    assert (parameters["method"], parameters["n_neighbors"]) == (method, 20)
    written = [source for source in results(elasticsearch).values() if "ml" in source]
    assert not any("feature_influence" in source["ml"] for source in written)
    odd = np.mean([source["ml"]["outlier_score"] for source in written if source["odd"]])
    assert odd > np.mean([source["ml"]["outlier_score"] for source in written if not source["odd"]]) + 0.2


# Explain, preview, start, update -------------------------------------------------------------------------------------


def test_explain_tells_per_analysis_which_fields_are_used(elasticsearch: Elasticsearch) -> None:
    index_stays(elasticsearch, stays(20))
    unplaced = {
        kind: {"source": {"index": "stays"}, "analysis": analysis(kind)["analysis"]}
        for kind in ("regression", "outlier_detection")
    }
    learned = elasticsearch.ml.explain_data_frame_analytics(**unplaced["regression"])
    kinds = {item["name"]: item.get("feature_type") for item in learned["field_selection"] if item["is_included"]}
    assert kinds == {
        "far": "numerical",
        "minutes": "numerical",
        "nurse": "categorical",
        "records": "numerical",
        "ward": "categorical",
    }
    plain = elasticsearch.ml.explain_data_frame_analytics(**unplaced["outlier_detection"])
    assert {item["name"] for item in plain["field_selection"] if item["is_included"]} == {"far", "minutes", "records"}


def test_a_preview_shows_the_rows_as_texts_of_the_fields_that_are_used(elasticsearch: Elasticsearch) -> None:
    es = elasticsearch
    es.indices.create(
        index="index-source",
        mappings={
            "properties": {"field_1": {"type": "integer"}, "field_2": {"type": "double"}, "when": {"type": "date"}}
        },
    )
    es.index(
        index="index-source", document={"field_1": 3, "field_2": 3.14, "when": "2019-11-11T00:00:00"}, refresh=True
    )
    es.index(index="index-source", document={"field_1": 4}, refresh=True)
    config = {"source": {"index": "index-source"}, "analysis": {"regression": {"dependent_variable": "field_1"}}}
    shown = es.ml.preview_data_frame_analytics(config=config)["feature_values"]
    assert sorted(shown, key=len, reverse=True) == [{"field_1": "3", "field_2": "3.14"}, {"field_1": "4"}]
    for name in ("foo-1", "foo-2"):
        es.ml.put_data_frame_analytics(id=name, **config, dest={"index": name})
    assert len(es.ml.preview_data_frame_analytics(id="foo-1")["feature_values"]) == 2
    outliers = {"source": {"index": "index-source"}, "analysis": {"outlier_detection": {}}}
    assert es.ml.preview_data_frame_analytics(config=outliers)["feature_values"] == [
        {"field_1": "3", "field_2": "3.14"}
    ]


def test_a_preview_or_explanation_is_of_one_job_or_one_configuration(elasticsearch: Elasticsearch) -> None:
    es = elasticsearch
    index_stays(es, stays(10))
    for name in ("foo-1", "foo-2"):
        es.ml.put_data_frame_analytics(id=name, **analysis("outlier_detection") | {"dest": {"index": name}})
    config = {"source": {"index": "stays"}, "analysis": {"outlier_detection": {}}}
    calls = [
        (es.ml.preview_data_frame_analytics, "Please provide a job [id] or the config object"),
        (es.ml.explain_data_frame_analytics, "Please provide a job [id] or the config object"),
        (
            lambda: es.ml.preview_data_frame_analytics(id="foo-1", config=config),
            "Please provide either a job [id] or the config object but not both",
        ),
        (lambda: es.ml.preview_data_frame_analytics(id="foo-*"), "expected only one config but matched [foo-1, foo-2]"),
    ]
    for call, words in calls:
        with pytest.raises(BadRequestError) as refused:
            call()
        assert refusal(refused) == words
    for missing in (es.ml.preview_data_frame_analytics, es.ml.explain_data_frame_analytics):
        with pytest.raises(NotFoundError):
            missing(id="no_such_job")


def test_start_refuses_a_source_in_which_no_row_is_complete(elasticsearch: Elasticsearch) -> None:
    es = elasticsearch
    es.indices.create(index="stays", mappings={"properties": STAYS})
    words = "Unable to start {} as no documents in the source indices [stays] contained all the fields selected"
    for kind in ("regression", "outlier_detection"):
        es.ml.put_data_frame_analytics(id=kind, **analysis(kind))
        with pytest.raises(BadRequestError) as empty:
            es.ml.start_data_frame_analytics(id=kind)
        assert refusal(empty).startswith(words.format(kind))
    es.index(index="stays", document={"minutes": 1.0}, refresh=True)
    with pytest.raises(BadRequestError) as incomplete:
        es.ml.start_data_frame_analytics(id="outlier_detection")
    assert refusal(incomplete).startswith(words.format("outlier_detection"))


@pytest.mark.parametrize(
    ("properties", "options", "words"),
    [
        ({}, None, "at least one field must be included in the analysis"),
        (
            {"my_dep_var": {"type": "long"}},
            {"dependent_variable": "my_dep_var"},
            "at least one field must be included in the analysis (excluding fields [my_dep_var])",
        ),
        (
            {"numeric": {"type": "long"}},
            {"dependent_variable": "missing"},
            "no mappings could be found for field [missing]",
        ),
    ],
)
def test_start_refuses_a_source_without_usable_fields(
    elasticsearch: Elasticsearch, properties: dict[str, Any], options: dict[str, Any] | None, words: str
) -> None:
    elasticsearch.indices.create(index="stays", mappings={"properties": properties})
    kind = {"outlier_detection": {}} if options is None else {"regression": options}
    elasticsearch.ml.put_data_frame_analytics(id="foo", source={"index": "stays"}, dest={"index": "d"}, analysis=kind)
    with pytest.raises(BadRequestError) as refused:
        elasticsearch.ml.start_data_frame_analytics(id="foo")
    assert refusal(refused) == words


def test_start_notices_that_its_source_is_gone(elasticsearch: Elasticsearch) -> None:
    index_stays(elasticsearch, stays(5))
    elasticsearch.ml.put_data_frame_analytics(id="job", **analysis("outlier_detection"))
    elasticsearch.indices.delete(index="stays")
    with pytest.raises(BadRequestError) as gone:
        elasticsearch.ml.start_data_frame_analytics(id="job")
    assert "Validation Failed" in refusal(gone)
    assert "no such index [stays]" in refusal(gone)


def test_the_four_settings_that_can_be_updated_are_and_the_job_runs_with_them(elasticsearch: Elasticsearch) -> None:
    index_stays(elasticsearch, stays(60))
    settings = {"description": "before", "model_memory_limit": "20mb", "allow_lazy_start": False, "max_num_threads": 1}
    elasticsearch.ml.put_data_frame_analytics(id="job", **analysis("outlier_detection"), **settings)
    change = {"description": "after", "model_memory_limit": "30mb", "allow_lazy_start": True, "max_num_threads": 2}
    updated = elasticsearch.ml.update_data_frame_analytics(id="job", **change)
    assert {name: updated[name] for name in change} == change
    assert updated["authorization"]["roles"]
    with pytest.raises(NotFoundError):
        elasticsearch.ml.update_data_frame_analytics(id="missing-analytics", description="blah")
    elasticsearch.ml.start_data_frame_analytics(id="job")
    assert wait_for(elasticsearch, "job", "stopped", "failed")["state"] == "stopped"


def test_a_deprecated_option_is_understood_with_a_warning(elasticsearch: Elasticsearch) -> None:
    index_events(elasticsearch, events(5))
    with pytest.warns(Warning, match=r"Deprecated field \[maximum_number_trees\] used, expected \[max_trees\] instead"):
        created = elasticsearch.perform_request(
            "PUT",
            "/_ml/data_frame/analytics/old",
            headers={"content-type": "application/json", "accept": "application/json"},
            body={
                "source": {"index": "events"},
                "dest": {"index": "d"},
                "analysis": {"classification": {"dependent_variable": "label", "maximum_number_trees": 400}},
            },
        )
    assert created["analysis"]["classification"]["max_trees"] == 400


def test_a_running_outlier_detection_refuses_what_a_running_job_refuses(
    elasticsearch: Elasticsearch, sandbox: Sandbox
) -> None:
    es = elasticsearch
    index_stays(es, stays(60))
    es.ml.put_data_frame_analytics(id="job", **analysis("outlier_detection"))
    sandbox.faults.slow_start_seconds = 600
    es.ml.start_data_frame_analytics(id="job")
    for call in (
        lambda: es.ml.start_data_frame_analytics(id="job"),
        lambda: es.ml.delete_data_frame_analytics(id="job"),
        lambda: es.ml.update_data_frame_analytics(id="job", model_memory_limit="30mb"),
    ):
        with pytest.raises(ConflictError):
            call()
    assert es.ml.delete_data_frame_analytics(id="job", force=True)["acknowledged"] is True
    with pytest.raises(NotFoundError):
        stats(es, "job")


def test_training_rows_are_written_before_the_model_is_there_and_the_others_after(elasticsearch: Elasticsearch) -> None:
    index_events(elasticsearch, events(300))
    run_job(elasticsearch, training_percent=60)
    found = stats(elasticsearch, "job")
    order = [item["phase"] for item in found["progress"]]
    assert order.index("writing_results") + 1 == order.index("inference")
    written = results(elasticsearch)
    assert len(written) == 300
    assert all("label_prediction" in source["ml"] for source in written.values())
    counts = found["data_counts"]
    assert sum(source["ml"]["is_training"] for source in written.values()) == counts["training_docs_count"] == 180
    assert job_body()["dest"]["index"] == "results"


def test_a_job_that_was_stopped_after_its_model_was_stored_goes_on_without_a_second_one(
    elasticsearch: Elasticsearch, sandbox: Sandbox
) -> None:
    index_events(elasticsearch, events(200))
    model_id = run_job(elasticsearch, training_percent=60)
    before = results(elasticsearch)
    sandbox.backend.ml.jobs.get("job").progress["inference"] = 10  # as if it had been stopped there
    elasticsearch.ml.start_data_frame_analytics(id="job")
    assert wait_for(elasticsearch, "job", "stopped", "failed")["state"] == "stopped"
    models = elasticsearch.ml.get_trained_models(tags="job")["trained_model_configs"]
    assert [model["model_id"] for model in models] == [model_id]
    assert results(elasticsearch) == before
