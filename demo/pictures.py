"""Three pictures of the tour's model, drawn without a browser: scores, precision against recall, features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from elastic_ml.evaluation.ranking import precision_recall_curve

_TEAL, _PINK, _GREY = "#00857A", "#F04E98", "#98A2B3"
_WIDTH, _HEIGHT = 640, 340


def draw_pictures(
    folder: Path,
    *,
    labels: np.ndarray,
    scores: np.ndarray,
    ceiling: np.ndarray,
    importance: dict[str, float],
    capacity_threshold: float,
) -> list[Path]:
    """Write the pictures as PNG and return their paths.

    :param labels: shape (rows,), whether each holdout event was confirmed.
    :param scores: shape (rows,), the model's corrected probability for the same rows, in [0, 1].
    :param ceiling: shape (rows,), the best achievable probability for the same rows.
    :param importance: mean magnitude of each feature's contribution, any unit.
    :param capacity_threshold: the lowest score that reviewers would get to see.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _save(_score_distribution(labels, scores, capacity_threshold), folder / "score_distribution.png"),
        _save(_precision_recall(labels, scores, ceiling), folder / "precision_recall.png"),
        _save(_top_features(importance), folder / "top_features.png"),
    ]


def _save(chart: Any, path: Path) -> Path:
    chart.configure_view(strokeOpacity=0).configure_axis(
        labelFontSize=12, titleFontSize=13, titleFontWeight="normal", gridColor="#EEF1F6", domainColor=_GREY
    ).configure_title(fontSize=16, anchor="start", offset=14, subtitleColor="#59626F", subtitleFontSize=12).save(
        str(path), scale_factor=2
    )
    return path


def _score_distribution(labels: np.ndarray, scores: np.ndarray, capacity_threshold: float) -> Any:
    import altair as alt

    edges = np.linspace(0.0, 1.0, 41)
    rows = []
    for name, chosen in (("not confirmed", ~labels), ("confirmed by a reviewer", labels)):
        share = np.histogram(scores[chosen], edges)[0] / max(1, chosen.sum())
        rows += [
            {"from": float(a), "to": float(b), "share": float(s), "events": name}
            for a, b, s in zip(edges[:-1], edges[1:], share, strict=True)
            if s > 0
        ]
    color = alt.Color(
        "events:N",
        scale=alt.Scale(domain=["not confirmed", "confirmed by a reviewer"], range=[_TEAL, _PINK]),
        legend=alt.Legend(title=None, orient="top-right"),
    )
    # The square root keeps both the crowd near zero and the few near one in sight.
    bars = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(opacity=0.65)
        .encode(
            x=alt.X("from:Q", title="score (corrected probability)", scale=alt.Scale(domain=[0, 1])),
            x2="to:Q",
            y=alt.Y(
                "share:Q",
                stack=None,
                title="share of the group (square-root scale)",
                scale=alt.Scale(type="sqrt", domain=[0, 1]),
                axis=alt.Axis(format="%"),
            ),
            y2=alt.Y2Datum(0),
            color=color,
        )
    )
    line = (
        alt.Chart(alt.Data(values=[{"x": capacity_threshold, "text": "reviewed from here on"}]))
        .mark_rule(strokeDash=[5, 4], color="#343741")
        .encode(x="x:Q")
    )
    text = line.mark_text(align="left", dx=6, dy=-_HEIGHT / 2 + 60, color="#343741").encode(text="text:N")
    return alt.layer(bars, line, text).properties(
        width=_WIDTH,
        height=_HEIGHT,
        title=alt.Title("Most events score near zero, most confirmed ones do not", subtitle="temporal holdout"),
    )


def _precision_recall(labels: np.ndarray, scores: np.ndarray, ceiling: np.ndarray) -> Any:
    import altair as alt

    curves = {
        "the model": _curve(labels, scores),
        "best achievable": _curve(labels, ceiling),
        "chance": [{"recall": recall, "precision": float(labels.mean())} for recall in (0.0, 1.0)],
    }
    rows = [point | {"judge": judge} for judge, points in curves.items() for point in points]
    color = alt.Color(
        "judge:N",
        scale=alt.Scale(domain=list(curves), range=[_PINK, _TEAL, _GREY]),
        legend=alt.Legend(title=None, orient="top-right"),
    )
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=2.5)
        .encode(
            x=alt.X("recall:Q", title="recall: share of confirmed events found", axis=alt.Axis(format="%")),
            y=alt.Y("precision:Q", title="precision: share of flagged events confirmed", axis=alt.Axis(format="%")),
            color=color,
            order="recall:Q",
        )
        .properties(
            width=_WIDTH,
            height=_HEIGHT,
            title=alt.Title(
                "Precision against recall",
                subtitle=f"temporal holdout, {len(labels):,} events, {int(labels.sum())} confirmed",
            ),
        )
    )


def _curve(labels: np.ndarray, scores: np.ndarray) -> list[dict[str, float]]:
    """Return one point per confirmed event found, which is where the curve bends."""
    points = precision_recall_curve(labels, scores, points=len(scores))
    recall = [0.0, *(point["recall"] for point in points)]
    return [
        {"recall": point["recall"], "precision": point["precision"]}
        for point, before in zip(points, recall, strict=False)
        if point["recall"] > before
    ]


def _top_features(importance: dict[str, float]) -> Any:
    import altair as alt

    top = sorted(importance.items(), key=lambda item: -item[1])[:12]
    rows = [{"feature": name, "importance": value} for name, value in top]
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(color=_TEAL, cornerRadiusEnd=3)
        .encode(
            x=alt.X("importance:Q", title="mean magnitude of the feature's contribution (log odds)"),
            y=alt.Y("feature:N", sort="-x", title=None, axis=alt.Axis(labelLimit=240)),
        )
        .properties(width=_WIDTH - 120, height=26 * max(1, len(rows)), title=alt.Title("What the model looks at"))
    )
