"""What the models in production scored since the last look: counts, heartbeats, first scores of user-hours."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from elastic_ml.clients.documents import IN_HISTORY, dig
from elastic_ml.evaluation.serving import Counters, inference_counters
from elastic_ml.exceptions import ElasticMLError, LicenseError, NotFoundError, NotReadyError, VersionError
from elastic_ml.monitoring.operations_log import Entry, iso
from elastic_ml.registry.events import deterministic_id

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project

INTERVAL = timedelta(minutes=5)
"""How often the DAG looks; the first look at a model whose promotion nobody recorded counts the events of this long."""
FIRST_LOOK_BACK = timedelta(days=2)
"""How far back the first look copies user-hours."""
MODELS = 10_000
"""The most that the server gives at once."""
SCORES_PAGE = 5000


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
        return cls(moment_of(stored["@timestamp"]), Counters.of(stored["counters"]))

    def to_json(self) -> dict[str, Any]:
        """JSON-able, for the task state."""
        return {"@timestamp": iso(self.at), "counters": self.counters.to_json()}


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
            common = self._common(model.name, found["version"], iso(self.at))
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
        ended = {"lte": iso(self.at - delay)}
        query = {
            "bool": {
                "filter": [{"range": {"@timestamp": ended}}],
                "should": [
                    {"range": {"@timestamp": {**ended, "gt": iso(before - delay)}}},
                    # Written after its time: the events of a source came late. What was copied before stays as it was.
                    {"range": {"event.ingested": {"gt": iso(before - settings.frequency)}}},
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
        promoted = self._promoted([model.name for model in models if model.name not in looks])
        for model in models:
            by_source.setdefault(tuple(model.source.index), []).append(model)
        counts: dict[str, int] = {}
        for index, same in by_source.items():
            filters = {}
            for model in same:
                since = looks[model.name].at if model.name in looks else promoted.get(model.name, self.at - INTERVAL)
                filters[model.name] = {
                    "bool": {
                        "filter": [
                            model.source.query,
                            {"range": {"event.ingested": {"gt": iso(since), "lte": iso(self.at)}}},
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

    def _promoted(self, models: "Sequence[str]") -> dict[str, datetime]:
        """When models were promoted, that is since when the counters of those that no look has seen have counted."""
        if not models:
            return {}
        promotions = [
            {"terms": {"model_name": list(models)}},
            {"term": {"event_type": "deployed"}},
            {"term": {"status": "success"}},
        ]
        newest = {"newest": {"max": {"field": "@timestamp"}}}
        answer = self.client.search(
            index=self.names.registry,
            ignore_unavailable=True,
            size=0,
            query={"bool": {"filter": promotions}},
            aggs={"models": {"terms": {"field": "model_name", "size": MODELS}, "aggs": newest}},
        )
        return {
            bucket["key"]: datetime.fromtimestamp(bucket["newest"]["value"] / 1000, UTC)
            for bucket in answer.get("aggregations", {}).get("models", {}).get("buckets", [])
        }

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


def moment_of(text: str) -> datetime:
    """Read a time, ISO 8601; UTC unless it says otherwise.

    :raises ElasticMLError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ElasticMLError(f"{text!r} is no time.", remedy="Write it as 2026-11-21T10:05:00+00:00.") from None
    return moment.replace(microsecond=0, tzinfo=moment.tzinfo or UTC).astimezone(UTC)
