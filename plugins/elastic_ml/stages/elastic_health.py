"""elastic_health: looks at every model in production and at the cluster around it, every five minutes.

One task for everything, in about a dozen requests.

| what it writes | meaning |
|---|---|
| `predict` | events that a model scored (`success`) or failed to score (`error`) since the last look; mean latency |
| `heartbeat` | one per model and look, with `expected`: events of the interval that it should have scored |
| `scored` | the first score of each user-hour, once the hour has ended |
| `disk`, `stream`, `job`, `transform`, `credential` | a state each; `status: error` is for a person to look at |

The first three go to `logs-<prefix>.predictions-*`, the others to `logs-<prefix>.health-*`.

Counts come from the counters of the inference processor inside `<model>@score`; Elasticsearch logs no single prediction
of a pipeline. When a model is promoted, the interval of the switch counts for the new one. A counter that fell is a
restarted node.

**Keys** are watched 14 days ahead of their end, for each connection that `project.yml` names.

**On Serverless** there are no disks to watch; sizes come from `_cat/indices`.

| param | meaning | default |
|---|---|---|
| `at` | look as if it were this time (ISO 8601 with zone) | when the run was due |

A time that a later look has covered writes nothing.

**When it fails:** the cluster did not answer, or the operations streams are missing: run `elastic_setup` with
`mode: apply`. Nothing is lost: the next look counts from the last one. What the key may not read is no failure; it is
written as `state: unreadable`, with the missing right in `message`.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import DAG, CronTriggerTimetable, Param

from elastic_ml.notifications.deadline import deadline
from elastic_ml.operators.health import ElasticHealthOperator
from elastic_ml.stages.shared import dag_arguments, single_dag

if TYPE_CHECKING:
    from elastic_ml.project import Project


def build(folder: Path | str) -> dict[str, DAG]:
    """The DAG `elastic_health` of the project in `folder`, by its id."""
    return single_dag(folder, "elastic_health", _health)


def _health(project: Project, dag_id: str, folder: str) -> DAG:
    connections = project.settings.connections
    with DAG(
        dag_id,
        schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC"),
        deadline=deadline(timedelta(minutes=15), elastic_conn_id=connections.learn, alerts=project.names.alerts),
        **dag_arguments(
            project,
            sys.modules[__name__],
            tags=["health"],
            params={
                "at": Param(
                    None, type=["null", "string"], format="date-time", description="Look as if it were this time."
                )
            },
        ),
    ) as dag:
        ElasticHealthOperator(
            task_id="look",
            elastic_conn_id=connections.learn,
            kibana_conn_id=connections.kibana,
            elastic_conn_ids=sorted({connections.setup, connections.ingest, connections.learn, connections.read}),
            project_folder=folder,
            at="{{ params.at or dag_run.run_after.isoformat() }}",
        )
    return dag
