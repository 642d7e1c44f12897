"""monitor_<model>: measures one day of the model in production, and asks for a training when it drifts on.

`wait_for_data` → `measure` → `drift`

| task | what it does |
|---|---|
| `wait_for_data` | waits, without a worker slot, until the day's events are ingested |
| `measure` | drift of inputs and score, coverage, precision, latency baseline; writes them to `logs-<prefix>.drift-*` |
| `drift` | starts `train_<model>`, if a feature was beyond its limit on `monitor.days` days in a row; else skipped |

**Drift** is the population stability index (PSI) of a day against the holdout's histograms in the model card. A day is
compared with the whole holdout and with each of its days, and the most similar one counts: a Monday is no mean week.
Its limit is `monitor.psi_limit`, or twice what the holdout's own days differ by. A day with few events (a Sunday, a
holiday) is judged together with those before it, and then does not count towards the days in a row.

**Coverage** is the share of the day's events that have a score; below 95 % it is breached, but no training mends it:
look at `ml.<model>.error` of the events. **Precision** is that of the day `label_delay` ago, among as many of its
highest scores as people review; below half of the holdout's it is breached. A regression has its mean absolute error.

**The latency baseline** of a version (`<prefix>-baselines`) is filled once, when it has served for 24 hours and 500
predictions; until then the latency rule is silent.

Outlier models have no champion: the inputs of a day are compared with the rows that their published run scored.

**When it runs:** daily, for the day before; or by hand for any day. Measuring a day again adds nothing.

| param | meaning | default |
|---|---|---|
| `day` | the day to measure (UTC) | the day before the run was due |

**When it fails:** `wait_for_data` names the partition that is missing. `measure` is skipped while nothing is in
production. Drift that nobody wants a training for: raise `monitor.psi_limit` in the model file, or pause this DAG.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, CronTriggerTimetable, Param

from elastic_ml.notifications.deadline import deadline
from elastic_ml.operators.monitor import EmitDriftOperator, MonitorOperator
from elastic_ml.sensors.monitored_day import MonitoredDaySensor
from elastic_ml.stages.shared import dag_arguments, per_model

if TYPE_CHECKING:
    from elastic_ml.project import Project
    from elastic_ml.project.model import Model

DAY = "{{ params.day or macros.ds_add(dag_run.run_after.strftime('%Y-%m-%d'), -1) }}"


def build(folder: Path | str) -> dict[str, DAG]:
    """The DAGs `monitor_<model>` of the project in `folder`, one per model file, by their ids."""
    return per_model(folder, "monitor", _monitor)


def _monitor(project: Project, model: Model, common: dict[str, Any]) -> DAG:
    name, uri = project.names.drift_asset(model.name)
    with DAG(
        project.names.dag_id("monitor", model.name),
        # Daily streams have their partitions by then; the sensor waits for those that are late.
        schedule=CronTriggerTimetable("0 2 * * *", timezone="UTC"),
        deadline=deadline(
            timedelta(hours=14), elastic_conn_id=project.settings.connections.learn, alerts=project.names.alerts
        ),
        **dag_arguments(
            project,
            sys.modules[__name__],
            model=model.name,
            owner=model.owner,
            tags=["monitor", model.kind, model.name],
            params={
                "day": Param(None, type=["null", "string"], format="date", description="The day to measure (UTC).")
            },
        ),
    ) as dag:
        waited = MonitoredDaySensor(task_id="wait_for_data", day=DAY, **common)
        measured = MonitorOperator(task_id="measure", day=DAY, **common)
        # A skipped task sends no event, so the one that may be skipped owns the outlet.
        drifted = EmitDriftOperator(task_id="drift", outlets=[Asset(name=name, uri=uri)], **common)
        waited >> measured >> drifted
    return dag
