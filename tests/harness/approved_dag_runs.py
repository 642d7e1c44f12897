"""Whole DAG runs whose approvals a person gives: as `harness.dag_runs`, with somebody at the API.

`dag.test()` waits for ever where a task asks a person. Here a thread of the same process answers every request through
Airflow's own API, as the user `ana`, and leaves the rest of that user's form empty but for a reason.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from harness import dag_runs

USER = "ana"
REASON = "figures are fine"


class ApprovedDagRuns(dag_runs.DagRuns):
    """An Airflow in which `ana` approves whatever she is asked."""

    module = "harness.approved_dag_runs"


def approve_everything(client: Any) -> None:
    """Look for open requests, and approve them."""
    while True:
        for dag_id, run_id, task_id in _open_requests():
            path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
            answer = client.patch(path, json={"chosen_options": ["Approve"], "params_input": {"reason": REASON}})
            print(f"{USER} approves {dag_id} {run_id}: {answer.status_code} {answer.text[:500]}", flush=True)
        time.sleep(0.3)


def _open_requests() -> list[tuple[str, str, str]]:
    # The API's own list of requests takes ten times as long.
    from airflow.models.hitl import HITLDetail  # noqa: TID251
    from airflow.models.taskinstance import TaskInstance  # noqa: TID251
    from airflow.utils.session import create_session
    from sqlalchemy import select

    asked = select(TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id).join(
        HITLDetail, HITLDetail.ti_id == TaskInstance.id
    )
    with create_session() as session:
        return [tuple(row) for row in session.execute(asked.where(HITLDetail.responded_at.is_(None)))]


def _api() -> Any:
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    app = create_app(apps="core")
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=USER, role="admin"))
    return TestClient(app, headers={"Authorization": f"Bearer {token}"})


if __name__ == "__main__":
    from airflow.utils.db import initdb

    answers = os.dup(1)
    os.dup2(2, 1)  # until the runs begin, nothing that is said is an answer
    initdb()
    # Made before the thread starts: two threads that import Airflow at once wait for each other for ever.
    api = _api()
    _open_requests()
    threading.Thread(target=approve_everything, args=(api,), daemon=True).start()
    os.dup2(answers, 1)
    dag_runs.main()
