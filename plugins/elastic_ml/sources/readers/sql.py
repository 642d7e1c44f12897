"""The `sql` reader: rows of a table, view or query of any database that Airflow has a hook for, as JSON objects.

Rows are fetched in batches from a cursor that stays on the server, so memory does not grow with their number. The
partition's window is only ever bound, never written into the text of the query.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import ConnectionSettingsError, IngestError
from elastic_ml.project.source import IDENTIFIER_PATTERN, SqlOptions
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.readers.files import airflow_connection
from elastic_ml.sources.records import KEPT_BYTES, LONGEST_RECORD, Raw
from elastic_ml.sources.strict_json import encode_record

if TYPE_CHECKING:
    from elastic_ml.project.source import Source

# Oracle: EVENT_TIMESTAMP is in the session's time zone and its drivers drop the zone; this one is UTC (since 18c).
UNIFIED_AUDIT_TIME = "event_timestamp_utc"

_BIND = {
    "utc": lambda moment: moment.replace(tzinfo=None),
    "aware": lambda moment: moment,
    "text": lambda moment: moment.strftime("%Y-%m-%d %H:%M:%S"),
    "epoch_ms": lambda moment: int(moment.timestamp() * 1000),
}
# What may hold a colon or a percent sign and binds nothing: strings, quoted names, comments, casts.
_SQL_PARTS = re.compile(
    r"(?P<opaque>'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|--[^\n]*|/\*.*?\*/|::)|(?<!\w):(?P<name>start|end)\b", re.DOTALL
)


def read(source: Source, partition: Partition) -> Iterator[Raw]:
    """Yield every row of the partition as a JSON object, keys as the database names its columns.

    Times become ISO 8601 (without a zone where the column has none), numbers stay numbers, binary values become hex,
    large objects are read. NULLs are left out.

    :raises ConnectionSettingsError: the connection does not exist or is no SQL database.
    :raises IngestError: the database refused the query or stopped answering; the sentence says after which row.
    """
    options = SqlOptions.model_validate(source.reader.options)
    query = query_of(str(source.reader.path), options)
    bound = {"start": _BIND[options.bind](partition.start), "end": _BIND[options.bind](partition.end)}
    connection = _connect(source)
    number = 0
    with contextlib.closing(connection):
        try:
            with contextlib.closing(_cursor(connection, options.arraysize)) as cursor:
                cursor.execute(*_bound_query(query, bound, paramstyle(connection)))
                names = [str(column[0]) for column in cursor.description]
                while rows := cursor.fetchmany(options.arraysize):
                    for row in rows:
                        number += 1
                        yield _raw(names, row, number)
        except (GeneratorExit, IngestError):
            raise
        except Exception as error:
            raise _refused(source, partition, number, error) from error


def query_of(path: str, options: SqlOptions) -> str:
    """The query: the one that the source gives, or one over its table or view, ordered by time."""
    if not re.match(IDENTIFIER_PATTERN, path):
        return path.strip().rstrip(";")
    columns = ", ".join(options.columns) or "*"
    time = options.time_column or UNIFIED_AUDIT_TIME
    # Names only, checked against IDENTIFIER_PATTERN when the file was read; values are bound.
    return f"SELECT {columns} FROM {path} WHERE {time} >= :start AND {time} < :end ORDER BY {time}"  # noqa: S608


def paramstyle(connection: Any) -> str:
    """How the connection's driver marks parameters (PEP 249), asked of the driver itself."""
    package = type(connection).__module__.partition(".")[0]
    with contextlib.suppress(ImportError):
        style = getattr(importlib.import_module(package), "paramstyle", None)
        if isinstance(style, str):
            return style
    return "pyformat"


def _bound_query(query: str, bound: Mapping[str, Any], style: str) -> tuple[str, Any]:
    """The query with the driver's own marks, and the values in the shape that those marks take."""
    taken: list[str] = []
    percent = style in {"format", "pyformat"}

    def mark(found: re.Match[str]) -> str:
        name = found["name"]
        if name is None:
            return found[0].replace("%", "%%") if percent else found[0]
        taken.append(name)
        return {
            "named": f":{name}",
            "pyformat": f"%({name})s",
            "format": "%s",
            "qmark": "?",
            "numeric": f":{len(taken)}",
        }[style]

    parts: list[str] = []
    at = 0
    for found in _SQL_PARTS.finditer(query):
        between = query[at : found.start()]
        parts += [between.replace("%", "%%") if percent else between, mark(found)]
        at = found.end()
    parts.append(query[at:].replace("%", "%%") if percent else query[at:])
    values = dict(bound) if style in {"named", "pyformat"} else [bound[name] for name in taken]
    return "".join(parts), values


def _connect(source: Source) -> Any:
    conn_id = str(source.reader.conn_id)
    connection = airflow_connection(conn_id, source)
    try:
        hook = connection.get_hook()
    except Exception as error:
        raise ConnectionSettingsError(
            f"The connection {conn_id} of the source {source.name} has the type {connection.conn_type}, for which "
            f"Airflow has no hook here ({type(error).__name__}: {error}).",
            remedy="Install the Airflow provider of that database where the workers run.",
        ) from error
    if not hasattr(hook, "get_conn") or not hasattr(hook, "placeholder"):
        raise ConnectionSettingsError(
            f"The connection {conn_id} of the source {source.name} has the type {connection.conn_type}, which is no "
            "SQL database.",
            remedy="Name a connection whose hook is a DbApiHook: oracle, postgres, mysql, mssql, sqlite, ...",
        )
    try:
        return hook.get_conn()
    except Exception as error:
        # Some drivers repeat the whole connection string; so neither it nor the original error goes on.
        said = str(error).replace(connection.password, "***") if connection.password else str(error)
        raise IngestError(
            f"The database of the connection {conn_id}, which the source {source.name} reads, cannot be reached "
            f"({type(error).__name__}: {said}).",
            remedy="Check host, user and rights of the connection, and whether the database is up.",
        ) from None


def _unbuffered(module: str) -> Callable[[Any], Any]:
    return lambda connection: connection.cursor(importlib.import_module(module).SSCursor)


# Cursors of these drivers hold the whole result in the client unless asked otherwise; all others stream.
_SERVER_SIDE: dict[str, Callable[[Any], Any]] = {
    "psycopg2": lambda connection: connection.cursor("elastic_ml"),
    "psycopg": lambda connection: connection.cursor("elastic_ml"),
    "MySQLdb": _unbuffered("MySQLdb.cursors"),
    "pymysql": _unbuffered("pymysql.cursors"),
}


def _cursor(connection: Any, arraysize: int) -> Any:
    package = type(connection).__module__.partition(".")[0]
    cursor = _SERVER_SIDE.get(package, lambda plain: plain.cursor())(connection)
    cursor.arraysize = arraysize
    for name in ("itersize", "prefetchrows"):  # psycopg2 and oracledb fetch by these
        if hasattr(cursor, name):
            setattr(cursor, name, arraysize)
    return cursor


def _raw(names: list[str], row: Any, number: int) -> Raw:
    position = f"row {number}"
    try:
        record = {name: _value(value) for name, value in zip(names, row, strict=True) if value is not None}
        data = encode_record(record)
    except (ValueError, TypeError) as error:
        return Raw(str(row).encode("utf-8", "replace")[:KEPT_BYTES], position, str(error), number == 1)
    if len(data) > LONGEST_RECORD:
        return Raw(data[:KEPT_BYTES], position, f"longer than {LONGEST_RECORD // 1024 // 1024} MiB", number == 1)
    return Raw(data, position, "", number == 1, record)


def _value(value: Any) -> Any:
    """A column's value as JSON has it."""
    kind = type(value)
    if kind is str or kind is int or kind is bool:
        return value
    if kind is float:
        if value - value != 0:
            raise ValueError(f"{value} is no JSON number")
        return value
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{value} is no JSON number")
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if hasattr(value, "read"):  # a LOB, which is only a locator until it is read
        return _large_object(value)
    return str(value)


def _large_object(value: Any) -> Any:
    size = value.size() if callable(getattr(value, "size", None)) else 0
    if size > LONGEST_RECORD:
        raise ValueError(f"a large object of {size} characters is longer than a record may be")
    return _value(value.read())


def _refused(source: Source, partition: Partition, number: int, error: Exception) -> IngestError:
    where = f"after row {number}" if number else "before its first row"
    return IngestError(
        f"The database of the connection {source.reader.conn_id} failed {where} of {partition.key} of the source "
        f"{source.name} ({type(error).__name__}: {error}).",
        remedy="Check the query in the source file and the user's right to read it; then run the partition again: what "
        "was read before counts as duplicate then.",
    )
