"""elastic_remove: takes the project off the cluster. Without `apply` it only says what it would delete.

It deletes what `_meta` marks as this package's and this project's, and nothing else. **Data stays** unless `data` is
set: streams with their events, history, user-hours, verdicts, cards, jobs, trained models. What the streams that stay
still need (templates, lifecycle, the pipelines their events go through) stays with them and is listed.

1. Run it as it is, and read the table.
2. Run it with `apply` and `confirm` = the project's name.
3. Pause or delete the project's DAGs, or `elastic_setup` will bring everything back.

Streams with `managed: false` are never touched; only the processor that calls our scoring is taken out of their
`@custom` pipeline.

**In Kibana**, in the connection's space, what `kibana_deploy` brought goes first: alert rules, dashboards, data views,
connectors, tags. What a person edited stays and is listed, unless `delete_edited` is set; so does what a person's own
dashboards and rules use. Without a connection to Kibana the table says so, and nothing of it is touched.

| param | meaning | default |
|---|---|---|
| `apply` | do it | false |
| `confirm` | the project's name, so that nobody does it by mistake | empty |
| `data` | also delete data; there is no way back | false |
| `delete_edited` | also delete what was edited by hand in Kibana | false |

**When it fails:** it names what the server refused and why. Remove that use, then run it again.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import DAG, Param

from elastic_ml.notifications.deadline import deadline
from elastic_ml.operators.removal import RemoveOperator
from elastic_ml.stages.shared import dag_arguments, single_dag

if TYPE_CHECKING:
    from elastic_ml.project import Project


def build(folder: Path | str) -> dict[str, DAG]:
    """The DAG `elastic_remove` of the project in `folder`, by its id."""
    return single_dag(folder, "elastic_remove", _remove)


def _remove(project: Project, dag_id: str, folder: str) -> DAG:
    setup = project.settings.connections.setup
    with DAG(
        dag_id,
        schedule=None,
        deadline=deadline(timedelta(hours=1), elastic_conn_id=setup, alerts=project.names.alerts),
        **dag_arguments(
            project,
            sys.modules[__name__],
            tags=["remove"],
            params={
                "apply": Param(False, type="boolean", description="Do it; otherwise only say what would be deleted."),
                "confirm": Param("", type="string", description=f"Write {project.name} to delete."),
                "data": Param(False, type="boolean", description="Also delete data. There is no way back."),
                "delete_edited": Param(
                    False, type="boolean", description="Also delete what was edited by hand in Kibana."
                ),
            },
        ),
    ) as dag:
        RemoveOperator(
            task_id="remove",
            elastic_conn_id=setup,
            kibana_conn_id=project.settings.connections.kibana,
            project_folder=folder,
            apply="{{ params.apply }}",
            confirm="{{ params.confirm }}",
            data="{{ params.data }}",
            delete_edited="{{ params.delete_edited }}",
            # Deleting is not tried again behind somebody's back.
            retries=0,
        )
    return dag
