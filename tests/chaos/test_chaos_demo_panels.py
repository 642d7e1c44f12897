"""The demo, and the demo again: every panel of every dashboard has rows, over the time that it opens with."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.interrupted_demo import DemoTree

from demo.airflow_server import INCLUDE
from demo.panels import panel_queries
from elastic_ml.kibana_bundle import build_bundle
from elastic_ml.project import load_project


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_every_panel_of_every_dashboard_returns_rows_on_demo_data(tmp_path: Path) -> None:
    queries = list(panel_queries(build_bundle(load_project(INCLUDE)).objects))
    tree = DemoTree.make(tmp_path)
    try:
        first, said = tree.run(), tree.output()
        again = tree.run()
    finally:
        tree.end()
    assert {query.dashboard for query in queries} >= {"ml-model-operations", "ml-fraud-operations"}
    assert first["panels"] == again["panels"] == {"queries": len(queries), "silent": {}}
    assert f"Dashboards: {len(queries)} of {len(queries)} panel queries return rows." in said
    assert "was left out" not in said
    for figure in ("model", "user_hours", "scored_documents", "suspicious_users", "anomalies"):
        assert again[figure] == first[figure]
    for stream, counts in again["documents"].items():
        assert counts["duplicate"] == counts["read"] == first["documents"][stream]["read"]
