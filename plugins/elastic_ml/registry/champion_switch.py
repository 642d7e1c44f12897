"""The steps of a switch: moving a model alias so that the next event is scored by another model, and back."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.clients.rendered_bodies import put_pipeline
from elastic_ml.exceptions import ElasticMLError, JobFailedError, NotFoundError, NotReadyError, SupersededError
from elastic_ml.project.clock import clock_features, model_clock
from elastic_ml.registry.gate import shortcomings
from elastic_ml.registry.model_cards import model_behind, read_card
from elastic_ml.training.features import feature_types, joined_features, painless_path

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project

TRIED_EVENTS = 20
MOST_PROCESSORS = "xpack.ml.max_inference_processors"


class ChampionSwitch:
    """The steps of one switch, each idempotent.

    :param challenger: the trained model that becomes champion; None takes the model out of scoring.
    """

    def __init__(
        self,
        client: "Elasticsearch",
        project: "Project",
        model: "Model",
        challenger: str | None,
        *,
        serverless: bool = False,
    ) -> None:
        self.client = client
        self.project = project
        self.names = project.names
        self.model = model
        self.challenger = challenger
        self.serverless = serverless

    @property
    def _train_dag(self) -> str:
        return self.names.dag_id("train", self.model.name)

    def champion(self) -> str | None:
        """Return the model in production."""
        return model_behind(self.client, self.names.champion(self.model.name))

    def check_current(self, gated: Mapping[str, Any], *, began: bool, rollbacks: int = 0) -> None:
        """Make sure that what was gated and approved is still the question.

        :param began: an earlier try of this task began the switch, so the challenger may be champion already.
        :param rollbacks: how many rollbacks the model has seen by now.
        :raises SupersededError: it is not.
        """
        champion = self.champion()
        if began and champion == self.challenger:
            # It is done already; only its proof and its record are missing.
            return
        if rollbacks > (gated.get("rollbacks") or 0):
            raise SupersededError(
                f"{self.model.name} was rolled back while {self.challenger} waited: this run is superseded.",
                remedy=f"Clear `evaluate` in its run of {self._train_dag} to offer it again.",
            )
        if champion != gated["champion"]:
            raise SupersededError(
                f"{self.challenger} was judged against {gated['champion'] or 'no champion'}, but "
                f"{champion or 'none'} is in production now: this run is superseded.",
                remedy=f"Clear `evaluate` in its run of {self._train_dag} to offer it again.",
            )
        cards = self.client.search(
            index=self.names.model_cards,
            query={"term": {"model_name": self.model.name}},
            sort=[{"@timestamp": "desc"}],
            size=50,
            source={"includes": ["model_id", "day", "created_at", "metrics", "stage"]},
        )["hits"]["hits"]
        ours = (gated["day"], gated["created_at"] or 0)
        for card in (hit["_source"] for hit in cards):
            newer = (card["day"], card["created_at"] or 0) > ours
            if newer and card["stage"] == "candidate" and not shortcomings(card, self.model):
                raise SupersededError(
                    f"{card['model_id']}, trained for {card['day']}, is a newer candidate: this run is superseded.",
                    remedy="Decide on the newer one.",
                )

    def recent_events(self, *, required: bool = True) -> list[dict[str, Any]]:
        """Return the newest events of the model's streams, without scores, as documents to simulate.

        :raises NotReadyError: there is none to try the model on, and it is `required`.
        """
        hits = self.client.search(
            index=self.model.source.index,
            query=self.model.source.query,
            sort=[{"@timestamp": "desc"}],
            size=TRIED_EVENTS,
        )["hits"]["hits"]
        if not hits and required:
            raise NotReadyError(
                f"{', '.join(self.model.source.index)} holds no event to try {self.challenger} on.",
                remedy="Clear this task once events have arrived.",
            )
        return [
            {
                "_index": self._written_to(hit["_index"]),
                "_id": hit["_id"],
                "_source": {key: value for key, value in hit["_source"].items() if key != "ml"},
            }
            for hit in hits
        ]

    def _written_to(self, index: str) -> str:
        """Return the stream behind one of its backing indices: pipelines see that name when an event is indexed."""
        return next((name for name in self.model.source.index if index.startswith(f".ds-{name}-")), index)

    def check_room(self) -> None:
        """Make sure that the cluster allows one more inference processor; writing one anew or simulating counts, too.

        :raises NotReadyError: it does not.
        """
        if self.serverless:
            # Cluster settings are private there, and the limit is Elastic's to watch.
            return
        settings = self.client.cluster.get_settings(include_defaults=True, flat_settings=True)
        limit = next(
            (
                int(group[MOST_PROCESSORS])
                for name in ("transient", "persistent", "defaults")
                if MOST_PROCESSORS in (group := settings.get(name, {}))
            ),
            50,
        )
        used = sum(_inference_processors(body) for body in self.client.ingest.get_pipeline().values())
        if used >= limit:
            raise NotReadyError(
                f"The cluster's pipelines hold {used} inference processors, and {MOST_PROCESSORS} allows {limit}.",
                remedy="Raise the setting, or delete pipelines that nothing uses.",
            )

    def present(self) -> dict[str, Any]:
        """Return what is in place: champion, previous, and the score pipeline's body."""
        pipeline = self.names.score_pipeline(self.model.name)
        try:
            body = dict(self.client.ingest.get_pipeline(id=pipeline)[pipeline])
        except NotFoundError:
            body = None
        return {
            "champion": model_behind(self.client, self.names.champion(self.model.name)),
            "previous": model_behind(self.client, self.names.previous(self.model.name)),
            "pipeline": body,
        }

    def try_challenger(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Score the events with the challenger, by its id, through a pipeline that exists only in the request."""
        if events:
            body = self.body(str(self.challenger), [self.challenger])
            answer = self.client.ingest.simulate(docs=list(events), pipeline=body)
            self._check_scores(answer["docs"], f"Model {self.challenger}, tried by its id,")

    def try_bound(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Score the events through `<model>@score` as it now stands."""
        if events:
            pipeline = self.names.score_pipeline(self.model.name)
            answer = self.client.ingest.simulate(docs=list(events), id=pipeline)
            self._check_scores(answer["docs"], f"The pipeline {pipeline}, after the switch to {self.challenger},")

    def try_withdrawn(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Send the events through the pipeline that calls `<model>@score`: they pass it, without a score."""
        if self.model.serve is None or not events:
            return
        pipeline = self.model.serve.pipeline
        for doc in self.client.ingest.simulate(docs=list(events), id=pipeline)["docs"]:
            scored = self.model.name in (doc.get("doc", {}).get("_source", {}).get("ml") or {})
            if "error" in doc or scored:
                problem = str(doc["error"].get("reason")) if "error" in doc else "it was scored all the same"
                raise JobFailedError(
                    f"The pipeline {pipeline}, without {self.model.name}, failed on a recent event: {problem}.",
                    remedy="Compare the pipeline with elastic_setup, mode=verify.",
                )

    def displaced(self, before: Mapping[str, Any]) -> str | None:
        """Return what `<model>_previous` stands for once the challenger is promoted."""
        return before["previous"] if before["champion"] in {None, self.challenger} else before["champion"]

    def knows_challenger(self, before: Mapping[str, Any]) -> bool:
        """Whether `<model>@score` as it was serves the challenger too: it scores by the alias and has its shares."""
        processors = (before["pipeline"] or {}).get("processors", [])
        scored_by = [p["inference"].get("model_id") for p in processors if "inference" in p]
        kept = [p["script"].get("params", {}).get("kept", {}) for p in processors if "script" in p]
        return scored_by == [self.names.champion(self.model.name)] and any(self.challenger in k for k in kept)

    def apply(self, before: Mapping[str, Any], previous: str | None = None, *, write_pipeline: bool = True) -> None:
        """Write pipeline and aliases in the order in which no event fails.

        :param before: see `present`.
        :param previous: what `<model>_previous` stands for afterwards; None removes it.
        :param write_pipeline: False where the pipeline in place serves the challenger as it is.
        """
        name = self.model.name
        alias = self.names.champion(name)
        first = before["champion"] is None
        if first:
            self._alias(alias, str(self.challenger))
        if write_pipeline or first:
            models = [before["champion"], before["previous"], previous, self.challenger]
            body = self.project.stamp(self.body(alias, models))
            put_pipeline(self.client, self.names.score_pipeline(name), body)
        if previous is not None:
            self._alias(self.names.previous(name), previous)
        elif before["previous"] is not None:
            self._remove_alias(self.names.previous(name), before["previous"])
        if not first:
            self._alias(alias, str(self.challenger))

    def withdraw(self, before: Mapping[str, Any]) -> None:
        """Take the model out of scoring: first the pipeline that names the alias, then the alias."""
        with contextlib.suppress(NotFoundError):  # an earlier try deleted it
            self.client.ingest.delete_pipeline(id=self.names.score_pipeline(self.model.name))
        self._remove_alias(self.names.champion(self.model.name), before["champion"])

    def restore(self, before: Mapping[str, Any]) -> dict[str, str]:
        """Put everything back; return what could not be, as name → sentence."""
        name = self.model.name
        pipeline, alias, previous = (
            self.names.score_pipeline(name),
            self.names.champion(name),
            self.names.previous(name),
        )

        def pipeline_back() -> None:
            body = before["pipeline"]
            if body is None:
                self.client.ingest.delete_pipeline(id=pipeline)
            else:
                put_pipeline(self.client, pipeline, body)

        def alias_back(which: str, was: str | None) -> None:
            if was is not None:
                self._alias(which, was)
            elif (now := model_behind(self.client, which)) is not None:
                self._remove_alias(which, now)

        # The champion first, since it scores. Without an earlier one, the pipeline must not outlive its alias.
        steps = {
            alias: lambda: alias_back(alias, before["champion"]),
            previous: lambda: alias_back(previous, before["previous"]),
            pipeline: pipeline_back,
        }
        order = [pipeline, alias, previous] if before["champion"] is None else [alias, previous, pipeline]
        failures: dict[str, str] = {}
        for step in order:
            try:
                steps[step]()
            except NotFoundError:
                # It was never written.
                continue
            except ElasticMLError as error:
                failures[step] = f"{step}: {error}"
        return failures

    def body(self, reference: str, models: Sequence[str | None]) -> dict[str, Any]:
        """Return the body of `<model>@score`.

        :param reference: the alias, or a model id.
        :param models: whose kept shares it carries; a model without a card was not down-sampled by us.
        """
        kept = {}
        for model_id in models:
            if model_id is not None and model_id not in kept:
                card = read_card(self.client, self.names, model_id)
                kept[model_id] = card["kept"] if card else {}
        joined = joined_features(feature_types(self.client, self.project, self.model))
        return score_pipeline(self.project, self.model, reference=reference, kept=kept, joined=joined)

    def _alias(self, alias: str, model_id: str) -> None:
        # Also right when it points there already: without `reassign` that would be a 400.
        self.client.ml.put_trained_model_alias(model_id=model_id, model_alias=alias, reassign=True)

    def _remove_alias(self, alias: str, model_id: str) -> None:
        try:
            self.client.ml.delete_trained_model_alias(model_id=model_id, model_alias=alias)
        except NotFoundError:
            # An earlier try removed it.
            return

    def _check_scores(self, docs: Sequence[Mapping[str, Any]], subject: str) -> None:
        for doc in docs:
            problem = None
            if "error" in doc:
                problem = str(doc["error"].get("reason"))
            else:
                scored = (doc["doc"]["_source"].get("ml") or {}).get(self.model.name) or {}
                score = scored.get("score")
                if scored.get("error"):
                    problem = str(scored["error"])
                elif not isinstance(score, int | float) or not math.isfinite(score):
                    problem = f"no score was set, but {scored}"
                elif self.model.kind == "classification" and not 0 <= score <= 1:
                    problem = f"the score {score} is no probability"
                elif scored.get("model_id") != self.challenger:
                    problem = f"it was scored by {scored.get('model_id')}"
            if problem:
                raise JobFailedError(
                    f"{subject} failed on a recent event: {problem}.",
                    remedy="Look at the model's inputs and at the event in a pipeline simulation.",
                )


def _inference_processors(pipeline: Any) -> int:
    """Count a pipeline's inference processors as the server does: those in `on_failure` and `foreach` too."""
    if isinstance(pipeline, list):
        return sum(map(_inference_processors, pipeline))
    if not isinstance(pipeline, dict):
        return 0
    below = sum(_inference_processors(value) for key, value in pipeline.items() if key not in {"_meta", "inference"})
    inference = pipeline.get("inference")
    if not isinstance(inference, dict) or "model_id" not in inference:
        return below
    return below + 1 + _inference_processors(inference.get("on_failure"))


def score_pipeline(
    project: "Project",
    model: "Model",
    *,
    reference: str,
    kept: Mapping[str, Mapping[str, float]],
    joined: Sequence[str] = (),
) -> dict[str, Any]:
    """Render `<model>@score`.

    :param reference: model alias or id for the inference processor.
    :param kept: model id → share kept per class, for every model the reference may stand for.
    :param joined: see `joined_features`.
    """
    reasons = int(model.analysis[model.kind].get("num_top_feature_importance_values", 0))
    computed = {f"joined_inputs.{name.rpartition('.')[2]}": name for name in clock_features(project, model)}
    joined_inputs = {feature: f"joined_inputs.f{number}" for number, feature in enumerate(joined)}
    values = {feature: path for feature in model.features if (path := painless_path(feature))}
    values |= {
        feature: f"(ctx.{field.replace('.', '?.')} ?: {values[feature]})" for feature, field in joined_inputs.items()
    }
    values |= {feature: f"ctx.{field.replace('.', '?.')}" for field, feature in computed.items()}
    joined_fields = {field: feature for feature, field in joined_inputs.items()}
    source = project.templates.render_text("model/score.painless.j2", model=model, values=values)
    return project.templates.render(
        "model/score.json.j2",
        model=model,
        reference=reference,
        kept=dict(kept),
        reasons=reasons,
        source=source.strip(),
        joined=joined_fields,
        clock=model_clock(project, model, into="joined_inputs"),
        inputs={**joined_fields, **computed},
    )
