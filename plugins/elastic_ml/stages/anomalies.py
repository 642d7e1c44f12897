"""anomalies_<job>: lets an anomaly job learn what happened, and tells what was out of the ordinary.

By partition (`mode: partition`): `wait_for_data` → `detect` → `alerts` → `forecast`. In real time (`mode: realtime`):
`detect` → `alerts` → `forecast`.

| task | what it does | what it leaves |
|---|---|---|
| `wait_for_data` | waits, without a worker slot, until the partition is ingested | nothing |
| `detect` | keeps filters, job, datafeed and calendars as the file says; feeds the job to the end of the partition \
and keeps its model, or in real time keeps the datafeed running | results, a model snapshot per partition |
| `alerts` | appends what scored at or above `alert_score` to the alerts stream, each once | alert documents |
| `forecast` | makes a forecast where the run asks for one; absent for population jobs | a forecast |

**In order.** One run at a time; a partition that no run took is learnt with the next one. Runs of this DAG may be
backfilled, always with `--max-active-runs 1`: a backfill does not heed the DAG's own limit, and runs side by side stop
each other's datafeed and learn events twice.

**Again.** A partition whose documents have become more or fewer since it was learnt is learnt again: the job goes back
to the model before it, results since are deleted, and everything up to the newest partition is learnt anew, which
takes as long as it took. With the same documents nothing is done. `replay_days` says how far back this works.

**A changed file.** What can be updated is updated in place. Detectors, `bucket_span` and influencers cannot: then
`<job>_v2` takes over and first learns what the old one learnt, as far as the data is still there. The old job and its
results stay.

| param | meaning | default |
|---|---|---|
| `day` | UTC day (or hour, for an hourly schedule) to learn in a run started by hand | the run's own |
| `replay` | `always`: learn the partition again although its documents are the same | `changed` |
| `since` | real time: write alerts for results since this time | a day before the run |
| `forecast` | how far to forecast, such as `7d` | none |

**When it fails:** `wait_for_data` names the partition that is missing: look at the ingest run. `detect` says what the
server said; clearing it goes on where the job is. `is too old to be run again`: raise `replay_days` for the future, or
reset the job. `its model snapshot ... is gone`: run the partition before it. A killed run leaves the datafeed stopped
and the job closed; the next run takes up what it left. On Serverless only `mode: realtime` works.
"""

from __future__ import annotations

import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, CronPartitionTimetable, CronTriggerTimetable, Param

from elastic_ml.exceptions import ProjectFileError
from elastic_ml.notifications.deadline import deadline
from elastic_ml.operators.anomaly_detection import (
    DetectPartitionOperator,
    DetectRealtimeOperator,
    ForecastOnDemandOperator,
)
from elastic_ml.operators.anomaly_job import AnomalyJobOperator
from elastic_ml.operators.anomaly_records import AnomalyAlertsOperator
from elastic_ml.sensors.anomaly_data import AnomalyDataSensor
from elastic_ml.stages.shared import dag_arguments, project_at, wanted

if TYPE_CHECKING:
    from elastic_ml.project import Project
    from elastic_ml.project.anomaly_job import AnomalyJob

log = logging.getLogger(__name__)

DETECTED = "ti.xcom_pull(task_ids='detect')"
PARTITION = "{{ partition_key or params.day or '' }}"
REALTIME_SCHEDULE = "*/15 * * * *"
"""How often a real-time job is looked after and its records become alerts, unless its file says otherwise."""
_FORECAST = Param(
    None,
    type=["null", "string"],
    pattern=r"^[1-9][0-9]*[dhms]$",
    description="How far to forecast, such as 7d; empty: no forecast.",
)


def build(folder: Path | str) -> dict[str, DAG]:
    """The DAGs `anomalies_<job>` of the project in `folder`, one per anomaly job file, by their ids."""
    project = project_at(folder)
    dags = {}
    for name in project.anomaly_jobs():
        dag_id = project.names.dag_id("anomalies", name)
        if not wanted(dag_id):
            continue
        try:
            job = project.anomaly_job(name)
        except ProjectFileError as error:
            # Raising would make Airflow mark every DAG of the stage stale; dags/check_model_files.py reports it.
            log.warning("anomalies skips a job: %s", error)
            continue
        dags[dag_id] = _anomalies(project, job, dag_id, str(Path(folder).resolve()))
    return dags


def _anomalies(project: Project, job: AnomalyJob, dag_id: str, folder: str) -> DAG:
    connections = project.settings.connections
    common: dict[str, Any] = {
        "elastic_conn_id": connections.learn,
        "kibana_conn_id": connections.kibana,
        "project_folder": folder,
        "job": job.name,
    }
    with DAG(
        dag_id,
        schedule=_schedule(job),
        **dag_arguments(
            project,
            _page(job.name),
            owner=job.owner,
            tags=["anomalies", job.name, *job.groups],
            max_active_runs=1,
            # The wait for the data, then the longest that the datafeed may take.
            deadline=deadline(timedelta(hours=37), elastic_conn_id=connections.learn, alerts=project.names.alerts),
            params=_params(job),
        ),
    ) as dag:
        detect: AnomalyJobOperator
        if job.mode == "partition":
            detect = DetectPartitionOperator(
                task_id="detect",
                partition=PARTITION,
                replay="{{ params.replay }}",
                **common,
            )
            AnomalyDataSensor(task_id="wait_for_data", partition=PARTITION, **common) >> detect
            window = {name: f"{{{{ {DETECTED}['{name}'] }}}}" for name in ("start", "end")}
        else:
            detect = DetectRealtimeOperator(task_id="detect", **common)
            window = {
                "start": "{{ params.since or (dag_run.run_after - macros.timedelta(days=1)).isoformat() }}",
                "end": "{{ dag_run.run_after.isoformat() }}",
            }
        found = f"{{{{ {DETECTED}['job_id'] }}}}"
        alerts = AnomalyAlertsOperator(task_id="alerts", job_id=found, **window, **common)
        detect >> alerts
        if not job.population:
            alerts >> ForecastOnDemandOperator(
                task_id="forecast",
                job_id=found,
                duration="{{ params.forecast or '' }}",
                elastic_conn_id=connections.learn,
                kibana_conn_id=connections.kibana,
            )
    return dag


def _schedule(job: AnomalyJob) -> Any:
    if job.mode == "realtime":
        return CronTriggerTimetable(job.schedule or REALTIME_SCHEDULE, timezone="UTC")
    if job.schedule is None:
        return None
    key_format = "%Y-%m-%dT%H" if hourly(job.schedule) else "%Y-%m-%d"
    return CronPartitionTimetable(job.schedule, timezone="UTC", run_offset=-1, key_format=key_format)


def hourly(cron: str) -> bool:
    """Whether a schedule runs more often than once a day: then each run's partition is an hour, else a day."""
    hour = cron.split()[1] if len(cron.split()) > 1 else cron
    return hour == "@hourly" or (not hour.isdigit() and not hour.startswith("@"))


def _params(job: AnomalyJob) -> dict[str, Param]:
    forecast = {} if job.population else {"forecast": _FORECAST}
    if job.mode == "realtime":
        since = "ISO time; empty: a day before the run."
        return {
            "since": Param(None, type=["null", "string"], format="date-time", description=f"Alerts since. {since}"),
            **forecast,
        }
    return {
        "day": Param(
            None,
            type=["null", "string"],
            pattern=r"^\d{4}-\d{2}-\d{2}(T\d{2})?$",
            description="UTC day (2026-11-10) or hour (2026-11-10T13) to learn when triggered by hand.",
        ),
        "replay": Param(
            "changed",
            enum=["changed", "always"],
            description="always: learn the partition again although its documents are the same.",
        ),
        **forecast,
    }


def _page(job: str) -> str:
    # `<job>_v2` and the DAG's name: the UI would take them for HTML tags.
    return (sys.modules[__name__].__doc__ or "").replace("<job>", job)
