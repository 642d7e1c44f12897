"""Each task of each DAG links to the page of Kibana that shows what it works on, before it begins to work."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
from airflow.sdk import DAG, BaseOperator
from harness.task_runner import Result
from matrix.story import STORY, Step
from matrix.walk import TRIES, beginning
from matrix.world import Checkpoint, World, opened, write_project

from elastic_ml.clients import elasticsearch as client_module
from elastic_ml.clients import kibana as kibana_client
from elastic_ml.get_provider_info import get_provider_info
from elastic_ml.kibana_bundle import build_bundle
from elastic_ml.links.kibana import KibanaLink
from elastic_ml.operators.base import ElasticBaseOperator
from elastic_ml.operators.kibana_pages import data_dashboard, of_model
from elastic_ml.operators.remote_job import RemoteJobOperator
from elastic_ml.project import load_project
from elastic_ml.stages.pages import built

ROOT = Path(__file__).parents[3]
WITHOUT_A_LINK = {"EmptyOperator": "Airflow's own: stands where nobody is asked, and does nothing"}
"""Operators of tasks that link nowhere, and why."""
LINKS = {path.rpartition(".")[2] for path in get_provider_info()["extra-links"]}


@pytest.fixture(scope="module")
def dags() -> list[DAG]:
    return [dag for dags in built(ROOT / "dags").values() for dag in dags]


def test_every_task_has_a_link_or_a_reason_for_none(dags: list[DAG]) -> None:
    tasks = [(dag.dag_id, task) for dag in dags for task in dag.tasks]
    assert len(tasks) > 60
    without = [
        f"{dag_id}/{task.task_id}: {type(task).__name__}"
        for dag_id, task in tasks
        if not task.operator_extra_links and type(task).__name__ not in WITHOUT_A_LINK
    ]
    assert without == []
    for _, task in tasks:
        assert {type(link).__name__ for link in task.operator_extra_links} <= LINKS


def test_every_task_takes_the_connection_of_its_links_from_the_project(tmp_path: Path) -> None:
    write_project(tmp_path)
    settings = tmp_path / "include" / "project.yml"
    settings.write_text(settings.read_text() + "connections: {kibana: kibana_of_the_clinic}\n")
    tasks: list[BaseOperator] = [
        task for dags in built(tmp_path / "dags").values() for dag in dags for task in dag.tasks
    ]
    assert load_project(tmp_path / "include").settings.connections.kibana == "kibana_of_the_clinic"
    other = {
        f"{task.dag_id}/{task.task_id}"
        for task in tasks
        if getattr(task, "kibana_conn_id", "kibana_of_the_clinic") != "kibana_of_the_clinic"
    }
    assert other == set()


def test_links_name_dashboards_as_the_bundle_does(tmp_path: Path) -> None:
    write_project(tmp_path)
    project = load_project(tmp_path / "include")
    there = {str(one["id"]) for one in build_bundle(project).objects if one["type"] == "dashboard"}
    linked = {of_model(str(project.folder), "misuse")["ModelDashboardLink"].rpartition("/")[0]}
    assert linked | {data_dashboard(project.names)} <= there


def test_an_operator_with_links_names_what_they_show(dags: list[DAG]) -> None:
    """Before it works, or, for remote work, once its id is known."""
    for task in (task for dag in dags for task in dag.tasks if task.operator_extra_links):
        if isinstance(task, RemoteJobOperator):
            assert type(task).link_names is not RemoteJobOperator.link_names
        elif isinstance(task, ElasticBaseOperator):
            assert type(task).pages is not ElasticBaseOperator.pages, type(task).__name__


# Followed -------------------------------------------------------------------------------------------------------------


@cache
def followed(url: str) -> httpx.Response:
    """What a browser shows: the part after `#`, which no server sees, is asked for by a script of the page."""
    before, _, state = url.partition("#")
    path, _, query = before.partition("?")
    where, _, asked = state.partition("?")
    asked = "&".join(filter(None, [query, asked]))
    return httpx.get(f"{path.rstrip('/')}{where.rstrip('/')}{'?' if asked else ''}{asked}", timeout=30)


def problems(task: BaseOperator, result: Result) -> Iterator[str]:
    """What is wrong with the links that a task left."""
    if type(task).__name__ in WITHOUT_A_LINK:
        return
    keys = {link.xcom_key: link for link in task.operator_extra_links if isinstance(link, KibanaLink)}
    links = {key: result.xcoms.get(key) for key in keys}
    if not any(links.values()):
        yield "it stored no link"
    for key, url in links.items():
        if url:
            answer = followed(str(url))
            if answer.status_code != 200:
                yield f"{key}: {answer.status_code} at {url}"
            elif "verification_exception" in answer.text or "Unknown index" in answer.text:
                yield f"{key}: the query of {url} is refused"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A project that is set up and deployed, before anything else happened."""
    folder = tmp_path_factory.mktemp("links")
    begin: Checkpoint = beginning(folder / "begin")
    with opened(begin, folder / "world") as world:
        for step in (step for step in STORY if step.task in {"setup", "deploy"}):
            result = turn(world, step)
            assert result.state == "success", result.error
        job = {"analysis_config": {"bucket_span": "1h", "detectors": [{"function": "count"}]}}
        world.client.ml.put_job(job_id="reads", data_description={"time_field": "@timestamp"}, **job)
        yield world


def turn(world: World, step: Step) -> Result:
    return step.complete(world.runner(step.dag, step.task, params=step.params_in(world)))


def test_a_link_is_there_before_the_work_begins_and_leads_to_a_page(world: World) -> None:
    """Of each operator that knows its page beforehand; what remote work is called, it finds out first."""
    wrong, seen = [], set()
    model_id = "misuse-20261101-0000aaaa-1"
    earlier = {
        "model_id": model_id, "model": "misuse", "job_id": "reads", "start": 0, "end": 9_000, "markdown": "card",
        "requested_by": "bo", "started_by": None,
    }  # fmt: skip
    for step in STORY:
        with mock.patch.dict(world.xcoms, {step.dag: _returned(earlier)}):
            params = {"model_id": model_id} if callable(step.params) else step.params
            runner = world.runner(step.dag, step.task, params=params)
        task = runner.make_task()
        kind = type(task)
        if kind in seen or isinstance(task, RemoteJobOperator) or not hasattr(task, "kibana_links"):
            continue
        seen.add(kind)
        with mock.patch.object(kind, "execute", return_value=None):
            result = runner.run()
        if made := result.xcoms.get("_link_IndexLink"):
            # The task before it would have made it; the page of an index that is not there is an error in Kibana, too.
            world.client.indices.create(index=str(made).rpartition("=")[2])
        wrong += [f"{step.name}: {problem}" for problem in problems(task, result)]
    assert wrong == []
    assert len(seen) > 20


def _returned(value: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(task, "return_value"): value for task in ("gate", "evaluate", "import", "detect", "measure")}


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_task_under_bursts_leaves_links_that_lead_to_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The story of the matrix, told once, while a part of all requests is refused with 429 or 503."""
    monkeypatch.setattr(client_module, "_wait_before_retry", lambda *_: 0.0)
    monkeypatch.setattr(kibana_client, "BACKOFF_SECONDS", 0.0)
    wrong = []
    with opened(beginning(tmp_path / "begin"), tmp_path / "world") as world:
        for step in STORY:
            if step.aside and step.task != "deploy":
                continue
            step.before(world)
            step.each_time(world)
            runner = world.runner(step.dag, step.task, params=step.params_in(world))
            task, faults = runner.make_task(), world.sandbox.faults
            bursts = [faults.add(status=status, share=0.15, times=None) for status in (429, 503)]
            for _ in range(TRIES):
                result = step.complete(runner)
                if result.state != "up_for_retry":
                    break
            for one in bursts:
                faults.requests.remove(one)
            assert result.state == step.ends, (step.name, result.error)
            world.keep(step.dag, step.task, result)
            # What it shows is gone by then.
            if step.dag != "elastic_remove":
                wrong += [f"{step.name}: {problem}" for problem in problems(task, result)]
    assert wrong == []
