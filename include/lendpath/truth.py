"""What really happened, and what the best possible judge could make of the data: kept apart from the feeds.

A model sees fields; this sees the probabilities that drew them (`lendpath.behaviour`), knows every person's habits, and
applies Bayes' rule. Its average precision is the ceiling beside which the demo, the tests and the benchmarks put a
model's own figure. Two scopes: a single event of the internal trail, and a whole session in one, two or all three.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache

import numpy as np

from lendpath import raw_internal
from lendpath.behaviour import (
    ABROAD,
    ABROAD_COUNTRIES,
    ACTION_SHARES,
    ADMIN_MEANS,
    ADMIN_SHARES,
    BLATANT,
    DISCOUNTED,
    HARM,
    HOURS,
    KINDS,
    MALICIOUS,
    MFA_SHARES,
    NETWORK_SHARES,
    RECORDS_OF_ACTION,
    ROUTINE,
    SCORE_DEVIATION,
    SIGN_IN,
    SIGN_OUT,
    STATEMENT_MEANS,
    STATEMENT_SHARES,
    STATEMENT_SPREAD,
    STRANGER,
    per_kind,
    score_mean,
)
from lendpath.events import ADMIN, Block, blocks
from lendpath.people import BATCH_ROLE, EMPLOYEES, LIVE_SERVICES, ROLES, directory, make_world
from lendpath.scenarios import REFERENCE_EVENTS, SCENARIOS, Parameters, plans_on
from lendpath.sessions import draw_sessions

TRAILS = ("internal", "ping_one", "oracle")
_TINY = 1e-9
_SAMPLED_DAYS = range(date(2025, 1, 1).toordinal(), date(2025, 12, 31).toordinal(), 3)


@dataclass(frozen=True)
class Episode:
    """One scenario as it unfolded: who, what, and when its sessions began (UTC)."""

    scenario: str
    user_id: str
    sessions: tuple[datetime, ...]

    @property
    def start(self) -> datetime:
        """When its first session in the asked time began."""
        return self.sessions[0]

    @property
    def end(self) -> datetime:
        """When its last session in the asked time began."""
        return self.sessions[-1]


def episodes(
    seed: int, start: datetime, end: datetime, *, events_per_day: int = REFERENCE_EVENTS, prevalence: float = 0.015
) -> list[Episode]:
    """Return the episodes with sessions that began in [start, end), in the order of their first."""
    parameters = Parameters(seed, events_per_day, prevalence)
    first_ms, last_ms = (int(moment.timestamp() * 1000) for moment in (start, end))
    found: dict[tuple[int, int, int], list[int]] = {}
    for day in range(start.toordinal() - 1, end.toordinal() + 1):
        plans = plans_on(parameters, day)
        sessions = draw_sessions(parameters, day)
        for i in np.flatnonzero(sessions.plan >= 0).tolist():
            plan, moment = plans[sessions.plan[i]], int(sessions.start_ms[i])
            if first_ms <= moment < last_ms:
                found.setdefault((plan.scenario, plan.person, plan.first), []).append(moment)
    names = directory().user_ids
    listed = [
        Episode(
            SCENARIOS[scenario].name,
            names[person],
            tuple(datetime.fromtimestamp(ms / 1000, UTC) for ms in sorted(moments)),
        )
        for (scenario, person, _), moments in found.items()
    ]
    return sorted(listed, key=lambda episode: (episode.start, episode.user_id))


def event_probabilities(parameters: Parameters, days: list[date]) -> dict[str, float]:
    """Return event id → P(the event does harm | its own fields), for the internal trail of some UTC days."""
    work_days = sorted({day.toordinal() - back for day in days for back in (0, 1)})
    known: dict[str, float] = {}
    for day in work_days:
        for block in blocks(parameters, day):
            everything = np.arange(len(block.internal))
            known |= dict(zip(raw_internal.event_ids(block, everything), posterior(block).tolist(), strict=True))
    return known


def posterior(block: Block) -> np.ndarray:
    """Return P(the event does harm | the fields of the event alone), shape (events,), of the internal trail."""
    events, sessions = block.internal, block.sessions
    session = events.session
    hour = (events.time_ms / 3_600_000 + sessions.offset[session]) % 24
    context = _context(block, session, hour)
    fields = _event_fields(block)
    position = events.position.astype(float)[:, None]
    # An event stands at a place in its session: how many sessions of each kind get that far.
    length = per_kind("length")[None, :]
    context += np.where(position > 2, (position - 2) * np.log1p(-1 / length), 0.0)
    before = position[:, 0] - 1
    rate = per_kind("failed_sign_ins")[None, :] + before[:, None] * per_kind("failure")[None, :] + _TINY
    context += _poisson(events.failures[:, None], rate)
    mixed = context + _mixture(events.position, events.action, fields)
    harmful = context + _harmful(events.position, events.action, fields)
    highest = mixed.max(axis=1, keepdims=True)
    return np.exp(harmful - highest)[:, MALICIOUS].sum(axis=1) / np.exp(mixed - highest).sum(axis=1)


def session_posterior(block: Block, trails: tuple[str, ...] = TRAILS) -> tuple[np.ndarray, np.ndarray]:
    """Judge whole sessions by one or more trails.

    :returns: P(the session is one of harm | all its events in these trails), shape (sessions,), and P(the event does
        harm | the same), shape (events of the internal trail,).
    """
    events, sessions = block.internal, block.sessions
    everyone = np.arange(len(sessions))
    total = _prior(block, everyone)
    fields = _event_fields(block)
    mixture = _mixture(events.position, events.action, fields)
    if "internal" in trails:
        total += _context(block, everyone, sessions.start_hour, prior=False)
        total += _poisson(sessions.failed_sign_ins[:, None], per_kind("failed_sign_ins")[None, :])
        inner = (sessions.length - 1 - sessions.signs_out)[:, None]
        length = per_kind("length")[None, :]
        total += (inner - 1) * np.log1p(-1 / length) - np.log(length)
        total += _bernoulli(sessions.signs_out[:, None], per_kind("signs_out")[None, :])
        total += _summed(mixture, events.session, len(sessions))
    if "ping_one" in trails:
        total += _directory_density(block, alone="internal" not in trails)
    if "oracle" in trails:
        total += _database_density(block)
    weights = np.exp(total - total.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    share = np.exp(_harmful(events.position, events.action, fields) - mixture)
    return weights[:, MALICIOUS].sum(axis=1), (weights[events.session] * share)[:, MALICIOUS].sum(axis=1)


@lru_cache(maxsize=8)
def kind_shares(seed: int, prevalence: float) -> np.ndarray:
    """Return P(kind | role) of a session over a year, shape (roles + 1, kinds); the last row is dormant accounts."""
    counts = np.full((len(ROLES) + 1, len(KINDS)), _TINY)
    parameters = Parameters(seed, REFERENCE_EVENTS, prevalence)
    for day in _SAMPLED_DAYS:
        sessions = draw_sessions(parameters, day)
        np.add.at(counts, (_class(sessions.person, sessions.role), sessions.kind), 1)
    # Who did harm in one year says little about who might in another: by role, only the chance to be chosen counts.
    heads = np.bincount(make_world(seed).seat_role, minlength=len(ROLES) + 1).astype(float)
    heads[len(ROLES)] = 1.0
    for scenario in SCENARIOS:
        chosen = np.asarray([scenario.roles.get(role, 0.0) for role in ROLES] + [scenario.roles.get("batch", 0.0)])
        chosen[BATCH_ROLE] = 0.0
        weights = heads * chosen
        for kind in set(scenario.kinds):
            counts[:, kind] = _TINY + counts[:, kind].sum() * weights / weights.sum()
    return counts / counts.sum(axis=1, keepdims=True)


def _class(person: np.ndarray, role: np.ndarray) -> np.ndarray:
    return np.where((role == BATCH_ROLE) & (person >= EMPLOYEES + len(LIVE_SERVICES)), len(ROLES), role)


def _prior(block: Block, session: np.ndarray) -> np.ndarray:
    sessions = block.sessions
    table = kind_shares(block.parameters.seed, block.parameters.prevalence)
    return np.log(table[_class(sessions.person[session], sessions.role[session])])


def _context(block: Block, session: np.ndarray, hour: np.ndarray, *, prior: bool = True) -> np.ndarray:
    """Return the log density of what is the same throughout a session, shape (rows, kinds)."""
    sessions = block.sessions
    shift = block.world.shift[sessions.person[session]]
    own = np.where(per_kind("own_hours")[None, :], hour[:, None] - shift[:, None], hour[:, None])
    total = np.log(HOURS[np.arange(len(KINDS))[None, :], np.clip(own, 0, 23.99).astype(int)] + 1e-4)
    network, country = sessions.network[session], sessions.country[session]
    total += np.log(NETWORK_SHARES.T[network] + _TINY)
    total += np.where((network == ABROAD)[:, None], np.log(ABROAD_COUNTRIES.T[country] + _TINY), 0.0)
    total += np.log(MFA_SHARES.T[sessions.mfa[session]] + _TINY)
    total += _bernoulli(sessions.new_device[session][:, None], per_kind("new_device")[None, :])
    return total + _prior(block, session) if prior else total


def _event_fields(block: Block) -> np.ndarray:
    """Return the log density of an event's own fields under each kind, shape (events, kinds)."""
    events, role = block.internal, block.sessions.role[block.internal.session]
    inner = ((events.action != SIGN_IN) & (events.action != SIGN_OUT))[:, None]
    total = np.where(inner, np.log(ACTION_SHARES[:, role, events.action].T + _TINY), 0.0)
    total += np.where(events.action == SIGN_OUT, 0.0, 1.0)[:, None] * _bernoulli(
        events.failed[:, None], per_kind("failure")[None, :]
    )
    mean, deviation = per_kind("records").T
    mean = mean[None, :] + RECORDS_OF_ACTION[events.action][:, None]
    total += np.where(inner, _normal(np.log(events.records[:, None] + 0.5), mean, deviation[None, :]), 0.0)
    mean, deviation = per_kind("gap").T
    total += np.where(
        (events.position > 1)[:, None], _normal(np.log(events.gap[:, None] / 10 + 0.05), mean, deviation), 0
    )
    mean, deviation = per_kind("discount").T
    discounted = np.isin(events.action, DISCOUNTED)[:, None]
    total += np.where(discounted, _normal(np.log(np.maximum(events.discount[:, None], 1) - 0.5), mean, deviation), 0.0)
    later = (events.position > 1)[:, None]
    return total + np.where(later, _bernoulli(events.other_loan[:, None], per_kind("other_loan")[None, :]), 0.0)


def _harm(position: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Return P(an event does harm | its session's kind, its place), shape (events, kinds)."""
    share = np.where((position == 1)[:, None], (HARM * STRANGER)[None, :], HARM[None, :])
    return np.where((action == SIGN_OUT)[:, None], 0.0, share)


def _mixture(position: np.ndarray, action: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """Return the log density of an event under each kind of session: as the kind, or as the routine it hides in."""
    return _mixed(fields, np.where(MALICIOUS[None, :], _harm(position, action) * BLATANT, 1.0))


def _harmful(position: np.ndarray, action: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """Return the log density of an event that does harm, blatantly or not, under each kind of session."""
    return np.log(_harm(position, action) + 1e-300) + _mixed(fields, BLATANT[None, :])


def _mixed(density: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return the log of ``share`` of a density and the rest of routine's."""
    highest = np.maximum(density, density[:, [ROUTINE]])
    return highest + np.log(share * np.exp(density - highest) + (1 - share) * np.exp(density[:, [ROUTINE]] - highest))


def _directory_density(block: Block, *, alone: bool) -> np.ndarray:
    """Return the log density of a session's PingOne activities under each kind, shape (sessions, kinds)."""
    sessions, events = block.sessions, block.ping_one
    seen = score_mean(sessions.network, sessions.new_device, sessions.failed_sign_ins)
    total = _normal(sessions.score[:, None], seen[:, None] + per_kind("lift")[None, :], SCORE_DEVIATION)
    means = ADMIN_MEANS.T[sessions.role]
    total = total + _poisson(sessions.admin_acts[:, None], means)
    if alone:
        total += _context(block, np.arange(len(sessions)), sessions.start_hour, prior=False)
        total += _poisson(sessions.failed_sign_ins[:, None], per_kind("failed_sign_ins")[None, :])
    acts = events.type >= ADMIN
    session = events.session[acts]
    shares = ADMIN_SHARES[:, sessions.role[session], events.type[acts] - ADMIN].T
    return total + _summed(np.log(shares + _TINY), session, len(sessions))


def _database_density(block: Block) -> np.ndarray:
    """Return the log density of a session's statements under each kind, shape (sessions, kinds)."""
    sessions, events = block.sessions, block.oracle
    # A Poisson count whose mean is gamma distributed is negative binomial; factors without the mean cancel.
    mean = STATEMENT_MEANS.T[sessions.role]
    count = sessions.statements[:, None]
    failing = STATEMENT_SPREAD / (STATEMENT_SPREAD + mean)
    total = STATEMENT_SPREAD * np.log(failing) + count * np.log1p(-failing)
    role = sessions.role[events.session]
    density = np.log(STATEMENT_SHARES[:, role, events.statement].T + _TINY)
    density += _bernoulli((events.code > 0)[:, None], per_kind("denied")[None, :])
    mixed = _mixed(density, np.where(MALICIOUS, HARM, 1.0)[None, :])
    return total + _summed(mixed, events.session, len(sessions))


def _summed(values: np.ndarray, session: np.ndarray, sessions: int) -> np.ndarray:
    """Sum rows by session, shape (sessions, kinds)."""
    total = np.zeros((sessions, values.shape[1]))
    np.add.at(total, session, values)
    return total


def _bernoulli(values: np.ndarray, probability: np.ndarray) -> np.ndarray:
    return np.log(np.where(values, probability, 1 - probability) + _TINY)


def _poisson(values: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the log of a Poisson probability, without the factorial that all kinds share."""
    return values * np.log(mean + _TINY) - mean


def _normal(values: np.ndarray, mean: np.ndarray, deviation: np.ndarray | float) -> np.ndarray:
    return -0.5 * ((values - mean) / deviation) ** 2 - np.log(deviation)
