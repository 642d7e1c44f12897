"""A stream that the cluster team manages: what is hooked into it, and what is said where it cannot take scores."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adopter.bank import NORTHBANK
from adopter.integration import THEIRS, agents_fields, install, write
from elastic_ml.clients.elasticsearch import connect
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.project import Project, load_project
from elastic_ml.project.reconcile import Row
from elastic_ml.project.unmanaged_streams import UnmanagedStreams, obstacles
from elastic_sandbox.testing import Sandbox

DATASET, STREAM, CUSTOM = "ping_one.audit", "logs-ping_one.audit-default", "logs-ping_one.audit@custom"
SCORE = {"ml": {"risky_identity": {"score": 0.5, "model_id": "m-1", "reason": ["a"], "prediction": "true"}}}
Look = Callable[..., tuple[list[Row], UnmanagedStreams]]


@pytest.fixture
def project() -> Project:
    return load_project(NORTHBANK / "workflows" / "security_ml" / "project")


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Any]:
    with connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        yield client


@pytest.fixture
def look(client: Any, project: Project) -> Look:
    def once(mode: str = "apply") -> tuple[list[Row], UnmanagedStreams]:
        unmanaged = UnmanagedStreams(client, project, mode)  # type: ignore[arg-type]
        return unmanaged.run(), unmanaged

    return once


def event(**more: Any) -> dict[str, Any]:
    moment = {"@timestamp": "2026-11-01T08:00:00Z", "event": {"action": "user.access_allowed"}}
    return {**moment, **agents_fields(DATASET), **more}


def test_a_stream_of_the_integration_takes_scores_and_gets_one_processor(client: Any, look: Look) -> None:
    install(client, DATASET)
    write(client, STREAM, [event()])
    rows, unmanaged = look()
    assert [(row.kind, row.name, row.state) for row in rows] == [
        ("mapping", STREAM, "unchanged"),
        ("ingest pipeline", CUSTOM, "changed"),
    ]
    assert (unmanaged.problems, unmanaged.notes) == ([], [])
    assert {row.state for row in look()[0]} == {"unchanged"}
    hook = client.ingest.get_pipeline(id=CUSTOM)[CUSTOM]["processors"][-1]["pipeline"]
    assert hook["if"] == f"ctx._index == '{STREAM}'", "the pipeline gets every namespace of the dataset"
    assert hook["ignore_failure"] is True


def test_two_streams_of_a_dataset_share_one_processor(client: Any, project: Project, tmp_path: Path) -> None:
    file = tmp_path / "project.yml"
    stream = "  - {dataset: ping_one.audit, namespace: default, managed: false}\n"
    text = (project.folder / "project.yml").read_text()
    file.write_text(text.replace(stream, stream + stream.replace("default", "branches")))
    both = UnmanagedStreams(client, load_project(tmp_path), "apply")
    for state in ("created", "unchanged"):
        assert [row.state for row in both.run() if row.name == CUSTOM] == [state]
    [hook] = client.ingest.get_pipeline(id=CUSTOM)[CUSTOM]["processors"]
    assert hook["pipeline"]["if"] == f"ctx._index == '{STREAM}' || ctx._index == 'logs-ping_one.audit-branches'"


def test_two_projects_that_score_one_stream_are_told_whose_scores_win(
    client: Any, project: Project, tmp_path: Path
) -> None:
    install(client, DATASET)
    file = tmp_path / "project.yml"
    text = (project.folder / "project.yml").read_text()
    file.write_text(re.sub(r"^name: .*$", "name: staging", text, flags=re.MULTILINE))
    shutil.copytree(project.folder / "models", tmp_path / "models")
    first = UnmanagedStreams(client, project, "apply")
    first.run()
    assert first.notes == [] or "also calls" not in " ".join(first.notes)
    second = UnmanagedStreams(client, load_project(tmp_path), "apply")
    second.run()
    [note] = [note for note in second.notes if "also calls" in note]
    assert f"{CUSTOM} also calls the scoring of northbank" in note
    assert "a model called risky_identity" in note
    again = UnmanagedStreams(client, project, "plan")
    again.run()
    assert "the scoring of staging" in " ".join(again.notes)


def test_a_failure_of_our_scoring_costs_nobody_an_event(client: Any, look: Look) -> None:
    install(client, DATASET)
    broken = [{"fail": {"message": "a condition of ours that cannot be evaluated"}}]
    client.ingest.put_pipeline(id="northbank-audit@score", processors=broken)
    look()
    [made] = write(client, STREAM, [event()])
    stored = client.search(index=STREAM, query={"ids": {"values": [made]}})["hits"]["hits"][0]["_source"]
    assert stored["event"].get("kind") != "pipeline_error"
    assert stored["organization"]["name"] == "Northbank"


@pytest.mark.parametrize(
    ("dynamic", "said"), [(False, "no score can be searched"), ("strict", "refuses every scored event")]
)
def test_a_mapping_that_takes_no_scores_is_said_with_what_to_paste(
    client: Any, look: Look, project: Project, dynamic: Any, said: str
) -> None:
    """What the sentence tells the cluster team to send is sent, and then there is nothing left to say."""
    install(client, DATASET, dynamic=dynamic)
    theirs = {"mappings": {"properties": {"branch": {"type": "keyword"}}}}
    client.cluster.put_component_template(name=CUSTOM, template=theirs)
    client.indices.create_data_stream(name=STREAM)
    rows, unmanaged = look("plan")
    assert rows[0].state == "conflict"
    assert said in rows[0].detail
    assert "ml.risky_identity.score" in rows[0].detail
    [problem] = unmanaged.problems
    [refused] = [
        sentence for sentence in obstacles(client, project, project.model("risky_identity")) if said in sentence
    ]
    assert "elastic_setup with mode=plan" in refused

    sent = re.findall(r"PUT (\S+) (\{.*?\})(?=; for|, or)", problem)
    assert [path for path, _ in sent] == [f"_component_template/{CUSTOM}", f"{STREAM}/_mapping"]
    for path, body in sent:
        client.perform_request("PUT", f"/{path}", headers={"content-type": "application/json"}, body=json.loads(body))
    kept = client.cluster.get_component_template(name=CUSTOM)["component_templates"][0]["component_template"]
    assert kept["template"]["mappings"]["properties"]["branch"] == {"type": "keyword"}
    rows, unmanaged = look()
    assert (rows[0].state, unmanaged.problems) == ("unchanged", [])
    assert obstacles(client, project, project.model("risky_identity")) == []
    client.indices.rollover(alias=STREAM)
    write(client, STREAM, [{key: value for key, value in event(**SCORE).items() if key != "event"}])
    found = client.search(index=STREAM, query={"term": {"ml.risky_identity.model_id": "m-1"}})["hits"]["total"]["value"]
    assert found == 1
    assert look()[0][0].state == "unchanged", "the next index, too"


def test_an_index_that_is_mended_is_not_enough_where_the_template_is_not(client: Any, look: Look) -> None:
    install(client, DATASET, dynamic=False)
    client.indices.create_data_stream(name=STREAM)
    _, unmanaged = look("plan")
    body = json.loads(re.search(r"/_mapping (\{.*?\}), or", unmanaged.problems[0])[1])  # type: ignore[index]
    client.indices.put_mapping(index=STREAM, properties=body["properties"])
    rows, _ = look("plan")
    assert rows[0].state == "conflict"
    assert f"in the next index of {STREAM} no score" in rows[0].detail


def test_a_score_that_was_guessed_to_be_text_is_said(client: Any, look: Look) -> None:
    install(client, DATASET)
    guessed = {"ml": {"properties": {"risky_identity": {"properties": {"model_id": {"type": "text"}}}}}}
    client.cluster.put_component_template(name=CUSTOM, template={"mappings": {"properties": guessed}})
    client.indices.create_data_stream(name=STREAM)
    _, unmanaged = look("plan")
    assert "ml.risky_identity.model_id is text in .ds-" in unmanaged.problems[0]
    assert "(wanted keyword)" in unmanaged.problems[0]


def test_a_template_without_a_place_for_additions_is_named_where_one_has_to_go(client: Any, look: Look) -> None:
    mappings = {"dynamic": "strict", "properties": {"@timestamp": {"type": "date"}}}
    client.indices.put_index_template(
        name="audit", index_patterns=["logs-ping_one.*"], priority=250, data_stream={}, template={"mappings": mappings}
    )
    client.indices.create_data_stream(name=STREAM)
    _, unmanaged = look("plan")
    assert "named in `composed_of` of the stream's index template" in unmanaged.problems[0]


def test_a_pipeline_that_nobody_calls_is_said_with_the_processor_to_add(client: Any, look: Look) -> None:
    install(client, DATASET, hooks=False)
    client.indices.create_data_stream(name=STREAM)
    [note] = look()[1].notes
    assert note.startswith(f"Nothing calls {CUSTOM}")
    assert f"is logs-{DATASET}-2.1.0." in note
    processor = json.loads(re.search(r"has to add (\{.*\}) as", note)[1])  # type: ignore[index]
    client.ingest.put_pipeline(id=f"logs-{DATASET}-2.1.0", processors=[processor])
    assert look()[1].notes == []


def test_a_stream_that_is_not_there_yet_is_said_and_judged_by_its_template(client: Any, look: Look) -> None:
    install(client, DATASET, dynamic="strict")
    rows, unmanaged = look("plan")
    assert unmanaged.notes[0].startswith(f"{STREAM} does not exist yet: correct its name")
    assert f"the next index of {STREAM} refuses every scored event" in rows[0].detail
    assert client.ingest.get_pipeline(id=CUSTOM)[CUSTOM]["processors"] == [THEIRS], "plan writes nothing"


def test_events_that_do_not_say_when_they_arrived_are_said(client: Any, look: Look) -> None:
    client.index(index=STREAM, document=event())
    assert any("event.ingested" in note for note in look("plan")[1].notes)


def test_without_the_hook_a_model_is_not_ready(client: Any, project: Project) -> None:
    install(client, DATASET)
    client.indices.create_data_stream(name=STREAM)
    [said] = obstacles(client, project, project.model("risky_identity"))
    assert said.startswith(f"The pipeline {CUSTOM} does not call our scoring")
