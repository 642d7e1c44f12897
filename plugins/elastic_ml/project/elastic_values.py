"""Sizes, times, numbers and words as Elasticsearch reads them in a body: nothing else would pass its parsers.

The rules are those of its own classes `ByteSizeValue`, `TimeValue`, `TimeUtils` and `ObjectParser`: a number or `true`
may stand in quotes, the words of an enumeration may be in capitals. Such values become what the server would show, so
that comparing with it finds no difference.
"""

from __future__ import annotations

import difflib
import re
from decimal import Decimal
from math import isfinite
from typing import Annotated

from pydantic import AfterValidator

from elastic_ml.project.yaml_files import InvalidValueError

MEBIBYTE = 1 << 20
_LONGEST = 2**63 - 1
_SIZES = {"k": 1, "kb": 1, "m": 2, "mb": 2, "g": 3, "gb": 3, "t": 4, "tb": 4, "p": 5, "pb": 5, "b": 0}
_SIZE = re.compile(r"(?P<number>.*?)\s*(?P<unit>[kmgtp]b?|b)")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2})?")
_NANOS = {"nanos": 1, "micros": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_TIME = re.compile(r"\s*(?P<number>[+-]?\d+)\s*(?P<unit>nanos|micros|ms|s|m|h|d)\s*", re.IGNORECASE)


def parse_bytes(written: str) -> int:
    """Bytes of a size such as `64mb` or `1.5g`; raises InvalidValueError for what Elasticsearch cannot read."""
    if written in {"0", "-1"}:
        return int(written)
    remedy = "write a number and b, kb, mb, gb, tb or pb, as in 64mb"
    text = written.strip().lower()
    found = _SIZE.fullmatch(text)
    if found is None or not _DECIMAL.fullmatch(found["number"]):
        lacking = ": its unit is missing" if _DECIMAL.fullmatch(text) else ""
        raise InvalidValueError(f"{written!r} is no size{lacking}", remedy)
    number, unit = Decimal(found["number"]), found["unit"]
    if number < 0:
        raise InvalidValueError(f"{written!r} is negative", remedy)
    if -int(number.as_tuple().exponent) > (0 if unit == "b" else 2):
        raise InvalidValueError(f"{written!r} has too many decimal places", remedy)
    size = int((number * 1024 ** _SIZES[unit]).to_integral_value("ROUND_UP"))
    if size > _LONGEST:
        raise InvalidValueError(f"{written!r} is more than {_LONGEST} bytes", "write less")
    return size


def parse_time(written: str) -> int:
    """Nanoseconds of a time such as `150s`; raises InvalidValueError for what Elasticsearch cannot read."""
    if re.fullmatch(r"\s*0+\s*", written):
        return 0
    found = _TIME.fullmatch(written)
    # `M` would be months, and Elasticsearch looks at a minute's letter where the text ends.
    if found is None or (found["unit"] == "M" or (found["unit"] == "m" and not written.endswith("m"))):
        raise InvalidValueError(
            f"{written!r} is no time", "write a whole number and ms, s, m, h or d, as in 150s or 15m"
        )
    number = int(found["number"])
    if number < 0:
        raise InvalidValueError(f"{written!r} is negative", "write a whole number and ms, s, m, h or d, as in 150s")
    if number > _LONGEST:
        raise InvalidValueError(f"{written!r} is too long", "write less")
    return min(number * _NANOS[found["unit"].lower()], _LONGEST)


def _a_time(*, lowest: str | None = None, step: str = "1ms") -> AfterValidator:
    """A time that is not below `lowest` (none: above zero) and a whole multiple of `step`."""

    def check(written: str) -> str:
        nanos = parse_time(written)
        if nanos <= 0 if lowest is None else nanos < parse_time(lowest):
            least = "longer than 0" if lowest is None else f"at least {lowest}"
            raise InvalidValueError(f"{written!r} is too short", f"write a time that is {least}")
        if nanos % parse_time(step):
            raise InvalidValueError(f"{written!r} is no multiple of {step}", "write whole seconds, as in 150s")
        return written

    return AfterValidator(check)


Delay = Annotated[str, _a_time(lowest="0")]
"""A time that may be none: `0s`."""
Seconds = Annotated[str, _a_time(step="1s")]
"""A time of whole seconds, above zero."""
WholeSeconds = Annotated[str, _a_time(lowest="0", step="1s")]
"""A time of whole seconds, or none."""
Period = Annotated[str, _a_time(lowest="1ms", step="1nanos")]
"""A time of a millisecond or more."""
PersistInterval = Annotated[str, _a_time(lowest="1h", step="1s")]
"""How often a job saves its model: not below an hour."""


def _memory(written: int | float | str) -> int | float | str:
    """A number is mebibytes; a job's limit is kept in whole ones, and one is the least."""
    size = parse_bytes(written) if isinstance(written, str) else written * MEBIBYTE
    if not MEBIBYTE <= size <= _LONGEST:
        raise InvalidValueError(f"{written!r} is no memory limit", "write 1mb or more, as in 64mb")
    return written


Memory = Annotated[int | float | str, AfterValidator(_memory)]
"""A memory limit."""


def number(
    low: float | None = None, high: float | None = None, *, above: bool = False, whole: bool = False
) -> AfterValidator:
    """A number from `low` (or above it) to `high`; in quotes, too."""
    kind = "whole number" if whole else "number"
    most = high if high is not None else _LONGEST if whole else float("inf")
    if low is not None and high is not None:
        range_ = f"a {kind} above {low} and up to {high}" if above else f"a {kind} from {low} to {high}"
    else:
        range_ = f"a {kind} above {low}" if above else f"a {kind}" if low is None else f"a {kind} from {low} on"

    def check(written: int | float | str) -> int | float:
        try:
            value = float(written)
        except ValueError:
            raise InvalidValueError(f"{written!r} is no number", f"write {range_}") from None
        above_low = low is None or (value > low if above else value >= low)
        if not (isfinite(value) and above_low and value <= most):
            raise InvalidValueError(f"{written!r} is out of range", f"write {range_}")
        if isinstance(written, int):
            return written
        return int(value) if whole else value

    return AfterValidator(check)


Number = int | float | str
"""A number, or one in quotes; to be annotated with `number()`."""


def _truth(written: bool | str) -> bool:
    if isinstance(written, str) and written not in {"true", "false"}:
        raise InvalidValueError(f"{written!r} is neither true nor false", "write true or false")
    return written in {True, "true"}


Truth = Annotated[bool | str, AfterValidator(_truth)]
"""True or false; in quotes, too."""


def one_of(*words: str) -> AfterValidator:
    """One of these words, in capitals or not."""

    def check(written: str) -> str:
        word = written.lower()
        if word not in words:
            near = difflib.get_close_matches(word, words, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"write {', '.join(words[:-1])} or {words[-1]}"
            raise InvalidValueError(f"{written!r} is not known here", remedy)
        return word

    return AfterValidator(check)


def _not_blank(written: str) -> str:
    if not written.strip():
        raise InvalidValueError("it is empty", "write a name, or remove it")
    return written


NotBlank = Annotated[str, AfterValidator(_not_blank)]
"""A text that says something."""
