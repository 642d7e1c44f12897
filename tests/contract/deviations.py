"""Where the server is right and its specification is not, and how a problem is recognised as one of these."""

import re
from typing import Any

Problem = tuple[str, str]
"""The API and what the validator says, without positions in lists."""

# Problem → source; `*` is any name.
DEVIATIONS = {
    (
        "esql.query",
        "$.values[][]: expected number, got list *",
    ): "a field of several values is a list: Elastic's REST test esql/190_lookup_join.yml",
    ("esql.query", "$.values[][]: expected number, got dict *"): "METADATA _source: REST test esql/140_metadata.yml",
    ("esql.query", "$.columns[]: unknown property 'original_types'"): "REST test esql/160_union_types.yml",
    ("esql.query", "$.columns[]: unknown property 'suggested_cast'"): "REST test esql/160_union_types.yml",
    ("ilm.get_lifecycle", "$.*: unknown property 'in_use_by'"): "in the answer that the API's documentation shows",
    ("indices.get_alias", "$.error: expected object, got str"): "Elastic's test indices.get_alias/10_basic.yml",
    (
        "indices.update_aliases",
        "$: unknown property 'errors'",
    ): "Elastic's test indices.update_aliases/40_must_exist.yml",
    (
        "indices.simulate_index_template",
        "$.template: unknown property 'lifecycle'",
    ): "Elastic's test indices.simulate_index_template/10_basic.yml: template.lifecycle.data_retention",
    (
        "ingest.put_pipeline",
        "$.processors[].remove: missing required 'field'",
    ): "elastic/elasticsearch#136638: `field` is not required where `keep` is given",
    (
        "ml.get_data_frame_analytics_stats",
        "$.data_frame_analytics[].analysis_stats.classification_stats.hyperparameters: "
        "unknown property 'class_assignment_objective'",
    ): "in real answers; the server's Hyperparameters writes it",
    (
        "ml.get_data_frame_analytics_stats",
        "$.data_frame_analytics[].analysis_stats.classification_stats.validation_loss: missing required 'fold_values'",
    ): "real answers have it with verbose=true only",
    (
        "ml.get_data_frame_analytics_stats",
        "$.data_frame_analytics[].analysis_stats.regression_stats.validation_loss: missing required 'fold_values'",
    ): "real answers have it with verbose=true only",
    (
        "ml.get_trained_models",
        "$.trained_model_configs[].metadata: unknown property 'elastic_ml_origin'",
    ): "a request may hold any metadata, says the specification itself; the answer is what was put",
    (
        "ml.put_trained_model",
        "$.metadata: unknown property 'elastic_ml_origin'",
    ): "likewise",
    (
        "ml.get_trained_models",
        "$.trained_model_configs[].metadata: unknown property 'analytics_config'",
    ): "in real answers to every model that an analytics job made",
    (
        "ml.get_trained_models",
        "$.trained_model_configs[].metadata.total_feature_importance[].classes[].importance: expected array, got dict",
    ): "real answers have {mean_magnitude, min, max}",
    (
        "ml.get_trained_models",
        "$.trained_model_configs[].metadata.total_feature_importance[].importance: expected array, got dict",
    ): "real answers have {mean_magnitude, min, max}",
    (
        "ml.get_trained_models",
        "$.trained_model_configs[].metadata.total_feature_importance[]: missing required 'classes'",
    ): "real answers to a regression have no classes",
    (
        "ml.get_trained_models",
        "$.trained_model_configs[].metadata.total_feature_importance[]: missing required 'importance'",
    ): "real answers have it per class where there are classes",
    (
        "ml.preview_datafeed",
        "$: expected object, got NoneType",
    ): "Elastic's test preview_datafeed.yml: a datafeed named in the URL needs no body",
    (
        "ml.put_filter",
        "$: missing required 'description'",
    ): "Elastic's test filter_crud.yml: a filter without a description has none in the answer",
    (
        "ml.update_filter",
        "$: missing required 'description'",
    ): "Elastic's test filter_crud.yml: a filter without a description has none in the answer",
}


def unexplained(problems: dict[Problem, Any]) -> list[str]:
    """One line per problem that is no known deviation, and the example below it."""
    return [
        f"{api} {problem}\n    {str(example)[:400]}"
        for (api, problem), example in problems.items()
        if not any(deviates(key, (api, problem)) for key in DEVIATIONS)
    ]


def deviates(known: Problem, found: Problem) -> bool:
    return known[0] == found[0] and re.fullmatch(re.escape(known[1]).replace(r"\*", ".*"), found[1]) is not None


def numberless(problem: str) -> str:
    """A problem without the positions in its path."""
    return re.sub(r"\[\d+\]", "[]", problem)
