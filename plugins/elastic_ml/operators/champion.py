"""Making a candidate the champion, in one task that finishes or puts back what it began."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import NotReadyError, PartialFailureError, SupersededError
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.champion_switch import ChampionSwitch
from elastic_ml.operators.model_cards import set_stage
from elastic_ml.operators.promotion import DECISION_KEY
from elastic_ml.operators.registry import deterministic_id, write_event
from elastic_ml.operators.training import owner_of

if TYPE_CHECKING:
    from elastic_ml.project.project import Project

STATE_KEY = "before_switch"
LOCK = timedelta(minutes=15)


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
            # Everything so far only read. Whoever paused until the lease was somebody else's must not write.
            lease.renew()
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
        switch: ChampionSwitch,
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
        set_stage(self.client, names, gated["model_id"], "champion")
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
            set_stage(self.client, names, version, stage)
