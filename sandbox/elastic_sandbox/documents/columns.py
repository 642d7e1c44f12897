"""How the fields of one index become columns of its DuckDB table.

Columns are named ``c0``, ``c1``, ... in order of first appearance, because DuckDB's column names are
case-insensitive and Elasticsearch's fields are not. A column is scalar until a document brings two values; then
it becomes a list column for good, since most audit fields never do and scalars aggregate several times faster.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

SQL_TYPES = {
    "keyword": "VARCHAR",
    "wildcard": "VARCHAR",
    "ip": "VARCHAR",
    "text": "VARCHAR",
    "match_only_text": "VARCHAR",
    "long": "BIGINT",
    "integer": "BIGINT",
    "short": "BIGINT",
    "byte": "BIGINT",
    "date": "BIGINT",
    "unsigned_long": "UBIGINT",
    "double": "DOUBLE",
    "scaled_float": "DOUBLE",
    "half_float": "DOUBLE",
    "float": "DOUBLE",
    "boolean": "BOOLEAN",
    "nested": "VARCHAR",
    "flattened": "VARCHAR",
    "geo_point": "VARCHAR",
}
"""Field type to column type. Dates are UTC milliseconds; IPs are 32 hex digits, which sort as addresses do; text
is kept as its tokens; nested, flattened and geo_point are JSON text. ``constant_keyword`` needs no column."""

TEXT_TYPES = frozenset({"text", "match_only_text"})
JSON_TYPES = frozenset({"nested", "flattened", "geo_point"})
ALWAYS_LISTS = TEXT_TYPES

# UAX #29 in the small: words of letters and digits, joined by an apostrophe, dot or colon between letters and by a
# dot or comma between digits, as Lucene's standard tokenizer does for Latin text.
_TOKEN = re.compile(r"\w+(?:(?:(?<=[^\W\d_])['’.:](?=[^\W\d_])|(?<=\d)[.,](?=\d))\w+)*")


@lru_cache(maxsize=8192)
def tokens(text: str) -> tuple[str, ...]:
    """The terms the ``standard`` analyzer makes of a text, in order."""
    return tuple(_TOKEN.findall(text.lower()))


@lru_cache(maxsize=65536)
def ip_to_column(address: str) -> str:
    """16 bytes of the address as hex, IPv4 mapped into IPv6: what Lucene indexes, in an order SQL can compare."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return f"{0xFFFF00000000 | int(parsed):032x}"
    return f"{int(parsed):032x}"


def ip_from_column(digits: str) -> str:
    """The printed address of :func:`ip_to_column`."""
    number = int(digits, 16)
    if number >> 32 == 0xFFFF:
        return str(ipaddress.IPv4Address(number & 0xFFFFFFFF))
    return str(ipaddress.IPv6Address(number))


def one_of(numbers: list[int]) -> tuple[str, Any]:
    """A condition on a column of numbers, and its parameter; the join of many costs a single one half a millisecond."""
    return ("= ?", numbers[0]) if len(numbers) == 1 else ("IN (SELECT unnest(?))", numbers)


@dataclass(frozen=True)
class Column:
    """One field's column: ``name`` in the table, the field's ``path`` and type, and whether it holds lists."""

    name: str
    path: str
    type: str
    multi: bool

    @property
    def sql_type(self) -> str:
        """The DuckDB type, with ``[]`` when the column holds lists."""
        return SQL_TYPES[self.type] + ("[]" if self.multi else "")

    def encoder(self) -> Callable[[list[Any]], Any] | None:
        """Turns a document's values of this field into what the column stores; None when they are that already."""
        if self.type in TEXT_TYPES:
            return lambda values: list(dict.fromkeys(token for value in values for token in tokens(str(value))))
        if self.type in JSON_TYPES:
            return lambda values: [orjson.dumps(values).decode()]
        if self.type == "ip":
            return lambda values: [ip_to_column(value) for value in values]
        return None


@dataclass(frozen=True)
class Schema:
    """The columns of a table at one moment; replaced, never changed, so that an open search keeps its own."""

    table: str
    columns: dict[str, Column]
    created: bool

    def to_json(self) -> str:
        """For the table of tables."""
        return orjson.dumps([[c.name, c.path, c.type, c.multi] for c in self.columns.values()]).decode()

    @classmethod
    def from_json(cls, table: str, text: str) -> Schema:
        """Back from :meth:`to_json`."""
        columns = {row[1]: Column(*row) for row in orjson.loads(text)}
        return cls(table, columns, created=True)
