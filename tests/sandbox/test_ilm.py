"""Lifecycles by the clock: ILM after Elastic's tests ilm/10 to ilm/60, and the data stream lifecycle."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from elasticsearch import ApiError, BadRequestError, Elasticsearch, NotFoundError

from elastic_sandbox.indices.ilm import human_time
from elastic_sandbox.testing import Sandbox, serve

DAY = 86_400
STREAM = "logs-mine.audit-prod"
PHASES: dict[str, Any] = {
    "hot": {
        "actions": {
            "set_priority": {"priority": 100},
            "rollover": {"max_age": "30d", "max_primary_shard_size": "50gb"},
        }
    },
    "warm": {"min_age": "30d", "actions": {"set_priority": {"priority": 50}}},
    "delete": {"min_age": "100d", "actions": {"delete": {}}},
}


@pytest.fixture
def stream(sandbox: Sandbox, elasticsearch: Elasticsearch) -> str:
    sandbox.clock.freeze(datetime(2026, 1, 1, tzinfo=UTC))
    elasticsearch.ilm.put_lifecycle(name="p", policy={"phases": PHASES})
    elasticsearch.indices.put_index_template(
        name="mine",
        index_patterns=["logs-mine.audit-*"],
        priority=501,
        data_stream={},
        template={"settings": {"index.lifecycle.name": "p"}},
    )
    elasticsearch.indices.create_data_stream(name=STREAM)
    return STREAM


def backing(client: Elasticsearch, name: str = STREAM) -> list[str]:
    [found] = client.indices.get_data_stream(name=name)["data_streams"]
    return [index["index_name"] for index in found["indices"]]


def explain(client: Elasticsearch, index: str) -> dict[str, Any]:
    return client.ilm.explain_lifecycle(index=index)["indices"][index]


def step(client: Elasticsearch, index: str) -> tuple[str, str, str]:
    shown = explain(client, index)
    return shown["phase"], shown["action"], shown["step"]


def write(client: Elasticsearch, name: str = STREAM) -> None:
    client.create(index=name, id=str(len(backing(client, name))), document={"@timestamp": "2026-01-01T00:00:00Z"})


class TestWalkingThroughAPolicy:
    def test_a_new_backing_index_waits_for_its_rollover(self, elasticsearch: Elasticsearch, stream: str) -> None:
        [first] = backing(elasticsearch)

        shown = explain(elasticsearch, first)

        assert step(elasticsearch, first) == ("hot", "rollover", "check-rollover-ready")
        assert (shown["managed"], shown["policy"], shown["age"], shown["skip"]) == (True, "p", "0ms", False)
        assert shown["phase_execution"]["phase_definition"]["min_age"] == "0ms"
        assert shown["phase_execution"]["version"] == 1
        settings = elasticsearch.indices.get_settings(index=first, flat_settings=True)[first]["settings"]
        assert settings["index.priority"] == "100"

    def test_it_is_rolled_over_when_it_is_old_enough_and_not_empty(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        sandbox.clock.advance(31 * DAY)
        assert len(backing(elasticsearch)) == 1

        write(elasticsearch)
        sandbox.clock.advance(600)
        first, second = backing(elasticsearch)

        assert second.endswith("2026.02.01-000002")
        assert step(elasticsearch, first) == ("hot", "complete", "complete")
        assert explain(elasticsearch, first)["age"] == "0ms"
        settings = elasticsearch.indices.get_settings(index=first, flat_settings=True)[first]["settings"]
        assert settings["index.lifecycle.indexing_complete"] == "true"

    def test_ages_count_from_the_rollover_and_the_last_phase_deletes(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        write(elasticsearch)
        sandbox.clock.advance(30 * DAY)
        first, second = backing(elasticsearch)
        sandbox.clock.advance(29 * DAY)
        assert step(elasticsearch, first)[0] == "hot"

        sandbox.clock.advance(DAY)
        assert step(elasticsearch, first) == ("warm", "complete", "complete")
        settings = elasticsearch.indices.get_settings(index=first, flat_settings=True)[first]["settings"]
        assert settings["index.priority"] == "50"
        assert settings["index.routing.allocation.include._tier_preference"] == "data_warm,data_hot"

        sandbox.clock.advance(70 * DAY)
        assert backing(elasticsearch) == [second]
        assert not elasticsearch.indices.exists(index=first)

    @pytest.mark.parametrize(
        ("condition", "documents"),
        [({"max_docs": 2}, 2), ({"max_primary_shard_docs": 2}, 2), ({"max_primary_shard_size": "10b"}, 1)],
    )
    def test_documents_and_sizes_roll_over_too(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str, condition: dict[str, Any], documents: int
    ) -> None:
        hot = {"actions": {"set_priority": {"priority": 100}, "rollover": {"max_age": "9d", **condition}}}
        elasticsearch.ilm.put_lifecycle(name="p", policy={"phases": {"hot": hot}})
        for number in range(documents):
            elasticsearch.create(index=STREAM, id=f"d{number}", document={"@timestamp": "2026-01-01T00:00:00Z"})
        elasticsearch.indices.refresh(index=STREAM)
        sandbox.clock.advance(600)

        assert len(backing(elasticsearch)) == 2

    def test_nothing_happens_while_ilm_is_stopped(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        write(elasticsearch)
        elasticsearch.ilm.stop()
        sandbox.clock.advance(40 * DAY)
        assert (elasticsearch.ilm.get_status()["operation_mode"], len(backing(elasticsearch))) == ("STOPPED", 1)

        elasticsearch.ilm.start()
        sandbox.clock.advance(600)
        assert len(backing(elasticsearch)) == 2

    def test_a_write_index_is_not_deleted_until_somebody_rolls_over(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        soon = {"phases": {"delete": {"min_age": "1d", "actions": {"delete": {}}}}}
        elasticsearch.ilm.put_lifecycle(name="soon", policy=soon)
        elasticsearch.indices.rollover(alias=STREAM)
        _, second = backing(elasticsearch)
        elasticsearch.ilm.remove_policy(index=STREAM)
        elasticsearch.indices.put_settings(index=second, settings={"index.lifecycle.name": "soon"})
        sandbox.clock.advance(DAY)
        shown = explain(elasticsearch, second)
        assert (shown["step"], shown["failed_step"], shown["is_auto_retryable_error"]) == ("ERROR", "delete", True)
        assert "failed_step_retry_count" not in shown
        assert shown["step_info"]["type"] == "illegal_state_exception"
        assert f"index [{second}] is the write index for data stream [{STREAM}]" in shown["step_info"]["reason"]

        sandbox.clock.advance(600)
        assert explain(elasticsearch, second)["failed_step_retry_count"] == 1
        elasticsearch.indices.rollover(alias=STREAM)
        sandbox.clock.advance(600)
        assert second not in backing(elasticsearch)

    def test_the_only_index_takes_its_stream_along(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        soon = {"phases": {"delete": {"min_age": "1d", "actions": {"delete": {}}}}}
        elasticsearch.ilm.put_lifecycle(name="soon", policy=soon)
        elasticsearch.ilm.remove_policy(index=STREAM)
        elasticsearch.indices.put_settings(index=STREAM, settings={"index.lifecycle.name": "soon"})
        sandbox.clock.advance(DAY)
        with pytest.raises(NotFoundError):
            elasticsearch.indices.get_data_stream(name=STREAM)

    def test_where_an_index_is_survives_a_restart(self, tmp_path: Any) -> None:
        with serve(data=tmp_path) as served:
            client = Elasticsearch(served.elasticsearch_url)
            client.ilm.put_lifecycle(name="p", policy={"phases": PHASES})
            client.indices.create(index="a-000001", settings={"index.lifecycle.name": "p"})
            before = step(client, "a-000001")
        with serve(data=tmp_path) as served:
            assert step(Elasticsearch(served.elasticsearch_url), "a-000001") == before


class TestHistory:
    def sealed(self, client: Elasticsearch, *, complete: bool) -> None:
        client.indices.create(index="history-1", mappings={"properties": {"@timestamp": {"type": "date"}}})
        origin = int(datetime(2025, 11, 30, 23, 59, 59, tzinfo=UTC).timestamp() * 1000)
        client.indices.put_settings(index="history-1", settings={"index.lifecycle.origination_date": origin})
        client.indices.modify_data_stream(
            actions=[{"add_backing_index": {"data_stream": STREAM, "index": "history-1"}}]
        )
        settings: dict[str, Any] = {"index.lifecycle.name": "p"}
        if complete:
            settings["index.lifecycle.indexing_complete"] = True
        client.indices.put_settings(index="history-1", settings=settings)

    def test_a_sealed_index_ages_from_its_origination_date(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        self.sealed(elasticsearch, complete=True)

        sandbox.clock.advance(600)
        assert step(elasticsearch, "history-1") == ("warm", "complete", "complete")
        assert explain(elasticsearch, "history-1")["age"] == "31d"

        sandbox.clock.advance(69 * DAY)
        assert not elasticsearch.indices.exists(index="history-1")

    def test_without_indexing_complete_it_fails_for_want_of_a_rollover(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        self.sealed(elasticsearch, complete=False)
        sandbox.clock.advance(600)

        shown = explain(elasticsearch, "history-1")
        assert (shown["step"], shown["failed_step"]) == ("ERROR", "update-rollover-lifecycle-date")
        assert "no rollover info found for [history-1]" in shown["step_info"]["reason"]

        elasticsearch.indices.put_settings(index="history-1", settings={"index.lifecycle.indexing_complete": True})
        elasticsearch.ilm.retry(index="history-1")
        assert step(elasticsearch, "history-1")[0] == "warm"


@pytest.fixture
def managed(sandbox: Sandbox, elasticsearch: Elasticsearch) -> str:
    elasticsearch.ilm.put_lifecycle(
        name="late",
        policy={
            "phases": {
                "hot": {"min_age": "1000s", "actions": {}},
                "warm": {"min_age": "1000s", "actions": {"set_priority": {"priority": 5}}},
            }
        },
    )
    elasticsearch.indices.create(index="my_index", settings={"index.lifecycle.name": "late"})
    elasticsearch.indices.create(index="unmanaged")
    return "my_index"


def reason(call: Any, **arguments: Any) -> str:
    with pytest.raises(BadRequestError) as refused:
        call(**arguments)
    assert refused.value.error == "illegal_argument_exception"
    return str(refused.value.body["error"]["root_cause"][0]["reason"])


class TestRequests:
    NEW: ClassVar[dict[str, str]] = {"phase": "new", "action": "complete", "name": "complete"}
    WARM: ClassVar[dict[str, str]] = {"phase": "warm", "action": "set_priority", "name": "set_priority"}

    def test_an_index_is_moved_to_a_step_and_runs_it(self, elasticsearch: Elasticsearch, managed: str) -> None:
        elasticsearch.ilm.move_to_step(index=managed, current_step=self.NEW, next_step={"phase": "warm"})

        assert step(elasticsearch, managed) == ("warm", "complete", "complete")
        settings = elasticsearch.indices.get_settings(index=managed, flat_settings=True)[managed]["settings"]
        assert settings["index.priority"] == "5"

    def test_an_index_stays_in_its_last_phase_and_in_the_terminal_step_when_it_is_moved_there(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, managed: str
    ) -> None:
        last = {"phase": "warm", "action": "complete", "name": "complete"}
        terminal = {"phase": "completed", "action": "completed", "name": "completed"}
        sandbox.clock.advance(DAY)
        assert step(elasticsearch, managed) == ("warm", "complete", "complete")
        elasticsearch.ilm.move_to_step(index=managed, current_step=last, next_step=terminal)
        sandbox.clock.advance(DAY)
        assert step(elasticsearch, managed) == ("completed", "completed", "completed")

    def test_moves_that_cannot_be_say_why(self, elasticsearch: Elasticsearch, managed: str) -> None:
        move = elasticsearch.ilm.move_to_step
        wrong = {"phase": "invalid", "action": "invalid", "name": "invalid"}

        assert reason(move, index=managed, current_step=self.WARM, next_step=self.WARM) == (
            'index [my_index] is not on current step [{"phase":"warm","action":"set_priority","name":"set_priority"}], '
            'currently: [{"phase":"new","action":"complete","name":"complete"}]'
        )
        assert reason(move, index=managed, current_step=self.NEW, next_step=wrong) == (
            'step [{"phase":"invalid","action":"invalid","name":"invalid"}] for index [my_index] with policy [late] '
            "does not exist"
        )
        assert reason(move, index="unmanaged", current_step=self.NEW, next_step=self.WARM) == (
            "index [unmanaged] is not associated with an Index Lifecycle Policy"
        )
        assert reason(move, index="gone", current_step=self.NEW, next_step=self.WARM) == "index [gone] does not exist"
        assert step(elasticsearch, managed) == ("new", "complete", "complete")

    def test_only_a_failed_step_can_be_retried(self, elasticsearch: Elasticsearch, managed: str) -> None:
        for index in (managed, "unmanaged"):
            assert reason(elasticsearch.ilm.retry, index=index) == (
                f"cannot retry an action for an index [{index}] that has not encountered an error when running a "
                "Lifecycle Policy"
            )
        assert reason(elasticsearch.ilm.retry, index="gone") == "index [gone] does not exist"

    def test_explain_filters_managed_and_failed_indices(self, elasticsearch: Elasticsearch, managed: str) -> None:
        elasticsearch.indices.create(index="lost", settings={"index.lifecycle.name": "nowhere"})

        everything = elasticsearch.ilm.explain_lifecycle(index="*")["indices"]
        assert everything["unmanaged"] == {"index": "unmanaged", "managed": False}
        assert everything["lost"]["step_info"]["reason"] == "policy [nowhere] does not exist"
        assert set(elasticsearch.ilm.explain_lifecycle(index="*", only_managed=True)["indices"]) == {managed, "lost"}
        assert set(elasticsearch.ilm.explain_lifecycle(index="*", only_errors=True)["indices"]) == {"lost"}

    def test_a_policy_is_taken_from_indices_and_can_then_be_deleted(
        self, elasticsearch: Elasticsearch, managed: str
    ) -> None:
        assert reason(elasticsearch.ilm.delete_lifecycle, name="late") == (
            "Cannot delete policy [late]. It is in use by one or more indices: [my_index]"
        )

        answer = elasticsearch.ilm.remove_policy(index="my_*")

        assert answer.body == {"has_failures": False, "failed_indexes": []}
        assert "lifecycle" not in elasticsearch.indices.get_settings(index=managed)[managed]["settings"]["index"]
        elasticsearch.ilm.delete_lifecycle(name="late")
        with pytest.raises(NotFoundError):
            elasticsearch.ilm.get_lifecycle(name="late")
        with pytest.raises(NotFoundError):
            elasticsearch.ilm.remove_policy(index="gone")

    def test_a_wildcard_stands_alone(self, elasticsearch: Elasticsearch, managed: str) -> None:
        assert "wildcard only supports a single value" in reason(elasticsearch.ilm.get_lifecycle, name="la*,other")

    def test_a_new_version_of_a_policy_holds_for_the_running_phase_when_its_steps_stay(
        self, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        [first] = backing(elasticsearch)
        hot = {"actions": {"set_priority": {"priority": 9}, "rollover": {"max_docs": 1}}}
        elasticsearch.ilm.put_lifecycle(name="p", policy={"phases": {**PHASES, "hot": hot}})

        execution = explain(elasticsearch, first)["phase_execution"]
        assert (execution["version"], execution["phase_definition"]["actions"]["rollover"]) == (2, {"max_docs": 1})

    def test_an_alias_is_rolled_over_and_one_that_is_not_named_is_an_error(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        named = {"index.lifecycle.name": "p", "index.lifecycle.rollover_alias": "w"}
        elasticsearch.indices.create(index="w-000001", settings=named, aliases={"w": {"is_write_index": True}})
        elasticsearch.indices.create(index="x-000001", settings={"index.lifecycle.name": "p"})
        elasticsearch.index(index="w", document={"a": 1})
        sandbox.clock.advance(30 * DAY)

        assert elasticsearch.indices.get_alias(name="w")["w-000002"]["aliases"]["w"]["is_write_index"]
        assert step(elasticsearch, "w-000001") == ("hot", "complete", "complete")
        assert explain(elasticsearch, "x-000001")["step_info"] == {
            "type": "illegal_argument_exception",
            "reason": "setting [index.lifecycle.rollover_alias] for index [x-000001] is empty or not defined",
        }

    def test_an_index_said_to_be_complete_still_needs_its_alias_named_and_must_not_be_written_through_it(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        complete = {"index.lifecycle.name": "p", "index.lifecycle.indexing_complete": True}
        aliased = {**complete, "index.lifecycle.rollover_alias": "w"}
        elasticsearch.indices.create(index="none-000001", settings=complete)
        elasticsearch.indices.create(index="done-000001", settings=aliased)
        elasticsearch.indices.create(index="busy-000001", settings=aliased, aliases={"w": {"is_write_index": True}})
        sandbox.clock.advance(600)

        assert "is empty or not defined" in explain(elasticsearch, "none-000001")["step_info"]["reason"]
        assert step(elasticsearch, "done-000001") == ("hot", "complete", "complete")
        assert explain(elasticsearch, "busy-000001")["step_info"] == {
            "type": "illegal_state_exception",
            "reason": "index [busy-000001] has [index.lifecycle.indexing_complete] set to [true], but is still the "
            "write index for alias [w]",
        }

    def test_a_retry_puts_an_index_back_on_its_step_and_only_automatic_ones_are_counted(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        elasticsearch.indices.create(index="x-000001", settings={"index.lifecycle.name": "p"})
        sandbox.clock.advance(600)
        for retry, count in ((lambda: elasticsearch.ilm.retry(index="x-000001"), None),
                             (lambda: sandbox.clock.advance(600), 1)):  # fmt: skip
            assert step(elasticsearch, "x-000001") == ("hot", "rollover", "ERROR")
            retry()
            shown = explain(elasticsearch, "x-000001")
            assert (shown["step"], shown.get("failed_step_retry_count")) == ("check-rollover-ready", count)
            assert ("failed_step" in shown, shown["is_auto_retryable_error"]) == (False, True)
            sandbox.clock.advance(600)

    def test_deleting_takes_a_poll_for_each_wait(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, stream: str
    ) -> None:
        soon = {"phases": {"delete": {"min_age": "10m", "actions": {"delete": {}}}}}
        elasticsearch.ilm.put_lifecycle(name="soon", policy=soon)
        elasticsearch.indices.create(index="x", settings={"index.lifecycle.name": "soon"})
        seen = []
        while elasticsearch.indices.exists(index="x"):
            seen.append(step(elasticsearch, "x")[2])
            sandbox.clock.advance(600)
        assert seen == ["complete", "wait-for-shard-history-leases", "check-ts-end-time-passed"]

    def test_an_action_that_is_not_performed_is_refused_by_name(self, elasticsearch: Elasticsearch) -> None:
        with pytest.raises(ApiError, match=r"ILM action \[forcemerge\] is not supported") as refused:
            elasticsearch.ilm.put_lifecycle(
                name="p", policy={"phases": {"warm": {"actions": {"forcemerge": {"max_num_segments": 1}}}}}
            )
        assert refused.value.status_code == 501

    def test_the_deprecated_max_size_is_warned_of(self, elasticsearch: Elasticsearch) -> None:
        with pytest.warns(Warning, match=r"\[max_size\] rollover condition found in phase \[hot\]"):
            elasticsearch.ilm.put_lifecycle(
                name="p", policy={"phases": {"hot": {"actions": {"rollover": {"max_size": "50gb"}}}}}
            )


class TestDataStreamLifecycle:
    @pytest.fixture
    def kept(self, sandbox: Sandbox, elasticsearch: Elasticsearch) -> str:
        sandbox.clock.freeze(datetime(2026, 1, 1, tzinfo=UTC))
        elasticsearch.indices.put_index_template(
            name="mine",
            index_patterns=["logs-mine.audit-*"],
            priority=501,
            data_stream={},
            template={
                "settings": {"index.mapping.ignore_malformed": False},
                "mappings": {"properties": {"n": {"type": "long"}}},
                "lifecycle": {"data_retention": "90d"},
                "data_stream_options": {"failure_store": {"enabled": True}},
            },
        )
        elasticsearch.indices.create_data_stream(name=STREAM)
        return STREAM

    def test_it_rolls_over_and_deletes_by_retention(
        self, sandbox: Sandbox, elasticsearch: Elasticsearch, kept: str
    ) -> None:
        write(elasticsearch)
        sandbox.clock.advance(7 * DAY)
        first, second = backing(elasticsearch)

        shown = elasticsearch.indices.explain_data_lifecycle(index=STREAM)["indices"]
        assert shown[first]["lifecycle"]["effective_retention"] == "90d"
        assert (shown[first]["generation_time"], "generation_time" in shown[second]) == ("0ms", False)

        sandbox.clock.advance(90 * DAY)
        assert backing(elasticsearch) == [second]

    def test_failures_are_kept_for_thirty_days(self, sandbox: Sandbox, elasticsearch: Elasticsearch, kept: str) -> None:
        elasticsearch.create(index=STREAM, id="1", document={"@timestamp": "2026-01-01T00:00:00Z", "n": "x"})
        sandbox.clock.advance(8 * DAY)
        assert elasticsearch.count(index=f"{STREAM}::failures")["count"] == 1

        sandbox.clock.advance(30 * DAY)
        assert elasticsearch.count(index=f"{STREAM}::failures")["count"] == 0

    def test_it_can_be_taken_away_and_a_policy_goes_first(self, elasticsearch: Elasticsearch, kept: str) -> None:
        [index] = backing(elasticsearch)
        explained = elasticsearch.indices.explain_data_lifecycle
        assert explained(index=index)["indices"][index]["managed_by_lifecycle"]

        elasticsearch.indices.put_settings(index=index, settings={"index.lifecycle.name": "logs@lifecycle"})
        assert not explained(index=index)["indices"][index]["managed_by_lifecycle"]

        elasticsearch.indices.put_settings(index=index, settings={"index.lifecycle.name": None})
        elasticsearch.indices.delete_data_lifecycle(name=STREAM)
        assert not explained(index=index)["indices"][index]["managed_by_lifecycle"]
        assert "lifecycle" not in elasticsearch.indices.get_data_lifecycle(name=STREAM)["data_streams"][0]

    @pytest.mark.parametrize(
        ("lifecycle", "status"),
        [({"data_retention": "0s"}, 400), ({"frozen_after": "1d"}, 400), ({"downsampling": []}, 501), ({"x": 1}, 400)],
    )
    def test_what_cannot_be_kept_is_refused(
        self, elasticsearch: Elasticsearch, kept: str, lifecycle: dict[str, Any], status: int
    ) -> None:
        with pytest.raises(ApiError) as refused:
            elasticsearch.indices.put_data_lifecycle(name=STREAM, body=lifecycle)
        assert refused.value.status_code == status


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0ms"), (999, "999ms"), (1500, "1.5s"), (90_000, "1.5m"), (86_400_000 * 31 + 1, "31d"), (7_199_999, "1.99h")],
)
def test_durations_are_printed_as_elasticsearch_prints_them(milliseconds: int, text: str) -> None:
    assert human_time(milliseconds) == text
