"""Taking a model back: to the one before, to a named one, or out of scoring altogether."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import NotFoundError, NotReadyError
from elastic_ml.operators.base import sorted_fields
from elastic_ml.operators.champion_change import LOCK, STATE_KEY, ChampionChangeOperator
from elastic_ml.operators.training import owner_of

if TYPE_CHECKING:
    from elastic_ml.project.project import Project
    from elastic_ml.registry.champion_switch import ChampionSwitch

PREVIOUS, NONE = "previous", "none"


class RollbackOperator(ChampionChangeOperator):
    """Put an earlier model back into production, or take the model out of scoring; effective on the next document.

    1. `to` becomes a model: what `<model>_previous` stands for, or a named version that was in production before
       (anything else would be a way round gate and approval).
    2. That model, by its id, scores up to 20 recent events in a simulation.
    3. One call moves `<model>_champion`; the pipeline is written only where it does not know the model's kept shares,
       so that a rollback works where the cluster allows no more inference processors. `<model>_previous` becomes what
       the model had replaced when it was promoted, never the model that is taken out. With `none` the pipeline
       `<model>@score` is deleted, then the alias: events are indexed without a score.
    4. The same events are simulated through the pipeline in place; a failure puts everything back and says so.

    The lock `model|<name>` is waited for until a dead worker's lease has ended. The lock counts rollbacks, and a
    promotion that was gated before one ends as superseded. Model, pipeline and aliases as they were are in the task
    state before anything changes; a run that was cleared after its rollback finds it in the registry and does not roll
    back once more.

    :param project_folder: the project folder.
    :param model: name of the model file.
    :param to: `previous`, `none`, or a trained model's id (templated).
    :param reason: why; kept in the registry (templated).
    :param user: who asked for it; empty for a machine (templated).
    :return: `{model_id, previous_version, previous, reason, user}`: in production now (None: nothing), until now, and
        what the next rollback would go to.
    :raises NotReadyError: there is nothing to roll back to, or the named model never was in production.
    :raises JobFailedError: a simulation failed; everything is as it was.
    :raises PartialFailureError: putting back failed too; the sentence says what is where.
    """

    template_fields: Sequence[str] = sorted_fields("reason", "to", "user")

    def __init__(self, *, to: str = PREVIOUS, reason: str = "", user: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.to = to
        self.reason = reason
        self.user = user

    def execute(self, context: Any) -> dict[str, Any]:
        """Roll back, or skip with a sentence when there is nothing to do."""
        from airflow.sdk.exceptions import AirflowSkipException

        from elastic_ml.ingest.ledger import Ledger
        from elastic_ml.project import load_project
        from elastic_ml.registry.champion_switch import ChampionSwitch
        from elastic_ml.registry.events import find_event

        project = load_project(self.project_folder)
        model = project.model(self.model)
        ledger = Ledger(self.client, project.names.ledger)
        # A holder that is alive renews and is not waited for; a dead one's lease ends within its time to live.
        patience = LOCK + timedelta(seconds=5)
        with ledger.lock(f"model|{self.model}", owner=owner_of(context), ttl=LOCK, wait=patience) as lease:
            if done := find_event(self.client, project.names, self._event_id(context)):
                return self._done_before(context, project, done)
            state = context["task_state_store"]
            plan = state.get(STATE_KEY)
            began = plan is not None
            plan = plan or self._plan(project)
            target, before = plan["target"], plan["before"]
            switch = ChampionSwitch(self.client, project, model, target, serverless=self.hook.facts.serverless)
            champion = switch.champion()
            if not began and champion == target:
                raise AirflowSkipException(
                    f"{self.model} is {'out of scoring' if target is None else f'scored by {target}'} already."
                )
            if champion not in {before["champion"], target}:
                raise AirflowSkipException(
                    f"{champion or 'None'} came into production while this rollback was interrupted: trigger it again "
                    "if it is still wanted."
                )
            events = switch.recent_events(required=False)
            writes = target is not None and not switch.knows_challenger(before)
            if writes:
                switch.check_room()
            if target is not None:
                self._try(switch, events, required=writes)
            counted = int(lease.document.get("rollbacks") or 0)
            if not began:
                plan = {**plan, "rollbacks": counted + 1}
                state.set(STATE_KEY, plan)
            # Everything so far only read. From here on a promotion that waits for its approval is superseded; a try
            # after a crash counts as the same rollback.
            lease.renew({"rollbacks": max(counted, plan.get("rollbacks", counted + 1))})

            def change() -> None:
                if target is None:
                    switch.withdraw(before)
                    switch.try_withdrawn(events)
                else:
                    switch.apply(before, plan["previous"], write_pipeline=writes)
                    switch.try_bound(events)

            self._apply(context, switch, before, change, self._rolled_back(project, plan))
            return self._record(context, project, plan)

    def _plan(self, project: "Project") -> dict[str, Any]:
        """Decide what goes where; changes nothing."""
        from elastic_ml.registry.champion_switch import ChampionSwitch

        names, to = project.names, self.to.strip()
        before = ChampionSwitch(self.client, project, project.model(self.model), None).present()
        if to == NONE:
            return {"target": None, "previous": before["previous"], "before": before}
        target = before["previous"] if to == PREVIOUS else to
        if target is None:
            raise NotReadyError(
                f"{names.previous(self.model)} names no model: there is nothing to roll {self.model} back to.",
                remedy=f"Roll back to one of {self._choices(project, before)}, or to `none`, which takes the model out "
                "of scoring while events are still indexed.",
            )
        if not self._exists(target):
            raise NotReadyError(
                f"There is no trained model {target}.",
                remedy=f"Roll back to one of {self._choices(project, before)}, or to `none`.",
            )
        if target not in {before["previous"], before["champion"]} and not self._was_in_production(project, target):
            raise NotReadyError(
                f"{target} was never in production as {self.model}.",
                remedy=f"Promote it with {names.dag_id('promote', self.model)}, where it is judged and approved, or "
                f"roll back to one of {self._choices(project, before)}, or to `none`.",
            )
        return {"target": target, "previous": self._replaced_by(project, target, before), "before": before}

    def _exists(self, model_id: str) -> bool:
        try:
            return bool(self.client.ml.get_trained_models(model_id=model_id)["trained_model_configs"])
        except NotFoundError:
            return False

    def _was_in_production(self, project: "Project", model_id: str) -> bool:
        from elastic_ml.registry.events import versions_of
        from elastic_ml.registry.model_cards import read_card

        card = read_card(self.client, project.names, model_id)
        if card is not None and card["model_name"] != self.model:
            return False
        return model_id in versions_of(self.client, project.names, self.model)

    def _choices(self, project: "Project", before: Mapping[str, Any]) -> str:
        from elastic_ml.registry.events import versions_of

        versions = versions_of(self.client, project.names, self.model)
        there = [version for version in versions if version != before["champion"] and self._exists(version)]
        return ", ".join(there) or "the models that were in production (none is left)"

    def _replaced_by(self, project: "Project", target: str, before: Mapping[str, Any]) -> str | None:
        """Return the model that the target replaced when it was promoted, if it is still there."""
        from elastic_ml.registry.events import events_of

        promoted = [
            event
            for event in events_of(self.client, project.names, target)
            if event["event_type"] == "deployed" and event["status"] == "success"
        ]
        replaced = promoted[-1].get("previous_version") if promoted else None
        if replaced in {None, target, before["champion"]} or not self._exists(str(replaced)):
            return None
        return str(replaced)

    def _try(self, switch: "ChampionSwitch", events: Sequence[Mapping[str, Any]], *, required: bool) -> None:
        """Try the model by its id, unless the cluster has no room for that and the pipeline in place will do."""
        if not events:
            self.log.warning("There is no recent event to try %s on.", switch.challenger)
            return
        if not required:
            try:
                switch.check_room()
            except NotReadyError as full:
                self.log.warning("%s %s is tried after the switch only.", full.message, switch.challenger)
                return
        switch.try_challenger(events)

    # The record -------------------------------------------------------------------------------------------------------

    def _event_id(self, context: Any) -> str:
        from elastic_ml.registry.events import deterministic_id

        return deterministic_id("rolled_back", self.model, context["ti"].run_id)

    def _rolled_back(self, project: "Project", plan: Mapping[str, Any]) -> dict[str, Any]:
        """Return the registry event: about the model that is in production now, or about the one that left."""
        target, champion = plan["target"], plan["before"]["champion"]
        return {
            "event_type": "rolled_back",
            "model_name": self.model,
            "model_version": target or champion,
            "previous_version": champion,
            "stage": "champion" if target else "retired",
            "user": self.user or None,
            "reason": self.reason or "no reason given",
        }

    def _record(self, context: Any, project: "Project", plan: Mapping[str, Any]) -> dict[str, Any]:
        # This event first: it tells a run that is cleared that it has done its work.
        event = self._rolled_back(project, plan)
        event_type, _ = event.pop("event_type"), event.pop("model_name")
        self._event(project, event_type, event_id=self._event_id(context), **event)
        return self._move_stages(context, project, plan["target"], plan["before"]["champion"], event["reason"])

    def _done_before(self, context: Any, project: "Project", done: Mapping[str, Any]) -> dict[str, Any]:
        """Finish the record of a rollback that this run has made, and change nothing else."""
        from airflow.sdk.exceptions import AirflowSkipException

        from elastic_ml.registry.model_cards import model_behind

        target = done["model_version"] if done["stage"] == "champion" else None
        champion = model_behind(self.client, project.names.champion(self.model))
        if champion != target:
            raise AirflowSkipException(
                f"This run rolled {self.model} back to {target or 'none'}, and {champion or 'none'} is in production "
                "since: trigger a new run."
            )
        self.log.info("This run rolled %s back to %s before.", self.model, target or "none")
        return self._move_stages(context, project, target, done.get("previous_version"), done["reason"])

    def _move_stages(
        self, context: Any, project: "Project", target: str | None, left: str | None, reason: str
    ) -> dict[str, Any]:
        from elastic_ml.registry.model_cards import model_behind

        previous = model_behind(self.client, project.names.previous(self.model))
        moved = {"run_id": context["ti"].run_id, "reason": reason, "user": self.user or None}
        for version, stage in ((target, "champion"), (left, "retired"), (previous, "previous")):
            if version is not None and not (stage == "previous" and target is None):
                self._move_stage(project, version, stage, **moved)
        self.log.info("%s is scored by %s now; it was %s.", self.model, target or "no model", left or "none")
        return {
            "model_id": target,
            "previous_version": left,
            "previous": previous,
            "reason": reason,
            "user": self.user or None,
        }
