"""Rows of Oracle's audit views, in the names that audit files use, so that one mapping serves both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

from elastic_ml.sources.records import parse_time

# Of the same columns and values always the same text, and ASCII, whatever strings hold.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

# Columns of UNIFIED_AUDIT_TRAIL and DBA_AUDIT_TRAIL → what an audit file calls the same.
_COLUMNS = {
    "SQL_TEXT": "ACTION",
    "ACTION": "ACTION NUMBER",
    "DBUSERNAME": "DATABASE USER",
    "USERNAME": "DATABASE USER",
    "OS_USERNAME": "CLIENT USER",
    "USERHOST": "CLIENT HOST",  # the session's client; the integration takes a file's USERHOST for the server
    "TERMINAL": "CLIENT TERMINAL",
    "RETURN_CODE": "RETURNCODE",
    "ENTRY_ID": "ENTRYID",
    "STATEMENT_ID": "STATEMENT",
    "STATEMENTID": "STATEMENT",
    "OBJECT_SCHEMA": "OBJ$CREATOR",
    "OWNER": "OBJ$CREATOR",
    "OBJECT_NAME": "OBJ$NAME",
    "OBJ_NAME": "OBJ$NAME",
    "SYSTEM_PRIVILEGE_USED": "PRIVILEGE",
    "PRIV_USED": "PRIVILEGE",
    "COMMENT_TEXT": "COMMENT$TEXT",
}
# The first is UTC by definition; of the others only some name their zone.
_TIMES = ("EVENT_TIMESTAMP_UTC", "EVENT_TIMESTAMP", "EXTENDED_TIMESTAMP", "TIMESTAMP")
_REQUIRED = ("ACTION_NAME", "SQL_TEXT", "ACTION")


_UNKNOWN = timezone(timedelta(0), "unknown")  # marks a time whose zone is not known; told apart by identity


def row_values(row: Mapping[str, Any]) -> dict[str, str]:
    """The values of a row by the names of audit files; columns without such a name keep theirs.

    :param row: column in capitals → value.
    :raises ValueError: it is no row of an audit view.
    """
    if not any(row.get(name) is not None for name in _REQUIRED):
        raise ValueError("no Oracle audit row: neither ACTION_NAME nor SQL_TEXT nor ACTION")
    values: dict[str, str] = {}
    for name, value in row.items():
        if type(value) is str:
            if value:
                values[_COLUMNS.get(name, name)] = value
        elif isinstance(value, dict | list):
            raise ValueError(f"the column {name} is {type(value).__name__}")
        elif value is not None:
            values[_COLUMNS.get(name, name)] = str(value)
    return values


def row_time(row: Mapping[str, Any], zone: tzinfo | None) -> tuple[datetime, str | None]:
    """When it happened, and the offset that the row itself names (None when it names none).

    :param zone: of a time that names none, None to refuse such a row.
    :raises ValueError: it has no usable time.
    """
    for name in _TIMES:
        written = row.get(name)
        if written is None or written == "":
            continue
        if not isinstance(written, str):
            raise ValueError(f"{name} {written!r} is no time")  # noqa: TRY004 - a record's fault
        if name == "EVENT_TIMESTAMP_UTC":
            return parse_time(written, UTC), None
        moment = parse_time(written, zone or _UNKNOWN)
        if moment.tzinfo is _UNKNOWN:
            raise ValueError(
                f"{name} has no UTC offset, so the time of the event is unknown: select EVENT_TIMESTAMP_UTC, or set "
                "`timezone` in the source file"
            )
        return moment, None if moment.tzinfo is zone else moment.isoformat()[-6:]
    raise ValueError(f"no Oracle audit row: none of {', '.join(_TIMES)}")


def row_id(row: Mapping[str, Any]) -> str:
    """The `event.id` of a row: SHA-256 over its columns in the order of their names.

    Neither the order of the columns nor the zone of the session that read it may change it: where the time in UTC is
    there, the same time in the session's zone is left out.
    """
    if row.get("EVENT_TIMESTAMP_UTC") and "EVENT_TIMESTAMP" in row:
        row = {name: value for name, value in row.items() if name != "EVENT_TIMESTAMP"}
    return hashlib.sha256(_encode(row).encode()).hexdigest()
