"""Checks of request bodies, in the words of Kibana's @kbn/config-schema."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.http import Request
from elastic_sandbox.kibana.errors import bad_request

JSON = dict[str, Any]
Check = Callable[[Any, str], None]

_UNDEFINED: Final = object()
"""What stands for an absent member, so that every check names it as JavaScript does."""


class InvalidError(Exception):
    """A value does not fit; the message is ``[path]: why``, without a prefix."""


@dataclass(frozen=True)
class Field:
    """A member of an object.

    :param check: raises :class:`InvalidError` for a value that does not fit
    :param required: whether it has to be there
    :param default: what stands for an absent one
    """

    check: Check
    required: bool = False
    default: Any = None


def named(value: Any) -> str:
    """The name of a JSON value's type in messages."""
    if value is None:
        return "null"
    if value is _UNDEFINED:
        return "undefined"
    names: Final = {bool: "boolean", str: "string", dict: "Object", list: "Array"}
    return names.get(type(value), "number")


def of_type(*kinds: type, nullable: bool = False) -> Check:
    """A value of a JSON type."""
    wanted = {str: "string", bool: "boolean", int: "number", float: "number"}.get(kinds[0], "")

    def check(value: Any, path: str) -> None:
        if value is None and nullable:
            return
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise InvalidError(f"[{path}]: expected value of type [{wanted}] but got [{named(value)}]")

    return check


def mapping(value: Any, path: str) -> None:
    """Any object."""
    if not isinstance(value, dict):
        raise InvalidError(f"[{path}]: expected a plain object value, but found [{named(value)}] instead.")


def list_of(check: Check, *, least: int = 0, most: int | None = None) -> Check:
    """A list of values that fit."""

    def each(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise InvalidError(f"[{path}]: expected value of type [array] but got [{named(value)}]")
        if len(value) < least:
            raise InvalidError(f"[{path}]: array size is [{len(value)}], but cannot be smaller than [{least}]")
        if most is not None and len(value) > most:
            raise InvalidError(f"[{path}]: array size is [{len(value)}], but cannot be greater than [{most}]")
        for at, item in enumerate(value):
            check(item, f"{path}.{at}")

    return each


def one_of(*values: Any) -> Check:
    """One of some constants."""
    listed = "\n".join(f"- [{{path}}.{at}]: expected value to equal [{value}]" for at, value in enumerate(values))

    def check(value: Any, path: str) -> None:
        if value not in values:
            raise InvalidError(f"[{path}]: types that failed validation:\n{listed.replace('{path}', path)}")

    return check


def number(*, least: float, most: float | None = None) -> Check:
    """A number within bounds."""
    kind = of_type(int, float)

    def check(value: Any, path: str) -> None:
        kind(value, path)
        if value < least:
            raise InvalidError(f"[{path}]: Value must be equal to or greater than [{least}].")
        if most is not None and value > most:
            raise InvalidError(f"[{path}]: Value must be equal to or lower than [{most}].")

    return check


def object_of(fields: dict[str, Field]) -> Check:
    """An object of known members."""

    def check(value: Any, path: str) -> None:
        checked(value, fields, path)

    return check


TEXT: Final = of_type(str)
FLAG: Final = of_type(bool)
NUMBER: Final = of_type(int, float)


def checked(value: Any, fields: dict[str, Field], path: str = "") -> JSON:
    """The object with defaults filled in.

    :raises InvalidError: a member is missing, unknown, or does not fit
    """
    if not isinstance(value, dict):
        where = f"[{path}]: " if path else ""
        raise InvalidError(f"{where}expected a plain object value, but found [{named(value)}] instead.")
    prefix = f"{path}." if path else ""
    for name, field in fields.items():
        if name not in value:
            if field.required:
                field.check(_UNDEFINED, f"{prefix}{name}")
            continue
        field.check(value[name], f"{prefix}{name}")
    for name in value:
        if name not in fields:
            raise InvalidError(f"[{prefix}{name}]: definition for this key is missing")
    defaults = {name: field.default for name, field in fields.items() if field.default is not None}
    return {**defaults, **value}


def body_of(request: Request, fields: dict[str, Field], *, optional: bool = False) -> JSON:
    """The request's body, checked.

    :param optional: whether there may be none
    :raises KibanaError: 400 ``[request body.name]: ...``
    """
    value = json_of(request)
    if value is None and optional:
        return {}
    if not isinstance(value, dict):
        raise bad_request(f"[request body]: expected a plain object value, but found [{named(value)}] instead.")
    try:
        return checked(value, fields, "request body")
    except InvalidError as problem:
        raise bad_request(str(problem)) from None


def allow(request: Request, *names: str) -> None:
    """Refuse every query parameter that is not named."""
    for name in request.params:
        if name not in names:
            raise bad_request(f"[request query.{name}]: definition for this key is missing")


def flag_of(request: Request, name: str) -> bool:
    """A boolean query parameter."""
    value = request.params.get(name, "false")
    if value not in {"true", "false"}:
        raise bad_request(f"[request query.{name}]: expected value of type [boolean] but got [string]")
    return value == "true"


def json_of(request: Request) -> Any:
    """The parsed body."""
    try:
        return request.json()
    except ElasticError:
        raise bad_request("Invalid request payload JSON format") from None
