"""kibana_deploy: brings dashboards, alert rules and connectors to Kibana.

| mode | what it does |
|---|---|
| `plan` (default) | prints every object that would be created or changed, and what differs; writes nothing |
| `apply` | writes the differences; safe to repeat and to interrupt |

**What it keeps:** data views, dashboards and tags, connectors and alert rules: those of the asset folders that
`kibana.folders` of `project.yml` lists. At the end it lets Kibana list the machine-learning jobs and models that were
made through Elasticsearch. All of it in the space of the connection. The table at the end of the log says of each
object what became of it:

| state | meaning |
|---|---|
| created, changed, unchanged, deleted | done, or right already |
| left | somebody's decision stands: a dashboard edited by hand, a rule that no folder has any more |
| skipped | this Kibana lacks what it needs: licence, version, flavor, a connector of its own configuration |
| refused | nothing was written; the reason is Kibana's. The task fails after everything else is done |

**What it never does:** switch on a rule that somebody switched off, unmute one, replace a dashboard that somebody
edited, delete anything, or touch a default; each only when a param asks for it, or not at all.

**Rules run with the rights of the connection's key,** so give it no more than reading the streams.

| param | meaning | default |
|---|---|---|
| `mode` | see above | `plan` |
| `overwrite_edited` | also replace dashboards, data views and tags that were edited by hand | false |
| `enforce_enabled` | also switch on rules that were switched off | false |
| `delete_retired` | also delete this project's rules that no asset folder has any more | false |

**When:** once after `elastic_setup`, after each upgrade of the package, and after a changed asset file or a new model.

**When it fails:** the last line of the task's log names each refused object and Kibana's reason. Run it again after
mending it: what is right already is left alone.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import DAG, Param

from elastic_ml.notifications.deadline import deadline
from elastic_ml.operators.kibana_deploy import KibanaDeployOperator
from elastic_ml.stages.shared import dag_arguments, single_dag

if TYPE_CHECKING:
    from elastic_ml.project import Project


def build(folder: Path | str) -> dict[str, DAG]:
    """The DAG `kibana_deploy` of the project in `folder`, by its id; empty when this parse needs another DAG."""
    return single_dag(folder, "kibana_deploy", _dag)


def _dag(project: Project, dag_id: str, folder: str) -> DAG:
    connections = project.settings.connections
    with DAG(
        dag_id,
        schedule=None,
        deadline=deadline(timedelta(minutes=30), elastic_conn_id=connections.setup, alerts=project.names.alerts),
        **dag_arguments(
            project,
            sys.modules[__name__],
            tags=["kibana"],
            params={
                "mode": Param("plan", enum=["plan", "apply"], description="What to do with differences."),
                "overwrite_edited": Param(
                    False, type="boolean", description="Also replace what was edited by hand in Kibana."
                ),
                "enforce_enabled": Param(
                    False, type="boolean", description="Also switch on rules that were switched off."
                ),
                "delete_retired": Param(
                    False, type="boolean", description="Also delete rules that no asset folder has any more."
                ),
            },
        ),
    ) as dag:
        KibanaDeployOperator(
            task_id="deploy",
            kibana_conn_id=connections.kibana,
            project_folder=folder,
            mode="{{ params.mode }}",
            overwrite_edited="{{ params.overwrite_edited }}",
            enforce_enabled="{{ params.enforce_enabled }}",
            delete_retired="{{ params.delete_retired }}",
        )
    return dag
