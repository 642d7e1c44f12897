"""`_evaluate` through the official client: Elastic's own example, defaults and refusals."""

from __future__ import annotations

from typing import Any

import pytest
from elasticsearch import ApiError, BadRequestError, Elasticsearch, NotFoundError, helpers
from sandbox.ml_world import ACTUAL, CAT_SCORES, PREDICTED

DOG_SCORES = [0.9, 0.2, 0.1, 0.3, 0.7, 0.9, 0.2, 0.2]


@pytest.fixture
def es(elasticsearch: Elasticsearch) -> Elasticsearch:
    keyword = {"type": "text", "fields": {"keyword": {"type": "keyword"}}}
    entry = {"class_name": {"type": "keyword"}, "class_probability": {"type": "double"}}
    nested = {"ml": {"properties": {"top_classes": {"type": "nested", "properties": entry}}}}
    elasticsearch.indices.create(
        index="utopia", mappings={"properties": {"actual": keyword, "guess": keyword, **nested}}
    )
    documents = []
    for number, (actual, guess) in enumerate(zip(ACTUAL, PREDICTED, strict=True)):
        top = [
            {"class_name": "cat", "class_probability": CAT_SCORES[number]},
            {"class_name": "dog", "class_probability": DOG_SCORES[number]},
        ]
        documents.append(
            {
                "_index": "utopia",
                "dataset": "blue" if number < 4 else "green",
                "actual": actual,
                "guess": guess,
                "same": "all",
                "ml": {"top_classes": top},
            }
        )
    documents.append({"_index": "utopia", "unrelated": 0.24})
    helpers.bulk(elasticsearch, documents, refresh=True)
    return elasticsearch


def evaluate(client: Elasticsearch, query: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    body = {"actual_field": "actual.keyword", "predicted_field": "guess.keyword"} | options
    body = {name: value for name, value in body.items() if value is not None}
    answer = client.ml.evaluate_data_frame(index="utopia", query=query, evaluation={"classification": body})
    found: dict[str, Any] = answer["classification"]
    return found


def test_without_metrics_all_but_the_area_under_the_curve_are_computed(es: Elasticsearch) -> None:
    found = evaluate(es)
    assert set(found) == {"accuracy", "precision", "recall", "multiclass_confusion_matrix"}
    assert found["accuracy"]["overall_accuracy"] == 0.625
    assert found["recall"]["avg_recall"] == pytest.approx(0.6111111111)
    rows = found["multiclass_confusion_matrix"]["confusion_matrix"]
    counts = {row["actual_class"]: row["actual_class_doc_count"] for row in rows}
    assert counts == {"cat": 3, "dog": 3, "mouse": 2}


def test_the_area_under_the_curve_reads_the_nested_top_classes(es: Elasticsearch) -> None:
    found = evaluate(es, predicted_field=None, metrics={"auc_roc": {"class_name": "cat", "include_curve": True}})
    assert found["auc_roc"]["value"] == pytest.approx(0.77541527618109091, abs=0.03)
    assert found["auc_roc"]["curve"][0] == {"tpr": 0.0, "fpr": 0.0, "threshold": 1.0}
    assert "curve" not in evaluate(es, metrics={"auc_roc": {"class_name": "cat"}})["auc_roc"]


def test_a_query_restricts_the_evaluation(es: Elasticsearch) -> None:
    found = evaluate(es, query={"term": {"dataset": "blue"}}, metrics={"accuracy": {}})
    assert found["accuracy"]["overall_accuracy"] == 0.75


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metrics": {}}, "[classification] must have one or more metrics"),
        (
            {"predicted_field": None, "metrics": {"accuracy": {}}},
            "[classification] must define [predicted_field] as required by the following metrics [accuracy]",
        ),
        ({"metrics": {"auc_roc": {}}}, "Failed to build [auc_roc] after last required field arrived"),
        (
            {"metrics": {"auc_roc": {"class_name": "fish"}}},
            "[auc_roc] requires at least one [actual.keyword] to have the value [fish]",
        ),
        (
            {"metrics": {"auc_roc": {"class_name": "mouse"}}},
            "[auc_roc] requires that [mouse] appears as one of the [ml.top_classes.class_name] for every document "
            "(appeared in 0 out of 8).",
        ),
        (
            {"actual_field": "same", "metrics": {"auc_roc": {"class_name": "all"}}},
            "[auc_roc] requires at least one [same] to have a different value than [all]",
        ),
        (
            {"actual_field": "missing"},
            "No documents found containing all the required fields [missing, guess.keyword]",
        ),
        (
            {"top_classes_field": "gone", "metrics": {"auc_roc": {"class_name": "cat"}}},
            "required fields [actual.keyword, gone.class_name, gone.class_probability]",
        ),
        ({"metrics": {"f1": {}}}, "unknown field [f1]"),
    ],
)
def test_an_evaluation_that_cannot_be_answered_is_refused(
    es: Elasticsearch, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        evaluate(es, **options)
    assert words in refused.value.body["error"]["reason"]


def test_a_missing_index_is_a_404_and_other_evaluations_answer_501(es: Elasticsearch) -> None:
    with pytest.raises(NotFoundError):
        es.ml.evaluate_data_frame(
            index="nowhere", evaluation={"classification": {"actual_field": "a", "predicted_field": "b"}}
        )
    with pytest.raises(ApiError) as refused:
        es.ml.evaluate_data_frame(index="utopia", evaluation={"regression": {"actual_field": "a"}})
    assert refused.value.status_code == 501
