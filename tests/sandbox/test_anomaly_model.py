"""The bucket model: clean data is quiet, what was put in is found, and nothing depends on how the input is cut."""

from __future__ import annotations

import numpy as np
import pytest
from sandbox.anomaly_world import ALERT, DAYS, HOUR, START, analyse

from elastic_sandbox.ml.anomaly.analysis import Analysis, Records, ScheduledEvent
from elastic_sandbox.ml.anomaly.snapshots import pack, unpack
from sandbox import anomaly_world as world

WEEKS = DAYS / 7
JOBS = ["failed_logins", "record_reads", "latencies", "privileged_actions"]


@pytest.mark.parametrize("job", JOBS)
def test_clean_data_with_weekends_holidays_and_drift_alarms_less_than_once_a_week(job: str) -> None:
    alarms = [score for _, score, _ in analyse(job, getattr(world, job)(11)) if score >= ALERT]
    assert len(alarms) / WEEKS < 1


def test_a_burst_of_failed_logins_is_found() -> None:
    found = analyse("failed_logins", world.failed_logins(3, burst=(40 * 24 + 10, 7, 12)))
    [(start, score, finding)] = [one for one in found if one[2].actual >= 12]
    assert start == START + (40 * 24 + 10) * HOUR
    assert score >= ALERT
    assert finding.values == {"partition_field_value": "user007"}
    assert finding.influencers == {"user.name": ["user007"]}


def test_a_bulk_read_stands_out_against_the_peers() -> None:
    found = analyse("record_reads", world.record_reads(3, bulk=(41 * 24 + 3, 30, 20_000)))
    [(_, score, finding)] = [one for one in found if one[2].actual >= 20_000]
    assert score >= ALERT
    assert finding.values == {"over_field_value": "user030"}


def test_one_slow_quarter_of_an_hour_is_found() -> None:
    found = analyse("latencies", world.latencies(3, slow=(36 * 96 + 42, 36 * 96 + 43, 1, 5.0)))
    at = [score for start, score, _ in found if start == START + (36 * 96 + 42) * HOUR // 4]
    assert at
    assert max(at) >= ALERT


def test_a_lasting_level_shift_is_found_and_then_becomes_normal() -> None:
    first = 36 * 96 + 40
    found = analyse("latencies", world.latencies(3, slow=(first, DAYS * 96, 1, 2.0)))
    shifted = [(start, score) for start, score, f in found
               if score >= ALERT and f.values["by_field_value"] == "model001"
               and start >= START + first * HOUR // 4]  # fmt: skip
    assert shifted
    hours_after = [(start - START - first * HOUR // 4) / HOUR for start, _ in shifted]
    assert min(hours_after) < 6
    assert not [hours for hours in hours_after if hours > 5 * 24]


def test_a_value_nobody_had_before_is_rare() -> None:
    found = analyse("privileged_actions", world.privileged_actions(3, rare=(40 * 24 + 10, 4, "grant.everything")))
    [(_, score, finding)] = [one for one in found if one[2].values["by_field_value"] == "grant.everything"]
    assert score >= ALERT
    assert finding.influencers == {"user.name": ["user004"], "event.action": ["grant.everything"]}


def test_a_fresh_model_says_nothing_in_its_first_days_and_no_alert_in_its_first_week() -> None:
    records = world.failed_logins(3, burst=(30, 7, 40))
    assert not [start for start, _, _ in analyse("failed_logins", records) if start < START + 72 * HOUR]
    records = world.failed_logins(3, burst=(5 * 24, 7, 40))
    scores = [score for start, score, f in analyse("failed_logins", records) if f.actual >= 40]
    assert scores
    assert max(scores) < ALERT


@pytest.mark.parametrize("job", JOBS)
def test_how_the_input_is_cut_changes_nothing(job: str) -> None:
    records = getattr(world, job)(5)
    records = records.part(0, min(len(records.times), 5000))
    assert analyse(job, records) == analyse(job, records, cuts=7)


@pytest.mark.parametrize("job", JOBS)
def test_a_model_that_was_kept_and_taken_up_again_goes_on_as_if_nothing_had_been(job: str) -> None:
    records = getattr(world, job)(6)
    records = records.part(0, min(len(records.times), 5000))
    middle = len(records.times) // 2
    whole, first = Analysis(world.config(job)), Analysis(world.config(job))
    expected = list(whole.add(records)[0])
    found = list(first.add(records.part(0, middle))[0])
    second = Analysis(world.config(job))
    second.restore(unpack(pack(first.to_state())))
    found += list(second.add(records.part(middle, len(records.times)))[0])
    assert found == expected


def _daily(function: str, values: dict[int, list[float]], **detector: str) -> Analysis:
    """An analysis of one value a minute, from START on; ``values`` replaces those of given hours."""
    config = {"bucket_span": "1h", "influencers": [], "detectors": [
        {"function": function, "field_name": "v", "detector_index": 0, **detector}]}  # fmt: skip
    generator = np.random.default_rng(1)
    times, column = [], []
    for hour in range(24 * 24):
        for minute, value in enumerate(values.get(hour, (100 + generator.normal(0, 3, 6)).tolist())):
            times.append(START + hour * HOUR + minute * 60_000)
            column.append(value)
    analysis = Analysis(config)
    analysis.found = list(analysis.add(Records(np.array(times), {"v": column}))[0])  # type: ignore[attr-defined]
    return analysis


@pytest.mark.parametrize(
    ("function", "value", "heard"),
    [("mean", 200.0, True), ("mean", 40.0, True), ("high_mean", 40.0, False), ("low_mean", 40.0, True),
     ("low_mean", 200.0, False), ("max", 300.0, True), ("min", 20.0, True), ("avg", 200.0, True),
     ("sum", 200.0, True), ("low_sum", 20.0, True), ("high_non_null_sum", 200.0, True)],
)  # fmt: skip
def test_each_function_looks_at_its_side(function: str, value: float, heard: bool) -> None:
    analysis = _daily(function, {24 * 22: [value] * 6})
    found = [f.y for bucket in analysis.found for f in bucket.findings if bucket.start == START + 24 * 22 * HOUR]  # type: ignore[attr-defined]
    assert bool(found and max(found) >= 1.5) == heard


def test_a_missing_value_is_zero_for_a_sum_and_nothing_for_a_mean() -> None:
    silent: dict[int, list[float]] = {24 * 22: []}
    hour = START + 24 * 22 * HOUR
    lows = [f for b in _daily("low_sum", silent).found if b.start == hour for f in b.findings]  # type: ignore[attr-defined]
    assert [finding.actual for finding in lows] == [0.0]
    for function in ("mean", "non_null_sum"):
        assert not [f for b in _daily(function, silent).found if b.start == hour for f in b.findings]  # type: ignore[attr-defined]


def test_distinct_values_are_counted_once_a_bucket() -> None:
    config = {"bucket_span": "1h", "influencers": [], "detectors": [
        {"function": "high_distinct_count", "field_name": "ip", "detector_index": 0}]}  # fmt: skip
    times, column = [], []
    generator = np.random.default_rng(2)
    for hour in range(24 * 21):
        different = 40 if hour == 24 * 20 else int(generator.integers(4, 7))
        for number in range(different * 2):
            times.append(START + hour * HOUR + number)
            column.append(f"10.0.0.{number % different}")
    found = [f for b in Analysis(config).add(Records(np.array(times), {"ip": column}))[0] for f in b.findings]
    assert [finding.actual for finding in found if finding.y >= 1.5] == [40.0]


def test_a_bucket_is_finished_when_time_has_passed_its_end() -> None:
    analysis = Analysis(world.config("failed_logins"))
    records = Records(np.array([START, START + HOUR - 1]), {"user.name": ["a", "b"]})
    assert not list(analysis.add(records)[0])
    [bucket] = analysis.advance(START + HOUR)
    assert (bucket.start, bucket.event_count) == (START, 2)


def test_a_scheduled_event_neither_alarms_nor_teaches() -> None:
    burst = {24 * 22 + hour: [500.0] * 6 for hour in range(12)}
    loud, quiet = _daily("mean", burst), None
    assert any(f.y >= 1.5 for b in loud.found for f in b.findings)  # type: ignore[attr-defined]
    config = {"bucket_span": "1h", "influencers": [], "detectors": [
        {"function": "mean", "field_name": "v", "detector_index": 0}]}  # fmt: skip
    quiet = Analysis(config)
    quiet.events = [ScheduledEvent("migration", START + 24 * 22 * HOUR, START + (24 * 22 + 12) * HOUR)]
    generator = np.random.default_rng(1)
    times, column = [], []
    for hour in range(24 * 24):
        values = burst.get(hour, (100 + generator.normal(0, 3, 6)).tolist())
        times += [START + hour * HOUR + minute * 60_000 for minute in range(6)]
        column += values
    buckets = list(quiet.add(Records(np.array(times), {"v": column}))[0])
    during = [bucket for bucket in buckets if bucket.scheduled_events]
    assert len(during) == 12
    assert not any(bucket.findings for bucket in during)
    assert not any(f.y >= 1.5 for b in buckets if b.start > during[-1].start for f in b.findings)


def test_a_rule_keeps_what_it_names_from_being_learnt_and_the_rest_is() -> None:
    """A source's load test of four days, each time by the same users, is not what is usual for them afterwards."""
    rule = {"actions": ["skip_result", "skip_model_update"],
            "scope": {"user": {"filter_id": "testers", "filter_type": "include"}},
            "conditions": [{"applies_to": "actual", "operator": "gt", "value": 300.0}]}  # fmt: skip
    detector = {"function": "mean", "field_name": "v", "partition_field_name": "user", "detector_index": 0}
    generator = np.random.default_rng(1)
    hours = np.repeat(np.arange(24 * 22), 2)
    loads = np.where(hours >= 24 * 18, 500.0, 100.0) + generator.normal(0, 3, len(hours))
    records = Records(START + hours * HOUR, {"v": loads.tolist(), "user": ["tester", "clerk"] * (len(hours) // 2)})
    typical: dict[str, dict[bool, float]] = {"tester": {}, "clerk": {}}
    for ruled in (False, True):
        analysis = Analysis({"bucket_span": "1h", "influencers": [], "detectors": [
            detector | ({"custom_rules": [rule]} if ruled else {})]})  # fmt: skip
        analysis.filters = {"testers": frozenset({"tester"})}
        dip = Records(np.array([START + 24 * 22 * HOUR] * 2), {"v": [1.0] * 2, "user": ["tester", "clerk"]})
        buckets = [*analysis.add(records)[0], *analysis.add(dip)[0], *analysis.advance(START + 24 * 23 * HOUR)]
        during = [f for b in buckets for f in b.findings if 24 * 18 <= (b.start - START) // HOUR < 24 * 22]
        assert ("tester" in {f.values["partition_field_value"] for f in during}) is not ruled
        for finding in (f for b in buckets if b.start == START + 24 * 22 * HOUR for f in b.findings):
            typical[finding.values["partition_field_value"]][ruled] = finding.typical
    assert typical["tester"][True] < 110 < typical["tester"][False]
    assert typical["clerk"][True] > 110


def test_a_record_before_the_current_bucket_comes_too_late() -> None:
    analysis = Analysis(world.config("failed_logins"))
    early = Records(np.array([START, START + HOUR]), {"user.name": ["a", "a"]})
    assert [bucket.start for bucket in analysis.add(early)[0]] == [START]
    buckets, late = analysis.add(Records(np.array([START + 5, START + HOUR + 5]), {"user.name": ["a", "a"]}))
    assert (list(buckets), late) == ([], 1)
