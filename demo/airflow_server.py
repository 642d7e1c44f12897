"""An Airflow of the tour's own: standalone, SQLite, two named users, spoken to over its REST API."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from demo.sessions import Sessions, TourError, free_port

ROOT = Path(__file__).resolve().parents[1]
INCLUDE = ROOT / "include"
USERS = ("admin", "ana")


@dataclass
class AirflowServer:
    """A running Airflow; every call is one request of its public API."""

    url: str
    passwords: dict[str, str]
    _tokens: dict[str, str] = field(default_factory=dict)
    _http: requests.Session = field(default_factory=requests.Session)

    def call(self, method: str, path: str, *, user: str = "admin", expect: tuple[int, ...] = (), **kwargs: Any) -> Any:
        """Send one request as ``user`` and return the JSON answer; statuses in ``expect`` are answers, not errors."""
        for attempt in range(4):
            try:
                answer = self._http.request(
                    method,
                    f"{self.url}/api/v2/{path}",
                    headers={"Authorization": f"Bearer {self._token(user)}"},
                    timeout=90,  # SQLite lets a writer wait for 60 s, as while a backfill makes its runs
                    **kwargs,
                )
            except (requests.ConnectionError, requests.ReadTimeout) as failure:
                # What was read too slowly may have been done: only a question is asked again.
                if attempt == 3 or (isinstance(failure, requests.ReadTimeout) and method != "GET"):
                    raise
                time.sleep(1 + attempt)
                continue
            if answer.status_code == 401 and attempt == 0:
                self._tokens.pop(user, None)
                continue
            if answer.status_code >= 500 and attempt < 3:
                time.sleep(1 + attempt)
                continue
            break
        if answer.status_code >= 400 and answer.status_code not in expect:
            raise TourError(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:600]}")
        return answer.json() if answer.content else None

    def _token(self, user: str) -> str:
        if user not in self._tokens:
            answer = self._http.post(
                f"{self.url}/auth/token", json={"username": user, "password": self.passwords[user]}, timeout=30
            )
            answer.raise_for_status()
            self._tokens[user] = answer.json()["access_token"]
        return self._tokens[user]

    def put_connection(self, connection: dict[str, Any]) -> None:
        """Create a connection or bring it up to date, so that the UI shows it (one from the environment is hidden)."""
        answer = self.call("GET", f"connections/{connection['connection_id']}", expect=(404,))
        if "connection_id" in (answer or {}):
            self.call("PATCH", f"connections/{connection['connection_id']}", json=connection)
        else:
            self.call("POST", "connections", json=connection)

    def wait_for_dag(self, dag_id: str, seconds: float = 60.0) -> None:
        """Wait until the DAG is parsed and serialised; an import error is shown instead of a time-out."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if "dag_id" in (self.call("GET", f"dags/{dag_id}", expect=(404,)) or {}):
                return
            errors = self.call("GET", "importErrors")["import_errors"]
            if errors:
                raise TourError(f"Airflow cannot import {errors[0]['filename']}:\n{errors[0]['stack_trace']}")
            time.sleep(0.5)
        raise TourError(f"DAG {dag_id} did not appear within {seconds:.0f} s; is its model file valid?")

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run; consumers of assets must be unpaused before their producers run."""
        self.wait_for_dag(dag_id)
        self.call("PATCH", f"dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, *, conf: dict | None = None, partition_key: str | None = None) -> str:
        """Start a run and return its id."""
        body: dict[str, Any] = {"logical_date": None, "conf": conf or {}}
        if partition_key:
            body["partition_key"] = partition_key
        return self.call("POST", f"dags/{dag_id}/dagRuns", json=body)["dag_run_id"]

    def runs(self, dag_id: str, **filters: Any) -> list[dict[str, Any]]:
        """Return the DAG's runs, newest first, however many pages they take."""
        found: list[dict[str, Any]] = []
        while True:
            parameters = {"limit": 100, "offset": len(found), "order_by": "-run_after", **filters}
            page = self.call("GET", f"dags/{dag_id}/dagRuns", params=parameters)["dag_runs"]
            found += page
            if len(page) < 100:
                return found

    def unfinished(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the runs that an interrupted tour left queued or running."""
        return self.runs(dag_id, state=["queued", "running"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the run's task instances."""
        return self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return one value that a task kept, or None."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        answer = self.call("GET", path, expect=(404,), params={"deserialize": "true"})
        return (answer or {}).get("value")

    def watch(
        self, dag_id: str, run_id: str, seconds: float = 600.0, every: float = 0.5
    ) -> Generator[list[dict[str, Any]], None, None]:
        """Yield the run's task instances every half second until it has succeeded; raise when it failed.

        :raises TourError: the run failed (with the last lines of the failed task's log) or took too long.
        """
        until = time.monotonic() + seconds
        while True:
            run = self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}")
            tasks = self.tasks(dag_id, run_id)
            yield tasks
            if run["state"] == "success":
                return
            if run["state"] == "failed":
                raise TourError(self._explain(dag_id, run_id, tasks))
            if time.monotonic() > until:
                waiting = ", ".join(f"{task['task_id']} {task['state']}" for task in tasks)
                raise TourError(f"{dag_id} was not done after {seconds:.0f} s ({waiting})")
            time.sleep(every)

    def _explain(self, dag_id: str, run_id: str, tasks: list[dict[str, Any]]) -> str:
        for task in tasks:
            if task["state"] == "failed":
                path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
                content = (self.call("GET", path, expect=(404,)) or {}).get("content", [])
                lines = [_log_line(entry) for entry in content][-25:]
                return f"{dag_id}: task {task['task_id']} failed.\n" + "\n".join(filter(None, lines))
        return f"{dag_id} failed: {', '.join(task['task_id'] + ' ' + str(task['state']) for task in tasks)}"


def _log_line(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    details = entry.get("error_detail") or []
    errors = [f"  {error.get('exc_type')}: {error.get('exc_value')}" for error in details if isinstance(error, dict)]
    return "\n".join([str(entry.get("event", "")), *errors])


def start_airflow(
    sessions: Sessions,
    *,
    first_live_day: str,
    dags: Path = ROOT / "dags",
    settings: Mapping[str, str] | None = None,
) -> AirflowServer:
    """Start Airflow under ``<folder>/airflow`` and return at once; `wait_until_healthy` says when it is there.

    :param first_live_day: no schedule fires before this day, so that unpausing a DAG starts nothing by itself.
    :param dags: the folder of stage files; their project lies beside it in ``include/``.
    :param settings: more of Airflow's configuration, as ``{"SECTION__OPTION": value}``.
    """
    home = sessions.folder / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    kept = _secrets(home / "secrets.json")
    (home / "passwords.json").write_text(json.dumps(kept["passwords"]))
    (home / "passwords.json").chmod(0o600)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    configuration = {
        # SQLite has one writer at a time; five seconds, its default, are too short a wait on a busy machine.
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=60",
        "CORE__DAGS_FOLDER": str(dags),
        "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        # SQLite: with more, the scheduler, the triggerer and the dag processor die of "database is locked".
        "CORE__PARALLELISM": "4",
        "CORE__FERNET_KEY": kept["fernet_key"],
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,ana:user",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "CORE__TEST_CONNECTION": "Enabled",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__BASE_URL": url,
        "API__WORKERS": "1",
        "API__SECRET_KEY": kept["secret_key"],
        "API_AUTH__JWT_SECRET": kept["jwt_secret"],
        "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "5",
        "LOGGING__WORKER_LOG_SERVER_PORT": str(free_port("0.0.0.0")),  # noqa: S104 - Airflow binds these two itself
        "LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port("0.0.0.0")),  # noqa: S104
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
        # A killed worker is noticed in half a minute instead of five.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
        "ELASTIC_ML__START_DATE": first_live_day,
        # A wait that ends before the scheduler has noticed its deferral is taken for a lost task and tried again.
        "ELASTIC_ML__POLL_INTERVAL": "3",
        # Most jobs here take seconds: to wait for those in the worker is quicker than to defer, and safer.
        "ELASTIC_ML__DEFER_AFTER": "10",
        **(settings or {}),
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    environment |= {f"AIRFLOW__{key}": value for key, value in configuration.items()}
    environment |= {"AIRFLOW_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    sessions.start("airflow", [sys.executable, "-m", "airflow", "standalone"], environment)
    return AirflowServer(url, kept["passwords"])


def wait_until_healthy(sessions: Sessions, server: AirflowServer, seconds: float = 240.0) -> None:
    """Wait until the API, the scheduler, the dag processor and the triggerer all report themselves healthy."""
    until = time.monotonic() + seconds
    parts = ("metadatabase", "scheduler", "dag_processor", "triggerer")
    while time.monotonic() < until:
        sessions.check("airflow")
        try:
            health = requests.get(f"{server.url}/api/v2/monitor/health", timeout=5).json()
            if all((health.get(part) or {}).get("status") == "healthy" for part in parts):
                return
        except (requests.RequestException, ValueError):
            pass  # not listening yet
        time.sleep(0.3)
    raise TourError(f"Airflow was not healthy after {seconds:.0f} s; see {sessions.folder}/logs/airflow.log")


def _secrets(file: Path) -> dict[str, Any]:
    """Return this Airflow's keys and passwords, made once and readable by the owner only."""
    if not file.exists():
        made = {
            "passwords": {user: secrets.token_urlsafe(9) for user in USERS},
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "secret_key": secrets.token_urlsafe(32),
            "jwt_secret": secrets.token_urlsafe(64),
        }
        partial = file.with_suffix(".partial")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(made))
        partial.replace(file)
    return json.loads(file.read_text())
