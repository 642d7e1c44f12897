"""Data streams: creation, backing indices, failure store, rollover, options, lifecycle, write targets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from elasticsearch import ApiError, BadRequestError, Elasticsearch, NotFoundError

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.testing import Sandbox


@pytest.fixture
def stream(sandbox: Sandbox, elasticsearch: Elasticsearch) -> str:
    sandbox.clock.freeze(datetime(2026, 1, 31, 12, tzinfo=UTC))
    elasticsearch.indices.put_index_template(
        name="mine",
        index_patterns=["logs-mine.audit-*"],
        priority=501,
        data_stream={},
        template={
            "settings": {"index.lifecycle.name": "p", "index.default_pipeline": "norm"},
            "mappings": {"properties": {"n": {"type": "long"}}},
            "data_stream_options": {"failure_store": {"enabled": True}},
        },
        meta={"by": "test"},
    )
    elasticsearch.indices.create_data_stream(name="logs-mine.audit-prod")
    return "logs-mine.audit-prod"


def shown(client: Elasticsearch, name: str) -> dict[str, Any]:
    [found] = client.indices.get_data_stream(name=name)["data_streams"]
    return found


def test_a_new_stream_shows_its_backing_index_template_and_policy(elasticsearch: Elasticsearch, stream: str) -> None:
    found = shown(elasticsearch, stream)

    assert [index["index_name"] for index in found["indices"]] == [".ds-logs-mine.audit-prod-2026.01.31-000001"]
    assert (found["generation"], found["template"], found["ilm_policy"]) == (1, "mine", "p")
    assert found["next_generation_managed_by"] == "Index Lifecycle Management"
    assert found["failure_store"] == {"enabled": True, "rollover_on_write": False, "indices": []}
    assert (found["_meta"], found["index_mode"], found["status"]) == ({"by": "test"}, "logsdb", "GREEN")


def test_the_backing_index_is_hidden_and_has_a_timestamp(elasticsearch: Elasticsearch, stream: str) -> None:
    [(name, made)] = elasticsearch.indices.get(index=stream).body.items()

    assert made["settings"]["index"]["hidden"] == "true"
    assert made["data_stream"] == stream
    assert made["mappings"]["_data_stream_timestamp"] == {"enabled": True}
    assert made["mappings"]["properties"] == {"@timestamp": {"type": "date"}, "n": {"type": "long"}}
    assert name not in elasticsearch.indices.get_settings(index="*logs*", expand_wildcards="none").body


@pytest.mark.parametrize(
    ("name", "error", "reason"),
    [
        (
            "logs-mine.audit-prod",
            "resource_already_exists_exception",
            "data_stream [logs-mine.audit-prod] already exists",
        ),
        ("Upper", "illegal_argument_exception", "data_stream [Upper] must be lowercase"),
        ("a#b", "illegal_argument_exception", "data_stream [a#b] must not contain '#'"),
        (".ds-x", "illegal_argument_exception", "data_stream [.ds-x] must not start with '.ds-'"),
        ("uncovered", "illegal_argument_exception", "no matching index template found for data stream [uncovered]"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(
    elasticsearch: Elasticsearch, stream: str, name: str, error: str, reason: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        elasticsearch.indices.create_data_stream(name=name)
    assert (refused.value.error, refused.value.body["error"]["reason"]) == (error, reason)


def test_a_plain_index_of_a_streams_name_is_refused(elasticsearch: Elasticsearch, stream: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        elasticsearch.indices.create(index="logs-mine.audit-test")
    assert refused.value.body["error"]["reason"] == (
        "cannot create index with name [logs-mine.audit-test], because it matches with template [mine] that creates "
        "data streams only, use create data stream api instead"
    )


def test_the_timestamp_must_be_a_date(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.put_index_template(
        name="t",
        index_patterns=["bad"],
        data_stream={},
        template={"mappings": {"properties": {"@timestamp": {"type": "keyword"}}}},
    )
    with pytest.raises(
        BadRequestError, match=r"\[@timestamp\] is of type \[keyword\], but \[date,date_nanos\] is expected"
    ):
        elasticsearch.indices.create_data_stream(name="bad")


class TestWriteTargets:
    def test_only_create_reaches_a_stream(self, sandbox: Sandbox, stream: str) -> None:
        indices = sandbox.backend.indices

        assert indices.write_target(stream, op_type="create").data_stream == stream
        for op_type in ("index", "update", "delete"):
            with pytest.raises(
                ElasticError, match="only write ops with an op_type of create are allowed in data streams"
            ):
                indices.write_target(stream, op_type=op_type)

    def test_an_attached_backing_index_takes_updates_and_deletes_but_no_new_documents(
        self, sandbox: Sandbox, stream: str
    ) -> None:
        indices = sandbox.backend.indices
        [backing] = indices.resolve(stream)

        for op_type in ("create", "index"):
            with pytest.raises(ElasticError, match=r"targeting backing indices is disallowed"):
                indices.write_target(backing.name, op_type=op_type)
        for op_type, conditional in (("update", False), ("delete", False), ("index", True)):
            assert indices.write_target(backing.name, op_type=op_type, conditional=conditional) is backing

    def test_a_first_document_creates_the_stream_or_the_index(self, sandbox: Sandbox, stream: str) -> None:
        indices = sandbox.backend.indices

        assert indices.write_target("logs-mine.audit-two", op_type="create").name.startswith(".ds-logs-mine.audit-two-")
        assert indices.write_target("plain", op_type="index").name == "plain"
        with pytest.raises(ElasticError, match="no such index"):
            indices.write_target("gone", op_type="delete")
        with pytest.raises(ElasticError, match="requires a data stream"):
            indices.write_target("other", op_type="create", require_data_stream=True)
        with pytest.raises(ElasticError, match=r"\[plain\] is not a data stream"):
            indices.write_target("plain", op_type="create", require_data_stream=True)

    def test_an_alias_needs_one_write_index(self, sandbox: Sandbox, elasticsearch: Elasticsearch) -> None:
        indices = sandbox.backend.indices
        for name in ("a-1", "a-2"):
            elasticsearch.indices.create(index=name, aliases={"a": {}})
        with pytest.raises(ElasticError, match=r"no write index is defined for alias \[a\]"):
            indices.write_target("a", op_type="index")

        elasticsearch.indices.put_alias(index="a-2", name="a", is_write_index=True)
        assert indices.write_target("a", op_type="index").name == "a-2"

    def test_a_write_block_refuses(self, sandbox: Sandbox, elasticsearch: Elasticsearch) -> None:
        elasticsearch.indices.create(index="blocked")
        elasticsearch.indices.put_settings(index="blocked", settings={"index.blocks.write": True})
        with pytest.raises(ElasticError) as refused:
            sandbox.backend.indices.write_target("blocked", op_type="index")
        assert (refused.value.status, refused.value.type) == (403, "cluster_block_exception")


class TestFailureStore:
    def test_its_index_is_made_on_first_use_and_shares_the_generation(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        indices = sandbox.backend.indices
        index = indices.failure_index(stream)

        assert index is not None
        assert index.name == ".fs-logs-mine.audit-prod-2026.01.31-000002"
        assert indices.default_pipeline(stream, index) is None
        assert indices.failure_index(stream) is index
        assert indices.resolve(f"{stream}::failures") == [index]
        assert [found.name for found in indices.resolve("logs-*")] == [".ds-logs-mine.audit-prod-2026.01.31-000001"]
        found = shown(elasticsearch, stream)
        assert [item["index_name"] for item in found["failure_store"]["indices"]] == [index.name]
        assert found["generation"] == 2

    def test_it_is_on_for_logs_and_off_for_a_template_that_does_not_say(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch
    ) -> None:
        elasticsearch.indices.put_index_template(name="t", index_patterns=["x-*"], data_stream={})
        for name in ("logs-any-one", "x-1"):
            elasticsearch.indices.create_data_stream(name=name)

        assert sandbox.backend.indices.failure_index("logs-any-one") is not None
        assert sandbox.backend.indices.failure_index("x-1") is None

    def test_options_switch_it(self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str) -> None:
        elasticsearch.indices.put_data_stream_options(name=stream, failure_store={"enabled": False})

        assert sandbox.backend.indices.failure_index(stream) is None
        assert elasticsearch.indices.get_data_stream_options(name=stream)["data_streams"] == [
            {"name": stream, "options": {"failure_store": {"enabled": False}}}
        ]


class TestRollover:
    def test_a_stream_gets_its_next_generation_from_todays_template(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        elasticsearch.cluster.put_component_template(
            name="more", template={"mappings": {"properties": {"added": {"type": "ip"}}}}
        )
        elasticsearch.indices.put_index_template(
            name="mine", index_patterns=["logs-mine.audit-*"], priority=501, data_stream={}, composed_of=["more"]
        )
        sandbox.clock.advance(86_400)
        rolled = elasticsearch.indices.rollover(alias=stream).body

        assert rolled == {
            "acknowledged": True,
            "shards_acknowledged": True,
            "old_index": ".ds-logs-mine.audit-prod-2026.01.31-000001",
            "new_index": ".ds-logs-mine.audit-prod-2026.02.01-000002",
            "rolled_over": True,
            "dry_run": False,
            "lazy": False,
            "conditions": {},
        }
        assert (
            "added"
            in elasticsearch.indices.get_mapping(index=rolled["new_index"])[rolled["new_index"]]["mappings"][
                "properties"
            ]
        )
        assert sandbox.backend.indices.write_target(stream, op_type="create").name == rolled["new_index"]

    def test_conditions_and_dry_run_are_told_apart(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        unmet = elasticsearch.indices.rollover(alias=stream, conditions={"max_age": "7d"})
        assert (unmet["rolled_over"], unmet["conditions"]) == (False, {"[max_age: 7d]": False})

        sandbox.clock.advance(8 * 86_400)
        assert elasticsearch.indices.rollover(alias=stream, dry_run=True)["rolled_over"] is False
        met = elasticsearch.indices.rollover(alias=stream, conditions={"max_age": "7d", "max_docs": 5})
        assert (met["rolled_over"], met["conditions"]) == (True, {"[max_age: 7d]": True, "[max_docs: 5]": False})

    def test_a_lazy_rollover_happens_at_the_next_write(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        assert elasticsearch.indices.rollover(alias=stream, lazy=True)["rolled_over"] is False
        assert shown(elasticsearch, stream)["rollover_on_write"] is True
        assert sandbox.backend.indices.write_target(stream, op_type="create").name.endswith("-000002")
        assert shown(elasticsearch, stream)["rollover_on_write"] is False

    def test_an_alias_moves_on_by_number(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.indices.create(index="model-7", aliases={"model": {"is_write_index": True}})

        assert elasticsearch.indices.rollover(alias="model")["new_index"] == "model-000008"
        assert elasticsearch.indices.get_alias(name="model").body == {
            "model-000008": {"aliases": {"model": {"is_write_index": True}}},
            "model-7": {"aliases": {"model": {"is_write_index": False}}},
        }

    def test_a_plain_index_is_refused(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.indices.create(index="plain")
        with pytest.raises(BadRequestError, match=r"rollover target is a \[concrete index\]"):
            elasticsearch.indices.rollover(alias="plain")


class TestLifecycleAndDeletion:
    def test_a_lifecycle_is_set_and_shown(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.indices.put_index_template(name="t", index_patterns=["x-*"], data_stream={})
        elasticsearch.indices.create_data_stream(name="x-1")
        assert shown(elasticsearch, "x-1")["next_generation_managed_by"] == "Unmanaged"

        elasticsearch.indices.put_data_lifecycle(name="x-1", data_retention="30d")

        assert elasticsearch.indices.get_data_lifecycle(name="x-1")["data_streams"] == [
            {
                "name": "x-1",
                "lifecycle": {
                    "enabled": True,
                    "data_retention": "30d",
                    "effective_retention": "30d",
                    "retention_determined_by": "data_stream_configuration",
                },
            }
        ]
        assert shown(elasticsearch, "x-1")["next_generation_managed_by"] == "Data stream lifecycle"

    def test_deleting_a_stream_takes_its_indices(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        sandbox.backend.indices.failure_index(stream)
        elasticsearch.indices.delete_data_stream(name=stream)

        assert sandbox.backend.indices.all() == []
        with pytest.raises(NotFoundError, match="index_not_found_exception"):
            elasticsearch.indices.get_data_stream(name=stream)
        assert elasticsearch.indices.get_data_stream(name="logs-*")["data_streams"] == []

    def test_its_write_index_and_its_name_cannot_be_deleted_as_an_index(
        self, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        name = shown(elasticsearch, stream)["indices"][0]["index_name"]
        with pytest.raises(BadRequestError, match="is the write index for data stream"):
            elasticsearch.indices.delete(index=name)
        with pytest.raises(ApiError, match="matches a data stream"):
            elasticsearch.indices.delete(index=stream)

        elasticsearch.indices.rollover(alias=stream)
        elasticsearch.indices.delete(index=name)
        assert [item["index_name"] for item in shown(elasticsearch, stream)["indices"]] == [
            ".ds-logs-mine.audit-prod-2026.01.31-000002"
        ]

    def test_an_alias_may_point_at_a_stream(self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str) -> None:
        elasticsearch.indices.put_alias(index=stream, name="audit")

        assert elasticsearch.indices.get_alias(name="audit").body == {stream: {"aliases": {"audit": {}}}}
        assert sandbox.backend.indices.resolve("audit") == sandbox.backend.indices.resolve(stream)
        assert sandbox.backend.indices.write_target("audit", op_type="create").data_stream == stream
