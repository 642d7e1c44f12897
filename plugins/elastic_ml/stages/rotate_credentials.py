"""elastic_rotate_credentials: after a connection got a new API key, everything that runs with the old one gets it too.

Transforms and datafeeds keep the rights of whoever updated them last, alert rules those of whoever made them: without
this, they stop working the moment the old key expires or is invalidated.

1. Make the new key, with the same role, and put it into the Airflow connections.
2. Run this with `apply`. The table says for each transform, datafeed and rule what it ran with and what it runs with.
3. When it ends green, nothing is on the old key: invalidate it.

Datafeeds in real time are stopped for a moment and go on where they were. One that feeds a partition right now is left
and listed: run this again later.

| param | meaning | default |
|---|---|---|
| `apply` | do it; otherwise only list what is on another key | false |

**When it fails:** it names what is still on the old key and what the server said. Do not invalidate that key yet.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import DAG, Param

from elastic_ml.notifications.deadline import deadline
from elastic_ml.operators.credentials import RotateCredentialsOperator
from elastic_ml.stages.shared import dag_arguments, single_dag

if TYPE_CHECKING:
    from elastic_ml.project import Project


def build(folder: Path | str) -> dict[str, DAG]:
    """The DAG `elastic_rotate_credentials` of the project in `folder`, by its id."""
    return single_dag(folder, "elastic_rotate_credentials", _rotate)


def _rotate(project: Project, dag_id: str, folder: str) -> DAG:
    connections = project.settings.connections
    with DAG(
        dag_id,
        schedule=None,
        deadline=deadline(timedelta(minutes=30), elastic_conn_id=connections.setup, alerts=project.names.alerts),
        **dag_arguments(
            project,
            sys.modules[__name__],
            tags=["credentials"],
            params={"apply": Param(False, type="boolean", description="Do it; otherwise only list.")},
        ),
    ) as dag:
        RotateCredentialsOperator(
            task_id="rotate",
            elastic_conn_id=connections.setup,
            datafeeds_conn_id=connections.learn,
            kibana_conn_id=connections.kibana,
            project_folder=folder,
            apply="{{ params.apply }}",
        )
    return dag
