"""How many events a model scored between two looks at its counters, and how long each took.

Elasticsearch logs no prediction that an ingest pipeline makes. What it has are counters of the processor, since the
node started; two of them give what happened in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Counters:
    """Counters of one inference processor, summed over the nodes.

    :param count: documents it was run on, failed ones included.
    :param failed: documents it failed on.
    :param time_in_millis: time it took for all of them.
    """

    count: int = 0
    failed: int = 0
    time_in_millis: int = 0

    @classmethod
    def of(cls, stats: Mapping[str, Any]) -> Counters:
        """Read `{count, failed, time_in_millis}` of ingest statistics, or of a document that kept them."""
        return cls(int(stats["count"]), int(stats["failed"]), int(stats["time_in_millis"]))

    def to_json(self) -> dict[str, int]:
        """JSON-able, for a document."""
        return asdict(self)

    @property
    def succeeded(self) -> int:
        """Documents that got a score."""
        return self.count - self.failed

    @property
    def mean_ms(self) -> float | None:
        """Mean time of one document in milliseconds; None where there was none."""
        return self.time_in_millis / self.count if self.count else None

    def since(self, before: Counters | None, *, at_most: int | None = None) -> Counters:
        """Return what happened since `before`.

        A counter that fell means that a node was restarted: what it shows has happened since then.

        :param before: the counters of the earlier look; None: everything is new.
        :param at_most: how many documents there can have been. After a restart of one node of several the sum still
            holds what the others counted long ago; nothing tells these apart, so the sum is cut here, its parts in
            proportion.
        """
        if before is None:
            return self
        fell = self.count < before.count or self.failed < before.failed or self.time_in_millis < before.time_in_millis
        if not fell:
            return Counters(
                self.count - before.count, self.failed - before.failed, self.time_in_millis - before.time_in_millis
            )
        if at_most is None or self.count <= at_most:
            return self
        share = at_most / self.count
        return Counters(at_most, min(at_most, round(self.failed * share)), round(self.time_in_millis * share))


def inference_counters(pipelines: Mapping[str, Any], pipeline: str) -> Counters | None:
    """Sum the counters of the inference processors inside one pipeline.

    :param pipelines: `ingest.pipelines` of one model in `_ml/trained_models/_stats`.
    :param pipeline: name of the pipeline.
    :return: None where the pipeline is not there, or has no such processor.
    """
    # Each entry is `{"<type>:<tag>": {"type": ..., "stats": {...}}}`.
    found = [
        Counters.of(entry["stats"])
        for processor in (pipelines.get(pipeline) or {}).get("processors", [])
        for entry in processor.values()
        if entry.get("type") == "inference"
    ]
    if not found:
        return None
    return Counters(
        sum(entry.count for entry in found),
        sum(entry.failed for entry in found),
        sum(entry.time_in_millis for entry in found),
    )
