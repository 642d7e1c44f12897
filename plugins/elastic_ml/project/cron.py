"""Schedules as users write them: five cron fields, or one of Airflow's presets. Needs neither Airflow nor croniter."""

from __future__ import annotations

import difflib
import re
from typing import Annotated

from pydantic import AfterValidator

from elastic_ml.project.yaml_files import InvalidValueError

PRESETS = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@quarterly", "@yearly", "@annually")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LENGTHS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_PART = re.compile(
    r"(?:\*|(?P<first>[a-z]{3}|[0-9]{1,2})(?:-(?P<last>[a-z]{3}|[0-9]{1,2}))?)(?:/(?P<step>[0-9]{1,2}))?"
)


def check_cron(written: str) -> str:
    """Return a schedule as it is written; raises InvalidValueError, naming the field that is wrong."""
    if written.startswith("@"):
        if written not in PRESETS:
            near = difflib.get_close_matches(written, PRESETS, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"use {', '.join(PRESETS)}, or five cron fields"
            raise InvalidValueError(f"{written!r} is no preset", remedy)
        return written
    fields = written.lower().split()
    if len(fields) != len(_FIELDS):
        raise InvalidValueError(
            f"{written!r} is no schedule",
            'write minute, hour, day of month, month and day of week, as in "0 3 * * 0" (UTC), or @daily',
        )
    for field, (name, lowest, highest) in zip(fields, _FIELDS, strict=True):
        if field == "?" and name.startswith("day"):
            continue
        if not all(_fits(part, name, lowest, highest) for part in field.split(",")):
            also = {"month": ", or jan to dec", "day of week": ", or sun to sat"}.get(name, "")
            raise InvalidValueError(
                f"{field!r} in {written!r} is no {name}",
                f"write *, {lowest} to {highest}{also}, a list, a range {lowest}-{highest}, or */{highest // 3}",
            )
    if fields[2] == fields[4] == "?":
        raise InvalidValueError(f"{written!r} names no day", "write * instead of one of the two ?")
    nth = ["#" in part or part.startswith("l") for part in fields[4].split(",")]
    if any(nth) and not (all(nth) and fields[2] in {"*", "?"}):
        raise InvalidValueError(
            f"{written!r} mixes {fields[4]!r} with other days", "write 5#2 or L5 alone, and * as the day of month"
        )
    if fields[4] in {"*", "?"} and re.fullmatch(r"3[01](,3[01])*", fields[2]):
        days, months = (field.split(",") for field in fields[2:4])
        if all(int(day) > _LENGTHS.get(_number(month, "month"), 31) for day in days for month in months):
            raise InvalidValueError(f"{written!r} names a day that never comes", "write L for the last day of a month")
    return written


def _fits(part: str, name: str, lowest: int, highest: int) -> bool:
    """Whether one part of a list is what croniter, which Airflow asks, can read in that field."""
    if name == "day of month" and part == "l":
        return True
    if name == "day of week" and (found := re.fullmatch(r"([a-z]{3}|[0-9])#[1-5]|l([0-7])", part)):
        return found[1] is None or _number(found[1], name) in range(8)
    found = _PART.fullmatch(part)
    if found is None:
        return False
    bounds = [_number(found[edge], name) for edge in ("first", "last") if found[edge]]
    step = int(found["step"] or 1)
    return 1 <= step <= highest and all(lowest <= bound <= highest for bound in bounds)


def _number(written: str, name: str) -> int:
    if written.isdecimal():
        return int(written)
    words = {
        "month": dict(zip(_MONTHS, range(1, 13), strict=True)),
        "day of week": dict(zip(_DAYS, range(7), strict=True)),
    }
    return words.get(name, {}).get(written, -1)


Cron = Annotated[str, AfterValidator(check_cron)]
"""A schedule of a model or anomaly job, in UTC."""
