"""rollback_<model>: takes a model back, effective on the next document; waits for nobody's approval.

`rollback`

| param | meaning | default |
|---|---|---|
| `to` | `previous`, `none` (out of scoring, events still indexed), or the id of an earlier model | `previous` |
| `reason` | why; kept in the registry beside whoever triggered the run | empty |

One task under the lock `model|<name>`: the model that comes back is tried on recent events, one call moves the alias
`<model>_champion`, and the pipeline in place is tried again. Any failure puts everything back and says so. The model
that is taken out is never what the next rollback goes to; that is what the returning model had replaced. A promotion
that waits for its approval meanwhile ends as superseded. After `none`, the next promotion is a first one again.

**When it runs:** by hand, or from whatever watches the alerts, through Airflow's API.

**When it fails:** the sentence says what is in production. `there is nothing to roll back to`: trigger it with one of
the models it names, or with `none`. `is held by`: another change is at work; the lease of a dead worker ends by itself
within five minutes, and this task waits for that. Never edit the aliases by hand: a model without its kept shares in
the pipeline leaves events without a score.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param

from elastic_ml.notifications.deadline import deadline
from elastic_ml.operators.rollback import RollbackOperator
from elastic_ml.stages.shared import dag_arguments, per_supervised_model

if TYPE_CHECKING:
    from elastic_ml.project import Project
    from elastic_ml.project.model import Model


def build(folder: Path | str) -> dict[str, DAG]:
    """The DAGs `rollback_<model>` of the project in `folder`, one per supervised model file, by their ids."""
    return per_supervised_model(folder, "rollback", _rollback)


def _rollback(project: Project, model: Model, common: dict[str, Any]) -> DAG:
    with DAG(
        project.names.dag_id("rollback", model.name),
        schedule=None,
        **dag_arguments(
            project,
            sys.modules[__name__],
            model=model.name,
            owner=model.owner,
            tags=["rollback", model.kind, model.name],
            deadline=deadline(
                timedelta(minutes=30), elastic_conn_id=project.settings.connections.learn, alerts=project.names.alerts
            ),
            params={
                "to": Param(
                    "previous",
                    type="string",
                    minLength=1,
                    description="previous, none (out of scoring), or the id of a model that was in production.",
                ),
                "reason": Param("", type="string", description="Why; kept in the registry."),
            },
        ),
    ) as dag:
        RollbackOperator(
            task_id="rollback",
            to="{{ params.to }}",
            reason="{{ params.reason or '' }}",
            user="{{ dag_run.triggering_user_name or '' }}",
            **common,
        )
    return dag
