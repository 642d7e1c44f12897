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

**Streams of somebody else** (`managed: false`): it says whether their pipeline calls `@custom` at all, and whether
their mapping takes what scoring writes. Where it does not, the table has a conflict, and the problem below it is a
request that whoever manages the stream can send as it stands.

**What it never does:** overwrite an object that somebody edited by hand (unless `overwrite_edited`), downgrade one that
a newer release wrote, or change the template, lifecycle or settings of a stream with `managed: false`.

**Repair.** A field that has other types in old backing indices than in the template makes searches, transforms and
models fail on them; the table says which indices and fields. `repair`, beside the mode `plan`, names the stream: the
task `repair` copies each of these indices with the template's types and puts the copy in its place, in one step that no
search notices.

| param | meaning | default |
|---|---|---|
| `mode` | see above | `plan` |
| `overwrite_edited` | also overwrite objects that were edited by hand | false |
| `repair` | name of a stream whose old backing indices are to be copied with the template's types | none |

**When:** once at the start, after each upgrade of the package, and after a new model file, before its first promotion.

**When it fails:** the last lines of the task's log name the object and the remedy. After mending it, run it again: what
is right already is left alone.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import DAG, Param

from elastic_ml.notifications.deadline import deadline
from elastic_ml.operators.mapping_repair import RepairMappingOperator
from elastic_ml.operators.setup import ElasticSetupOperator
from elastic_ml.stages.shared import dag_arguments, single_dag

if TYPE_CHECKING:
    from elastic_ml.project import Project


def build(folder: Path | str) -> dict[str, DAG]:
    """The DAG `elastic_setup` of the project in `folder`, by its id."""
    return single_dag(folder, "elastic_setup", _setup)


def _setup(project: Project, dag_id: str, folder: str) -> DAG:
    connections = project.settings.connections
    with DAG(
        dag_id,
        schedule=None,
        deadline=deadline(timedelta(hours=24), elastic_conn_id=connections.setup, alerts=project.names.alerts),
        **dag_arguments(
            project,
            sys.modules[__name__],
            tags=["setup"],
            params={
                "mode": Param("plan", enum=["plan", "verify", "apply"], description="What to do with differences."),
                "overwrite_edited": Param(
                    False, type="boolean", description="Also overwrite objects that were edited by hand."
                ),
                "repair": Param(
                    None,
                    type=["null", "string"],
                    description="Stream whose backing indices are copied where their types are not the template's.",
                ),
            },
        ),
    ) as dag:
        setup = ElasticSetupOperator(
            task_id="setup",
            elastic_conn_id=connections.setup,
            kibana_conn_id=connections.kibana,
            project_folder=folder,
            mode="{{ params.mode }}",
            overwrite_edited="{{ params.overwrite_edited }}",
        )
        setup >> RepairMappingOperator(
            task_id="repair",
            elastic_conn_id=connections.setup,
            kibana_conn_id=connections.kibana,
            project_folder=folder,
            stream="{{ params.repair or '' }}",
        )
    return dag
