"""elastic_setup: brings Elasticsearch to what the project folder says.

| mode | what it does |
|---|---|
| `plan` (default) | prints every object that would be created or changed, and what differs; writes nothing |
| `verify` | fails when anything differs; sends no write; run it on a schedule or in CI |
| `apply` | writes the differences, in an order in which each step is possible; safe to repeat and to interrupt |

**What it keeps:** ILM policies (data stream lifecycle on Serverless), the project's own indices, enrich policies,
ingest pipelines, component and index templates, data streams with their failure store, the index and the transform of
the user-hours (started), and, for streams that somebody else manages, one processor in their `@custom` pipeline. It
proves by simulation that the project's templates win, and ends with a check that every field has one type in all
backing indices.

**What it never does:** overwrite an object that somebody edited by hand (unless `overwrite_edited`), downgrade one that
a newer release wrote, or change the template, lifecycle or settings of a stream with `managed: false`.

**When:** once at the start, after each upgrade of the package, and after a new model file, before its first promotion.

**When it fails:** the last lines of the task's log name the object and the remedy. After mending it, run it again: what
is right already is left alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from airflow.sdk import DAG, Param

from elastic_ml.operators.setup import ElasticSetupOperator
from elastic_ml.stages.shared import dag_arguments, project_at, wanted


def build(folder: Path | str) -> dict[str, DAG]:
    """The DAG `elastic_setup` of the project in `folder`, by its id; empty when this parse needs another DAG."""
    project = project_at(folder)
    dag_id = project.names.dag_id("elastic_setup")
    if not wanted(dag_id):
        return {}
    with DAG(
        dag_id,
        schedule=None,
        **dag_arguments(
            project,
            sys.modules[__name__],
            tags=["setup"],
            params={
                "mode": Param("plan", enum=["plan", "verify", "apply"], description="What to do with differences."),
                "overwrite_edited": Param(
                    False, type="boolean", description="Also overwrite objects that were edited by hand."
                ),
            },
        ),
    ) as dag:
        ElasticSetupOperator(
            task_id="setup",
            elastic_conn_id=project.settings.connections.setup,
            project_folder=str(Path(folder).resolve()),
            mode="{{ params.mode }}",
            overwrite_edited="{{ params.overwrite_edited }}",
        )
    return {dag_id: dag}
