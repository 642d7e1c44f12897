"""docs/adopting.md as its reader walks it: which terminal each block is typed into, and what the page says they see."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from docs.pages import ROOT
from docs.reader_world import PATIENCE_SECONDS, World, wait_until
from docs.steps import Step, Walk

PAGE = (ROOT / "docs" / "adopting.md").read_text(encoding="utf-8")
MODEL = "unusual_action"
HISTORY = range(4, 20)
"""The days of the backfill, each so many days ago."""


def day(ago: int) -> str:
    return (datetime.now(UTC) - timedelta(days=ago)).date().isoformat()


def sandbox_answers(world: World, line: str, said: str) -> None:
    terminal = world.terminal("clone sandbox")

    def answers() -> bool:
        terminal.stays()
        try:
            return all(requests.get(url, timeout=5).ok for url in (world.elasticsearch, f"{world.kibana}/api/status"))
        except requests.ConnectionError:
            return False

    wait_until(answers, "the sandbox to answer")


def wheel_and_data(world: World, line: str, said: str) -> None:
    if line.startswith("make wheel"):
        assert len(list((world.clone / "build/dist").glob("airflow_provider_elastic_ml-*.whl"))) == 1
    if "lendpath generate" not in line:
        return
    audit = world.folder / "audit"
    events = {path.stem: path.read_text().splitlines() for path in (audit / "internal_audit").glob("*.ndjson")}
    assert sorted(events) == [day(ago) for ago in range(19, 0, -1)], "19 days, of which yesterday is the last"
    working = [len(records) for records in events.values()]
    assert 3_000 < sum(working) / len(working) < 5_000, "about 4,000 events a day"
    verdicts = [json.loads(line) for path in (audit / "verdicts").glob("*.ndjson") for line in path.open()]
    assert {"confirmed"} < {verdict["verdict"] for verdict in verdicts}
    fields = {key for records in events.values() for record in records[:100] for key in json.loads(record)}
    assert not fields & {"verdict", "label", "fraud", "attack", "truth"}, "nothing in an event says whether it did harm"


def package_works(world: World, line: str, said: str) -> None:
    if "doctor" in line:
        assert "All 6 checks passed" in said
    if " init " in line:
        assert (world.folder / "repository/include/project.yml").exists()
        assert (world.folder / "repository/dags/elastic_setup.py").exists()


def folder_is_completed(world: World) -> None:
    """What the page asks for between its blocks: the path of the verdicts, and one more check, which finds a typo."""
    include = world.folder / "repository/include"
    [path] = re.findall(r"In `include/sources/verdicts.yml` change the path to `([^`]+)`", PAGE)
    verdicts = include / "sources" / "verdicts.yml"
    text, changed = re.subn(r'(path: )"[^"]+"', rf'\g<1>"{world.here(path)}"', verdicts.read_text())
    assert changed == 1
    verdicts.write_text(text)
    terminal = world.terminal("repository")
    terminal.type("python -m elastic_ml check include")
    model = include / "models" / f"{MODEL}.yml"
    right = model.read_text()
    model.write_text(right.replace("label_delay", "label_dely"))
    told = terminal.type("! python -m elastic_ml check include")
    model.write_text(right)
    assert re.search(rf"{MODEL}\.yml:\d+", told), told
    assert "Did you mean label_delay?" in told, told


def airflow_is_there(world: World, line: str, said: str) -> None:
    if not line.startswith("airflow standalone"):
        return
    terminal = world.terminal("repository")
    parts = ("metadatabase", "scheduler", "dag_processor", "triggerer")

    def healthy() -> bool:
        terminal.stays()
        url = f"http://localhost:{world.ports['airflow_port']}/api/v2/monitor/health"
        try:
            health = requests.get(url, timeout=5).json()
        except (requests.RequestException, ValueError):
            return False
        return all((health.get(part) or {}).get("status") == "healthy" for part in parts)

    wait_until(healthy, "Airflow to be healthy")
    assert set(world.airflow.passwords) == {"admin", "ana"}
    world.airflow.wait_for_dag("elastic_setup", PATIENCE_SECONDS)


def setup_is_green(world: World, line: str, said: str) -> None:
    if "unpause" in line:
        assert re.search(r"elastic_setup\W+True", said), "it prints the state that it found, `is_paused True`"
    if "trigger" in line:
        [run] = world.airflow.runs("elastic_setup")
        finish(world, "elastic_setup", run["dag_run_id"])
        table = log(world, "elastic_setup", run["dag_run_id"], "setup")
        assert re.search(r"^ILM policy +shop-audit +created", table, re.MULTILINE), (
            f"a table of what was created: {table}"
        )


def history_is_loaded(world: World, line: str, said: str) -> None:
    if "unpause" in line:
        for dag_id in ("audit_ingest", f"train_{MODEL}", f"promote_{MODEL}"):
            assert re.search(rf"{dag_id}\W+True", said), said
    if "backfill" not in line:
        return

    def runs() -> list[dict[str, Any]]:
        return world.airflow.runs("audit_ingest", run_type=["backfill"])

    def over() -> bool:
        return len(runs()) == len(HISTORY) and all(run["state"] in {"success", "failed"} for run in runs())

    wait_until(over, "the sixteen runs to be green")
    assert {run["state"] for run in runs()} == {"success"}
    assert {run["partition_key"] for run in runs()} == {day(ago) for ago in HISTORY}
    yesterday = world.airflow.runs("audit_ingest", run_type=["scheduled"])
    assert [run["partition_key"] for run in yesterday] == [day(1)], "unpausing has started yesterday's run, too"


def candidate_is_approved(world: World, line: str, said: str) -> None:
    airflow, promote = world.airflow, f"promote_{MODEL}"
    [training] = airflow.runs(f"train_{MODEL}")
    finish(world, f"train_{MODEL}", training["dag_run_id"])
    [run] = wait_until(lambda: airflow.runs(promote), "the candidate to start the promotion")
    path = f"dags/{promote}/dagRuns/{run['dag_run_id']}/taskInstances/approve/-1/hitlDetails"
    answer = {"chosen_options": ["Approve"], "params_input": {"reason": "figures on the holdout are good"}}
    answered: set[int] = set()
    for tasks in airflow.watch(promote, run["dag_run_id"], PATIENCE_SECONDS):
        [approve] = [task for task in tasks if task["task_id"] == "approve"]
        if approve["state"] not in {"awaiting_input", "deferred"} or approve["try_number"] in answered:
            continue
        # A question that is answered before Airflow has noticed it is asked again; people are slower than that.
        time.sleep(3)
        assert "Average precision" in airflow.call("GET", path)["body"], "the model card stands beside it"
        airflow.call("PATCH", path, user="ana", expect=(404, 409), json=answer)
        answered.add(approve["try_number"])
    assert answered, "it waits at `approve`"


def event_is_scored(world: World, line: str, said: str) -> None:
    if line.startswith("airflow"):
        [run] = world.airflow.runs("audit_ingest", run_type=["manual"])
        finish(world, "audit_ingest", run["dag_run_id"])
        requests.post(f"{world.elasticsearch}/_refresh", timeout=30).raise_for_status()
        return
    [hit] = json.loads(said[said.index("{") :])["hits"]["hits"]
    scored = hit["_source"]["ml"][MODEL]
    assert 0.0 < scored["score"] <= 1.0
    assert scored["reason"], "with the features that made it so"
    assert hit["_source"]["event"]["dataset"] == "shop.audit"
    exists = {"exists": {"field": f"ml.{MODEL}.score"}}
    found = world.search("logs-shop.audit-default/_search?size=0", query=exists, track_total_hits=True)
    assert found["hits"]["total"]["value"] > 2_000, "every event of that day, and only that day's, is scored"


def bank_is_started(world: World) -> None:
    """The folder of the first row of the second part's table, in which the block of that part is typed."""
    [begin] = re.findall(r"`(python -m elastic_ml init include --name bank [^`]+)`", PAGE)
    terminal = world.terminal("bank")
    terminal.type(". ../repository/.venv/bin/activate")
    terminal.type(". ../repository/env.sh")
    terminal.type(begin)


def plan_names_the_stream(world: World, line: str, said: str) -> None:
    assert re.search(r"^mapping +logs-ping_one\.audit", said, re.MULTILINE), said
    assert re.search(r"^ingest pipeline +logs-ping_one\.audit@custom", said, re.MULTILINE), said


def finish(world: World, dag_id: str, run: str) -> None:
    """Wait until a run is green; a failed one raises with the failed task's log."""
    for _ in world.airflow.watch(dag_id, run, PATIENCE_SECONDS):
        pass


def log(world: World, dag_id: str, run: str, task: str) -> str:
    """The log of the last try of a task."""
    path = f"dags/{dag_id}/dagRuns/{run}/taskInstances/{task}"
    number = world.airflow.call("GET", path)["try_number"]
    content = world.airflow.call("GET", f"{path}/logs/{number}")["content"]
    return "\n".join(str(entry.get("event", "")) if isinstance(entry, dict) else str(entry) for entry in content)


WALK = Walk(
    files="repository",
    steps=(
        Step("make sandbox", "clone sandbox", sandbox_answers),
        Step("make wheel", "clone", wheel_and_data),
        Step("python3 -m venv", "repository", package_works),
        Step("export AIRFLOW_HOME", "repository", file="env.sh", before=folder_is_completed),
        Step(". env.sh\npython -m elastic_ml doctor", "repository", airflow_is_there),
        Step(". .venv/bin/activate", "repository second", setup_is_green),
        Step("for dag in", "repository second", history_is_loaded),
        Step("airflow dags trigger train_", "repository second", candidate_is_approved),
        Step("airflow dags trigger audit_ingest", "repository second", event_is_scored),
        Step("python -m elastic_ml plan", "bank", plan_names_the_stream, before=bank_is_started),
    ),
)
