"""Clock, cluster state, tasks, routes: the parts under the server."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from elasticsearch import ApiError, Elasticsearch

from elastic_sandbox.clock import Clock
from elastic_sandbox.errors import illegal_argument
from elastic_sandbox.filter_path import apply
from elastic_sandbox.http import Router
from elastic_sandbox.state import ClusterState
from elastic_sandbox.tasks import Task, Tasks
from elastic_sandbox.testing import Sandbox


class TestClock:
    def test_advance_moves_all_who_ask(self) -> None:
        clock = Clock()
        before = clock.now_ms()
        clock.advance(3600)
        assert 3_600_000 <= clock.now_ms() - before < 3_601_000

    def test_a_frozen_clock_stands_until_it_is_moved(self) -> None:
        clock = Clock()
        clock.freeze(datetime(2026, 1, 31, 12, tzinfo=UTC))
        assert clock.now_iso() == "2026-01-31T12:00:00.000Z"
        clock.advance(0.5)
        assert clock.now_iso() == "2026-01-31T12:00:00.500Z"

    def test_set_jumps_and_runs_on(self) -> None:
        clock = Clock()
        clock.set(datetime(2030, 1, 1, tzinfo=UTC))
        assert clock.now().year == 2030
        clock.reset()
        assert abs(clock.now_ms() - time.time() * 1000) < 1000

    def test_a_sleeper_wakes_when_the_clock_is_moved(self) -> None:
        clock = Clock()
        clock.freeze()
        sleeper = threading.Thread(target=clock.sleep, args=(600,))
        sleeper.start()
        clock.advance(599)
        sleeper.join(0.05)
        assert sleeper.is_alive()
        clock.advance(1)
        sleeper.join(2)
        assert not sleeper.is_alive()


class TestClusterState:
    def test_documents_are_there_again_after_reopening(self, tmp_path: Path) -> None:
        connection = duckdb.connect(str(tmp_path / "state"))
        state = ClusterState(connection)
        state.put("pipeline", "a", {"processors": []})
        state.put("pipeline", "b", {"version": 1})
        state.put("pipeline", "b", {"version": 2})
        assert state.delete("pipeline", "a")
        assert not state.delete("pipeline", "a")
        state.close()
        connection.close()

        again = ClusterState(duckdb.connect(str(tmp_path / "state")))
        assert again.items("pipeline") == [("b", {"version": 2})]

    def test_a_returned_document_is_a_copy(self) -> None:
        state = ClusterState(duckdb.connect(":memory:"))
        state.put("index", "a", {"settings": {}})
        state.get("index", "a")["settings"]["changed"] = True  # type: ignore[index]
        assert state.get("index", "a") == {"settings": {}}
        assert state.get("index", "absent") is None


class TestTasks:
    @pytest.fixture
    def tasks(self) -> Tasks:
        return Tasks(ClusterState(duckdb.connect(":memory:")), Clock())

    def test_a_result_is_kept_after_the_work_is_done(self, tasks: Tasks) -> None:
        task = tasks.start("indices:data/write/reindex", "reindex a to b", lambda _task: {"total": 3}, opaque_id="me")
        assert task.wait(5)

        stored = tasks.stored(task.id)
        assert stored is not None
        assert stored["completed"] is True
        assert stored["response"] == {"total": 3}
        assert stored["task"]["headers"] == {"X-Opaque-Id": "me"}
        assert tasks.get(task.id) is None

    def test_an_error_is_the_result(self, tasks: Tasks) -> None:
        def fail(_task: Task) -> dict:
            raise illegal_argument("no")

        task = tasks.start("a", "b", fail)
        task.wait(5)
        assert tasks.stored(task.id)["error"] == {"type": "illegal_argument_exception", "reason": "no"}  # type: ignore[index]

    def test_cancelling_is_seen_by_the_work(self, tasks: Tasks) -> None:
        def work(task: Task) -> dict:
            while not task.cancelled:
                time.sleep(0.005)
            return {"canceled": task.cancel_reason}

        task = tasks.start("a", "b", work)
        assert tasks.cancel(task.id) is task
        task.wait(5)
        assert task.response == {"canceled": "by user request"}
        assert tasks.cancel(task.id) is None

    def test_numbers_go_on_after_a_restart(self) -> None:
        state = ClusterState(duckdb.connect(":memory:"))
        tasks = Tasks(state, Clock())
        tasks.start("a", "b", lambda _task: {}).wait(5)
        again = Tasks(state, Clock())
        task = again.start("a", "b", lambda _task: {})
        task.wait(5)
        assert (again.node, task.number) == (tasks.node, 2)


class TestTaskApi:
    def test_a_running_task_is_listed_waited_for_and_kept(self, sandbox: Sandbox, elasticsearch: Elasticsearch) -> None:
        go = threading.Event()

        def work(task: Task) -> dict:
            task.status["total"] = 7
            go.wait(5)
            return {"took": 1}

        task = sandbox.backend.tasks.start("indices:data/write/reindex", "a to b", work, opaque_id="airflow")
        listed = elasticsearch.tasks.list(actions="*reindex", detailed=True)
        [node] = listed["nodes"].values()
        assert node["tasks"][task.id]["headers"] == {"X-Opaque-Id": "airflow"}
        assert node["tasks"][task.id]["status"] == {"total": 7}
        assert elasticsearch.tasks.get(task_id=task.id)["completed"] is False
        go.set()
        assert elasticsearch.tasks.get(task_id=task.id, wait_for_completion=True)["response"] == {"took": 1}

    def test_cancelling_through_the_api(self, sandbox: Sandbox, elasticsearch: Elasticsearch) -> None:
        def work(task: Task) -> dict:
            while not task.cancelled:
                time.sleep(0.005)
            return {"canceled": True}

        task = sandbox.backend.tasks.start("a", "b", work)
        [node] = elasticsearch.tasks.cancel(task_id=task.id)["nodes"].values()
        assert node["tasks"][task.id]["cancelled"] is True
        assert elasticsearch.tasks.get(task_id=task.id, wait_for_completion=True)["response"] == {"canceled": True}

    def test_a_task_that_never_was_is_a_404(self, elasticsearch: Elasticsearch) -> None:
        with pytest.raises(ApiError) as missing:
            elasticsearch.tasks.get(task_id="node:99")
        assert missing.value.body["error"]["reason"] == "task [node:99] isn't running and hasn't stored its results"


class TestRouter:
    def test_literal_segments_win_over_placeholders(self) -> None:
        router = Router()
        for path in ("/{index}/_search", "/_search/scroll", "/{index}/_doc/{id}", "/_cat/indices"):
            router.route("GET", path)(lambda _backend, _request, path=path: path)

        def found(path: str) -> object:
            match = router.match("GET", path)
            return match if not isinstance(match, tuple) else (match[0](None, None), match[1])  # type: ignore[arg-type]

        assert found("/_search/scroll") == ("/_search/scroll", {})
        assert found("/logs/_search") == ("/{index}/_search", {"index": "logs"})
        assert found("/logs/_doc/_search") == ("/{index}/_doc/{id}", {"index": "logs", "id": "_search"})
        assert found("/_nope/_search") is None
        assert router.match("POST", "/logs/_search") == {"GET"}

    def test_the_same_route_twice_is_a_mistake(self) -> None:
        router = Router()
        router.route("GET", "/a")(lambda _backend, _request: None)
        with pytest.raises(RuntimeError, match="GET /a is registered twice"):
            router.route("GET", "/a")(lambda _backend, _request: None)


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("took", {"took": 1}),
        ("hits.hits._id", {"hits": {"hits": [{"_id": "a"}, {"_id": "b"}]}}),
        ("**._id", {"hits": {"hits": [{"_id": "a"}, {"_id": "b"}]}}),
        ("h*.total", {"hits": {"total": 2}}),
        ("absent", {}),
        ("-hits", {"took": 1}),
        ("hits,-hits.hits", {"hits": {"total": 2}}),
    ],
)
def test_filter_path(expression: str, kept: object) -> None:
    body = {"took": 1, "hits": {"total": 2, "hits": [{"_id": "a", "n": 1}, {"_id": "b"}]}}
    assert apply(body, expression) == kept
