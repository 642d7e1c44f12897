"""One look at everything that is in production, every few minutes: what was scored, and what is not well."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from elastic_ml.exceptions import (
    ElasticMLError,
    LicenseError,
    NotFoundError,
    NotReadyError,
    ProjectFileError,
    UnavailableError,
    VersionError,
)
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.documents import IN_HISTORY, dig
from elastic_ml.operators.operations_log import Entry, append
from elastic_ml.operators.registry import deterministic_id

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.evaluation.serving import Counters
    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project

INTERVAL = timedelta(minutes=5)
"""How often the DAG looks; the first look at a model counts the events of this long."""
FIRST_LOOK_BACK = timedelta(days=2)
"""How far back the first look copies user-hours."""
MODELS = 10_000
"""The most that the server gives at once."""
SCORES_PAGE = 5000
STATE_KEY = "measured"


class Look(NamedTuple):
    """What the newest look at one model left behind.

    :param at: when it was.
    :param counters: the inference processor's counters then.
    """

    at: datetime
    counters: "Counters"

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Look":
        """Read a heartbeat, or what `to_json` gave."""
        from elastic_ml.evaluation.serving import Counters

        return cls(_moment(stored["@timestamp"]), Counters.of(stored["counters"]))

    def to_json(self) -> dict[str, Any]:
        """JSON-able, for the task state."""
        return {"@timestamp": _iso(self.at), "counters": self.counters.to_json()}


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

    def __init__(self, *, project_folder: str, at: str, elastic_conn_ids: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.at = at
        self.elastic_conn_ids = list(elastic_conn_ids)

    def execute(self, context: Any) -> dict[str, Any]:
        """Look at everything, write, then raise what could not be asked."""
        from elastic_ml.operators.health_probes import Probes
        from elastic_ml.project import load_project

        project = load_project(self.project_folder)
        at = _moment(self.at)
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
            "at": _iso(at),
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


class Serving:
    """What the models of a project scored since the last look.

    :param at: the end of the interval.
    :param models: the supervised models of the project.
    """

    def __init__(self, client: "Elasticsearch", project: "Project", at: datetime, models: "Sequence[Model]") -> None:
        self.client = client
        self.project = project
        self.names = project.names
        self.at = at
        self.models = models
        self._before: dict[str, datetime] = {}
        self._in_production: set[str] = set()

    def measure(self) -> dict[str, Any]:
        """Read the counters of every model in production, and how many events each should have scored; JSON-able."""
        production = self._production()
        looks = self._newest_looks() if production else {}
        fresh = {name: found for name, found in production.items() if name not in looks or looks[name].at < self.at}
        expected = self._expected([model for model in self.models if model.name in fresh], looks)
        return {
            name: {
                "version": version,
                "counters": counters.to_json(),
                "before": looks[name].to_json() if name in looks else None,
                "expected": expected[name],
            }
            for name, (version, counters) in fresh.items()
        }

    def entries(self, measured: Mapping[str, Any]) -> tuple[list[Entry], list[Entry], dict[str, dict[str, Any]]]:
        """Return predict documents, heartbeats, and per model what they say.

        :param measured: see `measure`.
        """
        from elastic_ml.evaluation.serving import Counters

        self._in_production = set(measured)
        predictions: list[Entry] = []
        heartbeats: list[Entry] = []
        figures: dict[str, dict[str, Any]] = {}
        for model in self.models:
            if (found := measured.get(model.name)) is None:
                continue
            counters, expected = Counters.of(found["counters"]), int(found["expected"])
            look = Look.of(found["before"]) if found["before"] else None
            if look:
                self._before[model.name] = look.at
            delta = counters.since(look.counters if look else None, at_most=expected)
            common = self._common(model.name, found["version"], _iso(self.at))
            predictions += self._predictions(common, delta)
            heartbeats.append(self._heartbeat(common, counters, expected, model.monitor.min_expected))
            figures[model.name] = {"predictions": delta.succeeded, "errors": delta.failed, "expected": expected}
        return predictions, heartbeats, figures

    def first_scores(self) -> Iterator[Entry]:
        """Yield the first score of each user-hour that ended since the last look, or came late.

        Of models in production: one that is not has no look to go on from, and scores nothing. What it scored last
        is taken up when it is promoted again.
        """
        settings, index = self.project.settings.features, self.names.features
        models = [
            m
            for m in self.models
            if index is not None and index in m.source.index and m.serve is not None and m.name in self._in_production
        ]
        if settings is None or index is None or not models:
            return
        # A user-hour is whole when its hour ended and the transform's next checkpoint saw the last of its events.
        delay = settings.sync_delay + settings.frequency + timedelta(hours=1)
        looks = [self._before[model.name] for model in models if model.name in self._before]
        before = min(looks) if len(looks) == len(models) else self.at - FIRST_LOOK_BACK
        ended = {"lte": _iso(self.at - delay)}
        query = {
            "bool": {
                "filter": [{"range": {"@timestamp": ended}}],
                "should": [
                    {"range": {"@timestamp": {**ended, "gt": _iso(before - delay)}}},
                    # Written after its time: the events of a source came late. What was copied before stays as it was.
                    {"range": {"event.ingested": {"gt": _iso(before - settings.frequency)}}},
                ],
                "minimum_should_match": 1,
            }
        }
        for hit in self._pages(index, query, [model.name for model in models]):
            for model in models:
                scored = dig(hit["_source"], f"ml.{model.name}")
                if isinstance(scored, Mapping) and (scored.get("model_id") or scored.get("error")):
                    yield self._first_score(model, hit["_source"], scored)

    def _production(self) -> "dict[str, tuple[str, Counters]]":
        """Model → the trained model behind its `<model>@score`, and that pipeline's inference counters."""
        from elastic_ml.evaluation.serving import inference_counters

        try:
            answer = self.client.ml.get_trained_models_stats(
                size=MODELS, filter_path="trained_model_stats.model_id,trained_model_stats.ingest.pipelines"
            )
        except (LicenseError, VersionError):
            return {}
        found: dict[str, tuple[str, Counters]] = {}
        for stats in answer.get("trained_model_stats", []):
            pipelines = (stats.get("ingest") or {}).get("pipelines") or {}
            for model in self.models:
                counters = inference_counters(pipelines, self.names.score_pipeline(model.name))
                if counters is not None:
                    found[model.name] = (stats["model_id"], counters)
        return found

    def _newest_looks(self) -> dict[str, Look]:
        try:
            answer = self.client.search(
                index=self.names.predictions,
                size=0,
                query={"bool": {"filter": [{"term": {"event_type": "heartbeat"}}, {"term": {"provider": "pipeline"}}]}},
                aggs={
                    "models": {
                        "terms": {"field": "model_name", "size": MODELS},
                        "aggs": {
                            "newest": {
                                "top_hits": {
                                    "size": 1,
                                    "sort": [{"@timestamp": "desc"}],
                                    "_source": ["@timestamp", "counters"],
                                }
                            }
                        },
                    }
                },
            )
        except NotFoundError as missing:
            raise NotReadyError(
                f"The stream {self.names.predictions} does not exist.",
                remedy="Run the DAG elastic_setup with mode=apply.",
            ) from missing
        return {
            bucket["key"]: Look.of(bucket["newest"]["hits"]["hits"][0]["_source"])
            for bucket in answer["aggregations"]["models"]["buckets"]
        }

    def _expected(self, models: "Sequence[Model]", looks: Mapping[str, Look]) -> dict[str, int]:
        """Events that were indexed since the last look and that the model should have scored; one search per source.

        `source.query` says which events a model is for. History is left out: its events are scored by `rescore`.
        """
        by_source: dict[tuple[str, ...], list[Model]] = {}
        for model in models:
            by_source.setdefault(tuple(model.source.index), []).append(model)
        counts: dict[str, int] = {}
        for index, same in by_source.items():
            filters = {}
            for model in same:
                since = looks[model.name].at if model.name in looks else self.at - INTERVAL
                filters[model.name] = {
                    "bool": {
                        "filter": [
                            model.source.query,
                            {"range": {"event.ingested": {"gt": _iso(since), "lte": _iso(self.at)}}},
                        ]
                    }
                }
            answer = self.client.search(
                index=list(index),
                ignore_unavailable=True,
                size=0,
                track_total_hits=False,
                query={"bool": {"must_not": IN_HISTORY}},
                aggs={"models": {"filters": {"filters": filters}}},
            )
            buckets = answer.get("aggregations", {}).get("models", {}).get("buckets", {})
            counts |= {model.name: int(buckets.get(model.name, {}).get("doc_count", 0)) for model in same}
        return counts

    def _predictions(self, common: Mapping[str, Any], delta: "Counters") -> Iterator[Entry]:
        latency = None if delta.mean_ms is None else round(delta.mean_ms, 3)
        for status, count in (("success", delta.succeeded), ("error", delta.failed)):
            if count:
                yield self._entry(
                    ("predict", common["model_name"], status, common["@timestamp"]),
                    {**common, "event_type": "predict", "status": status, "count": count, "latency_ms": latency},
                )

    def _heartbeat(self, common: Mapping[str, Any], counters: "Counters", expected: int, min_expected: int) -> Entry:
        document = {
            **common,
            "event_type": "heartbeat",
            "status": "success",
            "expected": expected,
            "min_expected": min_expected,
            "counters": counters.to_json(),
        }
        return self._entry(("heartbeat", common["model_name"], common["@timestamp"]), document)

    def _first_score(self, model: "Model", source: Mapping[str, Any], scored: Mapping[str, Any]) -> Entry:
        failed = scored.get("error") is not None
        document = {
            **self._common(model.name, str(scored.get("model_id") or ""), str(source["@timestamp"])),
            "event_type": "scored",
            "status": "error" if failed else "success",
            "user_hour": source["user_hour"],
            "user": {"id": dig(source, "user.id")},
            "count": 1,
            **({"reason": str(scored["error"])} if failed else {"value": scored.get("score")}),
        }
        return self._entry(("scored", model.name, source["user_hour"]), document)

    def _common(self, model: str, version: str, timestamp: str) -> dict[str, Any]:
        return {
            "@timestamp": timestamp,
            "event": {"kind": "metric"},
            "model_name": model,
            "model_version": version,
            "stage": "champion",
            "environment": self.project.settings.environment,
            "provider": "pipeline",
        }

    def _entry(self, about: Sequence[object], document: Mapping[str, Any]) -> Entry:
        return Entry(self.names.predictions, deterministic_id(*about), document)

    def _pages(self, index: str, query: Mapping[str, Any], models: Sequence[str]) -> Iterator[dict[str, Any]]:
        after: list[Any] | None = None
        while True:
            try:
                hits = self.client.search(
                    index=index,
                    query=dict(query),
                    size=SCORES_PAGE,
                    sort=[{"@timestamp": "asc"}, {"user_hour": "asc"}],
                    search_after=after,
                    track_total_hits=False,
                    source={"includes": ["@timestamp", "user.id", "user_hour", *(f"ml.{name}" for name in models)]},
                )["hits"]["hits"]
            except NotFoundError:
                return  # elastic_setup has not made the user-hours yet
            yield from hits
            if len(hits) < SCORES_PAGE:
                return
            after = hits[-1]["sort"]


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ElasticMLError(f"{text!r} is no time.", remedy="Write it as 2026-11-21T10:05:00+00:00.") from None
    return moment.replace(microsecond=0, tzinfo=moment.tzinfo or UTC).astimezone(UTC)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
