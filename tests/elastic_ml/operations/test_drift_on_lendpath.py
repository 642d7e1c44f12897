"""Drift on LendPath's internal audit trail: a quiet month raises nothing, and what is injected is flagged that day.

The columns come straight from the generator, a day in milliseconds, and go through the very functions that card and
monitor use. `make chaos` also walks four whole months and a smaller lender.
"""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest

from elastic_ml.evaluation.drift import count_like, distance, drift_limit
from elastic_ml.evaluation.model_card import Holdout, baselines
from lendpath.events import make_block
from lendpath.scenarios import Parameters

HOLDOUT, PSI_LIMIT = 14, 0.2
Day = dict[str, list[Any]]
Change = Callable[[Day, np.random.Generator], None]


@cache
def audit_day(day: date, events: int) -> Day:
    """The model's inputs of one day, by feature."""
    block = make_block(Parameters(seed=11, events_per_day=events), day)
    trail, sessions = block.internal, block.sessions
    of = trail.session
    columns = {
        "event.action": trail.action.astype(str),
        "event.outcome": np.where(trail.failed, "failure", "success"),
        "source.geo.country_iso_code": sessions.country[of].astype(str),
        "audit.hour": (trail.time_ms // 3_600_000 + sessions.offset[of].astype(int)) % 24,
        "audit.role": sessions.role[of].astype(str),
        "audit.new_device": np.where(sessions.new_device[of], "true", "false"),
        "audit.mfa": sessions.mfa[of].astype(str),
        "audit.session_event": trail.position,
        "audit.records": trail.records,
        "audit.gap_seconds": trail.gap / 10,
        "audit.discount_bps": trail.discount,
        "audit.failures_last_hour": trail.failures,
    }
    return {name: column.tolist() for name, column in columns.items()}


def days_from(first: date, number: int) -> list[date]:
    return [first + timedelta(days=offset) for offset in range(number)]


def card(first: date, events: int) -> dict[str, Any]:
    """The histograms of a model that was judged on the fortnight from `first`."""
    rows: dict[str, list[Any]] = {}
    of_day: list[str] = []
    for day in days_from(first, HOLDOUT):
        columns = audit_day(day, events)
        of_day += [day.isoformat()] * len(columns["audit.hour"])
        for name, values in columns.items():
            rows.setdefault(name, []).extend(values)
    score = np.array(rows["audit.records"], dtype=float)
    return baselines(Holdout(score > 5, of_day, score, None, rows))


def flagged(histograms: dict[str, Any], day: date, events: int, change: Change | None = None) -> dict[str, float]:
    """Breached features of a day and their distances, judged with the days before it where it is a quiet one."""
    fewest = histograms["_score"]["days"]["fewest"]
    window: Day = {}
    for back in range(7):
        columns = {name: list(values) for name, values in audit_day(day - timedelta(days=back), events).items()}
        if change is not None and back == 0:
            change(columns, np.random.default_rng(7))
        for name, values in columns.items():
            window.setdefault(name, []).extend(values)
        if len(columns["audit.hour"]) >= fewest:
            break
    found = {}
    for name, values in window.items():
        psi = distance(histograms[name], count_like(histograms[name], values))
        if psi > drift_limit(histograms[name], PSI_LIMIT):
            found[name] = round(psi, 3)
    return found


def quiet(first: date, number: int, events: int) -> Iterator[tuple[date, dict[str, float]]]:
    histograms = card(first, events)
    for day in days_from(first + timedelta(days=HOLDOUT), number):
        if found := flagged(histograms, day, events):
            yield day, found


def new_countries(columns: Day, generator: np.random.Generator) -> None:
    """An office opens abroad: one event in ten comes from a country that nobody came from before."""
    countries = columns["source.geo.country_iso_code"]
    for row in np.flatnonzero(generator.random(len(countries)) < 0.1):
        countries[row] = "somewhere new"


def shifted_hours(columns: Day, _: np.random.Generator) -> None:
    """A time zone is read wrongly: everybody works three hours later."""
    columns["audit.hour"] = [(hour + 3) % 24 for hour in columns["audit.hour"]]


@pytest.mark.parametrize(
    ("change", "feature"), [(new_countries, "source.geo.country_iso_code"), (shifted_hours, "audit.hour")]
)
def test_injected_drift_is_flagged_on_its_first_day_and_on_its_feature_alone(change: Change, feature: str) -> None:
    first = date(2026, 9, 7)
    histograms = card(first, 4000)
    for day in days_from(first + timedelta(days=HOLDOUT), 5):
        assert list(flagged(histograms, day, 4000, change)) == [feature], day


def test_a_month_with_weekends_a_month_end_and_a_bank_holiday_raises_nothing() -> None:
    # Columbus Day, 12 October, is among them.
    assert list(quiet(date(2026, 9, 7), 30, 4000)) == []


def test_without_the_single_days_a_sunday_would_be_drift() -> None:
    """Why a day is not compared with the mean of all days alone."""
    histograms = card(date(2026, 9, 7), 4000)
    sunday = audit_day(date(2026, 9, 27), 4000)
    hours = {**histograms["audit.hour"], "days": None}
    assert distance(hours, count_like(hours, sunday["audit.hour"])) > 1


@pytest.mark.chaos
@pytest.mark.parametrize("first", [date(2026, 6, 15), date(2026, 9, 7), date(2026, 10, 26), date(2026, 11, 30)])
def test_four_months_of_a_lender_raise_nothing(first: date) -> None:
    assert list(quiet(first, 30, 4000)) == []


@pytest.mark.chaos
@pytest.mark.parametrize("first", [date(2026, 6, 15), date(2026, 9, 7), date(2026, 11, 30)])
def test_a_quarter_of_the_events_never_drifts_two_days_in_a_row_on_one_feature(first: date) -> None:
    """With few sessions a day chance moves more; the model file's two days keep it from asking for a training."""
    found = dict(quiet(first, 30, 1000))
    for day, features in found.items():
        assert not set(features) & set(found.get(day + timedelta(days=1), {})), (day, features)
