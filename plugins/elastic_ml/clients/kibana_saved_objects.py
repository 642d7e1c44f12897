"""Saved objects: what refers to them, and deleting them."""

import json
from collections.abc import Iterable
from typing import Any

from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.exceptions import ElasticMLError, PartialFailureError

Key = tuple[str, str]
REFERRING = ("dashboard", "lens", "map", "search", "visualization")
"""Types of saved objects that carry tags and show data views."""


def objects_referring_to(client: KibanaClient, keys: Iterable[Key]) -> list[dict[str, Any]]:
    """The saved objects of the space that refer to one of these, by type and id."""
    references = [{"type": kind, "id": name} for kind, name in keys]
    if not references:
        return []
    body = {"type": list(REFERRING), "hasReference": references, "excludeExportDetails": True}
    answer = client.request("POST", "/api/saved_objects/_export", body=body)
    if isinstance(answer, dict):
        return [answer]  # a single line of NDJSON is JSON
    return [json.loads(line) for line in str(answer or "").splitlines() if line.strip()]


def delete_saved_objects(client: KibanaClient, keys: Iterable[Key]) -> None:
    """Delete saved objects of the space, by type and id; one that is not there is no error.

    The route is the one of Kibana's own page of saved objects: the public ones delete no tag, and dashboards only since
    9.4.

    :raises PartialFailureError: some were not deleted.
    """
    wanted = [{"type": kind, "id": name} for kind, name in keys]
    client.require_space()
    answers = client.request("POST", "/internal/kibana/management/saved_objects/_bulk_delete", body=wanted)
    if not isinstance(answers, list):
        raise ElasticMLError(f"Kibana answered a deletion with {str(answers)[:200]!r}, which says nothing about it.")
    failures = {
        f"{one['type']} {one['id']}": str((one.get("error") or {}).get("message", "no reason given"))
        for one in answers
        if not one["success"] and (one.get("error") or {}).get("statusCode") != 404
    }
    if failures:
        listed = "; ".join(f"{name}: {why}" for name, why in failures.items())
        raise PartialFailureError(f"Kibana did not delete {listed}.", failures=failures)
