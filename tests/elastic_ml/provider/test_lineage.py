"""What tasks read and wrote, as OpenLineage gets it."""

import json
from importlib.util import find_spec

import pytest
from airflow.sdk import DAG
from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime
from harness.operator_specimens import OF_NO_DAG, of_dags
from harness.provider_classes import concrete
from harness.task_runner import TaskRunner
from matrix.world import write_project

from elastic_ml.assets import create_asset
from elastic_ml.lineage import DataLineage, lineage_of_query, lineage_of_spec, namespace_of
from elastic_ml.operators.base import ElasticBaseOperator
from elastic_ml.operators.enrich import ExecuteEnrichPolicyOperator
from elastic_ml.operators.esql import EsqlQueryOperator
from elastic_ml.operators.reindex import ReindexOperator
from elastic_ml.operators.remote_job import RemoteJobOperator

needs_openlineage = pytest.mark.skipif(
    find_spec("openlineage") is None, reason="apache-airflow-providers-openlineage is not installed"
)


@pytest.mark.parametrize(
    ("query", "reads"),
    [
        ("FROM logs-*, metrics-a | LIMIT 1", ("logs-*", "metrics-a")),
        ('from "a-1" METADATA _id\n| WHERE x == 1', ("a-1",)),
        ("FROM events | LOOKUP JOIN ml-labels ON event.id | STATS n = COUNT(*)", ("events", "ml-labels")),
        ("// not this one: FROM nowhere\nTS metrics | STATS a = MAX(b)", ("metrics",)),
        ("ROW a = 1", ()),
    ],
)
def test_a_query_reads_what_it_names(query: str, reads: tuple[str, ...]):
    assert lineage_of_query(query) == DataLineage(reads)


@pytest.mark.parametrize(
    ("spec", "lineage"),
    [
        ({"source": {"index": ["a", "b"]}, "dest": {"index": "c"}}, DataLineage(("a", "b"), ("c",))),
        ({"body": {"source": {"index": "a"}, "dest": {"index": "c"}}}, DataLineage(("a",), ("c",))),
        ({"body": {"analysis_config": {}}, "datafeed": {"indices": ["a"]}}, DataLineage(("a",))),
        ({"api": "ml.put_calendar"}, None),
    ],
)
def test_remote_work_reads_and_writes_what_its_specification_says(spec, lineage):
    assert lineage_of_spec(spec) == lineage


def test_a_cluster_is_called_by_its_address_without_credentials():
    assert namespace_of("https://es.example:9200") == "elasticsearch://es.example:9200"
    assert namespace_of("cloud_id trading") == "elasticsearch://trading"


def finished(sandbox, operator, **arguments):
    """The operator as it is when its task has succeeded, which is when OpenLineage asks."""
    executed = []
    runner = TaskRunner(
        # Airflow executes a copy of what the DAG holds.
        lambda: operator(task_id="t", post_execute=lambda context, _: executed.append(context["task"]), **arguments),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
    )
    result = runner.complete()
    assert result.state == "success", result.error
    return executed[-1]


@pytest.fixture
def books(elasticsearch):
    elasticsearch.index(index="books", id="1", document={"isbn": "1", "title": "Emma"}, refresh=True)


def test_operators_know_what_they_read_and_wrote(sandbox, elasticsearch, books):
    copied = finished(sandbox, ReindexOperator, source="books", dest="copy")
    assert copied.lineage() == DataLineage(("books",), ("copy",))
    asked = finished(sandbox, EsqlQueryOperator, query="FROM books | LIMIT 1")
    assert asked.lineage() == DataLineage(("books",))
    match = {"indices": "books", "match_field": "isbn", "enrich_fields": ["title"]}
    elasticsearch.enrich.put_policy(name="titles", match=match)
    executed = finished(sandbox, ExecuteEnrichPolicyOperator, policy="titles")
    assert executed.lineage() == DataLineage(("books",), (".enrich-titles",))


@needs_openlineage
def test_openlineage_gets_inputs_and_outputs(sandbox, books, monkeypatch):
    copied = finished(sandbox, ReindexOperator, source="books", dest="copy")
    facets = copied.get_openlineage_facets_on_complete(None)
    where = sandbox.elasticsearch_url.replace("http://", "elasticsearch://")
    assert [(d.namespace, d.name) for d in facets.inputs] == [(where, "books")]
    assert [(d.namespace, d.name) for d in facets.outputs] == [(where, "copy")]
    connection = {"conn_type": "elastic", "host": sandbox.elasticsearch_url}
    monkeypatch.setenv("AIRFLOW_CONN_ELASTICSEARCH_DEFAULT", json.dumps(connection))
    convert = ProvidersManagerTaskRuntime().asset_to_openlineage_converters["elasticsearch"]
    dataset = convert(create_asset(name="copy"), lineage_context=None)
    assert (dataset.namespace, dataset.name) == (where, "copy"), "an asset and an operator's output are one dataset"


@needs_openlineage
def test_openlineages_own_extractor_finds_it(sandbox, books):
    from airflow.providers.openlineage.extractors.base import DefaultExtractor

    copied = finished(sandbox, ReindexOperator, source="books", dest="copy")
    assert [d.name for d in DefaultExtractor(copied).extract_on_complete(None).outputs] == ["copy"]


@needs_openlineage
def test_an_asset_of_a_connection_that_nobody_knows_is_called_by_its_id():
    convert = ProvidersManagerTaskRuntime().asset_to_openlineage_converters["elasticsearch"]
    dataset = convert(create_asset(conn_id="nowhere", name="x"), lineage_context=None)
    assert (dataset.namespace, dataset.name) == ("elasticsearch://nowhere", "x")


NO_DATA = {
    **dict.fromkeys(("ApplyObjectsOperator", "ElasticSetupOperator"), "templates, pipelines and other objects"),
    **dict.fromkeys(
        ("AnomalyDataSensor", "MonitoredDaySensor", "TrainingDataSensor"), "whether data came, not the data"
    ),
    **dict.fromkeys(("EmitCandidateOperator", "EmitDriftOperator", "EmitImportedCandidateOperator"), "an asset event"),
    **dict.fromkeys(("ExportModelOperator", "ImportModelOperator"), "a trained model and its card"),
    **dict.fromkeys(("GateOperator", "RecordDecisionOperator"), "figures of a model, and the registry"),
    **dict.fromkeys(("RollbackOperator", "SwitchChampionOperator"), "which model scores, and the registry"),
    **dict.fromkeys(("HousekeepingOperator", "RemoveOperator"), "deletes"),
    "AnomalyCalendarsOperator": "calendars and filters",
    "PublishOutliersOperator": "an alias",
    "RevertModelSnapshotOperator": "the state of a job",
    "RotateCredentialsOperator": "whose key is used",
}
"""What operators without inputs and outputs are about."""
BY_SPEC = {
    "AnomalyJobOperator", "AnomalyPartitionOperator", "BatchTransformOperator", "DataFrameAnalyticsOperator",
    "DetectPartitionOperator", "DetectRealtimeOperator", "EvaluateImportedModelOperator", "EvaluateModelOperator",
    "ReindexOperator", "RepairMappingOperator", "RescoreOperator", "TrainModelOperator", "TrainingSetOperator",
}  # fmt: skip
"""Those whose remote work has a source, a destination or a datafeed in its specification."""


def test_every_operator_that_reads_or_writes_data_says_which(tmp_path):
    write_project(tmp_path)
    there = of_dags(tmp_path)
    silent, by_spec = set(), set()
    for name, cls in concrete().items():
        if not issubclass(cls, ElasticBaseOperator):
            continue
        if cls.lineage is ElasticBaseOperator.lineage:
            silent.add(name)
        elif cls.lineage is RemoteJobOperator.lineage:
            by_spec.add(name)
        elif name in there:
            lineage = there[name][0].lineage()
            assert lineage.reads or lineage.writes or name == "BulkIngestOperator", name
            assert all(isinstance(one, str) and one for one in (*lineage.reads, *lineage.writes)), name
        else:
            assert name in OF_NO_DAG, name
    assert silent | by_spec == NO_DATA.keys() | BY_SPEC
    assert silent <= NO_DATA.keys()


@pytest.mark.parametrize(
    ("operator", "arguments", "lineage"),
    [
        ("AnomalyRecordsSensor", {"job_id": "reads"}, DataLineage((".ml-anomalies-reads",))),
        (
            "AnomalyForecastOperator",
            {"job_id": "reads"},
            DataLineage((".ml-anomalies-reads",), (".ml-anomalies-reads",)),
        ),
        ("EsqlThresholdSensor", {"query": "FROM a | STATS n = COUNT(*)", "threshold": 1}, DataLineage(("a",))),
        (
            "ElasticsearchApiOperator",
            {"api": "reindex", "arguments": {"source": {"index": "a"}, "dest": {"index": "b"}}},
            DataLineage(("a",), ("b",)),
        ),
        ("ElasticsearchApiOperator", {"api": "ml.info"}, None),
    ],
)
def test_what_is_read_or_written_is_in_the_arguments(operator, arguments, lineage):
    assert concrete()[operator](task_id="t", **arguments).lineage() == lineage


def test_an_operator_without_data_says_nothing():
    from elastic_ml.operators.desired_state import ApplyObjectsOperator

    with DAG("d", schedule=None):
        assert ApplyObjectsOperator(task_id="t", objects=[]).get_openlineage_facets_on_complete(None) is None
