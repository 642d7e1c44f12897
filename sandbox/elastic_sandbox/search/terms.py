"""What a query value means for a field: one value of a term, a prefix, a bound of a range."""

from __future__ import annotations

import ipaddress
import math
from typing import Any

from elastic_sandbox.documents.columns import ip_to_column
from elastic_sandbox.errors import unsupported
from elastic_sandbox.indices.dates import DEFAULT_FORMAT
from elastic_sandbox.search.dates import bound, zone_of
from elastic_sandbox.search.failures import ShardFailure, failed_query, query_shard
from elastic_sandbox.search.view import IndexView, Target

_MAX = 2**63 - 1


def text_of(value: Any) -> str:
    """A JSON scalar as the text Elasticsearch makes of it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        text = text_of(value)
        try:
            return int(text)
        except ValueError:
            try:
                return float(text)
            except ValueError:
                raise failed_query("number_format_exception", f'For input string: "{text}"') from None
    return value


def _boolean(value: Any) -> bool:
    text = text_of(value)
    if text not in {"true", "false"}:
        raise failed_query(
            "illegal_argument_exception", f"Can't parse boolean value [{text}], expected [true] or [false]"
        )
    return text == "true"


def term(view: IndexView, target: Target, value: Any, *, case_insensitive: bool = False) -> str:
    """SQL: some value of the field equals ``value``."""
    if case_insensitive:
        if target.kind not in {"keyword", "text"}:
            raise query_shard(
                f"[{target.path}] field which is of type [{target.type}], does not support case insensitive term "
                "queries"
            )
        lowered = view.parameters.add(text_of(value).lower())
        return target.any(lambda v: f"lower({v}) = {lowered}")
    if target.kind == "date":
        low = _date(view, target, value, round_up=False)
        high = _date(view, target, value, round_up=True)
        a, b = view.parameters.add(low), view.parameters.add(high)
        return target.any(lambda v: f"{v} BETWEEN {a} AND {b}")
    if target.kind == "ip" and "/" in text_of(value):
        network = _network(text_of(value))
        a = view.parameters.add(ip_to_column(str(network[0])))
        b = view.parameters.add(ip_to_column(str(network[-1])))
        return target.any(lambda v: f"{v} BETWEEN {a} AND {b}")
    single = _value(target, value)
    if single is None or target.sql is None:
        return "false"
    placeholder = view.parameters.add(single)
    return f"list_contains({target.sql}, {placeholder})" if target.multi else f"{target.sql} = {placeholder}"


def terms(view: IndexView, target: Target, values: list[Any]) -> str:
    """SQL: some value of the field is among ``values``."""
    if target.kind == "date" or (target.kind == "ip" and any("/" in text_of(value) for value in values)):
        return " OR ".join(f"({term(view, target, value)})" for value in values) or "false"
    wanted = [converted for value in values if (converted := _value(target, value)) is not None]
    if not wanted or target.sql is None:
        return "false"
    placeholder = view.parameters.add(wanted)
    if target.multi:
        return f"list_has_any({target.sql}, {placeholder})"
    return f"{target.sql} IN (SELECT unnest({placeholder}))"


def _value(target: Target, value: Any) -> Any:
    """What the column would hold; None when nothing can equal it."""
    if value is None:
        raise ShardFailure("illegal_argument_exception", "value cannot be null")
    kind = target.kind
    if kind in {"keyword", "text"}:
        text = text_of(value)
        return text.lower() if target.params.get("normalizer") == "lowercase" else text
    if kind == "boolean":
        return _boolean(value)
    if kind == "long":
        number = _number(value)
        if isinstance(number, float):
            return int(number) if number.is_integer() else None
        return number if -_MAX - 1 <= number <= _MAX else None
    if kind == "double":
        return float(_number(value))
    if kind == "ip":
        return ip_to_column(str(_address(text_of(value))))
    raise unsupported(f"a query on field [{target.path}] of type [{target.type}]")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise failed_query("illegal_argument_exception", f"'{text}' is not an IP string literal.") from None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise failed_query("illegal_argument_exception", f"'{text}' is not an IP string literal.") from None


def _date(view: IndexView, target: Target, value: Any, *, round_up: bool) -> int:
    date_format = target.params.get("format", DEFAULT_FORMAT)
    return bound(value, date_format, zone_of("UTC"), view.now_ms, round_up=round_up)


def range_of(
    view: IndexView, target: Target, bounds: dict[str, Any], date_format: str | None, time_zone: str | None
) -> str:
    """SQL: some value of the field lies in the range.

    :param bounds: ``gt``, ``gte``, ``lt``, ``lte``; None means open
    """
    conditions = []
    for operator, value in bounds.items():
        if value is None:
            continue
        conditions.append(_bound(view, target, operator, value, date_format, time_zone))
    if not conditions:
        # A range open at both ends asks for existence, as the server's rewriting does.
        return target.any(lambda v: f"{v} IS NOT NULL")
    return target.any(lambda v: " AND ".join(f"{v} {sign} {placeholder}" for sign, placeholder in conditions))


_SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def _bound(
    view: IndexView, target: Target, operator: str, value: Any, date_format: str | None, time_zone: str | None
) -> tuple[str, str]:
    sign = _SIGNS[operator]
    limit: Any
    if target.kind == "date":
        limit = bound(
            value,
            date_format or target.params.get("format", DEFAULT_FORMAT),
            zone_of(time_zone or "UTC"),
            view.now_ms,
            round_up=operator in {"gt", "lte"},
        )
    elif target.kind == "long":
        limit, sign = _whole_bound(_number(value), operator)
    elif target.kind == "double":
        limit = float(_number(value))
    elif target.kind == "boolean":
        limit = _boolean(value)
    elif target.kind == "ip":
        limit = ip_to_column(str(_address(text_of(value))))
    elif target.kind in {"keyword", "text"}:
        limit = text_of(value)
    else:
        raise unsupported(f"a range query on field [{target.path}] of type [{target.type}]")
    return sign, view.parameters.add(limit)


def _whole_bound(number: int | float, operator: str) -> tuple[int, str]:
    """A bound on whole numbers: ``> 1.5`` is ``>= 2``, and bounds beyond 64 bits hold for all or none."""
    if isinstance(number, float) and not number.is_integer() and math.isfinite(number):
        number = math.ceil(number) if operator in {"gt", "gte"} else math.floor(number)
        operator = {"gt": "gte", "lt": "lte"}.get(operator, operator)
    if number > _MAX:
        return _MAX, ">" if operator in {"gt", "gte"} else "<="
    if number < -_MAX - 1:
        return -_MAX - 1, ">=" if operator in {"gt", "gte"} else "<"
    return int(number), _SIGNS[operator]
