"""What `check` says of values that Elasticsearch or Airflow would refuse later, and what it lets pass as they do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from elasticsearch import Elasticsearch

from elastic_ml.project import load_project
from elastic_ml.project.anomaly_bodies import datafeed_body, job_body
from elastic_ml.project.check import findings
from elastic_ml.project.doubts import doubts

WEBSHOP = Path(__file__).parent / "webshop"
JOB = """\
owner: security
groups: [shop]
job:
  analysis_config:
    bucket_span: 1h
    detectors:
      - {function: mean, field_name: amount, by_field_name: till, partition_field_name: user.id}
    influencers: [user.id]
datafeed:
  indices: [logs-shop.audit-eu]
mode: realtime
"""
COUNTED = "    influencers: [user.id]\n    summary_count_field_name: doc_count\n"
BUCKETS = (
    "date_histogram: {field: '@timestamp', fixed_interval: 5m}, aggs: {'@timestamp': {max: {field: '@timestamp'}}}"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = Path(shutil.copytree(WEBSHOP, tmp_path / "webshop"))
    outliers = made / "models" / "odd_accounts.yml"
    outliers.write_text(outliers.read_text().replace("features-shop.user_hour", "logs-shop.audit-eu"))
    (made / "anomaly_jobs").mkdir()
    (made / "anomaly_jobs" / "refunds.yml").write_text(JOB)
    return made


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_files_of_this_room_are_right_before_anything_is_changed(folder: Path) -> None:
    assert findings(folder) == []
    assert doubts(folder) == []


# Anomaly jobs ------------------------------------------------------------------------------------------------------

DETECTOR = "{function: mean, field_name: amount, by_field_name: till, partition_field_name: user.id}"
FEED = "datafeed:\n"


def job(extra: str) -> tuple[str, str]:
    return FEED, f"  {extra}\n{FEED}"


def feed(extra: str) -> tuple[str, str]:
    return "mode: realtime", f"  {extra}\nmode: realtime"


def analysis(extra: str) -> tuple[str, str]:
    return "    influencers", f"    {extra}\n    influencers"


def detector(written: str) -> tuple[str, str]:
    return DETECTOR, written


def rule(written: str) -> tuple[str, str]:
    return DETECTOR, f"{DETECTOR[:-1]}, custom_rules: [{written}]}}"


AT = "job.analysis_config"
FIRST = f"{AT}.detectors.0"
REFUSED_JOBS: list[tuple[tuple[str, str], str, str]] = [
    # sizes
    (job("analysis_limits: {model_memory_limit: 1gib}"), "job.analysis_limits.model_memory_limit",
     "'1gib' is no size. Write a number and b, kb, mb, gb, tb or pb, as in 64mb."),
    (job('analysis_limits: {model_memory_limit: "12"}'), "job.analysis_limits.model_memory_limit",
     "'12' is no size: its unit is missing."),
    (job("analysis_limits: {model_memory_limit: -5mb}"), "job.analysis_limits.model_memory_limit",
     "'-5mb' is negative."),
    (job("analysis_limits: {model_memory_limit: 1.555gb}"), "job.analysis_limits.model_memory_limit", "decimal places"),
    (job("analysis_limits: {model_memory_limit: 512kb}"), "job.analysis_limits.model_memory_limit",
     "'512kb' is no memory limit. Write 1mb or more"),
    (job("analysis_limits: {model_memory_limit: 0}"), "job.analysis_limits.model_memory_limit", "1mb or more"),
    (job("analysis_limits: {model_memory_limits: 64mb}"), "job.analysis_limits.model_memory_limits",
     "unknown key. Did you mean model_memory_limit?"),
    (job("analysis_limits: {categorization_examples_limit: -1}"), "job.analysis_limits.categorization_examples_limit",
     "a whole number from 0 on"),
    # times
    (analysis("latency: 10m"), f"{AT}.latency", "a job with a datafeed takes no latency"),
    (analysis("model_prune_window: 90m"), f"{AT}.model_prune_window", "not two or more whole spans of 1h"),
    (analysis("model_prune_window: 1h"), f"{AT}.model_prune_window", "not two or more whole spans of 1h"),
    (job("background_persist_interval: 59m"), "job.background_persist_interval", "at least 1h"),
    (job("background_persist_interval: daily"), "job.background_persist_interval", "'daily' is no time"),
    (feed("query_delay: -1s"), "datafeed.query_delay", "'-1s' is negative"),
    (feed("query_delay: 90"), "datafeed.query_delay", 'Quote it: "90"'),
    (feed('query_delay: "90"'), "datafeed.query_delay", "'90' is no time"),
    (feed("query_delay: 1.5m"), "datafeed.query_delay", "'1.5m' is no time"),
    (feed("frequency: 0s"), "datafeed.frequency", "longer than 0"),
    (feed("frequency: 1500ms"), "datafeed.frequency", "no multiple of 1s"),
    (feed("frequency: 15M"), "datafeed.frequency", "'15M' is no time"),
    # detectors
    (detector("{function: mean, field_name: ''}"), f"{FIRST}.function", "mean is computed of a field"),
    (detector("{function: dc}"), f"{FIRST}.function", "dc is computed of a field"),
    (detector("{function: nzc, field_name: amount}"), f"{FIRST}.field_name", "nzc has no field"),
    (detector("{function: high_non_zero_count, over_field_name: till}"), f"{FIRST}.over_field_name",
     "compares with no population"),
    (detector("{function: low_nzc, over_field_name: till}"), f"{FIRST}.over_field_name", "compares with no population"),
    (detector("{function: rare, by_field_name: ''}"), f"{FIRST}.function", "values are rare"),
    (detector("{function: count, by_field_name: till, over_field_name: till}"), f"{FIRST}.over_field_name",
     "till is by_field_name already"),
    (detector("{function: count, by_field_name: till, partition_field_name: till}"), f"{FIRST}.partition_field_name",
     "till is by_field_name already"),
    (detector("{function: count, over_field_name: count}"), f"{FIRST}.over_field_name", "count can be no field here"),
    (detector("{function: count, by_field_name: by}"), f"{FIRST}.by_field_name", "by can be no field here"),
    (detector("{function: mean, field_name: 'a\"b'}"), f"{FIRST}.field_name", "can be no field's name here"),
    (detector(f"{DETECTOR}\n      - {DETECTOR}"), f"{AT}.detectors.1", "the same detector is there twice"),
    (detector("{function: mean, field_name: '@timestamp'}"), f"{FIRST}.field_name", "is the time and cannot be"),
    # rules
    (rule("{actions: [skip_results], conditions: [{applies_to: actual, operator: gt, value: 1}]}"),
     f"{FIRST}.custom_rules.0.actions.0", "Did you mean skip_result?"),
    (rule("{actions: [skip_result]}"), f"{FIRST}.custom_rules.0", "the rule does not say when it applies"),
    (rule("{conditions: [{applies_to: actual, operator: '>', value: 1}]}"),
     f"{FIRST}.custom_rules.0.conditions.0.operator", "Write gt, gte, lt or lte"),
    (rule("{conditions: [{applies_to: actual, operator: gt, value: much}]}"),
     f"{FIRST}.custom_rules.0.conditions.0.value", "'much' is no number"),
    (rule("{condition: []}"), f"{FIRST}.custom_rules.0.condition", "Did you mean conditions?"),
    (rule("{scope: {tills: {filter_id: a}}}"), f"{FIRST}.custom_rules.0.scope.tills",
     "the detector is not split by tills. Did you mean till?"),
    (detector("{function: count, custom_rules: [{scope: {till: {filter_id: a}}}]}"),
     f"{FIRST}.custom_rules.0.scope.till", "Add `partition_field_name: till`"),
    (rule("{scope: {till: {filter_id: a, filter_type: exclud}}}"),
     f"{FIRST}.custom_rules.0.scope.till.filter_type", "Did you mean exclude?"),
    (detector("{function: rare, by_field_name: till, custom_rules: [{conditions: [{applies_to: actual, operator: gt, "
              "value: 1}]}]}"), f"{FIRST}.custom_rules.0.conditions.0.applies_to", "rare takes no condition on actual"),
    # the analysis as a whole
    (("[user.id]", "[user, user.id]"), f"{FIRST}.partition_field_name", "user and user.id cannot both be used"),
    (analysis("categorization_filters: [x]"), f"{AT}.categorization_filters", "nothing is categorized"),
    (analysis("categorization_field_name: message"), f"{AT}.categorization_field_name", "split by mlcategory"),
    (detector("{function: count, by_field_name: mlcategory}"), f"{AT}.detectors.0", "only with categorization"),
    (job("daily_model_snapshot_retention_after_days: 11"), "job.daily_model_snapshot_retention_after_days",
     "deleted after 10 days"),
    (job("results_index_name: My-Results"), "job.results_index_name", "pattern"),
    (job("model_plot_config: {terms: a}"), "job.model_plot_config.enabled", "the key is missing"),
    (job("data_description: {time_fields: a}"), "job.data_description.time_fields", "Did you mean time_field?"),
    # datafeeds
    (("[logs-shop.audit-eu]", "['']"), "datafeed.indices.0", "it is empty"),
    (feed("max_empty_searches: 0"), "datafeed.max_empty_searches", "or -1 for no limit"),
    (feed("chunking_config: {mode: manual}"), "datafeed.chunking_config.mode", "the mode manual needs a time_span"),
    (feed("chunking_config: {mode: auto, time_span: 1h}"), "datafeed.chunking_config.time_span", "takes no time_span"),
    (feed("chunking_config: {mode: often}"), "datafeed.chunking_config.mode", "Write auto, manual or off"),
    (feed("delayed_data_check_config: {check_window: 2h}"), "datafeed.delayed_data_check_config.enabled",
     "the key is missing"),
    (feed("delayed_data_check_config: {enabled: true, check_window: 30m}"),
     "datafeed.delayed_data_check_config.check_window", "shorter than a bucket"),
    (feed("delayed_data_check_config: {enabled: true, check_window: 25h}"),
     "datafeed.delayed_data_check_config.check_window", "longer than a day"),
    (feed("runtime_mappings: {login: {script: x}}"), "datafeed.runtime_mappings.login", "has no type"),
    (feed("runtime_mappings: {'@timestamp': {type: date}}"), "datafeed.runtime_mappings.@timestamp", "is the time"),
    (feed("query: {}"), "datafeed.query", "the query is empty"),
    (feed("query: {term: {a: 1}, exists: {field: b}}"), "datafeed.query", "a query is one clause"),
    (feed("query: {bool: {filter: [{term: 1}]}}"), "datafeed.query.bool.filter.0.term", "term has no options"),
    (feed("query: {bool: {filters: []}}"), "datafeed.query.bool.filters", "bool takes no filters"),
    (feed(f"aggregations: {{b: {{{BUCKETS}}}}}"), "datafeed.aggregations", "summary_count_field_name: doc_count"),
    (feed("aggregations: {b: {avg: {field: amount}}}"), "datafeed.aggregations.b.aggregations", "one date_histogram"),
    (feed("aggregations: {b: {date_histogram: {field: a}, aggs: []}}"), "datafeed.aggregations.b", "of its buckets"),
    (feed("aggregations: {b: {date_histogram: {field: '@timestamp', fixed_interval: 5m}}}"), "datafeed.aggregations.b",
     "does not say the time of its buckets"),
    (feed(f"aggregations: {{b: {{{BUCKETS.replace('5m', '7m')}}}}}\n  scroll_size: 0"), "datafeed.scroll_size",
     "greater than or equal to 1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("edit", "field", "said"), REFUSED_JOBS, ids=[edit[1].strip()[:60] for edit, _, _ in REFUSED_JOBS]
)
def test_what_elasticsearch_refuses_of_a_job_names_its_line(
    folder: Path, edit: tuple[str, str], field: str, said: str
) -> None:
    path = folder / "anomaly_jobs" / "refunds.yml"
    change(path, *edit)
    [error] = findings(folder)
    assert (error.file, error.field) == (str(path), field)
    assert said in str(error)
    assert error.line
    assert 4 <= error.line <= len(path.read_text().splitlines())


AGGREGATED = [
    (BUCKETS.replace("5m", "7m"), "", "datafeed.aggregations.b.date_histogram", "does not divide a bucket of 1h"),
    (BUCKETS.replace("5m", "2h"), "", "datafeed.aggregations.b.date_histogram", "does not divide a bucket of 1h"),
    (BUCKETS.replace("fixed_interval: 5m", "calendar_interval: month"), "",
     "datafeed.aggregations.b.date_histogram.calendar_interval", "no interval of buckets"),
    (BUCKETS, "frequency: 7m", "datafeed.frequency", "no multiple of the interval of b"),
    (BUCKETS, "script_fields: {a: {script: x}}", "datafeed.script_fields", "takes no script_fields"),
]  # fmt: skip


@pytest.mark.parametrize(("histogram", "extra", "field", "said"), AGGREGATED)
def test_aggregations_that_do_not_go_with_the_job_are_refused(
    folder: Path, histogram: str, extra: str, field: str, said: str
) -> None:
    path = folder / "anomaly_jobs" / "refunds.yml"
    change(path, "    influencers: [user.id]\n", COUNTED)
    change(path, *feed(f"aggregations: {{b: {{{histogram}}}}}"))
    if extra:
        change(path, *feed(extra))
    [error] = findings(folder)
    assert error.field == field
    assert said in str(error)


TAKEN_JOBS: list[tuple[str, str]] = [
    *(
        job(f"analysis_limits: {{model_memory_limit: {size}}}")
        for size in ("1g", "1.5GB", '" 64 mb "', "2048", "3000g")
    ),
    job("analysis_limits: {categorization_examples_limit: '4'}"),
    job("background_persist_interval: 2h"),
    job("results_index_name: my.results-1"),
    job("model_plot_config: {enabled: 'false'}"),
    job("data_description: {time_field: '@timestamp', time_format: epoch_ms, format: XContent}"),
    job("model_snapshot_retention_days: 30\n  daily_model_snapshot_retention_after_days: 11"),
    analysis("latency: 0s"),
    analysis("model_prune_window: 2h"),
    detector(f"{DETECTOR}\n      - {DETECTOR.replace('mean', 'max')}"),
    rule("{actions: [SKIP_RESULT], conditions: [{applies_to: Actual, operator: GT, value: '1'}]}"),
    feed("query_delay: '0'"),
    feed("query_delay: 150000ms"),
    feed("frequency: 90S"),
    feed("frequency: 60000ms"),
    feed("max_empty_searches: -1"),
    feed("chunking_config: {mode: MANUAL, time_span: 3h}"),
    feed("delayed_data_check_config: {enabled: true, check_window: 24h}"),
    feed("delayed_data_check_config: {enabled: false, check_window: 30m}"),
    feed("query: {bool: {must_not: {term: {a: 1}}, filter: [], minimum_should_match: 1}}"),
]


@pytest.mark.parametrize(
    "edit",
    [
        detector("{function: count, over_field_name: ''}"),
        detector("{function: count, partition_field_name: count}"),
        job('results_index_name: ""'),
    ],
)
def test_what_elasticsearch_takes_for_unsaid_is_taken(folder: Path, edit: tuple[str, str]) -> None:
    change(folder / "anomaly_jobs" / "refunds.yml", *edit)
    assert load_project(folder).anomaly_job("refunds").owner == "security"


def asked(client: Elasticsearch, method: str, path: str, body: Any = None) -> int:
    headers = {"accept": "application/json", "content-type": "application/json"}
    return (
        client.options(ignore_status=range(400, 600))
        .perform_request(method, path, headers=headers, body=body)
        .meta.status
    )


def put(client: Elasticsearch, body: dict[str, Any]) -> int:
    """Status of the job and its datafeed, sent as they are; 501 is what the sandbox does not model."""
    status = asked(client, "PUT", "/_ml/anomaly_detectors/refunds", body["job"])
    if status == 200:
        status = asked(client, "PUT", "/_ml/datafeeds/feed", {**body["datafeed"], "job_id": "refunds"})
        if status == 200:
            asked(client, "DELETE", "/_ml/datafeeds/feed")
        asked(client, "DELETE", "/_ml/anomaly_detectors/refunds")
    return status


NOT_IN_THE_SANDBOX = {
    '"12"': "ByteSizeValue: only 0 and -1 have no unit",
    "1.555gb": "ByteSizeValue.parseDecimal",
    "categorization_examples_limit: -1": "AnalysisLimits",
    "1.5m": "TimeValue: fractional time values are not supported",
    "1500ms": "DatafeedConfig.Builder.setFrequency: a multiple of seconds",
    "15M": "TimeValue: months are no minutes",
    "[user, user.id]": "AnalysisConfig.verifyNoInconsistentNestedFieldNames",
    "mlcategory": "AnalysisConfig.verifyMlCategoryIsUsedWhenCategorizationFieldNameIsSet",
    "model_plot_config: {terms: a}": "ModelPlotConfig: enabled is a constructor's argument",
    "['']": "DatafeedConfig.Builder.build",
    "check_window: 30m": "DatafeedJobValidator.checkValidDelayedDataCheckConfig",
    "check_window: 25h": "DelayedDataCheckConfig",
    "runtime_mappings: {'@timestamp': {type: date}}": "DatafeedJobValidator.checkTimeFieldIsNotASearchRuntimeField",
}
"""What Elasticsearch refuses, by the class that says so, and the sandbox takes."""


def test_nothing_is_refused_that_the_server_takes(folder: Path, elasticsearch: Elasticsearch) -> None:
    path = folder / "anomaly_jobs" / "refunds.yml"
    elasticsearch.indices.create_data_stream(name="logs-shop.audit-eu")
    taken = []
    for edit, _, _ in REFUSED_JOBS:
        path.write_text(JOB)
        change(path, *edit)
        body = yaml.safe_load(path.read_text())
        body["job"].setdefault("data_description", {"time_field": "@timestamp"})
        if put(elasticsearch, body) == 200:
            taken.append(edit[1])
    assert len(taken) == len(NOT_IN_THE_SANDBOX), "\n".join(taken)
    assert all(any(part in written for written in taken) for part in NOT_IN_THE_SANDBOX)


def test_what_the_server_takes_of_a_job_is_taken_and_sent_so_that_it_takes_it(
    folder: Path, elasticsearch: Elasticsearch
) -> None:
    path = folder / "anomaly_jobs" / "refunds.yml"
    elasticsearch.indices.create_data_stream(name="logs-shop.audit-eu")
    for edit in TAKEN_JOBS:
        path.write_text(JOB)
        change(path, *edit)
        project = load_project(folder)
        read = project.anomaly_job("refunds")
        body = {"job": job_body(project, read, {}), "datafeed": datafeed_body(project, read, "refunds")}
        assert put(elasticsearch, body) in {200, 501}, edit[1]


# Models ------------------------------------------------------------------------------------------------------------


def features(written: str) -> tuple[str, str, str]:
    return "refund_abuse", "[event.action, audit.hour]", written


def options(written: str, model: str = "refund_abuse") -> tuple[str, str, str]:
    kind = {"refund_abuse": "classification", "visit_length": "regression", "odd_accounts": "outlier_detection"}[model]
    return model, f"{{{kind}: {{}}}}", f"{{{kind}: {written}}}"


OPTION = "analysis.classification."
REFUSED_MODELS: list[tuple[tuple[str, str, str], str, str]] = [
    (features('["", audit.hour]'), "features.0", "the feature has no name. Write the name of a field"),
    (features('[audit.hour, " "]'), "features.1", "the feature has no name"),
    (features("[audit.*]"), "features.0", "audit.* is a pattern"),
    (features("[audit..hour]"), "features.0", "can be no field's name"),
    (features("[audit.hour, audit]"), "features.0", "audit.hour is inside audit"),
    (features("[audit.hour, label]"), "features.1", "keep their own label there"),
    (features("[ml.other.score]"), "features.0", "analytics writes its results below ml"),
    (features("[audit.hour, _id]"), "features.1", "is no field that can be learned from"),
    (features('["@timestamp"]'), "features.0", "a date cannot be learned from"),
    (("odd_accounts", "[events, failures]", "[events, ml]"), "features.1", "analytics writes its results below ml"),
    (("refund_abuse", "[logs-shop.audit-eu]", '[""]'), "source.index.0", "it is empty"),
    (("visit_length", "session.duration", '""'), "label.field", "it is empty"),
    (("refund_abuse", '"true"', '"yes"'), "label.positive_class", 'no row would be of the class \'yes\'. Write "true"'),
    (("refund_abuse", "train: 60d", "train: 800000d"), "windows", "to before any date there is"),
    (("refund_abuse", "gate: {auc_roc: 0.75}", "gate: {auc_roc: .nan}"), "gate.auc_roc", "Correct the value nan"),
    (("visit_length", "r_squared: 0.2", "r_squared: -.inf"), "gate.r_squared", "finite number"),
    (("refund_abuse", "owner: fraud", "owner: fraud\nmonitor: {psi_limit: .inf}"), "monitor.psi_limit", "finite"),
    (("refund_abuse", "owner: fraud", "owner: fraud\nmonitor: {days: 1000000000}"), "monitor.days", "36500"),
    (("refund_abuse", "owner: fraud", 'owner: fraud\napproval: {approvers: [""]}'), "approval.approvers.0", "is empty"),
    (("visit_length", "{term: {event.action: sign_out}}", "{}"), "source.query", "the query is empty"),
    (options("{num_top_feature_importance_value: 5}"), f"{OPTION}num_top_feature_importance_value",
     "classification has no such option. Did you mean num_top_feature_importance_values?"),
    (options("{num_top_feature_importance_values: -1}"), f"{OPTION}num_top_feature_importance_values", "from 0 to"),
    (options("{num_top_feature_importance_values: x}"), f"{OPTION}num_top_feature_importance_values", "is no number"),
    (options("{num_top_classes: 1001}"), f"{OPTION}num_top_classes", "a whole number from -1 to 1000"),
    (options("{training_percent: 0}"), f"{OPTION}training_percent", "a number above 0 and up to 100"),
    (options("{training_percent: 100.5}"), f"{OPTION}training_percent", "a number above 0 and up to 100"),
    (options("{class_assignment_objective: recall}"), f"{OPTION}class_assignment_objective", "maximize_minimum_recall"),
    (options("{eta: 0}"), f"{OPTION}eta", "a number from 0.001 to 1"),
    (options("{lambda: -1}"), f"{OPTION}lambda", "a number from 0 on"),
    (options("{max_trees: 2001}"), f"{OPTION}max_trees", "a whole number from 1 to 2000"),
    (options("{feature_bag_fraction: 0}"), f"{OPTION}feature_bag_fraction", "above 0 and up to 1"),
    (options("{soft_tree_depth_tolerance: 0.001}"), f"{OPTION}soft_tree_depth_tolerance", "from 0.01 on"),
    (options("{max_optimization_rounds_per_hyperparameter: 21}"),
     f"{OPTION}max_optimization_rounds_per_hyperparameter", "from 0 to 20"),
    (options("{early_stopping_enabled: 1}"), f"{OPTION}early_stopping_enabled", "valid boolean"),
    (options("{loss_function: mse}"), f"{OPTION}loss_function", "classification has no such option"),
    (options("{loss_function: mae}", "visit_length"), "analysis.regression.loss_function", "Did you mean mse?"),
    (options("{loss_function_parameter: 0}", "visit_length"), "analysis.regression.loss_function_parameter", "above 0"),
    (options("{method: knn}", "odd_accounts"), "analysis.outlier_detection.method", "distance_knn"),
    (options("{n_neighbors: 0}", "odd_accounts"), "analysis.outlier_detection.n_neighbors", "from 1 to"),
    (options("{outlier_fraction: 1.1}", "odd_accounts"), "analysis.outlier_detection.outlier_fraction", "from 0 to 1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("edit", "field", "said"), REFUSED_MODELS, ids=[f"{edit[0]} {edit[2]}"[:60] for edit, _, _ in REFUSED_MODELS]
)
def test_what_a_training_would_stumble_over_names_its_line(
    folder: Path, edit: tuple[str, str, str], field: str, said: str
) -> None:
    name, old, new = edit
    path = folder / "models" / f"{name}.yml"
    change(path, old, new)
    [error] = findings(folder)
    assert (error.file, error.field) == (str(path), field)
    assert said in str(error)
    assert error.line
    assert (field.rpartition(".")[2] if not field[-1].isdigit() else field.partition(".")[0]) in (
        path.read_text().splitlines()[error.line - 1]
    )


TAKEN_OPTIONS = {
    "classification": {"training_percent": 50, "max_trees": 2000.0, "class_assignment_objective": "MAXIMIZE_ACCURACY",
                       "early_stopping_enabled": False, "eta": 0.001, "lambda": 0, "num_top_classes": -1,
                       "num_top_feature_importance_values": 0, "randomize_seed": -3, "alpha": None},
    "regression": {"loss_function": "mse", "loss_function_parameter": 0.1, "downsample_factor": 1, "gamma": 0},
    "outlier_detection": {"method": "LOF", "n_neighbors": 1, "outlier_fraction": 0, "compute_feature_influence": False,
                          "feature_influence_threshold": 1, "standardization_enabled": True},
}  # fmt: skip


def test_options_of_an_analysis_are_refused_and_taken_as_by_the_server(elasticsearch: Elasticsearch) -> None:
    from elastic_ml.project.analytics_options import check_options
    from elastic_ml.project.yaml_files import InvalidValueError

    mappings = {"properties": {"a": {"type": "double"}, "b": {"type": "keyword"}}}
    elasticsearch.indices.create(index="rows", mappings=mappings)

    def answer(kind: str, written: dict[str, Any]) -> int:
        learned = {} if kind == "outlier_detection" else {"dependent_variable": "a" if kind == "regression" else "b"}
        body = {"source": {"index": "rows"}, "dest": {"index": "out"}, "analysis": {kind: {**learned, **written}}}
        status = asked(elasticsearch, "PUT", "/_ml/data_frame/analytics/tried", body)
        asked(elasticsearch, "DELETE", "/_ml/data_frame/analytics/tried")
        return status

    for (_, old, new), field, _ in REFUSED_MODELS:
        if field.startswith("analysis."):
            [(kind, written)] = yaml.safe_load(new).items()
            assert kind in old
            assert answer(kind, written) == 400, new
    for kind, taken in TAKEN_OPTIONS.items():
        for option, value in taken.items():
            check_options(kind, {option: value})
            assert answer(kind, {option: value}) in {200, 501}, option
    check_options("classification", {"training_percent": "50", "max_trees": "20", "early_stopping_enabled": "true"})
    with pytest.raises(InvalidValueError, match="regression has no such option"):
        check_options("regression", {"num_top_classes": 2})


def test_a_description_may_say_anything(folder: Path) -> None:
    from elastic_ml.training.run import TrainingRun

    change(folder / "models" / "refund_abuse.yml", "owner: fraud", "owner: fraud\ndescription: 'is \"it\" a\\b?'")
    assert findings(folder) == []
    run = TrainingRun.of(str(folder), "refund_abuse", {"day": "2026-01-31"})
    body = run.analytics_body(train_index="t", results_index="r", about={})
    assert body["description"].startswith('is "it" a\\b?: learned from ')


# The project, its sources, its files -------------------------------------------------------------------------------

REFUSED_FILES: list[tuple[tuple[str, str, str], int, str, str]] = [
    (("project.yml", "prefix: shop", 'prefix: shop\nconnections: {learn: ""}'), 3, "connections.learn", "it is empty"),
    (("project.yml", "prefix: shop", f"prefix: shop\ndag_id_prefix: {'x' * 211}"), 3, "dag_id_prefix", "at most 210"),
    (("project.yml", "auth0.logs, namespace: prod", "shop.audit, namespace: eu"), 7, "streams.1", "is listed twice"),
    (("project.yml", "shop.audit", "webshop.labels"), 6, "streams.0", "labels-eu is the stream of verdicts"),
    (("project.yml", "shop.audit", "shop.registry"), 6, "streams.0", "is kept by this package itself"),
    (("project.yml", "lifecycle:", "labels: {dataset: shop.alerts}\nlifecycle:"), 8, "labels.dataset",
     "a stream of this package's own"),
    (("sources/shop.yml", "time,", 'time, "": x,'), 5, "fields.", "a part of it is empty"),
    (("sources/shop.yml", "time,", "time, user..id: x,"), 5, "fields.user..id", "a part of it is empty"),
    (("sources/shop.yml", "time,", "time, _id: x,"), 5, "fields._id", "Map it to event.id"),
    (("sources/shop.yml", "event.id: id", "event.id: ''"), 5, "fields.event.id", "it is empty"),
    (("sources/shop.yml", "event.id: id", "event.id: id, event: x"), 5, "fields.event.id", "event is a value here"),
    (("sources/shop.yml", "adapter:", "timezone: posix/Europe/Berlin\nadapter:"), 4, "timezone", "is no time zone"),
    (("sources/shop.yml", "adapter: ndjson", 'adapter: "a.b:c\\n"'), 4, "adapter", "is no adapter"),
    (("anomaly_jobs/refunds.yml", "[shop]", "[shop, visits]"), 2, "groups.1", "anomaly_jobs/visits.yml makes a job"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "line", "field", "said"), REFUSED_FILES, ids=[row[2] for row in REFUSED_FILES])
def test_other_files_are_told_the_same_way(
    folder: Path, edit: tuple[str, str, str], line: int, field: str, said: str
) -> None:
    (folder / "anomaly_jobs" / "visits.yml").write_text(JOB)
    path = folder / edit[0]
    change(path, *edit[1:])
    error = next(error for error in findings(folder) if error.file == str(path))
    assert (error.line, error.field) == (line, field)
    assert said in str(error)


def test_ids_of_calendars_stay_within_what_elasticsearch_takes(folder: Path) -> None:
    change(folder / "project.yml", "prefix: shop", "prefix: shop\nid_prefix: test_")
    name, calendar = "j" * 30, "c" * 29
    path = folder / "anomaly_jobs" / f"{name}.yml"
    path.write_text(f"{JOB}calendars:\n  {calendar}: {{holidays: true}}\n")
    [error] = findings(folder)
    assert (error.line, error.field) == (13, f"calendars.{calendar}")
    assert "longer than 64 characters" in error.problem
    change(path, calendar, calendar[1:])
    assert findings(folder) == []


@pytest.mark.parametrize(
    ("written", "line", "field", "said"),
    [
        (b"owner: me\r\nname: caf\xe9\r\n", 2, "name", "the byte 0xe9 is no UTF-8. Save the file with"),
        ("owner: me\n".encode("utf-16"), 1, "", "is no UTF-8"),
        (b"owner: me\nname: a\x07b\n", 2, "name", "it holds the control character 0x07. Remove it"),
        (b"owner: me\nlabel:\n\tfield: a\n", 3, "field", "Indent with spaces: the line begins with a tab."),
        (b"owner: me\n---\nowner: you\n", 2, "owner", "Remove the line `---`: a file is one document."),
        (b"owner: me\nsource: {index: [a], query: {term: {~: 1}}}\n", 2, "source.query.term.None", 'Quote it: "null".'),
        (b"owner: me\nsource: {index: [a], query: {term: {on: 1}}}\n", 2, "source.query.term.True", 'it: "true".'),
    ],
)  # fmt: skip
def test_bytes_that_are_no_text_have_a_line_and_a_remedy(
    folder: Path, written: bytes, line: int, field: str, said: str
) -> None:
    path = folder / "models" / "broken.yml"
    path.write_bytes(written)
    error = next(error for error in findings(folder) if error.field == field)
    assert (error.file, error.line) == (str(path), line)
    assert said in str(error)


@pytest.mark.parametrize("written", ["\ufeff{}", "\r\n{}"], ids=["mark", "blank line"])
def test_what_windows_writes_is_read(folder: Path, written: str) -> None:
    path = folder / "models" / "refund_abuse.yml"
    text = written.format(path.read_text().replace("\n", "\r\n"))
    path.write_bytes(text.encode())
    assert load_project(folder).model("refund_abuse").owner == "fraud"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"{# \xe9 #}", "the byte 0xe9 is no UTF-8"),
        (b'{% include "pipelines/label.yml.j2" %}', "the template includes itself"),
        (b"description: {{ 1 / 0 }}", "division by zero"),
    ],
)
def test_a_template_that_cannot_be_rendered_is_a_finding(folder: Path, written: bytes, said: str) -> None:
    path = folder / "templates" / "pipelines" / "label.yml.j2"
    path.parent.mkdir(parents=True)
    path.write_bytes(written)
    [error] = findings(folder)
    assert error.file == str(path)
    assert error.line == 1
    assert said in str(error)


def test_a_folder_that_no_file_system_takes_is_one_that_does_not_exist(folder: Path) -> None:
    from elastic_ml.cli.check import all_findings

    change(folder / "project.yml", "prefix: shop", f"prefix: shop\nkibana: {{folders: [{'x' * 300}]}}")
    [error] = all_findings(folder)
    assert (error.line, error.field) == (3, "kibana.folders.0")


# What may be meant so ----------------------------------------------------------------------------------------------


def test_an_option_that_training_sets_itself_is_a_doubt(folder: Path) -> None:
    path = folder / "models" / "refund_abuse.yml"
    change(path, "{classification: {}}", "{classification: {training_percent: 80, num_top_classes: -1}}")
    assert findings(folder) == []
    [doubt] = doubts(folder)
    assert (doubt.line, doubt.field) == (6, "analysis.classification.training_percent")
    assert "training sets training_percent to 100 in any case" in doubt.problem
    own = folder / "templates" / "model" / "analytics.json.j2"
    own.parent.mkdir(parents=True)
    own.write_text("{}")
    assert doubts(folder) == []


def test_a_query_that_elasticsearch_has_not_is_a_doubt(folder: Path) -> None:
    path = folder / "models" / "visit_length.yml"
    change(path, "{term: {event.action: sign_out}}", "{bool: {filter: [{trem: {a: 1}}]}}")
    assert findings(folder) == []
    [doubt] = doubts(folder)
    assert (doubt.line, doubt.field) == (2, "source.query.bool.filter.0.trem")
    assert doubt.remedy == "Did you mean term?"


def test_a_label_pipeline_of_the_projects_own_may_give_other_classes(folder: Path) -> None:
    change(folder / "models" / "refund_abuse.yml", '"true"', '"yes"')
    own = folder / "templates" / "pipelines" / "label.yml.j2"
    own.parent.mkdir(parents=True)
    own.write_text("processors: [{set: {field: label, value: 'yes'}}]\n")
    assert findings(folder) == []
