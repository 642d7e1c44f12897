"""A model's life by whole DAG runs: promoted, rescored, exported, rolled back, imported, taken out of scoring."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clinic.lifecycle import InProduction
from clinic.world import Clinic
from harness.approved_dag_runs import REASON, ApprovedDagRuns
from harness.dag_runs import ROOT, DagRun

pytestmark = pytest.mark.long
CARRIED = "misuse-20260301-abcdef03-1"
FILES = ("promote", "rollback", "rescore", "exchange", "record_verdict")


@pytest.fixture(scope="module")
def life(_trained: Clinic, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The runs in their order, by what they do, and what was in place after each."""
    _trained.as_trained()
    home = tmp_path_factory.mktemp("airflow")
    shutil.copytree(_trained.folder, home / "include")
    production = InProduction(_trained)
    production.put(production.old)
    production.judged(production.new)
    _trained.another_version(CARRIED, day="2026-03-01", stage="retired")
    connections = {"elasticsearch_default": {"conn_type": "elastic", "host": _trained.sandbox.elasticsearch_url}}
    settings = {"ELASTIC_ML__EXCHANGE_FOLDER": f"file://{home}/exchange/"}
    seen: dict[str, Any] = {"old": production.old, "new": production.new}
    steps: list[tuple[str, str, dict[str, Any]]] = [
        ("promoted", "promote_misuse", {"model_id": production.new}),
        ("promoted again", "promote_misuse", {"model_id": production.new}),
        ("rescored", "rescore", {"model": "misuse", "window": "2d", "until": "2026-11-16"}),
        ("exported", "export_model", {"model": "misuse", "model_id": CARRIED}),
        ("rolled back", "rollback_misuse", {"reason": "too many alarms"}),
        ("imported", "import_model", {"file": f"{CARRIED}.zip", "day": "2026-11-16"}),
        ("judged", "record_verdict", {"event_id": "access-000004", "verdict": "confirmed"}),
        ("withdrawn", "rollback_misuse", {"to": "none"}),
    ]
    with ApprovedDagRuns(home, [ROOT / "dags" / f"{name}.py" for name in FILES], connections, **settings) as airflow:
        for what, dag_id, conf in steps:
            if what == "imported":
                # As if this were another environment, which has never heard of the model.
                _trained.client.ml.delete_trained_model(model_id=CARRIED)
                _trained.client.delete(index=_trained.names.model_cards, id=CARRIED, refresh=True)
            seen[what] = airflow.run(dag_id, conf)
            seen[f"in place, {what}"] = production.in_place()
            seen["log"] = airflow.log()
    seen["history"] = production.history()
    yield seen
    for index in _trained.client.indices.get(index="clinicml-scores-*"):
        _trained.client.indices.delete(index=index)


def log(life: dict[str, Any]) -> str:
    lines = str(life["log"]).splitlines()
    return "\n".join(line[:300] for line in lines if "Error" in line or "failed" in line)[-3000:]


def states(run: DagRun) -> dict[str, str]:
    return {task: state.rpartition(".")[2].lower() for task, state in run.states.items()}


def test_a_candidate_passes_gate_and_person_into_production(life: dict[str, Any]) -> None:
    run = life["promoted"]
    assert states(run) == dict.fromkeys(("gate", "approve", "switch", "record"), "success"), log(life)
    assert run.values["switch"]["approved_by"] == "ana"
    assert run.values["record"]["reason"] == REASON
    place = life["in place, promoted"]
    assert (place["champion"], place["previous"]) == (life["new"], life["old"])


def test_a_champion_that_is_offered_again_asks_nobody(life: dict[str, Any]) -> None:
    run = life["promoted again"]
    assert states(run) == dict.fromkeys(("gate", "approve", "switch", "record"), "skipped")
    assert "success" in run.state
    assert life["in place, promoted again"] == life["in place, promoted"]


def test_the_past_is_scored_with_the_champion(life: dict[str, Any]) -> None:
    assert states(life["rescored"]) == {"rescore": "success"}, log(life)
    assert life["rescored"].values["rescore"]["model_id"] == life["new"]
    assert life["rescored"].values["rescore"]["documents"] == 300


def test_a_rollback_puts_the_one_before_into_production(life: dict[str, Any]) -> None:
    assert states(life["rolled back"]) == {"rollback": "success"}, log(life)
    assert life["rolled back"].values["rollback"]["user"] == "dag_test"
    assert life["in place, rolled back"]["champion"] == life["old"]


def test_an_exported_model_is_taken_in_judged_and_offered(life: dict[str, Any]) -> None:
    assert states(life["exported"]) == {"export": "success"}, log(life)
    exported, imported = life["exported"].values["export"], life["imported"]
    assert states(imported) == dict.fromkeys(("import", "evaluate", "candidate"), "success"), log(life)
    assert exported["model_id"] == imported.values["import"]["model_id"] == CARRIED
    assert imported.values["import"]["sha256"] == exported["sha256"]
    assert imported.values["evaluate"]["champion"] == life["old"]
    assert imported.values["candidate"]["job_id"].startswith("misuse-20261116-")


def test_a_verdict_is_kept_in_the_name_of_who_triggered_it(life: dict[str, Any]) -> None:
    assert states(life["judged"]) == {"record": "success"}, log(life)
    assert life["judged"].values["record"]["decided_by"] == "dag_test"


def test_a_model_is_taken_out_of_scoring(life: dict[str, Any]) -> None:
    assert states(life["withdrawn"]) == {"rollback": "success"}, log(life)
    assert life["in place, withdrawn"]["champion"] is None
    assert life["in place, withdrawn"]["pipeline"] is None


def test_the_registry_tells_the_whole_story(life: dict[str, Any]) -> None:
    told = [event[:4] for event in life["history"] if event[0] in {"deployed", "rolled_back"}]
    assert told == [
        ("deployed", "success", life["old"], "champion"),
        ("deployed", "success", life["new"], "champion"),
        ("rolled_back", "success", life["old"], "champion"),
        ("rolled_back", "success", life["old"], "retired"),
    ]


def test_rolling_back_and_rescoring_take_one_task_each(tmp_path: Path) -> None:
    from clinic.world import CLINIC

    from elastic_ml.stages import exchange, record_verdict, rescore, rollback

    folder = shutil.copytree(CLINIC, tmp_path / "clinic")
    dags = {}
    for stage in (exchange, record_verdict, rescore, rollback):
        dags |= stage.build(folder)
    assert {name: len(dag.tasks) for name, dag in dags.items()} == {
        "export_model": 1,
        "import_model": 3,
        "record_verdict": 1,
        "rescore": 1,
        "rollback_misuse": 1,
        "rollback_stay": 1,
    }
    for name, dag in dags.items():
        assert dag.doc_md.startswith(name)
        assert "When it fails" in dag.doc_md
        assert {"elastic-ml", "clinic"} <= set(dag.tags)
        assert dag.params.validate() is not None
