"""Letting a candidate into production: the gate, and the record of what a person decided."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import GateError, NotFoundError, NotReadyError, SupersededError
from elastic_ml.links.kibana import ModelDashboardLink, TrainedModelLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.kibana_pages import of_model, result_of
from elastic_ml.operators.readiness import VERDICT_POLICY

if TYPE_CHECKING:
    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project

DECISION_KEY = "decision"
CARD_PARTS = (
    "baseline", "champion", "compared", "created_at", "day", "features", "figures", "importance", "job_id", "kept",
    "kind", "limits", "markdown", "metrics", "positive_class", "triggered", "windows",
)  # fmt: skip


class GateOperator(ElasticBaseOperator):
    """Decide by figures alone whether a candidate may be shown to a person.

    Reads the candidate's card, the champion's alias, the model's inputs and the sources' mappings. Passes when every
    limit of the model file's `gate` is reached and no figure is worse than the champion's on the same rows beyond its
    interval; that is recorded as `evaluated`. A candidate that fails by its figures is recorded as `rejected`; one that
    meets an unprepared cluster is not.

    :param project_folder: the project folder.
    :param model: name of the model file.
    :param model_id: the candidate's trained model (templated).
    :return: `{model_id, job_id, champion, figures, requested_by, started_by, markdown, day, created_at, rollbacks}`;
        the last is how many rollbacks the model has seen: one more, and the switch is superseded.
    :raises AirflowSkipException: the candidate is champion already.
    :raises GateError: a figure is not good enough, or there is nothing to compare with the champion on.
    :raises SupersededError: another champion than the one it was compared with is in production.
    :raises NotReadyError: the card is incomplete or of another model file, or mappings for scoring are missing.
    """

    template_fields: Sequence[str] = sorted_fields("model_id")
    operator_extra_links = (TrainedModelLink(), ModelDashboardLink())

    def __init__(self, *, project_folder: str, model: str, model_id: str, **kwargs: Any) -> None:
        kwargs.setdefault("retry_policy", VERDICT_POLICY)
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.model = model
        self.model_id = model_id

    def pages(self, context: Any) -> dict[str, str]:
        """The candidate, and how the champion does."""
        return of_model(self.project_folder, self.model, self.model_id)

    def execute(self, context: Any) -> dict[str, Any]:
        """Judge, log every figure, and hand on what the person needs to see."""
        from airflow.sdk.exceptions import AirflowSkipException

        from elastic_ml.ingest.ledger import Ledger, lock_id
        from elastic_ml.project import load_project
        from elastic_ml.registry.events import deterministic_id, write_event
        from elastic_ml.registry.gate import shortcomings
        from elastic_ml.registry.model_cards import model_behind, set_stage

        project = load_project(self.project_folder)
        model, names = project.model(self.model), project.names
        # Read before the champion: a rollback in between is then noticed by the switch.
        lock = Ledger(self.client, names.ledger).read(lock_id(f"model|{self.model}"))
        trained = self._trained()
        champion = model_behind(self.client, names.champion(self.model))
        if champion == self.model_id:
            raise AirflowSkipException(
                f"Model {self.model_id} is the champion of {self.model} already: nothing to decide."
            )
        card = self._complete_card(project)
        if card["champion"] != champion:
            raise SupersededError(
                f"Model {self.model_id} was compared with {card['champion'] or 'no champion'}, but "
                f"{champion or 'none'} is in production now.",
                remedy=f"Clear `evaluate` in its run of {names.dag_id('train', self.model)}: it is offered again.",
            )
        self._check_inputs(project, model, trained, card)
        if champion and not card["compared"]:
            problems = [
                f"the champion {champion} learned from all of the holdout, so nothing is left to compare the two on; "
                "train for a later day"
            ]
        else:
            problems = shortcomings(card, model)
        about: dict[str, Any] = {
            "model_name": self.model,
            "model_version": self.model_id,
            "metrics": card["figures"],
            "job_id": card["job_id"],
            "previous_version": champion,
        }
        run_id = context["ti"].run_id
        if problems:
            sentence = f"Model {self.model_id} does not pass its gate: {'; '.join(problems)}."
            write_event(
                self.client,
                names,
                event_type="rejected",
                event_id=deterministic_id("rejected", self.model_id, run_id),
                stage="retired",
                reason=sentence,
                **about,
            )
            set_stage(self.client, names, self.model_id, "retired")
            raise GateError(
                sentence, remedy="The champion stays. Its card says more; see also the run's readiness report."
            )
        write_event(
            self.client,
            names,
            event_type="evaluated",
            event_id=deterministic_id("gate", self.model_id, run_id),
            stage="candidate",
            reason=f"passed its gate against {champion or 'no champion'}",
            **about,
        )
        self.log.info("%s", card["markdown"])
        return {
            "model_id": self.model_id,
            "job_id": card["job_id"],
            "champion": champion,
            "figures": card["figures"],
            "requested_by": card["triggered"]["by"],
            "started_by": card["triggered"]["started_by"],
            "markdown": card["markdown"],
            "day": card["day"],
            "created_at": card["created_at"],
            "rollbacks": int(lock.document.get("rollbacks") or 0) if lock else 0,
        }

    def _trained(self) -> dict[str, Any]:
        try:
            return dict(self.client.ml.get_trained_models(model_id=self.model_id)["trained_model_configs"][0])
        except NotFoundError as missing:
            raise NotReadyError(
                f"There is no trained model {self.model_id}.",
                remedy="It was deleted: train again, or give another model_id.",
            ) from missing

    def _complete_card(self, project: "Project") -> dict[str, Any]:
        from elastic_ml.registry.model_cards import read_card

        card = read_card(self.client, project.names, self.model_id)
        missing = [part for part in CARD_PARTS if part not in (card or {})]
        if card is None or missing:
            raise NotReadyError(
                f"The card of {self.model_id} is {'missing' if card is None else 'incomplete: ' + ', '.join(missing)}.",
                remedy=f"Clear `evaluate` in its run of {project.names.dag_id('train', self.model)}.",
            )
        if card["model_name"] != self.model:
            raise NotReadyError(
                f"Model {self.model_id} is a version of {card['model_name']}, not of {self.model}.",
                remedy=f"Promote it with {project.names.dag_id('promote', card['model_name'])}.",
            )
        return card

    def _check_inputs(
        self, project: "Project", model: "Model", trained: Mapping[str, Any], card: Mapping[str, Any]
    ) -> None:
        """Make sure that events of today can be scored as the model learned them."""
        from elastic_ml.project.clock import clock_features
        from elastic_ml.project.unmanaged_streams import obstacles

        inputs = sorted(set(trained.get("input", {}).get("field_names") or []) - {"label"})
        positive = str(model.label.positive_class) if model.label and model.kind == "classification" else None
        changed = [
            f"the {what} is {now}, and the model learned {then}"
            for what, now, then in (
                ("analysis", model.kind, card["kind"]),
                ("positive class", positive, card["positive_class"]),
            )
            if now != then
        ]
        changed += [f"{feature} is no feature any more" for feature in inputs if feature not in model.features]
        if changed:
            raise NotReadyError(
                f"The file of {self.model} has changed since {self.model_id} was trained: {'; '.join(changed)}.",
                remedy="Train again with the file as it is now.",
            )
        caps = self.client.field_caps(index=model.source.index, fields=inputs)["fields"] if inputs else {}
        computed = clock_features(project, model)
        unmapped = [name for name in inputs if name not in caps and name not in computed]
        if unmapped:
            raise NotReadyError(
                f"Model {self.model_id} needs {', '.join(unmapped)}, unmapped in {', '.join(model.source.index)}.",
                remedy="Correct the mapping, or train again without these features.",
            )
        if found := obstacles(self.client, project, model):
            raise NotReadyError(" ".join(found), remedy="Then clear this task.")


class RecordDecisionOperator(ElasticBaseOperator):
    """Write the registry event of a rejection; a promotion was recorded by the switch itself.

    :param project_folder: the project folder.
    :param model: name of the model file.
    :param gate_task_id: the task that judged the candidate.
    :param approve_task_id: the task that asked.
    :return: the decision.
    :raises AirflowSkipException: nothing was asked, so there is nothing to record.
    """

    operator_extra_links = (TrainedModelLink(), ModelDashboardLink())

    def __init__(
        self,
        *,
        project_folder: str,
        model: str,
        gate_task_id: str = "gate",
        approve_task_id: str = "approve",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.model = model
        self.gate_task_id = gate_task_id
        self.approve_task_id = approve_task_id

    def pages(self, context: Any) -> dict[str, str]:
        """How the model does, and the candidate that was decided on."""
        return of_model(self.project_folder, self.model, result_of(context, self.gate_task_id, "model_id"))

    def execute(self, context: Any) -> dict[str, Any]:
        """Record a rejection, or skip."""
        from airflow.providers.standard.operators.hitl import ApprovalOperator
        from airflow.sdk.exceptions import AirflowSkipException

        from elastic_ml.project import load_project
        from elastic_ml.registry.events import deterministic_id, write_event
        from elastic_ml.registry.model_cards import set_stage

        decision = context["ti"].xcom_pull(task_ids=self.approve_task_id, key=DECISION_KEY)
        if not decision:
            raise AirflowSkipException("Nobody was asked, so there is no decision to record.")
        if decision["option"] == ApprovalOperator.APPROVE:
            return dict(decision)
        project = load_project(self.project_folder)
        gated = context["ti"].xcom_pull(task_ids=self.gate_task_id)
        reason = decision["reason"] or ("nobody answered in time" if decision["timed_out"] else "no reason given")
        write_event(
            self.client,
            project.names,
            event_type="rejected",
            model_name=self.model,
            model_version=gated["model_id"],
            event_id=deterministic_id("rejected", gated["model_id"], context["ti"].run_id),
            stage="retired",
            user=decision["user"],
            reason=reason,
            metrics=gated["figures"],
            job_id=gated["job_id"],
            previous_version=gated["champion"],
        )
        set_stage(self.client, project.names, gated["model_id"], "retired")
        self.log.info("Model %s was rejected by %s: %s.", gated["model_id"], decision["user"] or "the timeout", reason)
        return dict(decision)
