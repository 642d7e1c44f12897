"""Configurations of analytics jobs: strictness, ranges, defaults; and the choice of fields."""

from __future__ import annotations

from typing import Any

import pytest

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.ml.analysis_config import parse_config, parse_update, shown
from elastic_sandbox.ml.field_selection import SourceField, SourceFields, select_fields

KEYWORD_OR_NUMBER = (
    "[boolean, byte, double, float, half_float, integer, ip, keyword, long, scaled_float, short, text, unsigned_long]"
)


def body(**changes: Any) -> dict[str, Any]:
    return {
        "source": {"index": "events"},
        "dest": {"index": "results"},
        "analysis": {"classification": {"dependent_variable": "label"}},
        **changes,
    }


def classification(**options: Any) -> dict[str, Any]:
    return body(analysis={"classification": {"dependent_variable": "label", **options}})


def parse(given: dict[str, Any], job_id: str = "job", max_memory: str | None = None) -> dict[str, Any]:
    return parse_config(job_id, given, now_ms=1, max_memory=max_memory)


def test_the_configuration_is_echoed_with_every_default_filled_in() -> None:
    config = parse(classification(randomize_seed=24))
    assert config["source"] == {"index": ["events"], "query": {"match_all": {}}}
    assert config["dest"] == {"index": "results", "results_field": "ml"}
    assert config["analysis"]["classification"] == {
        "dependent_variable": "label",
        "prediction_field_name": "label_prediction",
        "training_percent": 100.0,
        "randomize_seed": 24,
        "class_assignment_objective": "maximize_minimum_recall",
        "num_top_classes": 2,
        "early_stopping_enabled": True,
    }
    assert (config["model_memory_limit"], config["max_num_threads"]) == ("1gb", 1)
    assert config["allow_lazy_start"] is False
    assert config["create_time"] == 1
    assert "description" not in config


def test_analyzed_fields_given_as_a_list_are_the_includes_and_meta_is_kept() -> None:
    config = parse(body(analyzed_fields=["a", "b.*"], _meta={"managed_by": "me"}))
    assert config["analyzed_fields"] == {"includes": ["a", "b.*"], "excludes": []}
    assert config["_meta"] == {"managed_by": "me"}


def test_the_deprecated_name_of_max_trees_is_understood() -> None:
    options = parse(classification(maximum_number_trees=400))["analysis"]["classification"]
    assert options["max_trees"] == 400
    assert "maximum_number_trees" not in options


@pytest.mark.parametrize("name", ["headers", "create_time", "version", "unknown_field"])
def test_an_unknown_field_is_refused_by_name(name: str) -> None:
    with pytest.raises(ElasticError) as refused:
        parse(body(**{name: 1}))
    assert refused.value.status == 400
    assert f"unknown field [{name}]" in refused.value.reason


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"training_percent": 0}, "[training_percent] must be a positive double in (0, 100]"),
        ({"training_percent": 100.1}, "[training_percent] must be a positive double in (0, 100]"),
        ({"lambda": -1}, "[lambda] must be a non-negative double"),
        ({"gamma": -0.1}, "[gamma] must be a non-negative double"),
        ({"eta": 0.0009}, "[eta] must be a double in [0.001, 1]"),
        ({"eta": 1.00001}, "[eta] must be a double in [0.001, 1]"),
        ({"max_trees": 0}, "[max_trees] must be an integer in [1, 2000]"),
        ({"max_trees": 2001}, "[max_trees] must be an integer in [1, 2000]"),
        ({"feature_bag_fraction": 0}, "[feature_bag_fraction] must be a double in (0, 1]"),
        ({"num_top_classes": -2}, "[num_top_classes] must be an integer in [0, 1000] or a special value -1"),
        ({"num_top_classes": 1001}, "[num_top_classes] must be an integer in [0, 1000] or a special value -1"),
        ({"num_top_classez": 1}, "unknown field [num_top_classez] did you mean [num_top_classes]?"),
        ({"lambda": "big"}, "lambda doesn't support values of type: VALUE_STRING"),
    ],
)
def test_an_option_out_of_range_is_refused_in_the_servers_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ElasticError) as refused:
        parse(classification(**options))
    assert refused.value.status == 400
    assert words in refused.value.reason


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dest": {"index": "d"}, "analysis": {}}, "[source] must not be null"),
        (body(dest=None), "[dest] must not be null"),
        (body(analysis=None), "[analysis] must not be null"),
        (body(source={}), "Required [index]"),
        (body(source={"index": []}), "source.index must specify at least one index"),
        (body(source={"index": [""]}), "source.index must contain non-null and non-empty strings"),
        (body(dest={}), "Required [index]"),
        (body(dest={"index": ""}), "[index] must be non-empty"),
        (body(analysis={"classification": {}}), "Required [dependent_variable]"),
        (body(id="other"), "Inconsistent id; 'other' specified in the body differs from 'job' specified as a URL"),
        (body(model_memory_limit="lots"), "failed to parse setting [model_memory_limit] with value [lots]"),
    ],
)
def test_an_incomplete_or_contradictory_body_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ElasticError) as refused:
        parse(given)
    assert refused.value.status == 400
    assert words in refused.value.reason


@pytest.mark.parametrize("job_id", ["Upper", "has space", "-dash-first", "dash-last-", "a" * 65])
def test_an_id_must_be_lowercase_alphanumeric_and_at_most_64_characters(job_id: str) -> None:
    with pytest.raises(ElasticError, match="Invalid id"):
        parse(body(), job_id)


def test_the_defaults_of_a_regression_and_of_an_outlier_detection_are_echoed() -> None:
    config = parse(body(analysis={"regression": {"dependent_variable": "minutes", "randomize_seed": 42}}))
    assert config["analysis"] == {
        "regression": {
            "dependent_variable": "minutes",
            "prediction_field_name": "minutes_prediction",
            "training_percent": 100.0,
            "randomize_seed": 42,
            "loss_function": "mse",
            "early_stopping_enabled": True,
        }
    }
    standard = {"compute_feature_influence": True, "outlier_fraction": 0.05, "standardization_enabled": True}
    assert parse(body(analysis={"outlier_detection": {}}))["analysis"] == {"outlier_detection": standard}
    custom = {
        "n_neighbors": 5, "method": "lof", "feature_influence_threshold": 0.0, "compute_feature_influence": False,
        "outlier_fraction": 0.95, "standardization_enabled": False,
    }  # fmt: skip
    assert parse(body(analysis={"outlier_detection": custom}))["analysis"] == {"outlier_detection": custom}


@pytest.mark.parametrize(
    ("analysis", "words"),
    [
        ({"outlier_detection": {"n_neighbors": 0}}, "[n_neighbors] must be a positive integer"),
        ({"outlier_detection": {"n_neighbors": -1}}, "[n_neighbors] must be a positive integer"),
        (
            {"outlier_detection": {"feature_influence_threshold": 1.001}},
            "[feature_influence_threshold] must be in [0, 1]",
        ),
        ({"outlier_detection": {"outlier_fraction": -0.001}}, "[outlier_fraction] must be in [0, 1]"),
        ({"outlier_detection": {"method": "guess"}}, "No enum constant"),
        ({"outlier_detection": {"unknown_field": 42}}, "unknown field [unknown_field]"),
        ({"outlier_detection": {"dependent_variable": "a"}}, "unknown field [dependent_variable]"),
        ({"regression": {}}, "Required [dependent_variable]"),
        ({"regression": {"dependent_variable": "a", "num_top_classes": 2}}, "unknown field [num_top_classes]"),
        ({"regression": {"dependent_variable": "a", "lambda": -1.0}}, "[lambda] must be a non-negative double"),
        ({"regression": {"dependent_variable": "a", "eta": 1.1}}, "[eta] must be a double in [0.001, 1]"),
        (
            {"regression": {"dependent_variable": "a", "training_percent": -1.0}},
            "[training_percent] must be a positive double in (0, 100]",
        ),
        (
            {"regression": {"dependent_variable": "a", "loss_function_parameter": 0.0}},
            "[loss_function_parameter] must be a positive double",
        ),
        ({"clustering": {}}, "unknown field [clustering]"),
        ({"regression": {"dependent_variable": "a"}, "outlier_detection": {}}, "exactly one analysis"),
    ],
)
def test_each_analysis_refuses_what_it_does_not_take(analysis: dict[str, Any], words: str) -> None:
    with pytest.raises(ElasticError) as refused:
        parse(body(analysis=analysis))
    assert refused.value.status == 400
    assert words in refused.value.reason


@pytest.mark.parametrize("loss", ["msle", "huber"])
def test_a_loss_function_that_is_not_there_answers_501_by_name(loss: str) -> None:
    with pytest.raises(ElasticError, match=loss) as refused:
        parse(body(analysis={"regression": {"dependent_variable": "a", "loss_function": loss}}))
    assert refused.value.status == 501


def test_a_memory_limit_above_the_clusters_is_refused_and_the_default_silently_capped() -> None:
    with pytest.raises(ElasticError) as refused:
        parse(body(model_memory_limit="8gb"), max_memory="20mb")
    assert refused.value.reason == (
        "model_memory_limit [8gb] must be less than the value of the xpack.ml.max_model_memory_limit setting [20mb]"
    )
    assert parse(body(), max_memory="20mb")["model_memory_limit"] == "20mb"


def test_an_analyzed_field_that_the_source_filter_drops_is_refused() -> None:
    given = body(source={"index": "e", "_source": {"excludes": ["secret"]}}, analyzed_fields=["secret"])
    with pytest.raises(ElasticError) as refused:
        parse(given)
    assert "field [secret] is included in [analyzed_fields] but not in [source._source]" in refused.value.reason


def test_an_update_takes_four_fields_and_no_other() -> None:
    assert parse_update("job", {"description": "x", "model_memory_limit": "30MB"}, max_memory=None) == {
        "description": "x",
        "model_memory_limit": "30mb",
    }
    with pytest.raises(ElasticError, match=r"unknown field \[source\]"):
        parse_update("job", {"source": {}}, max_memory=None)


def test_a_configuration_for_export_has_nothing_generated() -> None:
    exported = shown(parse(body()), exclude_generated=True)
    assert not {"id", "create_time", "version", "authorization"} & set(exported)
    assert exported["source"]["index"] == ["events"]


# Fields -------------------------------------------------------------------------------------------------------------


def fields(**types: str) -> SourceFields:
    found = {path.replace("__", "."): SourceField({kind}) for path, kind in types.items()}
    return SourceFields(found, set(), set())


def reasons(config: dict[str, Any], source: SourceFields) -> dict[str, str | None]:
    return {item["name"]: item.get("reason") for item in select_fields(config, source).field_selection}


def test_all_supported_fields_are_chosen_and_the_others_explained() -> None:
    source = fields(label="keyword", amount="double", weekend="boolean", when="date", ml__old="double")
    selection = select_fields(parse(body()), source)
    assert selection.features == ["amount", "weekend"]
    assert selection.categorical == []
    listed = {item["name"]: item for item in selection.field_selection}
    assert listed["when"]["reason"] == f"unsupported type; supported types are {KEYWORD_OR_NUMBER}"
    assert listed["label"]["is_required"]
    assert listed["label"]["feature_type"] == "categorical"
    assert listed["amount"] == {
        "name": "amount",
        "mapping_types": ["double"],
        "is_included": True,
        "is_required": False,
        "feature_type": "numerical",
    }
    assert "ml.old" not in listed  # below the results field


def test_includes_and_excludes_choose_and_say_so() -> None:
    source = fields(label="keyword", a__x="double", a__y="double", b="double")
    included = parse(body(analyzed_fields={"includes": ["label", "a.*"], "excludes": ["a.y"]}))
    assert reasons(included, source) == {
        "label": None,
        "a.x": None,
        "a.y": "field in excludes list",
        "b": "field not in includes list",
    }


def test_nested_fields_are_reported_once_as_a_pattern() -> None:
    source = fields(label="keyword", amount="double", items__price="double", items__name="keyword")
    source.nested.add("items")
    found = reasons(parse(body()), source)
    assert found["items.*"] == "nested fields are not supported"
    assert "items.price" not in found


def test_of_a_text_field_and_its_keyword_the_aggregatable_one_is_taken() -> None:
    source = fields(label="keyword", note="text")
    source.fields["note.raw"] = SourceField({"keyword"}, parent="note")
    selection = select_fields(parse(body()), source)
    assert selection.features == ["note.raw"]
    assert selection.source_path("note.raw") == "note"
    assert reasons(parse(body()), source)["note"] == "[note.raw] is preferred because it is aggregatable"


@pytest.mark.parametrize(
    ("source", "changes", "words"),
    [
        (fields(amount="double"), {}, "no mappings could be found for field [label]"),
        (fields(label="keyword"), {}, "at least one field must be included in the analysis (excluding fields [label])"),
        (
            fields(label="keyword", a="double"),
            {"analyzed_fields": ["a"]},
            "required field [label] is missing; analysis requires fields [label]",
        ),
        (fields(label="double", a="double"), {}, "invalid types [double] for required field [label]"),
        (
            fields(label="keyword", when="date"),
            {"analyzed_fields": ["label", "when"]},
            f"field [when] has unsupported type [date]. Supported types are {KEYWORD_OR_NUMBER}.",
        ),
        (fields(label="keyword", a="double"), {"analyzed_fields": ["nope"]}, "No field [nope] could be detected"),
    ],
)
def test_an_impossible_choice_of_fields_is_refused(source: SourceFields, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ElasticError) as refused:
        select_fields(parse(body(**changes)), source)
    assert refused.value.status == 400
    assert words in refused.value.reason


def test_outlier_detection_takes_numbers_and_booleans_only() -> None:
    config = parse(body(analysis={"outlier_detection": {}}))
    selection = select_fields(config, fields(amount="double", weekend="boolean", kind="keyword"))
    assert (selection.features, selection.categorical, selection.dependent_variable) == (
        ["amount", "weekend"],
        [],
        None,
    )
    listed = {item["name"]: item for item in selection.field_selection}
    assert listed["kind"]["reason"] == (
        "unsupported type; supported types are "
        "[boolean, byte, double, float, half_float, integer, long, scaled_float, short, unsigned_long]"
    )
    assert not any(item["is_required"] for item in selection.field_selection)
    with pytest.raises(ElasticError) as refused:
        select_fields(config, fields(kind="keyword"))
    assert refused.value.reason == "at least one field must be included in the analysis"


def test_a_regression_needs_a_number_to_learn() -> None:
    config = parse(body(analysis={"regression": {"dependent_variable": "minutes"}}))
    selection = select_fields(config, fields(minutes="double", kind="keyword"))
    listed = {item["name"]: item for item in selection.field_selection}
    assert (listed["minutes"]["is_required"], listed["minutes"]["feature_type"]) == (True, "numerical")
    with pytest.raises(ElasticError) as refused:
        select_fields(config, fields(minutes="keyword", kind="keyword"))
    assert refused.value.reason == (
        "invalid types [keyword] for required field [minutes]; expected types are "
        "[byte, double, float, half_float, integer, long, scaled_float, short, unsigned_long]"
    )


@pytest.mark.parametrize(("kind", "written"), [("boolean", "boolean"), ("long", "number"), ("ip", "string")])
def test_predictions_are_written_in_the_type_of_the_dependent_variable(kind: str, written: str) -> None:
    assert select_fields(parse(body()), fields(label=kind, a="double")).prediction_field_type == written
