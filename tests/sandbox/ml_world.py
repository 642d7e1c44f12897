"""A small labelled world for the machine learning tests: documents, a job over them, and waiting for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from elasticsearch import helpers

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

PROPERTIES: dict[str, Any] = {
    "amount": {"type": "double"},
    "weekend": {"type": "boolean"},
    "kind": {"type": "keyword"},
    "user": {"properties": {"id": {"type": "keyword"}}},
    "note": {"type": "text", "fields": {"raw": {"type": "keyword"}}},
    "when": {"type": "date"},
    "label": {"type": "keyword"},
}
# Eight judged documents with three classes: the example of Elastic's YAML test evaluate_data_frame.
ACTUAL = ["dog", "cat", "mouse", "dog", "cat", "dog", "cat", "mouse"]
PREDICTED = ["dog", "cat", "mouse", "cat", "dog", "dog", "cat", "cat"]
CAT_SCORES = [0.1, 0.8, 0.3, 0.6, 0.3, 0.1, 0.8, 0.8]
MEASURED = [10.9, 12.0, 20.9, 11.9, 42.9, 0.42, 1.1235813, -5.2]
GUESSED = [10.9, 9.9, 5.9, 11.9, 42.9, 0.42, 1.12358, -5.1]
FEATURES = ["amount", "weekend", "kind", "user.id"]


def events(count: int = 400, classes: int = 2) -> list[dict[str, Any]]:
    """Events whose label follows from amount and kind, with some chance; the same every time."""
    generator = np.random.default_rng(21)
    made = []
    for number in range(count):
        amount, kind = float(round(generator.normal(), 3)), int(generator.integers(0, 4))
        odds = 2.0 * amount + 2.0 * (kind == 2) - 1.5
        label = "true" if generator.random() < 1 / (1 + np.exp(-odds)) else "false"
        if classes == 3 and kind == 3:
            label = "unsure"
        made.append(
            {
                "_id": f"e{number:05}",
                "amount": amount,
                "weekend": bool(generator.integers(0, 2)),
                "kind": f"kind {kind}",
                "user": {"id": f"user {generator.integers(0, 30)}"},
                "when": 1_700_000_000_000 + number,
                "label": label,
            }
        )
    return made


def index_events(client: Elasticsearch, documents: list[dict[str, Any]], index: str = "events") -> None:
    """Create the index and fill it."""
    client.indices.create(index=index, mappings={"properties": PROPERTIES})
    helpers.bulk(client, [{"_index": index, **document} for document in documents], refresh=True)


def job_body(**classification: Any) -> dict[str, Any]:
    """A job over `events` into `results` that trains in a fraction of a second."""
    options = {"dependent_variable": "label", "randomize_seed": 1, "max_trees": 8, "early_stopping_enabled": False}
    return {
        "source": {"index": "events"},
        "dest": {"index": "results"},
        "analysis": {"classification": options | classification},
        "analyzed_fields": ["label", *FEATURES],
    }


def stats(client: Elasticsearch, job_id: str) -> dict[str, Any]:
    """The job's `_stats` entry."""
    entries: list[dict[str, Any]] = client.ml.get_data_frame_analytics_stats(id=job_id)["data_frame_analytics"]
    return entries[0]


def wait_for(client: Elasticsearch, job_id: str, *states: str, seconds: float = 30) -> dict[str, Any]:
    """The stats once the job is in one of the states."""
    until = time.monotonic() + seconds
    while (found := stats(client, job_id))["state"] not in states:
        assert time.monotonic() < until, f"still {found['state']} after {seconds} s: {found}"
        time.sleep(0.02)
    return found


def run_job(client: Elasticsearch, job_id: str = "job", **classification: Any) -> str:
    """Put, start, wait; the id of the trained model."""
    client.ml.put_data_frame_analytics(id=job_id, **job_body(**classification))
    client.ml.start_data_frame_analytics(id=job_id)
    ended = wait_for(client, job_id, "stopped", "failed")
    assert ended["state"] == "stopped", ended
    configs = client.ml.get_trained_models(tags=job_id)["trained_model_configs"]
    assert len(configs) == 1
    model_id: str = configs[0]["model_id"]
    return model_id


def tree_model(leaf: float = 1, kind: str = "classification", **extra: Any) -> dict[str, Any]:
    """The body of a trained model that is one leaf."""
    tree: dict[str, Any] = {
        "feature_names": ["field1", "field2"],
        "tree_structure": [{"node_index": 0, "leaf_value": leaf}],
        "target_type": kind,
    }
    if kind == "classification":
        tree["classification_labels"] = ["no", "yes"]
    return {
        "description": "one leaf",
        "input": {"field_names": ["field1", "field2"]},
        "inference_config": {kind: {}},
        "definition": {"preprocessors": [], "trained_model": {"tree": tree}},
        **extra,
    }
