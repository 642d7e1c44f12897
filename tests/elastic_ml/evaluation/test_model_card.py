"""The card: what it measures, warns of and shows."""

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from clinic.world import CLINIC

from elastic_ml.evaluation.model_card import (
    Holdout,
    baselines,
    figures,
    importance_of,
    judge,
    limits_of,
    render_html,
    render_markdown,
)
from elastic_ml.project import load_project


def holdout(kind: str, *, champion: bool) -> Holdout:
    generator = np.random.default_rng(1)
    truth = generator.random(600) < 0.2 if kind == "classification" else generator.normal(size=600)
    ours = np.clip(truth * 0.4 + generator.random(600) * 0.5, 0, 1) if kind == "classification" else truth + 0.1
    theirs = generator.random(600) if kind == "classification" else truth + 0.5
    return Holdout(
        labels=truth,
        days=["2026-11-11", "2026-11-12"] * 300,
        challenger=ours,
        champion=theirs if champion else None,
        inputs={"action": ["a", "b", None] * 200, "records": [1, 2.5, None] * 200, "both": [["x", "y"], "x"] * 300},
    )


def card(kind: str, *, champion: bool) -> dict[str, Any]:
    rows = holdout(kind, champion=champion)
    found: dict[str, Any] = {
        "model_name": "m",
        "model_id": "m-1 <script>",
        "kind": kind,
        "description": "d",
        "owner": "o",
        "day": "2026-11-16",
        "windows": {
            "train_start": "a",
            "train_end": "b",
            "holdout_start": "b",
            "holdout_end": "c",
            "label_delay": "2d",
        },
        "features": ["action"],
        "importance": [{"feature": "action", "importance": 0.5}],
        "kept": {"true": 1.0, "false": 0.25} if kind == "classification" else {},
        "rows": {"train": 5, "train_positives": 1, "train_set": 4, "holdout": 600, "holdout_positives": 120},
        "champion": "m-0" if champion else None,
        "metrics": judge(rows, kind=kind, capacity=5),
        "readiness": {"warnings": ["one warning."]},
        "triggered": {"by": None, "word": "drift"},
    }
    found["limits"] = limits_of(found)
    return found


class Balance(HTMLParser):
    """Keeps the open tags; void elements have no end, and what closes itself is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("champion", [True, False])
def test_a_card_is_shown_as_markdown_and_as_a_page_of_its_own(kind: str, champion: bool) -> None:
    shown, templates = card(kind, champion=champion), load_project(CLINIC).templates
    markdown = render_markdown(shown, templates)
    assert ("m-0" in markdown) is champion
    assert ("minus champion" in markdown) is champion
    assert "requested by **drift**" in markdown
    assert "one warning." in markdown
    page = Balance()
    html = render_html(shown, templates)
    page.feed(html)
    assert page.open == []
    assert "<script>" not in html


def test_the_better_model_is_better_in_every_difference() -> None:
    for kind in ("classification", "regression"):
        for difference in judge(holdout(kind, champion=True), kind=kind, capacity=5)["difference"].values():
            assert difference["low"] > 0


def test_figures_are_scalars_for_gates_and_events() -> None:
    found = figures(card("classification", champion=False)["metrics"]["challenger"])
    assert {"auc_roc", "average_precision", "brier", "precision_at_capacity", "recall_at_capacity"} <= set(found)
    assert all(isinstance(value, float) for value in found.values())
    assert set(figures(card("regression", champion=False)["metrics"]["challenger"])) == {
        "r_squared",
        "mean_absolute_error",
    }


def test_limits_name_the_sampling_and_the_readiness_warnings() -> None:
    sentences = " ".join(card("classification", champion=False)["limits"])
    assert "25.0% of false kept" in sentences
    assert "one warning." in sentences


def test_baselines_hold_every_feature_and_the_score() -> None:
    found = baselines(holdout("classification", champion=False))
    assert {name: entry["kind"] for name, entry in found.items()} == {
        "_score": "numeric",
        "action": "keyword",
        "records": "numeric",
        "both": "keyword",
    }
    assert found["action"]["missing"] == 200
    assert found["both"]["counts"] == [600]


def test_importance_is_the_largest_magnitude_over_classes() -> None:
    classes = [{"class_name": True, "importance": {"mean_magnitude": m, "min": 0, "max": 0}} for m in (0.1, 0.4)]
    found = importance_of(
        [
            {"feature_name": "b", "importance": {"mean_magnitude": 0.2}},
            {"feature_name": "a", "classes": classes},
        ]
    )
    assert found == [{"feature": "a", "importance": 0.4}, {"feature": "b", "importance": 0.2}]
