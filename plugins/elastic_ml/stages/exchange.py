"""The DAGs export_model and import_model; their pages are `EXPORT` and `IMPORT` below."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, Param, conf

from elastic_ml.notifications.deadline import deadline
from elastic_ml.operators.model_exchange import (
    EmitImportedCandidateOperator,
    EvaluateImportedModelOperator,
    ExportModelOperator,
    ImportModelOperator,
)
from elastic_ml.operators.training import RUN_TEMPLATE
from elastic_ml.stages.shared import dag_arguments, project_at, wanted
from elastic_ml.stages.train import DURATION

if TYPE_CHECKING:
    from elastic_ml.project import Project

EXPORT = """export_model: writes a trained model with its card and baseline as one file, to be promoted elsewhere.

`export`

| param | meaning | default |
|---|---|---|
| `model` | name of the model file | none |
| `model_id` | the trained model | the champion |

The file `<model id>.zip` is written to the folder that `[elastic_ml] exchange_folder` names in Airflow's configuration
(local, or object storage as `s3://aws_default@models/`). It appears whole or not at all. The task's result holds its
SHA-256, which the import takes.

**When it runs:** by hand, once a model has proved itself.

**When it fails:** the sentence names what is missing: the folder, the model, or its card. Nothing was changed.
"""

IMPORT = """import_model: takes an exported model in, judges it on this environment's own holdout, and offers it.

`import` → `evaluate` → `candidate`

| param | meaning | default |
|---|---|---|
| `file` | name of the file in the exchange folder | none |
| `sha256` | what the export said; empty trusts the file | empty |
| `day` | judge it as if it had been trained for this day | the day of the run |
| `label_delay`, `holdout_window` | such as `2d`, `14d` | the model file's |
| `requested_by` | for services: the person on whose behalf they start this | whoever triggered the run |

Nothing of the file's figures is believed. The model is put under its own id (never over another one), scores the local
holdout beside the local champion, gets a local card, and starts `promote_<name>`: gate, approval and switch are those
of a model that was trained here, and whoever imported it cannot approve it. The holdout never reaches back into the
window the model learned from, wherever that was.

**When it fails:** `is another one than in`: this cluster has a different model under the id; nothing was overwritten.
`is not what was exported`: the file is damaged. `nothing is left to judge it on`: import it for a later day.
"""


def build(folder: Path | str) -> dict[str, DAG]:
    """The DAGs `export_model` and `import_model` of the project in `folder`, by their ids; none without a model."""
    project = project_at(folder)
    # Names only: reading every model file would cost each parse of a large project a tenth of a second.
    models = project.models()
    common = {
        "elastic_conn_id": project.settings.connections.learn,
        "kibana_conn_id": project.settings.connections.kibana,
        "project_folder": str(Path(folder).resolve()),
    }
    dags = {}
    for stage, make in (("export_model", _export), ("import_model", _import)):
        dag_id = project.names.dag_id(stage)
        if models and wanted(dag_id):
            dags[dag_id] = make(dag_id, project, models, common)
    return dags


def _folder() -> str:
    return str(conf.get("elastic_ml", "exchange_folder", fallback="") or "")


def _export(dag_id: str, project: Project, models: list[str], common: dict[str, Any]) -> DAG:
    with DAG(
        dag_id,
        schedule=None,
        **dag_arguments(
            project,
            EXPORT,
            tags=["exchange"],
            deadline=deadline(
                timedelta(hours=2), elastic_conn_id=project.settings.connections.learn, alerts=project.names.alerts
            ),
            params={
                "model": Param(models[0], type="string", enum=models, description="Name of the model file."),
                "model_id": Param(None, type=["null", "string"], description="Trained model; empty: the champion."),
            },
        ),
    ) as dag:
        ExportModelOperator(
            task_id="export",
            folder=_folder(),
            model="{{ params.model }}",
            model_id="{{ params.model_id or '' }}",
            **common,
        )
    return dag


def _import(dag_id: str, project: Project, models: list[str], common: dict[str, Any]) -> DAG:
    candidates = [Asset(name=name, uri=uri) for name, uri in map(project.names.candidate_asset, models)]
    # The training window is the model's own.
    run = {**RUN_TEMPLATE, "train_window": ""}
    with DAG(
        dag_id,
        schedule=None,
        **dag_arguments(
            project,
            IMPORT,
            tags=["exchange"],
            deadline=deadline(
                timedelta(hours=26), elastic_conn_id=project.settings.connections.learn, alerts=project.names.alerts
            ),
            params={
                "file": Param("", type="string", description="Name of the file in the exchange folder."),
                "sha256": Param("", type="string", description="What the export said; empty trusts the file."),
                "day": Param(None, type=["null", "string"], format="date", description="Judge it for this day (UTC)."),
                "label_delay": Param(None, type=["null", "string"], pattern=DURATION, description="Such as 2d."),
                "holdout_window": Param(None, type=["null", "string"], pattern=DURATION, description="Such as 14d."),
                "requested_by": Param(
                    None, type=["null", "string"], description="For services: the person on whose behalf this runs."
                ),
            },
        ),
    ) as dag:
        imported = ImportModelOperator(
            task_id="import",
            folder=_folder(),
            file="{{ params.file }}",
            sha256="{{ params.sha256 or '' }}",
            **common,
        )
        evaluated = EvaluateImportedModelOperator(
            task_id="evaluate",
            model="{{ ti.xcom_pull(task_ids='import')['model'] }}",
            model_id="{{ ti.xcom_pull(task_ids='import')['model_id'] }}",
            run=run,
            training_set_task_id="import",
            readiness_task_id="import",
            **common,
        )
        offered = EmitImportedCandidateOperator(task_id="candidate", outlets=candidates, **common)
        imported >> evaluated >> offered
    return dag
