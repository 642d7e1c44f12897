"""Data stream lifecycle: bodies of lifecycles and options, rollover and retention by the sandbox's clock.

Page "Data stream lifecycle" of the documentation: every five minutes (``data_streams.lifecycle.poll_interval``) the
write index is rolled over when it meets ``cluster.lifecycle.default.rollover``, and backing indices older than the
retention, counted from their own rollover, are deleted. Failure stores keep 30 days unless they say otherwise
(``data_streams.lifecycle.retention.failures_default``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elastic_sandbox.clock import Poll
from elastic_sandbox.errors import illegal_argument, unsupported, x_content_parse
from elastic_sandbox.http import duration_seconds
from elastic_sandbox.indices.ilm import MAX_SHARD_DOCUMENTS, human_time
from elastic_sandbox.indices.index import Index
from elastic_sandbox.indices.rollover import evaluate, met
from elastic_sandbox.shapes import check_shape

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

Body = dict[str, Any]

POLL_SECONDS = 300.0
FAILURES_RETENTION = "30d"
# ``max_age: auto`` by the retention it has to serve, in days (RolloverConfiguration).
_AUTO_MAX_AGE = ((1, "1h"), (14, "1d"), (90, "7d"))


def check_lifecycle(body: Body, backend: Backend, *, template: bool = False) -> None:
    """Refuse a data stream lifecycle that cannot be.

    ``frozen_after`` stands in templates only, since 9.5.
    """
    known = {"enabled", "data_retention", "downsampling", "downsampling_method"}
    if template and backend.knows("lifecycle.frozen_after"):
        known.add("frozen_after")
    for key in body:
        if key not in known:
            raise x_content_parse(f"[1:1] [lifecycle] unknown field [{key}]")
    for key in ("downsampling", "downsampling_method", "frozen_after"):
        if body.get(key) is not None:
            raise unsupported(f"[{key}] of a data stream lifecycle")
    check_shape("lifecycle", body, {"enabled": bool, "data_retention": (str, None)})
    _check_retention(body)


def check_options(body: Body) -> None:
    """Refuse data stream options that cannot be."""
    for key in body:
        if key != "failure_store":
            raise x_content_parse(f"[1:1] [options] unknown field [{key}]")
    lifecycle = {"enabled": bool, "data_retention": (str, None)}
    shape = {"failure_store": ({"enabled": (bool, None), "lifecycle": (lifecycle, None)}, None)}
    check_shape("options", body, shape)
    store = body.get("failure_store") or {}
    for key in store:
        if key not in {"enabled", "lifecycle"}:
            raise x_content_parse(f"[1:1] [failure_store] unknown field [{key}]")
    if "failure_store" in body and not store:
        raise illegal_argument("Failure store configuration should have at least one non-null configuration value.")
    lifecycle = store.get("lifecycle") or {}
    for key in lifecycle:
        if key not in {"enabled", "data_retention"}:
            raise x_content_parse(f"[1:1] [lifecycle] unknown field [{key}]")
    _check_retention(lifecycle)


def _check_retention(body: Body) -> None:
    value = body.get("data_retention")
    if value is None:
        return
    if not isinstance(value, str):
        raise illegal_argument(f"failed to parse setting [data_retention] with value [{value}] as a time value")
    if duration_seconds(value, "data_retention") <= 0:
        raise illegal_argument(f"Data retention value must be positive, but was [{value}]")


def shown_lifecycle(lifecycle: Body) -> Body:
    """A lifecycle as GET shows it, with the retention in force."""
    shown = dict(lifecycle)
    if lifecycle.get("data_retention") is not None:
        shown |= {
            "effective_retention": lifecycle["data_retention"],
            "retention_determined_by": "data_stream_configuration",
        }
    return shown


def rollover_conditions(retention: str | None) -> Body:
    """The cluster's default rollover for a stream with this retention."""
    age = "30d"
    if retention is not None:
        days = duration_seconds(retention, "data_retention") / 86_400
        age = next((shorter for limit, shorter in _AUTO_MAX_AGE if days <= limit), age)
    return {
        "max_age": age,
        "max_primary_shard_size": "50gb",
        "max_primary_shard_docs": MAX_SHARD_DOCUMENTS,
        "min_docs": 1,
    }


@dataclass
class StreamLifecycle:
    """The lifecycle service of data streams."""

    backend: Backend

    def __post_init__(self) -> None:
        self._poll = Poll(self.backend.clock, POLL_SECONDS)

    def reset(self) -> None:
        """Start the poll interval anew."""
        self._poll.restart()

    def tick(self) -> None:
        """Roll over and delete what has become due, once an interval of the clock."""
        if not self._poll.due():
            return
        with self.backend.lock:
            for name in self.backend.indices.streams.names():
                for failures in (False, True):
                    self._run(name, failures)

    def _run(self, name: str, failures: bool) -> None:
        streams, indices = self.backend.indices.streams, self.backend.indices
        stream = streams.get(name)
        lifecycle = None if stream is None else self._lifecycle(stream, failures)
        part = "failure_indices" if failures else "indices"
        if stream is None or lifecycle is None or not stream[part]:
            return
        retention = lifecycle.get("data_retention")
        write = indices.get(stream[part][-1])
        if (
            write is not None
            and self.manages(write)
            and met(evaluate(self.backend, write, rollover_conditions(retention)))
        ):
            streams.roll(name, failures=failures)
        for index in [indices.get(index_name) for index_name in stream[part][:-1]]:
            if index is not None and self.manages(index) and retention is not None:
                age = (self.backend.clock.now_ms() - _generation_ms(index)) / 1000
                if age >= duration_seconds(retention, "data_retention"):
                    indices.delete(index.name)

    def _lifecycle(self, stream: Body, failures: bool) -> Body | None:
        """The lifecycle in force; None when there is none or it is off."""
        if failures:
            given = ((stream["options"] or {}).get("failure_store") or {}).get("lifecycle") or {}
            lifecycle = {"enabled": True, "data_retention": FAILURES_RETENTION, **given}
        else:
            lifecycle = stream["lifecycle"]
        return lifecycle if lifecycle is not None and lifecycle.get("enabled", True) else None

    def manages(self, index: Index) -> bool:
        """Whether a data stream lifecycle, not an ILM policy, decides about an index."""
        stream = None if index.data_stream is None else self.backend.indices.streams.get(index.data_stream)
        if stream is None or self._lifecycle(stream, index.failure_store) is None:
            return False
        by_ilm = "index.lifecycle.name" in index.settings
        return not (by_ilm and index.settings.get("index.lifecycle.prefer_ilm", "true") == "true")

    def explain(self, index: Index) -> Body:
        """One index as ``_lifecycle/explain`` shows it."""
        if not self.manages(index):
            return {"index": index.name, "managed_by_lifecycle": False}
        stream = self.backend.indices.streams.get(str(index.data_stream))
        assert stream is not None
        lifecycle = self._lifecycle(stream, index.failure_store)
        assert lifecycle is not None
        now = self.backend.clock.now_ms()
        shown: Body = {
            "index": index.name,
            "managed_by_lifecycle": True,
            "index_creation_date_millis": index.created_ms,
            "time_since_index_creation": human_time(now - index.created_ms),
        }
        rolled = index.rolled.get(stream["name"])
        if rolled is not None:
            shown |= {"rollover_date_millis": rolled, "time_since_rollover": human_time(now - rolled)}
        if index.name != stream["failure_indices" if index.failure_store else "indices"][-1]:
            shown["generation_time"] = human_time(now - _generation_ms(index))
        return shown | {"lifecycle": shown_lifecycle(lifecycle)}


def _generation_ms(index: Index) -> int:
    """What the retention counts from: the origination date, else the rollover, else the creation."""
    given = int(index.settings.get("index.lifecycle.origination_date", -1))
    return given if given != -1 else index.rolled.get(str(index.data_stream), index.created_ms)
