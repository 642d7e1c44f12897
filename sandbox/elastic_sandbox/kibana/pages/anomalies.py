"""What anomaly jobs found: the explorer with its swim lanes, and the single metric viewer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.kibana.application import KibanaRequest
from elastic_sandbox.kibana.errors import KibanaError
from elastic_sandbox.kibana.pages import charts, formats
from elastic_sandbox.kibana.pages.html import Cell, Chart, Choice, Facts, Page, Table, Text
from elastic_sandbox.kibana.pages.ml import OWN, TONES, when
from elastic_sandbox.kibana.pages.times import TimeRange, instant, rison, shown, time_range
from elastic_sandbox.ml.anomaly import results
from elastic_sandbox.ml.anomaly.detectors import FUNCTIONS

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

Document = dict[str, Any]
_HOME: Final = [("Home", "/app/home")]
_EXPLORER, _VIEWER = "/app/ml/explorer", "/app/ml/timeseriesexplorer"
# Lower bounds and colours of Elastic's severities.
_SEVERITIES: Final = (
    (75, "critical", "#fe5050"),
    (50, "major", "#fba740"),
    (25, "minor", "#fdec25"),
    (3, "warning", "#8bc8fb"),
)
_COLUMNS, _LANES, _RECORDS = 56, 14, 100
_SHOWN: Final = ["Score", "Time", "Detector", "Found for", "Actual", "Typical", "Influenced by"]
_FIELDS: Final = ("partition", "by", "over")
_AGGREGATES: Final = {"count": "COUNT(*)", "mean": "AVG({})", "sum": "SUM({})", "min": "MIN({})", "max": "MAX({})",
                      "distinct_count": "COUNT_DISTINCT({})"}  # fmt: skip


class _Asked:
    """The job and the time range that the form, or Kibana's ``_g``, names; without any job there is no page."""

    def __init__(self, backend: Backend, request: KibanaRequest) -> None:
        state = rison(request.params["_g"]) if request.params.get("_g") else {}
        named = (state.get("ml") or {}).get("jobIds") if isinstance(state, dict) else None
        jobs = backend.ml.anomaly.jobs.all()
        wanted = request.params.get("job") or (str(named[0]) if named else jobs[0].id if jobs else "")
        found = next((job for job in jobs if job.id == wanted), None)
        if found is None:
            raise KibanaError(404, f"There is no anomaly job [{wanted}]." if wanted else "There is no anomaly job yet.")
        self.backend, self.params, self.job = backend, request.params, found
        self.span = time_range(backend, request.params, ("now-30d", "now"))
        self.choices = [Choice("job", "Job", wanted, [(job.id, job.id) for job in jobs])]
        self.detectors: list[Document] = found.config["analysis_config"]["detectors"]

    def number(self, name: str) -> int:
        """A parameter that is a number, else 0."""
        return int(self.params[name]) if self.params.get(name, "").isdigit() else 0

    def documents(self, kind: str, sort: str = "timestamp", order: str = "asc", **terms: Any) -> list[Document]:
        """Result documents of a type; of the time range, unless they are of the future."""
        query: list[Document] = [
            {"term": {"result_type": kind}},
            *({"term": {name: value}} for name, value in terms.items()),
        ]
        if kind != "model_forecast":
            query.append(self.span.filter("timestamp"))
        return results.find(self.backend, self.job.id, query, [{sort: order}])[1]

    def linked(self, path: str, **more: str) -> str:
        """Another page on the same job and time."""
        return f"{path}?{urlencode({'job': self.job.id, 'from': self.span.start, 'to': self.span.end, **more})}"

    def about(self) -> Facts:
        """The job itself."""
        job, anomaly = self.job, self.backend.ml.anomaly
        feed, state = anomaly.datafeeds.of_job(job.id), anomaly.jobs.state(job)
        return Facts([
            ("State", Cell(state, tone=TONES.get(state, "warning"))),
            ("Datafeed", Cell(f"{feed.id}, {feed.state}" if feed else "none")),
            ("Detectors", Cell(", ".join(one["detector_description"] for one in self.detectors))),
            ("Bucket span", Cell(str(job.config["analysis_config"]["bucket_span"]))),
            ("Buckets", Cell(f"{job.counts['bucket_count']:,}")),
            ("Records read", Cell(f"{job.counts['processed_record_count']:,}")),
            ("Newest record read", when(job.counts.get("latest_record_timestamp"))),
        ], job.id)  # fmt: skip

    def record(self, record: Document) -> list[Cell]:
        """A record as a row."""
        name, color = _severity(record["record_score"])
        entity, index = _entity(record), record["detector_index"]
        influencers = "; ".join(f"{one['influencer_field_name']}: {', '.join(map(str, one['influencer_field_values']))}"
                                for one in record.get("influencers") or [])  # fmt: skip
        return [
            Cell(f"{record['record_score']:.0f} {name}", color=color, whole=True), when(_time(record)),
            Cell(str(self.detectors[index]["detector_description"])),
            Cell(entity or "all", self.linked(_VIEWER, detector=str(index), entity=entity)),
            *(Cell(formats.text(record.get(key)), number=True) for key in ("actual", "typical")), Cell(influencers),
        ]  # fmt: skip


def _time(document: Document) -> int:
    stamp = document["timestamp"]
    return stamp if isinstance(stamp, int) else int(instant(stamp) or 0)


def _entity(record: Document) -> str:
    values = (record.get(f"{kind}_field_value") for kind in _FIELDS)
    return " · ".join(str(value) for value in values if value is not None)


def _severity(score: float) -> tuple[str, str]:
    return next(((name, color) for least, name, color in _SEVERITIES if score >= least), ("low", "#d4dae5"))


def explorer(backend: Backend, request: KibanaRequest) -> Page:
    """Records by severity and swim lanes, from the job's result documents."""
    asked = _Asked(backend, request)
    least = asked.number("severity")
    levels = [("0", "all"), *((str(low), f"{name}, from {low}") for low, name, _ in reversed(_SEVERITIES))]
    asked.choices.append(Choice("severity", "Severity", str(least), levels))
    records = [one for one in asked.documents("record", "record_score", "desc") if one["record_score"] >= least]
    newest = results.find(backend, asked.job.id, [{"term": {"result_type": "bucket"}}], [{"timestamp": "desc"}], 0, 1)[
        1
    ]
    known = f"the newest bucket is of {shown(_time(newest[0]))} UTC" if newest else "the job has seen no data"
    blocks: list[Any] = [_lanes(asked, records)] if records else []
    note = f"The {_RECORDS} highest of {len(records):,}." if len(records) > _RECORDS else ""
    rows = [asked.record(one) for one in records[:_RECORDS]]
    blocks += [Table(_SHOWN, rows, "Records", f"No such record in this time range; {known}.", note), asked.about()]
    crumbs = [*_HOME, ("Single metric viewer", asked.linked(_VIEWER))]
    return Page("Anomaly explorer", blocks, crumbs, notes=[OWN], time=asked.span, choices=asked.choices)


def _lanes(asked: _Asked, records: list[Document]) -> Chart:
    """A lane for the job and one for each of the entities with the highest scores."""
    span, width = asked.span, asked.job.span_ms
    step = max(width, -(-(span.end_ms - span.start_ms) // _COLUMNS // width) * width)
    highest: dict[tuple[str, int], float] = {}
    best: dict[str, float] = {}
    for lane, found, score in (
        *(("Overall", one, one["anomaly_score"]) for one in asked.documents("bucket")),
        *((_entity(one) or "all", one, one["record_score"]) for one in records),
    ):
        at = (lane, _time(found) // step * step)
        highest[at] = max(highest.get(at, 0), float(score))
        best[lane] = max(best.get(lane, 0), float(score))
    lanes = ["Overall", *sorted((lane for lane in best if lane != "Overall"), key=lambda lane: -best[lane])[:_LANES]]
    cells = [
        (at, lane, round(score), _severity(score)[1])
        for (lane, at), score in highest.items()
        if lane in lanes and score >= 1
    ]
    ends = (span.start_ms // step * step, span.end_ms // step * step)
    height = 50 + 24 * len(lanes)
    drawn = charts.heatmap(cells, 1340, height, "swim lanes", time=True, ends=ends, step=step, lines=lanes)
    legend = [(f"{name}, from {least}", color) for least, name, color in _SEVERITIES]
    return Chart(drawn, "Highest score over time", legend)


def viewer(backend: Backend, request: KibanaRequest) -> Page:
    """One series: what was measured, what was found unusual, what is forecast."""
    asked = _Asked(backend, request)
    index = min(asked.number("detector"), len(asked.detectors) - 1)
    records = asked.documents("record", "record_score", "desc", detector_index=index)
    forecasts = asked.documents("model_forecast", detector_index=index)
    entities = list(dict.fromkeys(_entity(one) for one in (*records, *forecasts)))
    entity = asked.params.get("entity") or (entities[0] if entities else "")
    detectors = [(str(at), str(one["detector_description"])) for at, one in enumerate(asked.detectors)]
    known = [(one, one or "all") for one in dict.fromkeys([entity, *entities])]
    asked.choices += [Choice("detector", "Detector", str(index), detectors), Choice("entity", "Series", entity, known)]
    own = [one for one in records if _entity(one) == entity]
    notes = [
        OWN,
        "The sandbox keeps no model plot: what was expected is shown where a value was unusual, and by forecasts.",
    ]
    series = _found(own, [one for one in forecasts if _entity(one) == entity])
    try:
        series.insert(0, charts.Series("actual", _measured(asked, index, own), color="#61a2ff"))
    except ElasticError as error:
        notes.append(f"The measured values are not drawn: {error.reason}")
    rows = [asked.record(one) for one in own[:_RECORDS]]
    blocks = [_drawn(series, asked.span, detectors[index][1]),
              Table(_SHOWN, rows, "Records of this series", "Nothing of this series was unusual in this time range."),
              asked.about()]  # fmt: skip
    crumbs = [*_HOME, ("Anomaly explorer", asked.linked(_EXPLORER))]
    return Page("Single metric viewer", blocks, crumbs, notes=notes, time=asked.span, choices=asked.choices)


def _drawn(series: list[charts.Series], span: TimeRange, title: str) -> Chart | Text:
    found = [x for one in series for x, _ in one.points]
    if not found:
        return Text("No values in this time range.", title, "quiet")
    chart = charts.XY(series, (min(span.start_ms, *found), max(span.end_ms, *found)))
    return replace(chart.draw(1340, 340, title), title=title)


def _found(records: list[Document], forecast: list[Document]) -> list[charts.Series]:
    """What was typical where something was unusual, the unusual by severity, and the forecast with its bounds."""
    usual = sorted((_time(one), one["typical"][0]) for one in records if one.get("typical"))
    series = [charts.Series("typical, where unusual", usual, "point", color="#98a2b3")]
    for _, name, color in _SEVERITIES:
        found = sorted((_time(one), one["actual"][0]) for one in records
                       if one.get("actual") and _severity(one["record_score"])[0] == name)  # fmt: skip
        series.append(charts.Series(name, found, "point", color=color))
    for key, color in (("prediction", "#8144cc"), ("lower", "#c5a5fa"), ("upper", "#c5a5fa")):
        points = [(_time(one), one[f"forecast_{key}"]) for one in forecast]
        series.append(charts.Series(f"forecast, {key}", points, color=color))
    return [one for one in series if one.points]


def _measured(asked: _Asked, index: int, records: list[Document]) -> list[tuple[Any, float | None]]:
    """The metric per bucket, asked of the datafeed's own documents."""
    job, detector = asked.job, asked.detectors[index]
    feed = asked.backend.ml.anomaly.datafeeds.of_job(job.id)
    aggregate = _AGGREGATES.get(FUNCTIONS[detector["function"]].feature)
    if feed is None or aggregate is None or feed.config.get("aggregations") or feed.config.get("aggs"):
        why = "the job has no datafeed" if feed is None else "it cannot be asked of single documents"
        raise KibanaError(400, f"{detector['detector_description']}: {why}.")
    field = job.config["data_description"]["time_field"]
    first = records[0] if records else {}
    clauses = [feed.config["query"], asked.span.filter(field)]
    clauses += [{"term": {str(first[f"{kind}_field_name"]): first[f"{kind}_field_value"]}} for kind in _FIELDS
                if f"{kind}_field_name" in first]  # fmt: skip
    source, seconds = ", ".join(f'"{name}"' for name in feed.config["indices"]), job.span_ms // 1000
    value = aggregate.format(f"`{detector.get('field_name', '')}`")
    query = f"FROM {source} | STATS v = {value} BY t = BUCKET(`{field}`, {seconds} seconds) | SORT t | LIMIT 10000"
    found = asked.backend.esql.query(query, filter={"bool": {"filter": clauses}}).values
    return [(instant(at), number) for number, at in found if at is not None]


PAGES: Final = {"/app/ml": explorer, _EXPLORER: explorer, _VIEWER: viewer}
