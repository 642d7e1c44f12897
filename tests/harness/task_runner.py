"""Runs real Airflow tasks without a metadata database: the SDK's own task runner against an Execution API in memory.

A leg takes milliseconds and includes templating, XComs, the task state store, connections, retry policies and
deferral; a deferred task's trigger can be run and the task resumed. What a scheduler would do between legs (retry after
a crash, clearing) is a method here.

    runner = TaskRunner(lambda: ReindexOperator(task_id="copy", ...), connections={"elasticsearch_default": url})
    result = runner.complete()          # through all deferrals
    assert result.value["documents"] == 3

The operator comes from a function since every leg of a real task parses its DAG anew: no attribute survives.
"""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from unittest import mock
from uuid import UUID, uuid4

import httpx
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.api.client import Client
from airflow.sdk.api.datamodels._generated import TaskInstance
from airflow.sdk.execution_time.supervisor import run_task_in_process
from airflow.sdk.module_loading import import_string
from airflow.sdk.serde import deserialize, serialize


class WorkerKilledError(BaseException):
    """Stands for SIGKILL: nothing in the product may catch it."""


@dataclass
class Deferral:
    """What a task left behind when it deferred."""

    classpath: str
    trigger_kwargs: dict[str, Any]
    method: str
    kwargs: dict[str, Any]

    def trigger(self) -> Any:
        """Return the trigger as the triggerer would build it, from serialised arguments."""
        return import_string(self.classpath)(**self.trigger_kwargs)

    def fire(self, timeout: float = 30) -> Any:
        """Run the trigger, looking in quick succession, to its first event and return the payload."""
        trigger = self.trigger()
        if hasattr(trigger, "poll_interval"):
            trigger.poll_interval = min(trigger.poll_interval, 0.1)

        async def first() -> Any:
            events = trigger.run()
            try:
                return (await asyncio.wait_for(anext(events), timeout)).payload
            finally:
                await events.aclose()

        return asyncio.run(first())

    def kill(self) -> None:
        """Do what the triggerer does when a user marks or clears the deferred task."""
        asyncio.run(self.trigger().on_kill())


@dataclass
class Result:
    """What one leg of a task came to.

    :param state: ``success``, ``failed``, ``up_for_retry``, ``deferred``, ``skipped``, ``killed`` (simulated).
    :param error: the exception, where there was one.
    :param value: the returned XCom.
    :param xcoms: all XComs of the task so far, by key.
    :param deferral: what waits, when deferred.
    :param outlet_events: asset events that a successful leg reported.
    """

    state: str
    error: BaseException | None
    value: Any
    xcoms: dict[str, Any]
    deferral: Deferral | None = None
    outlet_events: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class ExecutionApi:
    """The part of Airflow's Execution API that a task talks to, in memory; keeps everything between legs."""

    dag_run: dict[str, Any]
    state_store: dict[str, Any] = field(default_factory=dict)
    xcoms: dict[tuple[str, str], Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    outlet_events: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    resume_with: tuple[str, dict[str, Any]] | None = None
    max_tries: int = 0
    log: Callable[[str, str], None] = lambda method, path: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path, method = request.url.path, request.method
        self.calls.append((method, path))
        self.log(method, path)
        parts = path.strip("/").split("/")
        for prefix, answer in {
            "store": self._store,
            "xcoms": self._xcom,
            "variables": self._variable,
            "task-instances": self._task_instance,
        }.items():
            if parts[0] == prefix:
                return answer(method, parts, request)
        if parts[0] == "connections":
            return _not_found("not_found", parts[1])
        return httpx.Response(200, json={})

    def _task_instance(self, method: str, parts: list[str], request: httpx.Request) -> httpx.Response:
        if parts[-1] == "run":
            method_name, kwargs = self.resume_with or (None, None)
            return httpx.Response(
                200,
                json={
                    "dag_run": self.dag_run,
                    "task_reschedule_count": 0,
                    "max_tries": self.max_tries,
                    "should_retry": self.max_tries > 0,
                    "variables": [],
                    "connections": [],
                    "upstream_map_indexes": {},
                    "next_method": method_name,
                    "next_kwargs": kwargs,
                },
            )
        if parts[-1] == "state" and request.content:
            payload = json.loads(request.content)
            self.outlet_events.extend(payload.get("outlet_events") or [])
        return httpx.Response(200, json={})

    def _store(self, method: str, parts: list[str], request: httpx.Request) -> httpx.Response:
        key = parts[-1]
        if method == "GET":
            if key in self.state_store:
                return httpx.Response(200, json={"value": self.state_store[key]})
            return _not_found("not_found", key)
        if method == "DELETE":
            self.state_store.pop(key, None)
        else:
            self.state_store[key] = json.loads(request.content)["value"]
        return httpx.Response(200, json={})

    def _xcom(self, method: str, parts: list[str], request: httpx.Request) -> httpx.Response:
        # /xcoms/{dag}/{run}/{task}/{key}
        task_id, key = parts[-2], parts[-1]
        if method == "POST":
            self.xcoms[task_id, key] = json.loads(request.content)
            return httpx.Response(201, json={"message": "ok"})
        if method == "DELETE":
            self.xcoms.pop((task_id, key), None)
            return httpx.Response(200, json={"message": "ok"})
        if (task_id, key) in self.xcoms:
            return httpx.Response(200, json={"key": key, "value": self.xcoms[task_id, key]})
        return _not_found("not_found", key)

    def _variable(self, method: str, parts: list[str], request: httpx.Request) -> httpx.Response:
        if parts[1] in self.variables:
            return httpx.Response(200, json={"key": parts[1], "value": self.variables[parts[1]]})
        return _not_found("not_found", parts[1])


def _not_found(reason: str, what: str) -> httpx.Response:
    return httpx.Response(404, json={"detail": {"reason": reason, "message": what}})


class TaskRunner:
    """One task of one DAG run, leg by leg.

    :param make_task: builds the operator; called inside a DAG at every leg.
    :param connections: connection id → URL, or connection fields as Airflow's JSON form has them. They are given to
        worker and trigger alike. An id that is not named does not exist.
    :param xcoms: ``(task id, key) → value`` of upstream tasks.
    :param params: the DAG's params.
    :param retries: given to the task's retry decision; the operator's own ``retries`` decides the rest.
    """

    def __init__(
        self,
        make_task: Callable[[], BaseOperator],
        *,
        connections: Mapping[str, str | Mapping[str, Any]] | None = None,
        variables: Mapping[str, str] | None = None,
        xcoms: Mapping[tuple[str, str], Any] | None = None,
        dag_id: str = "dag",
        run_id: str = "manual__1",
        partition_key: str | None = None,
        logical_date: datetime | None = None,
        params: Mapping[str, Any] | None = None,
        conf: Mapping[str, Any] | None = None,
        triggering_user_name: str | None = None,
        retries: int = 0,
    ) -> None:
        self.make_task = make_task
        self.dag_id, self.run_id = dag_id, run_id
        self.params = dict(params or {})
        self.connections = {k: _connection(v) for k, v in (connections or {}).items()}
        self.try_number = 0
        self.deferral: Deferral | None = None
        self.id: UUID = uuid4()
        now = datetime.now(UTC)
        when = (logical_date or now).isoformat()
        self.api = ExecutionApi(
            dag_run={
                "dag_id": dag_id,
                "run_id": run_id,
                "logical_date": None if partition_key else when,
                "data_interval_start": None if partition_key else when,
                "data_interval_end": None if partition_key else when,
                "start_date": now.isoformat(),
                "end_date": None,
                "run_after": now.isoformat(),
                "run_type": "manual",
                "state": "running",
                "conf": dict(conf or {}),
                "triggering_user_name": triggering_user_name,
                "consumed_asset_events": [],
                "partition_key": partition_key,
                "partition_date": None,
            },
            variables=dict(variables or {}),
            max_tries=retries,
        )
        for (task_id, key), value in (xcoms or {}).items():
            self.api.xcoms[task_id, key] = serialize(value)

    def run(self) -> Result:
        """Run a new try from its start: the first one, a retry after a failure or a crash."""
        self.try_number += 1
        self.deferral = None
        return self._leg(None)

    def clear(self, *, keep_state: bool = False) -> None:
        """Clear the task as a user would: Airflow forgets its state and XComs; the next :meth:`run` starts anew."""
        if not keep_state:
            self.api.state_store.clear()
        self.api.xcoms.clear()
        self.deferral = None

    def resume(self, event: Any) -> Result:
        """Go on with the deferred task as if its trigger had fired with this payload."""
        assert self.deferral is not None, "the task is not deferred"
        deferral, self.deferral = self.deferral, None
        return self._leg((deferral.method, {**deferral.kwargs, "event": event}))

    def fire(self, timeout: float = 30) -> Any:
        """Run the deferred task's trigger to its first event."""
        assert self.deferral is not None, "the task is not deferred"
        with self.environment():
            return self.deferral.fire(timeout)

    def kill_deferred(self) -> None:
        """Let the trigger do what it does when a user marks or clears the deferred task."""
        assert self.deferral is not None, "the task is not deferred"
        with self.environment():
            self.deferral.kill()

    def complete(self, *, most_deferrals: int = 20, timeout: float = 30) -> Result:
        """Run one try through all of its deferrals."""
        result = self.run()
        for _ in range(most_deferrals):
            if result.state != "deferred":
                return result
            result = self.resume(self.fire(timeout))
        raise AssertionError(f"still deferred after {most_deferrals} deferrals")

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        """Make the connections known to whatever runs inside, as environment variables."""
        variables = {f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(c) for conn_id, c in self.connections.items()}
        with mock.patch.dict(os.environ, variables):
            yield

    def _leg(self, resume_with: tuple[str, dict[str, Any]] | None) -> Result:
        with DAG(self.dag_id, schedule=None, params=self.params):
            task = self.make_task()
        ti = TaskInstance(
            id=self.id,
            task_id=task.task_id,
            dag_id=self.dag_id,
            run_id=self.run_id,
            try_number=self.try_number,
            map_index=-1,
            dag_version_id=uuid4(),
        )
        self.api.resume_with = (resume_with[0], serialize(resume_with[1])) if resume_with else None  # type: ignore[assignment]
        self.api.outlet_events.clear()
        client = Client(base_url="http://in-process.invalid/", token="", transport=httpx.MockTransport(self.api))
        with self.environment(), remembered_first(task, self.api.state_store):
            outcome = run_task_in_process(ti=ti, task=task, client=client)
        killed = isinstance(outcome.error, WorkerKilledError)
        state = "killed" if killed else str(getattr(outcome.state, "value", outcome.state))
        if state == "deferred":
            message = outcome.msg
            self.deferral = Deferral(
                classpath=message.classpath,
                trigger_kwargs=deserialize(message.trigger_kwargs),  # type: ignore[arg-type]
                method=message.next_method,
                kwargs=deserialize(message.next_kwargs or {}),  # type: ignore[arg-type]
            )
        xcoms = {key: deserialize(value) for (task_id, key), value in self.api.xcoms.items() if task_id == task.task_id}
        return Result(
            state=state,
            error=outcome.error,
            value=xcoms.get("return_value"),
            xcoms=xcoms,
            deferral=self.deferral,
            outlet_events=list(self.api.outlet_events),
        )


def _connection(value: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(value, str):
        return {"conn_type": "elastic", "host": value}
    fields = dict(value)
    if isinstance(fields.get("extra"), Mapping):
        fields["extra"] = json.dumps(fields["extra"])
    return {"conn_type": "elastic", **fields}


STARTS = re.compile(
    r"/(_start|_open|_reindex|_execute|_forecast|_revert|_reset|_forcemerge|_(update|delete)_by_query)$"
)


@contextlib.contextmanager
def remembered_first(task: BaseOperator, state_store: Mapping[str, Any]) -> Iterator[None]:
    """Hold every operator of remote work, in every test, to this: its id is stored before it creates anything.

    A worker that dies in between would otherwise leave work that no later try knows.
    """
    from elastic_transport import Urllib3HttpNode

    from elastic_ml.operators.remote_job import STATE_KEY, RemoteJobOperator

    if not isinstance(task, RemoteJobOperator):
        yield
        return
    early: list[str] = []
    real = Urllib3HttpNode.perform_request

    def perform_request(node: Any, method: str, target: str, *args: Any, **kwargs: Any) -> Any:
        path = target.partition("?")[0]
        if STATE_KEY not in state_store and (method == "PUT" or (method == "POST" and STARTS.search(path))):
            early.append(f"{method} {path}")
        return real(node, method, target, *args, **kwargs)

    with mock.patch.object(Urllib3HttpNode, "perform_request", perform_request):
        yield
    assert not early, f"{type(task).__name__} sent {early} before anything about it was stored"


@contextlib.contextmanager
def crash_after(calls: int, *, only: str = "") -> Iterator[list[str]]:
    """Kill the worker right after its n-th answer from Elasticsearch: the server did it, the task never learns.

    :param calls: how many requests are answered; 0 kills before the first one is sent.
    :param only: count only requests whose ``METHOD /path`` contains this.
    :return: the requests that were counted, as ``METHOD /path``; fewer than ``calls`` when the task ended before.
    """
    from elastic_transport import Urllib3HttpNode

    sent: list[str] = []
    real = Urllib3HttpNode.perform_request

    def perform_request(node: Any, method: str, target: str, *args: Any, **kwargs: Any) -> Any:
        line = f"{method} {target.partition('?')[0]}"
        if only not in line:
            return real(node, method, target, *args, **kwargs)
        if len(sent) >= calls:
            raise WorkerKilledError
        answer = real(node, method, target, *args, **kwargs)
        sent.append(line)
        if len(sent) >= calls:
            raise WorkerKilledError
        return answer

    with mock.patch.object(Urllib3HttpNode, "perform_request", perform_request):
        yield sent
