"""Northbank's Airflow repository on a cluster, and the tasks of its own DAG files without a scheduler."""

import math
import random
import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from clinic.world import ClinicApi
from harness.task_runner import Result, TaskRunner

from elastic_ml.project import Project, load_project

NORTHBANK = Path(__file__).parent / "northbank"
DAY = date(2026, 11, 16)
DAYS, HOLDOUT, DELAY = 12, 3, 2
WINDOWS = {
    "day": f"{DAY}",
    "label_delay": f"{DELAY}d",
    "train_window": f"{DAYS - HOLDOUT - DELAY}d",
    "holdout_window": f"{HOLDOUT}d",
}
APPLICATIONS = ("PingOne Admin Console", "Northbank Online", "Northbank Branch")


@dataclass
class Adopter:
    """A repository's folder of DAG files with its project folder, and its runs against one cluster."""

    url: str
    folder: Path
    client: Any
    project_folder: str = "project"
    xcoms: dict[tuple[str, str], Any] = field(default_factory=dict)

    @property
    def project(self) -> Project:
        return load_project(self.folder / self.project_folder)

    def runner(self, file: str, dag_id: str, task_id: str, *, user: str | None = "ines", **conf: Any) -> TaskRunner:
        """A task as Airflow finds it: by parsing the repository's own DAG file."""
        project = self.project
        dag_id = project.settings.dag_id_prefix + dag_id
        connections = set(project.settings.connections.model_dump().values())
        runner = TaskRunner(
            lambda: runpy.run_path(str(self.folder / f"{file}.py"))[dag_id].get_task(task_id),
            connections=dict.fromkeys(connections - {project.settings.connections.kibana}, self.url),
            xcoms=self.xcoms,
            dag_id=dag_id,
            conf=conf,
            triggering_user_name=user,
        )
        runner.api = ClinicApi(**vars(runner.api))
        return runner

    def run(self, file: str, dag_id: str, task_id: str, **conf: Any) -> Result:
        """Run one task through its deferrals, and keep its XComs for the next ones."""
        result = self.runner(file, dag_id, task_id, **conf).complete()
        assert result.state == "success", f"{dag_id}.{task_id} is {result.state}: {result.error}"
        self.xcoms.update({(task_id, key): value for key, value in result.xcoms.items()})
        return result

    def set_up(self, mode: str = "apply") -> dict[str, Any]:
        return dict(self.run("elastic_setup", "elastic_setup", "setup", mode=mode).value)

    def train(self, model: str) -> dict[str, Any]:
        """From readiness to the model's card."""
        for task_id in ("readiness", "training_set", "train", "evaluate"):
            self.run("train", f"train_{model}", task_id, **WINDOWS)
        model_id = self.xcoms["evaluate", "return_value"]["model_id"]
        card: dict[str, Any] = self.client.get(index=self.project.names.model_cards, id=model_id)["_source"]
        return card

    def promote(self, model: str, model_id: str, *, approver: str = "mara") -> None:
        """Gate, a person's approval, and the switch."""
        self.run("promote", f"promote_{model}", "gate", model_id=model_id)
        asking = self.runner("promote", f"promote_{model}", "approve", model_id=model_id)
        assert asking.run().state == "awaiting_input"
        answer = {
            "chosen_options": ["Approve"],
            "params_input": {"reason": "fits"},
            "responded_at": datetime.now(UTC),
            "responded_by_user": {"id": approver, "name": approver},
            "timedout": False,
        }
        approved = asking._leg(("execute_complete", {"event": answer}))
        assert approved.state == "success", approved.error
        self.xcoms.update({("approve", key): value for key, value in approved.xcoms.items()})
        self.run("promote", f"promote_{model}", "switch", model_id=model_id)

    def judge(self, verdicts: Mapping[str, Mapping[str, Any]]) -> None:
        """Write verdicts (event id → the event) as their latest: all confirmed, the day after."""
        operations: list[dict[str, Any]] = []
        for event_id, event in verdicts.items():
            decided = datetime.fromisoformat(event["@timestamp"]) + timedelta(hours=20)
            document = {"event": {"id": event_id}, "verdict": "confirmed", "rank": 2, "decided_at": decided.isoformat()}
            operations += [{"index": {"_id": event_id}}, document]
        answer = self.client.bulk(index=self.project.names.labels, operations=operations, refresh=True)
        assert not answer["errors"], answer["items"][0]


def moments(a_day: int, days: int = DAYS) -> list[datetime]:
    """So many moments a day, evenly, up to the day before the training."""
    first = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) - timedelta(days=days)
    return [first + timedelta(seconds=86_400 * number / a_day) for number in range(days * a_day)]


def drawn(chance: random.Random, odds: float) -> bool:
    """Whether something with these log-odds happens."""
    return chance.random() < 1 / (1 + math.exp(-odds))


def identity_event(number: int, moment: datetime, chance: random.Random) -> tuple[dict[str, Any], bool]:
    """One event as the PingOne integration stores it, and whether it did harm: roles given at night, by contractors."""
    action = chance.choice(["user.access_allowed"] * 4 + ["role_assignment.created", "password.reset", "user.created"])
    population = chance.choice(["staff", "staff", "branches", "contractors"])
    person = f"{population}-{chance.randrange(12)}"
    failed = chance.random() < 0.1
    night = moment.hour < 6
    odds = -4.8 + 3.2 * (action == "role_assignment.created") + 2.6 * night + 2.0 * (population == "contractors")
    application = chance.choice(APPLICATIONS)
    kinds: Sequence[str] = ["user", "info", "access"] if action == "user.access_allowed" else ["user", "creation"]
    return {
        "@timestamp": moment.isoformat(),
        "client": {"user": {"id": f"app-{APPLICATIONS.index(application)}", "name": application}},
        "event": {
            "action": action,
            "category": ["iam", "configuration"],
            "dataset": "ping_one.audit",
            "id": f"activity-{number:06d}",
            "kind": "event",
            "outcome": "failure" if failed else "success",
            "type": list(kinds),
        },
        "ping_one": {
            "audit": {
                "actors": {
                    "client": {"type": "CLIENT"},
                    "user": {"type": "USER", "population": {"id": population}},
                },
                "resources": [{"type": "USER", "name": f"target-{number % 31}"}],
                "result": {"description": "Passed role access control"},
            }
        },
        "tags": ["forwarded", "ping_one-audit"],
        "user": {"id": person, "name": f"{person}@northbank.example"},
    }, drawn(chance, odds)
