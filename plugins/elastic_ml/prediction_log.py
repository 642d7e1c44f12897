"""A prediction service's log: one JSON line per request, as the operations stream of predictions takes it.

Standard library only: copy this file beside a service that installs nothing else, or import it where the package is.

::

    log = PredictionLog("/var/log/scoring/predictions-{pid}.ndjson", model_name="fraud", model_version="3")

    with log.timed(request_id=request.id):
        score = model.predict(features)

Filebeat or Elastic Agent ships the file (`logstash/filebeat`), the pipeline `predictions` of `logstash/` hands the
lines on as they are. What a line says: docs/prediction-log.md. A log that cannot be written never fails a request: the
line is dropped, counted in :attr:`PredictionLog.dropped`, and said at most once a minute through `logging`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

__all__ = ["ECS_VERSION", "PredictionLog", "registry_event"]

ECS_VERSION = "8.11.0"
LONGEST_TEXT = 1_000
"""Characters of a value; the streams index no more of a keyword."""

_logger = logging.getLogger(__name__)


class PredictionLog:
    """Writes one line per prediction into a file that it rotates by size.

    :param path: of the file. `{pid}` becomes the process id: every process needs a file of its own, as two that
        rotate the same file would cut each other's lines off.
    :param model_name: the model's name, as the registry knows it; a call may name another.
    :param model_version: a trained model's id or the service's own version.
    :param stage: candidate, champion, previous or retired.
    :param environment: as in `project.yml`; what ships the lines sets it otherwise.
    :param service: the service's name, `service.name` in ECS.
    :param max_bytes: size at which the file is renamed to `<path>.1`, that one to `<path>.2`, and so on.
    :param backups: how many of those are kept.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        model_name: str = "",
        model_version: str | None = None,
        stage: str | None = None,
        environment: str | None = None,
        service: str | None = None,
        max_bytes: int = 64 * 1024 * 1024,
        backups: int = 4,
    ) -> None:
        self.dropped = 0
        self._template = os.fspath(path)
        self._defaults = {
            "model_name": model_name,
            "model_version": model_version,
            "stage": stage,
            "environment": environment,
        }
        self._service = service
        self._max_bytes = max_bytes
        self._backups = backups
        self._lock = threading.Lock()
        self._file = -1
        self._size = 0
        self._pid = 0
        self._said = -math.inf
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    @property
    def path(self) -> Path:
        """The file that this process writes."""
        return Path(self._template.replace("{pid}", str(os.getpid())))

    def predict(
        self,
        *,
        latency_ms: float | None,
        request_id: str | None = None,
        status: Literal["success", "error"] = "success",
        error: BaseException | str | None = None,
        user: str | None = None,
        **model: str | None,
    ) -> None:
        """Write one prediction. Never raises.

        :param latency_ms: milliseconds that the request took; None or NaN when unknown.
        :param request_id: the service's own id of the request.
        :param status: `error` as soon as there is an `error`.
        :param error: what went wrong: its type and message are written, no traceback.
        :param user: who asked.
        :param model: `model_name`, `model_version`, `stage`, `environment` of this call, where they differ.
        """
        try:
            named = {name: str(value) for name, value in {**self._defaults, **model}.items() if value}
            self._write(self._document(latency_ms, request_id, status, error, user, named))
        except Exception as problem:
            self._drop(problem)

    @contextmanager
    def timed(self, request_id: str | None = None, *, user: str | None = None, **model: Any) -> Iterator[None]:
        """Write the prediction made inside the block, with its time; an exception counts as an error and is raised."""
        start = time.perf_counter()
        try:
            yield
        except BaseException as error:
            self.predict(latency_ms=_since(start), request_id=request_id, error=error, user=user, **model)
            raise
        self.predict(latency_ms=_since(start), request_id=request_id, user=user, **model)

    def close(self) -> None:
        """Close the file; a later prediction opens it again."""
        with self._lock:
            self._shut()

    def _document(
        self,
        latency_ms: float | None,
        request_id: str | None,
        status: str,
        error: BaseException | str | None,
        user: str | None,
        named: dict[str, str],
    ) -> dict[str, Any]:
        latency = None if latency_ms is None else float(latency_ms)
        if latency is not None and not math.isfinite(latency):
            latency = None
        failed = error is not None or status != "success"
        name, version = named.get("model_name", ""), named.get("model_version", "")
        took = f" in {latency:.1f} ms" if latency is not None else ""
        document: dict[str, Any] = {
            "@timestamp": _now(),
            "ecs": {"version": ECS_VERSION},
            "log": {"level": "error" if failed else "info"},
            "message": f"{name} {version}".strip() + f": {'failed' if failed else 'predicted'}{took}",
            "event": {
                "id": os.urandom(16).hex(),
                "kind": "event",
                "action": "predict",
                "outcome": "failure" if failed else "success",
            },
            "event_type": "predict",
            "status": "error" if failed else "success",
            "provider": "service",
            "count": 1,
            **{key: value[:LONGEST_TEXT] for key, value in named.items()},
        }
        if latency is not None:
            document["latency_ms"] = round(latency, 3)
            document["event"]["duration"] = round(latency * 1_000_000)
        if request_id is not None:
            document["request_id"] = str(request_id)[:LONGEST_TEXT]
        if user is not None:
            document["user"] = {"name": str(user)[:LONGEST_TEXT]}
        if self._service:
            document["service"] = {"name": self._service}
        if error is not None:
            document["error"] = {"message": str(error)[:LONGEST_TEXT]}
            if isinstance(error, BaseException):
                document["error"]["type"] = type(error).__name__
        return document

    def _write(self, document: dict[str, Any]) -> None:
        # ASCII only: no character of a request can end the line or be half a character.
        line = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            if self._file < 0 or self._pid != os.getpid():
                self._open()
            elif self._size + len(line) > self._max_bytes and self._size:
                self._rotate()
            written = os.write(self._file, line)
            self._size += written
            if written != len(line):  # the disk is full: end the piece, so that the next line is a line of its own
                os.write(self._file, b"\n")
                raise OSError(f"only {written} of {len(line)} bytes were written")

    def _open(self) -> None:
        self._shut()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        self._size = os.fstat(self._file).st_size
        self._pid = os.getpid()

    def _rotate(self) -> None:
        # Renamed, never truncated: a shipper follows the file it has open to its end.
        self._shut()
        path = str(self.path)
        for number in range(self._backups, 0, -1):
            older = f"{path}.{number - 1}" if number > 1 else path
            if os.path.exists(older):
                os.replace(older, f"{path}.{number}")
        if not self._backups:
            os.remove(path)
        self._open()

    def _shut(self) -> None:
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def _forked(self) -> None:
        # A lock that another thread held at the fork would never be released in the child.
        self._lock = threading.Lock()

    def _drop(self, problem: BaseException) -> None:
        self.dropped += 1
        if time.monotonic() - self._said > 60:
            self._said = time.monotonic()
            _logger.warning("%s predictions were not logged to %s: %s", self.dropped, self._template, problem)


def registry_event(
    *,
    event_type: str,
    model_name: str,
    model_version: str,
    event_id: str,
    status: Literal["success", "error"] = "success",
    stage: str | None = None,
    reason: str | None = None,
    user: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """An event in a model's life, as the registry's stream takes it; the DAGs write theirs so.

    :param event_type: registered, evaluated, transitioned, deployed, rolled_back, rejected or deleted.
    :param event_id: the same for the same event: the second document with it is not written.
    :param stage: the version's stage after the event.
    :param user: who decided it; None for a machine.
    :param more: `metrics`, `job_id`, `previous_version`, `environment`.
    """
    document: dict[str, Any] = {
        "@timestamp": _now(),
        "event": {"id": event_id, "action": event_type, "kind": "event"},
        "event_type": event_type,
        "status": status,
        "model_name": model_name,
        "model_version": model_version,
        "message": f"{model_name} {model_version}: {event_type}{f' ({reason})' if reason else ''}",
        "count": 1,
    }
    optional = {"stage": stage, "reason": reason, **more, "user": {"name": user} if user else None}
    return document | {name: value for name, value in optional.items() if value is not None}


def _now() -> str:
    # timezone.utc: the module also runs on Pythons older than the package's.
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")  # noqa: UP017


def _since(start: float) -> float:
    return (time.perf_counter() - start) * 1000
