"""One day of a model in production: did inputs, scores or precision move away from what it was judged on?"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import NotReadyError
from elastic_ml.links.kibana import DiscoverLink, ModelDashboardLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.kibana_pages import names_of, newest, of_model

if TYPE_CHECKING:
    from elastic_ml.lineage import DataLineage
    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project


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
        from elastic_ml.monitoring.findings import drift_entries, judged_days
        from elastic_ml.monitoring.measures import Measures
        from elastic_ml.monitoring.operations_log import append
        from elastic_ml.project import load_project
        from elastic_ml.training.run import read_day

        project = load_project(self.project_folder)
        model, day = project.model(self.model), read_day(self.day)
        version, card = self._in_production(project, model)
        if version is None:
            raise AirflowSkipException(f"Nothing of {self.model} is in production: there is nothing to monitor.")
        measures = Measures(self.client, project, model, version, card, day)
        findings = measures.findings()
        for sentence in measures.sentences:
            self.log.warning("%s", sentence)
        self.log.info("%s on %s\n%s", version, day, "\n".join(finding.line() for finding in findings))
        append(self.client, list(drift_entries(project, model, version, day, findings)))
        histories, asked = judged_days(self.client, project, model, version, day)
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
        from elastic_ml.monitoring.findings import published_results
        from elastic_ml.registry.model_cards import model_behind, read_card

        if model.supervised:
            version = model_behind(self.client, project.names.champion(model.name))
            return version, read_card(self.client, project.names, version) if version else None
        return published_results(self.client, project, model), None


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

        from elastic_ml.monitoring.findings import RETRAIN, Finding, drift_entries
        from elastic_ml.monitoring.operations_log import append
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
        append(self.client, list(drift_entries(project, project.model(self.model), measured["model_id"], day, [asked])))
        extra = {"model": self.model, **{key: measured[key] for key in ("model_id", "day", "features")}}
        context["outlet_events"][self.outlets[0]].extra = extra
        return extra
