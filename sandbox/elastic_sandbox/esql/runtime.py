"""What a running query calls back into Python for: failures that become warnings, and text that SQL cannot make.

DuckDB evaluates the branch of a CASE only for the rows that take it, so a failure costs nothing where there is none.
The two functions are registered once per database, on the first query: registering loads parts of DuckDB's client
that a sandbox without ES|QL never needs.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

from elastic_sandbox.documents.columns import ip_from_column, ip_to_column
from elastic_sandbox.indices.dates import EPOCH, format_date, parser

if TYPE_CHECKING:
    import duckdb

MAX_WARNINGS = 20
DATE_FORMAT = "strict_date_optional_time"


class Runtime:
    """The functions ``esql_fail`` and ``esql_text`` of one database."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._registered = False
        self._failures: dict[int, dict[int, dict[str, None]]] = {}
        self._numbers = count(1)

    def start(self) -> int:
        """A number for one query."""
        if not self._registered:
            from duckdb.func import SPECIAL

            make, text, number = self._connection.create_function, "VARCHAR", "BIGINT"
            make("esql_fail", self._fail, [number, number, text], text, null_handling=SPECIAL, side_effects=True)
            make("esql_text", _text, [text, text, text], text, null_handling=SPECIAL)
            self._registered = True
        query = next(self._numbers)
        self._failures[query] = {}
        return query

    def finish(self, number: int) -> dict[int, list[str]]:
        """The first messages of each place that failed in the query."""
        return {site: list(messages) for site, messages in self._failures.pop(number).items()}

    def close(self) -> None:
        """Forget the functions."""
        if self._registered:
            self._connection.remove_function("esql_fail")
            self._connection.remove_function("esql_text")
            self._registered = False

    def _fail(self, number: int, site: int, message: str) -> None:
        messages = self._failures[number].setdefault(site, {})
        if len(messages) < MAX_WARNINGS:
            messages[message] = None


def _text(function: str, value: str | None, option: str | None) -> str | None:
    return None if value is None or option is None else TEXT[function](value, option)


def java_double(value: str, _option: str = "") -> str:
    """``Double.toString``: ``1.0E10``, ``0.001``, ``1.0E-4``."""
    number = float(value)
    if math.isinf(number) or math.isnan(number):
        return {"inf": "Infinity", "-inf": "-Infinity"}.get(str(number), "NaN")
    if number == 0 or 1e-3 <= abs(number) < 1e7:
        text = repr(number)
        if "e" not in text:
            return text
    digits, exponent = f"{number!r}e0".split("e")[0], 0
    mantissa, _, power = repr(number).partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    exponent = len(whole.lstrip("0")) - 1 if whole.strip("0") else -(len(fraction) - len(fraction.lstrip("0"))) - 1
    digits = digits.rstrip("0") or "0"
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{exponent + int(power or 0)}"


def parse_ip(value: str, _option: str = "") -> str | None:
    """The column's form of an address; None for anything else."""
    try:
        return ip_to_column(str(ipaddress.ip_address(value)))
    except ValueError:
        return None


def parse_date(value: str, option: str = "") -> str | None:
    """Epoch milliseconds of a text in a format; None when it does not fit."""
    try:
        return str(parser(option or DATE_FORMAT)(value))
    except ValueError:
        return None


_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def parse_double(value: str, _option: str = "") -> str | None:
    """A number's text; None for what Java does not read as one (it forgives surrounding blanks)."""
    text = value.strip()
    return repr(float(text)) if _NUMBER.fullmatch(text) else None


def parse_whole(value: str, option: str) -> str | None:
    """A whole number within ``option`` bits; a fraction is rounded as Math.round does."""
    if re.fullmatch(r"[+-]?\d+", value):
        number = int(value)
    elif _NUMBER.fullmatch(value):
        number = math.floor(float(value) + 0.5)
    else:
        return None
    limit = 1 << (int(option) - 1)
    return str(number) if -limit <= number < limit else None


def _print_date(value: str, option: str) -> str:
    from datetime import timedelta

    from elastic_sandbox.ingest.java_time import printer

    if not option:
        return format_date(int(value))
    return printer(option)(EPOCH + timedelta(milliseconds=int(value)))


TEXT: dict[str, Callable[[str, str], str | None]] = {
    "double": java_double,
    "ip": lambda value, _: ip_from_column(value),
    "date": _print_date,
    "lower": lambda value, _: value.lower(),
    "upper": lambda value, _: value.upper(),
    "to_ip": parse_ip,
    "to_date": parse_date,
    "to_double": parse_double,
    "to_whole": parse_whole,
}


def source_text(source: Any, path: list[str]) -> list[str]:
    """All texts at a path of a document, in its order; keys may be dotted."""
    if isinstance(source, list):
        return [text for item in source for text in source_text(item, path)]
    if not path:
        if source is None or isinstance(source, dict):
            return []
        return [str(source).lower() if isinstance(source, bool) else str(source)]
    if not isinstance(source, dict):
        return []
    found: list[str] = []
    for cut in range(1, len(path) + 1):
        key = ".".join(path[:cut])
        if key in source:
            found += source_text(source[key], path[cut:])
    return found


def _source(value: str, option: str) -> str | None:
    import orjson

    found = source_text(orjson.loads(value), option.split("."))
    return orjson.dumps(found).decode() if found else None


TEXT["source"] = _source
