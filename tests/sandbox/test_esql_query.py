"""``POST /_query`` through the official client: envelope, parameters, warnings, sources, versions."""

# ruff: noqa: E501  a case stays on its line

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests
from contract.deviations import numberless, unexplained
from harness.specification import specification
from sandbox.esql_world import World

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_sandbox.testing import Sandbox

QUIET = "ignore:No limit defined:elasticsearch.ElasticsearchWarning"
pytestmark = pytest.mark.filterwarnings(QUIET)


@pytest.fixture
def readings(elasticsearch: Elasticsearch) -> Elasticsearch:
    properties = {
        "at": {"type": "date"},
        "room": {"type": "keyword"},
        "celsius": {"type": "double"},
        "n": {"type": "long"},
    }
    elasticsearch.indices.create(index="readings", mappings={"properties": properties})
    documents = [
        {"at": "2026-01-01T00:00:00Z", "room": "hall", "celsius": 18.5, "n": 1},
        {"at": "2026-01-01T01:00:00Z", "room": "hall", "celsius": 19.25, "n": [2, 5]},
        {"at": "2026-01-02T00:00:00Z", "room": "attic", "n": 3},
    ]
    for number, document in enumerate(documents):
        elasticsearch.index(index="readings", id=str(number), document=document)
    elasticsearch.indices.refresh(index="readings")
    return elasticsearch


def test_the_answer_has_columns_and_rows(readings: Elasticsearch) -> None:
    answer = readings.esql.query(query="FROM readings | SORT at | KEEP at, room, celsius, n | LIMIT 5")
    took = answer.body.pop("took")
    assert isinstance(took, int)
    assert answer.body == {
        "is_partial": False,
        "columns": [
            {"name": "at", "type": "date"}, {"name": "room", "type": "keyword"}, {"name": "celsius", "type": "double"},
            {"name": "n", "type": "long"},
        ],
        "values": [
            ["2026-01-01T00:00:00.000Z", "hall", 18.5, 1],
            ["2026-01-01T01:00:00.000Z", "hall", 19.25, [2, 5]],
            ["2026-01-02T00:00:00.000Z", "attic", None, 3],
        ],
    }  # fmt: skip


def test_columnar_turns_it_round(readings: Elasticsearch) -> None:
    answer = readings.esql.query(query="FROM readings | SORT at | KEEP room, n | LIMIT 2", columnar=True)
    assert answer["values"] == [["hall", "hall"], [1, [2, 5]]]
    assert readings.esql.query(query="FROM readings | KEEP n | LIMIT 0", columnar=True)["values"] == [[]]


@pytest.mark.parametrize(
    ("query", "params", "row"),
    [
        ("ROW a = ? | EVAL b = ?, c = 1 + ?", ["foo", 15, 10], ["foo", 15, 11]),
        ("ROW a = ?2, b = ?1", [1.5, True], [True, 1.5]),
        ("ROW a = ?x, b = ?y", [{"x": "1"}, {"y": None}], ["1", None]),
        ("ROW a = ?when::datetime - ?back::date_period", [{"when": "2026-01-03"}, {"back": "3 days"}], ["2025-12-31T00:00:00.000Z"]),
        ("FROM readings | STATS x = MAX(??f) BY ??g | SORT ??g | LIMIT 1", [{"f": "n"}, {"g": "room"}], [3, "attic"]),
        ("FROM readings | STATS x = MAX(?f) | LIMIT 1", [{"f": {"identifier": "celsius"}}], [19.25]),
        ("FROM readings | SORT at | KEEP ??c | LIMIT ?l", [{"c": "room"}, {"l": 1}], ["hall"]),
        ("ROW a = ??fn(-3)", [{"fn": "abs"}], [3]),
        ("FROM readings | STATS n = COUNT(*) BY b = BUCKET(at, 50, ?_tstart, ?_tend) | SORT b | LIMIT 1",
         [{"_tstart": "2026-01-01T00:00:00.000Z"}, {"_tend": "2026-01-03T00:00:00.000Z"}], [1, "2026-01-01T00:00:00.000Z"]),
        ("FROM readings | STATS n = COUNT(*) BY b = BUCKET(at, ?span) | SORT b | LIMIT 1", [{"span": "1 day"}], [2, "2026-01-01T00:00:00.000Z"]),
        ("FROM readings | WHERE room IN (?a, ?b) AND n == ?n | KEEP room", [{"a": "hall"}, {"b": "x"}, {"n": 1}], ["hall"]),
    ],
)  # fmt: skip
def test_parameters(readings: Elasticsearch, query: str, params: list[Any], row: list[Any]) -> None:
    assert readings.esql.query(query=query, params=params)["values"] == [row]


@pytest.mark.parametrize(
    ("query", "params", "reason"),
    [
        ("ROW a = ?x", [{"y": 1}], "line 1:9: Unknown query parameter [x], did you mean any of [y, 1]?"),
        ("ROW a = ?, b = ?", [1], "line 1:16: Not enough actual parameters 1"),
        ("FROM readings | LIMIT ?l", [{"l": "foo"}], "line 1:17: Invalid value for LIMIT [foo: String], expecting a non negative integer"),
        ("ROW a = 1", [1, {"x": 1}], "Params cannot contain both named and unnamed parameters"),
    ],
)  # fmt: skip
def test_parameters_that_do_not_fit(readings: Elasticsearch, query: str, params: list[Any], reason: str) -> None:
    from elasticsearch import BadRequestError

    with pytest.raises(BadRequestError) as caught:
        readings.esql.query(query=query, params=params)
    assert caught.value.body["error"]["reason"] == reason


def test_a_filter_limits_the_documents_of_from_and_not_of_lookups(readings: Elasticsearch) -> None:
    readings.indices.create(
        index="rooms",
        settings={"index.mode": "lookup"},
        mappings={"properties": {"room": {"type": "keyword"}, "floor": {"type": "integer"}}},
    )
    readings.index(index="rooms", document={"room": "attic", "floor": 3}, refresh=True)
    answer = readings.esql.query(
        query="FROM readings | LOOKUP JOIN rooms ON room | KEEP room, floor | LIMIT 9",
        filter={"range": {"at": {"gte": "2026-01-02", "lte": "now+10y"}}},
    )
    assert answer["values"] == [["attic", 3]]


def test_warnings_come_as_one_header_that_the_client_reads(readings: Elasticsearch) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answer = readings.esql.query(query='FROM readings | WHERE n % 2 == 1 AND room != "é" | KEEP n')
    assert answer["values"] == [[1], [3]]
    assert [str(one.message) for one in caught] == [
        "No limit defined, adding default limit of [1000]",
        # HeaderWarning percent-encodes the percent sign.
        "Line 1:23: evaluation of [n %25 2] failed, treating result as null. Only first 20 failures recorded.",
        "Line 1:23: java.lang.IllegalArgumentException: single-value function encountered multi-value",
    ]


def test_queries_at_the_same_time_keep_their_own_warnings(world: World) -> None:
    world.index("numbers", {"n": "long"}, [{"n": n} for n in range(200)])

    def ask(number: int) -> list[str]:
        return world.backend.esql.query(f"FROM numbers | EVAL x = n / (n - {number}) | KEEP x | LIMIT 200").warnings

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(24)))
    assert [len(answer) for answer in answers] == [2] * 24
    assert all(f"(n - {number})" in answer[0] for number, answer in enumerate(answers))


@pytest.fixture
def world() -> Any:
    made = World()
    yield made
    made.backend.close()


def test_a_data_stream_an_alias_and_a_failure_store_are_sources(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.put_index_template(
        name="t",
        index_patterns=["logs-seen.*-default"],
        data_stream={},
        priority=600,
        template={"settings": {"index.mapping.ignore_malformed": False},
                  "mappings": {"properties": {"v": {"type": "long"}}}, "data_stream_options": {"failure_store": {"enabled": True}}},
    )  # fmt: skip
    for number in range(3):
        elasticsearch.index(
            index="logs-seen.a-default",
            document={"@timestamp": f"2026-01-0{number + 1}", "v": number},
            op_type="create",
        )
        if number == 1:
            elasticsearch.indices.rollover(alias="logs-seen.a-default")
    elasticsearch.index(
        index="logs-seen.a-default", document={"@timestamp": "2026-01-01", "v": "bad"}, op_type="create"
    )
    elasticsearch.indices.refresh(index="logs-seen.a-default")
    elasticsearch.indices.put_alias(index="logs-seen.a-default", name="seen")

    def rows(query: str) -> Any:
        return elasticsearch.esql.query(query=query + " | LIMIT 9")["values"]

    assert rows("FROM logs-seen.a-default | STATS COUNT(*), SUM(v)") == [[3, 3]]
    assert rows("FROM logs-seen.* | STATS COUNT(*)") == [[3]]
    assert rows("FROM seen METADATA _index | STATS COUNT_DISTINCT(_index)") == [[2]]
    elasticsearch.indices.refresh(index="logs-seen.a-default::failures")
    assert rows("FROM logs-seen.a-default::failures | STATS COUNT(*)") == [[1]]


def test_only_what_was_refreshed_is_seen(readings: Elasticsearch) -> None:
    readings.indices.put_settings(index="readings", settings={"refresh_interval": "-1"})
    readings.index(index="readings", document={"n": 9})
    assert readings.esql.query(query="FROM readings | STATS COUNT(*) | LIMIT 1")["values"] == [[3]]
    readings.indices.refresh(index="readings")
    assert readings.esql.query(query="FROM readings | STATS COUNT(*) | LIMIT 1")["values"] == [[4]]


@pytest.mark.parametrize(
    ("body", "status", "kind", "words"),
    [
        ({}, 400, "action_request_validation_exception", "Validation Failed: 1: [query] is required;"),
        ({"query": "ROW a = 1", "version": "cat"}, 400, "x_content_parse_exception", "unknown field [version]"),
        ({"query": "ROW a = 1", "profile": True}, 501, "sandbox_unsupported", "[profile]"),
        ({"query": "ROW a = 1", "locale": "fr-FR"}, 501, "sandbox_unsupported", "locale [fr-FR]"),
        ({"query": "ROW a = 1", "time_zone": "Europe/Berlin"}, 501, "sandbox_unsupported", "time_zone"),
        ({"query": "ROW a = 1", "filter": {"nope": {}}}, 400, "parsing_exception", "unknown query [nope]"),
        ({"query": 5}, 400, "x_content_parse_exception", "query"),
    ],
)  # fmt: skip
def test_bodies_that_are_refused(sandbox: Sandbox, body: dict[str, Any], status: int, kind: str, words: str) -> None:
    answer = requests.post(sandbox.elasticsearch_url + "/_query", json=body, timeout=10)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert words in answer.json()["error"]["reason"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/_query?format=csv", 501), ("/_query?drop_null_columns", 501), ("/_query/async", 501), ("/_query?nope=1", 400),
     ("/_query?format=json&allow_partial_results=true", 200)],
)  # fmt: skip
def test_request_parameters(sandbox: Sandbox, path: str, status: int) -> None:
    answer = requests.post(sandbox.elasticsearch_url + path, json={"query": "ROW a = 1"}, timeout=10)
    assert answer.status_code == status


def test_a_newer_feature_is_refused_by_an_older_version() -> None:
    from elastic_sandbox.testing import serve

    with serve(version="9.2.0") as old:
        answer = requests.post(
            old.elasticsearch_url + "/_query", json={"query": "ROW a = 1", "time_zone": "UTC"}, timeout=10
        )
        assert "unknown field [time_zone]" in answer.json()["error"]["reason"]
        assert "Elasticsearch-9.2.0-" in requests.post(
            old.elasticsearch_url + "/_query", json={"query": "ROW a = 1"}, timeout=10
        ).headers["warning"]  # fmt: skip


def test_a_lookup_join_that_loses_an_order_says_so_since_9_4() -> None:
    warned = []
    for version in ("9.2.0", "9.5.0"):
        world = World(version=version)
        world.index("l", {"k": "keyword"}, [{"k": "a"}], **{"index.mode": "lookup"})
        world.index("f", {"k": "keyword"}, [{"k": "a"}])
        warned.append(world.ask("FROM f | SORT k | LOOKUP JOIN l ON k | LIMIT 5").warnings)
        assert world.ask("FROM f | SORT k | LOOKUP JOIN l ON k | SORT k | LIMIT 5").warnings == []
        world.backend.close()
    assert warned == [
        [],
        ["Line 1:10: SORT is followed by a LOOKUP JOIN which does not preserve order; add another SORT after the "
         "LOOKUP JOIN if order is required"],
    ]  # fmt: skip


def test_requests_and_answers_fit_the_specification(sandbox: Sandbox, readings: Elasticsearch) -> None:
    spec = specification()
    readings.esql.query(query="FROM readings | LIMIT ?n", params=[{"n": 2}], columnar=True, filter={"match_all": {}})
    readings.esql.query(query="ROW a = ?", params=[1])
    exchanges = [entry for entry in sandbox.requests if entry.path == "/_query"]
    assert len(exchanges) == 2
    for entry in exchanges:
        assert spec.check_request("esql.query", entry.body) == []
        problems = {
            ("esql.query", numberless(problem)): entry for problem in spec.check_response("esql.query", entry.response)
        }
        assert unexplained(problems) == []
