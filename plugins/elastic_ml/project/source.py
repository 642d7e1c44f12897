"""What `sources/<name>.yml` may say: where raw records come from and how they become documents."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from datetime import date
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from elastic_ml.project.durations import Duration
from elastic_ml.project.elastic_values import NotBlank
from elastic_ml.project.feature_names import METADATA
from elastic_ml.project.yaml_files import FileModel, InvalidValueError

ADAPTERS = ("ping_one", "oracle", "ndjson", "csv")
FUNCTION_PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
IDENTIFIER_PATTERN = r"^[A-Za-z_][\w$#]*(\.[A-Za-z_][\w$#]*){0,2}$"
OFFSET_PATTERN = r"^[+-](0\d|1[0-4]):[0-5]\d$"

_NO_ZONES = ("Factory", "localtime", "posixrules")
"""Files beside the zones of an operating system; Java, which Elasticsearch runs on, has no zone of these names."""

FILE_PLACEHOLDERS = {"day": "%Y-%m-%d", "year": "%Y", "month": "%m", "hour": "%H"}
"""What a path of the `files` reader may hold in braces, with the strftime code of the partition's start."""

HTTP_PLACEHOLDERS = ("start", "end", "after", "start_s", "end_s", "start_ms", "end_ms")
"""What path and params of the `http` reader may hold in braces; in the path also `{environment_id}`."""


class FilesOptions(FileModel):
    """Options of the `files` reader."""

    missing: Literal["empty"] | None = Field(default=None, description="A plain path that does not exist is no error")
    format: Literal["lines", "json"] | None = Field(
        default=None,
        description="lines: one record per line; json: objects, arrays and pages, however they are laid out. Default: "
        "lines, and for the ping_one adapter what the file turns out to be",
    )
    items: str | None = Field(default=None, description="format json: dotted path of the records inside a page")

    @model_validator(mode="after")
    def _items_of_json(self) -> FilesOptions:
        if self.items and self.format == "lines":
            raise InvalidValueError("lines have no items", "write `format: json`, or remove items", "items")
        return self


class SqlOptions(FileModel):
    """Options of the `sql` reader."""

    time_column: Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN)] | None = Field(
        default=None, description="Where path is a table or view: the column that decides on the partition"
    )
    columns: list[Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN)]] = Field(
        default_factory=list, description="Where path is a table or view: the columns to read, all by default"
    )
    bind: Literal["utc", "aware", "text", "epoch_ms"] = Field(
        default="utc",
        description="How :start and :end are given: a UTC time without zone, one with it, text (2026-11-10 00:00:00), "
        "or milliseconds since 1970",
    )
    arraysize: Annotated[int, Field(ge=1, le=100_000)] = Field(default=2_000, description="Rows per round trip")


class HttpOptions(FileModel):
    """Options of the `http` reader."""

    api: Literal["json", "ping_one"] = Field(
        default="json", description="ping_one: items, next and params of PingOne's audit API"
    )
    items: str | None = Field(default=None, description="Dotted path of the records in a page; none: the page is them")
    next: str | None = Field(default=None, description="Dotted path of the link to the next page")
    params: dict[str, str | int] = Field(
        default_factory=dict,
        description="Query parameters; {start}, {end}, {after} (1 ms before the start) stand for the window in ISO "
        "8601, {start_s}, {end_s}, {start_ms}, {end_ms} for it in seconds or milliseconds since 1970",
    )
    window: Duration | None = Field(default=None, description="Longest time to ask for at once; default: the partition")


OPTIONS: dict[str, type[FileModel]] = {"files": FilesOptions, "sql": SqlOptions, "http": HttpOptions}


def _schema_of_options(schema: dict[str, Any]) -> None:
    """Let editors complete the options of each kind; a plain dictionary says nothing of its keys."""
    schema["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": kind}}},
            "then": {"properties": {"options": _inlined(shape.model_json_schema())}},
        }
        for kind, shape in OPTIONS.items()
    ]


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    assert "$defs" not in schema, "options stay flat, so that their schema can stand inside another"
    return schema


class Reader(FileModel):
    """Where raw records are.

    `files`: `path` is a path or object-storage URL, with placeholders for the partition and globs; `sql`: a table, or a
    query with `:start` and `:end`, read through the Airflow connection `conn_id`; `http`: a path below the host of
    `conn_id`, read page by page; `python`: `path` is `module:function`, called as
    `function(partition_start, partition_end, **options)`.
    """

    model_config = ConfigDict(json_schema_extra=_schema_of_options)

    kind: Literal["files", "sql", "http", "python"]
    conn_id: str | None = None
    path: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Reader:
        if not self.path:
            raise InvalidValueError(f"the {self.kind} reader needs a path", "add `path:`")
        if self.kind in {"sql", "http"} and not self.conn_id:
            raise InvalidValueError(
                f"the {self.kind} reader needs a connection", "add `conn_id:` with the id of an Airflow connection"
            )
        if self.kind in OPTIONS:
            options = self._parsed()
            if isinstance(options, FilesOptions):
                self._check_files(self.path)
            elif isinstance(options, SqlOptions):
                self._check_sql(self.path, options)
            elif isinstance(options, HttpOptions):
                self._check_http(self.path, options)
        elif not re.fullmatch(FUNCTION_PATTERN, self.path):
            raise InvalidValueError(f"{self.path!r} names no function", "write `module:function`", "path")
        return self

    def _parsed(self) -> FileModel:
        shape = OPTIONS[self.kind]
        try:
            return shape.model_validate(self.options)
        except ValidationError as invalid:
            problem = invalid.errors(include_url=False)[0]
            place = problem["loc"]
            if problem["type"] == "extra_forbidden":
                known = ", ".join(shape.model_fields)
                raise InvalidValueError(
                    f"the {self.kind} reader has no such option", f"its options are {known}", "options", *place
                ) from None
            reason: Any = problem.get("ctx", {}).get("error")
            if isinstance(reason, InvalidValueError):
                raise InvalidValueError(str(reason), reason.remedy, "options", *place, *reason.place) from None
            raise InvalidValueError(
                str(reason or problem["msg"]), f"correct the value {problem.get('input')!r}", "options", *place
            ) from None

    @staticmethod
    def _check_files(path: str) -> None:
        _check_placeholders(
            path, FILE_PLACEHOLDERS, "no file would be found", ", or strftime codes such as %Y/%m/%d", "path"
        )

    @staticmethod
    def _check_sql(path: str, options: SqlOptions) -> None:
        if re.fullmatch(IDENTIFIER_PATTERN, path):
            if options.time_column is None and path.rpartition(".")[2].lower() != "unified_audit_trail":
                raise InvalidValueError(
                    f"it is not said which column of {path} decides on the partition",
                    "add `options: {time_column: <name>}`",
                    "path",
                )
            return
        if not re.match(r"(?is)^\s*(select|with)\b", path):
            raise InvalidValueError(
                "path is neither the name of a table or view nor a query",
                "write a name such as `unified_audit_trail`, or a query that starts with select or with",
                "path",
            )
        missing = [name for name in (":start", ":end") if not re.search(rf"(?<![:\w]){name}\b", path)]
        if missing:
            raise InvalidValueError(
                f"the query has no {' and no '.join(missing)}, so every partition would read everything",
                "add `where <time column> >= :start and <time column> < :end`",
                "path",
            )
        for name in ("time_column", "columns"):
            if getattr(options, name):
                raise InvalidValueError(
                    f"{name} belongs to a table, and path is a query", f"say it in the query and remove {name}",
                    "options", name,
                )  # fmt: skip

    @staticmethod
    def _check_http(path: str, options: HttpOptions) -> None:
        if not path.startswith("/") or path.startswith("//"):
            raise InvalidValueError(
                f"{path!r} is no path below the connection's host",
                "start it with one slash, as in /v1/events; the host stands in the connection",
                "path",
            )
        asked = _check_placeholders(path, (*HTTP_PLACEHOLDERS, "environment_id"), "the API would get it so", "", "path")
        for name, value in options.params.items():
            # An API may have braces of its own: only what resembles a placeholder is a mistake.
            ours = {*HTTP_PLACEHOLDERS, "environment_id"}
            meant = {one for one in _braced(str(value)) if difflib.get_close_matches(one, ours, n=1)}
            text = "".join(f"{{{one}}}" for one in meant)
            asked |= _check_placeholders(
                text, HTTP_PLACEHOLDERS, "the API would get it so", "", "options", "params", name
            )
        if (options.api == "json" or "filter" in options.params) and not (
            asked & {"start", "after", "start_s", "start_ms"} and asked & {"end", "end_s", "end_ms"}
        ):
            raise InvalidValueError(
                "neither path nor params ask for the partition's time, so every partition would read everything",
                'add to params, as in {from: "{start}", to: "{end}"}',
                "options", "params",
            )  # fmt: skip


class Source(FileModel):
    """One source file; `name` is the file's name."""

    name: str = Field(exclude=True)
    stream: str
    kind: Literal["events", "labels"] = "events"
    start_date: date
    partition: Literal["day", "hour"] = "day"
    reader: Reader
    adapter: Annotated[str, StringConstraints(pattern=rf"^({'|'.join(ADAPTERS)}|{FUNCTION_PATTERN[1:-1]})$")]
    fields: dict[str, NotBlank] = Field(
        default_factory=dict, description="Field of the document: path in the raw record"
    )
    constants: dict[str, str | int | float | bool] = Field(default_factory=dict)
    names: str | None = Field(default=None, description="Name table, a file below the project folder")
    timezone: str = Field(
        default="UTC",
        description="IANA name or offset: zone of times that name none, and event.timezone where neither the name "
        "table nor the record says one",
    )
    keep_original: bool = Field(default=False, description="Keep the raw record as event.original")

    @field_validator("adapter", mode="before")
    @classmethod
    def _known_adapter(cls, written: Any) -> Any:
        if isinstance(written, str) and written not in ADAPTERS and not re.fullmatch(FUNCTION_PATTERN, written):
            near = difflib.get_close_matches(written, ADAPTERS, n=1)
            raise InvalidValueError(
                f"{written!r} is no adapter",
                f"did you mean {near[0]}?" if near else f"use {', '.join(ADAPTERS)} or a module:function of your own",
            )
        return written

    @field_validator("fields", "constants")
    @classmethod
    def _fields_of_a_document(cls, written: dict[str, Any]) -> dict[str, Any]:
        for name in written:
            if not all(part.strip() for part in name.split(".")):
                raise InvalidValueError(
                    f"{name!r} can be no field's name: a part of it is empty", "write a name between the dots", name
                )
            if name in METADATA:
                raise InvalidValueError(
                    f"Elasticsearch takes no field {name} inside a document",
                    "map it to event.id if the event's id is meant" if name == "_id" else "remove it",
                    name,
                )
        return written

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, written: str) -> str:
        if not is_zone(written):
            raise InvalidValueError(f"{written!r} is no time zone", "write an IANA name or offset, as in Europe/Berlin")
        return written

    @model_validator(mode="after")
    def _consistent(self) -> Source:
        if self.partition == "hour" and self.reader.kind == "files" and not _names_the_hour(self.reader.path or ""):
            raise InvalidValueError(
                "the path is the same for every hour of a day",
                "add {hour} or %H to it, or write `partition: day`",
                "reader", "path",
            )  # fmt: skip
        if self.keep_original and self.kind == "labels":
            raise InvalidValueError("a verdict keeps no event.original", "remove keep_original", "keep_original")
        if self.adapter in {"ping_one", "oracle"}:
            for name in ("fields", "constants"):
                if getattr(self, name):
                    raise InvalidValueError(
                        f"the adapter {self.adapter} has its own mapping", f"remove {name}, or use ndjson or csv", name
                    )
        self._check_contradictions()
        mapped = self.kind == "events" and self.adapter in {"ndjson", "csv"} and self.fields
        if mapped and "@timestamp" not in {**self.fields, **self.constants}:
            near = difflib.get_close_matches("@timestamp", self.fields, n=1)
            raise InvalidValueError(
                "no record gets an @timestamp, so every one would be rejected",
                f"write @timestamp instead of {near[0]}" if near else 'add `"@timestamp": <path in the record>`',
                "fields", *near,
            )  # fmt: skip
        if self.adapter == "csv" and self.reader.kind in {"sql", "http"}:
            raise InvalidValueError(
                f"the {self.reader.kind} reader yields records with names, not CSV", "write `adapter: ndjson`",
                "adapter",
            )  # fmt: skip
        return self

    def _check_contradictions(self) -> None:
        known = {**self.fields, **self.constants}
        for name in known:
            parts = name.split(".")
            for depth in range(1, len(parts)):
                if (parent := ".".join(parts[:depth])) in known:
                    raise InvalidValueError(
                        f"{parent} is a value here and cannot hold {name}", "remove one of the two",
                        "fields" if name in self.fields else "constants", name,
                    )  # fmt: skip


def _braced(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def _check_placeholders(text: str, known: Collection[str], otherwise: str, or_else: str, *place: str) -> set[str]:
    """The placeholders of a text, as in `{day}`; raises InvalidValueError for one that nothing is put in for."""
    found = _braced(text)
    for name in sorted(found.difference(known)):
        near = difflib.get_close_matches(name, known, n=1)
        there = ", ".join(f"{{{one}}}" for one in known)
        raise InvalidValueError(
            f"{{{name}}} is no placeholder, so {otherwise}",
            f"did you mean {{{near[0]}}}?" if near else f"use {there}{or_else}",
            *place,
        )
    return found


def is_zone(name: str) -> bool:
    """Whether a name is one that Elasticsearch's date processor reads: an IANA zone or an offset (`+02:00`)."""
    if re.fullmatch(OFFSET_PATTERN, name):
        return True
    if name in _NO_ZONES or name.startswith(("posix/", "right/")):
        return False
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _names_the_hour(path: str) -> bool:
    return "{hour}" in path or bool(re.search(r"%[HI]", path))
