"""The life of an alert over many runs: delays, flapping, and what Kibana's own tests expect of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox.kibana.conftest import Kibana

from elastic_sandbox.kibana.alerts import DEFAULT_FLAPPING, Alert, Outcome, next_alerts


class Life:
    """One alert through runs; `True` is a run in which it is reported."""

    def __init__(self, *, delay: int = 0, **flapping: Any) -> None:
        self.settings = {**DEFAULT_FLAPPING, **flapping}
        self.delay = delay
        self.active: dict[str, Alert] = {}
        self.recovered: dict[str, Alert] = {}
        self.minute = 0

    def run(self, reported: bool) -> Outcome:
        self.minute += 1
        found = next_alerts(
            self.active,
            self.recovered,
            {"a": {}} if reported else {},
            f"2026-03-02T12:{self.minute:02}:00.000Z",
            flapping=self.settings,
            delay=self.delay,
        )
        # As the next run finds it: what is kept goes through its stored form.
        self.active = {name: Alert.load(name, one.saved()) for name, one in found.tracked_active.items()}
        self.recovered = {
            name: Alert.load(name, one.saved(recovered=True)) for name, one in found.tracked_recovered.items()
        }
        return found

    def runs(self, pattern: str) -> list[str]:
        """`A` is reported, `-` is not; each run's state: `new`, `on`, `rec`, nothing."""
        said = []
        for letter in pattern:
            found = self.run(letter == "A")
            said.append("new" if found.new else "on" if found.active else "rec" if found.recovered else "")
        return said


def test_without_flapping_an_alert_opens_and_closes_at_once() -> None:
    assert Life(enabled=False).runs("A-A-A-A-") == ["new", "rec"] * 4


def test_four_changes_within_twenty_runs_make_an_alert_flap_and_its_recovery_wait() -> None:
    # Changes before a run count: the fifth activation finds four of them.
    life = Life()
    assert life.runs("A-A-A") == ["new", "rec", "new", "rec", "new"]
    # Five changes are remembered now; recovering takes four runs in a row without a report.
    assert life.runs("----") == ["on", "on", "on", "rec"]


def test_a_report_in_between_starts_the_wait_anew() -> None:
    life = Life()
    life.runs("A-A-A")
    assert life.runs("---A---") == ["on", "on", "on", "on", "on", "on", "on"]
    assert life.runs("-") == ["rec"]


def test_an_alert_stops_flapping_when_a_whole_window_was_calm() -> None:
    life = Life()
    life.runs("A-A-A" + "-")
    assert life.active["a"].flapping
    life.runs("A" * 25)
    assert not life.active["a"].flapping
    assert life.runs("-") == ["rec"]


def test_a_rules_own_settings_count() -> None:
    life = Life(look_back_window=4, status_change_threshold=2)
    assert life.runs("A-A--") == ["new", "rec", "new", "on", "rec"]


def test_recovered_alerts_are_forgotten_when_their_history_is_calm() -> None:
    life = Life(look_back_window=3, status_change_threshold=3)
    life.runs("A-")
    assert life.recovered
    life.runs("---")
    assert life.recovered == {}


def test_a_delayed_alert_is_told_of_after_so_many_runs_in_a_row() -> None:
    assert Life(delay=3).runs("AA-AAAA-") == ["", "", "", "", "", "new", "on", "rec"]


def test_the_limit_of_alerts_lets_nothing_recover() -> None:
    life = Life()
    life.run(True)
    settings_ = {**DEFAULT_FLAPPING, "enabled": False}
    found = next_alerts(
        life.active, {}, {}, "2026-03-02T13:00:00.000Z", flapping=settings_, delay=0, limit_reached=True
    )
    assert list(found.active) == ["a"]


@settings(max_examples=50, deadline=None)
@given(pattern=st.text(alphabet="A-", max_size=40), delay=st.integers(0, 3))
def test_every_alert_that_was_told_of_is_closed_once_it_stays_away(pattern: str, delay: int) -> None:
    life = Life(delay=delay)
    said = life.runs(pattern + "-" * 10)
    assert said.count("new") == said.count("rec")
    assert not life.active
    opened = 0
    for word in said:
        opened += {"new": 1, "rec": -1}.get(word, 0)
        assert opened in {0, 1}


@pytest.mark.parametrize(("pattern", "flapping"), [("A-A-A-A-A", True), ("AAAAAAAA", False), ("A-A", False)])
def test_the_document_says_whether_its_alert_flaps(watched: Kibana, pattern: str, flapping: bool) -> None:
    watched.rule(params={"timeWindowSize": 30, "timeWindowUnit": "s"})
    for letter in pattern:
        watched.sandbox.clock.advance(59)
        watched.calls("fraud", 3 if letter == "A" else 0)
        watched.pass_time(1)
    newest = max(watched.alerts(), key=lambda one: one["kibana.alert.start"])
    assert newest["kibana.alert.flapping"] is flapping
    assert len(newest["kibana.alert.flapping_history"]) <= 20


def test_a_flapping_alert_is_told_of_less_often(watched: Kibana) -> None:
    from sandbox.kibana.conftest import action

    watched.rule(params={"timeWindowSize": 30, "timeWindowUnit": "s"}, actions=[action(), action("recovered")])
    for letter in "A-A-A-A-A-A-A-A-":
        watched.sandbox.clock.advance(59)
        watched.calls("fraud", 3 if letter == "A" else 0)
        watched.pass_time(1)
    told = [one["group"] for one in watched.found("told")]
    assert told == ["query matched", "recovered", "query matched", "recovered", "query matched"]
