"""Whether the user-hours hold every event by now: asked of the transform that keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demo.sessions import TourError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch


def missing_events(client: Elasticsearch, transform_id: str | None) -> int:
    """Return how many of the events that are there by now the transform has not brought into their hours.

    :raises TourError: it is not running, or the project keeps no user-hours.
    """
    if transform_id is None:
        raise TourError("project.yml has no `features:`, so no user-hours are kept.")
    transform = client.transform.get_transform(transform_id=transform_id)["transforms"][0]
    stats = client.transform.get_transform_stats(transform_id=transform_id)["transforms"][0]
    if stats["state"] not in {"started", "indexing"}:
        reason = stats.get("reason") or "elastic_setup starts it"
        raise TourError(f"the transform {transform_id} is {stats['state']} ({reason}): no user-hours are written.")
    seen = int(stats["checkpointing"]["last"].get("time_upper_bound_millis", 0))
    source = transform["source"]
    later = {"range": {transform["sync"]["time"]["field"]: {"gte": seen, "format": "epoch_millis"}}}
    query = {"bool": {"filter": [source["query"], later]}}
    return int(client.count(index=source["index"], query=query)["count"])
