"""One day of a model in production: did inputs, scores or precision move away from what it was judged on?"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from elastic_ml.exceptions import NotReadyError
from elastic_ml.links.kibana import DiscoverLink, ModelDashboardLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.kibana_pages import names_of, newest, of_model
from elastic_ml.operators.model_cards import model_behind, read_card
from elastic_ml.operators.operations_log import Entry, append
from elastic_ml.operators.registry import deterministic_id

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.lineage import DataLineage
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


class MonitorOperator(ElasticBaseOperator):
    """Measure one day of the model in production, and write what it found to the drift stream.

    - **Drift**: PSI of each input and of the corrected score against the histograms in the champion's model card.
      What a day is compared with, and when it counts as drift: `evaluation.drift`.
    - **Coverage**: share of the day's events that have a score; from the model's first promotion on.
    - **Precision** of the day `label_delay` ago, whose verdicts have come since: of its highest scores, as many as
      the model file's `review_capacity`. A regression: mean absolute error.
    - **Latency baseline** of each served version, once it has run for 24 hours and 500 predictions; filled once.

    Outlier models have no champion: their published results are what a day's inputs are compared with.

    Two breached days in a row (the model file's `monitor.days`) make the result `drifted`. Documents have deterministic
    ids: measuring a day again adds nothing.

    :param project_folder: the project folder.
    :param model: name of the model file.
    :param day: the day, UTC (templated).
    :return: `{day, model_id, drifted, features, findings, baseline}`; `features` are what lasted.
    """

    template_fields: Sequence[str] = sorted_fields("day")
    operator_extra_links = (ModelDashboardLink(), DiscoverLink())

    def __init__(self, *, project_folder: str, model: str, day: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.model = model
        self.day = day

    def pages(self, context: Any) -> Mapping[str, str]:
        """How the model does, and what was measured of it."""
        drift = names_of(self.project_folder).drift
        query = newest(drift, {"model_name": self.model})
        return {**of_model(self.project_folder, self.model), "DiscoverLink": query}

    def lineage(self) -> "DataLineage":
        """Return what the model scores, or what an outlier job found, and the stream of what was measured."""
        from elastic_ml.lineage import DataLineage
        from elastic_ml.project import load_project

        project = load_project(self.project_folder)
        model = project.model(self.model)
        reads = tuple(model.source.index) if model.supervised else (project.names.results_alias(model.name),)
        return DataLineage(reads, (project.names.drift,))

    def execute(self, context: Any) -> dict[str, Any]:
        """Measure, write, and say whether it lasts; skip with a sentence when nothing is in production."""
        from airflow.sdk.exceptions import AirflowSkipException

        from elastic_ml.evaluation.drift_watch import asked_lately, lasting
        from elastic_ml.operators.monitor_measures import Measures
        from elastic_ml.project import load_project
        from elastic_ml.sensors.monitored_day import monitored_day

        project = load_project(self.project_folder)
        model, day = project.model(self.model), monitored_day(self.day)
        version, card = self._in_production(project, model)
        if version is None:
            raise AirflowSkipException(f"Nothing of {self.model} is in production: there is nothing to monitor.")
        measures = Measures(self.client, project, model, version, card, day)
        findings = measures.findings()
        for sentence in measures.sentences:
            self.log.warning("%s", sentence)
        self.log.info("%s on %s\n%s", version, day, "\n".join(finding.line() for finding in findings))
        append(self.client, list(_entries(project, model, version, day, findings)))
        histories, asked = self._history(project, version, day)
        watched = {found.feature: histories.get(found.feature, []) for found in findings if found.retrains}
        lasts = lasting(watched, day, model.monitor.days)
        lately = asked_lately(asked, day)
        if lasts and lately:
            self.log.info("%s drift on, and a training was asked for on %s.", ", ".join(lasts), lately)
        elif lasts:
            self.log.warning("Drift for %s days: %s.", model.monitor.days, ", ".join(lasts))
        return {
            "day": day.isoformat(),
            "model_id": version,
            "drifted": bool(lasts) and lately is None,
            "features": lasts,
            "findings": [finding._asdict() for finding in findings],
            "baseline": measures.fill_latency_baseline() if model.supervised else [],
        }

    def _in_production(self, project: "Project", model: "Model") -> tuple[str | None, dict[str, Any] | None]:
        if model.supervised:
            version = model_behind(self.client, project.names.champion(model.name))
            return version, read_card(self.client, project.names, version) if version else None
        return published_results(self.client, project, model), None

    def _history(self, project: "Project", version: str, day: date) -> tuple[dict[str, list[Any]], list[date]]:
        """Judged days of each feature, and the days on which a training was asked for, of this version."""
        end = _end(day)
        hits = self.client.search(
            index=project.names.drift,
            size=10_000,
            query={
                "bool": {
                    "filter": [
                        {"term": {"model_name": self.model}},
                        {"term": {"model_version": version}},
                        {"range": {"@timestamp": {"gt": _iso(end - HISTORY), "lte": _iso(end)}}},
                    ]
                }
            },
            source={"includes": ["@timestamp", "feature", "breached", "state"]},
        )["hits"]["hits"]
        histories: dict[str, list[Any]] = {}
        asked: list[date] = []
        for source in (hit["_source"] for hit in hits):
            judged = (datetime.fromisoformat(source["@timestamp"]) - timedelta(days=1)).date()
            if source["feature"] == RETRAIN:
                asked.append(judged)
            elif source.get("state") != "quiet":
                histories.setdefault(source["feature"], []).append((judged, bool(source["breached"])))
        return histories, asked


class EmitDriftOperator(ElasticBaseOperator):
    """Ask for a training: one event of the drift asset, without a partition key, since plain consumers need that.

    Skipped unless `measure` says that drift lasts. The drift stream gets a document first, which keeps the next days
    from asking again.

    :param project_folder: the project folder.
    :param model: name of the model file.
    :param measure_task_id: the task that measured.
    """

    operator_extra_links = (ModelDashboardLink(),)

    def __init__(self, *, project_folder: str, model: str, measure_task_id: str = "measure", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.model = model
        self.measure_task_id = measure_task_id

    def pages(self, context: Any) -> Mapping[str, str]:
        """How the model does."""
        return of_model(self.project_folder, self.model)

    def execute(self, context: Any) -> dict[str, Any]:
        """Emit the event, or skip with a sentence."""
        from airflow.sdk.exceptions import AirflowSkipException

        from elastic_ml.project import load_project

        measured = context["ti"].xcom_pull(task_ids=self.measure_task_id)
        if not measured:
            raise NotReadyError(
                f"Task {self.measure_task_id} left no result.", remedy=f"Clear {self.measure_task_id} and this task."
            )
        if not measured["drifted"]:
            raise AirflowSkipException(f"No drift of {measured['model_id']} lasts: no training is asked for.")
        project = load_project(self.project_folder)
        day = date.fromisoformat(measured["day"])
        note = f"A training was asked for: {', '.join(measured['features'])}."
        asked = Finding(RETRAIN, breached=False, note=note)
        append(self.client, list(_entries(project, project.model(self.model), measured["model_id"], day, [asked])))
        extra = {"model": self.model, **{key: measured[key] for key in ("model_id", "day", "features")}}
        context["outlet_events"][self.outlets[0]].extra = extra
        return extra


def published_results(client: "Elasticsearch", project: "Project", model: "Model") -> str | None:
    """Return the index behind an outlier model's `<model>_results`, None before its first run."""
    found = client.options(ignore_status=404).indices.get_alias(name=project.names.results_alias(model.name))
    return sorted(found.body)[-1] if found.meta.status == 200 and found.body else None


def _entries(
    project: "Project", model: "Model", version: str, day: date, findings: Sequence[Finding]
) -> Iterator[Entry]:
    for finding in findings:
        figures: Mapping[str, Any] = {"psi": finding.psi, "value": finding.value, "limit": finding.limit}
        document = {
            # The day's end: rules look at the newest documents.
            "@timestamp": _iso(_end(day)),
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


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
