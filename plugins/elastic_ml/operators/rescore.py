"""Scoring the past with the champion, beside the events, which stay as they were."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import NotFoundError, NotReadyError, ProjectFileError
from elastic_ml.links.kibana import IndexLink
from elastic_ml.operators.base import sorted_fields
from elastic_ml.operators.reindex import reindex_job, reindex_result, submit_reindex
from elastic_ml.operators.remote_job import RemoteJob, RemoteJobOperator

if TYPE_CHECKING:
    from elastic_ml.clients.remote_jobs import JobStatus
    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project


class RescoreOperator(RemoteJobOperator):
    """Score a window of the past with a model's champion into `<prefix>-scores-<model>-<8 hex of the model id>`.

    Sends the index with its explicit mapping, the pipeline `<model>@rescore`, a sliced and throttled `_reindex` task
    through it (``op_type: create``, ``conflicts: proceed``: what is there is passed over, which is its resume), and at
    the end one alias call that moves `<model>_scores` to the index. The model is the champion when the task starts; a
    promotion meanwhile does not change it. A killed task cancels the copy; on Serverless, where nobody can, the copy is
    left to finish and the log says so.

    :param project_folder: the project folder.
    :param model: name of the model file (templated).
    :param window: how far back, such as `30d` (templated).
    :param until: UTC day or ISO time where the window ends, exclusive (templated).
    :param documents_per_second: how fast, over all slices; -1 for no limit (templated).
    :return: `{model, model_id, index, alias, documents, created, skipped, unscored, start, end, task}`; `unscored` are
        those that the model could not score, with the reason in `ml.<model>.error`.
    :raises NotReadyError: the model has no champion.
    :raises JobFailedError: documents failed, with the first failure in the server's words.
    """

    template_fields: Sequence[str] = sorted_fields("documents_per_second", "model", "until", "window")
    operator_extra_links = (IndexLink(),)
    kind = "task"

    def __init__(
        self,
        *,
        project_folder: str,
        model: str,
        window: str,
        until: str,
        documents_per_second: float | str = 500,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.model = model
        self.window = window
        self.until = until
        self.documents_per_second = documents_per_second

    def prepare(self, context: Any) -> RemoteJob:
        """Decide on the model and the window; changes nothing."""
        from elastic_ml.registry.model_cards import model_behind

        project, model = self._project()
        start, end = self._window()
        champion = model_behind(self.client, project.names.champion(self.model))
        if champion is None:
            raise NotReadyError(
                f"{self.model} has no champion to score its past with.",
                remedy=f"Promote a model with {project.names.dag_id('promote', self.model)} first.",
            )
        copy = reindex_job(
            source=model.source.index,
            dest=project.names.scores_index(self.model, champion),
            pipeline=project.names.rescore_pipeline(self.model),
            query=project.templates.render("model/window_query.json.j2", model=model, start=start, end=end),
            requests_per_second=float(self.documents_per_second),
        )
        return copy._replace(spec={**copy.spec, "model_id": champion, "start": start, "end": end})

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Write index and pipeline, then start the copy or attach to the one that runs."""
        serverless = self.hook.facts.serverless
        if not job.id:
            self._write_objects(str(job.spec["dest"]["index"]), str(job.spec["model_id"]), serverless=serverless)
        return submit_reindex(self.client, job, can_list_tasks=not serverless)

    def finish(self, context: Any, job: RemoteJob, status: "JobStatus") -> dict[str, Any]:
        """Count, move the alias, and delete the pipeline, which would keep the model from ever being deleted."""
        project, _ = self._project()
        names, model_id = project.names, str(job.spec["model_id"])
        copied = reindex_result(self.client, job, status)
        index, score = copied["index"], f"ml.{self.model}.score"
        unscored = self.client.count(index=index, query={"bool": {"must_not": {"exists": {"field": score}}}})["count"]
        if unscored:
            self.log.warning("%d events could not be scored; ml.%s.error says why.", unscored, self.model)
        self._publish(project, index)
        try:
            self.client.ingest.delete_pipeline(id=names.rescore_pipeline(self.model))
        except NotFoundError:
            self.log.info("The pipeline %s is gone already.", names.rescore_pipeline(self.model))
        self.log.info("%d events of %s are scored with %s in %s.", copied["documents"], self.model, model_id, index)
        return {
            **copied,
            "model": self.model,
            "model_id": model_id,
            "alias": names.scores_alias(self.model),
            "unscored": int(unscored),
            "start": job.spec["start"],
            "end": job.spec["end"],
        }

    def link_names(self, job: RemoteJob) -> Mapping[str, str]:
        """Return the index of scores."""
        return {"IndexLink": str(job.spec["dest"]["index"])}

    def _write_objects(self, index: str, model_id: str, *, serverless: bool) -> None:
        from elastic_ml.clients.rendered_bodies import create_index, put_pipeline
        from elastic_ml.registry.champion_switch import ChampionSwitch

        project, model = self._project()
        scoring = ChampionSwitch(self.client, project, model, model_id, serverless=serverless)
        scoring.check_room()
        about = {"model": self.model, "model_id": model_id}
        # Stamped by what it is about, so that another package version finds the same index.
        stamped = project.stamp({"_meta": about}, hashed=about)["_meta"]
        body = project.templates.render("model/scores_index.json.j2", model=model, about=stamped)
        create_index(self.client, index, body)
        pipeline = project.templates.render(
            "model/rescore.json.j2",
            model=model,
            model_id=model_id,
            index=index,
            score=scoring.body(model_id, [model_id])["processors"],
            condition=model.serve.if_ if model.serve else None,
        )
        put_pipeline(self.client, project.names.rescore_pipeline(self.model), project.stamp(pipeline))

    def _publish(self, project: "Project", index: str) -> None:
        """Move `<model>_scores` to the index, unless it shows the scores of a champion that came meanwhile."""
        from elastic_ml.registry.model_cards import model_behind

        names, alias = project.names, project.names.scores_alias(self.model)
        try:
            shown = sorted(self.client.indices.get_alias(name=alias))
        except NotFoundError:
            shown = []
        champion = model_behind(self.client, names.champion(self.model))
        if champion is not None and shown == [names.scores_index(self.model, champion)] and index not in shown:
            self.log.warning("%s came into production meanwhile: %s goes on showing its scores.", champion, alias)
            return
        if shown != [index]:
            actions: list[dict[str, Any]] = [{"remove": {"index": old, "alias": alias}} for old in shown]
            self.client.indices.update_aliases(actions=[*actions, {"add": {"index": index, "alias": alias}}])

    def _project(self) -> tuple["Project", "Model"]:
        from elastic_ml.project import load_project

        project = load_project(self.project_folder)
        model = project.model(self.model)
        if not model.supervised:
            raise NotReadyError(
                f"{self.model} is an outlier analysis, which leaves no model to score with.",
                remedy=f"Its rows are scored by {project.names.dag_id('train', self.model)}.",
            )
        return project, model

    def _window(self) -> tuple[str, str]:
        from elastic_ml.project.durations import parse_duration

        try:
            end = datetime.fromisoformat(self.until)
        except ValueError:
            raise ProjectFileError(
                "parameters of the run", None, "until", f"{self.until!r} is no day", "write it as 2026-11-21"
            ) from None
        try:
            length = parse_duration(self.window)
        except ValueError as error:
            raise ProjectFileError(
                "parameters of the run", None, "window", str(error), "write it as 30d or 12h"
            ) from None
        end = end.replace(tzinfo=UTC) if end.tzinfo is None else end.astimezone(UTC)
        return tuple(f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (end - length, end))  # type: ignore[return-value]
