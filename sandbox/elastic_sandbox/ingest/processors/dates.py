"""`date`: a text or number into a date, in the format and time zone asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import ElasticError, unsupported
from elastic_sandbox.ingest.document import IngestDocument, illegal
from elastic_sandbox.ingest.java_time import (
    NAMED,
    assemble,
    local_iso8601,
    parse_iso8601,
    pattern_reader,
    printer,
    zone_of,
)
from elastic_sandbox.ingest.processors import EachProcessor, register
from elastic_sandbox.painless.values import to_string

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.ingest.configuration import Config
    from elastic_sandbox.ingest.templates import Template

Reader = Callable[[str, tzinfo], datetime]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ENGLISH: Final = {"", "en", "english", "root"}


def _unix(text: str, zone: tzinfo) -> datetime:
    return _moment(int(float(text) * 1000), zone)


def _unix_ms(text: str, zone: tzinfo) -> datetime:
    return _moment(int(text), zone)


def _moment(milliseconds: int, zone: tzinfo) -> datetime:
    return (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone(zone)


class DateProcessor(EachProcessor):
    """`date`. `timezone` (templated) is the zone of a date without one, and the zone of the output."""

    type = "date"

    def __init__(self, backend: Backend, config: Config) -> None:
        self._backend = backend
        self._field: str = config.string("field")
        self._target: str = config.string("target_field", "@timestamp")
        self._timezone: Template | None = config.template("timezone", None)
        locale: Template | None = config.template("locale", None)
        if locale is not None and (
            locale.constant is None or re.split("[-_]", locale.constant.lower())[0] not in _ENGLISH
        ):
            raise unsupported(f"locale [{locale.source}] of processor [date]")
        self._readers = [self._reader(str(name)) for name in config.array("formats")]
        output_format = config.string("output_format", "yyyy-MM-dd'T'HH:mm:ss.SSSXXX")
        try:
            self._print = printer(output_format)
        except ValueError:
            raise illegal(f"invalid output format [{output_format}]") from None

    def _reader(self, name: str) -> Reader:
        if name == "ISO8601":
            return parse_iso8601
        if name == "UNIX":
            return _unix
        if name == "UNIX_MS":
            return _unix_ms
        if name == "TAI64N":
            raise unsupported("date format [TAI64N]")
        alternatives = [self._pattern(part) for part in name.split("||")]
        return alternatives[0] if len(alternatives) == 1 else _first_of(alternatives)

    def _pattern(self, name: str) -> Reader:
        if name in {"strict_date_optional_time", "iso8601"}:
            return parse_iso8601
        if name == "epoch_millis":
            return _unix_ms
        if name == "epoch_second":
            return _unix
        try:
            pattern = pattern_reader(NAMED.get(name, name))
        except ValueError as problem:
            # The server reads the pattern when the first document comes, so a bad one is accepted and fails them all.
            return _never(str(problem))

        def read(text: str, zone: tzinfo) -> datetime:
            match = pattern.fullmatch(text)
            if match is None:
                raise ValueError(f"failed to parse date field [{text}] with format [{name}]")
            return assemble(match.groupdict(), zone, self._backend.clock.now().year)

        return read

    def process(self, document: IngestDocument) -> None:
        """Parse by the first format that fits, and set the target."""
        raw = document.get(self._field)
        text = None if raw is None else to_string(raw)
        problem: ValueError | None = None
        for reader in self._readers:
            try:
                zone = UTC if self._timezone is None else zone_of(self._timezone(document))
                if text is None:
                    raise ValueError("text is null")
                moment = local_iso8601(text, zone) if reader is parse_iso8601 else reader(text, zone).astimezone(zone)
            except (ValueError, OverflowError) as failure:
                problem = problem or ValueError(str(failure))
                continue
            document.set(self._target, self._print(moment))
            return
        raise _unable(text, problem)


def _never(reason: str) -> Reader:
    def read(_text: str, _zone: tzinfo) -> datetime:
        raise ValueError(reason)

    return read


def _first_of(readers: list[Reader]) -> Reader:
    def read(text: str, zone: tzinfo) -> datetime:
        for position, reader in enumerate(readers):
            try:
                return reader(text, zone)
            except ValueError:
                if position == len(readers) - 1:
                    raise
        raise ValueError(text)

    return read


def _unable(text: str | None, problem: ValueError | None) -> ElasticError:
    error = illegal(f"unable to parse date [{'null' if text is None else text}]")
    if problem is not None:
        cause: dict[str, Any] = {"type": "illegal_argument_exception", "reason": str(problem)}
        error.caused_by = cause
    return error


register("date", DateProcessor)
