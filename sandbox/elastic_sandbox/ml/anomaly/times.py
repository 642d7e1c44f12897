"""Moments in requests of the machine learning APIs: dates, epoch milliseconds, and `now`."""

from __future__ import annotations

import re
from typing import Any

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.indices.dates import parse_date


def parse_time(name: str, value: Any, *, now_ms: int | None = None) -> int:
    """Epoch milliseconds of a date, or of a number: seconds when it has ten digits at most, as on the server.

    :param now_ms: what `now` means; without it `now` is no time
    :raises ElasticError: 400 parse_exception (YAML test post_data)
    """
    text = str(value)
    if text == "now" and now_ms is not None:
        return now_ms
    if re.fullmatch(r"\d+", text):
        # TimeUtils.dateStringToEpoch: ten digits or fewer are seconds.
        return int(text) if len(text) > 10 else int(text) * 1000
    try:
        return parse_date(text, "strict_date_optional_time||date_optional_time")
    except ValueError:
        raise ElasticError(
            400,
            "parse_exception",
            f"Query param [{name}] with value [{text}] cannot be parsed as a date or converted to a number (epoch).",
        ) from None
