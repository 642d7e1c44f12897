"""The `oracle` adapter: Oracle Database audit as Elastic's integration stores it, and more.

It takes audit files (`.aud`, both record shapes) and rows of UNIFIED_AUDIT_TRAIL or DBA_AUDIT_TRAIL, from the `sql`
reader or as JSON lines. Facts of the files and of the mapping: `packages/oracle/data_stream/database_audit` of
elastic/integrations; of the views: Oracle's Database Reference. Deliberate differences, with their reasons, are listed
in docs/sources.md: `event.outcome` comes from STATUS or the return code instead of always `success`; database user,
privilege and object keep a field of their own; the SQL verb, the object and whether it was an administrator's act stand
as scalars under `audit.*`; `user.id` and `user.name` say who did it.

Oracle gives these records no id, so `event.id` is the SHA-256 of the record, as in Logstash: two records that are equal
to the last byte (same second, session and statement) are one event, and the second counts as a duplicate.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any

from elastic_ml.sources.adapters.ndjson import reason_of
from elastic_ml.sources.adapters.oracle_records import TIME_LINE, Block, read_values, split
from elastic_ml.sources.adapters.oracle_rows import row_id, row_time, row_values
from elastic_ml.sources.adapters.oracle_sql import is_privileged, sql_object, verb
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.records import KEPT_BYTES, Document, Raw, Rejected, record_id, timestamp
from elastic_ml.sources.strict_json import not_utf8, parse_object

ECS_VERSION = "8.11.0"

_PID = re.compile(r"(\d+)_\d+\.aud")
_HOST = re.compile(r"\(HOST=([^)]+)\)", re.IGNORECASE)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}", re.ASCII)
_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
# Oracle's name → field under oracle.database_audit, where it is not simply the name in small letters.
_FIELDS = {
    "ACTION NUMBER": "action_number",
    "SESSIONID": "session_id",
    "PRIVILEGE": "privilege",
    "STATUS": "status",
    "RETURNCODE": "returncode",
    "STATEMENT": "statement",
    "CURRENT_USER": "current_user",
    "COMMENT$TEXT": "comment_text",
}
_OWN_PLACE = frozenset({
    "LENGTH", "ACTION", "DATABASE USER", "USERID", "CLIENT USER", "OS$USERID", "CLIENT TERMINAL", "TERMINAL", "DBID",
    "ENTRYID", "USERHOST", "CLIENT ADDRESS", "OBJ$CREATOR", "OBJ$NAME",
})  # fmt: skip


class OracleAdapter:
    """Maps both shapes of audit files, cut by :mod:`elastic_ml.sources.adapters.oracle_records`, and rows.

    :param zone: of times that name none; without it such a record is rejected rather than guessed at.
    """

    def __init__(
        self, people: NameTable | None = None, *, zone: tzinfo | None = None, keep_original: bool = False
    ) -> None:
        self._people = people
        self._zone = zone
        self._keep_original = keep_original

    def __call__(self, records: Iterable[Raw]) -> Iterator[Document | Rejected]:
        """One document or reject per record; what stands between records is rejected too, a file's preamble is not."""
        for block in split(records):
            if block.kind == "preamble":
                continue
            try:
                document = self._of_row(block) if block.kind == "row" else self._of_record(block)
            except (ValueError, RecursionError) as error:
                yield Rejected(reason_of(error), block.position, block.data[:KEPT_BYTES])
                continue
            if self._keep_original:
                document["event"]["original"] = block.data.decode("utf-8", "replace")
            yield document

    def _of_record(self, block: Block) -> Document:
        values = block.values or _read_carefully(block)
        moment, zone = self._moment(block.data)
        document = self._document(values, moment, zone, record_id(block.data))
        if pid := _pid(block.position.rpartition(":")[0]):
            document["process"] = {"pid": pid}
        return document

    def _of_row(self, block: Block) -> Document:
        named = parse_object(block.data) if block.row is None else block.row
        row = {name.upper(): value for name, value in named.items()}
        moment, zone = row_time(row, self._zone)
        return self._document(row_values(row), moment, zone, row_id(row))

    def _document(self, values: dict[str, str], moment: datetime, zone: str | None, event_id: str) -> Document:
        get = values.get
        written = get("ACTION", "")
        is_code = written.isdigit()
        number = get("ACTION NUMBER") or (written if is_code else "")
        privilege = get("PRIVILEGE", "")
        client_name = get("CLIENT USER") or get("OS$USERID") or None
        database_user = get("DATABASE USER") or get("USERID") or None
        done = verb("" if is_code else written, number, get("ACTION_NAME", ""))
        schema, name = get("OBJ$CREATOR"), get("OBJ$NAME")
        if not name and written and not is_code:
            schema, name = sql_object(written)
        audit: dict[str, Any] = {}
        for key, value in values.items():
            if value and key not in _OWN_PLACE:
                audit[_FIELDS.get(key) or _field(key)] = value
        if written:
            audit["action"] = " ".join(written.split())
        if number:
            audit["action_number"] = number
        _nested(audit, values, database_user)
        # Scalars for learning: analytics skips every row in which a feature is an array.
        learned: dict[str, Any] = {"privileged": is_privileged(done, privilege, database_user or "")}
        if done:
            learned["verb"] = done
        if schema:
            learned["schema"] = schema
        if name:
            learned["object"] = name
        event: dict[str, Any] = {
            "kind": "event",
            "id": event_id,
            "dataset": "oracle.database_audit",
            "action": "database_audit",
            "category": ["database"],
            "type": ["access"],
            "outcome": _outcome(get("STATUS") or get("RETURNCODE")),
        }
        if zone:
            event["timezone"] = zone
        document: Document = {
            "@timestamp": timestamp(moment),
            "ecs": {"version": ECS_VERSION},
            "event": event,
            "oracle": {"database_audit": audit},
            "audit": learned,
        }
        comment = get("COMMENT$TEXT") or get("AUTHENTICATION_TYPE") or ""
        client = _address(get("CLIENT ADDRESS") or (_host_in(comment) if comment else None) or get("CLIENT HOST"))
        server = _address(get("USERHOST"))
        _ends(document, client, client_name, server, database_user)
        if who := client_name or database_user:
            document["user"] = {"id": self._person(client_name, database_user), "name": who}
        if privilege:
            document.setdefault("user", {})["roles"] = [role.strip() for role in privilege.split(",")]
        if pid := _whole(get("OS_PROCESS")):
            document["process"] = {"pid": pid}
        return document

    def _person(self, client_name: str | None, database_user: str | None) -> str | None:
        if self._people is None:
            return client_name or database_user
        return self._people.first_person([name for name in (client_name, database_user) if name])

    def _moment(self, data: bytes) -> tuple[datetime, str | None]:
        """The time of a record, and the offset that it is written with."""
        found = TIME_LINE.match(data[: data.find(b"\n")] if b"\n" in data else data)
        if found is None:
            raise ValueError("no Oracle audit record: it does not start with a time line")
        zone, offset = _fixed_zone(found["offset"]) if found["offset"] else (self._zone, None)
        if zone is None:
            raise ValueError(
                "the time line has no UTC offset, so the time of the event is unknown: set `timezone` in the source"
            )
        month = _MONTHS.get(found["month"])
        if month is None:
            raise ValueError(f"{found['month'].decode()} is no month")
        clock = found["time"]
        moment = datetime(
            int(found["year"]),
            month,
            int(found["day"]),
            int(clock[:2]),
            int(clock[3:5]),
            int(clock[6:]),
            int((found["fraction"] or b"")[:6].ljust(6, b"0")),
            tzinfo=zone,
        )
        return moment, offset


def _read_carefully(block: Block) -> dict[str, str]:
    """The values of a record that :func:`read_exactly` could not take; raises ValueError with the reason."""
    if block.problem:
        raise ValueError(block.problem)
    try:
        block.data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(not_utf8(block.data, error.start)) from None
    if b"\0" in block.data:
        raise ValueError("it holds NUL bytes")
    if block.kind == "stray":
        raise ValueError("these lines belong to no Oracle audit record")
    values, leftover = read_values(block.data)
    if leftover:
        raise ValueError(f"not an Oracle audit value: {leftover[:200]!r}")
    if "ACTION" not in values and "SESSIONID" not in values:
        raise ValueError("no Oracle audit record: neither ACTION nor SESSIONID")
    return values


def _nested(audit: dict[str, Any], values: Mapping[str, str], database_user: str | None) -> None:
    """The fields that the integration nests, or that are numbers."""
    get = values.get
    if creator_or_name := {
        field: value for field, key in (("creator", "OBJ$CREATOR"), ("name", "OBJ$NAME")) if (value := get(key))
    }:
        audit["obj"] = creator_or_name
    if terminal := get("CLIENT TERMINAL") or get("TERMINAL"):
        audit["client"] = {"terminal": terminal}
    database = {}
    if dbid := get("DBID"):
        database["id"] = dbid
    if database_user:
        database["user"] = database_user
    if database:
        audit["database"] = database
    if (entry := _whole(get("ENTRYID"))) is not None:
        audit["entry"] = {"id": entry}
    if (length := _whole(get("LENGTH"))) is not None:
        audit["length"] = length


def _ends(
    document: Document,
    client: Mapping[str, str],
    client_name: str | None,
    server: Mapping[str, str],
    database_user: str | None,
) -> None:
    """Client, server, and everything that they are related to."""
    for role, end, name in (("client", client, client_name), ("server", server, database_user)):
        if end or name:
            document[role] = {**end, "user": {"name": name}} if name else dict(end)
    related = {}
    for field, values in (
        ("user", (database_user, client_name)),
        ("ip", (client.get("ip"), server.get("ip"))),
        ("hosts", (client.get("domain"), server.get("domain"))),
    ):
        first, second = values
        if first and second and first != second:
            related[field] = [first, second]
        elif one := first or second:
            related[field] = [one]
    if related:
        document["related"] = related


def _outcome(code: str | None) -> str:
    """Oracle's own result: 0 is success, any other code failure; a record without one is `unknown`."""
    if not code:
        return "unknown"
    return "success" if code == "0" else "failure"


@lru_cache(maxsize=256)
def _fixed_zone(written: bytes) -> tuple[tzinfo, str]:
    if written in {b"Z", b"UTC"}:
        return UTC, "+00:00"
    minutes = int(written[1:3]) * 60 + int(written[4:6])
    return timezone(timedelta(minutes=-minutes if written[:1] == b"-" else minutes)), written.decode()


@lru_cache(maxsize=4096)
def _address(text: str | None) -> Mapping[str, str]:
    if not text:
        return {}
    if _IPV4.fullmatch(text):  # ten times as fast as asking
        return {"address": text, "ip": text}
    try:
        return {"address": text, "ip": str(ipaddress.ip_address(text))}
    except ValueError:
        return {"address": text, "domain": text}


@lru_cache(maxsize=64)
def _pid(file: str) -> int | None:
    found = _PID.search(file)
    return int(found[1]) if found else None


def _host_in(comment: str) -> str | None:
    found = _HOST.search(comment)
    return found[1] if found else None


def _whole(text: str | None) -> int | None:
    return int(text) if text and len(text) <= 18 and text.isascii() and text.isdigit() else None


@lru_cache(maxsize=1024)
def _field(key: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")
