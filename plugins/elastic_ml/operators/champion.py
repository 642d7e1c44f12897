"""Making a candidate the champion, in one task that finishes or puts back what it began."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import NotReadyError, SupersededError
from elastic_ml.operators.base import sorted_fields
from elastic_ml.operators.champion_change import LOCK, STATE_KEY, ChampionChangeOperator
from elastic_ml.operators.kibana_pages import of_model, result_of
from elastic_ml.operators.promotion import DECISION_KEY
from elastic_ml.operators.training import owner_of

if TYPE_CHECKING:
    from elastic_ml.project.project import Project


class SwitchChampionOperator(ChampionChangeOperator):
    """Make a candidate the champion, in one task under the lock `model|<name>`.

    1. The alias is read again: another champion than the gated one, a rollback since the gate, or a newer candidate
       ends the run as superseded.
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
    :param approval: `person` needs the decision of `approve_task_id`; `auto` goes by the gate alone, and only where
        `[elastic_ml] allow_auto_approval` is on.
    :param gate_task_id: the task that judged the candidate.
    :param approve_task_id: the task that asked.
    :return: `{model_id, alias, previous, approved_by}`.
    :raises NotReadyError: nobody approved, or nobody was asked where somebody has to be.
    :raises JobFailedError: a simulation failed; everything is as it was.
    :raises PartialFailureError: putting back failed too; the sentence says what is where.
    """

    template_fields: Sequence[str] = sorted_fields()

    def __init__(
        self,
        *,
        approval: str = "person",
        gate_task_id: str = "gate",
        approve_task_id: str = "approve",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if approval not in {"person", "auto"}:
            raise ValueError(f"approval is {approval!r}: write person or auto")
        self.approval = approval
        self.gate_task_id = gate_task_id
        self.approve_task_id = approve_task_id

    def pages(self, context: Any) -> Mapping[str, str]:
        """How the model does, and the version that takes over."""
        return of_model(self.project_folder, self.model, result_of(context, self.gate_task_id, "model_id"))

    def execute(self, context: Any) -> dict[str, Any]:
        """Switch, or skip with a sentence when the run was superseded."""
        from airflow.sdk.exceptions import AirflowSkipException

        from elastic_ml.ingest.ledger import Ledger
        from elastic_ml.project import load_project
        from elastic_ml.registry.champion_switch import ChampionSwitch

        project = load_project(self.project_folder)
        gated = context["ti"].xcom_pull(task_ids=self.gate_task_id)
        decision = self._decision(context)
        ledger = Ledger(self.client, project.names.ledger)
        with ledger.lock(f"model|{self.model}", owner=owner_of(context), ttl=LOCK) as lease:
            switch = ChampionSwitch(
                self.client,
                project,
                project.model(self.model),
                gated["model_id"],
                serverless=self.hook.facts.serverless,
            )
            state = context["task_state_store"]
            before = state.get(STATE_KEY)
            rollbacks = int(lease.document.get("rollbacks") or 0)
            try:
                switch.check_current(gated, began=before is not None, rollbacks=rollbacks)
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
            # Everything so far only read. Whoever paused until the lease was somebody else's must not write.
            lease.renew()

            def change() -> None:
                switch.apply(before, switch.displaced(before))
                switch.try_bound(events)

            deployed = {
                "event_type": "deployed",
                "stage": "candidate",
                **self._about(gated, decision),
            }
            self._apply(context, switch, before, change, deployed)
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
            from airflow.sdk import conf

            if not conf.getboolean("elastic_ml", "allow_auto_approval", fallback=False):
                raise NotReadyError(
                    f"Task {self.task_id} is to promote {self.model} by the gate alone, which this Airflow does not "
                    "allow.",
                    remedy="Let a person decide (a PromotionApprovalOperator before it, and approval='person'), or set "
                    "[elastic_ml] allow_auto_approval = True where workers run.",
                )
            return {"option": "Approve", "user": "auto", "reason": "by the gate alone"}
        decision = context["ti"].xcom_pull(task_ids=self.approve_task_id, key=DECISION_KEY)
        if not decision or decision["option"] != "Approve":
            raise NotReadyError(
                f"No approval by a person was found for {self.model}: {decision or 'nobody answered'}.",
                remedy=f"Clear {self.approve_task_id} and let a person decide.",
            )
        return dict(decision)

    def _about(self, gated: Mapping[str, Any], decision: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "model_name": self.model,
            "model_version": gated["model_id"],
            "user": decision["user"],
            "job_id": gated["job_id"],
            "metrics": gated["figures"],
            "previous_version": gated["champion"],
        }

    def _record(
        self,
        context: Any,
        project: "Project",
        gated: Mapping[str, Any],
        decision: Mapping[str, Any],
        before: Mapping[str, Any],
    ) -> None:
        from elastic_ml.registry.events import deterministic_id
        from elastic_ml.registry.model_cards import set_stage

        names, run_id, champion = project.names, context["ti"].run_id, gated["model_id"]
        about = {name: value for name, value in self._about(gated, decision).items() if name != "model_name"}
        for event_type in ("transitioned", "deployed"):
            self._event(
                project,
                event_type,
                stage="champion",
                event_id=deterministic_id(event_type, champion, "champion", run_id),
                reason=decision.get("reason"),
                **about,
            )
        set_stage(self.client, names, champion, "champion")
        if before["champion"] in {None, champion}:
            # Nobody left, so `<model>_previous` stays where it is.
            return
        moved = {"run_id": run_id, "user": decision["user"], "reason": f"{champion} was promoted"}
        self._move_stage(project, before["champion"], "previous", **moved)
        if before["previous"] not in {None, before["champion"], champion}:
            self._move_stage(project, before["previous"], "retired", **moved)
