"""Data streams and indices, as a cluster behaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from elasticsearch import BadRequestError, ConflictError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

EVENT = {"@timestamp": "2026-01-01T00:00:00Z"}
DATED = {"properties": {"@timestamp": {"type": "date"}}}
Names = Callable[[str], str]


def put_template(es: Elasticsearch, mine: Names, name: str = "stream", **settings: Any) -> str:
    es.indices.put_index_template(
        name=mine(f"{name}-template"),
        index_patterns=[mine(name)],
        priority=501,
        data_stream={},
        template={
            "settings": {"index.mapping.ignore_malformed": False, **settings},
            "mappings": {"dynamic": False, "properties": {"n": {"type": "long"}}},
            "data_stream_options": {"failure_store": {"enabled": True}},
        },
    )
    return mine(name)


@pytest.fixture
def stream(es: Elasticsearch, mine: Names) -> str:
    name = put_template(es, mine)
    es.indices.create_data_stream(name=name)
    return name


def backing(es: Elasticsearch, stream: str) -> list[str]:
    [found] = es.indices.get_data_stream(name=stream)["data_streams"]
    return [index["index_name"] for index in found["indices"]]


def attach(es: Elasticsearch, stream: str, index: str) -> None:
    es.indices.modify_data_stream(actions=[{"add_backing_index": {"data_stream": stream, "index": index}}])


def test_a_data_stream_takes_nothing_but_create(es: Elasticsearch, stream: str):
    with pytest.raises(BadRequestError, match="only write ops with an op_type of create are allowed"):
        es.index(index=stream, id="1", document=EVENT)
    assert es.create(index=stream, id="1", document=EVENT)["result"] == "created"


def test_an_id_is_unique_in_one_backing_index_only(es: Elasticsearch, stream: str):
    es.create(index=stream, id="1", document=EVENT)
    with pytest.raises(ConflictError):
        es.create(index=stream, id="1", document=EVENT)
    es.indices.rollover(alias=stream)
    assert es.create(index=stream, id="1", document=EVENT)["result"] == "created"
    es.indices.refresh(index=stream)
    assert es.count(index=stream)["count"] == 2


def test_a_document_in_the_failure_store_is_a_success_with_another_id(es: Elasticsearch, stream: str):
    answer = es.bulk(index=stream, operations=[{"create": {"_id": "mine"}}, {**EVENT, "n": "x"}], refresh=True)
    item = answer["items"][0]["create"]
    assert (answer["errors"], item["status"], item["failure_store"]) == (False, 201, "used")
    es.indices.refresh(index=f"{stream}::failures")
    [hit] = es.search(index=f"{stream}::failures")["hits"]["hits"]
    assert hit["_id"] == item["_id"] != "mine"
    assert hit["_source"]["document"]["id"] == "mine"


def test_an_attached_index_takes_updates_and_deletes_only(es: Elasticsearch, mine: Names, stream: str):
    history = mine("history")
    es.indices.create(index=history, mappings=DATED)
    es.index(index=history, id="1", document=EVENT)
    attach(es, stream, history)
    with pytest.raises(BadRequestError, match="targeting backing indices is disallowed"):
        es.create(index=history, id="2", document=EVENT)
    assert es.update(index=history, id="1", doc={"n": 1})["result"] == "updated"
    assert es.delete(index=history, id="1")["result"] == "deleted"


def test_an_index_of_the_ordinary_mode_can_be_attached_to_a_logsdb_stream(es: Elasticsearch, mine: Names):
    stream = put_template(es, mine, "logs", **{"index.mode": "logsdb"})
    es.indices.create_data_stream(name=stream)
    es.indices.create(index=mine("history"), mappings=DATED)
    attach(es, stream, mine("history"))
    assert mine("history") in backing(es, stream)


def test_an_aliased_index_cannot_be_attached(es: Elasticsearch, mine: Names, stream: str):
    es.indices.create(index=mine("history"), mappings=DATED, aliases={mine("alias"): {}})
    with pytest.raises(BadRequestError, match="alias"):
        attach(es, stream, mine("history"))


def test_a_plain_index_cannot_have_the_name_of_a_stream(es: Elasticsearch, mine: Names):
    name = put_template(es, mine)
    with pytest.raises(BadRequestError, match="creates data streams only"):
        es.indices.create(index=name)


def test_a_swap_of_backing_indices_is_one_request(es: Elasticsearch, mine: Names, stream: str):
    old = backing(es, stream)[0]
    es.indices.rollover(alias=stream)
    es.indices.create(index=mine("repaired"), mappings=DATED)
    es.indices.modify_data_stream(
        actions=[
            {"remove_backing_index": {"data_stream": stream, "index": old}},
            {"add_backing_index": {"data_stream": stream, "index": mine("repaired")}},
        ]
    )
    assert old not in backing(es, stream)
    assert mine("repaired") in backing(es, stream)


def test_the_write_index_cannot_be_removed(es: Elasticsearch, stream: str):
    [written] = backing(es, stream)
    action = {"remove_backing_index": {"data_stream": stream, "index": written}}
    with pytest.raises(BadRequestError, match="write index"):
        es.indices.modify_data_stream(actions=[action])


def test_the_template_of_higher_priority_wins_and_the_simulation_names_the_other(es: Elasticsearch, mine: Names):
    name = put_template(es, mine)
    es.indices.put_index_template(
        name=mine("other"), index_patterns=[mine("stream*")], priority=200, data_stream={}, template={}
    )
    made = es.indices.simulate_index_template(name=name)
    assert made["template"]["mappings"]["properties"]["n"] == {"type": "long"}
    assert [one["name"] for one in made["overlapping"]] == [mine("other")]


def test_templates_of_one_priority_may_not_overlap(es: Elasticsearch, mine: Names):
    put_template(es, mine)
    with pytest.raises(BadRequestError, match="multiple index templates may not match"):
        es.indices.put_index_template(
            name=mine("twin"), index_patterns=[mine("stream*")], priority=501, data_stream={}, template={}
        )


def test_in_logsdb_a_malformed_value_is_a_silent_gap_unless_told_otherwise(es: Elasticsearch, mine: Names):
    mappings = {"properties": {**DATED["properties"], "n": {"type": "long"}}}
    for name, told in (("silent", {}), ("strict", {"index.mapping.ignore_malformed": False})):
        es.indices.create(index=mine(name), settings={"index.mode": "logsdb", **told}, mappings=mappings)
    es.index(index=mine("silent"), document={**EVENT, "n": "x"}, refresh=True)
    [hit] = es.search(index=mine("silent"))["hits"]["hits"]
    assert hit["_ignored"] == ["n"]
    with pytest.raises(BadRequestError):
        es.index(index=mine("strict"), document={**EVENT, "n": "x"})


def test_a_template_changes_new_backing_indices_only(es: Elasticsearch, mine: Names, stream: str):
    es.indices.put_index_template(
        name=mine("stream-template"),
        index_patterns=[stream],
        priority=501,
        data_stream={},
        template={"mappings": {"properties": {"n": {"type": "keyword"}}}},
    )
    es.indices.rollover(alias=stream)
    found = es.indices.get_mapping(index=stream)
    assert [found[name]["mappings"]["properties"]["n"]["type"] for name in backing(es, stream)] == ["long", "keyword"]


def test_an_older_version_never_replaces_a_newer_one(es: Elasticsearch, mine: Names):
    options: dict[str, Any] = {"index": mine("labels"), "id": "e", "version_type": "external_gte"}
    es.index(**options, version=2, document={"verdict": "confirmed"})
    with pytest.raises(ConflictError):
        es.index(**options, version=1, document={"verdict": "none"})
    assert es.index(**options, version=2, document={"verdict": "confirmed"})["result"] == "updated"


def test_a_policy_in_use_cannot_be_deleted(es: Elasticsearch, mine: Names):
    es.ilm.put_lifecycle(name=mine("policy"), policy={"phases": {"hot": {"actions": {}}}})
    es.indices.create(index=mine("governed"), settings={"index.lifecycle.name": mine("policy")})
    with pytest.raises(BadRequestError, match="in use"):
        es.ilm.delete_lifecycle(name=mine("policy"))


def test_a_changed_policy_gets_the_next_version(es: Elasticsearch, mine: Names):
    versions = []
    for age in ("400d", "500d"):
        es.ilm.put_lifecycle(
            name=mine("policy"), policy={"phases": {"delete": {"min_age": age, "actions": {"delete": {}}}}}
        )
        versions.append(es.ilm.get_lifecycle(name=mine("policy"))[mine("policy")]["version"])
    assert versions[1] == versions[0] + 1
