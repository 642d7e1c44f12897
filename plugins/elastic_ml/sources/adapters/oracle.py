"""The `oracle` adapter: Oracle Database audit files (`.aud`) as Elastic's integration stores them, and more.

Facts of both record shapes and of the mapping: `packages/oracle/data_stream/database_audit` of elastic/integrations.
Where it differs, on purpose: `event.outcome` comes from STATUS or RETURNCODE instead of always `success`; database
user, privilege and object keep a field of their own, which that pipeline moves or drops; the SQL verb, the object and
whether it was an administrator's act stand as scalars under `audit.*`; `user.id` and `user.name` say who did it.

Oracle gives these records no id, so `event.id` is the SHA-256 of the record, as in Logstash: two records that are equal
to the last byte (same second, session and statement) are one event, and the second counts as a duplicate.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from elastic_ml.sources.adapters.oracle_records import TIME_LINE, Block, read_values, split
from elastic_ml.sources.adapters.oracle_sql import privileged, sql_object, verb
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.records import KEPT_BYTES, Document, Raw, Rejected, pruned, record_id, timestamp

ECS_VERSION = "8.11.0"

_PID = re.compile(r"(\d+)_\d+\.aud")
_HOST = re.compile(r"\(HOST=([^)]+)\)", re.IGNORECASE)
_OWN_PLACE = frozenset({
    "LENGTH", "ACTION", "ACTION NUMBER", "DATABASE USER", "USERID", "CURRENT_USER", "PRIVILEGE", "CLIENT USER",
    "OS$USERID", "CLIENT TERMINAL", "TERMINAL", "STATUS", "RETURNCODE", "DBID", "SESSIONID", "ENTRYID", "STATEMENT",
    "USERHOST", "CLIENT ADDRESS", "OBJ$CREATOR", "OBJ$NAME", "COMMENT$TEXT",
})  # fmt: skip


class OracleAdapter:
    """Maps both shapes of Oracle audit records, cut by :mod:`elastic_ml.sources.adapters.oracle_records`."""

    def __init__(self, people: NameTable | None = None) -> None:
        self._people = people

    def __call__(self, records: Iterable[Raw]) -> Iterator[Document | Rejected]:
        """One document or reject per record; what stands between records is rejected too, a file's preamble is not."""
        for block in split(records):
            if block.kind == "preamble":
                continue
            try:
                yield self._document(block)
            except ValueError as error:
                yield Rejected(str(error), block.position, block.data[:KEPT_BYTES])

    def _document(self, block: Block) -> Document:
        if block.kind == "stray":
            raise ValueError("these lines belong to no Oracle audit record")
        moment = _moment(block.data)
        values, leftover = read_values(block.data)
        if leftover:
            raise ValueError(f"not an Oracle audit value: {leftover[:200]!r}")
        if "ACTION" not in values and "SESSIONID" not in values:
            raise ValueError("no Oracle audit record: neither ACTION nor SESSIONID")
        action = re.sub(r"\s+", " ", values.get("ACTION", ""))
        number = values.get("ACTION NUMBER") or (action if action.isdigit() else "")
        done = verb(values.get("ACTION", ""), number)
        schema, name = _object(values)
        client_name, database_user = _who(values)
        privilege = values.get("PRIVILEGE", "")
        client_address = values.get("CLIENT ADDRESS") or _host_in(values.get("COMMENT$TEXT", ""))
        client, server = _address(client_address), _address(values.get("USERHOST"))
        pid = _PID.search(block.position)
        return pruned(
            {
                "@timestamp": timestamp(moment),
                "ecs": {"version": ECS_VERSION},
                "event": {
                    "kind": "event",
                    "id": record_id(block.data),
                    "dataset": "oracle.database_audit",
                    "action": "database_audit",
                    "category": ["database"],
                    "type": ["access"],
                    "outcome": _outcome(values),
                    "timezone": _offset(moment),
                },
                "client": {**client, "user": {"name": client_name}},
                "server": {**server, "user": {"name": database_user}},
                "user": {
                    "id": self._person(client_name, database_user),
                    "name": client_name or database_user,
                    "roles": [privilege],
                },
                "process": {"pid": int(pid[1]) if pid else None},
                "related": {
                    "user": _distinct(database_user, client_name),
                    "ip": _distinct(client.get("ip"), server.get("ip")),
                    "hosts": _distinct(client.get("domain"), server.get("domain")),
                },
                "oracle": {
                    "database_audit": {
                        **{_field(key): value for key, value in values.items() if key not in _OWN_PLACE},
                        "action": action,
                        "action_number": number,
                        "privilege": privilege,
                        "obj": {"creator": values.get("OBJ$CREATOR"), "name": values.get("OBJ$NAME")},
                        "client": {"terminal": values.get("CLIENT TERMINAL") or values.get("TERMINAL")},
                        "database": {"id": values.get("DBID"), "user": database_user},
                        "current_user": values.get("CURRENT_USER"),
                        "entry": {"id": _whole(values.get("ENTRYID"))},
                        "statement": values.get("STATEMENT"),
                        "comment_text": values.get("COMMENT$TEXT"),
                        "length": _whole(values.get("LENGTH")),
                        "session_id": values.get("SESSIONID"),
                        "status": values.get("STATUS"),
                        "returncode": values.get("RETURNCODE"),
                    }
                },
                # Scalars for learning: analytics skips every row in which a feature is an array.
                "audit": {
                    "verb": done,
                    "schema": schema,
                    "object": name,
                    "privileged": privileged(done, privilege, database_user or ""),
                },
            }
        )

    def _person(self, *names: str | None) -> str | None:
        known = [name for name in names if name]
        if self._people is None or not known:
            return known[0] if known else None
        return self._people.first_person(known)


def _moment(data: bytes) -> datetime:
    found = TIME_LINE.match(data.split(b"\n", 1)[0])
    if found is None:
        raise ValueError("no Oracle audit record: it does not start with a time line")
    if not found["offset"]:
        raise ValueError("the time line has no UTC offset, so the time of the event is unknown")
    offset = found["offset"].replace(b"UTC", b"+00:00").replace(b"Z", b"+00:00")
    text = b" ".join([found["month"], found["day"], found["time"], found["year"], offset]).decode()
    return datetime.strptime(text, "%b %d %H:%M:%S %Y %z")


def _offset(moment: datetime) -> str:
    return moment.isoformat()[-6:]


def _outcome(values: dict[str, str]) -> str:
    """Oracle's own result: 0 is success, any other code failure; a record without one is `unknown`."""
    code = values.get("STATUS") or values.get("RETURNCODE")
    if not code:
        return "unknown"
    return "success" if code == "0" else "failure"


def _object(values: dict[str, str]) -> tuple[str | None, str | None]:
    if values.get("OBJ$NAME"):
        return values.get("OBJ$CREATOR"), values["OBJ$NAME"]
    action = values.get("ACTION", "")
    return (None, None) if action.isdigit() else sql_object(action)


def _who(values: dict[str, str]) -> tuple[str | None, str | None]:
    """Names of the operating system user and of the database user."""
    return (
        values.get("CLIENT USER") or values.get("OS$USERID") or None,
        values.get("DATABASE USER") or values.get("USERID") or None,
    )


def _address(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    try:
        return {"address": text, "ip": str(ipaddress.ip_address(text))}
    except ValueError:
        return {"address": text, "domain": text}


def _host_in(comment: str) -> str | None:
    found = _HOST.search(comment)
    return found[1] if found else None


def _whole(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,18}", text) else None


def _field(key: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")


def _distinct(*values: str | None) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))
