"""What `sources/<name>.yml` may say: where raw records come from and how they become documents."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from elastic_ml.project.yaml_files import FileModel, InvalidValueError

NOT_YET = ("sql", "http")
FUNCTION_PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"


class Reader(FileModel):
    """Where raw records are.

    `files`: `path` is a path or object-storage URL, with placeholders for the partition and globs; `python`: `path` is
    `module:function`, called as `function(partition_start, partition_end, **options)`. `sql` and `http` are known and
    refused: they come with a later release.
    """

    kind: Literal["files", "sql", "http", "python"]
    conn_id: str | None = None
    path: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Reader:
        if self.kind in NOT_YET:
            raise InvalidValueError(
                f"the {self.kind} reader is not in this release yet",
                "write `files` or `python` (a function that yields the records)",
                "kind",
            )
        if not self.path:
            raise InvalidValueError(f"the {self.kind} reader needs a path", "add `path:`")
        if self.kind == "python" and not re.match(FUNCTION_PATTERN, self.path or ""):
            raise InvalidValueError(f"{self.path!r} names no function", "write `module:function`", "path")
        return self


class Source(FileModel):
    """One source file; `name` is the file's name."""

    name: str = Field(exclude=True)
    stream: str
    kind: Literal["events", "labels"] = "events"
    start_date: date
    partition: Literal["day", "hour"] = "day"
    reader: Reader
    adapter: Annotated[str, StringConstraints(pattern=r"^(ping_one|oracle|ndjson|csv|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")]
    fields: dict[str, str] = Field(default_factory=dict, description="Field of the document: path in the raw record")
    constants: dict[str, str | int | float | bool] = Field(default_factory=dict)
    names: str | None = Field(default=None, description="Name table, a file below the project folder")
