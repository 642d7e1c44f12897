"""What the builder makes: the same bytes each time, in a form that Kibana 9.2 to 9.5 read."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from elastic_ml.kibana_bundle import build_bundle
from elastic_ml.kibana_bundle.lint import object_problems
from elastic_ml.project import load_project

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT.parent / "shared" / "contracts"


def dashboards(bundle: Any) -> Iterator[dict[str, Any]]:
    yield from (one for one in bundle.objects if one["type"] == "dashboard")


def panels(bundle: Any) -> Iterator[dict[str, Any]]:
    for dashboard in dashboards(bundle):
        yield from json.loads(dashboard["attributes"]["panelsJSON"])


def lens_states(bundle: Any) -> Iterator[dict[str, Any]]:
    yield from (panel["embeddableConfig"]["attributes"] for panel in panels(bundle) if panel["type"] == "lens")


def other_project(folder: Path, **changes: str) -> Any:
    shutil.copytree(ROOT / "include", folder)
    text = (folder / "project.yml").read_text(encoding="utf-8")
    for name, value in changes.items():
        before = next(line for line in text.splitlines() if line.startswith(f"{name}:"))
        text = text.replace(before, f"{name}: {value}")
    text = text.replace("../kibana/lendpath", str(ROOT / "kibana" / "lendpath"))
    (folder / "project.yml").write_text(text, encoding="utf-8")
    return load_project(folder)


def test_the_same_files_give_the_same_bytes_wherever_they_lie(bundle: Any, tmp_path: Path) -> None:
    assert build_bundle(other_project(tmp_path / "elsewhere")).ndjson == bundle.ndjson
    lines = bundle.ndjson.decode().splitlines()
    assert [
        json.dumps(json.loads(line), ensure_ascii=False, sort_keys=True, separators=(",", ":")) for line in lines
    ] == lines


def test_two_environments_share_no_id_and_no_stream(bundle: Any, tmp_path: Path) -> None:
    staged = build_bundle(
        other_project(tmp_path / "staged", prefix="stage", namespace="staging", operations_namespace="staging")
    )
    assert {one["id"] for one in staged.objects}.isdisjoint({one["id"] for one in bundle.objects})
    assert b"logs-stage.predictions-staging" in staged.ndjson
    for mine in (b"logs-ml.", b"ml-labels", b"ml-baselines", b"-lendpath,", b"audit-lendpath"):
        assert mine in bundle.ndjson
        assert mine not in staged.ndjson.replace(b"stage.", b"").replace(b"stage-", b"")


def test_a_later_folder_replaces_a_dashboard_of_the_package(project: Any, tmp_path: Path) -> None:
    own = tmp_path / "kibana" / "dashboards"
    own.mkdir(parents=True)
    text = (ROOT / "kibana" / "platform" / "dashboards" / "model-operations.yml").read_text(encoding="utf-8")
    (own / "model-operations.yml").write_text(text.replace("title: Model operations", "title: Ours"), encoding="utf-8")
    made = build_bundle(project, [ROOT / "kibana" / "platform", tmp_path / "kibana"])
    titles = [dashboard["attributes"]["title"] for dashboard in dashboards(made)]
    assert titles == ["Ours", "Data and pipelines"]


def test_every_dashboard_leads_to_the_others_and_restores_its_time(bundle: Any) -> None:
    ids = {one["id"] for one in dashboards(bundle)}
    assert len(ids) == 3
    for one in dashboards(bundle):
        linked = {reference["id"] for reference in one["references"] if reference["type"] == "dashboard"}
        assert linked == ids - {one["id"]}
        assert one["attributes"]["timeRestore"]
        assert one["attributes"]["timeTo"] == "now"


def test_platform_knows_no_use_case() -> None:
    for path in (ROOT / "kibana" / "platform").rglob("*.yml"):
        assert "lendpath" not in path.read_text(encoding="utf-8").lower(), path


def test_states_are_in_the_form_that_every_supported_kibana_reads(bundle: Any) -> None:
    for state in lens_states(bundle):
        assert "version" not in state  # each Kibana runs every upgrade that it knows
        for layer in state["state"]["visualization"].get("layers", []):
            assert not {"splitAccessors", "colorMapping"} & set(layer)
    assert {one["typeMigrationVersion"] for one in dashboards(bundle)} == {"10.2.0"}


def test_what_is_empty_is_explained_at_the_panel_and_below_all(bundle: Any) -> None:
    for dashboard in dashboards(bundle):
        shown = json.loads(dashboard["attributes"]["panelsJSON"])
        *_, last = shown
        told = last["embeddableConfig"]["savedVis"]["params"]["markdown"]
        for panel in shown:
            if panel["type"] == "lens":
                assert "When empty: " in panel["embeddableConfig"]["description"], panel["panelIndex"]
                assert panel["embeddableConfig"]["title"] in told


def test_the_queue_leads_to_the_dag_that_records_verdicts(bundle: Any, project: Any) -> None:
    assert b"(http://localhost:8080/dags/record_verdict)" in bundle.ndjson
    elsewhere = build_bundle(project, airflow_url="https://airflow.example.org/team/")
    assert b"(https://airflow.example.org/team/dags/record_verdict)" in elsewhere.ndjson


def test_the_sandbox_imports_it_and_takes_it_again(bundle: Any, sandbox: Any) -> None:
    for overwritten in (False, True):
        answer = requests.post(
            f"{sandbox.kibana_url}/api/saved_objects/_import?overwrite=true",
            headers={"kbn-xsrf": "true"},
            files={"file": ("bundle.ndjson", bundle.ndjson)},
            timeout=30,
        ).json()
        assert answer["success"], answer.get("errors")
        assert answer["successCount"] == len(bundle.objects)
        assert {one.get("overwrite", False) for one in answer["successResults"]} == {overwritten}
        assert not any("destinationId" in one for one in answer["successResults"])


def test_nothing_dangles(bundle: Any) -> None:
    assert list(object_problems(bundle.objects)) == []


# Against what Kibana itself wrote -------------------------------------------------------------------------------------


def kibanas_own(kind: str) -> list[dict[str, Any]]:
    folder = CONTRACTS / "lens-states-9.2.2"
    if not folder.is_dir():
        pytest.skip("the Lens states that Kibana 9.2.2 wrote lie beside the project, and are not here")
    states = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*-esql*.json"))]
    states.append(json.loads((CONTRACTS / "kibana-94-xy-esql-panel.json").read_text(encoding="utf-8"))
                  ["embeddableConfig"]["attributes"])  # fmt: skip
    esql = [state for state in states if "textBased" in state["state"]["datasourceStates"]]
    return [state for state in esql if state["visualizationType"] == kind]


# What the states above do not show; sources: reference of Lens' own types (lens-common, visualizations/*/types.ts).
MORE = {
    "lnsXY": {"color", "axisMode", "showSingleSeries"},
    "lnsMetric": {"palette", "color", "applyColorTo"},
    "lnsDatatable": {"width", "isTransposed", "colorMode", "palette", "rowHeight", "headerRowHeight", "paging"},
    "lnsHeatmap": {"palette"},
}


def keys(value: Any) -> set[str]:
    """Keys at any depth; those of a palette are Kibana's older, common form."""
    if isinstance(value, dict):
        inner = (keys(one) for name, one in value.items() if name not in {"palette", "paging"})
        return set(value).union(*inner)
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("kind", sorted(MORE))
def test_lens_states_use_no_key_that_kibana_would_not_write(kind: str, bundle: Any) -> None:
    mine = [state["state"]["visualization"] for state in lens_states(bundle) if state["visualizationType"] == kind]
    theirs = keys([state["state"]["visualization"] for state in kibanas_own(kind)])
    assert mine
    assert keys(mine) - theirs - MORE[kind] == set()


def test_the_data_source_of_a_state_is_what_kibana_writes(bundle: Any) -> None:
    own = kibanas_own("lnsXY")
    theirs = keys([list(state["state"]["datasourceStates"]["textBased"]["layers"].values()) for state in own])
    ad_hoc = keys(list(own[-1]["state"]["adHocDataViews"].values()))
    for state in lens_states(bundle):
        assert set(state["state"]) <= set(own[0]["state"]) | set(own[-1]["state"])
        for layer in state["state"]["datasourceStates"]["textBased"]["layers"].values():
            # `format` with its `params`: LensConfigBuilder's getValueColumn.
            shown = keys([{**column, "params": {}} for column in layer["columns"]])
            assert shown - theirs == set()
        for view in state["state"]["adHocDataViews"].values():
            assert set(view) <= ad_hoc


def test_data_views_pass_kibanas_schema(bundle: Any) -> None:
    path = CONTRACTS / "kibana_validator.py"
    if not path.is_file():
        pytest.skip("Kibana's schemas lie beside the project, and are not here")
    pytest.importorskip("jsonschema")
    loaded = importlib.util.spec_from_file_location("kibana_validator", path)
    assert loaded is not None
    assert loaded.loader is not None
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    spec = module.KibanaSpec()
    views = [one for one in bundle.objects if one["type"] == "index-pattern"]
    assert len(views) == 3
    for view in views:
        shown = {name: view["attributes"][name] for name in ("title", "name", "timeFieldName", "allowNoIndex")}
        body = {"data_view": {"id": view["id"], **shown}}
        assert spec.check_request("data-views.create-data-view-default", body) == []
