"""The demo is interrupted at every stage and run again: it ends with the figures of a demo that nobody interrupted.

``CHAOS_DEMO=train:SIGKILL,score:SIGINT`` chooses other interruptions, each followed by the next in the same folder.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.interrupted_demo import DemoTree

from elastic_ml.project import load_project
from elastic_sandbox.testing import serve

# Politely and rudely by turns; `make chaos CHAOS_DEMO=...` tries the others.
INTERRUPTIONS = "start:SIGKILL,setup:SIGINT,ingest:SIGKILL,train:SIGKILL,promote:SIGINT,score:SIGKILL,look:SIGINT"
# How far into a stage the signal comes.
AFTER_SECONDS = {
    "start": 6.0,
    "setup": 2.0,
    "ingest": 8.0,
    "train": 6.0,
    "promote": 2.0,
    "score": 1.5,
    "look": 2.0,
    "summary": 0.5,
}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Callable[[str], DemoTree]]:
    """Make copies of the tree by name; whatever a tour leaves in them is ended with the test."""
    made: list[DemoTree] = []

    def _make(name: str) -> DemoTree:
        made.append(DemoTree.make(tmp_path / name))
        return made[-1]

    yield _make
    for copy in made:
        copy.end()


@pytest.mark.timeout(3600)
def test_an_interrupted_demo_ends_with_the_figures_of_an_uninterrupted_one(
    tree: Callable[[str], DemoTree], show: Callable[..., None]
):
    rows: dict[str, dict[str, Any]] = {}
    interrupted, uninterrupted = tree("interrupted"), tree("uninterrupted")
    for turn in os.environ.get("CHAOS_DEMO", INTERRUPTIONS).split(","):
        stage, _, name = turn.partition(":")
        rows[turn] = interrupted.interrupt(stage, signal.Signals[name], AFTER_SECONDS[stage])
    summaries = {"run again": interrupted.run(), "uninterrupted": uninterrupted.run()}
    held = {"run again": _held(interrupted), "uninterrupted": _held(uninterrupted)}
    show("The demo interrupted, one stage after the other", rows)
    show("What came of it", {name: _row(summary, held[name]) for name, summary in summaries.items()})

    assert _figures(summaries["run again"]) == _figures(summaries["uninterrupted"])
    for name, summary in summaries.items():
        assert len(held[name]["jobs"]) == len(held[name]["models"]) == 2
        assert set(held[name]["models"]) == {summary["model"]["id"], summary["user_hours"]["id"]}
        assert summary["panels"]["silent"] == {}
        assert held[name]["doubled"] == 0
        assert held[name]["documents"] == sum(
            counts["indexed"] + counts["duplicate"] for counts in summary["documents"].values()
        )


def _figures(summary: dict[str, Any]) -> dict[str, Any]:
    """Return what a summary says, without times and without what only says how often something was tried."""
    kept = {key: value for key, value in summary.items() if key != "seconds"}
    # The trained model's id ends with when it was made; the job's does not.
    for model in ("model", "user_hours"):
        kept[model] = summary[model] | {"id": summary[model]["id"].rpartition("-")[0]}
    kept["documents"] = {
        stream: {
            "read": counts["read"],
            "held": counts["indexed"] + counts["duplicate"],
            "rejected": counts["rejected"],
        }
        for stream, counts in summary["documents"].items()
    }
    return kept


def _held(copy: DemoTree) -> dict[str, Any]:
    """Return what the sandbox of a finished tour holds: its jobs, their models, its events."""
    from elasticsearch import Elasticsearch

    project = load_project(copy.root / "include")
    streams = [project.source(name).stream for name in project.sources()]
    with (
        serve(data=copy.folder / "elastic") as sandbox,
        Elasticsearch(sandbox.elasticsearch_url, request_timeout=60) as client,
    ):
        jobs = [found["id"] for found in client.ml.get_data_frame_analytics(id="*")["data_frame_analytics"]]
        models = client.ml.get_trained_models(tags=jobs, size=100)["trained_model_configs"] if jobs else []
        aggregations = {"distinct": {"cardinality": {"field": "event.id", "precision_threshold": 40_000}}}
        days = {"by_day": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1d"}, "aggs": aggregations}}
        documents = doubled = 0
        for stream in streams:
            buckets = client.search(index=stream, size=0, aggs=days)["aggregations"]["by_day"]["buckets"]
            documents += sum(bucket["doc_count"] for bucket in buckets)
            doubled += sum(bucket["doc_count"] - bucket["distinct"]["value"] for bucket in buckets)
    return {
        "jobs": jobs,
        "models": [found["model_id"] for found in models],
        "documents": documents,
        "doubled": doubled,
    }


def _row(summary: dict[str, Any], held: dict[str, Any]) -> dict[str, Any]:
    counts = list(summary["documents"].values())
    return {
        "indexed": sum(count["indexed"] for count in counts),
        "duplicate": sum(count["duplicate"] for count in counts),
        "held": held["documents"],
        "doubled": held["doubled"],
        "jobs": len(held["jobs"]),
        "models": len(held["models"]),
        "AUC": summary["model"]["auc_roc"],
        "AP": summary["model"]["average_precision"],
        "scored": summary["scored_documents"],
        "seconds": summary["seconds"]["total"],
    }
