"""Trained models through the official client: put, get, aliases, delete, statistics, inference."""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from elasticsearch import ApiError, BadRequestError, ConflictError, Elasticsearch, NotFoundError
from sandbox.ml_contract import by_the_specification  # noqa: F401
from sandbox.ml_world import events, index_events, run_job, tree_model

if TYPE_CHECKING:
    from elastic_sandbox.testing import Sandbox

pytestmark = pytest.mark.usefixtures("by_the_specification")


@pytest.fixture
def es(elasticsearch: Elasticsearch) -> Elasticsearch:
    for name in ("red-model", "blue-model"):
        elasticsearch.ml.put_trained_model(model_id=name, **tree_model(tags=["leaf", name.split("-")[0]]))
    elasticsearch.ml.put_trained_model(model_id="number-model", **tree_model(42, "regression", tags=["number"]))
    return elasticsearch


def refusal(error: pytest.ExceptionInfo[ApiError]) -> str:
    return str(error.value.body["error"]["reason"])


def ids(answer: Any) -> list[str]:
    return [config["model_id"] for config in answer["trained_model_configs"]]


def inference_pipeline(client: Elasticsearch, model: str, name: str = "score", **options: Any) -> None:
    processor = {"model_id": model, "target_field": "ml.score", **options}
    client.ingest.put_pipeline(id=name, processors=[{"inference": processor}])


def test_a_model_put_from_a_definition_is_shown_with_its_facts_but_without_the_definition(es: Elasticsearch) -> None:
    model = es.ml.get_trained_models(model_id="number-model")["trained_model_configs"][0]
    assert model["model_type"] == "tree_ensemble"
    assert model["license_level"] == "platinum"
    assert model["model_size_bytes"] > 0
    assert model["create_time"] > 0
    assert model["inference_config"]["regression"]["results_field"] == "predicted_value"
    assert "definition" not in model
    assert "metadata" not in model
    full = es.ml.get_trained_models(model_id="number-model", include="definition")["trained_model_configs"][0]
    assert full["definition"]["trained_model"]["tree"]["tree_structure"] == [{"node_index": 0, "leaf_value": 42}]


def test_a_definition_travels_compressed_both_ways(es: Elasticsearch) -> None:
    answer = es.ml.get_trained_models(model_id="red-model", include="definition", decompress_definition=False)
    packed = answer["trained_model_configs"][0]["compressed_definition"]
    assert json.loads(gzip.decompress(base64.b64decode(packed)))["trained_model"]["tree"]["target_type"]
    body = tree_model()
    del body["definition"]
    es.ml.put_trained_model(model_id="copy", **body, compressed_definition=packed)
    inferred = es.ml.infer_trained_model(model_id="copy", docs=[{"field1": 1}])
    assert inferred["inference_results"][0]["predicted_value"] == "yes"


def test_a_definition_whose_unpacking_is_deferred_is_looked_at_when_the_model_is_used(es: Elasticsearch) -> None:
    body = tree_model()
    packed = base64.b64encode(gzip.compress(json.dumps(body.pop("definition")).encode())).decode()
    with pytest.raises(BadRequestError) as unsized:
        es.ml.put_trained_model(
            model_id="late", **body, compressed_definition=packed, defer_definition_decompression=True
        )
    assert "model_size_bytes must be set" in refusal(unsized)
    later = {"defer_definition_decompression": True, "model_size_bytes": 1024}
    es.ml.put_trained_model(model_id="late", **body, compressed_definition=packed, **later)
    shown = es.ml.get_trained_models(model_id="late", include="definition")["trained_model_configs"][0]
    assert shown["model_size_bytes"] == 1024
    assert "trained_model" in shown["definition"]
    inferred = es.ml.infer_trained_model(model_id="late", docs=[{"field1": 1}])
    assert inferred["inference_results"][0]["predicted_value"] == "yes"

    es.ml.put_trained_model(model_id="broken", **body, compressed_definition=packed[:40], **later)
    with pytest.raises(BadRequestError, match="could not be inflated"):
        es.ml.infer_trained_model(model_id="broken", docs=[{"field1": 1}])


def test_a_model_that_is_gone_is_a_404_however_it_was_used(es: Elasticsearch) -> None:
    inference_pipeline(es, "red-model")
    es.ml.delete_trained_model(model_id="red-model", force=True)
    for force in (False, True):
        with pytest.raises(NotFoundError):
            es.ml.delete_trained_model(model_id="red-model", force=force)


def test_an_export_has_nothing_generated_in_it(es: Elasticsearch) -> None:
    exported = es.ml.get_trained_models(
        model_id="red-model", exclude_generated=True, include="definition", decompress_definition=False
    )["trained_model_configs"][0]
    assert set(exported) == {
        "model_id", "model_type", "model_size_bytes", "description", "input", "inference_config", "tags",
        "compressed_definition",
    }  # fmt: skip


def test_models_are_found_by_wildcard_list_tags_and_page_sorted_by_id(es: Elasticsearch) -> None:
    assert ids(es.ml.get_trained_models()) == ["blue-model", "number-model", "red-model"]
    assert ids(es.ml.get_trained_models(model_id="*-model", tags="leaf,red")) == ["red-model"]
    assert ids(es.ml.get_trained_models(model_id="red-model,blue-*")) == ["blue-model", "red-model"]
    page = es.ml.get_trained_models(from_=1, size=1)
    assert (page["count"], ids(page)) == (3, ["number-model"])
    assert es.ml.get_trained_models(model_id="green*")["count"] == 0
    with pytest.raises(NotFoundError) as missing:
        es.ml.get_trained_models(model_id="green")
    assert refusal(missing) == "No known trained model with model_id [green]"
    with pytest.raises(NotFoundError):
        es.ml.get_trained_models(model_id="green*", allow_no_match=False)


def test_a_definition_is_shown_for_one_model_only(es: Elasticsearch) -> None:
    with pytest.raises(BadRequestError) as many:
        es.ml.get_trained_models(model_id="*", include="definition")
    assert refusal(many) == "Getting model definition is not supported when getting more than one model"
    with pytest.raises(BadRequestError) as status:
        es.ml.get_trained_models(model_id="red-model", include="definition_status")
    assert refusal(status) == "Definition status is only relevant to PyTorch model types"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"input": {"field_names": []}}, "[input.field_names] must not be empty"),
        (
            {"inference_config": {"regression": {}}},
            "Model [new] inference config type [regression] does not support definition target type [classification]",
        ),
        ({"create_time": 1}, "illegal to set [create_time] at inference model creation"),
        ({"definition": {"trained_model": {"ensemble": {"trained_models": []}}}}, "[trained_models] must not be empty"),
        ({"definition": None}, "[model_type] must be set if [definition] is not defined"),
    ],
)
def test_a_broken_model_is_refused(es: Elasticsearch, change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        es.perform_request(
            "PUT",
            "/_ml/trained_models/new",
            headers={"content-type": "application/json", "accept": "application/json"},
            body=tree_model() | change,
        )
    assert words in refusal(refused)


def test_an_existing_model_is_refused_and_other_kinds_answer_501(es: Elasticsearch) -> None:
    with pytest.raises(BadRequestError) as taken:
        es.ml.put_trained_model(model_id="red-model", **tree_model())
    assert refusal(taken) == "Trained machine learning model [red-model] already exists"
    with pytest.raises(ApiError) as neural:
        es.ml.put_trained_model(model_id="bert", model_type="pytorch", inference_config={"ner": {}})
    assert neural.value.status_code == 501


# Aliases ------------------------------------------------------------------------------------------------------------


def alias(client: Elasticsearch, model: str, name: str = "live", **options: Any) -> Any:
    return client.ml.put_trained_model_alias(model_id=model, model_alias=name, **options)


def test_an_alias_finds_its_model_and_shows_in_its_metadata(es: Elasticsearch) -> None:
    alias(es, "red-model", "b_live")
    alias(es, "red-model", "a_live")
    model = es.ml.get_trained_models(model_id="b_live")["trained_model_configs"][0]
    assert model["model_id"] == "red-model"
    assert model["metadata"]["model_aliases"] == ["a_live", "b_live"]


def test_a_taken_alias_moves_only_with_reassign_even_to_the_model_it_has(es: Elasticsearch) -> None:
    alias(es, "red-model")
    for target in ("blue-model", "red-model"):
        with pytest.raises(BadRequestError) as refused:
            alias(es, target)
        assert refusal(refused) == (
            f"cannot assign model_alias [live] to model_id [{target}] as model_alias already refers to [red-model]. "
            "Set parameter [reassign] to [true] if model_alias should be reassigned."
        )
    assert alias(es, "red-model", reassign=True)["acknowledged"] is True
    alias(es, "blue-model", reassign=True)
    assert ids(es.ml.get_trained_models(model_id="live")) == ["blue-model"]


def test_an_alias_cannot_take_a_models_id_nor_end_in_a_digit_nor_change_the_kind_of_model(es: Elasticsearch) -> None:
    with pytest.raises(BadRequestError) as same:
        alias(es, "red-model", "blue-model")
    assert refusal(same) == "model_alias cannot be the same as an existing trained model_id"
    for bad in ("fraud-v2", "Upper", "-dash"):
        with pytest.raises(BadRequestError) as refused:
            alias(es, "red-model", bad)
        assert "must start with alphanumeric and cannot end with numbers" in refusal(refused)
    alias(es, "red-model")
    with pytest.raises(BadRequestError) as kind:
        alias(es, "number-model", reassign=True)
    assert "with inference config type [regression] from model [red-model] with type [classification]" in refusal(kind)
    with pytest.raises(NotFoundError) as missing:
        alias(es, "green-model", "free")
    assert refusal(missing) == "No known trained model with model_id [green-model]"


def test_a_replacement_with_other_inputs_is_accepted_with_a_warning(es: Elasticsearch) -> None:
    other = tree_model()
    other["input"] = {"field_names": ["something", "else"]}
    es.ml.put_trained_model(model_id="other-model", **other)
    alias(es, "red-model")
    with pytest.warns(Warning, match="differ significantly"):
        assert alias(es, "other-model", reassign=True)["acknowledged"] is True


def test_an_alias_is_deleted_from_the_model_it_has_only(es: Elasticsearch) -> None:
    with pytest.raises(NotFoundError):
        es.ml.delete_trained_model_alias(model_id="red-model", model_alias="live")
    alias(es, "blue-model")
    with pytest.raises(ConflictError):
        es.ml.delete_trained_model_alias(model_id="red-model", model_alias="live")
    es.ml.delete_trained_model_alias(model_id="blue-model", model_alias="live")
    with pytest.raises(NotFoundError):
        es.ml.get_trained_models(model_id="live")


# Delete -------------------------------------------------------------------------------------------------------------


def test_a_model_named_by_a_pipeline_is_protected_by_id_and_by_alias(es: Elasticsearch) -> None:
    inference_pipeline(es, "red-model")
    with pytest.raises(ConflictError) as by_id:
        es.ml.delete_trained_model(model_id="red-model")
    assert refusal(by_id) == (
        "Cannot delete model [red-model] as it is still referenced by ingest processors; use force to delete the model"
    )
    alias(es, "blue-model")
    es.ingest.put_pipeline(
        id="nested",
        processors=[{"set": {"field": "a", "value": 1, "on_failure": [{"inference": {"model_id": "live"}}]}}],
    )
    with pytest.raises(ConflictError) as by_alias:
        es.ml.delete_trained_model(model_id="blue-model")
    assert refusal(by_alias) == (
        "Cannot delete model [blue-model] as it has a model_alias [live] that is still referenced by ingest "
        "processors; use force to delete the model"
    )
    assert es.ml.delete_trained_model(model_id="red-model", force=True)["acknowledged"] is True
    with pytest.raises(NotFoundError):
        es.ml.delete_trained_model(model_id="red-model", force=True)


def test_deleting_a_model_takes_its_aliases_with_it(es: Elasticsearch) -> None:
    alias(es, "red-model")
    es.ml.delete_trained_model(model_id="red-model")
    with pytest.raises(NotFoundError):
        es.ml.get_trained_models(model_id="live")
    alias(es, "blue-model")
    assert ids(es.ml.get_trained_models(model_id="live")) == ["blue-model"]


# Inference ----------------------------------------------------------------------------------------------------------


def test_infer_answers_one_result_a_document_and_a_warning_where_every_field_is_missing(es: Elasticsearch) -> None:
    answer = es.ml.infer_trained_model(model_id="red-model", docs=[{"field1": 3}, {"unknown": 1}])
    assert answer["inference_results"] == [
        {"predicted_value": "yes", "prediction_probability": 1.0, "prediction_score": 1.0},
        {"warning": "Model [red-model] could not be inferred as all fields were missing"},
    ]
    with pytest.raises(NotFoundError):
        es.ml.infer_trained_model(model_id="green-model", docs=[{"field1": 3}])


def test_infer_takes_overrides_of_its_own_kind_only(es: Elasticsearch) -> None:
    override = {
        "classification": {"num_top_classes": -1, "results_field": "answer", "prediction_field_type": "boolean"}
    }
    result = es.ml.infer_trained_model(model_id="red-model", docs=[{"field1": 3}], inference_config=override)
    assert result["inference_results"][0]["answer"] is True
    assert [entry["class_name"] for entry in result["inference_results"][0]["top_classes"]] == [True, False]
    with pytest.raises(BadRequestError):
        es.ml.infer_trained_model(model_id="red-model", docs=[{}], inference_config={"regression": {}})
    with pytest.raises(BadRequestError):
        es.ml.infer_trained_model(
            model_id="red-model", docs=[{}], inference_config={"classification": {"num_top_classez": 1}}
        )


def test_the_processor_writes_the_result_and_the_id_behind_the_alias_under_its_target_field(
    elasticsearch: Elasticsearch,
) -> None:
    es = elasticsearch
    index_events(es, events())
    model_id = run_job(es)
    alias(es, model_id, "fraud_champion")
    options = {"num_top_classes": 1, "num_top_feature_importance_values": 2, "results_field": "verdict"}
    inference_pipeline(es, "fraud_champion", inference_config={"classification": options})
    document = {"amount": 2.0, "kind": "kind 2", "user": {"id": "user 3"}, "weekend": False}
    es.index(index="scored", id="1", document=document, pipeline="score", refresh=True)
    written = es.get(index="scored", id="1")["_source"]["ml"]["score"]
    assert set(written) == {
        "verdict", "top_classes", "prediction_probability", "prediction_score", "feature_importance", "model_id"
    }  # fmt: skip
    assert written["verdict"] == "true"
    assert written["model_id"] == model_id
    assert len(written["top_classes"]) == 1
    assert [item["feature_name"] for item in written["feature_importance"]] == ["amount", "kind"]
    inferred = es.ml.infer_trained_model(
        model_id=model_id, docs=[document], inference_config={"classification": options}
    )["inference_results"][0]
    assert inferred == {name: value for name, value in written.items() if name != "model_id"}


def test_the_processor_appends_where_its_target_field_already_has_a_value(es: Elasticsearch) -> None:
    inference_pipeline(es, "red-model")
    old = {"predicted_value": "no"}
    es.index(index="scored", id="1", document={"field1": 1, "ml": {"score": old}}, pipeline="score")
    values = es.get(index="scored", id="1")["_source"]["ml"]["score"]
    assert [value["predicted_value"] for value in values] == ["no", "yes"]


def test_a_field_map_renames_and_the_default_target_carries_the_tag(es: Elasticsearch) -> None:
    processor = {"model_id": "number-model", "tag": "here", "field_map": {"some.where": "field1"}}
    answer = es.ingest.simulate(
        pipeline={"processors": [{"inference": processor}]},
        docs=[{"_source": {"some": {"where": 1}}}, {"_source": {"field3": 1}}],
    )
    first, second = [item["doc"]["_source"]["ml"]["inference"]["here"] for item in answer["docs"]]
    assert first == {"predicted_value": 42.0, "model_id": "number-model"}
    assert second == {
        "warning": "Model [number-model] could not be inferred as all fields were missing",
        "model_id": "number-model",
    }


def test_a_pipeline_may_name_a_missing_model_and_then_fails_every_document_until_it_exists(es: Elasticsearch) -> None:
    inference_pipeline(es, "later_live")
    with pytest.raises(NotFoundError) as missing:
        es.index(index="scored", document={"field1": 1}, pipeline="score")
    assert refusal(missing) == "Could not find trained model [later_live]"
    alias(es, "red-model", "later_live")
    assert es.index(index="scored", document={"field1": 1}, pipeline="score")["result"] == "created"


def test_the_processor_refuses_a_wrong_configuration(es: Elasticsearch) -> None:
    with pytest.raises(BadRequestError) as missing:
        es.ingest.put_pipeline(id="p", processors=[{"inference": {"target_field": "x"}}])
    assert refusal(missing) == "[model_id] required property is missing"
    with pytest.raises(BadRequestError) as unknown:
        es.ingest.put_pipeline(id="p", processors=[{"inference": {"model_id": "red-model", "modell": 1}}])
    assert "modell" in refusal(unknown)
    for config, words in (
        ({"klassification": {}}, "unrecognized inference configuration type [klassification]"),
        ({}, "inference_config must be an object with one inference type mapped to an object."),
        ({"regression": "boom"}, "inference_config must be an object with one inference type mapped to an object."),
        ({"regression": {"results_field": "warning"}}, "More than one field is configured as [warning]"),
        (
            {"classification": {"results_field": "x", "top_classes_results_field": "x"}},
            "More than one field is configured as [x]",
        ),
    ):
        with pytest.raises(BadRequestError) as wrong:
            inference_pipeline(es, "red-model", inference_config=config)
        assert words in refusal(wrong)
    with pytest.raises(BadRequestError) as unread:
        inference_pipeline(es, "red-model", ignore_missing=True)
    assert "[ignore_missing]" in refusal(unread)


def test_input_output_is_refused_where_it_contradicts_other_options(es: Elasticsearch) -> None:
    good = {"input_field": "a", "output_field": "b"}
    for options, words in (
        ({"input_output": "a"}, "[input_output] property isn't a map or list of maps"),
        ({"input_output": ["a"]}, "[input_output] property isn't a list of maps"),
        ({"input_output": []}, "[input_output] property cannot be empty at least one is required"),
        ({"input_output": {"input_field": "a"}}, "[output_field] required property is missing"),
        ({"input_output": [good, {**good, "output_field": "c"}]}, "[input_field] names must be unique but [a] is"),
        ({"input_output": [good, {**good, "input_field": "c"}]}, "[output_field] names must be unique but [b] is"),
        ({"input_output": good, "target_field": "x"}, "[target_field] option is incompatible with [input_output]."),
        ({"input_output": good, "field_map": {"a": "b"}}, "one or more provided configuration parameters [field_map]"),
        (
            {"input_output": good, "inference_config": {"regression": {"results_field": "x"}}},
            "The [inference_config.results_field] setting is incompatible with using [input_output].",
        ),
    ):
        with pytest.raises(BadRequestError) as wrong:
            es.ingest.put_pipeline(id="p", processors=[{"inference": {"model_id": "red-model", **options}}])
        assert words in refusal(wrong)


def test_a_text_input_fails_the_document_as_a_tree_model_is_no_deployed_one(es: Elasticsearch) -> None:
    fields = [{"input_field": "a", "output_field": "b"}, {"input_field": "c.d", "output_field": "e"}]
    processor = {"model_id": "red-model", "input_output": fields}
    es.ingest.put_pipeline(id="score", processors=[{"inference": processor}])
    for document, status, words in (
        (
            {"a": "text", "c": {"d": "more"}},
            404,
            "[red-model] is not an inference service model or a deployed ml model",
        ),
        ({"a": 1, "c": {"d": "more"}}, 400, "input field [a] cannot be processed because it is not a text field"),
        ({"a": "text"}, 400, "field [c] not present as part of path [c.d]"),
    ):
        with pytest.raises(ApiError) as failed:
            es.index(index="scored", document=document, pipeline="score")
        assert (failed.value.status_code, refusal(failed)) == (status, words)
    assert es.index(index="scored", document={"a": None}, pipeline="score")["result"] == "created"
    es.ingest.put_pipeline(id="score", processors=[{"inference": {**processor, "ignore_missing": True}}])
    assert es.index(index="scored", document={"x": 1}, pipeline="score")["result"] == "created"
    with pytest.raises(NotFoundError):
        es.index(index="scored", document={"a": "text"}, pipeline="score")


def test_no_more_inference_processors_than_the_cluster_allows(es: Elasticsearch, sandbox: Sandbox) -> None:
    sandbox.backend.ml.max_inference_processors = 1
    inference_pipeline(es, "red-model")
    with pytest.raises(ConflictError) as full:
        inference_pipeline(es, "blue-model", name="second")
    assert refusal(full).startswith("Max number of inference processors reached, total inference processors [1].")


def test_stats_count_inferences_failures_and_the_work_of_the_pipelines_that_name_the_model(es: Elasticsearch) -> None:
    fresh = es.ml.get_trained_models_stats(model_id="red-model")["trained_model_stats"][0]
    assert fresh["pipeline_count"] == 0
    assert "ingest" not in fresh
    alias(es, "red-model")
    inference_pipeline(es, "live")
    for number in range(3):
        es.index(index="scored", document={"field1": number}, pipeline="score")
    es.index(index="scored", document={"nothing": 1}, pipeline="score")
    used = es.ml.get_trained_models_stats(model_id="live")["trained_model_stats"][0]
    assert used["model_id"] == "red-model"
    assert used["pipeline_count"] == 1
    assert used["inference_stats"]["inference_count"] == 4
    assert used["inference_stats"]["missing_all_fields_count"] == 1
    pipeline = used["ingest"]["pipelines"]["score"]
    assert pipeline["count"] == 4
    assert pipeline["processors"][0]["inference"]["stats"]["count"] == 4
    both = es.ml.get_trained_models_stats(model_id="live,blue-model")
    assert [entry["model_id"] for entry in both["trained_model_stats"]] == ["blue-model", "red-model"]
    with pytest.raises(NotFoundError):
        es.ml.get_trained_models_stats(model_id="green")


def test_importance_from_a_model_without_sample_counts_is_refused(es: Elasticsearch) -> None:
    split = {"node_index": 0, "split_feature": 0, "threshold": 1, "left_child": 1, "right_child": 2}
    body = tree_model(0, "regression")
    nodes = [split, {"node_index": 1, "leaf_value": 1.0}, {"node_index": 2, "leaf_value": 2.0}]
    body["definition"]["trained_model"]["tree"]["tree_structure"] = nodes
    es.ml.put_trained_model(model_id="bare", **body)
    with pytest.raises(BadRequestError, match="number_samples"):
        es.ml.infer_trained_model(
            model_id="bare",
            docs=[{"field1": 0.5}],
            inference_config={"regression": {"num_top_feature_importance_values": 1}},
        )


def test_info_tells_defaults_and_limits(elasticsearch: Elasticsearch) -> None:
    info = elasticsearch.ml.info()
    assert info["defaults"]["anomaly_detectors"]["categorization_analyzer"]["tokenizer"] == "ml_standard"
    assert info["defaults"]["datafeeds"]["scroll_size"] == 1000
    assert info["upgrade_mode"] is False
    assert info["limits"]["total_ml_memory"].endswith("mb")
