"""train_<model>: learns a model from a window of events and their verdicts, judges it, and offers it as a candidate.

`wait_for_data` → `readiness` → `training_set` → `train` → `evaluate` → `candidate`

| task | what it does | what it leaves |
|---|---|---|
| `wait_for_data` | waits, without a worker slot, until the window's partitions are ingested | nothing |
| `readiness` | documents, classes, nulls, constants, leakage; every no-go is a sentence | a report |
| `training_set` | refreshes the verdicts' snapshot, reindexes the window, keeps 10:1 | `<prefix>-train-<job>` |
| `train` | estimates memory, creates, starts and waits for the analytics job | a trained model |
| `evaluate` | scores a later window with challenger and champion, writes the model card | the card, registry events |
| `candidate` | starts `promote_<model>`, unless this model was decided on before | an asset event |

**Windows.** Holdout = [day - label_delay - holdout, day - label_delay); training ends where the holdout starts.
Verdicts come late: an event without one after `label_delay` counts as negative.

An outlier model has nothing to promote: after `training_set` and `train`, which scores the very rows it was given,
`publish` lets the index alias `<model>_results` point to the scores. It has no holdout and waits for no verdict.

**When it runs:** on the model file's `schedule`, on an event of the drift asset, or by hand. The same day,
windows and file give the same analytics job, so a re-run finds what is there and trains nothing twice.

| param | meaning | default |
|---|---|---|
| `day` | train for this day | the day of the run |
| `label_delay`, `train_window`, `holdout_window` | such as `2d`, `90d`, `14d` | the model file's |
| `requested_by` | for services: the person on whose behalf they start this | whoever triggered the run |

**When it fails:** `wait_for_data` names the partition that is missing: look at the ingest run. `readiness` names what
is wrong with the data: mend it, then clear the task. Any later task goes on where it stopped when it is cleared.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param

from elastic_ml.notifications.deadline import deadline
from elastic_ml.operators.evaluation import EmitCandidateOperator, EvaluateModelOperator
from elastic_ml.operators.outliers import PublishOutliersOperator
from elastic_ml.operators.readiness import ReadinessOperator
from elastic_ml.operators.training import AFTER_TRAINING, RUN_TEMPLATE, TrainingSetOperator, TrainModelOperator
from elastic_ml.sensors.training_data import TrainingDataSensor
from elastic_ml.stages.shared import dag_arguments, per_model

if TYPE_CHECKING:
    from elastic_ml.project import Project
    from elastic_ml.project.model import Model

DURATION = r"^[1-9][0-9]*[dhms]$"


def build(folder: Path | str) -> dict[str, DAG]:
    """The DAGs `train_<model>` of the project in `folder`, one per model file, by their ids."""
    return per_model(folder, "train", _train)


def _train(project: Project, model: Model, common: dict[str, Any]) -> DAG:
    name, uri = project.names.drift_asset(model.name)
    drift = Asset(name=name, uri=uri)
    schedule = (
        AssetOrTimeSchedule(assets=[drift], timetable=CronTriggerTimetable(model.schedule, timezone="UTC"))
        if model.schedule
        else [drift]
    )
    of_run = {"run": dict(RUN_TEMPLATE), **common}
    after_training = {"run": dict(AFTER_TRAINING), **common}
    with DAG(
        project.names.dag_id("train", model.name),
        schedule=schedule,
        **dag_arguments(
            project,
            sys.modules[__name__],
            model=model.name,
            owner=model.owner,
            tags=["train", model.kind, model.name],
            # The wait for the data, then the longest that the jobs may take.
            deadline=deadline(
                timedelta(hours=37), elastic_conn_id=common["elastic_conn_id"], alerts=project.names.alerts
            ),
            params=_params(model),
        ),
    ) as dag:
        waited = TrainingDataSensor(task_id="wait_for_data", **of_run)
        ready = ReadinessOperator(task_id="readiness", **of_run)
        materialised = TrainingSetOperator(task_id="training_set", **of_run)
        trained = TrainModelOperator(task_id="train", **of_run)
        waited >> ready >> materialised >> trained
        if model.supervised:
            evaluated = EvaluateModelOperator(
                task_id="evaluate",
                model_id="{{ ti.xcom_pull(task_ids='train')['model_id'] }}",
                **after_training,
            )
            offered = EmitCandidateOperator(task_id="candidate", outlets=[_candidate(project, model)], **common)
            trained >> evaluated >> offered
        else:
            trained >> PublishOutliersOperator(task_id="publish", **after_training)
    return dag


def _candidate(project: Project, model: Model) -> Asset:
    name, uri = project.names.candidate_asset(model.name)
    return Asset(name=name, uri=uri)


def _params(model: Model) -> dict[str, Param]:
    params = {
        "day": Param(None, type=["null", "string"], format="date", description="Train for this day (UTC)."),
        "label_delay": _duration("How long verdicts may take"),
        "train_window": _duration("Length of the training window"),
        "holdout_window": _duration("Length of the holdout"),
        "requested_by": Param(
            None, type=["null", "string"], description="For services: the person on whose behalf this runs."
        ),
    }
    if not model.supervised:
        del params["label_delay"], params["holdout_window"]
    return params


def _duration(description: str) -> Param:
    return Param(
        None,
        type=["null", "string"],
        pattern=DURATION,
        description=f"{description}, such as 14d; empty: the model file's.",
    )
