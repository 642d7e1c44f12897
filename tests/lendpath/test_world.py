"""LendPath's data: reproducible, without a label in it, and neither trivial nor hopeless to learn."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from functools import cache

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from lendpath import feeds
from lendpath.behaviour import ACTIONS, COUNTRIES, KINDS, MFA
from lendpath.events import EventDay, make_day
from lendpath.people import ROLES
from lendpath.truth import kind_priors, posterior
from lendpath.verdicts import CONFIRMED, decide

SEED = 11
FIRST = date(2026, 11, 1)


@cache
def day(seed: int, offset: int) -> EventDay:
    return make_day(seed, FIRST + timedelta(days=offset))


def confirmed(events: EventDay) -> np.ndarray:
    verdicts = decide(events)
    found = np.zeros(len(events), dtype=bool)
    found[verdicts.event[[verdict == CONFIRMED for verdict in verdicts.verdict]]] = True
    return found


def features(events: EventDay) -> np.ndarray:
    """What a model may see of an event: one-hot categories, then numbers; shape (events, columns)."""
    role = events.world.roles[events.person]
    categories = ((events.action, ACTIONS), (events.country, COUNTRIES), (events.mfa, MFA), (role, ROLES))
    one_hot = [np.eye(len(names))[values] for values, names in categories]
    numbers = (
        events.failed,
        events.new_device,
        events.vpn,
        events.records,
        events.gap_seconds,
        events.discount_bps,
        events.failures,
        events.local_hour,
        events.position,
    )
    return np.hstack([*one_hot, np.stack(numbers, axis=1).astype(float)])


def test_a_day_is_the_same_bytes_whenever_and_wherever_it_is_made():
    make_day(SEED, FIRST + timedelta(days=1))  # whatever was drawn before does not matter
    assert list(make_day(SEED, FIRST).raw()) == list(day(SEED, 0).raw())
    assert list(make_day(SEED + 1, FIRST).raw()) != list(day(SEED, 0).raw())


def test_an_event_carries_neither_its_kind_nor_a_verdict():
    text = b"\n".join(day(SEED, 0).raw()).decode()
    names = [kind.name for kind in KINDS if kind.name != "travel"]
    assert not [word for word in [*names, "malicious", "verdict", "confirmed", "suspicious"] if word in text]


def test_every_event_lies_in_its_utc_day_in_order_with_an_id_of_its_own():
    events = day(SEED, 0)
    start = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC).timestamp() * 1000
    assert start <= events.time_ms.min() <= events.time_ms.max() < start + 86_400_000
    assert np.all(np.diff(events.time_ms) >= 0)
    assert len(set(events.ids)) == len(events) == 4000


@pytest.mark.parametrize("prevalence", [0.001, 0.015, 0.05])
def test_the_prevalence_is_what_was_asked_for(prevalence):
    events = make_day(SEED, FIRST, prevalence=prevalence)
    assert events.malicious.mean() == pytest.approx(prevalence, abs=1e-3)
    assert kind_priors(prevalence).sum() == pytest.approx(1.0)


def test_parameters_out_of_range_are_refused_by_name():
    with pytest.raises(ValueError, match=r"prevalence=0.5"):
        make_day(SEED, FIRST, prevalence=0.5)


def test_people_work_by_their_own_clock():
    events = day(SEED, 0)
    routine = events.kind == 0
    assert np.isin(events.local_hour[routine], range(7, 19)).mean() > 0.85
    record = json.loads(next(day(SEED, 0).raw()))
    assert record["zone"] == "UTC" or record["zone"].startswith("America/")


def test_everything_an_attacker_shows_some_honest_person_shows_too():
    honest, bad = [], []
    for offset in range(9):
        rows = features(day(SEED, offset))
        mask = day(SEED, offset).malicious
        honest.append(rows[~mask])
        bad.append(rows[mask])
    one_hot = len(ACTIONS) + len(COUNTRIES) + len(MFA) + len(ROLES) + 3
    assert np.all(np.vstack(honest)[:, :one_hot].max(axis=0) >= np.vstack(bad)[:, :one_hot].max(axis=0))


@pytest.mark.parametrize("seed", range(11, 21))
def test_a_tree_model_passes_the_gate_and_no_single_field_gives_the_answer_away(seed):
    import xgboost

    training, holdout = [day(seed, n) for n in range(9)], [day(seed, n) for n in range(9, 12)]
    x, y = np.vstack([features(d) for d in training]), np.concatenate([confirmed(d) for d in training])
    x_later, y_later = np.vstack([features(d) for d in holdout]), np.concatenate([confirmed(d) for d in holdout])
    model = xgboost.XGBClassifier(n_estimators=120, max_depth=4, learning_rate=0.1, n_jobs=2).fit(x, y)
    scores = model.predict_proba(x_later)[:, 1]
    best = np.concatenate([posterior(d, 0.015) for d in holdout])

    assert 0.80 < roc_auc_score(y_later, scores) < 0.97
    assert average_precision_score(y_later, scores) > 0.30
    assert average_precision_score(y_later, scores) < average_precision_score(y_later, best) + 0.02
    alone = [roc_auc_score(y_later, column) for column in x_later.T]
    assert max(max(auc, 1 - auc) for auc in alone) < 0.95


def test_verdicts_come_late_and_every_confirmed_event_is_decided_within_two_days():
    verdicts = decide(day(SEED, 0))
    hours = (verdicts.decided_ms - day(SEED, 0).time_ms[verdicts.event]) / 3_600_000
    assert 6 <= hours.min() <= hours.max() <= 40


def test_verdicts_miss_some_and_accuse_few():
    truth = np.concatenate([day(SEED, n).malicious for n in range(9)])
    found = np.concatenate([confirmed(day(SEED, n)) for n in range(9)])
    assert 0.85 < found[truth].mean() < 0.97
    assert 0 < found[~truth].mean() < 0.001


def test_each_decision_is_delivered_on_exactly_one_day():
    start = datetime(2026, 11, 3, tzinfo=UTC)
    delivered = [
        json.loads(line)
        for n in range(4)
        for line in feeds.verdicts(start + timedelta(days=n), start + timedelta(days=n + 1))
    ]
    about = [record for record in delivered if record["event_time"].startswith("2026-11-03")]
    assert len({record["decision_id"] for record in delivered}) == len(delivered)
    assert len(about) == len(decide(make_day(SEED, date(2026, 11, 3))).event)


def test_the_feed_of_an_hour_is_the_part_of_the_day_that_falls_into_it():
    whole = list(feeds.internal_audit(datetime(2026, 11, 3, tzinfo=UTC), datetime(2026, 11, 4, tzinfo=UTC)))
    hours = [
        record
        for hour in range(24)
        for record in feeds.internal_audit(
            datetime(2026, 11, 3, hour, tzinfo=UTC), datetime(2026, 11, 3, hour, tzinfo=UTC) + timedelta(hours=1)
        )
    ]
    assert hours == whole
