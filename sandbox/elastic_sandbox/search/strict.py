"""Bodies of the wrong shape: an object where a list belongs, a word where a number does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from elastic_sandbox.errors import parsing


@contextmanager
def well_formed(what: str) -> Iterator[None]:
    """Answer 400 parsing_exception when code that only reads ``what`` meets a value of a type it cannot read.

    The server's parsers refuse such values one by one, each in its own words; here they share these. Put nothing but
    parsing inside: a TypeError of anything else is a bug and must stay one.

    :raises ElasticError: 400
    """
    try:
        yield
    except (TypeError, AttributeError, ValueError, KeyError, IndexError) as error:
        raise parsing(f"malformed {what}: {error}") from error
