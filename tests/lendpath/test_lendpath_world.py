"""LendPath's people, clocks and sessions: made once, the same everywhere, and working like an office."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from lendpath.behaviour import BATCH, MAINTENANCE, MALICIOUS, NAMES, ON_CALL, ROUTINE, TRAVEL
from lendpath.calendars import bank_holidays, busyness, is_closing, utc_offsets
from lendpath.events import blocks, make_block
from lendpath.people import BATCH_ROLE, BRANCHES, EMPLOYEES, ROLES, SEATS, directory, make_world
from lendpath.scenarios import SCENARIOS, Parameters, plans_on
from lendpath.sessions import draw_sessions
from lendpath.truth import episodes

PARAMETERS = Parameters(seed=11)
MONDAY = date(2026, 3, 2).toordinal()


def test_a_world_is_the_same_whenever_it_is_made():
    first = make_world(5)
    make_world.cache_clear()
    again = make_world(5)
    assert np.array_equal(first.handover, again.handover)
    assert np.array_equal(first.devices, again.devices)
    assert not np.array_equal(first.seat_role, make_world(6).seat_role)


def test_names_are_the_same_for_every_seed_and_no_raw_name_is_two_peoples():
    names = directory()
    raws = [raw.casefold() for raw, _, _ in names.name_table()]
    assert len(set(raws)) == len(raws) == 2 * len(names.user_ids)
    assert len(set(names.names)) == len(names.names)
    assert {zone for _, _, zone in names.name_table()} == {branch.zone for branch in BRANCHES}


def test_people_join_and_leave_over_the_years_and_a_seat_is_taken_again():
    world = make_world(11)
    years = [world.employed(date(year, 6, 1).toordinal()) for year in range(2021, 2031)]
    assert all(0.93 * SEATS < (seated >= 0).sum() <= SEATS for seated in years)
    assert 0.1 < (years[0] != years[1]).mean() < 0.6
    person, last_day = world.leavers(MONDAY, MONDAY + 60)[0]
    assert person in world.employed(last_day)
    assert person not in world.employed(last_day + 1)


def test_everybody_has_a_role_a_peer_group_a_manager_a_home_and_a_zone():
    world = make_world(11)
    seated = world.employed(MONDAY)
    assert set(world.role[seated[seated >= 0]]) == set(range(len(ROLES) - 1))
    person = int(seated[0])
    assert world.peer_group(person).split("/")[0] in ROLES
    assert world.manager(person, MONDAY) in set(seated.tolist())
    assert directory().homes[person]
    assert world.time_zone(person) == BRANCHES[world.branch[person]].zone
    assert world.manager(EMPLOYEES, MONDAY) == -1


def test_banks_are_closed_on_federal_holidays_but_not_on_the_friday_before_a_saturday_one():
    assert date(2026, 11, 26) in bank_holidays(2026)
    assert date(2026, 7, 3) not in bank_holidays(2026)
    assert date(2027, 7, 5) in bank_holidays(2027)  # Independence Day on a Sunday: closed on Monday


def test_the_last_three_business_days_of_a_month_are_its_closing():
    november = [date(2026, 11, 1) + timedelta(days=n) for n in range(30)]
    assert [day.day for day in november if is_closing(day)] == [25, 27, 30]  # the 26th is Thanksgiving


def test_clocks_change_at_two_in_the_morning_of_the_zone():
    spring, arizona = utc_offsets(date(2026, 3, 8)), utc_offsets(date(2026, 3, 9))
    assert (spring[0][1], spring[0][3]) == (-5, -4)
    assert arizona[2][12] == arizona[3][12] + 1 == -6  # Denver changes, Phoenix does not


@pytest.mark.parametrize("role", ["loan_officer", "servicing", "dba", "batch"])
def test_each_role_has_its_own_week(role):
    index = ROLES.index(role)
    friday, saturday, holiday = (busyness(date(2026, 1, day))[index] for day in (16, 17, 19))
    assert holiday <= friday
    assert {"loan_officer": saturday < 0.1, "servicing": 0.3 < saturday < 0.6, "dba": 0.1 < saturday < 0.5,
            "batch": saturday == 1.0}[role]  # fmt: skip


def sessions_of(kind: int, days: int = 28):
    parts = [draw_sessions(PARAMETERS, MONDAY + n) for n in range(days)]
    return [part[part.kind == kind] for part in parts]


def test_people_work_by_their_own_clock_with_a_lunch_dip():
    hours = np.concatenate([part.start_hour for part in sessions_of(ROUTINE)])
    counts = np.histogram(hours, bins=24, range=(0, 24))[0]
    assert counts[7:18].sum() > 0.85 * counts.sum()
    assert counts[12] < 0.85 * min(counts[10], counts[14])


def test_the_same_local_hour_is_another_utc_hour_after_the_clocks_change():
    world = make_world(11)
    east = [n for n in range(EMPLOYEES) if world.time_zone(n) == "America/New_York"]

    def utc_hour(monday: date) -> float:
        parts = [draw_sessions(Parameters(events_per_day=60_000), monday.toordinal() + n) for n in range(4)]
        starts = [part.start_ms[np.isin(part.person, east) & (part.kind == ROUTINE)] % 86_400_000 for part in parts]
        return float(np.mean(np.concatenate(starts)) / 3_600_000)

    assert utc_hour(date(2026, 3, 2)) - utc_hour(date(2026, 3, 9)) == pytest.approx(1.0, abs=0.3)


def test_weekends_are_quiet_and_month_ends_are_busy():
    week = [len(draw_sessions(PARAMETERS, MONDAY + n)) for n in range(7)]
    assert max(week[5:]) < 0.35 * min(week[:5])
    closing, ordinary = (len(draw_sessions(PARAMETERS, date(2026, 3, day).toordinal())) for day in (31, 17))
    assert closing > 1.1 * ordinary


def test_batches_run_every_night_and_on_call_people_are_administrators():
    assert all(len(part) >= 8 for part in sessions_of(BATCH, 7))
    on_call = np.concatenate([part.role for part in sessions_of(ON_CALL)])
    assert {ROLES[role] for role in on_call} <= {"administrator", "dba"}
    manual = np.concatenate([part.role for part in sessions_of(MAINTENANCE)])
    assert set(manual) == {BATCH_ROLE}


def test_a_trip_lasts_some_days_and_is_the_same_seen_from_any_of_them():
    trips = [set(part.person.tolist()) for part in sessions_of(TRAVEL)]
    assert sum(len(trip) for trip in trips) > 20
    assert any(len(trips[n] & trips[n + 1]) >= 2 for n in range(27))


@pytest.mark.parametrize("prevalence", [0.001, 0.015, 0.05])
def test_the_prevalence_over_half_a_year_is_what_was_asked_for(prevalence):
    parameters = Parameters(seed=3, prevalence=prevalence)
    harm = total = 0
    for day in range(MONDAY, MONDAY + 182, 2):
        for block in blocks(parameters, day):
            harm += int(block.internal.harm.sum())
            total += len(block.internal)
    assert harm / total == pytest.approx(prevalence, rel=0.3 if prevalence < 0.01 else 0.15)
    assert total / 91 == pytest.approx(4000, rel=0.06)


def test_each_scenario_unfolds_over_its_hours_or_weeks():
    found = episodes(11, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))
    assert {episode.scenario for episode in found} == {scenario.name for scenario in SCENARIOS}
    for scenario in SCENARIOS:
        spans = [episode.end - episode.start for episode in found if episode.scenario == scenario.name]
        assert max(spans) < timedelta(days=scenario.days[1] + 1)
        assert len(spans) >= 10
    weeks = [e.end - e.start for e in found if e.scenario in {"privilege_creep", "rate_insider"}]
    assert np.median([span.days for span in weeks]) >= 5


def test_who_exports_before_leaving_leaves_within_weeks():
    world = make_world(11)
    plans = {plan for day in range(MONDAY, MONDAY + 120) for plan in plans_on(PARAMETERS, day)}
    exports = [plan for plan in plans if SCENARIOS[plan.scenario].leaving]
    assert len(exports) >= 5
    for plan in exports:
        assert plan.person in {who for who, _ in world.leavers(plan.first, plan.first + 21 + 76)}


def test_episodes_asked_for_a_week_are_those_of_the_quarter_in_that_week():
    start = datetime(2026, 2, 2, tzinfo=UTC)
    week = episodes(11, start, start + timedelta(days=7))
    quarter = episodes(11, start - timedelta(days=40), start + timedelta(days=50))
    inside = [m for episode in quarter for m in episode.sessions if start <= m < start + timedelta(days=7)]
    assert sorted(m for episode in week for m in episode.sessions) == sorted(inside)


def test_an_attackers_session_leaves_its_traces_in_all_three_trails():
    block = make_block(Parameters(events_per_day=40_000, prevalence=0.05), date.fromordinal(MONDAY))
    bad = np.flatnonzero(MALICIOUS[block.sessions.kind])
    for trail in (block.internal, block.ping_one, block.oracle):
        assert np.isin(bad, trail.session).mean() > 0.5
    assert {NAMES[kind] for kind in block.sessions.kind[bad]} >= {"takeover", "rate_insider", "bulk_export"}
    for trail in (block.internal, block.oracle):
        times = trail.time_ms - block.sessions.start_ms[trail.session]
        assert 0 <= times.min() <= times.max() < 5 * 3_600_000


@pytest.mark.parametrize(("name", "value"), [("prevalence", 0.5), ("events_per_day", 10), ("seed", -1)])
def test_parameters_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name}={value} is out of range"):
        Parameters(**{name: value})
