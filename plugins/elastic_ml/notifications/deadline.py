"""A run that takes too long says so: as an alert document, which the dashboard "Model operations" shows."""

import logging
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk.definitions.deadline import DeadlineAlert

log = logging.getLogger(__name__)


def deadline(interval: timedelta, *, elastic_conn_id: str, alerts: str) -> "DeadlineAlert | None":
    """Return the deadline of a DAG: counted from when its run was queued, as partitioned runs have no logical date.

    None under `airflow dags test`: there no scheduler looks after deadlines, and Airflow 3.3.1 and 3.3.2 end a run that
    succeeded with a traceback when its DAG has one (apache/airflow#73428).

    :param interval: how long a run may take, waiting for a person included.
    :param elastic_conn_id: connection that writes the alert.
    :param alerts: the alerts stream.
    """
    if sys.argv[1:3] == ["dags", "test"]:
        return None
    from airflow.sdk.definitions.callback import AsyncCallback
    from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=interval,
        callback=AsyncCallback(
            f"{__name__}.missed",
            kwargs={"elastic_conn_id": elastic_conn_id, "alerts": alerts, "seconds": interval.total_seconds()},
        ),
    )


async def missed(
    *, elastic_conn_id: str, alerts: str, seconds: float, context: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write one alert document for a run that is not done in time; runs in the triggerer.

    The document's id is the run's, so that a second call adds nothing.

    :param context: what Airflow says of the run: `dag_run` with `dag_id` and `dag_run_id`.
    """
    from elastic_ml.exceptions import ConflictError
    from elastic_ml.hooks.elastic import ElasticHook

    run = (context or {}).get("dag_run") or {}
    dag_id, run_id = str(run.get("dag_id", "")), str(run.get("dag_run_id") or run.get("run_id") or "")
    sentence = (
        f"The run {run_id} of {dag_id} is not done {timedelta(seconds=seconds)} after it was queued. Look at the log "
        "of the task that runs or waits."
    )
    log.warning("%s", sentence)
    document = {
        "@timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": {"kind": "alert"},
        "event_type": "deadline",
        "status": "error",
        "kind": "rule",
        "name": dag_id,
        "severity": "medium",
        "labels": {"airflow_dag": dag_id, "airflow_run": run_id},
        "message": sentence,
    }
    identity = sha256(f"deadline|{dag_id}|{run_id}".encode()).hexdigest()[:32]
    document["event"] = {"kind": "alert", "id": identity}
    client = await ElasticHook(elastic_conn_id, opaque_id="elastic-ml-deadline").async_client()
    try:
        await client.create(index=alerts, id=identity, document=document, require_data_stream=True)
    except ConflictError:
        log.info("The alert for %s of %s was written before.", run_id, dag_id)
    finally:
        await client.close()
    return {"alert": identity}
