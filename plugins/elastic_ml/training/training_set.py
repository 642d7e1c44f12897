"""The index a job learns from: which fields it copies, whose verdicts it joins, what was kept of it."""

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from elastic_ml.clients.enrich import execute_policy
from elastic_ml.evaluation.sampling import Sampling
from elastic_ml.exceptions import NotFoundError, NotReadyError
from elastic_ml.ingest.ledger import Ledger
from elastic_ml.project.clock import clock_features

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.training.run import TrainingRun

log = logging.getLogger(__name__)

ENRICH_LOCK = timedelta(minutes=15)


def source_fields(run: "TrainingRun") -> list[str]:
    """Return the fields that a copy takes along: features, label, time, and what ids are made of."""
    wanted = [*run.model.features, *run.label_sources, "@timestamp", "event.id", "event.dataset"]
    if clock_features(run.project, run.model):
        wanted.append("event.timezone")
    if not run.model.supervised:
        # Its rows are what people look at.
        wanted += ["user.id", "user_hour"]
    return list(dict.fromkeys(wanted))


def recorded_sampling(client: "Elasticsearch", run: "TrainingRun") -> dict[str, Any] | None:
    """Return `{kept, classes, documents}` of a job's training set, None when nothing is known of it.

    From the index itself, or from the model's card where housekeeping has deleted the index.
    """
    meta = index_meta(client, run.train_index)
    if meta and "sampling" in meta:
        sampling = Sampling(**meta["sampling"])
        documents = int(client.count(index=run.train_index)["count"])
        return {"kept": sampling.kept, "classes": dict(sampling.classes), "documents": documents}
    hits = client.search(
        index=run.project.names.model_cards,
        query={"term": {"job_id": run.job_id}},
        sort=[{"@timestamp": "desc"}],
        size=1,
        ignore_unavailable=True,
    )["hits"]["hits"]
    if not hits:
        return None
    card = hits[0]["_source"]
    return {"kept": card["kept"], "classes": card["classes"], "documents": card["rows"]["train_set"]}


def refresh_verdicts(client: "Elasticsearch", run: "TrainingRun", policy: str | None, *, owner: str) -> None:
    """Execute the enrich policy of the verdicts, unless none changed since the snapshot in place was made.

    :param policy: see `policy_of`; None when the event carries its label.
    :param owner: who holds the lock `enrich|<policy>` meanwhile.
    :raises LockHeldError: another run refreshes it.
    """
    if policy is None:
        return
    # Read before the execution: a verdict that arrives meanwhile makes the next run execute again.
    verdicts = _verdicts(client, run.project.names.labels)
    with _ledger(client, run).lock(f"enrich|{policy}", owner=owner, ttl=ENRICH_LOCK) as lease:
        if lease.document.get("verdicts") == verdicts:
            log.info("No verdict changed since policy %s was executed last: its snapshot is kept.", policy)
            return
        execute_policy(client, policy)
        lease.renew({"verdicts": verdicts})


def policy_of(client: "Elasticsearch", run: "TrainingRun") -> str | None:
    """Return the enrich policy that the label pipeline joins by; None when the event carries its label."""
    if run.model.label is None:
        return None
    try:
        body = client.ingest.get_pipeline(id=run.label_pipeline)[run.label_pipeline]
    except NotFoundError as missing:
        raise NotReadyError(
            f"The pipeline {run.label_pipeline} is missing.", remedy="Run the DAG elastic_setup with mode=apply."
        ) from missing
    return next((p["enrich"]["policy_name"] for p in body["processors"] if "enrich" in p), None)


def _verdicts(client: "Elasticsearch", labels: str) -> dict[str, Any]:
    """Return what tells one state of the verdicts from another: their number, newest, and sums of times and ranks.

    Every decision that replaces another is later than it, so the sum of times grows with each.
    """
    client.indices.refresh(index=labels)
    answer = client.search(
        index=labels,
        size=0,
        track_total_hits=True,
        aggs={
            "newest": {"max": {"field": "decided_at"}},
            "times": {"sum": {"field": "decided_at"}},
            "ranks": {"sum": {"field": "rank"}},
        },
    )
    found = answer["aggregations"]
    return {"count": int(answer["hits"]["total"]["value"]), **{name: found[name]["value"] for name in sorted(found)}}


def _ledger(client: "Elasticsearch", run: "TrainingRun") -> Any:
    return Ledger(client, run.project.names.ledger)


def index_meta(client: "Elasticsearch", index: str) -> dict[str, Any] | None:
    """Return what the index's mapping says of its making, None when there is no such index."""
    try:
        answer = client.indices.get_mapping(index=index)
    except NotFoundError:
        return None
    return dict(answer[index]["mappings"].get("_meta") or {})
