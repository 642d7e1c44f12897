"""The database's audit trail in both forms that Oracle has: `.aud` text records, and rows of UNIFIED_AUDIT_TRAIL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np

from lendpath.behaviour import STATEMENTS
from lendpath.events import Block
from lendpath.people import LOANS, ROLES, directory
from lendpath.rendering import audit_times, compact, dotted, fragments, numbers, per_session, pick
from lendpath.sessions import Sessions

_DATABASE_ID = "2471903355"
# Whose database sessions are their own; all others share the application's user.
_DIRECT = frozenset({"dba", "administrator", "auditor"})


def _sql(statement: int, loan: str, position: str) -> str:
    # The application signs its statements, as a module would in V$SESSION; that also keeps equal ones apart.
    return f"{STATEMENTS[statement].sql.replace('{loan}', loan)} /*lp:{position}*/"


@lru_cache(maxsize=1)
def _sql_halves() -> tuple[np.ndarray, np.ndarray]:
    """Return what stands before and after the loan's number in each sort of statement, as in a record."""
    before, after = [], []
    for number in range(len(STATEMENTS)):
        text = _sql(number, "0000000", "0000")
        head, tail = text[: -len("0000*/")].split("0000000")
        before.append(f"\nACTION :[{len(text)}] '{head}".encode())
        after.append(tail.encode())
    return fragments(before), fragments(after)


@lru_cache(maxsize=1)
def _ends() -> np.ndarray:
    """Return the end of a record for every sort of statement: its action number."""
    return fragments([f"\nACTION NUMBER:[{len(str(s.number))}] '{s.number}'".encode() for s in STATEMENTS])


def records(block: Block, chosen: np.ndarray) -> list[bytes]:
    """Return the chosen statements of a block as `.aud` records: several lines each, without a line end."""
    events = block.oracle
    session, statement = events.session[chosen], events.statement[chosen].astype(np.int64)
    clients = per_session(block.sessions, session, _client(block)).take(session).tolist()
    before, after = _sql_halves()
    bodies = zip(
        pick(before, statement),
        pick(_loan_numbers(), events.loan[chosen]),
        pick(after, statement),
        pick(_positions(), events.position[chosen] % 10_000),
        [client[0] for client in clients],
        pick(_PRIVILEGES, events.sysdba[chosen].astype(np.int64)),
        [client[1] for client in clients],
        [_status(code) for code in events.code[chosen].tolist()],
        [client[2] for client in clients],
        pick(_ends(), statement),
        strict=True,
    )
    lengths = numbers(b"\nLENGTH : '", b"'")
    return [
        head + second + tail + lengths[len(body)] + body
        for head, second, tail, body in zip(*audit_times(events.time_ms[chosen]), map(b"".join, bodies), strict=True)
    ]


def event_ids(block: Block, chosen: np.ndarray) -> list[str]:
    """Return the ids that the chosen statements get where they are stored: Oracle gives none, so SHA-256 does."""
    return [hashlib.sha256(record).hexdigest() for record in records(block, chosen)]


def unified_rows(block: Block, chosen: np.ndarray) -> list[bytes]:
    """Return the chosen statements as rows of UNIFIED_AUDIT_TRAIL, one JSON object each."""
    events = block.oracle
    rows = []
    for i in chosen.tolist():
        session = int(events.session[i])
        who = _Client.of(block, block.sessions, session)
        sort = STATEMENTS[events.statement[i]]
        loan = f"{events.loan[i]:07d}"
        when = datetime.fromtimestamp(int(events.time_ms[i]) / 1000, UTC)
        # Pooled sessions live long, and numbers count on; from one on they would tell who does much in one session.
        entry = int(who.session_id) * 7_919 % 10_000 + int(events.position[i])
        row = {
            "AUDIT_TYPE": "Standard",
            "SESSIONID": who.session_id,
            "ENTRY_ID": entry,
            "STATEMENT_ID": entry + 1,
            "EVENT_TIMESTAMP_UTC": when.isoformat(timespec="milliseconds"),
            "DBID": int(_DATABASE_ID),
            "DBUSERNAME": who.database_user,
            "OS_USERNAME": who.login,
            "USERHOST": who.host,
            "TERMINAL": who.terminal,
            "AUTHENTICATION_TYPE": f"(TYPE=(DATABASE));(CLIENT ADDRESS=((PROTOCOL=tcp)(HOST={who.address})))",
            "CLIENT_PROGRAM_NAME": who.program,
            "ACTION_NAME": sort.verb,
            "RETURN_CODE": int(events.code[i]),
            "OBJECT_SCHEMA": sort.schema or None,
            "OBJECT_NAME": sort.table or None,
            "SQL_TEXT": _sql(int(events.statement[i]), loan, f"{events.position[i] % 10_000:04d}"),
            "SYSTEM_PRIVILEGE_USED": "SYSDBA" if events.sysdba[i] else None,
            "UNIFIED_AUDIT_POLICIES": "LENDPATH_ALL",
        }
        rows.append(compact(row).encode())
    return rows


_PRIVILEGES = fragments([b"\nPRIVILEGE :[4] 'NONE'", b"\nPRIVILEGE :[6] 'SYSDBA'"])


@lru_cache(maxsize=8)
def _status(code: int) -> bytes:
    return f"\nSTATUS:[{len(str(code))}] '{code}'".encode()


@lru_cache(maxsize=1)
def _loan_numbers() -> np.ndarray:
    return fragments([b"%07d" % n for n in range(LOANS)])


@lru_cache(maxsize=1)
def _positions() -> np.ndarray:
    return fragments([b"%04d*/'" % n for n in range(10_000)])


@dataclass(frozen=True)
class _Client:
    """Who is connected in a session, and from where."""

    login: str
    database_user: str
    terminal: str
    host: str
    address: str
    program: str
    session_id: int

    @classmethod
    def of(cls, block: Block, sessions: Sessions, i: int) -> _Client:
        person, role = int(sessions.person[i]), ROLES[sessions.role[i]]
        login = directory().logins[person]
        number = int(sessions.number[i])
        session_id = (block.day % 40_000) * 100_000 + number % 100_000
        if role in _DIRECT:
            device, address = int(sessions.device[i]), dotted(int(sessions.address[i]))
            return cls(login, login.upper(), f"WS{device}", f"ws-{device}", address, "sqlplus", session_id)
        # Everybody else reaches the database through the application, which passes the name on.
        server = 1 + number % 4
        host, user = f"los-app-{server:02d}", "SVC_BATCH" if role == "batch" else "LOS_APP"
        return cls(login, user, "unknown", host, f"10.99.1.{server}", "JDBC Thin Client", session_id)


def _client(block: Block) -> Callable[[Sessions, int], tuple[bytes, bytes, bytes]]:
    def render(sessions: Sessions, i: int) -> tuple[bytes, bytes, bytes]:
        who = _Client.of(block, sessions, i)
        rest = {
            "DBID": _DATABASE_ID,
            "SESSIONID": str(who.session_id),
            "USERHOST": who.host,
            "CLIENT ADDRESS": who.address,
        }
        return (
            _values({"DATABASE USER": who.database_user}),
            _values({"CLIENT USER": who.login, "CLIENT TERMINAL": who.terminal}),
            _values(rest),
        )

    return render


def _values(values: dict[str, str]) -> bytes:
    return "".join(f"\n{key}:[{len(value)}] '{value}'" for key, value in values.items()).encode()
