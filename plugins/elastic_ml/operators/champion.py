"""Moving a model alias so that the next event is scored by another model, and back when anything is wrong with it."""

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import (
    ElasticMLError,
    JobFailedError,
    NotFoundError,
    NotReadyError,
    PartialFailureError,
    SupersededError,
)
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.evaluation import model_behind, read_card
from elastic_ml.operators.promotion import DECISION_KEY, shortcomings
from elastic_ml.operators.registry import deterministic_id, write_event
from elastic_ml.operators.training import owner_of, put_pipeline

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project

STATE_KEY = "before_switch"
LOCK = timedelta(minutes=15)
TRIED_EVENTS = 20
MOST_PROCESSORS = "xpack.ml.max_inference_processors"


class SwitchChampionOperator(ElasticBaseOperator):
    """Make a candidate the champion, in one task under the lock `model|<name>`.

    1. The alias is read again: another champion than the gated one, or a newer candidate, ends the run as superseded.
    2. The cluster has room for one more inference processor.
    3. The challenger, by its id, scores up to 20 recent events in a simulation; nothing artificial enters an audit
    stream.
    4. `<model>@score` is written with the kept shares of champion, previous and challenger, `<model>_previous` moves
       to the old champion, and one call moves `<model>_champion`. For the first promotion the alias comes before the
       pipeline: a pipeline that names a missing alias fails every event.
    5. The pipeline as it now stands scores the same events; a failure puts alias and pipeline back and says so.

    What was there before is in the task state before anything changes, so that a try after a crash finishes or puts
    back.

    :param project_folder: the project folder.
    :param model: name of the model file.
    :param approval: `person` needs the decision of `approve_task_id`; `auto` goes by the gate alone.
    :param gate_task_id: the task that judged the candidate.
    :param approve_task_id: the task that asked.
    :return: `{model_id, alias, previous, approved_by}`.
    :raises JobFailedError: a simulation failed; everything is as it was.
    :raises PartialFailureError: putting back failed too; the sentence says what is where.
    """

    template_fields: Sequence[str] = sorted_fields()

    def __init__(
        self,
        *,
        project_folder: str,
        model: str,
        approval: str = "person",
        gate_task_id: str = "gate",
        approve_task_id: str = "approve",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.model = model
        self.approval = approval
        self.gate_task_id = gate_task_id
        self.approve_task_id = approve_task_id

    def execute(self, context: Any) -> dict[str, Any]:
        """Switch, or skip with a sentence when the run was superseded."""
        from airflow.sdk.exceptions import AirflowSkipException

        from elastic_ml.ingest.ledger import Ledger
        from elastic_ml.project import load_project

        project = load_project(self.project_folder)
        gated = context["ti"].xcom_pull(task_ids=self.gate_task_id)
        decision = self._decision(context)
        ledger = Ledger(self.client, project.names.ledger)
        with ledger.lock(f"model|{self.model}", owner=owner_of(context), ttl=LOCK):
            switch = ChampionSwitch(
                self.client,
                project,
                project.model(self.model),
                gated["model_id"],
                serverless=self.hook.facts.serverless,
            )
            state = context["task_state_store"]
            before = state.get(STATE_KEY)
            try:
                switch.check_current(gated, began=before is not None)
            except SupersededError as superseded:
                self.log.warning("%s", superseded)
                raise AirflowSkipException(str(superseded)) from None
            events = switch.recent_events()
            switch.check_room()
            switch.try_challenger(events)
            if before is None:
                before = switch.present()
                state.set(STATE_KEY, before)
            else:
                self.log.info("An earlier try began this switch; finishing it.")
            try:
                switch.apply(before)
                switch.try_bound(events)
            except Exception as error:
                self._put_back(context, switch, project, gated, decision, before, error)
                raise
            self._record(context, project, gated, decision, before)
        self.log.info(
            "%s is %s now; it was %s.", project.names.champion(self.model), gated["model_id"], before["champion"]
        )
        return {
            "model_id": gated["model_id"],
            "alias": project.names.champion(self.model),
            "previous": before["champion"],
            "approved_by": decision["user"],
        }

    def _decision(self, context: Any) -> dict[str, Any]:
        if self.approval == "auto":
            return {"option": "Approve", "user": "auto", "reason": "by the gate alone"}
        decision = context["ti"].xcom_pull(task_ids=self.approve_task_id, key=DECISION_KEY)
        if not decision or decision["option"] != "Approve":
            raise NotReadyError(
                f"No approval by a person was found for {self.model}: {decision or 'nobody answered'}.",
                remedy=f"Clear {self.approve_task_id} and let a person decide.",
            )
        return dict(decision)

    def _put_back(
        self,
        context: Any,
        switch: "ChampionSwitch",
        project: "Project",
        gated: Mapping[str, Any],
        decision: Mapping[str, Any],
        before: Mapping[str, Any],
        error: Exception,
    ) -> None:
        self.log.error("The switch to %s failed and is put back: %s", gated["model_id"], error)
        failures = switch.restore(before)
        outcome = "put back" if not failures else f"putting back failed ({'; '.join(failures.values())})"
        write_event(
            self.client,
            project.names,
            event_type="deployed",
            status="error",
            stage="candidate",
            event_id=deterministic_id(
                "deployed", "error", gated["model_id"], context["ti"].run_id, context["ti"].try_number
            ),
            reason=f"{error}; {outcome}",
            **self._common(project, gated, decision),
        )
        if failures:
            raise PartialFailureError(
                f"The switch of {self.model} to {gated['model_id']} failed ({error}), and so did putting it back: "
                + "; ".join(failures.values()),
                remedy="Clear this task: it finishes the switch or puts everything back from its state.",
                failures=failures,
            ) from error
        context["task_state_store"].delete(STATE_KEY)

    def _common(self, project: "Project", gated: Mapping[str, Any], decision: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "model_name": self.model,
            "model_version": gated["model_id"],
            "user": decision["user"],
            "job_id": gated["job_id"],
            "metrics": gated["figures"],
            "previous_version": gated["champion"],
            "environment": project.settings.environment,
        }

    def _record(
        self,
        context: Any,
        project: "Project",
        gated: Mapping[str, Any],
        decision: Mapping[str, Any],
        before: Mapping[str, Any],
    ) -> None:
        names, run_id = project.names, context["ti"].run_id
        common = self._common(project, gated, decision)
        for event_type in ("transitioned", "deployed"):
            write_event(
                self.client,
                names,
                event_type=event_type,
                stage="champion",
                event_id=deterministic_id(event_type, gated["model_id"], "champion", run_id),
                reason=decision.get("reason"),
                **common,
            )
        _set_stage(self.client, project, gated["model_id"], "champion")
        retired = (
            before["previous"] if before["previous"] not in {None, before["champion"], gated["model_id"]} else None
        )
        for version, stage in ((before["champion"], "previous"), (retired, "retired")):
            if version is None:
                continue
            write_event(
                self.client,
                names,
                event_type="transitioned",
                stage=stage,
                event_id=deterministic_id("transitioned", version, stage, run_id),
                reason=f"{gated['model_id']} was promoted",
                **{**common, "model_version": version, "metrics": None, "previous_version": None, "job_id": None},
            )
            _set_stage(self.client, project, version, stage)


class ChampionSwitch:
    """The steps of one switch, each idempotent.

    :param challenger: the trained model that becomes champion.
    """

    def __init__(
        self, client: "Elasticsearch", project: "Project", model: "Model", challenger: str, *, serverless: bool = False
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

    def check_current(self, gated: Mapping[str, Any], *, began: bool) -> None:
        """Make sure that what was gated and approved is still the question.

        :param began: an earlier try of this task began the switch, so the challenger may be champion already.
        :raises SupersededError: it is not.
        """
        champion = model_behind(self.client, self.names.champion(self.model.name))
        if champion != gated["champion"] and not (began and champion == self.challenger):
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

    def recent_events(self) -> list[dict[str, Any]]:
        """Return the newest events of the model's streams, without scores, as documents to simulate.

        :raises NotReadyError: there is none to try the model on.
        """
        hits = self.client.search(
            index=self.model.source.index,
            query=self.model.source.query,
            sort=[{"@timestamp": "desc"}],
            size=TRIED_EVENTS,
        )["hits"]["hits"]
        if not hits:
            raise NotReadyError(
                f"{', '.join(self.model.source.index)} holds no event to try {self.challenger} on.",
                remedy="Clear this task once events have arrived.",
            )
        return [
            {
                "_index": hit["_index"],
                "_id": hit["_id"],
                "_source": {key: value for key, value in hit["_source"].items() if key != "ml"},
            }
            for hit in hits
        ]

    def check_room(self) -> None:
        """Make sure that the cluster allows one more inference processor; a simulation counts as one, too.

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
        pipelines = self.client.ingest.get_pipeline()
        used = sum("inference" in processor for body in pipelines.values() for processor in body.get("processors", []))
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
        body = self.body(self.challenger, [self.challenger])
        answer = self.client.ingest.simulate(docs=list(events), pipeline=body)
        self._check_scores(answer["docs"], f"Model {self.challenger}, tried by its id,")

    def try_bound(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Score the events through `<model>@score` as it now stands."""
        pipeline = self.names.score_pipeline(self.model.name)
        answer = self.client.ingest.simulate(docs=list(events), id=pipeline)
        self._check_scores(answer["docs"], f"The pipeline {pipeline}, after the switch to {self.challenger},")

    def apply(self, before: Mapping[str, Any]) -> None:
        """Write pipeline and aliases in the order in which no event fails."""
        name = self.model.name
        pipeline = self.names.score_pipeline(name)
        alias = self.names.champion(name)
        body = self.project.stamp(self.body(alias, [before["champion"], before["previous"], self.challenger]))
        if before["champion"] is None:
            self._alias(alias, self.challenger)
            put_pipeline(self.client, pipeline, body)
            return
        put_pipeline(self.client, pipeline, body)
        if before["champion"] != self.challenger:
            self._alias(self.names.previous(name), before["champion"])
        self._alias(alias, self.challenger)

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
            now = model_behind(self.client, which)
            if was is not None:
                self._alias(which, was)
            elif now is not None:
                self.client.ml.delete_trained_model_alias(model_id=now, model_alias=which)

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
        return score_pipeline(self.project, self.model, reference=reference, kept=kept)

    def _alias(self, alias: str, model_id: str) -> None:
        # Also right when it points there already: without `reassign` that would be a 400.
        self.client.ml.put_trained_model_alias(model_id=model_id, model_alias=alias, reassign=True)

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


def score_pipeline(
    project: "Project", model: "Model", *, reference: str, kept: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Render `<model>@score`.

    :param reference: model alias or id for the inference processor.
    :param kept: model id → share kept per class, for every model the reference may stand for.
    """
    reasons = int(model.analysis[model.kind].get("num_top_feature_importance_values", 0))
    readable = [feature for feature in model.features if all(part.isidentifier() for part in feature.split("."))]
    source = project.templates.render_text("model/score.painless.j2", model=model, readable=readable)
    return project.templates.render(
        "model/score.json.j2", model=model, reference=reference, kept=dict(kept), reasons=reasons, source=source.strip()
    )


def _set_stage(client: "Elasticsearch", project: "Project", model_id: str, stage: str) -> None:
    try:
        client.update(index=project.names.model_cards, id=model_id, doc={"stage": stage}, refresh=True)
    except NotFoundError:
        # A champion from before the cards has none.
        return
