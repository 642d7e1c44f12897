"""The operator and its DAG: what Airflow sees of setup."""

import runpy
import shutil
from pathlib import Path

import pytest
from harness.task_runner import TaskRunner

from elastic_ml.operators.setup import ElasticSetupOperator
from elastic_ml.project import load_project
from elastic_ml.stages import elastic_setup, shared

ROOT = Path(__file__).parents[3]
WEBSHOP = ROOT / "tests" / "elastic_ml" / "project" / "webshop"


def runner(sandbox, folder: Path = WEBSHOP, **params) -> TaskRunner:
    return TaskRunner(
        lambda: ElasticSetupOperator(
            task_id="setup",
            project_folder=str(folder),
            mode="{{ params.mode }}",
            overwrite_edited="{{ params.overwrite_edited }}",
        ),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
        params={"mode": "plan", "overwrite_edited": False, **params},
    )


def test_the_operator_applies_what_its_params_say_and_returns_the_table(sandbox):
    planned = runner(sandbox).complete()
    assert planned.state == "success"
    assert set(planned.value) == {"mode", "counts", "rows", "notes", "problems"}
    assert planned.value["counts"].get("created") is None
    applied = runner(sandbox, mode="apply").complete()
    assert applied.state == "success"
    assert applied.value["counts"]["created"] > 20
    assert {"kind": "data stream", "name": "logs-shop.audit-eu", "state": "created", "detail": ""} in applied.value[
        "rows"
    ]
    assert runner(sandbox, mode="verify").complete().state == "success"


def test_verify_fails_for_good_on_drift(sandbox):
    result = runner(sandbox, mode="verify").complete()
    assert result.state == "failed"
    assert "Run elastic_setup with mode=plan" in str(result.error)


def test_an_unknown_mode_is_refused(sandbox):
    result = runner(sandbox, mode="destroy").complete()
    assert "choose plan, verify or apply" in str(result.error)


def test_the_stage_file_builds_one_dag_with_a_page_and_a_safe_default():
    dags = elastic_setup.build(WEBSHOP)
    dag = dags["elastic_setup"]
    assert (dag.params["mode"], dag.params["overwrite_edited"]) == ("plan", False)
    assert dag.schedule is None
    assert dag.doc_md.startswith("elastic_setup: brings Elasticsearch")
    assert {"elastic-ml", "setup", "webshop"} == set(dag.tags)
    assert [task.task_id for task in dag.tasks] == ["setup", "repair"]
    assert dag.tasks[0].owner == "data-platform"


def test_a_parse_for_another_dag_builds_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "train_x")
    assert elastic_setup.build(WEBSHOP) == {}


def test_stages_skip_an_invalid_model_and_read_only_the_one_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    folder = Path(shutil.copytree(WEBSHOP, tmp_path / "webshop"))
    (folder / "models" / "odd_accounts.yml").write_text("owner: 1\n")
    project = load_project(folder)
    assert [model.name for model in shared.models_for(project, "train")] == ["refund_abuse", "visit_length"]
    assert "odd_accounts.yml:1" in caplog.text
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "train_visit_length")
    assert [model.name for model in shared.models_for(project, "train")] == ["visit_length"]


def test_the_check_file_raises_one_import_error_for_all_invalid_files(tmp_path: Path):
    shutil.copytree(WEBSHOP, tmp_path / "include")
    (tmp_path / "include" / "models" / "refund_abuse.yml").write_text("ownr: x\n")
    (tmp_path / "include" / "models" / "visit_length.yml").write_text("owner: [\n")
    (tmp_path / "dags").mkdir()
    shutil.copy(ROOT / "dags" / "check_model_files.py", tmp_path / "dags")
    with pytest.raises(Exception, match=r"(?s)2 invalid files.*refund_abuse\.yml:1: ownr.*visit_length\.yml:2"):
        runpy.run_path(str(tmp_path / "dags" / "check_model_files.py"))
