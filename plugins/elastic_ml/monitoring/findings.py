"""What measuring a day of a model found, and how it is written to the drift stream."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from elastic_ml.monitoring.operations_log import Entry, iso
from elastic_ml.registry.events import deterministic_id

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project

RETRAIN = "_retrain"
"""The drift stream's feature name for a day on which a training was asked for."""
HISTORY = timedelta(days=31)


class Finding(NamedTuple):
    """One line of a day's table.

    :param feature: an input; `_score`, `_coverage`, `_precision` or `_error` for what is none.
    :param psi: distance from the holdout; None for what is no distribution.
    :param value: the figure, where there is no distance.
    :param retrains: whether a training can mend it.
    :param quiet: the day had too few events by itself, so earlier ones were judged with it. Such a day does not count
        towards the days in a row: Friday's drift would be counted again on Saturday and Sunday.
    :param note: a sentence on how it was judged.
    """

    feature: str
    breached: bool
    limit: float | None = None
    psi: float | None = None
    value: float | None = None
    retrains: bool = True
    quiet: bool = False
    note: str = ""

    def line(self) -> str:
        """As one line of the log."""
        figure = "" if self.value is None else f"{self.value:.3f}"
        if self.psi is not None:
            figure = f"PSI {self.psi:.3f}"
        limit = "" if self.limit is None else f" (limit {self.limit:.3f})"
        return f"{'BREACHED ' if self.breached else '         '}{self.feature}: {figure}{limit} {self.note}".rstrip()


def published_results(client: "Elasticsearch", project: "Project", model: "Model") -> str | None:
    """Return the index behind an outlier model's `<model>_results`, None before its first run."""
    found = client.options(ignore_status=404).indices.get_alias(name=project.names.results_alias(model.name))
    return sorted(found.body)[-1] if found.meta.status == 200 and found.body else None


def judged_days(
    client: "Elasticsearch", project: "Project", model: "Model", version: str, day: date
) -> tuple[dict[str, list[tuple[date, bool]]], list[date]]:
    """Return whether each judged day of each feature was breached, and the days on which a training was asked for.

    Of this version, over the 31 days that end with `day`.
    """
    end = _end(day)
    hits = client.search(
        index=project.names.drift,
        size=10_000,
        query={
            "bool": {
                "filter": [
                    {"term": {"model_name": model.name}},
                    {"term": {"model_version": version}},
                    {"range": {"@timestamp": {"gt": iso(end - HISTORY), "lte": iso(end)}}},
                ]
            }
        },
        source={"includes": ["@timestamp", "feature", "breached", "state"]},
    )["hits"]["hits"]
    histories: dict[str, list[tuple[date, bool]]] = {}
    asked: list[date] = []
    for source in (hit["_source"] for hit in hits):
        judged = (datetime.fromisoformat(source["@timestamp"]) - timedelta(days=1)).date()
        if source["feature"] == RETRAIN:
            asked.append(judged)
        elif source.get("state") != "quiet":
            histories.setdefault(source["feature"], []).append((judged, bool(source["breached"])))
    return histories, asked


def drift_entries(
    project: "Project", model: "Model", version: str, day: date, findings: Sequence[Finding]
) -> Iterator[Entry]:
    """Yield a day's findings as documents of the drift stream."""
    for finding in findings:
        figures: Mapping[str, Any] = {"psi": finding.psi, "value": finding.value, "limit": finding.limit}
        document = {
            # The day's end: rules look at the newest documents.
            "@timestamp": iso(_end(day)),
            "event": {"kind": "metric"},
            "event_type": "drift",
            "status": "success",
            "model_name": model.name,
            "model_version": version,
            "stage": "champion",
            "environment": project.settings.environment,
            "feature": finding.feature,
            "breached": finding.breached,
            "message": f"{model.name} on {day}: {finding.line().strip()}",
            **({"state": "quiet"} if finding.quiet else {}),
            **{name: round(figure, 6) for name, figure in figures.items() if figure is not None},
        }
        yield Entry(project.names.drift, deterministic_id("drift", version, day.isoformat(), finding.feature), document)


def _end(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC) + timedelta(days=1)
