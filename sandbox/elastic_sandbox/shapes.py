"""What types a body's values may have, before anything reads them.

A shape is a type (``str``, ``bool``, ``dict``, ``list``, ``int``; ``float`` takes whole numbers too), a list of one
shape for arrays, a dictionary for objects whose known keys have shapes, ``EACH(shape)`` for objects whose values all
have it, or a tuple of alternatives, in which None stands for null. Keys that a shape does not name are not looked at.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from elastic_sandbox.errors import x_content_parse

Shape = Any


class EACH(NamedTuple):
    """An object with arbitrary keys and values of one shape."""

    shape: Shape


STRINGS = (str, [str])


def check_shape(parser: str, value: Any, shape: Shape, path: str = "") -> None:
    """Refuse a value of another shape.

    :param parser: the name of the server's parser, as its errors say it
    :raises ElasticError: 400 x_content_parse_exception, ``[parser] field doesn't support values of type: TOKEN``
    """
    if not _fits(value, shape):
        where = f"{path} " if path else ""
        raise x_content_parse(f"[1:1] [{parser}] {where}doesn't support values of type: {token(value)}")
    for alternative in shape if isinstance(shape, tuple) and not isinstance(shape, EACH) else (shape,):
        if isinstance(alternative, EACH) and isinstance(value, dict):
            for key, inner in value.items():
                check_shape(parser, inner, alternative.shape, key)
        elif isinstance(alternative, dict) and isinstance(value, dict):
            for key, inner_shape in alternative.items():
                if key in value:
                    check_shape(parser, value[key], inner_shape, key)
        elif isinstance(alternative, list) and isinstance(value, list):
            for inner in value:
                check_shape(parser, inner, alternative[0], path)


def _fits(value: Any, shape: Shape) -> bool:
    if isinstance(shape, EACH | dict):
        return isinstance(value, dict)
    if isinstance(shape, tuple):
        return any(_fits(value, alternative) for alternative in shape)
    if isinstance(shape, list):
        return isinstance(value, list)
    if shape is None:
        return value is None
    if shape in {int, float}:
        return isinstance(value, (int, shape)) and not isinstance(value, bool)
    return isinstance(value, shape)


def token(value: Any) -> str:
    """The parser's name for a JSON value."""
    if value is None:
        return "VALUE_NULL"
    names = {bool: "VALUE_BOOLEAN", str: "VALUE_STRING", dict: "START_OBJECT", list: "START_ARRAY"}
    return names.get(type(value), "VALUE_NUMBER")
