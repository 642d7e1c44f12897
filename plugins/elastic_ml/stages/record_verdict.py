"""record_verdict: what a person decided about one event, for models to learn from.

`record`

| param | meaning |
|---|---|
| `event_id` | the event, by its `event.id` (its `_id`); the review queue's link fills it in |
| `verdict` | `confirmed`, `suspicious` or `none` (looked at, and fine) |
| `reason` | why; kept with the verdict |

Who decided is whoever triggered the run, and when is the run's time. The verdict is appended to the verdict stream,
which keeps every decision, and becomes the event's latest in the lookup index that training, dashboards and monitoring
read: exactly what the source of verdicts does. The event itself is never touched. Clearing the run adds nothing; a
later decision about the same event replaces this one.

**When it runs:** by hand, from the review queue.

**When it fails:** `No event ... is in`: the id is wrong, or the event is not ingested yet. `Nobody says who decided`:
trigger it as a user. `could not be written to`: the stream has the verdict; clear the task once `elastic_setup` has
made the index.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import DAG, Param

from elastic_ml.notifications.deadline import deadline
from elastic_ml.operators.verdict import RecordVerdictOperator
from elastic_ml.stages.shared import dag_arguments, single_dag

if TYPE_CHECKING:
    from elastic_ml.project import Project

VERDICTS = {"confirmed": "confirmed: it was harm", "suspicious": "suspicious: not certain", "none": "none: it is fine"}


def build(folder: Path | str) -> dict[str, DAG]:
    """The DAG `record_verdict` of the project in `folder`, by its id."""
    return single_dag(folder, "record_verdict", _record_verdict)


def _record_verdict(project: Project, dag_id: str, folder: str) -> DAG:
    with DAG(
        dag_id,
        schedule=None,
        **dag_arguments(
            project,
            sys.modules[__name__],
            tags=["verdicts"],
            # Every verdict is a run of its own, and they do not wait for one another.
            max_active_runs=16,
            deadline=deadline(
                timedelta(minutes=30), elastic_conn_id=project.settings.connections.ingest, alerts=project.names.alerts
            ),
            params={
                "event_id": Param("", type="string", title="Event", description="Its event.id."),
                "verdict": Param(
                    "suspicious",
                    type="string",
                    enum=list(VERDICTS),
                    values_display=VERDICTS,
                    title="Verdict",
                    description="What it was.",
                ),
                "reason": Param("", type="string", format="multiline", title="Reason", description="Why."),
            },
        ),
    ) as dag:
        RecordVerdictOperator(
            task_id="record",
            elastic_conn_id=project.settings.connections.ingest,
            kibana_conn_id=project.settings.connections.kibana,
            project_folder=folder,
            event_id="{{ params.event_id | trim }}",
            verdict="{{ params.verdict }}",
            reason="{{ params.reason or '' }}",
        )
    return dag
