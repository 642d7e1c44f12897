"""elastic_housekeeping: puts away what trainings leave behind. Without `apply` it only says what it would do.

**What goes,** once it is older than `keep`: jobs, models, training sets, holdouts and results of trainings whose model
is in no use; indices of rescored history and of outlier results that their alias has left; versions of anomaly jobs
that another one replaced; model snapshots beyond a job file's `replay_days`; expired forecasts and results.

**What never goes:** a model with any alias (the champion and the previous one have theirs), one that a pipeline names,
and their trainings; an index behind an alias; what this project did not make.

It also stops analytics jobs, and datafeeds of partitions, whose Airflow run is over: a worker that died with its
scheduler leaves them running.

Model cards and the registry stay: a deleted model gets the event `deleted`.

**When it runs:** on Sundays, as a report; by hand with `apply` to do it.

| param | meaning | default |
|---|---|---|
| `apply` | do it | false |
| `keep` | how long unused things stay | `90d` |

**When it fails:** what the server refused to delete stays, with its words in the table; clearing the task goes on.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import DAG, CronTriggerTimetable, Param

from elastic_ml.notifications.deadline import deadline
from elastic_ml.operators.housekeeping import HousekeepingOperator
from elastic_ml.stages.shared import dag_arguments, single_dag

if TYPE_CHECKING:
    from elastic_ml.project import Project


def build(folder: Path | str) -> dict[str, DAG]:
    """The DAG `elastic_housekeeping` of the project in `folder`, by its id."""
    return single_dag(folder, "elastic_housekeeping", _housekeeping)


def _housekeeping(project: Project, dag_id: str, folder: str) -> DAG:
    learn = project.settings.connections.learn
    with DAG(
        dag_id,
        schedule=CronTriggerTimetable("0 5 * * 0", timezone="UTC"),
        deadline=deadline(timedelta(hours=2), elastic_conn_id=learn, alerts=project.names.alerts),
        **dag_arguments(
            project,
            sys.modules[__name__],
            tags=["housekeeping"],
            params={
                "apply": Param(False, type="boolean", description="Do it; otherwise only say what would be done."),
                "keep": Param(
                    "90d", type="string", pattern=r"^[1-9][0-9]*[dhms]$", description="How long unused things stay."
                ),
            },
        ),
    ) as dag:
        HousekeepingOperator(
            task_id="housekeeping",
            elastic_conn_id=learn,
            kibana_conn_id=project.settings.connections.kibana,
            project_folder=folder,
            keep="{{ params.keep }}",
            apply="{{ params.apply }}",
        )
    return dag
