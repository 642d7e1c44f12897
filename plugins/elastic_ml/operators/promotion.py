"""Letting a candidate into production: the gate, the person, and the record of what was decided."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

from elastic_ml.exceptions import GateError, NotFoundError, NotReadyError, SupersededError
from elastic_ml.links.kibana import ModelDashboardLink, TrainedModelLink, store_links
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.kibana_pages import of_model, result_of
from elastic_ml.operators.readiness import VERDICT_POLICY

if TYPE_CHECKING:
    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project

DECISION_KEY = "decision"
ANONYMOUS = "anonymous"
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


class PromotionApprovalOperator(ApprovalOperator):
    """Ask a person, with the model card in the request.

    Airflow keeps no XCom when a person rejects or nobody answers; the decision is therefore stored under the key
    `decision` first: `{option, user, time, reason, timed_out}`. Only a named person approves: one of
    `assigned_users` where there are any, never somebody unknown, and never whoever had the model trained. A refused
    approval fails that try with a sentence, and the next one opens the request again.

    :param requesters: who asked for the training: names separated by commas (templated).
    :param model_id: the candidate, for the link (templated).
    :param kibana_conn_id: connection to Kibana, for the link; may be absent (templated).
    """

    template_fields: Sequence[str] = tuple(
        sorted((*ApprovalOperator.template_fields, "kibana_conn_id", "model_id", "requesters"))
    )
    operator_extra_links = (TrainedModelLink(),)
    ui_color = "#00BFB3"
    ui_fgcolor = "#fff"

    def __init__(
        self, *, requesters: str = "", model_id: str = "", kibana_conn_id: str = "kibana_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.requesters = requesters
        self.model_id = model_id
        self.kibana_conn_id = kibana_conn_id
        self.kibana_links: dict[str, str] | None = None

    def pre_execute(self, context: Any) -> None:
        """Store the link before the request opens: whoever is asked wants to look."""
        store_links(self, context, lambda: {"TrainedModelLink": self.model_id})

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Refuse the requester's own approval, store the decision, then go on or skip what follows."""
        if "error" not in event:
            names = _names_of(event.get("responded_by_user"))
            option = event["chosen_options"][0]
            if option == self.APPROVE and (refusal := self._refusal(names)):
                raise NotReadyError(
                    refusal, remedy="The request opens again with the next try: somebody else has to answer it."
                )
            decision = {
                "option": option,
                "user": names[-1] if names else None,
                "time": _text(event.get("responded_at")),
                "reason": (event.get("params_input") or {}).get("reason") or None,
                "timed_out": bool(event.get("timedout")) or not names,
            }
            context["ti"].xcom_push(key=DECISION_KEY, value=decision)
        return super().execute_complete(context, event)

    def _refusal(self, names: Sequence[str]) -> str | None:
        """Return why whoever answered may not approve; None when they may."""
        # Airflow's simple auth manager with all-admins on lets everybody through as "Anonymous", assigned or not.
        if not names or ANONYMOUS in {name.lower() for name in names}:
            return "Somebody without a name cannot approve a model."
        if {name.strip() for name in self.requesters.split(",")} & set(names):
            return f"{names[-1]} had this model trained and cannot approve it."
        assigned = {user[key] for user in self.assigned_users or [] for key in ("id", "name")}
        if assigned and not assigned & set(names):
            return f"{names[-1]} is not among the approvers of this model ({', '.join(sorted(assigned))})."
        return None


def _names_of(user: Any) -> list[str]:
    """Return id and name of the user who answered, the name last; nothing for a default after the timeout."""
    if user is None:
        return []
    found = [user.get(key) if isinstance(user, Mapping) else getattr(user, key, None) for key in ("id", "name")]
    return [str(name) for name in found if name]


def _text(moment: Any) -> str | None:
    return moment.isoformat() if hasattr(moment, "isoformat") else (str(moment) if moment else None)


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
