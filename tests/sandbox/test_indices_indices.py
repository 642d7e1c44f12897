"""Indices, settings, aliases, expressions, field capabilities, cat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from elasticsearch import ApiError, BadRequestError, Elasticsearch, NotFoundError

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.testing import Sandbox, serve


def test_an_index_shows_what_it_was_made_with(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.create(
        index="lookup",
        settings={"index.mode": "lookup", "number_of_replicas": 0},
        mappings={"properties": {"event.id": {"type": "keyword"}}},
        aliases={"also": {}},
    )

    made = elasticsearch.indices.get(index="lookup")["lookup"]
    assert made["aliases"] == {"also": {}}
    assert made["mappings"] == {"properties": {"event": {"properties": {"id": {"type": "keyword"}}}}}
    settings = made["settings"]["index"]
    assert (settings["mode"], settings["number_of_shards"], settings["number_of_replicas"]) == ("lookup", "1", "0")
    assert settings["provided_name"] == "lookup"
    assert len(settings["uuid"]) == 22


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Upper", "must be lowercase"),
        ("-a", "must not start with '_', '-', or '+'"),
        ("a#b", "must not contain '#'"),
        ("a b", "must not contain the following characters ['\\','/','*','?','\"','<','>','|',' ',',']"),
        ("x" * 256, "index name is too long, (256 > 255)"),
    ],
)
def test_a_name_no_index_can_have_is_refused(elasticsearch: Elasticsearch, name: str, problem: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        elasticsearch.indices.create(index=name)
    assert refused.value.body["error"]["type"] == "invalid_index_name_exception"
    assert refused.value.body["error"]["reason"] == f"Invalid index name [{name}], {problem}"


def test_a_name_in_use_is_refused(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.create(index="a", aliases={"b": {}})
    with pytest.raises(BadRequestError, match="resource_already_exists_exception"):
        elasticsearch.indices.create(index="a")
    with pytest.raises(BadRequestError, match="already exists as alias"):
        elasticsearch.indices.create(index="b")
    with pytest.raises(BadRequestError, match="an index or data stream exists with the same name as the alias"):
        elasticsearch.indices.put_alias(index="a", name="a")


def test_a_missing_index_is_a_404_that_names_it(elasticsearch: Elasticsearch) -> None:
    with pytest.raises(NotFoundError) as missing:
        elasticsearch.indices.get(index="absent")
    assert missing.value.body == {
        "error": {
            "root_cause": [
                {
                    "type": "index_not_found_exception",
                    "reason": "no such index [absent]",
                    "resource.type": "index_or_alias",
                    "resource.id": "absent",
                    "index_uuid": "_na_",
                    "index": "absent",
                }
            ],
            "type": "index_not_found_exception",
            "reason": "no such index [absent]",
            "resource.type": "index_or_alias",
            "resource.id": "absent",
            "index_uuid": "_na_",
            "index": "absent",
        },
        "status": 404,
    }
    assert elasticsearch.indices.get(index="absent*").body == {}
    assert elasticsearch.indices.get(index="absent", ignore_unavailable=True).body == {}
    with pytest.raises(NotFoundError):
        elasticsearch.indices.get(index="absent*", allow_no_indices=False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"index.foo": 1}, r"unknown setting \[index.foo\] please check that any required plugins are installed"),
        ({"number_of_shards": 0}, "must be >= 1"),
        ({"index.mode": "fast"}, r"\[fast\] is an invalid index mode"),
        (
            {"index.mode": "lookup", "number_of_shards": 2},
            r"index with \[lookup\] mode must have \[index.number_of_shards\] set to 1",
        ),
        ({"index.hidden": "maybe"}, r"Failed to parse value \[maybe\] as only \[true\] or \[false\] are allowed."),
        ({"index.uuid": "x"}, r"private index setting \[index.uuid\] can not be set explicitly"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    elasticsearch: Elasticsearch, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadRequestError, match=words):
        elasticsearch.indices.create(index="a", settings=settings)
    assert not elasticsearch.indices.exists(index="a")


class TestSettings:
    def test_dynamic_ones_change_and_null_returns_to_the_default(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.indices.create(index="a", settings={"refresh_interval": "5s"})
        elasticsearch.indices.put_settings(
            index="a", settings={"index": {"refresh_interval": None, "number_of_replicas": 0}}
        )

        shown = elasticsearch.indices.get_settings(index="a", flat_settings=True, include_defaults=True)["a"]
        assert "index.refresh_interval" not in shown["settings"]
        assert shown["settings"]["index.number_of_replicas"] == "0"
        assert shown["defaults"]["index.refresh_interval"] == "1s"
        named = elasticsearch.indices.get_settings(index="a", name="index.number_of_*").body
        assert named == {"a": {"settings": {"index": {"number_of_replicas": "0", "number_of_shards": "1"}}}}

    def test_static_ones_are_refused_on_an_open_index(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.indices.create(index="a")
        with pytest.raises(
            BadRequestError, match=r"Can't update non dynamic settings \[\[index.codec\]\] for open indices \[\[a/"
        ):
            elasticsearch.indices.put_settings(index="a", settings={"index.codec": "best_compression"})
        with pytest.raises(BadRequestError, match=r"final a setting \[index.number_of_shards\], not updateable"):
            elasticsearch.indices.put_settings(index="a", settings={"number_of_shards": 2})

    def test_a_changed_field_limit_holds_at_once(self, sandbox: Sandbox, elasticsearch: Elasticsearch) -> None:
        elasticsearch.indices.create(index="a", settings={"index.mapping.total_fields.limit": 1})
        index = sandbox.backend.indices.get("a")
        assert index is not None
        with pytest.raises(ElasticError):
            index.mapping.parse({"a": 1, "b": 1})
        elasticsearch.indices.put_settings(index="a", settings={"index.mapping.total_fields.limit": 2})
        index.mapping.parse({"a": 1, "b": 1})


class TestAliases:
    def test_several_actions_are_all_or_none(self, elasticsearch: Elasticsearch) -> None:
        for name in ("v1", "v2"):
            elasticsearch.indices.create(index=name)
        elasticsearch.indices.put_alias(index="v1", name="live")

        with pytest.raises(NotFoundError, match="aliases_not_found_exception"):
            elasticsearch.indices.update_aliases(
                actions=[{"add": {"index": "v2", "alias": "live"}}, {"remove": {"index": "v2", "alias": "absent"}}]
            )
        assert list(elasticsearch.indices.get_alias(name="live").body) == ["v1"]

        elasticsearch.indices.update_aliases(
            actions=[{"remove": {"index": "v1", "alias": "live"}}, {"add": {"index": "v2", "alias": "live"}}]
        )
        assert list(elasticsearch.indices.get_alias(name="live").body) == ["v2"]
        assert elasticsearch.indices.exists_alias(name="live")
        elasticsearch.indices.delete_alias(index="v2", name="live")
        assert not elasticsearch.indices.exists_alias(name="live")

    def test_a_missing_alias_is_a_404_in_its_own_shape(self, elasticsearch: Elasticsearch) -> None:
        with pytest.raises(NotFoundError) as missing:
            elasticsearch.indices.get_alias(name="absent")
        assert missing.value.body == {"error": "alias [absent] missing", "status": 404}
        with pytest.raises(NotFoundError, match=r"aliases \[absent,gone\] missing"):
            elasticsearch.indices.get_alias(name="gone,absent")

    def test_a_wildcard_finds_the_aliases_of_hidden_indices_unless_told_not_to(
        self, elasticsearch: Elasticsearch
    ) -> None:
        for name in (".ml-anomalies-shared", "plain"):
            elasticsearch.indices.create(
                index=name, settings={"index.hidden": name[0] == "."}, aliases={f"{name}-read": {}}
            )
        get = elasticsearch.indices.get_alias

        assert set(get(index="*").body) == {".ml-anomalies-shared", "plain"}
        assert set(get(index=".ml-anomalies-*", expand_wildcards="all").body) == {".ml-anomalies-shared"}
        assert set(get(index="*", expand_wildcards="open").body) == {"plain"}
        with pytest.raises(BadRequestError, match="unsupported_selector_exception"):
            get(index="plain::data")

    def test_what_the_sandbox_has_not_is_a_501(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.indices.create(index="a")
        with pytest.raises(ApiError) as refused:
            elasticsearch.indices.put_alias(index="a", name="b", filter={"term": {"x": 1}})
        assert refused.value.status_code == 501


class TestExpressions:
    @pytest.fixture
    def names(self, sandbox: Sandbox, elasticsearch: Elasticsearch):
        for name in ("a-1", "a-2", "b-1"):
            elasticsearch.indices.create(index=name)
        elasticsearch.indices.create(index="a-hidden", settings={"index.hidden": True}, aliases={"c": {}})

        def resolved(expression: str, **options: Any) -> list[str]:
            return [index.name for index in sandbox.backend.indices.resolve(expression, **options)]

        return resolved

    @pytest.mark.parametrize(
        ("expression", "found"),
        [
            ("a-1", ["a-1"]),
            ("a-*", ["a-1", "a-2"]),
            ("*,-a-*", ["b-1"]),
            ("b-1,a-*,-a-2", ["b-1", "a-1"]),
            ("_all", ["a-1", "a-2", "b-1"]),
            ("c", ["a-hidden"]),
            ("nothing*", []),
        ],
    )
    def test_names_wildcards_exclusions_and_aliases(self, names: Any, expression: str, found: list[str]) -> None:
        assert names(expression) == found

    def test_hidden_ones_on_request(self, names: Any) -> None:
        assert names("a-*", expand_wildcards="open,hidden") == ["a-1", "a-2", "a-hidden"]

    def test_what_the_sandbox_has_not_is_a_501(self, names: Any) -> None:
        for expression in ("remote:a", "<a-{now/d}>"):
            with pytest.raises(ElasticError) as refused:
                names(expression)
            assert refused.value.status == 501

    def test_deleting_by_wildcard_is_refused(self, names: Any, elasticsearch: Elasticsearch) -> None:
        with pytest.raises(BadRequestError, match="Wildcard expressions or all indices are not allowed"):
            elasticsearch.indices.delete(index="a-*")
        elasticsearch.indices.delete(index="a-1,b-1")
        assert names("*") == ["a-2"]
        with pytest.raises(BadRequestError, match="matches an alias"):
            elasticsearch.indices.delete(index="c")


def test_a_mapping_update_that_one_index_refuses_changes_none(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.create(index="a")
    elasticsearch.indices.create(index="b", mappings={"properties": {"x": {"type": "long"}}})

    with pytest.raises(BadRequestError):
        elasticsearch.indices.put_mapping(index="a,b", properties={"x": {"type": "keyword"}})
    assert elasticsearch.indices.get_mapping(index="a")["a"]["mappings"] == {}


def test_field_caps_report_types_and_conflicts(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.create(
        index="a", mappings={"properties": {"x": {"type": "long"}, "w": {"type": "wildcard"}, "t": {"type": "text"}}}
    )
    elasticsearch.indices.create(index="b", mappings={"properties": {"x": {"type": "keyword", "doc_values": False}}})

    fields = elasticsearch.field_caps(index="a,b", fields="x,t,w", include_unmapped=True)["fields"]

    assert fields["x"]["long"] == {
        "type": "long", "metadata_field": False, "searchable": True, "aggregatable": True, "indices": ["a"],
    }  # fmt: skip
    assert fields["x"]["keyword"]["aggregatable"] is False
    assert fields["t"]["text"]["aggregatable"] is False
    assert fields["t"]["unmapped"]["indices"] == ["b"]
    assert "keyword" in fields["w"]


def test_field_caps_say_which_indices_cannot_search_or_aggregate(elasticsearch: Elasticsearch) -> None:
    # The objects of field_caps/10_basic.yml.
    bodies: dict[str, dict[str, Any]] = {
        "test1": {"text": {"type": "text", "index": False}, "number": {"type": "float", "doc_values": False}},
        "test2": {"text": {"type": "text"}, "number": {"type": "float"}},
        "test3": {"text": {"type": "long", "index": False}, "number": {"type": "keyword", "doc_values": False}},
    }
    for name, properties in bodies.items():
        kind = "nested" if name == "test3" else "object"
        elasticsearch.indices.create(
            index=name,
            mappings={"properties": {"o": {"type": kind, "properties": properties}, f"only_{name}": {"type": "date"}}},
        )
    answer = elasticsearch.field_caps(index="test1,test2,test3", fields="o.*,only_test1,no_such", include_unmapped=True)

    assert answer["indices"] == ["test1", "test2", "test3"]
    fields = answer["fields"]
    assert sorted(fields) == ["o", "o.number", "o.text", "only_test1"]
    common = {"metadata_field": False}
    assert fields["o"] == {
        "object": {
            **common,
            "type": "object",
            "searchable": False,
            "aggregatable": False,
            "indices": ["test1", "test2"],
        },
        "nested": {**common, "type": "nested", "searchable": False, "aggregatable": False, "indices": ["test3"]},
    }
    assert fields["o.text"] == {
        "text": {
            **common, "type": "text", "searchable": False, "aggregatable": False, "indices": ["test1", "test2"],
            "non_searchable_indices": ["test1"],
        },
        "long": {**common, "type": "long", "searchable": True, "aggregatable": True, "indices": ["test3"]},
    }  # fmt: skip
    assert fields["o.number"] == {
        "float": {
            **common, "type": "float", "searchable": True, "aggregatable": False, "indices": ["test1", "test2"],
            "non_aggregatable_indices": ["test1"],
        },
        "keyword": {**common, "type": "keyword", "searchable": True, "aggregatable": False, "indices": ["test3"]},
    }  # fmt: skip
    assert fields["only_test1"]["unmapped"] == {
        **common, "type": "unmapped", "searchable": False, "aggregatable": False, "indices": ["test2", "test3"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "there", "absent"),
    [
        # field_caps/50_fieldtype_filter.yml and 60_types_filter_objects.yml
        ({}, {"o", "o.n", "t", "t.k", "nested", "nested.deep", "nested.deep.leaf", "_seq_no"}, set()),
        ({"filters": "-parent"}, {"o.n"}, {"o", "nested", "nested.deep"}),
        ({"filters": "-metadata"}, {"t"}, {"_seq_no", "_id"}),
        ({"filters": "+metadata"}, {"_seq_no"}, {"t", "o"}),
        ({"filters": "-nested"}, {"o.n"}, {"nested", "nested.deep", "nested.deep.leaf"}),
        ({"filters": "-multifield,-metadata"}, {"t"}, {"t.k", "_seq_no"}),
        ({"types": "text"}, {"t", "nested.deep.leaf"}, {"o", "o.n", "nested", "t.k"}),
        ({"types": "text,nested"}, {"t", "nested"}, {"o", "nested.deep"}),
        ({"types": "text,object", "filters": "-parent"}, {"t"}, {"nested.deep"}),
        ({"fields": "o"}, set(), {"o", "o.n"}),
        ({"fields": "o.n"}, {"o", "o.n"}, {"t"}),
    ],
)
def test_field_caps_are_filtered_and_bring_the_objects_around_a_field(
    elasticsearch: Elasticsearch, options: dict[str, Any], there: set[str], absent: set[str]
) -> None:
    elasticsearch.indices.create(
        index="a",
        mappings={
            "properties": {
                "t": {"type": "text", "fields": {"k": {"type": "keyword"}}},
                "o": {"properties": {"n": {"type": "double"}}},
                "nested": {"type": "nested", "properties": {"deep": {"properties": {"leaf": {"type": "text"}}}}},
            }
        },
    )
    found = set(elasticsearch.field_caps(index="a", **{"fields": "*", **options})["fields"])
    assert there <= found
    assert not absent & found


def test_a_filter_of_field_caps_that_is_none_is_refused(elasticsearch: Elasticsearch) -> None:
    with pytest.raises(BadRequestError, match=r"Unknown field caps filter \[x\]"):
        elasticsearch.field_caps(index="*", fields="*", filters="x")


@pytest.mark.parametrize(
    "options", [{"index_filter": {"match_all": {}}}, {"filters": "+dimension"}, {"include_empty_fields": False}]
)
def test_what_field_caps_cannot_do_is_501(elasticsearch: Elasticsearch, options: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        elasticsearch.field_caps(index="*", fields="*", **options)
    assert (refused.value.status_code, refused.value.error) == (501, "sandbox_unsupported")


def test_cat_indices_as_json(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.create(index="a")

    [row] = elasticsearch.cat.indices(index="a", format="json", h="index,health,docs.count")
    assert row == {"index": "a", "health": "green", "docs.count": "0"}
    assert [
        row["index"]
        for row in elasticsearch.perform_request("GET", "/_cat/indices", headers={"accept": "application/json"}).body
    ] == ["a"]


def test_cat_indices_as_a_table(elasticsearch: Elasticsearch) -> None:
    for name, documents in (("a", 1), ("bb", 12)):
        elasticsearch.indices.create(index=name)
        for number in range(documents):
            elasticsearch.index(index=name, document={"n": number})
    elasticsearch.indices.refresh()

    assert elasticsearch.cat.indices(h="index,docs.count,nothing", s="docs.count:desc", v=True).body == (
        "index docs.count\nbb            12\na              1\n"
    )
    assert elasticsearch.cat.indices(index="b*", h="i,dc").body == "bb 12\n"
    assert elasticsearch.cat.indices(index="bb", h="ss", bytes="b").body == "86\n"
    with pytest.raises(ApiError, match="Unable to sort by unknown sort key `x`"):
        elasticsearch.cat.indices(s="x")


def test_everything_is_there_again_after_a_restart(tmp_path: Path) -> None:
    with serve(data=tmp_path) as served:
        client = Elasticsearch(served.elasticsearch_url)
        client.indices.create(index="a", settings={"index.hidden": True}, aliases={"b": {}})
        client.indices.put_mapping(index="a", properties={"x": {"type": "ip"}})
        client.indices.create_data_stream(name="logs-x-y")
        served.backend.indices.failure_index("logs-x-y")
        client.ilm.put_lifecycle(name="p", policy={"phases": {}})
        before = (
            client.indices.get(index="a").body,
            client.indices.get_data_stream().body,
            client.ilm.get_lifecycle().body,
        )

    with serve(data=tmp_path) as served:
        client = Elasticsearch(served.elasticsearch_url)
        after = (
            client.indices.get(index="a").body,
            client.indices.get_data_stream().body,
            client.ilm.get_lifecycle().body,
        )
    assert after == before
