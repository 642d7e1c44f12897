"""`_evaluate` through the official client: Elastic's own example, defaults and refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from elasticsearch import BadRequestError, Elasticsearch, NotFoundError, helpers
from sandbox.ml_contract import by_the_specification  # noqa: F401
from sandbox.ml_world import ACTUAL, CAT_SCORES, GUESSED, MEASURED, PREDICTED

pytestmark = pytest.mark.usefixtures("by_the_specification")

JSON = {"content-type": "application/json", "accept": "application/json"}
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
                "is_outlier": OUTLIER[number],
                "is_outlier_int": int(OUTLIER[number]),
                "all_true": True,
                "all_false": False,
                "score": SCORE[number],
                "measured": MEASURED[number],
                "guessed": GUESSED[number],
                "constant": 1.0,
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


def test_top_classes_that_are_not_mapped_as_nested_are_not_found(es: Elasticsearch) -> None:
    """The field's existence is asked by a nested query with `ignore_unmapped`: no error of the search, no document."""
    hits = es.search(index="utopia", size=20)["hits"]["hits"]
    documents = [{"_index": "plain", **hit["_source"]} for hit in hits if "actual" in hit["_source"]]
    helpers.bulk(es, documents, refresh=True)
    metrics = {"auc_roc": {"class_name": "cat"}}
    chosen = {"actual_field": "actual.keyword", "metrics": metrics}
    with pytest.raises(BadRequestError) as refused:
        es.ml.evaluate_data_frame(index="plain", evaluation={"classification": chosen})
    assert (
        "No documents found containing all the required fields [actual.keyword, ml.top_classes.class_name, "
        "ml.top_classes.class_probability]"
    ) in refused.value.body["error"]["reason"]
    both = es.ml.evaluate_data_frame(index="plain,utopia", evaluation={"classification": chosen})
    assert both["classification"] == evaluate(es, predicted_field=None, metrics=metrics)
    accuracy = {"actual_field": "actual.keyword", "predicted_field": "guess.keyword", "metrics": {"accuracy": {}}}
    found = es.ml.evaluate_data_frame(index="plain", evaluation={"classification": accuracy})
    assert found["classification"]["accuracy"]["overall_accuracy"] == 0.625


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


def test_a_missing_index_is_a_404_and_an_incomplete_body_a_400(es: Elasticsearch) -> None:
    for evaluation in (
        {"classification": {"actual_field": "a", "predicted_field": "b"}},
        {"regression": {"actual_field": "a", "predicted_field": "b"}},
        {"outlier_detection": {"actual_field": "a", "predicted_probability_field": "b"}},
    ):
        with pytest.raises(NotFoundError):
            es.ml.evaluate_data_frame(index="nowhere", evaluation=evaluation)
    for body, words in (
        ({"evaluation": {"regression": {}}}, "Required [index]"),
        ({"index": "utopia"}, "Required [evaluation]"),
        ({"index": "utopia", "evaluation": {"regression": {}}}, "Required [actual_field, predicted_field]"),
        ({"index": "utopia", "evaluation": {"clustering": {}}}, "unknown field [clustering]"),
    ):
        with pytest.raises(BadRequestError) as refused:
            es.perform_request("POST", "/_ml/data_frame/_evaluate", headers=JSON, body=body)
        assert words in refused.value.body["error"]["reason"]


# Outlier detection: eight rows, five of them outliers --------------------------------------------------------------

OUTLIER = [False, False, False, True, True, True, True, True]
SCORE = [0.0, 0.2, 0.3, 0.3, 0.4, 0.5, 0.9, 0.95]


def outliers(client: Elasticsearch, query: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    body = {"actual_field": "is_outlier", "predicted_probability_field": "score"} | options
    answer = client.ml.evaluate_data_frame(index="utopia", query=query, evaluation={"outlier_detection": body})
    found: dict[str, Any] = answer["outlier_detection"]
    return found


def test_the_rates_at_thresholds_are_those_of_elastics_example(es: Elasticsearch) -> None:
    assert outliers(es, metrics={"precision": {"at": [0, 0.5]}}) == {"precision": {"0.0": 0.625, "0.5": 1.0}}
    assert outliers(es, metrics={"recall": {"at": [0, 0.4, 0.5]}}) == {"recall": {"0.0": 1.0, "0.4": 0.8, "0.5": 0.6}}
    assert outliers(es, metrics={"confusion_matrix": {"at": [0, 0.3, 0.5]}})["confusion_matrix"] == {
        "0.0": {"tp": 5, "fp": 3, "tn": 0, "fn": 0},
        "0.3": {"tp": 5, "fp": 1, "tn": 2, "fn": 0},
        "0.5": {"tp": 3, "fp": 0, "tn": 3, "fn": 2},
    }
    blue = outliers(es, query={"term": {"dataset": "blue"}}, metrics={"confusion_matrix": {"at": [0.5]}})
    assert blue["confusion_matrix"] == {"0.5": {"tp": 0, "fp": 0, "tn": 3, "fn": 1}}


def test_outlier_detection_has_four_metrics_and_three_thresholds_by_default(es: Elasticsearch) -> None:
    found = outliers(es)
    assert set(found) == {"auc_roc", "precision", "recall", "confusion_matrix"}
    assert set(found["auc_roc"]) == {"value"}
    for name in ("precision", "recall", "confusion_matrix"):
        assert list(found[name]) == ["0.25", "0.5", "0.75"]


@pytest.mark.parametrize("actual", ["is_outlier", "is_outlier_int"])
def test_the_area_of_elastics_outliers_is_exact_where_elastic_estimates_it_from_percentiles(
    es: Elasticsearch, actual: str
) -> None:
    found = outliers(es, actual_field=actual, metrics={"auc_roc": {"include_curve": True}})["auc_roc"]
    assert found["value"] == pytest.approx(14.5 / 15)
    assert found["value"] == pytest.approx(0.9919403846153846, abs=0.03)  # on eight rows; the estimate's own error
    assert found["curve"]


# Regression ----------------------------------------------------------------------------------------------------------


def regression(client: Elasticsearch, **options: Any) -> dict[str, Any]:
    body = {"actual_field": "measured", "predicted_field": "guessed"} | options
    answer = client.ml.evaluate_data_frame(index="utopia", evaluation={"regression": body})
    found: dict[str, Any] = answer["regression"]
    return found


def test_regression_has_three_metrics_by_default_and_msle_on_request(es: Elasticsearch) -> None:
    found = regression(es)
    assert {name: item["value"] for name, item in found.items()} == pytest.approx(
        {"mse": 28.67749840974834, "r_squared": 0.8551031778603486, "huber": 1.9205280586939963}, rel=1e-12
    )
    wanted = regression(es, metrics={"msle": {"offset": 6.0}, "huber": {"delta": 2.0}})
    assert {name: item["value"] for name, item in wanted.items()} == pytest.approx(
        {"msle": 0.08680568028334916, "huber": 3.5088110471730145}, rel=1e-12
    )


def test_a_figure_that_is_no_number_comes_as_a_text(es: Elasticsearch) -> None:
    assert regression(es, actual_field="constant", metrics={"r_squared": {}})["r_squared"]["value"] == "-Infinity"
    assert regression(es, metrics={"msle": {}})["msle"]["value"] == "NaN"


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (outliers, {"metrics": {}}, "[outlier_detection] must have one or more metrics"),
        (regression, {"metrics": {}}, "[regression] must have one or more metrics"),
        (
            outliers,
            {"actual_field": "all_true", "metrics": {"auc_roc": {}}},
            "[auc_roc] requires at least one [all_true] to have a different value than [true]",
        ),
        (
            outliers,
            {"actual_field": "all_false", "metrics": {"auc_roc": {}}},
            "[auc_roc] requires at least one [all_false] to have the value [true]",
        ),
        (outliers, {"metrics": {"precision": {"at": []}}}, "[precision.at] must have at least one value"),
        (outliers, {"metrics": {"recall": {"at": [0.25, -0.1]}}}, "[recall.at] values must be in [0.0, 1.0]"),
        (
            outliers,
            {"metrics": {"confusion_matrix": {"at": [1.1]}}},
            "[confusion_matrix.at] values must be in [0.0, 1.0]",
        ),
        (outliers, {"actual_field": "missing"}, "containing all the required fields [missing, score]"),
        (
            outliers,
            {"predicted_probability_field": "missing"},
            "containing all the required fields [is_outlier, missing]",
        ),
        (regression, {"actual_field": "missing"}, "containing all the required fields [missing, guessed]"),
        (regression, {"predicted_field": "missing"}, "containing all the required fields [measured, missing]"),
        (regression, {"metrics": {"mae": {}}}, "unknown field [mae]"),
    ],
)
def test_an_evaluation_of_numbers_or_outliers_that_cannot_be_answered_is_refused(
    es: Elasticsearch, kind: Callable[..., Any], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        kind(es, **options)
    assert words in refused.value.body["error"]["reason"]
