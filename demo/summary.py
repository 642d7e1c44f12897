"""What came of the tour: figures read back from Elasticsearch, and three pictures."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demo.cluster import Cluster
from demo.days import Days
from demo.lifecycle import BY_HOUR, MODEL, Lifecycle
from demo.panels import silent_panels
from demo.pictures import draw_pictures
from demo.sessions import TourError
from elastic_ml.evaluation.correction import positive_score
from elastic_ml.evaluation.ranking import auc_roc, average_precision
from elastic_ml.kibana_bundle import build_bundle
from elastic_ml.registry.model_cards import model_behind

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project import Project


def collect(
    cluster: Cluster, project: Project, days: Days, lifecycle: Lifecycle, folder: Path
) -> tuple[dict[str, Any], list[str]]:
    """Return the summary (without times) and notes for the last screen; writes the pictures into ``folder``."""
    client = cluster.client()
    names, model = project.names, project.model(MODEL)
    if model.label is None or model.label.positive_class is None or model.serve is None:
        raise TourError(f"models/{MODEL}.yml needs label.positive_class and serve: the demo shows both.")
    source = project.source("internal_audit")
    champion = client.ml.get_trained_models(model_id=names.champion(MODEL))["trained_model_configs"][0]["model_id"]
    card = client.get(index=names.model_cards, id=champion)["_source"]
    labels, scores, ids = _holdout(
        client, names.holdout_index(card["job_id"]), card["kept"], model.label.positive_class
    )
    ceiling = _best_achievable(ids, days, source.reader.options)
    metrics = card["metrics"]["challenger"]
    summary = {
        "days": {"from": str(days.history[0]), "to": str(days.history[-1]), "scored": str(days.last)},
        "documents": lifecycle.documents,
        "model": {
            "id": champion,
            "alias": names.champion(MODEL),
            "auc_roc": round(metrics["auc_roc"]["value"], 4),
            "average_precision": round(metrics["average_precision"]["value"], 4),
            "holdout_documents": card["rows"]["holdout"],
        },
        "user_hours": _by_hour(client, project),
        "best_achievable": {
            "auc_roc": round(auc_roc(labels, ceiling), 4),
            "average_precision": round(average_precision(labels, ceiling), 4),
        },
        "approved_by": _approved_by(client, names.registry, champion),
        "scored_documents": client.count(index=source.stream, query=_scored_on(days))["count"],
        "suspicious_users": _suspicious(client, source.stream, days),
        "anomalies": client.count(index=names.alerts, query=_NOTICED)["count"],
        "panels": _panels(client, project),
    }
    reviewed = np.sort(scores)[::-1][: len(days.holdout) * model.serve.review_capacity]
    pictures = draw_pictures(
        folder,
        labels=labels,
        scores=scores,
        ceiling=ceiling,
        importance={item["feature"]: item["importance"] for item in card["importance"]},
        capacity_threshold=float(reviewed[-1]),
    )
    return summary, [*_said(summary["panels"]), *_notes(lifecycle.documents, pictures, cluster)]


def write_summary(folder: Path, summary: dict[str, Any]) -> Path:
    """Write ``summary.json`` at once or not at all, and return its path."""
    path = folder / "summary.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    partial.replace(path)
    return path


def _holdout(
    client: Elasticsearch, index: str, kept: dict[str, float], positive: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return label, corrected score and event id of every holdout row."""
    from elasticsearch import helpers

    labels, scores, ids = [], [], []
    for hit in helpers.scan(client, index=index, size=2000, _source=["label", "event.id", "ml.challenger.top_classes"]):
        row = hit["_source"]
        labels.append(row["label"] == positive)
        scores.append(positive_score(row["ml"]["challenger"]["top_classes"], positive, kept))
        ids.append(row["event"]["id"])
    return np.asarray(labels, dtype=bool), np.asarray(scores), ids


def _best_achievable(ids: list[str], days: Days, options: dict[str, Any]) -> np.ndarray:
    """Return the probability that the generator itself gives each holdout event of being malicious."""
    from lendpath.scenarios import Parameters
    from lendpath.truth import event_probabilities

    known = event_probabilities(Parameters(**options), days.holdout)
    missing = [event for event in ids if event not in known]
    if missing:
        raise TourError(
            f"{len(missing)} events of the holdout were not made by this demo, {missing[0]} for one: the streams hold "
            "other data of the same name. `make clean`, or use a cluster without it."
        )
    return np.asarray([known[event] for event in ids])


_NOTICED = {"bool": {"filter": [{"term": {"kind": "anomaly"}}], "must_not": [{"term": {"state": "withdrawn"}}]}}


def _by_hour(client: Elasticsearch, project: Project) -> dict[str, Any] | None:
    """Return the model of user-hours that is in production, and how many hours it has scored; None without one."""
    champion = model_behind(client, project.names.champion(BY_HOUR))
    if champion is None:
        return None
    metrics = client.get(index=project.names.model_cards, id=champion)["_source"]["metrics"]["challenger"]
    scored = {"exists": {"field": f"ml.{BY_HOUR}.score"}}
    return {
        "id": champion,
        "auc_roc": round(metrics["auc_roc"]["value"], 4),
        "average_precision": round(metrics["average_precision"]["value"], 4),
        "scored": client.count(index=project.names.features, query=scored)["count"],
    }


def _panels(client: Elasticsearch, project: Project) -> dict[str, Any]:
    """Ask what the project's dashboards would ask now, and return which of their queries show nothing."""
    asked, silent = silent_panels(client, build_bundle(project).objects)
    return {"queries": asked, "silent": silent}


def _said(panels: dict[str, Any]) -> list[str]:
    asked, silent = panels["queries"], panels["silent"]
    answered = f"Dashboards: {asked - len(silent)} of {asked} panel queries return rows."
    return [answered, *(f"  nothing in {panel}: {reason}" for panel, reason in silent.items())]


def _scored_on(days: Days) -> dict[str, Any]:
    day = {
        "range": {"@timestamp": {"gte": f"{days.last}T00:00:00Z", "lt": f"{days.last + timedelta(days=1)}T00:00:00Z"}}
    }
    return {"bool": {"filter": [day, {"exists": {"field": f"ml.{MODEL}.score"}}]}}


def _suspicious(client: Elasticsearch, stream: str, days: Days, people: int = 5) -> list[dict[str, Any]]:
    """Return the users whose three highest scores of the day have the highest mean, with the reasons of the highest."""
    fields = ["user.name", f"ml.{MODEL}.score", f"ml.{MODEL}.reason"]
    highest = {"top_hits": {"size": 3, "sort": [{f"ml.{MODEL}.score": "desc"}, {"event.id": "asc"}], "_source": fields}}
    answer = client.search(
        index=stream,
        size=0,
        query=_scored_on(days),
        aggs={"user": {"terms": {"field": "user.id", "size": 10_000}, "aggs": {"highest": highest}}},
    )
    found = []
    for bucket in answer["aggregations"]["user"]["buckets"]:
        hits = [hit["_source"] for hit in bucket["highest"]["hits"]["hits"]]
        found.append(
            {
                "user": bucket["key"],
                "name": hits[0]["user"]["name"],
                "score": round(sum(hit["ml"][MODEL]["score"] for hit in hits) / len(hits), 4),
                "events": bucket["doc_count"],
                "reasons": _reasons(hits),
            }
        )
    return sorted(found, key=lambda person: (-person["score"], person["user"]))[:people]


def _reasons(hits: list[dict[str, Any]]) -> list[str]:
    reasons = hits[0]["ml"][MODEL].get("reason", [])
    return [reasons] if isinstance(reasons, str) else reasons


def _approved_by(client: Elasticsearch, registry: str, model_id: str) -> str | None:
    """Return who approved the deployment of a model, from the registry."""
    deployed = [
        {"term": {"event_type": "deployed"}},
        {"term": {"model_version": model_id}},
        {"term": {"status": "success"}},
    ]
    hits = client.search(
        index=registry,
        size=1,
        query={"bool": {"filter": deployed}},
        sort=[{"@timestamp": "desc"}],
        source_includes=["user.name"],
    )["hits"]["hits"]
    return hits[0]["_source"]["user"]["name"] if hits else None


def _notes(documents: dict[str, dict[str, int]], pictures: list[Path], cluster: Cluster) -> list[str]:
    notes = []
    read = sum(counts["read"] for counts in documents.values())
    duplicate = sum(counts["duplicate"] for counts in documents.values())
    if read and duplicate == read:
        notes.append(
            f"Everything had been read before: all {read:,} documents were counted as duplicate, none was doubled."
        )
    if cluster.sandbox:
        notes.append("Scores are the sandbox's own: a cluster's models will differ.")
    notes.append(f"Figures: {pictures[0].parent}/summary.json   Pictures: {', '.join(path.name for path in pictures)}")
    return notes
