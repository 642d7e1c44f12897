"""What a real stack does that a careless stand-in forgives, one test for each fact of the data side.

Each fact would pass unnoticed in a lenient sandbox and break on a cluster; the sources are at the code concerned.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from elasticsearch import ApiError, BadRequestError, ConflictError, Elasticsearch, NotFoundError

from elastic_sandbox.testing import Sandbox, serve

STREAM = "logs-mine.audit-prod"
EVENT = {"@timestamp": "2026-01-01T00:00:00Z"}


@pytest.fixture
def stream(elasticsearch: Elasticsearch) -> str:
    """A data stream of a template like ours: explicit about its mode and about malformed values."""
    elasticsearch.indices.put_index_template(
        name="mine",
        index_patterns=["logs-mine.audit-prod"],
        priority=501,
        data_stream={},
        template={
            "settings": {
                "index.mode": "logsdb",
                "index.mapping.ignore_malformed": False,
                "index.mapping.total_fields.ignore_dynamic_beyond_limit": False,
            },
            "mappings": {"dynamic": False, "properties": {"n": {"type": "long"}, "event.id": {"type": "keyword"}}},
            "data_stream_options": {"failure_store": {"enabled": True}},
        },
    )
    elasticsearch.indices.create_data_stream(name=STREAM)
    return STREAM


@pytest.fixture
def serverless() -> Iterator[Elasticsearch]:
    with serve(flavor="serverless") as served:
        yield Elasticsearch(served.elasticsearch_url, max_retries=0)


def backing(client: Elasticsearch, name: str = STREAM) -> list[str]:
    [found] = client.indices.get_data_stream(name=name)["data_streams"]
    return [index["index_name"] for index in found["indices"]]


def attach(client: Elasticsearch, index: str) -> None:
    client.indices.modify_data_stream(actions=[{"add_backing_index": {"data_stream": STREAM, "index": index}}])


def history(client: Elasticsearch, **settings: Any) -> str:
    client.indices.create(
        index="history-1", settings=settings, mappings={"properties": {"@timestamp": {"type": "date"}}}
    )
    return "history-1"


class TestIndicesAndHistory:
    def test_an_attached_index_takes_updates_and_deletes_and_nothing_else(
        self, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        history(elasticsearch)
        elasticsearch.index(index="history-1", id="1", document=EVENT)
        attach(elasticsearch, "history-1")

        for call in (elasticsearch.create, elasticsearch.index):
            with pytest.raises(BadRequestError, match="targeting backing indices is disallowed"):
                call(index="history-1", id="2", document=EVENT)
        assert elasticsearch.update(index="history-1", id="1", doc={"n": 1})["result"] == "updated"
        assert elasticsearch.delete(index="history-1", id="1")["result"] == "deleted"

    def test_a_plain_index_cannot_have_a_name_that_a_stream_template_covers(
        self, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        elasticsearch.indices.delete_data_stream(name=STREAM)
        with pytest.raises(BadRequestError, match=r"matches with template \[mine\] that creates data streams only"):
            elasticsearch.indices.create(index=STREAM)

    def test_history_takes_settings_and_mappings_from_the_simulation_of_its_stream(
        self, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        made = elasticsearch.indices.simulate_index_template(name=STREAM)["template"]

        elasticsearch.indices.create(index="history-1", settings=made["settings"], mappings=made["mappings"])
        attach(elasticsearch, "history-1")

        first, *_ = backing(elasticsearch)
        assert first == "history-1"

    def test_an_alias_keeps_an_index_from_being_attached(self, elasticsearch: Elasticsearch, stream: str) -> None:
        history(elasticsearch)
        elasticsearch.indices.put_alias(index="history-1", name="a")
        with pytest.raises(BadRequestError, match=r"until its alias \[a\] is removed"):
            attach(elasticsearch, "history-1")

    def test_a_policy_that_is_set_too_early_deletes_history_while_it_is_loaded(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch
    ) -> None:
        phases = {"delete": {"min_age": "30d", "actions": {"delete": {}}}}
        elasticsearch.ilm.put_lifecycle(name="p", policy={"phases": phases})
        sandbox.clock.freeze(datetime(2026, 6, 1, tzinfo=UTC))
        old = int(datetime(2026, 1, 31, tzinfo=UTC).timestamp() * 1000)
        history(elasticsearch, **{"index.lifecycle.name": "p", "index.lifecycle.origination_date": old})
        sandbox.clock.advance(1200)  # two waits of the delete action

        assert not elasticsearch.indices.exists(index="history-1")

    def test_indexing_complete_skips_the_rollover_and_no_other_action(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        rolled = {"rollover": {"max_age": "1d"}, "set_priority": {"priority": 7}}
        elasticsearch.ilm.put_lifecycle(name="p", policy={"phases": {"hot": {"actions": rolled}}})
        history(elasticsearch)
        attach(elasticsearch, "history-1")
        elasticsearch.indices.put_settings(
            index="history-1", settings={"index.lifecycle.name": "p", "index.lifecycle.indexing_complete": True}
        )
        sandbox.clock.advance(600)

        shown = elasticsearch.ilm.explain_lifecycle(index="history-1")["indices"]["history-1"]
        assert (shown["phase"], shown["action"]) == ("hot", "complete")
        assert elasticsearch.indices.get_settings(index="history-1", flat_settings=True)["history-1"]["settings"][
            "index.priority"
        ] == "7"  # fmt: skip

    def test_an_id_is_unique_inside_one_backing_index_only(self, elasticsearch: Elasticsearch, stream: str) -> None:
        elasticsearch.create(index=STREAM, id="1", document=EVENT)
        with pytest.raises(ConflictError):
            elasticsearch.create(index=STREAM, id="1", document=EVENT)
        elasticsearch.indices.rollover(alias=STREAM)

        elasticsearch.create(index=STREAM, id="1", document=EVENT)
        elasticsearch.indices.refresh(index=STREAM)
        assert elasticsearch.count(index=STREAM)["count"] == 2

    def test_templates_of_the_same_priority_may_not_overlap(self, elasticsearch: Elasticsearch, stream: str) -> None:
        with pytest.raises(BadRequestError, match=r"overlaps|same priority"):
            elasticsearch.indices.put_index_template(
                name="rival", index_patterns=["logs-mine.*-*"], priority=501, data_stream={}
            )

    def test_the_highest_priority_wins_and_the_simulation_names_the_losers(
        self, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        overlapping = elasticsearch.indices.simulate_index_template(name=STREAM)["overlapping"]
        assert [template["name"] for template in overlapping] == ["logs"]

    def test_in_logsdb_a_malformed_value_is_a_silent_gap(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.indices.create(
            index="quiet", settings={"index.mode": "logsdb"}, mappings={"properties": {"n": {"type": "long"}}}
        )
        elasticsearch.index(index="quiet", document={**EVENT, "n": "x"}, refresh=True)
        assert elasticsearch.count(index="quiet", query={"exists": {"field": "n"}})["count"] == 0
        assert elasticsearch.count(index="quiet", query={"term": {"_ignored": "n"}})["count"] == 1

    def test_in_logsdb_fields_beyond_the_limit_are_dropped_without_an_error(self, elasticsearch: Elasticsearch) -> None:
        limit = {"index.mode": "logsdb", "index.mapping.total_fields.limit": 2}
        elasticsearch.indices.create(index="quiet", settings=limit)
        elasticsearch.index(index="quiet", document={**EVENT, "a": 1, "b": 2, "c": 3})
        assert len(elasticsearch.indices.get_mapping(index="quiet")["quiet"]["mappings"]["properties"]) == 2

    def test_a_redirected_document_is_a_success_with_another_id(
        self, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        answer = elasticsearch.bulk(index=STREAM, operations=[{"create": {"_id": "mine"}}, {**EVENT, "n": "x"}])
        item = answer["items"][0]["create"]

        assert (answer["errors"], item["status"], item["failure_store"]) == (False, 201, "used")
        assert item["_id"] != "mine"
        elasticsearch.indices.refresh(index=f"{STREAM}::failures")
        [hit] = elasticsearch.search(index=f"{STREAM}::failures")["hits"]["hits"]
        assert hit["_source"]["document"]["id"] == "mine"

    def test_new_logs_streams_have_a_failure_store_and_old_ones_get_it_by_their_options(
        self, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        elasticsearch.indices.create_data_stream(name="logs-any-thing")
        [built_in] = elasticsearch.indices.get_data_stream(name="logs-any-thing")["data_streams"]
        assert built_in["failure_store"]["enabled"]

        elasticsearch.indices.put_data_stream_options(name=STREAM, failure_store={"enabled": False})
        with pytest.raises(BadRequestError):
            elasticsearch.create(index=STREAM, id="1", document={**EVENT, "n": "x"})
        elasticsearch.indices.put_data_stream_options(name=STREAM, failure_store={"enabled": True})
        assert elasticsearch.create(index=STREAM, id="1", document={**EVENT, "n": "x"})["failure_store"] == "used"

    def test_a_read_only_index_refuses_updates(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.index(index="frozen", id="1", document={"a": 1})
        elasticsearch.indices.put_settings(index="frozen", settings={"index.blocks.write": True})
        with pytest.raises(ApiError, match=r"FORBIDDEN/8/index write \(api\)"):
            elasticsearch.update(index="frozen", id="1", doc={"a": 2})

    def test_updating_audit_events_by_query_is_not_offered(self, elasticsearch: Elasticsearch, stream: str) -> None:
        with pytest.raises(ApiError, match="_update_by_query"):
            elasticsearch.update_by_query(index=STREAM)

    @pytest.mark.parametrize("action", [{"shrink": {"number_of_shards": 1}}, {"readonly": {}}])
    def test_a_policy_with_an_action_that_is_not_performed_is_refused(
        self, elasticsearch: Elasticsearch, action: dict[str, Any]
    ) -> None:
        with pytest.raises(ApiError) as refused:
            elasticsearch.ilm.put_lifecycle(name="p", policy={"phases": {"warm": {"actions": action}}})
        assert refused.value.status_code == 501


class TestLearning:
    def test_equal_ids_of_two_source_indices_meet_in_the_destination(self, elasticsearch: Elasticsearch) -> None:
        for index in ("a", "b"):
            elasticsearch.index(index=index, id="1", document={"from": index}, refresh=True)
        answer = elasticsearch.reindex(
            source={"index": ["a", "b"]}, dest={"index": "both", "op_type": "create"}, conflicts="proceed"
        )
        assert (answer["created"], answer["version_conflicts"]) == (1, 1)

    def test_in_a_reindex_pipeline_the_index_is_already_the_destination(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.ingest.put_pipeline(id="p", processors=[{"set": {"field": "seen", "value": "{{_index}}"}}])
        elasticsearch.index(index="a", id="1", document={"x": 1}, refresh=True)
        elasticsearch.reindex(source={"index": "a"}, dest={"index": "b", "pipeline": "p"}, refresh=True)
        assert elasticsearch.get(index="b", id="1")["_source"]["seen"] == "b"

    def test_rows_that_a_reindex_drops_are_not_counted_as_created(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.ingest.put_pipeline(id="p", processors=[{"drop": {"if": "ctx.x == 1"}}])
        for number in (1, 2):
            elasticsearch.index(index="a", id=str(number), document={"x": number}, refresh=True)
        answer = elasticsearch.reindex(
            source={"index": "a"}, dest={"index": "b", "op_type": "create", "pipeline": "p"}, refresh=True
        )
        assert (answer["total"], answer["created"]) == (2, 1)
        assert elasticsearch.count(index="b")["count"] == 1

    def test_a_new_template_leaves_old_backing_indices_as_they_were(
        self, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        template = elasticsearch.indices.get_index_template(name="mine")["index_templates"][0]["index_template"]
        template["template"]["mappings"]["properties"]["n"] = {"type": "keyword"}
        elasticsearch.indices.put_index_template(name="mine", body=template)
        elasticsearch.indices.rollover(alias=STREAM)

        first, second = backing(elasticsearch)
        types = {
            name: shown["mappings"]["properties"]["n"]["type"]
            for name, shown in elasticsearch.indices.get_mapping(index=STREAM).items()
        }
        assert types == {first: "long", second: "keyword"}
        caps = elasticsearch.field_caps(index=STREAM, fields="n")["fields"]["n"]
        assert {kind: found["indices"] for kind, found in caps.items()} == {"long": [first], "keyword": [second]}

    def test_a_stream_accepts_nothing_but_create(self, elasticsearch: Elasticsearch, stream: str) -> None:
        with pytest.raises(BadRequestError, match="only write ops with an op_type of create are allowed"):
            elasticsearch.index(index=STREAM, id="1", document=EVENT)

    def test_an_older_verdict_never_replaces_a_newer_one(self, elasticsearch: Elasticsearch) -> None:
        def write(version: int) -> None:
            elasticsearch.index(
                index="labels", id="e", document={"v": version}, version=version, version_type="external_gte"
            )

        write(5)
        write(5)
        with pytest.raises(ConflictError):
            write(4)
        assert elasticsearch.get(index="labels", id="e")["_version"] == 5

    def test_a_lookup_index_has_exactly_one_shard(self, elasticsearch: Elasticsearch) -> None:
        with pytest.raises(BadRequestError, match=r"\[index.number_of_shards\] set to 1"):
            elasticsearch.indices.create(index="labels", settings={"index.mode": "lookup", "index.number_of_shards": 2})


class TestEnrich:
    @pytest.fixture
    def policy(self, elasticsearch: Elasticsearch) -> str:
        elasticsearch.indices.create(
            index="labels", mappings={"properties": {"id": {"type": "keyword"}, "verdict": {"type": "keyword"}}}
        )
        elasticsearch.index(index="labels", id="1", document={"id": "e", "verdict": "none"}, refresh=True)
        elasticsearch.enrich.put_policy(
            name="p", match={"indices": "labels", "match_field": "id", "enrich_fields": ["verdict"]}
        )
        elasticsearch.enrich.execute_policy(name="p")
        enrich = {"policy_name": "p", "field": "id", "target_field": "label"}
        elasticsearch.ingest.put_pipeline(id="e", processors=[{"enrich": enrich}])
        return "p"

    def verdict(self, client: Elasticsearch) -> str:
        [made] = client.ingest.simulate(id="e", docs=[{"_source": {"id": "e"}}])["docs"]
        return str(made["doc"]["_source"]["label"]["verdict"])

    def test_it_answers_from_the_copy_until_it_is_executed_again(
        self, elasticsearch: Elasticsearch, policy: str
    ) -> None:
        elasticsearch.index(index="labels", id="1", document={"id": "e", "verdict": "confirmed"}, refresh=True)
        assert self.verdict(elasticsearch) == "none"

        elasticsearch.enrich.execute_policy(name="p")
        assert self.verdict(elasticsearch) == "confirmed"

    def test_a_policy_cannot_be_changed(self, elasticsearch: Elasticsearch, policy: str) -> None:
        with pytest.raises(BadRequestError, match="already exists"):
            elasticsearch.enrich.put_policy(
                name="p", match={"indices": "labels", "match_field": "id", "enrich_fields": ["id"]}
            )

    def test_a_policy_that_a_pipeline_names_cannot_be_deleted(self, elasticsearch: Elasticsearch, policy: str) -> None:
        with pytest.raises(ConflictError, match=re.escape("Could not delete policy [p] because a pipeline is")):
            elasticsearch.enrich.delete_policy(name="p")

    def test_a_second_execution_at_the_same_time_is_a_429(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, policy: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entered, leave = threading.Event(), threading.Event()
        scan = sandbox.backend.documents.scan

        def slow(*arguments: Any, **options: Any) -> Any:
            entered.set()
            leave.wait(10)
            return scan(*arguments, **options)

        monkeypatch.setattr(sandbox.backend.documents, "scan", slow)
        first = threading.Thread(target=lambda: elasticsearch.enrich.execute_policy(name="p"))
        first.start()
        try:
            assert entered.wait(10)
            with pytest.raises(ApiError, match=r"policy execution for \[p\] is already in progress") as refused:
                elasticsearch.enrich.execute_policy(name="p")
            assert refused.value.status_code == 429
        finally:
            leave.set()
            first.join(10)


class TestIngest:
    def test_a_missing_pipeline_fails_every_document_unless_it_is_said_to_be_ignored(
        self, elasticsearch: Elasticsearch
    ) -> None:
        for ignore in (False, True):
            elasticsearch.ingest.put_pipeline(
                id="p", processors=[{"pipeline": {"name": "gone", "ignore_missing_pipeline": ignore}}]
            )
            [made] = elasticsearch.ingest.simulate(id="p", docs=[{"_source": {"a": 1}}])["docs"]
            assert ("error" in made) is not ignore

    def test_a_pipeline_gives_a_document_its_id(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.ingest.put_pipeline(id="p", processors=[{"set": {"field": "_id", "value": "{{{event.id}}}"}}])
        answer = elasticsearch.index(index="a", pipeline="p", document={"event": {"id": "e-1"}})
        assert answer["_id"] == "e-1"

    def test_local_time_needs_no_script(self, elasticsearch: Elasticsearch) -> None:
        local = {"field": "t", "target_field": "hour", "formats": ["ISO8601"], "timezone": "{{{zone}}}",
                 "output_format": "H"}  # fmt: skip
        [made] = elasticsearch.ingest.simulate(
            pipeline={"processors": [{"date": local}]},
            docs=[{"_source": {"t": "2026-07-01T23:30:00Z", "zone": "Europe/Lisbon"}}],
        )["docs"]
        assert made["doc"]["_source"]["hour"] == "0"

    def test_the_experimental_simulate_is_not_offered(self, serverless: Elasticsearch) -> None:
        with pytest.raises(ApiError):
            serverless.simulate.ingest(docs=[{"_source": {}}])

    def test_esql_does_not_see_what_is_nested(self, elasticsearch: Elasticsearch) -> None:
        classes = {"type": "nested", "properties": {"class_name": {"type": "keyword"}}}
        elasticsearch.indices.create(
            index="a", mappings={"properties": {"top_classes": classes, "score": {"type": "double"}}}
        )
        elasticsearch.index(index="a", document={"top_classes": [{"class_name": "x"}], "score": 1}, refresh=True)

        answer = elasticsearch.esql.query(query="FROM a | LIMIT 1")
        assert [column["name"] for column in answer["columns"]] == ["score"]
        with pytest.raises(BadRequestError, match=r"Unknown column \[top_classes.class_name\]"):
            elasticsearch.esql.query(query="FROM a | KEEP top_classes.class_name | LIMIT 1")

    def test_scripts_and_sorts_cannot_read_ids(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.index(index="a", id="1", document={"x": 1}, refresh=True)
        with pytest.raises(BadRequestError, match=r"indices.id_field_data.enabled"):
            elasticsearch.search(index="a", aggs={"ids": {"terms": {"field": "_id"}}})


class TestWatching:
    def test_the_disk_of_a_node_comes_from_its_stats_alone(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch
    ) -> None:
        sandbox.faults.disk_used_percent = 91.0
        [node] = elasticsearch.nodes.stats(metric="fs")["nodes"].values()
        total = node["fs"]["total"]
        assert 1 - total["available_in_bytes"] / total["total_in_bytes"] == pytest.approx(0.91, abs=0.001)

    def test_sizes_of_streams_are_known_by_stream_and_by_index(self, elasticsearch: Elasticsearch, stream: str) -> None:
        elasticsearch.create(index=STREAM, id="1", document=EVENT, refresh=True)
        [found] = elasticsearch.indices.data_streams_stats(name=STREAM)["data_streams"]
        [row] = elasticsearch.cat.indices(index=f".ds-{STREAM}*", format="json", bytes="b", h="index,store.size")

        assert found["maximum_timestamp"] == int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
        assert (row["index"], int(row["store.size"])) == (backing(elasticsearch)[0], found["store_size_bytes"])
        assert found["store_size_bytes"] > 0

    def test_a_flood_stage_block_is_a_429_that_names_itself(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch
    ) -> None:
        sandbox.faults.flood_stage_pattern = "*"
        with pytest.raises(ApiError, match="flood-stage watermark") as refused:
            elasticsearch.index(index="a", document={"x": 1})
        assert (refused.value.status_code, refused.value.error) == (429, "cluster_block_exception")

    def test_rescoring_again_is_its_own_resume(self, elasticsearch: Elasticsearch) -> None:
        for number in range(3):
            elasticsearch.index(index="a", id=str(number), document={"x": number}, refresh=True)
        elasticsearch.reindex(source={"index": "a", "query": {"term": {"x": 1}}}, dest={"index": "b"}, refresh=True)

        answer = elasticsearch.reindex(
            source={"index": "a"}, dest={"index": "b", "op_type": "create"}, conflicts="proceed", refresh=True
        )
        assert (answer["created"], answer["version_conflicts"]) == (2, 1)


class TestVersionsFlavorsAndKeys:
    @pytest.mark.parametrize(("version", "status"), [("9.2.0", 400), ("9.5.0", 501)])
    def test_what_is_newer_than_the_version_is_unknown_to_it(self, version: str, status: int) -> None:
        action = {"delete_backing_index": {"data_stream": "s", "index": "i"}}
        with serve(version=version) as served:
            client = Elasticsearch(served.elasticsearch_url, max_retries=0)
            with pytest.raises(ApiError) as refused:
                client.indices.modify_data_stream(actions=[action])
            assert refused.value.status_code == status
            with pytest.raises(ApiError) as refused:
                client.indices.put_index_template(
                    name="t", index_patterns=["t-*"], data_stream={}, template={"lifecycle": {"frozen_after": "1d"}}
                )
            assert refused.value.status_code == status

    @pytest.mark.parametrize(
        "settings",
        [
            {"index.number_of_shards": 1},
            {"index.number_of_replicas": 0},
            {"index.lifecycle.indexing_complete": True},
            {"index.refresh_interval": "1s"},
        ],
    )
    def test_serverless_refuses_settings_it_keeps_to_itself(
        self, serverless: Elasticsearch, settings: dict[str, Any]
    ) -> None:
        with pytest.raises(BadRequestError):
            serverless.indices.create(index="a", settings=settings)

    def test_serverless_refuses_private_and_absent_calls(self, serverless: Elasticsearch) -> None:
        serverless.indices.create_data_stream(name="logs-a-b")
        calls = [
            serverless.ilm.get_lifecycle,
            serverless.ilm.get_status,
            serverless.tasks.list,
            serverless.cluster.health,
            lambda: serverless.nodes.stats(metric="fs"),
            serverless.indices.data_streams_stats,
            lambda: serverless.indices.delete_data_lifecycle(name="logs-a-b"),
        ]
        for call in calls:
            with pytest.raises(ApiError) as refused:
                call()
            assert (refused.value.status_code, refused.value.error) == (410, "api_not_available_exception")

    def test_streams_of_serverless_have_a_lifecycle_of_their_own(self, serverless: Elasticsearch) -> None:
        serverless.indices.create_data_stream(name="logs-a-b")
        serverless.indices.put_data_lifecycle(name="logs-a-b", data_retention="7d")
        [shown] = serverless.indices.get_data_stream(name="logs-a-b")["data_streams"]
        assert shown["next_generation_managed_by"] == "Data stream lifecycle"
        assert serverless.cat.indices(format="json")

    def test_a_basic_licence_has_no_machine_learning(self) -> None:
        with serve(license="basic") as served:
            client = Elasticsearch(served.elasticsearch_url, max_retries=0)
            with pytest.raises(ApiError, match=r"current license is non-compliant for \[ml\]") as refused:
                client.ml.get_data_frame_analytics()
            assert refused.value.status_code == 403

    def test_a_key_says_when_it_ends_and_is_refused_after_that(self) -> None:
        with serve(api_key="a2V5OnNlY3JldA==") as served:
            client = Elasticsearch(served.elasticsearch_url, api_key="a2V5OnNlY3JldA==", max_retries=0)
            served.clock.freeze(datetime(2026, 1, 1, tzinfo=UTC))
            served.faults.api_key_expires = "2026-01-10T00:00:00+00:00"

            [key] = client.security.get_api_key(owner=True, active_only=True)["api_keys"]
            assert (key["id"], key["expiration"]) == ("key", served.faults.api_key_expires_ms)
            served.clock.advance(10 * 86_400)
            with pytest.raises(ApiError, match="unable to authenticate") as refused:
                client.info()
            assert refused.value.status_code == 401
            error = refused.value.body["error"]
            assert error["additional_unsuccessful_credentials"] == "API key: api key is expired"
            assert error["header"]["WWW-Authenticate"] == [
                'Basic realm="security", charset="UTF-8"',
                'Bearer realm="security"',
                "ApiKey",
            ]

    def test_a_finished_task_is_remembered_and_an_unknown_one_is_a_404(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.index(index="a", id="1", document={"x": 1}, refresh=True)
        task = elasticsearch.reindex(source={"index": "a"}, dest={"index": "b"}, wait_for_completion=False)["task"]
        assert elasticsearch.tasks.get(task_id=task, wait_for_completion=True)["response"]["created"] == 1
        with pytest.raises(NotFoundError):
            elasticsearch.tasks.get(task_id=f"{task}9")
