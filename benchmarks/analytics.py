"""Analytics in the sandbox: training beside other requests, inference through a pipeline, outliers, and quality."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch, helpers

from benchmarks.requests import ask_until
from benchmarks.server import Served, served

ROWS, FEATURES = 50_000, 20
SCORED, BULK = 20_000, 1000


def run() -> None:
    """Print times, rates and the slowest answer that others got meanwhile."""
    with (
        served() as server, Elasticsearch(server.url, request_timeout=120) as client,
        served() as other, Elasticsearch(other.url, request_timeout=120) as idle,
    ):  # fmt: skip
        _fill(client)
        _fill(idle)
        label, numbers = "label", [f"f{i}" for i in range(FEATURES - 2)]
        fields = [*numbers, "who", "what"]
        model = _job(
            client,
            server,
            idle,
            "classification",
            {"classification": {"dependent_variable": label, "randomize_seed": 1}},
            [*fields, label],
        )
        _job(
            client,
            server,
            idle,
            "regression",
            {"regression": {"dependent_variable": "f0", "randomize_seed": 1}},
            fields,
        )
        _job(client, server, idle, "outlier-detection", {"outlier_detection": {}}, numbers)
        for importance in (0, 5):
            _score(client, model, importance)
    _quality()


def _fill(client: Elasticsearch) -> None:
    """ROWS documents of FEATURES fields, two of them texts, and a label that follows from some of them."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(ROWS, FEATURES - 2)).round(4)
    who, what = generator.integers(0, 400, ROWS), generator.integers(0, 12, ROWS)
    odds = 1.5 * x[:, 0] + x[:, 1] * x[:, 2] + 1.2 * (what == 3) + 0.8 * (who % 9 == 0) - 2.0
    labels = generator.random(ROWS) < 1 / (1 + np.exp(-odds))
    properties: dict[str, Any] = {f"f{i}": {"type": "double"} for i in range(FEATURES - 2)}
    properties |= {name: {"type": "keyword"} for name in ("who", "what", "label")}
    client.indices.create(index="rows", mappings={"properties": properties})
    helpers.bulk(
        client,
        (
            {
                "_index": "rows",
                "_id": f"{row:06}",
                **{f"f{i}": value for i, value in enumerate(values)},
                "who": f"user {who[row]}",
                "what": f"kind {what[row]}",
                "label": "true" if labels[row] else "false",
            }
            for row, values in enumerate(x.tolist())
        ),
        chunk_size=5000,
        refresh=True,
    )
    judged = [{"_index": "judged", "judged": row % 3 == 0, "chance": row / 60} for row in range(60)]
    helpers.bulk(client, judged, refresh=True)


def _job(
    client: Elasticsearch, server: Served, idle: Elasticsearch, name: str, analysis: dict[str, Any], fields: list[str]
) -> str:
    """Run a job to its end while asking other things; returns its model's id, empty where it makes none."""
    source, dest = {"index": "rows"}, {"index": f"results-{name}"}
    client.ml.put_data_frame_analytics(id=name, source=source, dest=dest, analysis=analysis, analyzed_fields=fields)
    client.ml.start_data_frame_analytics(id=name)
    began, state = time.perf_counter(), "started"

    def ended() -> bool:
        nonlocal state
        state = client.ml.get_data_frame_analytics_stats(id=name)["data_frame_analytics"][0]["state"]
        return state in {"stopped", "failed"}

    evaluation = {"outlier_detection": {"actual_field": "judged", "predicted_probability_field": "chance"}}

    def calls(es: Elasticsearch) -> list[Any]:
        return [
            lambda: es.get(index="rows", id="000001"),
            lambda: es.search(index="rows", size=1),
            lambda: es.search(index=dest["index"] if es is client else "rows", size=1, ignore_unavailable=True),
            lambda: es.count(index="rows"),
            lambda: es.esql.query(query="FROM judged | LIMIT 1"),
            lambda: es.ml.evaluate_data_frame(index="judged", evaluation=evaluation),
            es.cluster.health,
        ]

    print(f"  {name:18} {ROWS} x {len(fields)}")
    ask_until(client, server, idle, calls, ended)
    print(f"    {state} after              {time.perf_counter() - began:.1f} s, with these requests", flush=True)
    configs = client.ml.get_trained_models(tags=name)["trained_model_configs"]
    return str(configs[0]["model_id"]) if configs else ""


def _quality() -> None:
    """Areas under the curve on LendPath's events of later days; the sandbox's figures, not Elasticsearch's."""
    from sandbox.ml_lendpath import read, sandbox_scores, tuned_scores
    from sklearn.metrics import roc_auc_score

    for seed in (11, 12, 13):
        train, judged = read(0, 9, seed), read(9, 12, seed)
        found = roc_auc_score(judged.misuse, sandbox_scores(train, judged))
        tuned = roc_auc_score(judged.misuse, tuned_scores(train, judged))
        print(f"  LendPath, seed {seed}, {len(train)} events: AUC {found:.3f}, xgboost tuned {tuned:.3f}", flush=True)


def _score(client: Elasticsearch, model: str, importance: int) -> None:
    """Bulk documents through a pipeline with the model, beside the same without it."""
    options = {"classification": {"num_top_feature_importance_values": importance}}
    processor = {"model_id": model, "target_field": "ml", "inference_config": options}
    client.ingest.put_pipeline(id="score", processors=[{"inference": processor}])
    hits = client.search(index="rows", size=BULK)["hits"]["hits"]
    count = SCORED if not importance else SCORED // 4
    body = b"".join(b'{"index":{}}\n' + json.dumps(hit["_source"]).encode() + b"\n" for hit in hits)
    rates = []
    for pipeline in (None, "score"):
        index = f"scored-{pipeline}-{importance}".lower()
        client.bulk(index=index, body=body, pipeline=pipeline)  # mapping and model are made once
        began = time.perf_counter()
        for _ in range(count // BULK):
            client.bulk(index=index, body=body, pipeline=pipeline)
        rates.append(count / (time.perf_counter() - began))
    print(
        f"  inference by pipeline, {importance} importance values: {rates[1]:8,.0f} docs/s"
        f"   without inference {rates[0]:8,.0f}",
        flush=True,
    )
