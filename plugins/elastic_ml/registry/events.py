"""The registry: every event in a model's life, appended to one data stream and never changed."""

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from elastic_ml.exceptions import ConflictError, IngestError, NotFoundError, NotReadyError
from elastic_ml.prediction_log import registry_event

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.names import Names

EventType = Literal["registered", "evaluated", "transitioned", "deployed", "rolled_back", "rejected", "deleted"]


def deterministic_id(*parts: object) -> str:
    """Return 32 hex digits of what an event is about: a retry that writes it again is told so by a 409."""
    return sha256("|".join(str(part) for part in parts).encode()).hexdigest()[:32]


def write_event(
    client: "Elasticsearch",
    names: "Names",
    *,
    event_type: EventType,
    model_name: str,
    model_version: str,
    event_id: str,
    stage: str | None = None,
    status: Literal["success", "error"] = "success",
    user: str | None = None,
    reason: str | None = None,
    metrics: Mapping[str, float] | None = None,
    job_id: str | None = None,
    previous_version: str | None = None,
) -> bool:
    """Append one event to the registry stream.

    :param event_type: what happened; "deploy failed" is `deployed` with status `error`.
    :param model_version: id of the trained model.
    :param event_id: see `deterministic_id`.
    :param stage: the version's stage after the event: candidate, champion, previous or retired.
    :param user: who decided it; None for a machine.
    :return: False when the event had been recorded before.
    :raises NotReadyError: the stream does not exist and nothing would create it.
    :raises IngestError: the stream's failure store took the event, so nobody who asks the registry would see it.
    """
    document = registry_event(
        event_type=event_type,
        model_name=model_name,
        model_version=model_version,
        event_id=event_id,
        status=status,
        stage=stage,
        reason=reason,
        user=user,
        metrics=dict(metrics) if metrics else None,
        job_id=job_id,
        previous_version=previous_version,
        environment=names.environment,
    )
    try:
        if client.count(index=names.registry, query={"ids": {"values": [event_id]}})["count"]:
            # `create` looks into the write index only; the stream may have rolled over since.
            return False
        answer = client.create(
            index=names.registry, id=event_id, document=document, refresh=True, require_data_stream=True
        )
    except ConflictError:
        return False
    except NotFoundError as missing:
        raise NotReadyError(
            f"The registry stream {names.registry} does not exist.", remedy="Run the DAG elastic_setup with mode=apply."
        ) from missing
    if answer.get("failure_store") == "used":
        raise IngestError(
            f"The registry stream {names.registry} could not index the event {event_type} of {model_version}; it lies "
            "in its failure store.",
            remedy=f"Read `{names.registry}::failures` for the reason, run elastic_setup with mode=verify, and clear "
            "this task.",
        )
    return True


def events_of(client: "Elasticsearch", names: "Names", model_version: str) -> list[dict[str, Any]]:
    """Return a version's events, oldest first; none when the stream does not exist yet."""
    try:
        client.indices.refresh(index=names.registry)
        answer = client.search(
            index=names.registry,
            query={"term": {"model_version": model_version}},
            sort=[{"@timestamp": "asc"}],
            size=1000,
        )
    except NotFoundError:
        return []
    return [hit["_source"] for hit in answer["hits"]["hits"]]


def find_event(client: "Elasticsearch", names: "Names", event_id: str) -> dict[str, Any] | None:
    """Return one event by its id, None when it was never written."""
    try:
        client.indices.refresh(index=names.registry)
        hits = client.search(index=names.registry, query={"ids": {"values": [event_id]}}, size=1)["hits"]["hits"]
    except NotFoundError:
        return None
    return dict(hits[0]["_source"]) if hits else None


def versions_of(client: "Elasticsearch", names: "Names", model_name: str) -> list[str]:
    """Return the versions of a model that were in production, the newest first, whether they still exist or not."""
    deployed = [
        {"term": {"model_name": model_name}},
        {"term": {"event_type": "deployed"}},
        {"term": {"status": "success"}},
    ]
    try:
        hits = client.search(
            index=names.registry,
            query={"bool": {"filter": deployed}},
            sort=[{"@timestamp": "desc"}],
            size=1000,
            source={"includes": ["model_version"]},
        )["hits"]["hits"]
    except NotFoundError:
        return []
    return list(dict.fromkeys(str(hit["_source"]["model_version"]) for hit in hits))


def decision_on(client: "Elasticsearch", names: "Names", model_version: str) -> str | None:
    """Return `promoted` or `rejected`, whichever the registry says last of this version, or None when undecided."""
    decided = None
    for event in events_of(client, names, model_version):
        if event["event_type"] == "deployed" and event["status"] == "success":
            decided = "promoted"
        elif event["event_type"] == "rejected":
            decided = "rejected"
    return decided
