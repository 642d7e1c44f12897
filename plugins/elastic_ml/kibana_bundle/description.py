"""What a dashboard or a data view is, as its file says it: one readable YAML, nothing of Kibana's own format.

Every text in a file is a Jinja template, see :mod:`elastic_ml.kibana_bundle.assets`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from elastic_ml.project.durations import Duration
from elastic_ml.project.yaml_files import FileModel, InvalidValueError

Chart = Literal[
    "line",
    "area",
    "area_stacked",
    "bar",
    "bar_stacked",
    "bar_horizontal",
    "bar_horizontal_stacked",
    "metric",
    "table",
    "heatmap",
    "text",
]
XY = frozenset({"line", "area", "area_stacked", "bar", "bar_stacked", "bar_horizontal", "bar_horizontal_stacked"})
HORIZONTAL = frozenset({"bar_horizontal", "bar_horizontal_stacked"})

Unit = Literal[
    "count", "decimal", "percent", "milliseconds", "seconds", "hours", "days", "bytes", "per_minute", "time", "text"
]
"""`percent` takes a share of 1; `seconds` are shown as a duration a person can read."""

Colour = Literal["good", "warning", "bad", "plain", "muted", "accent"]
Name = Annotated[str, StringConstraints(min_length=1)]

COLUMNS = 48
"""Width of Kibana's grid."""


class Level(FileModel):
    """From this value on, the colour; below the first level there is none."""

    from_: float = Field(alias="from")
    color: Colour


class Column(FileModel):
    """A column of the query's answer: how it is called and drawn."""

    column: Name
    label: str | None = None
    unit: Unit | None = None
    color: Colour | None = None
    levels: list[Level] = Field(default_factory=list)
    axis: Literal["left", "right"] = "left"
    width: Annotated[int, Field(gt=0)] | None = None

    @field_validator("levels")
    @classmethod
    def _rise(cls, levels: list[Level]) -> list[Level]:
        if [level.from_ for level in levels] != sorted({level.from_ for level in levels}):
            raise InvalidValueError("levels do not rise", "sort them by `from`, each value once")
        return levels


class Limit(FileModel):
    """A threshold, drawn as a line across a chart: a number, or a column whose highest value counts at each point."""

    value: float | None = None
    column: str | None = None
    label: Name
    color: Colour = "bad"

    @model_validator(mode="after")
    def _one(self) -> Limit:
        if (self.value is None) == (self.column is None):
            raise InvalidValueError("a limit is a value or a column", "write exactly one of `value:` and `column:`")
        return self


class Place(FileModel):
    """Where a panel lies on the grid of 48 columns; a row is about 20 pixels high."""

    x: Annotated[int, Field(ge=0)]
    y: Annotated[int, Field(ge=0)]
    w: Annotated[int, Field(ge=1)]
    h: Annotated[int, Field(ge=1)]


class Time(FileModel):
    """A time range relative to now, which a panel or dashboard opens with."""

    from_: str = Field(alias="from")
    to: str = "now"


class DashboardTime(Time):
    """A dashboard's time range, and how often it asks again."""

    refresh: Duration | None = None


class Panel(FileModel):
    """One panel.

    `esql` is its query, which Kibana filters by the time range on `time_field` (`none`: not at all); `time` is a range
    of its own. Lines, areas and bars have `x`, `y`, `split`, `limit`; a metric `value` and `split`; a table `columns`;
    a heatmap `x`, `rows` and `value`; a text `text`. `empty` says what it means when nothing is shown.
    """

    title: Name
    chart: Chart
    at: Place
    description: str | None = None
    esql: str | None = None
    time: Time | None = None
    time_field: str = "@timestamp"
    x: Column | None = None
    y: list[Column] = Field(default_factory=list)
    split: Column | None = None
    limit: Limit | None = None
    value: Column | None = None
    rows: Column | None = None
    columns: list[Column] = Field(default_factory=list)
    text: str | None = None
    empty: str | None = None

    @model_validator(mode="after")
    def _parts_fit_the_chart(self) -> Panel:
        needed, allowed = parts_of(self.chart)
        for part in ("x", "y", "split", "limit", "value", "rows", "columns", "text", "esql", "empty"):
            given = bool(getattr(self, part))
            if part in needed and not given:
                raise InvalidValueError(f"the {self.chart} has no {part}", f"add `{part}:`")
            if given and part not in needed | allowed:
                raise InvalidValueError(f"a {self.chart} has no {part}", f"remove `{part}:`", part)
        return self

    def shown(self) -> list[tuple[str, Column]]:
        """Every column that is drawn, with the name of its part."""
        single = [(part, getattr(self, part)) for part in ("x", "split", "value", "rows")]
        lists = [(part, column) for part in ("y", "columns") for column in getattr(self, part)]
        limit = [("limit", Column(column=self.limit.column))] if self.limit and self.limit.column else []
        return [(part, column) for part, column in single if column is not None] + lists + limit


def parts_of(chart: Chart) -> tuple[frozenset[str], frozenset[str]]:
    """The parts that a chart needs, and those that it may have."""
    queried = frozenset({"esql", "empty"})
    if chart in XY:
        return queried | {"x", "y"}, frozenset({"split", "limit"})
    needed = {
        "metric": queried | {"value"},
        "table": queried | {"columns"},
        "heatmap": queried | {"x", "rows", "value"},
        "text": frozenset({"text"}),
    }
    return frozenset(needed[chart]), frozenset({"split"} if chart == "metric" else ())


class Control(FileModel):
    """A choice above the panels, of nothing or of values; a choice leaves out documents that lack the field."""

    field: Name
    title: Name
    data_view: Name


class Dashboard(FileModel):
    """One dashboard; its id is the project's prefix and `name`, the name of its file."""

    name: str = Field(exclude=True)
    title: Name
    description: Name
    order: int = 100
    tags: list[Name] = Field(default_factory=list)
    time: DashboardTime | None = None
    controls: list[Control] = Field(default_factory=list)
    panels: Annotated[list[Panel], Field(min_length=1)]
    help: str | None = None


class DataView(FileModel):
    """One data view; its id is the project's prefix and `name`, the name of its file.

    `called` is its name in Kibana, where two of one name are duplicates.
    """

    name: str = Field(exclude=True)
    called: Name
    pattern: Name
    time_field: str | None = "@timestamp"
