"""What a run of a partition does, for every order of runs, late documents, and runs that die in the middle."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from elastic_ml.exceptions import InvalidRequestError
from elastic_ml.project.anomaly_partitions import (
    EMPTY,
    KEY,
    Closing,
    Learnt,
    expectation,
    plan,
    successor_plan,
)

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
KEEP = timedelta(days=5)


def day(number: int) -> datetime:
    return FIRST + timedelta(days=number)


class Runs(RuleBasedStateMachine):
    """A job whose model is the list of documents it has seen, and whose snapshots are copies of that list.

    Days run in any order, documents arrive at any day, and a run may die before any of its steps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.data: dict[int, list[int]] = {number: [1000 * number] for number in range(12)}
        self.model: list[int] = []
        self.snapshots: dict[str, list[int]] = {EMPTY: []}
        self.settings: Mapping[str, object] | None = None
        self.retained: set[str] = set()
        self.sound: set[int] = set()
        """Days whose documents the model has to know exactly: learnt, and nothing was added since."""
        self.current = EMPTY

    def job(self) -> dict[str, object]:
        return {"model_snapshot_id": self.current, "custom_settings": {KEY: self.settings} if self.settings else {}}

    def documents(self, start: datetime, end: datetime) -> list[int]:
        return [one for number, found in sorted(self.data.items()) if start <= day(number) < end for one in found]

    @rule(number=st.integers(0, 11))
    def a_document_arrives(self, number: int) -> None:
        self.data[number].append(1000 * number + len(self.data[number]))
        self.sound.discard(number)

    @rule(number=st.integers(0, 11), steps=st.integers(0, 12), always=st.booleans())
    def a_day_is_run(self, number: int, steps: int, always: bool) -> None:
        """Run a day; it dies after that many steps if it needs more, and half of the time never."""
        budget = steps if steps % 2 else 10_000
        learnt = Learnt.of(self.job())
        begin, end = day(number), day(number + 1)
        try:
            planned = plan(
                learnt,
                begin,
                end,
                keep=KEEP,
                count=lambda start, until: len(self.documents(start, until)),
                replay="always" if always else "changed",
            )
        except InvalidRequestError:
            assert learnt.newest is not None
            assert begin < learnt.newest - KEEP, "only what is too old is refused"
            return
        if planned is None:
            assert number in self.sound or number not in self.data
            return
        if planned.revert_to is not None:
            if budget <= 0:
                return
            self.settings = expectation(learnt, learnt, planned.start, {end, planned.until}).to_settings()
            self.sound = {one for one in self.sound if day(one) < planned.start}
            if budget <= 1:
                return
            assert planned.revert_to == EMPTY or planned.revert_to in self.retained, "the snapshot may be pruned"
            self.model = list(self.snapshots[planned.revert_to])
            self.current = planned.revert_to
            budget -= 2
        at = planned.start
        while at < planned.until:
            if budget <= 0:
                return
            learnt = Learnt.of(self.job())
            before = learnt.base if learnt.start is None else learnt.checkpoint(at)[1]
            stop = learnt.next_end(at, planned.until)
            count = len(self.documents(at, stop))
            self.model += self.documents(at, stop)
            self.current = f"s{len(self.snapshots)}"
            self.snapshots[self.current] = list(self.model)
            self.retained.add(self.current)
            if learnt.start is None:
                learnt = Learnt(base=before)
            learnt, released = learnt.closed(at, stop, Closing(self.current, count), KEEP)
            self.retained -= set(released)
            self.settings = learnt.to_settings()
            self.sound |= {one for one in self.data if at <= day(one) < stop}
            at, budget = stop, budget - 1

    @invariant()
    def what_was_learnt_is_known_exactly_once(self) -> None:
        learnt = Learnt.of(self.job())
        if learnt.pending or learnt.start is None:
            return
        for number in self.sound:
            for document in self.data[number]:
                assert self.model.count(document) == 1, number

    @invariant()
    def every_recorded_snapshot_is_retained_and_only_those(self) -> None:
        learnt = Learnt.of(self.job())
        if learnt.start is not None:
            recorded = {learnt.base, *(one.snapshot for one in learnt.ends.values())} - {EMPTY}
            assert recorded <= self.retained
            assert len(learnt.ends) <= KEEP.days + 12


TestRuns = Runs.TestCase
TestRuns.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def learnt(*days: int, pending: tuple[int, ...] = ()) -> Learnt:
    ends = {day(one): Closing(f"s{one}", None if one in pending else 10) for one in days}
    return Learnt(day(0), EMPTY, ends)


def test_the_record_survives_being_kept():
    kept = learnt(1, 2, pending=(2,))
    assert Learnt.of({"custom_settings": {KEY: kept.to_settings()}}) == kept


def test_a_replay_that_died_is_taken_up_however_old_it_is():
    kept = learnt(1, 2, 3, 10, pending=(2, 3, 10))
    planned = plan(kept, day(11), day(12), keep=KEEP, count=lambda start, until: 0)
    assert planned is not None
    assert (planned.start, planned.until, planned.revert_to) == (day(1), day(12), "s1")


def test_a_job_that_others_ran_before_is_based_on_the_snapshot_it_has():
    assert Learnt.of({"model_snapshot_id": "17"}) == Learnt(None, "17")


def test_a_partition_before_what_an_adopted_job_can_tell_apart_is_refused():
    kept = Learnt(day(3), "17", {day(4): Closing("s4", 10)})
    with pytest.raises(InvalidRequestError, match="before what this job can tell apart"):
        plan(kept, day(1), day(2), keep=KEEP, count=lambda start, until: 0)


def test_a_revert_by_hand_marks_what_ended_later():
    kept = learnt(1, 2, 3)
    assert kept.since("s1", 0).pending == [day(2), day(3)]
    assert kept.since(EMPTY, -1).pending == [day(1), day(2), day(3)]


def test_a_revert_by_hand_into_the_middle_of_a_partition_marks_that_too():
    middle = round((day(1) + timedelta(hours=6)).timestamp() * 1000)
    assert learnt(1, 2, 3).since("by hand", middle).pending == [day(2), day(3)]


def test_a_revert_further_back_than_the_record_becomes_its_base():
    kept = Learnt(day(5), "s5", {day(6): Closing("s6", 10)})
    back = kept.since("s2", round(day(2).timestamp() * 1000))
    assert (back.start, back.base, back.pending) == (day(2), "s2", [day(6)])


def test_a_successor_stops_where_the_job_before_it_stopped():
    old = learnt(1, 2)
    planned = successor_plan(old, day(0) - timedelta(hours=5), day(2), day(3))
    assert (planned.start, planned.until) == (day(0) - timedelta(hours=5), day(3))
    expected = expectation(Learnt(), old, planned.start, {day(3)})
    assert expected.pending == [day(0), day(1), day(2), day(3)]
