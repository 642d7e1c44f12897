"""Judging a trained model on a temporal holdout, beside the champion, and offering it as a candidate."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from elastic_ml.exceptions import JobFailedError, NotFoundError, NotReadyError
from elastic_ml.links.kibana import IndexLink, TrainedModelLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.kibana_pages import result_of
from elastic_ml.operators.reindex import reindex_job, submit_reindex
from elastic_ml.operators.remote_job import RemoteJob, RemoteJobOperator

if TYPE_CHECKING:
    from elastic_ml.clients.remote_jobs import JobStatus
    from elastic_ml.evaluation.model_card import Holdout
    from elastic_ml.training.run import TrainingRun


class EvaluateModelOperator(RemoteJobOperator):
    """Score the holdout with challenger and champion, measure both, and write the model card.

    Sends: the holdout index with its mapping, the pipeline `<job>@holdout`, a sliced `_reindex` task through it,
    `_evaluate` per model, one scan of the scores, the card (`_id` = model id), the registry events `registered` and
    `evaluated`; deletes the job's pipelines. The holdout starts where the training of both models ended: a champion
    that learned later data shortens it, and where nothing is left the models are not compared and the gate says so. A
    card that was written against the same champion, or whose model is decided on, is kept.

    :param project_folder: the project folder.
    :param model: name of the model file.
    :param run: the run's parameters, `training.RUN_TEMPLATE` (templated).
    :param model_id: the trained model (templated).
    :param training_set_task_id: the task that materialised the training set.
    :param readiness_task_id: the task whose warnings the card repeats.
    :return: `{model_id, job_id, champion, figures, requested_by, reused}`.
    :raises JobFailedError: events failed on the way, or none arrived.
    :raises NotReadyError: the training set's kept shares are unknown.
    """

    template_fields: Sequence[str] = sorted_fields("model_id", "run")
    template_fields_renderers: ClassVar[dict[str, str]] = {"run": "json"}
    operator_extra_links = (IndexLink(), TrainedModelLink())
    kind = "task"

    def __init__(
        self,
        *,
        project_folder: str,
        model: str,
        run: Mapping[str, Any],
        model_id: str,
        training_set_task_id: str = "training_set",
        readiness_task_id: str = "readiness",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.model = model
        self.run = run
        self.model_id = model_id
        self.training_set_task_id = training_set_task_id
        self.readiness_task_id = readiness_task_id

    def execute(self, context: Any) -> Any:
        """Judge the model unless its card already says how it compares with the champion of today."""
        from elastic_ml.registry.events import decision_on
        from elastic_ml.registry.model_cards import model_behind, read_card

        run = self._run()
        names = run.project.names
        card = read_card(self.client, names, self.model_id)
        if card is not None:
            champion = model_behind(self.client, names.champion(self.model))
            decided = decision_on(self.client, names, self.model_id)
            if decided or card["champion"] == champion or champion == self.model_id:
                self.log.info(
                    "Model %s has its card already%s.", self.model_id, f" and was {decided}" if decided else ""
                )
                self._delete_pipelines(run)
                return _summary(card, reused=True)
        return super().execute(context)

    def prepare(self, context: Any) -> RemoteJob:
        """Find the champion and the rows that neither model has seen; changes nothing."""
        from elastic_ml.registry.model_cards import model_behind, read_card
        from elastic_ml.training.training_set import source_fields

        run = self._run()
        names = run.project.names
        champion = model_behind(self.client, names.champion(self.model))
        compared, start, kept_by_champion = champion, run.holdout_start, {}
        if champion is not None:
            theirs = read_card(self.client, names, champion)
            if theirs is not None:
                kept_by_champion = theirs["kept"]
                start = max(start, datetime.fromisoformat(theirs["windows"]["train_end"]))
            else:
                self.log.warning("Champion %s has no card: its scores are taken as they are.", champion)
        if start >= run.holdout_end:
            self.log.warning("Champion %s learned from the holdout's events: it is not compared.", champion)
            compared, start = None, run.holdout_start
        copy = reindex_job(
            source=run.model.source.index,
            dest=run.holdout_index,
            pipeline=names.holdout_pipeline(run.job_id),
            query=run.query(start, run.holdout_end),
            source_fields=source_fields(run),
        )
        about = {
            "challenger": self.model_id,
            "champion": champion,
            "compared": compared,
            "holdout_start": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return copy._replace(spec={**copy.spec, "about": about, "kept_by_champion": kept_by_champion})

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Start the scoring of the holdout."""
        from elastic_ml.clients.rendered_bodies import create_index, put_pipeline
        from elastic_ml.project.clock import model_clock
        from elastic_ml.training.features import feature_types, joined_features

        run = self._run()
        templates, about = run.project.templates, job.spec["about"]
        types = feature_types(self.client, run.project, run.model)
        scorers = [{"field": "challenger", "model_id": about["challenger"]}]
        if about["compared"]:
            scorers.append({"field": "champion", "model_id": about["compared"]})
        body = templates.render(
            "model/holdout_index.json.j2",
            fields=types,
            label_type=run.label_type,
            kind=run.model.kind,
            about={**run.about, **about},
        )
        self._drop_another_holdout(run.holdout_index, about)
        create_index(self.client, run.holdout_index, body)
        pipeline = templates.render(
            "model/holdout.json.j2",
            job=run.job_id,
            kind=run.model.kind,
            label_pipeline=run.label_pipeline,
            features=run.model.features,
            clock=model_clock(run.project, run.model),
            joined=joined_features(types),
            scorers=scorers,
        )
        put_pipeline(self.client, run.project.names.holdout_pipeline(run.job_id), run.project.stamp(pipeline))
        return submit_reindex(self.client, job, can_list_tasks=not self.hook.facts.serverless)

    def finish(self, context: Any, job: RemoteJob, status: "JobStatus") -> dict[str, Any]:
        """Measure, write the card and the registry events, and clean up."""
        from elastic_ml.registry.model_cards import read_holdout

        run = self._run()
        names, about = run.project.names, job.spec["about"]
        self.client.indices.refresh(index=run.holdout_index)
        rows = int(self.client.count(index=run.holdout_index)["count"])
        if rows == 0:
            raise JobFailedError(
                f"The holdout {run.holdout_index} stayed empty: no event of its window has a label.",
                remedy=f"Look at the pipeline {run.label_pipeline} and at the window of the run.",
            )
        training_set = context["ti"].xcom_pull(task_ids=self.training_set_task_id) or {}
        readiness = context["ti"].xcom_pull(task_ids=self.readiness_task_id) or {}
        kept = training_set.get("kept") or {}
        if run.model.kind == "classification" and not kept:
            raise NotReadyError(
                f"The kept shares of {run.job_id} are unknown: task {self.training_set_task_id} left no result.",
                remedy=f"Clear {self.training_set_task_id} and this task; scores could not be corrected without them.",
            )
        holdout = read_holdout(
            self.client,
            run,
            rows,
            kept=kept,
            kept_by_champion=job.spec["kept_by_champion"],
            compared=bool(about["compared"]),
        )
        card = self._card(context, run, about, holdout, rows, training_set, readiness)
        self._register(run, card)
        # Last: a try that finds the card takes everything before it for done.
        self.client.index(index=names.model_cards, id=self.model_id, document=card, refresh=True)
        self._delete_pipelines(run)
        self.log.info("%s", card["markdown"])
        return _summary(card, reused=False)

    def link_names(self, job: RemoteJob) -> Mapping[str, str]:
        """Return the holdout and the model."""
        return {"IndexLink": str(job.spec["dest"]["index"]), "TrainedModelLink": self.model_id}

    def _run(self) -> "TrainingRun":
        from elastic_ml.training.run import TrainingRun

        return TrainingRun.of(self.project_folder, self.model, dict(self.run))

    def _drop_another_holdout(self, index: str, about: Mapping[str, Any]) -> None:
        """Delete a holdout that other models scored: its rows would be mistaken for this comparison's."""
        try:
            meta = self.client.indices.get_mapping(index=index)[index]["mappings"].get("_meta") or {}
        except NotFoundError:
            return
        if any(meta.get(key) != value for key, value in about.items()):
            self.log.info("Holdout %s belongs to an earlier comparison and is made again.", index)
            self.client.indices.delete(index=index)

    def _card(
        self,
        context: Any,
        run: "TrainingRun",
        about: Mapping[str, Any],
        holdout: "Holdout",
        rows: int,
        training_set: Mapping[str, Any],
        readiness: Mapping[str, Any],
    ) -> dict[str, Any]:
        from elastic_ml.evaluation import model_card

        model = run.model
        trained = self.client.ml.get_trained_models(model_id=self.model_id, include="total_feature_importance")
        config = trained["trained_model_configs"][0]
        capacity = model.serve.review_capacity if model.serve else 50
        is_classification = model.kind == "classification"
        classes = training_set.get("classes") or {}
        positive = str(model.label.positive_class) if model.label and is_classification else ""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        card: dict[str, Any] = {
            "@timestamp": now,
            "model_name": model.name,
            "model_id": self.model_id,
            "model_version": self.model_id,
            "job_id": run.job_id,
            "stage": "candidate",
            "kind": model.kind,
            "description": model.description or f"{model.kind} of {', '.join(model.source.index)}",
            "owner": model.owner,
            "day": run.day.isoformat(),
            "windows": {**run.windows, "holdout_start": about["holdout_start"]},
            "features": list(model.features),
            "importance": model_card.importance_of(config.get("metadata", {}).get("total_feature_importance") or []),
            "positive_class": positive or None,
            "kept": training_set.get("kept") or {},
            "classes": classes,
            "rows": {
                "train": (readiness.get("train") or {}).get("documents", sum(classes.values())),
                "train_positives": classes.get(positive),
                "train_set": training_set.get("documents"),
                "holdout": rows,
                "holdout_positives": int(sum(map(bool, holdout.labels))) if is_classification else None,
            },
            "champion": about["champion"],
            "compared": about["compared"],
            "metrics": model_card.judge(holdout, kind=model.kind, capacity=capacity),
            "evaluate": {
                scorer: self._evaluate(run, scorer)
                for scorer in ("challenger", *(["champion"] if about["compared"] else []))
            },
            "baseline": model_card.baselines(holdout),
            "readiness": {"warnings": list(readiness.get("warnings") or [])},
            "triggered": {
                "word": run.word,
                "by": run.requested_by,
                "started_by": run.triggered_by,
                **self.labels(context),
            },
            "created_at": config.get("create_time"),
        }
        card["limits"] = model_card.limits_of(card)
        card["figures"] = model_card.figures(card["metrics"]["challenger"])
        card["markdown"] = model_card.render_markdown(card, run.project.templates)
        card["html"] = model_card.render_html(card, run.project.templates)
        return card

    def _evaluate(self, run: "TrainingRun", scorer: str) -> dict[str, Any]:
        label = run.model.label
        body = run.project.templates.render(
            "model/evaluate.json.j2",
            kind=run.model.kind,
            scorer=scorer,
            positive_class=label.positive_class if label else None,
        )
        answer = self.client.ml.evaluate_data_frame(index=run.holdout_index, **body)
        return dict(answer.body[run.model.kind])

    def _register(self, run: "TrainingRun", card: Mapping[str, Any]) -> None:
        from elastic_ml.registry.events import deterministic_id, write_event

        common: dict[str, Any] = {
            "model_name": run.model.name,
            "model_version": self.model_id,
            "stage": "candidate",
            "job_id": run.job_id,
            "user": card["triggered"]["by"],
        }
        names = run.project.names
        write_event(
            self.client,
            names,
            event_type="registered",
            event_id=deterministic_id("registered", self.model_id),
            reason=card["triggered"]["word"],
            **common,
        )
        write_event(
            self.client,
            names,
            event_type="evaluated",
            event_id=deterministic_id("evaluated", self.model_id, card["champion"], card["windows"]["holdout_start"]),
            metrics=card["figures"],
            previous_version=card["champion"],
            **common,
        )

    def _delete_pipelines(self, run: "TrainingRun") -> None:
        names = run.project.names
        for pipeline in (names.training_pipeline(run.job_id), names.holdout_pipeline(run.job_id)):
            try:
                self.client.ingest.delete_pipeline(id=pipeline)
            except NotFoundError:
                # Already deleted by an earlier try, or never needed.
                continue


class EmitCandidateOperator(ElasticBaseOperator):
    """Offer an evaluated model for promotion: one asset event, its partition key the analytics job's id.

    Skipped when the registry says that this model was promoted or rejected: a re-run of an old training must not ask
    people again.

    :param project_folder: the project folder.
    :param model: name of the model file.
    :param evaluation_task_id: the task that judged the model.
    """

    operator_extra_links = (TrainedModelLink(),)

    def __init__(self, *, project_folder: str, model: str, evaluation_task_id: str = "evaluate", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.model = model
        self.evaluation_task_id = evaluation_task_id

    def pages(self, context: Any) -> Mapping[str, str]:
        """The candidate."""
        return {"TrainedModelLink": result_of(context, self.evaluation_task_id, "model_id")}

    def execute(self, context: Any) -> dict[str, Any]:
        """Emit the event, or skip with a sentence."""
        from airflow.sdk.exceptions import AirflowSkipException

        from elastic_ml.project import load_project
        from elastic_ml.registry.events import decision_on

        found = context["ti"].xcom_pull(task_ids=self.evaluation_task_id)
        decided = decision_on(self.client, load_project(self.project_folder).names, found["model_id"])
        if decided:
            raise AirflowSkipException(
                f"Model {found['model_id']} was {decided} before; no candidate is offered again."
            )
        extra = {key: found[key] for key in ("model_id", "job_id", "requested_by", "started_by", "figures")}
        event = context["outlet_events"][self.outlets[0]]
        event.extra = extra
        event.add_partitions(found["job_id"])
        return extra


def _summary(card: Mapping[str, Any], *, reused: bool) -> dict[str, Any]:
    return {
        "model_id": card["model_id"],
        "job_id": card["job_id"],
        "champion": card["champion"],
        "figures": card["figures"],
        "requested_by": card["triggered"]["by"],
        "started_by": card["triggered"]["started_by"],
        "reused": reused,
    }
