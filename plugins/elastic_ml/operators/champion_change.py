"""What promotion and rollback share: a change that is put back when it fails, and its record in the registry."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import PartialFailureError
from elastic_ml.links.kibana import ModelDashboardLink, TrainedModelLink
from elastic_ml.operators.base import ElasticBaseOperator
from elastic_ml.operators.kibana_pages import of_model

if TYPE_CHECKING:
    from elastic_ml.project.project import Project
    from elastic_ml.registry.champion_switch import ChampionSwitch
    from elastic_ml.registry.events import EventType

STATE_KEY = "before_switch"
LOCK = timedelta(minutes=5)
"""Time to live of the lock `model|<name>`: many times what a change takes, and what a dead worker costs at most."""


class ChampionChangeOperator(ElasticBaseOperator):
    """Base of the operators that decide which model scores.

    :param project_folder: the project folder.
    :param model: name of the model file.
    """

    operator_extra_links = (ModelDashboardLink(), TrainedModelLink())

    def __init__(self, *, project_folder: str, model: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.model = model

    def pages(self, context: Any) -> Mapping[str, str]:
        """How the model does, and its versions."""
        return of_model(self.project_folder, self.model)

    def _apply(
        self,
        context: Any,
        switch: "ChampionSwitch",
        before: Mapping[str, Any],
        change: Callable[[], None],
        event: Mapping[str, Any],
    ) -> None:
        """Make the change; when it fails put everything back, say so in the registry, and raise.

        :param event: of the registry, with `event_type`, `stage` and whose version it is about.
        :raises PartialFailureError: putting back failed too.
        """
        from elastic_ml.registry.events import deterministic_id, write_event

        try:
            change()
        except Exception as error:
            self.log.error("The change to %s failed and is put back: %s", switch.challenger or "none", error)
            failures = switch.restore(before)
            outcome = "put back" if not failures else f"putting back failed ({'; '.join(failures.values())})"
            ti = context["ti"]
            write_event(
                self.client,
                switch.names,
                **{
                    **event,
                    "status": "error",
                    "event_id": deterministic_id(
                        event["event_type"], "error", event["model_version"], ti.run_id, ti.try_number
                    ),
                    "reason": f"{error}; {outcome}",
                },
            )
            if failures:
                raise PartialFailureError(
                    f"The switch of {self.model} to {switch.challenger or 'none'} failed ({error}), and so did putting "
                    "it back: " + "; ".join(failures.values()),
                    remedy="Clear this task: it finishes the switch or puts everything back from its state.",
                    failures=failures,
                ) from error
            context["task_state_store"].delete(STATE_KEY)
            raise

    def _move_stage(
        self, project: "Project", version: str, stage: str, *, run_id: str, reason: str | None, user: str | None
    ) -> None:
        """Record that a version has another stage now, in the registry and in its card."""
        from elastic_ml.registry.events import deterministic_id
        from elastic_ml.registry.model_cards import set_stage

        self._event(
            project,
            "transitioned",
            model_version=version,
            stage=stage,
            event_id=deterministic_id("transitioned", version, stage, run_id),
            reason=reason,
            user=user,
        )
        set_stage(self.client, project.names, version, stage)

    def _event(self, project: "Project", event_type: "EventType", **fields: Any) -> None:
        from elastic_ml.registry.events import write_event

        write_event(
            self.client,
            project.names,
            event_type=event_type,
            model_name=self.model,
            **fields,
        )
