"""The pictures of the data card (docs/data.md), drawn from the data itself: `python -m lendpath card`."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from lendpath.events import Block, blocks
from lendpath.scenarios import SCENARIOS, Parameters, plans_on
from lendpath.truth import posterior

_TEAL, _PINK, _GREY = "#00857A", "#F04E98", "#98A2B3"
_FIRST, _DAYS = date(2026, 3, 2), 28
_WEEK = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def draw_card(folder: Path, parameters: Parameters | None = None) -> list[Path]:
    """Write the pictures as SVG and return their paths.

    :param folder: made when it is not there.
    :raises ValueError: altair or vl-convert is not installed; the sentence says how to get them.
    """
    try:
        import altair  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError as missing:
        raise ValueError(f"{missing.name} is not installed: pip install altair vl-convert-python") from None
    parameters = parameters or Parameters()
    made = [block for n in range(_DAYS) for block in blocks(parameters, _FIRST.toordinal() + n)]
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        "data-volume": _volume(made),
        "data-prevalence": _prevalence(parameters),
        "data-overlap": _overlap(made),
    }
    return [_save(chart, folder / f"{name}.svg") for name, chart in pictures.items()]


def _save(chart: Any, path: Path) -> Path:
    import vl_convert

    chart = chart.configure_view(strokeOpacity=0).configure_axis(
        labelFontSize=11, titleFontSize=12, titleFontWeight="normal", gridColor="#EEF1F6", domainColor=_GREY
    )
    chart = chart.configure_title(fontSize=14, anchor="start", offset=10, subtitleColor="#59626F", subtitleFontSize=11)
    path.write_text(vl_convert.vegalite_to_svg(chart.to_json()), encoding="utf-8")
    return path


def _volume(made: list[Block]) -> Any:
    """Draw mean events per local hour and weekday, honest and harmful, of the internal trail."""
    import altair as alt

    hours, weekdays, harm = [], [], []
    for block in made:
        events, offset = block.internal, block.sessions.offset[block.internal.session]
        local = events.time_ms / 3_600_000 + offset
        hours.append(local % 24)
        weekdays.append((local // 24 + 3) % 7)
        harm.append(events.harm)
    hour, weekday, bad = (np.concatenate(parts).astype(int) for parts in (hours, weekdays, harm))
    parts = []
    for chosen, name, dark in ((bad == 0, "honest work", _TEAL), (bad == 1, "harm", _PINK)):
        counts = np.zeros((7, 24))
        np.add.at(counts, (weekday[chosen], hour[chosen]), 7 / _DAYS)
        rows = [
            {"hour": h, "day": _WEEK[d], "events": round(float(counts[d, h]), 2)} for d in range(7) for h in range(24)
        ]
        parts.append(
            alt.Chart(alt.Data(values=rows))
            .mark_rect()
            .encode(
                x=alt.X("hour:O", title="local hour", axis=alt.Axis(labelAngle=0, values=list(range(0, 24, 3)))),
                y=alt.Y("day:O", sort=list(_WEEK), title=None),
                color=alt.Color(
                    "events:Q", scale=alt.Scale(range=["#F5F7FA", dark]), legend=alt.Legend(title="events an hour")
                ),
            )
            .properties(width=520, height=120, title=alt.Title(name))
        )
    return alt.vconcat(*parts).resolve_scale(color="independent")


def _prevalence(parameters: Parameters) -> Any:
    """Draw events that do harm per day and scenario, over a quarter: nothing is there every day."""
    import altair as alt

    rows = []
    for day in range(_FIRST.toordinal(), _FIRST.toordinal() + 91):
        plans = plans_on(parameters, day)
        found = dict.fromkeys((scenario.name for scenario in SCENARIOS), 0)
        for block in blocks(parameters, day):
            events = block.internal
            for number in block.sessions.plan[events.session[events.harm]].tolist():
                found[SCENARIOS[plans[number].scenario].name] += 1
        rows += [{"day": f"{date.fromordinal(day)}", "events": n, "scenario": name} for name, n in found.items() if n]
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_bar()
        .encode(
            x=alt.X("day:T", title=None, axis=alt.Axis(format="%d %b")),
            y=alt.Y("events:Q", title="harmful events a day"),
            color=alt.Color(
                "scenario:N", legend=alt.Legend(title=None, orient="top"), scale=alt.Scale(scheme="tableau10")
            ),
        )
        .properties(
            width=620,
            height=200,
            title=alt.Title(
                f"Harm comes in episodes: {parameters.prevalence:.1%} over a year, more or less on a day",
                subtitle="what really happened; the feeds do not say it",
            ),
        )
    )


def _overlap(made: list[Block]) -> Any:
    """Draw how some fields are spread among honest and harmful events, and how well they tell them apart."""
    import altair as alt

    def of(get: Any) -> np.ndarray:
        return np.concatenate([np.asarray(get(block), dtype=float) for block in made])

    bad = of(lambda b: b.internal.harm) > 0
    fields = {
        "hour (local)": of(
            lambda b: (b.internal.time_ms / 3.6e6 + b.sessions.offset[b.internal.session]) % 24 // 2 * 2
        ),
        "records (log2)": of(lambda b: np.floor(np.log2(b.internal.records + 1))),
        "gap_seconds (log2)": of(lambda b: np.floor(np.log2(b.internal.gap / 10 + 1))),
        "failures_last_hour": of(lambda b: b.internal.failures),
        "risk score of the session": of(lambda b: b.sessions.score[b.internal.session] // 10 * 10),
        "log odds of the best judge": of(lambda b: np.round(np.clip(_log_odds(posterior(b)), -10, 6))),
    }
    charts = []
    for name, values in fields.items():
        rows = []
        for group, chosen in (("honest", ~bad), ("harm", bad)):
            levels, counts = np.unique(values[chosen], return_counts=True)
            rows += [
                {"value": float(v), "share": round(float(n / chosen.sum()), 4), "events": group}
                for v, n in zip(levels, counts, strict=True)
            ]
        charts.append(
            alt.Chart(alt.Data(values=rows))
            .mark_line(interpolate="monotone", strokeWidth=2)
            .encode(
                x=alt.X("value:Q", title=name),
                y=alt.Y("share:Q", title=None, axis=alt.Axis(format="%", tickCount=4)),
                color=alt.Color(
                    "events:N",
                    scale=alt.Scale(domain=["honest", "harm"], range=[_TEAL, _PINK]),
                    legend=alt.Legend(title=None, orient="top"),
                ),
            )
            .properties(width=185, height=110)
        )
    return alt.concat(*charts, columns=3).properties(
        title=alt.Title("Every field overlaps; all of them together do less", subtitle="share of each group's events")
    )


def _log_odds(probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.log(clipped / (1 - clipped))
