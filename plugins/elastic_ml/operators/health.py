"""One look at everything that is in production, every few minutes: what was scored, and what is not well."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import ProjectFileError, UnavailableError
from elastic_ml.links.kibana import DashboardLink, DiscoverLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.kibana_pages import data_dashboard, names_of, newest

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.lineage import DataLineage
    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project

STATE_KEY = "measured"


class ElasticHealthOperator(ElasticBaseOperator):
    """Write what happened since the last look, for all models and everything around them, in about a dozen requests.

    Into the predictions stream, per model in production (its `<model>@score` pipeline names a trained model):

    - `predict`: how many events the pipeline scored (`status: success`) and failed to score (`status: error`), with
      the mean latency. Deltas of the inference processor's counters inside `<model>@score`, from one
      `_ml/trained_models/_stats`; never of `inference_stats`, which counts holdouts and rescoring, too. The newest
      document holds the counters that the next look starts from.
    - `heartbeat`: written at every look, with `expected`, the events of the interval that the model should have scored,
      and the model file's `min_expected`.
    - `scored`: the first score of each user-hour, once its hour has ended and the transform has had time for late
      events. Precision is judged by these: a late event writes its hour again, with another score.

    Into the health stream: disks of nodes, sizes and ages of streams, states of jobs, datafeeds and transforms, keys
    close to their expiry. What the connection's key may not read is written as `state: unreadable`.

    Every document's id is made of what it is about and of `at`, so a second attempt adds nothing; a look that a later
    one has overtaken writes nothing.

    :param project_folder: the project folder (templated).
    :param at: the end of the interval, ISO 8601 with zone (templated).
    :param elastic_conn_ids: connections whose keys are watched, beside `elastic_conn_id`.
    :return: `{at, models: {name: {predictions, errors, expected}}, scored, health, written}`.
    :raises NotReadyError: the operations streams do not exist.
    """

    template_fields: Sequence[str] = sorted_fields("at", "project_folder")
    operator_extra_links = (DashboardLink(), DiscoverLink())

    def __init__(self, *, project_folder: str, at: str, elastic_conn_ids: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.at = at
        self.elastic_conn_ids = list(elastic_conn_ids)

    def pages(self, context: Any) -> Mapping[str, str]:
        """The dashboard of everything underneath, and what was not well."""
        names = names_of(self.project_folder)
        return {"DashboardLink": data_dashboard(names), "DiscoverLink": newest(names.health, {"status": "error"})}

    def lineage(self) -> "DataLineage":
        """Return the user-hours whose first scores are copied, and the streams that are written to."""
        from elastic_ml.lineage import DataLineage

        names = names_of(self.project_folder)
        return DataLineage((names.features,) if names.features else (), (names.predictions, names.health))

    def execute(self, context: Any) -> dict[str, Any]:
        """Look at everything, write, then raise what could not be asked."""
        from elastic_ml.monitoring.operations_log import append, iso
        from elastic_ml.monitoring.probes import Probes
        from elastic_ml.monitoring.serving import Serving, moment_of
        from elastic_ml.project import load_project

        project = load_project(self.project_folder)
        at = moment_of(self.at)
        serving = Serving(self.client, project, at, list(self._models(project)))
        state = context["task_state_store"]
        measured = state.get(STATE_KEY)
        if measured is None:
            measured = serving.measure()
            # The counters go on: a try after a crash must finish with the ones that the first documents were made of.
            state.set(STATE_KEY, measured)
        predictions, heartbeats, models = serving.entries(measured)
        scored = list(serving.first_scores())
        probes = Probes(project, at, serverless=self.hook.serverless)
        health = probes.run(self.client, self._clients())
        for sentence in probes.sentences:
            self.log.warning("%s", sentence)
        written = append(self.client, [*predictions, *scored, *health])
        # Last: a heartbeat says that its interval is written, and the next look starts from its counters.
        written += append(self.client, heartbeats)
        for name, figures in models.items():
            self.log.info("%s: %s", name, figures)
        if probes.failures:
            # Everything else is written; another try writes what is still missing.
            raise UnavailableError("; ".join(probes.failures), remedy="This task tries again.")
        return {
            "at": iso(at),
            "models": models,
            "scored": len(scored),
            "health": len(health),
            "unwell": [f"{e.document['kind']} {e.document['name']}" for e in health if e.document["status"] == "error"],
            "written": written,
        }

    def _models(self, project: "Project") -> "Iterator[Model]":
        for name in project.models():
            try:
                model = project.model(name)
            except ProjectFileError as error:
                self.log.warning("A model is left out: %s", error)
                continue
            if model.supervised:
                yield model

    def _clients(self) -> "dict[str, Elasticsearch]":
        from elastic_ml.hooks.elastic import ElasticHook

        clients = {self.elastic_conn_id: self.client}
        for conn_id in self.elastic_conn_ids:
            if conn_id not in clients:
                clients[conn_id] = ElasticHook(conn_id, opaque_id=self._opaque_id()).client
        return clients
