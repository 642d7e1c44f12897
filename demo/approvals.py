"""The person of the tour: answers what promotions ask, through Airflow's API."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from demo.airflow_server import AirflowServer

APPROVER = "ana"
REASON = "figures on the holdout are good"


@dataclass
class Approvals:
    """Approves, as a named person, whatever the promotions of some DAGs ask.

    `patience` is how many seconds a question stands before it is answered. An answer that comes before the scheduler
    has noticed the pause makes it take the try for lost and ask again in a new one, half a minute later. People are
    slower than that, so the tour is, too.
    """

    airflow: AirflowServer
    dag_ids: Iterable[str]
    patience: float = 2.0
    runs: dict[str, str] = field(default_factory=dict)
    """DAG → its newest run that was seen open."""
    answered: set[tuple[str, str, int]] = field(default_factory=set)
    """DAG, run and try of each question that was answered."""
    _asked: dict[tuple[str, str, int], float] = field(default_factory=dict)

    def answer(self) -> dict[str, str]:
        """Answer what has been asked for long enough; return what the open runs are at, by DAG."""
        going_on: dict[str, str] = {}
        for dag_id in self.dag_ids:
            for run in reversed(self.airflow.unfinished(dag_id)):
                run_id = run["dag_run_id"]
                self.runs[dag_id] = run_id
                tasks = self.airflow.tasks(dag_id, run_id)
                going_on[dag_id] = current(tasks)
                for task in tasks:
                    if task["task_id"] == "approve" and task["state"] in {"awaiting_input", "deferred"}:
                        self._consider((dag_id, run_id, task["try_number"]))
        return going_on

    def _consider(self, question: tuple[str, str, int]) -> None:
        now = time.monotonic()
        patient = now - self._asked.setdefault(question, now) >= self.patience
        if patient and question not in self.answered and self._approve(*question[:2]):
            self.answered.add(question)

    def _approve(self, dag_id: str, run: str) -> bool:
        answer = self.airflow.call(
            "PATCH",
            f"dags/{dag_id}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails",
            user=APPROVER,
            expect=(404, 409),
            json={"chosen_options": ["Approve"], "params_input": {"reason": REASON}},
        )
        return "chosen_options" in (answer or {})


def current(tasks: list[dict]) -> str:
    """What a run is at, for the screen."""
    working = [task for task in tasks if task["state"] not in {None, "success", "skipped", "scheduled", "none"}]
    return ", ".join(f"{task['task_id']} ({task['state']})" for task in working) or "scheduling"
