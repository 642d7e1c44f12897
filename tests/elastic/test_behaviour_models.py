"""Analytics jobs, trained models and their aliases, as a cluster behaves. Needs machine learning: a trial at least."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from elastic.real_stack import until
from elasticsearch import BadRequestError, ConflictError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

Names = Callable[[str], str]
FEATURES = ["amount", "kind"]


def one_leaf(leaf: float, kind: str = "classification") -> dict[str, Any]:
    """The smallest trained model."""
    tree: dict[str, Any] = {
        "feature_names": FEATURES,
        "tree_structure": [{"node_index": 0, "leaf_value": leaf}],
        "target_type": kind,
    }
    if kind == "classification":
        tree["classification_labels"] = ["no", "yes"]
    return {
        "input": {"field_names": FEATURES},
        "inference_config": {kind: {}},
        "definition": {"preprocessors": [], "trained_model": {"tree": tree}},
    }


@pytest.fixture
def models(es: Elasticsearch, ml: Any, mine: Names) -> tuple[str, str]:
    """Two classifiers of which one says no and the other yes, the first behind the alias that the pipeline names."""
    for name, leaf in (("says-no", 0), ("says-yes", 1)):
        ml.put_trained_model(model_id=mine(name), **one_leaf(leaf))
    ml.put_trained_model_alias(model_id=mine("says-no"), model_alias=mine("live"))
    processor = {"model_id": mine("live"), "target_field": "result", "inference_config": {"classification": {}}}
    es.ingest.put_pipeline(id=mine("score"), processors=[{"inference": processor}])
    return mine("says-no"), mine("says-yes")


def scored(es: Elasticsearch, mine: Names, **source: Any) -> dict[str, Any]:
    [made] = es.ingest.simulate(id=mine("score"), docs=[{"_source": {"amount": 1, "kind": 2, **source}}])["docs"]
    found: dict[str, Any] = made["doc"]["_source"]
    return found


def test_a_scored_event_names_the_model_behind_the_alias(es: Elasticsearch, mine: Names, models: tuple[str, str]):
    assert scored(es, mine)["result"]["model_id"] == models[0]


def test_one_call_moves_an_alias_and_the_next_event_is_scored_by_the_other(
    es: Elasticsearch, ml: Any, mine: Names, models: tuple[str, str]
):
    with pytest.raises(BadRequestError, match="reassign"):
        ml.put_trained_model_alias(model_id=models[1], model_alias=mine("live"))
    assert scored(es, mine)["result"]["predicted_value"] == "no"
    ml.put_trained_model_alias(model_id=models[1], model_alias=mine("live"), reassign=True)
    # A real one keeps the model it has loaded until it has loaded the other.
    until(lambda: scored(es, mine)["result"]["model_id"] == models[1])
    assert scored(es, mine)["result"]["predicted_value"] == "yes"


def test_an_alias_cannot_end_in_a_digit(ml: Any, mine: Names, models: tuple[str, str]):
    with pytest.raises(BadRequestError, match="cannot end with numbers"):
        ml.put_trained_model_alias(model_id=models[0], model_alias=mine("live2"))


def test_an_alias_stays_with_one_kind_of_model(ml: Any, mine: Names, models: tuple[str, str]):
    ml.put_trained_model(model_id=mine("number"), **one_leaf(1, "regression"))
    with pytest.raises(BadRequestError, match="inference config type"):
        ml.put_trained_model_alias(model_id=mine("number"), model_alias=mine("live"), reassign=True)


def test_a_pipeline_naming_a_missing_model_is_taken_and_fails_each_document(es: Elasticsearch, ml: Any, mine: Names):
    es.ingest.put_pipeline(id=mine("score"), processors=[{"inference": {"model_id": mine("nobody")}}])
    item = es.bulk(index=mine("index"), pipeline=mine("score"), operations=[{"index": {}}, {"n": 1}])["items"][0]
    assert item["index"]["status"] >= 400
    assert mine("nobody") in str(item["index"]["error"])


def test_inference_appends_to_a_target_that_is_there(es: Elasticsearch, mine: Names, models: tuple[str, str]):
    found = scored(es, mine, result={"model_id": "of the sender"})
    assert isinstance(found["result"], list)
    assert found["result"][0] == {"model_id": "of the sender"}
    assert found["result"][1]["model_id"] == models[0]


def test_a_model_that_a_pipeline_names_is_not_deleted_without_force(ml: Any, models: tuple[str, str]):
    with pytest.raises(ConflictError, match="referenced by ingest processors"):
        ml.delete_trained_model(model_id=models[0])


def job_body(mine: Names, **analysis: Any) -> dict[str, Any]:
    options = {"dependent_variable": "label", "randomize_seed": 1, "max_trees": 8, "early_stopping_enabled": False}
    return {
        "source": {"index": mine("events")},
        "dest": {"index": mine("results")},
        "analysis": analysis or {"classification": options},
        "model_memory_limit": "50mb",
    }


@pytest.fixture
def events(es: Elasticsearch, mine: Names) -> None:
    fields = {"amount": {"type": "double"}, "label": {"type": "keyword"}}
    es.indices.create(index=mine("events"), mappings={"properties": fields})
    rows = [{"amount": float(n % 50), "label": "true" if n % 50 >= 25 else "false"} for n in range(200)]
    rows.append({"label": "true"})  # without the feature
    es.bulk(index=mine("events"), operations=[line for row in rows for line in ({"index": {}}, row)], refresh=True)


def run(ml: Any, name: str) -> None:
    ml.start_data_frame_analytics(id=name)
    until(lambda: ml.get_data_frame_analytics_stats(id=name)["data_frame_analytics"][0]["state"] == "stopped")


@pytest.mark.usefixtures("events")
def test_a_new_and_a_finished_analytics_job_are_both_stopped_and_a_finished_one_is_not_started_again(
    ml: Any, mine: Names
):
    ml.put_data_frame_analytics(id=mine("job"), **job_body(mine))
    [new] = ml.get_data_frame_analytics_stats(id=mine("job"))["data_frame_analytics"]
    assert new["state"] == "stopped"
    assert {phase["progress_percent"] for phase in new["progress"]} == {0}
    run(ml, mine("job"))
    [done] = ml.get_data_frame_analytics_stats(id=mine("job"))["data_frame_analytics"]
    assert {phase["progress_percent"] for phase in done["progress"]} == {100}
    with pytest.raises(BadRequestError, match="already finished"):
        ml.start_data_frame_analytics(id=mine("job"))
    [model] = ml.get_trained_models(model_id=mine("job-*"), tags=mine("job"))["trained_model_configs"]
    assert model["model_id"].startswith(mine("job-"))


@pytest.mark.usefixtures("events")
def test_outlier_detection_makes_no_model_and_leaves_out_rows_without_a_feature(
    es: Elasticsearch, ml: Any, mine: Names
):
    ml.put_data_frame_analytics(id=mine("odd"), **job_body(mine, outlier_detection={}))
    run(ml, mine("odd"))
    es.indices.refresh(index=mine("results"))
    scored_rows = es.count(index=mine("results"), query={"exists": {"field": "ml.outlier_score"}})["count"]
    assert scored_rows == 200
    assert ml.get_trained_models(model_id=mine("odd*"), allow_no_match=True)["count"] == 0


@pytest.mark.usefixtures("events")
def test_an_analytics_job_echoes_the_defaults_and_its_id_is_taken_once(ml: Any, mine: Names):
    body = job_body(mine)
    made = ml.put_data_frame_analytics(id=mine("job"), **body)
    assert made["allow_lazy_start"] is False
    assert made["max_num_threads"] == 1
    assert made["dest"]["results_field"] == "ml"
    assert made["analysis"]["classification"]["training_percent"] == 100.0
    with pytest.raises(BadRequestError, match="already exists"):
        ml.put_data_frame_analytics(id=mine("job"), **body)


def test_an_evaluation_reads_nested_top_classes_by_the_names_it_is_given(es: Elasticsearch, ml: Any, mine: Names):
    classes = {"class_name": {"type": "keyword"}, "class_probability": {"type": "double"}}
    fields: dict[str, Any] = {name: {"type": "keyword"} for name in ("label", "said")}
    fields["top"] = {"type": "nested", "properties": classes}
    es.indices.create(index=mine("judged"), mappings={"properties": fields})
    for label, said, probability in (("true", "true", 0.9), ("false", "false", 0.2), ("true", "false", 0.6)):
        top = [{"class_name": "true", "class_probability": probability}]
        es.index(index=mine("judged"), document={"label": label, "said": said, "top": top}, refresh=True)
    evaluation = {
        "actual_field": "label",
        "predicted_field": "said",
        "top_classes_field": "top",
        "metrics": {"auc_roc": {"class_name": "true"}},
    }
    found = ml.evaluate_data_frame(index=mine("judged"), evaluation={"classification": evaluation})
    assert found["classification"]["auc_roc"]["value"] == pytest.approx(1.0)
