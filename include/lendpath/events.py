"""The events of a work day in the three trails, drawn with numpy in blocks of sessions, reproducible per block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from lendpath.behaviour import (
    ACTION_SHARES,
    ACTIONS,
    ADMIN_SHARES,
    ADMIN_TYPES,
    BATCH,
    BLATANT,
    DISCOUNTED,
    HARM,
    LARGEST_DISCOUNT,
    MALICIOUS,
    MFA,
    MOST_FAILURES,
    MOST_RECORDS,
    RECORDS_OF_ACTION,
    ROUTINE,
    SIGN_IN,
    SIGN_OUT,
    STATEMENT_SHARES,
    STATEMENTS,
    STRANGER,
    SYSDBA,
    per_kind,
)
from lendpath.people import BATCH_ROLE, BRANCHES, LOANS, World, make_world
from lendpath.scenarios import Parameters
from lendpath.sessions import Sessions, choose, draw_sessions

# A block is what is held in memory at once; a reference day is one block.
_BLOCK_SESSIONS = 800
_LONGEST_GAP_S, _LONGEST_SESSION_S = 1499.0, 4 * 3600.0
_REFUSALS = (942, 1031, 1017)  # table does not exist, insufficient privileges, wrong password
PING_TYPES = (
    "PASSWORD.CHECK_FAILED",
    "PASSWORD.CHECK_SUCCEEDED",
    "OTP.CHECK_SUCCESS",
    "RISK_EVALUATION.CREATED",
    "SESSION.CREATED",
    "SESSION.DELETED",
    *ADMIN_TYPES,
)
FAILED, PASSED, OTP, RISK, CREATED, DELETED, ADMIN = range(7)


@dataclass(frozen=True)
class InternalEvents:
    """Events of the internal audit trail; `session` indexes into the block. `harm` and `kind` are the truth."""

    session: np.ndarray
    position: np.ndarray  # 1 for signing in
    time_ms: np.ndarray
    action: np.ndarray
    failed: np.ndarray
    records: np.ndarray
    gap: np.ndarray  # tenths of a second since the session's previous event, 0 at its first
    discount: np.ndarray  # basis points
    failures: np.ndarray  # failed sign-ins and failed events before this one
    loan: np.ndarray
    other_loan: np.ndarray  # whether the loan is another than the event's before
    duration: np.ndarray  # tenths of a second since signing in, at signing out; -1 otherwise
    ids: bytes  # 16 bytes each
    kind: np.ndarray  # what the event was drawn from; much of an attacker's is routine
    harm: np.ndarray

    def __len__(self) -> int:
        return len(self.session)


@dataclass(frozen=True)
class PingEvents:
    """Activities of the directory. `target` is the person acted upon, the actor in most."""

    session: np.ndarray
    time_ms: np.ndarray
    type: np.ndarray
    target: np.ndarray
    ids: bytes
    harm: np.ndarray

    def __len__(self) -> int:
        return len(self.session)


@dataclass(frozen=True)
class OracleEvents:
    """Statements in the database; `position` counts them within the session."""

    session: np.ndarray
    position: np.ndarray
    time_ms: np.ndarray
    statement: np.ndarray
    code: np.ndarray  # 0, or the number of Oracle's refusal
    sysdba: np.ndarray
    loan: np.ndarray
    harm: np.ndarray

    def __len__(self) -> int:
        return len(self.session)


@dataclass(frozen=True)
class Block:
    """Some consecutive sessions of a work day with all their events; each trail is drawn when first asked for."""

    parameters: Parameters
    day: int
    number: int
    sessions: Sessions

    @property
    def world(self) -> World:
        """The people."""
        return make_world(self.parameters.seed)

    def _rng(self, trail: int) -> np.random.Generator:
        return np.random.default_rng([self.parameters.seed, self.day, 2, self.number, trail])

    @cached_property
    def internal(self) -> InternalEvents:
        """The internal audit trail of these sessions, session by session."""
        rng, s = self._rng(0), self.sessions
        session = np.repeat(np.arange(len(s)), s.length)
        begin = np.cumsum(s.length) - s.length
        position = np.arange(len(session)) - begin[session] + 1
        size = len(session)
        first = position == 1
        last = (position == s.length[session]) & s.signs_out[session]
        session_kind = s.kind[session]
        harm = rng.random(size, dtype=np.float32) < HARM[session_kind]
        harm &= np.where(first, STRANGER[session_kind], ~last)
        blatant = harm & (rng.random(size, dtype=np.float32) < BLATANT[session_kind])
        kind = np.where(MALICIOUS[session_kind] & ~blatant, ROUTINE, session_kind)
        rows = kind.astype(np.int64) * ACTION_SHARES.shape[1] + s.role[session]
        action = choose(rng, ACTION_SHARES.reshape(-1, len(ACTIONS)), rows)
        action = np.where(first, SIGN_IN, np.where(last, SIGN_OUT, action))
        mean, deviation = per_kind("records").T[:, kind]
        noise = rng.standard_normal((3, size), dtype=np.float32)
        records = np.floor(np.exp(mean + RECORDS_OF_ACTION[action] + deviation * noise[0]))
        mean, deviation = per_kind("gap").T[:, kind]
        gap = np.where(first, 0.0, np.minimum(np.exp(mean + deviation * noise[1]), _LONGEST_GAP_S))
        gap = np.round(gap, 1)
        mean, deviation = per_kind("discount").T[:, kind]
        discount = np.where(np.isin(action, DISCOUNTED), np.ceil(np.exp(mean + deviation * noise[2])), 0)
        failed = (rng.random(size, dtype=np.float32) < per_kind("failure")[kind]) & ~last
        other = first | (rng.random(size, dtype=np.float32) < per_kind("other_loan")[kind])
        failures = s.failed_sign_ins[session] + _since_first(failed, begin, session) - failed
        elapsed = np.minimum(_since_first(gap, begin, session), _LONGEST_SESSION_S)
        return InternalEvents(
            session=session.astype(np.int32),
            position=position.astype(np.int32),
            time_ms=s.start_ms[session] + np.round(elapsed * 1000).astype(np.int64),
            action=action.astype(np.int8),
            failed=failed,
            records=np.where(first | last, 0, np.minimum(records, MOST_RECORDS)).astype(np.int32),
            gap=np.round(gap * 10).astype(np.int32),
            discount=_rounded(discount),
            failures=np.minimum(failures, MOST_FAILURES).astype(np.int32),
            loan=self._loans(rng, session, other),
            other_loan=other,
            duration=np.where(last, np.round(elapsed * 10), -1).astype(np.int32),
            ids=rng.bytes(16 * size),
            kind=kind,
            harm=harm,
        )

    def _loans(self, rng: np.random.Generator, session: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return the loan of each event: one of the person's branch, kept until the event concerns another."""
        branch = self.world.branch[self.sessions.person[session]]
        drawn = rng.integers(0, LOANS // len(BRANCHES), size=len(session)) * len(BRANCHES) + branch
        return drawn[np.maximum.accumulate(np.where(other, np.arange(len(session)), 0))].astype(np.int32)

    @cached_property
    def ping_one(self) -> PingEvents:
        """What PingOne records: password, one-time code, risk, session, and administrative acts, in time order."""
        rng, s = self._rng(1), self.sessions
        everyone = np.arange(len(s))
        people = everyone[s.role != BATCH_ROLE]
        end = np.append(np.cumsum(s.length)[:-1], s.length.sum()) - 1
        end_ms = self.internal.time_ms[end]
        with_code = everyone[s.mfa != MFA.index("none")]
        acts = np.repeat(everyone, s.admin_acts)
        fails = np.repeat(everyone, s.failed_sign_ins)
        # Batches sign in with a client secret: no password, no evaluation of risk.
        judged = everyone[s.kind != BATCH]
        leaving = everyone[s.signs_out]
        parts: list[tuple[np.ndarray, Any, np.ndarray]] = [
            (fails, FAILED, s.start_ms[fails] - rng.integers(15_000, 280_000, size=len(fails))),
            (people, PASSED, s.start_ms[people] - rng.integers(9_000, 12_000, size=len(people))),
            (with_code, OTP, s.start_ms[with_code] - rng.integers(6_000, 8_000, size=len(with_code))),
            (judged, RISK, s.start_ms[judged] - rng.integers(3_000, 5_000, size=len(judged))),
            (everyone, CREATED, s.start_ms - rng.integers(300, 2_000, size=len(s))),
            (leaving, DELETED, end_ms[leaving] + rng.integers(200, 3_000, size=len(leaving))),
        ]
        rows = s.kind[acts].astype(np.int64) * ADMIN_SHARES.shape[1] + s.role[acts]
        act = ADMIN + choose(rng, ADMIN_SHARES.reshape(-1, len(ADMIN_TYPES)), rows)
        when = s.start_ms[acts] + (rng.random(len(acts)) * (end_ms - s.start_ms)[acts]).astype(np.int64)
        parts.append((acts, act, when))
        session = np.concatenate([part[0] for part in parts])
        kinds = np.concatenate([np.broadcast_to(part[1], len(part[0])) for part in parts])
        time_ms = np.concatenate([part[2] for part in parts])
        # Whom it concerns: the actor, or for administrative acts mostly somebody else.
        seated = self.world.employed(self.day)
        others = rng.choice(seated[seated >= 0], size=len(session))
        own = (kinds < ADMIN) | (rng.random(len(session)) < np.where(MALICIOUS[s.kind[session]], 0.5, 0.08))
        order = np.argsort(time_ms, kind="stable")
        harm = MALICIOUS[s.kind[session]] & (STRANGER[s.kind[session]] | (kinds >= ADMIN)) & (kinds != DELETED)
        return PingEvents(
            session=session[order].astype(np.int32),
            time_ms=time_ms[order],
            type=kinds[order].astype(np.int8),
            target=np.where(own, s.person[session], others)[order].astype(np.int32),
            ids=rng.bytes(16 * len(session)),
            harm=harm[order],
        )

    @cached_property
    def oracle(self) -> OracleEvents:
        """What the database records: each statement follows an event of the internal trail at once."""
        rng, s = self._rng(2), self.sessions
        session = np.repeat(np.arange(len(s)), s.statements)
        begin = np.cumsum(s.statements) - s.statements
        size = len(session)
        position = np.arange(size) - begin[session] + 1
        start = np.cumsum(s.length) - s.length
        event = np.sort(start[session] + (rng.random(size) * s.length[session]).astype(np.int64))
        session_kind = s.kind[session]
        harm = (rng.random(size) < HARM[session_kind]) & MALICIOUS[session_kind]
        kind = np.where(MALICIOUS[session_kind] & ~harm, ROUTINE, session_kind).astype(np.int64)
        rows = kind * STATEMENT_SHARES.shape[1] + s.role[session]
        refused = rng.random(size) < per_kind("denied")[kind]
        return OracleEvents(
            session=session.astype(np.int32),
            position=position.astype(np.int32),
            time_ms=self.internal.time_ms[event] + rng.integers(50, 900, size=size),
            statement=choose(rng, STATEMENT_SHARES.reshape(-1, len(STATEMENTS)), rows).astype(np.int8),
            code=np.where(refused, rng.choice(_REFUSALS, size=size, p=(0.5, 0.4, 0.1)), 0).astype(np.int32),
            sysdba=rng.random(size) < SYSDBA[s.role[session]],
            loan=self.internal.loan[event],
            harm=harm,
        )


def _rounded(discount: np.ndarray) -> np.ndarray:
    """Round as people do: whole basis points up to 20, then steps of 5, up to the largest."""
    rounded = np.where(discount > 20, np.round(discount / 5) * 5, discount)
    return np.minimum(rounded, LARGEST_DISCOUNT).astype(np.int32)


def _since_first(values: np.ndarray, begin: np.ndarray, session: np.ndarray) -> np.ndarray:
    """Return the running sum of ``values`` within each session, up to and with the event itself."""
    total = np.cumsum(values, dtype=np.float64)
    before = total[begin] - values[begin]
    return total - before[session]


def blocks(parameters: Parameters, day: int) -> Iterator[Block]:
    """Yield the blocks of a work day (ordinal) in the order of their sessions' starts."""
    for number in range(len(block_spans(parameters, day))):
        yield block(parameters, day, number)


def block_spans(parameters: Parameters, day: int) -> list[tuple[int, int]]:
    """Return the first and the last possible moment (ms) of an event of each block of a work day."""
    starts = draw_sessions(parameters, day).start_ms
    edges = [(n, min(n + _BLOCK_SESSIONS, len(starts)) - 1) for n in range(0, len(starts), _BLOCK_SESSIONS)]
    # Sign-ins fail up to five minutes before a session starts; signing out is recorded moments after its end.
    longest = int(_LONGEST_SESSION_S * 1000) + 60_000
    return [(int(starts[first]) - 300_000, int(starts[last]) + longest) for first, last in edges]


@lru_cache(maxsize=12)
def block(parameters: Parameters, day: int, number: int) -> Block:
    """Return one block of a work day; the last dozen are kept, as the feeds of one partition share them."""
    chosen = slice(number * _BLOCK_SESSIONS, (number + 1) * _BLOCK_SESSIONS)
    return Block(parameters, day, number, draw_sessions(parameters, day)[chosen])


def make_block(parameters: Parameters, day: date) -> Block:
    """Return a whole work day as one block that is not kept: for measurements and for the truth about small days."""
    return Block(parameters, day.toordinal(), 0, draw_sessions(parameters, day.toordinal()))
