"""Component and index templates, ILM policies: validation, composition, who wins."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from elasticsearch import BadRequestError, Elasticsearch, NotFoundError

from elastic_sandbox.testing import Sandbox


def put(client: Elasticsearch, name: str, patterns: list[str], **body: Any) -> None:
    client.indices.put_index_template(name=name, index_patterns=patterns, **body)


def reason(refused: pytest.ExceptionInfo[BadRequestError]) -> str:
    return refused.value.body["error"]["reason"]


def test_components_are_laid_over_each_other_and_the_template_wins(elasticsearch: Elasticsearch) -> None:
    elasticsearch.cluster.put_component_template(
        name="one",
        template={"mappings": {"properties": {"a": {"type": "keyword"}, "o": {"properties": {"x": {"type": "long"}}}}}},
    )
    elasticsearch.cluster.put_component_template(
        name="two",
        template={
            "settings": {"number_of_replicas": 2, "index.refresh_interval": "5s"},
            "mappings": {"properties": {"a": {"type": "text"}, "o": {"properties": {"y": {"type": "ip"}}}}},
        },
    )
    put(
        elasticsearch,
        "t",
        ["x-*"],
        composed_of=["one", "two"],
        template={"settings": {"index": {"number_of_replicas": 0}}},
    )

    elasticsearch.indices.create(index="x-1")

    made = elasticsearch.indices.get(index="x-1")["x-1"]
    assert made["mappings"]["properties"] == {
        "a": {"type": "text"},
        "o": {"properties": {"x": {"type": "long"}, "y": {"type": "ip"}}},
    }
    assert made["settings"]["index"]["number_of_replicas"] == "0"
    assert made["settings"]["index"]["refresh_interval"] == "5s"


def test_settings_are_shown_nested_as_strings_and_meta_is_kept(elasticsearch: Elasticsearch) -> None:
    elasticsearch.cluster.put_component_template(
        name="c", template={"settings": {"index.mode": "lookup", "number_of_shards": 1}}, meta={"hash": "ab"}, version=3
    )
    [shown] = elasticsearch.cluster.get_component_template(name="c")["component_templates"]
    assert shown["component_template"] == {
        "template": {"settings": {"index": {"mode": "lookup", "number_of_shards": "1"}}},
        "_meta": {"hash": "ab"},
        "version": 3,
    }
    [flat] = elasticsearch.cluster.get_component_template(name="c", flat_settings=True)["component_templates"]
    assert flat["component_template"]["template"]["settings"] == {"index.mode": "lookup", "index.number_of_shards": "1"}


class TestRefusals:
    def test_an_unknown_key(self, elasticsearch: Elasticsearch) -> None:
        with pytest.raises(BadRequestError, match=r"\[index_template\] unknown field \[pattern\]"):
            elasticsearch.perform_request(
                "PUT",
                "/_index_template/t",
                body={"pattern": ["x"]},
                headers={"content-type": "application/json", "accept": "application/json"},
            )

    def test_missing_components_unless_they_may_be_missing(self, elasticsearch: Elasticsearch) -> None:
        with pytest.raises(BadRequestError) as refused:
            put(elasticsearch, "t", ["x-*"], composed_of=["absent"])
        assert refused.value.error == "invalid_index_template_exception"
        assert reason(refused) == (
            "index_template [t] invalid, cause [index template [t] specifies component templates [absent] "
            "that do not exist]"
        )
        put(elasticsearch, "t", ["x-*"], composed_of=["absent"], ignore_missing_component_templates=["absent"])

    def test_an_overlap_of_equal_priority(self, elasticsearch: Elasticsearch) -> None:
        put(elasticsearch, "one", ["x-*", "y"], priority=7)
        with pytest.raises(BadRequestError) as refused:
            put(elasticsearch, "two", ["*-z"], priority=7)
        assert reason(refused) == (
            "index template [two] has index patterns [*-z] matching patterns from existing templates [one] with "
            "patterns (one => [x-*, y]) that have the same priority [7], multiple index templates may not match during "
            "index creation, please use a different priority"
        )
        put(elasticsearch, "two", ["*-z"], priority=8)
        put(elasticsearch, "three", ["z"], priority=7)

    def test_the_builtin_logs_template_claims_its_priority(self, elasticsearch: Elasticsearch) -> None:
        with pytest.raises(
            BadRequestError, match=r"existing templates \[logs\] with patterns \(logs => \[logs-\*-\*\]\)"
        ):
            put(elasticsearch, "mine", ["logs-mine-*"], priority=100, data_stream={})

    def test_an_unknown_setting(self, elasticsearch: Elasticsearch) -> None:
        with pytest.raises(BadRequestError) as refused:
            elasticsearch.cluster.put_component_template(name="c", template={"settings": {"index.foo": 1}})
        assert reason(refused) == (
            "unknown setting [index.foo] please check that any required plugins are installed, or check the breaking "
            "changes documentation for removed settings"
        )

    def test_a_composition_whose_mapping_cannot_be(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.cluster.put_component_template(
            name="c",
            template={
                "settings": {"index.mapping.total_fields.limit": 1},
                "mappings": {"properties": {"a": {"type": "long"}}},
            },
        )
        with pytest.raises(
            BadRequestError,
            match=r"composable template \[t\] template after composition with component templates \[c\] is invalid",
        ):
            put(
                elasticsearch,
                "t",
                ["x-*"],
                composed_of=["c"],
                template={"mappings": {"properties": {"b": {"type": "long"}}}},
            )

    def test_stream_options_without_a_stream(self, elasticsearch: Elasticsearch) -> None:
        with pytest.raises(
            BadRequestError, match="data stream options that can only be used in combination with a data stream"
        ):
            put(elasticsearch, "t", ["x-*"], template={"data_stream_options": {"failure_store": {"enabled": True}}})

    def test_create_of_what_exists(self, elasticsearch: Elasticsearch) -> None:
        put(elasticsearch, "t", ["x-*"])
        with pytest.raises(BadRequestError, match=r"index template \[t\] already exists"):
            put(elasticsearch, "t", ["x-*"], create=True)

    def test_deleting_what_is_used(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.cluster.put_component_template(name="c", template={})
        put(elasticsearch, "t", ["x-*"], composed_of=["c"], data_stream={})
        with pytest.raises(BadRequestError) as refused:
            elasticsearch.cluster.delete_component_template(name="c")
        assert (
            reason(refused)
            == "component templates [c] cannot be removed as they are still in use by index templates [t]"
        )

        elasticsearch.indices.create_data_stream(name="x-1")
        with pytest.raises(BadRequestError, match="in use by a data streams"):
            elasticsearch.indices.delete_index_template(name="t")
        elasticsearch.indices.delete_data_stream(name="x-1")
        elasticsearch.indices.delete_index_template(name="t")
        elasticsearch.cluster.delete_component_template(name="c")
        assert not elasticsearch.cluster.exists_component_template(name="c")

    def test_reading_and_deleting_what_is_not_there(self, elasticsearch: Elasticsearch) -> None:
        with pytest.raises(NotFoundError, match=r"index template matching \[nope\] not found"):
            elasticsearch.indices.get_index_template(name="nope")
        with pytest.raises(NotFoundError, match="index_template_missing_exception"):
            elasticsearch.indices.delete_index_template(name="nope")
        assert elasticsearch.indices.get_index_template(name="nope*")["index_templates"] == []
        assert not elasticsearch.indices.exists_index_template(name="nope")


class TestSimulation:
    def test_the_higher_priority_wins_and_the_loser_is_listed(self, elasticsearch: Elasticsearch) -> None:
        put(
            elasticsearch,
            "mine",
            ["logs-mine.audit-*"],
            priority=501,
            data_stream={},
            template={"lifecycle": {"data_retention": "7d"}},
        )

        simulated = elasticsearch.indices.simulate_index_template(name="logs-mine.audit-prod").body

        assert simulated["overlapping"] == [{"name": "logs", "index_patterns": ["logs-*-*"]}]
        assert simulated["template"]["lifecycle"] == {"enabled": True, "data_retention": "7d"}
        assert simulated["template"]["mappings"]["_data_stream_timestamp"] == {"enabled": True}
        assert simulated["template"]["aliases"] == {}

    def test_a_stream_named_logs_is_logsdb_unless_its_template_says_otherwise(
        self, elasticsearch: Elasticsearch
    ) -> None:
        put(elasticsearch, "mine", ["logs-mine-*"], priority=501, data_stream={})
        put(
            elasticsearch,
            "plain",
            ["logs-plain-*"],
            priority=501,
            data_stream={},
            template={"settings": {"index.mode": "standard"}},
        )

        def mode(name: str) -> str:
            return elasticsearch.indices.simulate_index_template(name=name)["template"]["settings"]["index"]["mode"]

        assert (mode("logs-mine-a"), mode("logs-plain-a"), mode("logs-any-a")) == ("logsdb", "standard", "logsdb")

    def test_a_name_nobody_covers_gets_nothing(self, elasticsearch: Elasticsearch) -> None:
        assert elasticsearch.indices.simulate_index_template(name="unmatched").body == {}


class TestLifecyclePolicies:
    POLICY: ClassVar[dict[str, Any]] = {
        "phases": {
            "hot": {
                "actions": {
                    "rollover": {"max_age": "30d", "max_primary_shard_size": "50gb"},
                    "set_priority": {"priority": 100},
                }
            },
            "warm": {"min_age": "30d", "actions": {"set_priority": {"priority": 50}}},
            "delete": {"min_age": "2557d", "actions": {"delete": {}}},
        },
        "_meta": {"hash": "ab"},
    }

    def test_a_policy_is_versioned_and_says_who_uses_it(self, elasticsearch: Elasticsearch) -> None:
        elasticsearch.ilm.put_lifecycle(name="p", policy=self.POLICY)
        elasticsearch.ilm.put_lifecycle(name="p", policy=self.POLICY)
        put(elasticsearch, "t", ["x-*"], data_stream={}, template={"settings": {"index.lifecycle.name": "p"}})
        elasticsearch.indices.create_data_stream(name="x-1")

        shown = elasticsearch.ilm.get_lifecycle(name="p")["p"]
        assert shown["version"] == 1
        assert shown["policy"]["phases"]["hot"]["min_age"] == "0ms"
        assert shown["policy"]["phases"]["delete"]["actions"]["delete"] == {"delete_searchable_snapshot": True}
        assert shown["policy"]["_meta"] == {"hash": "ab"}
        [stream] = elasticsearch.indices.get_data_stream(name="x-1")["data_streams"]
        assert shown["in_use_by"] == {
            "indices": [stream["indices"][0]["index_name"]],
            "data_streams": ["x-1"],
            "composable_templates": ["t"],
        }

        elasticsearch.ilm.put_lifecycle(name="p", policy={"phases": {}})
        assert elasticsearch.ilm.get_lifecycle(name="p")["p"]["version"] == 2
        with pytest.raises(BadRequestError, match=r"Cannot delete policy \[p\]. It is in use by one or more indices"):
            elasticsearch.ilm.delete_lifecycle(name="p")

    @pytest.mark.parametrize(
        ("phases", "words"),
        [
            ({"tepid": {"actions": {}}}, r"Timeseries lifecycle does not support phase \[tepid\]"),
            (
                {"warm": {"actions": {"rollover": {"max_age": "1d"}}}},
                r"invalid action \[rollover\] defined in phase \[warm\]",
            ),
            (
                {"hot": {"actions": {"forcemerge": {"max_num_segments": 1}}}},
                r"without an accompanying \[rollover\] action",
            ),
            ({"hot": {"actions": {"rollover": {"max_weight": 1}}}}, r"\[rollover\] unknown field \[max_weight\]"),
            ({"frozen": {"actions": {}}}, r"without a corresponding \[searchable_snapshot\] action"),
            ({"delete": {"min_age": "soon", "actions": {"delete": {}}}}, "as a time value"),
            (
                {"warm": {"min_age": "9d", "actions": {}}, "delete": {"min_age": "2d", "actions": {"delete": {}}}},
                "phase timing",
            ),
        ],
    )
    def test_a_policy_that_cannot_be_is_refused(
        self, elasticsearch: Elasticsearch, phases: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(BadRequestError, match=words):
            elasticsearch.ilm.put_lifecycle(name="p", policy={"phases": phases})

    def test_a_missing_policy_is_a_404(self, elasticsearch: Elasticsearch) -> None:
        with pytest.raises(NotFoundError, match="Lifecycle policy not found: p"):
            elasticsearch.ilm.get_lifecycle(name="p")


def test_builtin_objects_are_back_after_a_reset(sandbox: Sandbox, elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.delete_index_template(name="logs")
    sandbox.reset()
    assert elasticsearch.indices.exists_index_template(name="logs")
