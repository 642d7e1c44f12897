"""`_ingest` over HTTP with the official client: definitions, their validation, simulation, indexing through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from elasticsearch import ApiError, BadRequestError, NotFoundError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_sandbox.testing import Sandbox

SET = {"set": {"field": "a", "value": 1}}


def error_of(caught: pytest.ExceptionInfo[ApiError]) -> dict[str, Any]:
    error: dict[str, Any] = caught.value.body["error"]
    return error


def test_a_pipeline_is_put_read_listed_and_deleted(elasticsearch: Elasticsearch) -> None:
    body = {"description": "d", "version": 3, "_meta": {"by": "test"}, "processors": [SET], "on_failure": [SET]}
    assert elasticsearch.ingest.put_pipeline(id="logs@normalize", meta=body["_meta"], **{
        key: value for key, value in body.items() if key != "_meta"
    }) == {"acknowledged": True}  # fmt: skip
    stored = elasticsearch.ingest.get_pipeline(id="logs@normalize")["logs@normalize"]
    assert {key: stored[key] for key in body} == body
    elasticsearch.ingest.put_pipeline(id="other", processors=[SET])
    assert set(elasticsearch.ingest.get_pipeline(id="logs*,other")) == {"logs@normalize", "other"}
    assert set(elasticsearch.ingest.get_pipeline(id="logs*")) == {"logs@normalize"}
    elasticsearch.ingest.delete_pipeline(id="logs@normalize")
    with pytest.raises(NotFoundError) as caught:
        elasticsearch.ingest.get_pipeline(id="logs@normalize")
    assert caught.value.body == {}


def test_the_server_adds_dates_that_cannot_be_put_back(sandbox: Sandbox, elasticsearch: Elasticsearch) -> None:
    sandbox.clock.freeze()
    elasticsearch.ingest.put_pipeline(id="p", processors=[SET])
    first = elasticsearch.ingest.get_pipeline(id="p")["p"]
    sandbox.clock.advance(60)
    elasticsearch.ingest.put_pipeline(id="p", processors=[SET])
    assert elasticsearch.ingest.get_pipeline(id="p")["p"] == first  # the same body changes nothing
    elasticsearch.ingest.put_pipeline(id="p", processors=[])
    changed = elasticsearch.ingest.get_pipeline(id="p")["p"]
    assert changed["created_date_millis"] == first["created_date_millis"]
    assert changed["modified_date_millis"] == first["modified_date_millis"] + 60_000
    assert elasticsearch.ingest.get_pipeline(id="p", human=True)["p"]["created_date"].endswith("Z")
    with pytest.raises(BadRequestError, match="managed by the system"):
        elasticsearch.ingest.put_pipeline(id="p", body=changed)


def test_deleting_a_missing_pipeline_is_a_404(elasticsearch: Elasticsearch) -> None:
    with pytest.raises(NotFoundError) as caught:
        elasticsearch.ingest.delete_pipeline(id="nope")
    assert error_of(caught)["type"] == "resource_not_found_exception"
    assert error_of(caught)["reason"] == "pipeline [nope] is missing"
    elasticsearch.ingest.delete_pipeline(id="*")


def test_a_pipeline_that_an_index_uses_cannot_be_deleted(elasticsearch: Elasticsearch) -> None:
    elasticsearch.ingest.put_pipeline(id="p", processors=[SET])
    elasticsearch.indices.create(index="x", settings={"index.default_pipeline": "p"})
    with pytest.raises(BadRequestError) as caught:
        elasticsearch.ingest.delete_pipeline(id="p")
    assert error_of(caught)["reason"] == (
        "pipeline [p] cannot be deleted because it is the default pipeline for 1 index(es) including [x]"
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {"reason": "[processors] required property is missing", "property_name": "processors"}),
        (
            {"processors": [{"set": {"value": 1, "tag": "t"}}]},
            {
                "reason": "[field] required property is missing",
                "processor_type": "set",
                "processor_tag": "t",
                "property_name": "field",
            },
        ),
        (
            {"processors": [{"sett": {}}]},
            {"reason": "No processor type exists with name [sett]", "processor_type": "sett"},
        ),
        (
            {"processors": [{"set": {"field": "a", "value": 1, "x": 1, "y": 2}}]},
            {"reason": "processor [set] doesn't support one or more provided configuration parameters [x, y]"},
        ),
        (
            {"processors": [], "nonsense": 1},
            {"reason": "pipeline [p] doesn't support one or more provided configuration parameters [nonsense]"},
        ),
        (
            {"processors": [], "on_failure": []},
            {"reason": "pipeline [p] cannot have an empty on_failure option defined"},
        ),
        (
            {"processors": [{"set": {"field": 1, "value": 1, "override": "yes"}}]},
            {"reason": "[override] property isn't a boolean, but of type [java.lang.String]"},
        ),
        (
            {"processors": [{"set": {"field": "a", "value": 1, "on_failure": []}}]},
            {"reason": "[on_failure] processors list cannot be empty"},
        ),
        (
            {"processors": [{"convert": {"field": "a", "type": "uuid"}}]},
            {"reason": "[type] type [uuid] not supported, cannot convert field."},
        ),
        (
            {"processors": [{"fingerprint": {"fields": ["a"], "method": "CRC"}}]},
            {"property_name": "method"},
        ),
    ],
)
def test_a_wrong_definition_is_refused_with_the_server_s_words(
    elasticsearch: Elasticsearch, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    with pytest.raises(BadRequestError) as caught:
        elasticsearch.ingest.put_pipeline(id="p", body=body)
    error = error_of(caught)
    assert error["type"] == "parse_exception"
    assert {key: error.get(key) for key in expected} == expected
    assert error["root_cause"][0]["reason"] == error["reason"]


def test_a_condition_that_does_not_compile_is_refused_when_put(elasticsearch: Elasticsearch) -> None:
    with pytest.raises(BadRequestError) as caught:
        elasticsearch.ingest.put_pipeline(id="p", processors=[{"set": {**SET["set"], "if": "ctx.a == "}}])
    error = error_of(caught)
    assert (error["type"], error["reason"], error["processor_type"]) == ("script_exception", "compile error", "set")
    assert error["caused_by"]["reason"] == "unexpected end of script."


def test_simulate_runs_an_inline_pipeline(elasticsearch: Elasticsearch) -> None:
    processors = [
        {"drop": {"if": "ctx.kind == 'drop'"}},
        {"uppercase": {"field": "foo"}},
        {"set": {"field": "id", "value": "{{_index}}/{{_id}}"}},
    ]
    docs: list[dict[str, Any]] = [
        {"_index": "index", "_id": "id", "_source": {"foo": "bar"}},
        {"_source": {"not_foo": "bar"}},
        {"_source": {"kind": "drop"}},
        {"_source": {"foo": "x"}},
    ]
    answer = elasticsearch.ingest.simulate(pipeline={"processors": processors}, docs=docs)["docs"]
    done = answer[0]["doc"]
    assert done["_source"] == {"foo": "BAR", "id": "index/id"}
    assert (done["_index"], done["_id"], done["_version"]) == ("index", "id", "-3")
    assert list(done["_ingest"]) == ["timestamp"]
    assert answer[1]["error"]["type"] == "illegal_argument_exception"
    assert answer[1]["error"]["root_cause"][0]["reason"] == "field [foo] not present as part of path [foo]"
    assert answer[2] is None
    assert answer[3]["doc"]["_source"]["id"] == "_index/_id"


def test_simulate_verbose_shows_every_processor(elasticsearch: Elasticsearch) -> None:
    elasticsearch.ingest.put_pipeline(
        id="inner", processors=[{"rename": {"field": "nope", "target_field": "y", "tag": "r"}}]
    )
    processors = [
        {"set": {"field": "n", "value": 1, "tag": "first", "description": "sets n"}},
        {"set": {"field": "m", "value": 1, "if": "ctx.n == 2"}},
        {"lowercase": {"field": "absent", "ignore_failure": True}},
        {"pipeline": {"name": "inner", "on_failure": [{"set": {"field": "caught", "value": True}}]}},
        {"drop": {}},
    ]
    answer = elasticsearch.ingest.simulate(pipeline={"processors": processors}, docs=[{"_source": {}}], verbose=True)[
        "docs"
    ][0]["processor_results"]
    assert [(entry["processor_type"], entry["status"]) for entry in answer] == [
        ("set", "success"),
        ("set", "skipped"),
        ("lowercase", "error_ignored"),
        ("pipeline", "success"),
        ("rename", "error"),
        ("set", "success"),
        ("drop", "dropped"),
    ]
    assert (answer[0]["tag"], answer[0]["description"]) == ("first", "sets n")
    assert answer[0]["doc"]["_source"] == {"n": 1}
    assert set(answer[0]["doc"]["_ingest"]) == {"timestamp", "pipeline"}
    assert answer[1]["if"] == {"condition": "ctx.n == 2", "result": False}
    assert "not present" in answer[2]["ignored_error"]["error"]["reason"]
    assert answer[4]["error"]["reason"] == "field [nope] doesn't exist"
    assert answer[5]["doc"]["_ingest"]["on_failure_processor_tag"] == "r"
    assert answer[5]["doc"]["_source"] == {"n": 1, "caught": True}


def test_simulate_verbose_reports_a_cycle_at_the_call_that_enters_it(elasticsearch: Elasticsearch) -> None:
    elasticsearch.ingest.put_pipeline(id="outer", processors=[{"pipeline": {"name": "inner"}}])
    elasticsearch.ingest.put_pipeline(id="inner", processors=[{"pipeline": {"name": "outer"}}])
    pipeline = {"processors": [{"pipeline": {"name": "outer"}}]}
    answer = elasticsearch.ingest.simulate(pipeline=pipeline, docs=[{"_source": {}}], verbose=True)
    (entry,) = answer["docs"][0]["processor_results"]
    assert entry["error"]["reason"] == "Cycle detected for pipeline: outer"


def test_simulate_runs_a_stored_pipeline(elasticsearch: Elasticsearch) -> None:
    elasticsearch.ingest.put_pipeline(id="p", processors=[SET])
    answer = elasticsearch.ingest.simulate(id="p", docs=[{"_source": {}}])
    assert answer["docs"][0]["doc"]["_source"] == {"a": 1}
    with pytest.raises(BadRequestError, match=r"pipeline \[q\] does not exist"):
        elasticsearch.ingest.simulate(id="q", docs=[{"_source": {}}])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"docs": [{"_source": {}}]}, "[pipeline] required property is missing"),
        ({"pipeline": {"processors": []}}, "[docs] required property is missing"),
        ({"pipeline": {"processors": []}, "docs": []}, "must specify at least one document in [docs]"),
        ({"pipeline": {"processors": []}, "docs": [{}]}, "[_source] required property is missing"),
    ],
)
def test_simulate_refuses_half_a_request(elasticsearch: Elasticsearch, body: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        elasticsearch.ingest.simulate(body=body)
    assert error_of(caught)["reason"] == reason


def test_documents_pass_the_default_pipeline_of_their_index(elasticsearch: Elasticsearch) -> None:
    processors = [
        {"set": {"field": "_id", "copy_from": "event.id", "if": "ctx._id == null && ctx.event?.id != null"}},
        {"set": {"field": "event.ingested", "value": "{{{_ingest.timestamp}}}"}},
        {"drop": {"if": "ctx.event.action == 'noise'"}},
        {"convert": {"field": "n", "type": "long"}},
    ]
    elasticsearch.ingest.put_pipeline(id="p", processors=processors)
    elasticsearch.indices.create(index="x", settings={"index.default_pipeline": "p"})
    operations: list[dict[str, Any]] = []
    for event in ("a", "noise", "b"):
        operations += [{"index": {}}, {"event": {"id": event, "action": event}, "n": "1" if event == "a" else "one"}]
    items = elasticsearch.bulk(index="x", operations=operations, refresh=True)["items"]
    first, second, third = (item["index"] for item in items)
    assert (first["status"], first["_id"]) == (201, "a")
    assert second["result"] == "noop"
    assert (third["status"], third["error"]["type"]) == (400, "illegal_argument_exception")
    assert third["error"]["reason"] == "unable to convert [one] to long"
    stored = elasticsearch.get(index="x", id="a")["_source"]
    assert stored["n"] == 1
    assert stored["event"]["ingested"].endswith("Z")


def test_an_unknown_parameter_is_refused(elasticsearch: Elasticsearch) -> None:
    with pytest.raises(BadRequestError, match="unrecognized parameter"):
        elasticsearch.perform_request("GET", "/_ingest/pipeline/p", params={"nope": "1"})
