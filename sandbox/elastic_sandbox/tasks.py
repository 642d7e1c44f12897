"""Long-running tasks: what ``_tasks`` lists, waits for and cancels.

A task runs in a thread of its own. Its result is kept in the cluster state when it ends (Elasticsearch keeps it
in ``.tasks``), so ``GET /_tasks/{id}`` still answers after the work is done, and after a restart. A task that was
running when the process died is gone, as on a node that died.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from elastic_sandbox.clock import Clock
from elastic_sandbox.errors import ElasticError
from elastic_sandbox.state import ClusterState

log = logging.getLogger(__name__)

NODE_NAME = "sandbox"


class Task:
    """One running or finished task.

    ``status`` is the mutable object shown under ``task.status``; the work looks at ``cancelled`` between steps.
    """

    def __init__(
        self,
        node: str,
        number: int,
        action: str,
        description: str,
        opaque_id: str | None,
        cancellable: bool,
        now_ms: int,
    ) -> None:
        self.node = node
        self.number = number
        self.action = action
        self.description = description
        self.cancellable = cancellable
        self.headers: dict[str, str] = {} if opaque_id is None else {"X-Opaque-Id": opaque_id}
        self.start_time_ms = now_ms
        self.status: dict[str, Any] = {}
        self.requests_per_second: float = -1.0
        self.cancelled = False
        self.cancel_reason: str | None = None
        self.response: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.worker: threading.Thread | None = None
        self._started = time.monotonic_ns()
        self._ran_ns: int | None = None
        self._done = threading.Event()

    @property
    def id(self) -> str:
        """``node:number``, as clients pass it around."""
        return f"{self.node}:{self.number}"

    @property
    def completed(self) -> bool:
        """Whether the work has ended, well or not."""
        return self._done.is_set()

    def finish(self) -> None:
        """Mark as ended; the run time stands still from here."""
        self._ran_ns = time.monotonic_ns() - self._started
        self._done.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Block until the work has ended; False when ``seconds`` passed first."""
        return self._done.wait(seconds)

    def info(self) -> dict[str, Any]:
        """The ``task`` object of the API."""
        info: dict[str, Any] = {
            "node": self.node,
            "id": self.number,
            "type": "transport",
            "action": self.action,
            "status": self.status,
            "description": self.description,
            "start_time_in_millis": self.start_time_ms,
            "running_time_in_nanos": self._ran_ns or time.monotonic_ns() - self._started,
            "cancellable": self.cancellable,
            "headers": self.headers,
        }
        if self.cancellable:
            info["cancelled"] = self.cancelled
        return info

    def result(self) -> dict[str, Any]:
        """The answer of ``GET /_tasks/{id}``."""
        result: dict[str, Any] = {"completed": self.completed, "task": self.info()}
        if self.error is not None:
            result["error"] = self.error
        elif self.response is not None:
            result["response"] = self.response
        return result


class Tasks:
    """All tasks of the one node."""

    def __init__(self, state: ClusterState, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[str, Task] = {}
        stored = state.get("settings", "node")
        if stored is None:
            stored = {"id": uuid.uuid4().hex[:22]}
            state.put("settings", "node", stored)
        self.node: str = stored["id"]
        self._number = max((doc["task"]["id"] for _, doc in state.items("task")), default=0)

    def start(
        self,
        action: str,
        description: str,
        run: Callable[[Task], dict[str, Any]],
        *,
        opaque_id: str | None = None,
        cancellable: bool = True,
        stores_result: bool = True,
    ) -> Task:
        """Run ``run(task)`` in a thread; what it returns becomes the task's response, what it raises its error.

        :param stores_result: whether the server keeps the result; without, the task is gone once it has ended.
        """
        with self._lock:
            self._number += 1
            task = Task(self.node, self._number, action, description, opaque_id, cancellable, self._clock.now_ms())
            self._running[task.id] = task
        task.worker = threading.Thread(
            target=self._work, args=(task, run, stores_result), name=f"task-{task.number}", daemon=True
        )
        task.worker.start()
        return task

    def _work(self, task: Task, run: Callable[[Task], dict[str, Any]], stores_result: bool) -> None:
        try:
            task.response = run(task)
        except ElasticError as error:
            task.error = error.cause()
        except Exception as error:  # a task has no caller to raise to: its error is its result
            log.exception("task %s (%s) failed", task.id, task.action)
            task.error = {"type": "exception", "reason": f"{type(error).__name__}: {error}"}
        with self._lock:
            known = self._running.pop(task.id, None) is not None
            if known and stores_result:
                self._state.put("task", task.id, {**task.result(), "completed": True})
        task.finish()

    def list(self) -> list[Task]:
        """Running tasks, oldest first."""
        with self._lock:
            return list(self._running.values())

    def get(self, task_id: str) -> Task | None:
        """A running task, or None."""
        with self._lock:
            return self._running.get(task_id)

    def stored(self, task_id: str) -> dict[str, Any] | None:
        """The kept result of an ended task, or None."""
        return self._state.get("task", task_id)

    def cancel(self, task_id: str, reason: str = "by user request") -> Task | None:
        """Ask a running task to stop; None when no such task runs. The work decides when it notices."""
        task = self.get(task_id)
        if task is not None:
            if not task.cancellable:
                raise ElasticError(
                    400, "illegal_argument_exception", f"task [{task_id}] doesn't support this operation"
                )
            task.cancel_reason = reason
            task.cancelled = True
        return task

    def halt(self) -> tuple[threading.Thread, ...]:
        """Cancel what runs and forget it; the threads that end by and by."""
        with self._lock:
            abandoned = list(self._running.values())
            self._running.clear()
        for task in abandoned:
            task.cancelled = True
            task.cancel_reason = "reset"
        return tuple(task.worker for task in abandoned if task.worker is not None)
