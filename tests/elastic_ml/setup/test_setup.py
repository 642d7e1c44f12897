"""elastic_setup against a cluster: compared before written, safe to repeat, honest about what it leaves alone."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.exceptions import NotReadyError, ProjectFileError, VersionError
from elastic_ml.project import load_project
from elastic_ml.project.reconcile import Row
from elastic_ml.project.setup import SetupReport, run_setup
from elastic_sandbox.testing import Sandbox, serve

WEBSHOP = Path(__file__).parents[1] / "project" / "webshop"
STREAM = "logs-shop.audit-eu"
CUSTOM = "logs-auth0.logs@custom"

Run = Callable[..., SetupReport]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WEBSHOP, tmp_path / "webshop"))


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Any]:
    with connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        yield client


@pytest.fixture
def run(client: Any, folder: Path) -> Run:
    def once(mode: str = "apply", **options: Any) -> SetupReport:
        return run_setup(client, load_project(folder), server_facts(client), mode=mode, **options)

    return once


def writes(sandbox: Sandbox) -> list[str]:
    """Requests since the last call that change something; a simulation is a POST that changes nothing."""
    found = [
        f"{request.method} {request.path}"
        for request in sandbox.requests
        if request.method not in {"GET", "HEAD"} and "_simulate" not in request.path
    ]
    sandbox.requests.clear()
    return found


def row(report: SetupReport, name: str, kind: str = "") -> Row:
    return next(row for row in report.rows if row.name == name and kind in row.kind)


def test_plan_says_what_it_would_do_and_writes_nothing(sandbox: Sandbox, run: Run):
    report = run("plan")
    assert writes(sandbox) == []
    assert {row.state for row in report.rows if row.kind != "template proof"} == {"would create"}
    assert row(report, "webshop-audit@normalize").kind == "ingest pipeline"
    assert row(report, STREAM, "data stream").state == "would create"
    report.raise_for_state()


def test_apply_creates_everything_and_the_second_run_changes_nothing(sandbox: Sandbox, run: Run, client: Any):
    first = run()
    first.raise_for_state()
    assert {row.state for row in first.rows} == {"created", "unchanged"}
    assert client.indices.get_data_stream(name=STREAM)["data_streams"][0]["template"] == "webshop-audit"
    assert writes(sandbox)
    second = run()
    assert writes(sandbox) == []
    assert [row for row in second.rows if row.state != "unchanged"] == []


def test_verify_fails_before_apply_and_passes_after_it_with_reads_only(sandbox: Sandbox, run: Run):
    with pytest.raises(NotReadyError, match="index shop-ledger \\(would create\\)"):
        run("verify").raise_for_state()
    run()
    writes(sandbox)
    run("verify").raise_for_state()
    assert writes(sandbox) == []


def test_an_object_edited_by_hand_is_reported_and_kept(run: Run, client: Any):
    run()
    body = client.ingest.get_pipeline(id="shop-logs@normalize")["shop-logs@normalize"]
    edited = [*body["processors"], {"set": {"field": "mine", "value": 1}}]
    client.ingest.put_pipeline(
        id="shop-logs@normalize", description=body["description"], meta=body["_meta"], processors=edited
    )
    for mode in ("plan", "apply"):
        report = run(mode)
        found = row(report, "shop-logs@normalize")
        assert found.state == "edited by hand"
        assert "processors.6.set.field is mine (not wanted)" in found.detail
        assert "overwrite_edited" in " ".join(report.notes)
    assert client.ingest.get_pipeline(id="shop-logs@normalize")["shop-logs@normalize"]["processors"] == edited
    with pytest.raises(NotReadyError, match="edited by hand"):
        run("verify").raise_for_state()
    assert row(run(overwrite_edited=True), "shop-logs@normalize").state == "changed"
    assert row(run(), "shop-logs@normalize").state == "unchanged"


def test_an_object_that_somebody_else_made_is_left_alone(run: Run, client: Any):
    client.ingest.put_pipeline(id="webshop-audit@score", body={"processors": [{"set": {"field": "a", "value": 1}}]})
    found = row(run(), "webshop-audit@score")
    assert found.state == "edited by hand"
    assert "made by somebody else" in found.detail


def test_two_projects_with_one_prefix_do_not_overwrite_each_other(run: Run, folder: Path):
    run()
    project = folder / "project.yml"
    project.write_text(
        project.read_text()
        .replace("name: webshop", "name: boutique")
        .replace("namespace: eu\noperations", "namespace: us\noperations")
    )
    (folder / "models" / "refund_abuse.yml").write_text(
        (folder / "models" / "refund_abuse.yml")
        .read_text()
        .replace("by_event", "by_user_hour")
        .replace("webshop", "boutique")
    )
    found = row(run(), "refund_abuse@label")
    assert found.state == "edited by hand"
    assert "belongs to project webshop, which shares this prefix" in found.detail


def test_a_newer_release_s_object_is_not_downgraded(run: Run, client: Any):
    run()
    name = "webshop-audit@settings"
    body = client.cluster.get_component_template(name=name)["component_templates"][0]["component_template"]
    template = {
        **body["template"],
        "settings": {"index": {**body["template"]["settings"]["index"], "codec": "best_compression"}},
    }
    client.cluster.put_component_template(name=name, template=template, meta={**body["_meta"], "version": "99.1.0"})
    found = row(run(), name)
    assert found.state == "newer"
    assert "written by release 99.1.0" in found.detail
    kept = client.cluster.get_component_template(name=name)["component_templates"][0]["component_template"]
    assert kept["template"]["settings"]["index"]["codec"] == "best_compression"
    run("verify").raise_for_state()


@pytest.mark.parametrize("stop_at", [1, 7, 10, 21])
def test_an_interrupted_run_is_finished_by_the_next(
    run: Run, client: Any, monkeypatch: pytest.MonkeyPatch, stop_at: int
):
    done = 0
    real = type(client).perform_request

    def interrupted(self: Any, method: str, path: str, **options: Any) -> Any:
        nonlocal done
        answer = real(self, method, path, **options)
        if method not in {"GET", "HEAD"} and "_simulate" not in path:
            done += 1
            if done == stop_at:
                raise KeyboardInterrupt
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(type(client), "perform_request", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run()
    report = run()
    report.raise_for_state()
    assert {row.state for row in report.rows} == {"created", "unchanged"}
    run("verify").raise_for_state()


def test_a_template_that_wins_over_ours_is_named_and_its_stream_not_created(run: Run, client: Any):
    client.indices.put_index_template(
        name="somebody", index_patterns=["logs-shop.*"], priority=900, data_stream={}, template={}
    )
    assert row(run("plan"), STREAM, "template proof").detail == "index template somebody (priority 900) wins"
    report = run()
    with pytest.raises(NotReadyError, match="index template somebody \\(priority 900\\) wins over webshop-audit"):
        report.raise_for_state()
    assert [r for r in report.rows if r.name == STREAM and r.kind == "data stream"] == []
    assert not client.indices.exists(index=STREAM)
    client.indices.delete_index_template(name="somebody")
    run().raise_for_state()
    assert client.indices.exists(index=STREAM)


def test_a_template_with_a_lower_priority_is_beaten(run: Run, client: Any):
    client.indices.put_index_template(
        name="integration", index_patterns=["logs-shop.audit-*"], priority=200, data_stream={}, template={}
    )
    report = run()
    report.raise_for_state()
    assert row(report, STREAM, "template proof").detail == "before integration (priority 200)"


def test_a_field_with_two_types_is_explained_with_index_and_types(run: Run, client: Any):
    run()
    client.cluster.put_component_template(
        name="webshop-audit@custom",
        template={"mappings": {"properties": {"user": {"properties": {"id": {"type": "long"}}}}}},
    )
    client.indices.rollover(alias=STREAM)
    report = run()
    first, second = [
        index["index_name"] for index in client.indices.get_data_stream(name=STREAM)["data_streams"][0]["indices"]
    ]
    assert row(report, "user.id").detail == f"keyword in {first}; long in {second}"
    with pytest.raises(NotReadyError) as caught:
        report.raise_for_state()
    assert "The field user.id is keyword in" in str(caught.value)
    assert "Reindex" in str(caught.value)
    run("plan").raise_for_state()


def test_a_write_index_with_another_type_than_the_template_is_explained(run: Run, client: Any):
    client.indices.put_index_template(
        name="old",
        index_patterns=[STREAM],
        priority=300,
        data_stream={},
        template={"mappings": {"properties": {"event": {"properties": {"action": {"type": "long"}}}}}},
    )
    client.indices.create_data_stream(name=STREAM)
    with pytest.raises(NotReadyError, match=r"event.action is long, the template says keyword.*_rollover\?lazy=true"):
        run().raise_for_state()


def test_a_stream_that_is_older_than_the_templates_gets_their_pipeline_policy_and_fields(run: Run, client: Any):
    client.indices.put_index_template(
        name="old", index_patterns=[STREAM], priority=300, data_stream={}, template={"mappings": {"dynamic": False}}
    )
    client.indices.create_data_stream(name=STREAM)
    run()
    answer = client.indices.get(index=STREAM)
    index = answer[next(iter(answer))]
    assert index["settings"]["index"]["default_pipeline"] == "webshop-audit@normalize"
    assert index["settings"]["index"]["lifecycle"]["name"] == "webshop-audit"
    assert index["mappings"]["properties"]["user"]["properties"]["id"]["type"] == "keyword"
    assert client.indices.get_data_stream_options(name=STREAM)["data_streams"][0]["options"] == {
        "failure_store": {"enabled": True}
    }


def test_a_write_index_that_would_lose_values_is_named_until_it_is_rolled_over(run: Run, client: Any):
    client.indices.put_index_template(
        name="old",
        index_patterns=[STREAM],
        priority=300,
        data_stream={},
        template={"settings": {"index.mode": "logsdb", "index.mapping.ignore_malformed": True}},
    )
    client.indices.create_data_stream(name=STREAM)
    with pytest.raises(NotReadyError, match=r"index.mapping.ignore_malformed is true \(wanted false\).*_rollover"):
        run().raise_for_state()
    client.indices.rollover(alias=STREAM)
    run().raise_for_state()


def test_a_new_model_file_reaches_the_stream_that_exists(run: Run, client: Any, folder: Path):
    run()
    text = (folder / "models" / "refund_abuse.yml").read_text()
    (folder / "models" / "card_testing.yml").write_text(text)
    report = run()
    report.raise_for_state()
    assert row(report, "card_testing@label").state == "created"
    assert row(report, "webshop-audit@score").state == "changed"
    mapping = next(iter(client.indices.get_mapping(index=STREAM).body.values()))["mappings"]
    assert mapping["properties"]["ml"]["properties"]["card_testing"]["properties"]["score"]["type"] == "float"
    assert [r for r in run().rows if r.state != "unchanged"] == []


def test_an_invalid_model_file_stops_setup_before_anything_is_sent(sandbox: Sandbox, client: Any, folder: Path):
    facts = server_facts(client)
    sandbox.requests.clear()
    (folder / "models" / "refund_abuse.yml").write_text("owner: x\n")
    with pytest.raises(ProjectFileError):
        run_setup(client, load_project(folder), facts, mode="apply")
    assert list(sandbox.requests) == []


def test_a_stream_that_others_manage_gets_one_marked_processor_and_nothing_else(
    sandbox: Sandbox, run: Run, client: Any
):
    theirs = {"set": {"field": "team", "value": "iam"}}
    client.ingest.put_pipeline(id=CUSTOM, body={"description": "ours", "version": 7, "processors": [theirs]})
    writes(sandbox)
    assert row(run("plan"), CUSTOM).state == "differs"
    assert row(run(), CUSTOM).state == "changed"
    assert not [
        request for request in writes(sandbox) if "auth0" in request and CUSTOM not in request.replace("%40", "@")
    ]
    pipeline = client.ingest.get_pipeline(id=CUSTOM)[CUSTOM]
    assert (pipeline["description"], pipeline["version"]) == ("ours", 7)
    assert pipeline["processors"][0] == theirs
    added = pipeline["processors"][1]["pipeline"]
    assert (added["name"], added["tag"]) == ("webshop-audit@score", "airflow-provider-elastic-ml:webshop")
    assert row(run(), CUSTOM).state == "unchanged"
    client.ingest.put_pipeline(id=CUSTOM, body={"processors": [{"pipeline": {**added, "name": "stale"}}, theirs]})
    run()
    repaired = client.ingest.get_pipeline(id=CUSTOM)[CUSTOM]["processors"]
    assert [next(iter(processor)) for processor in repaired] == ["pipeline", "set"]
    assert repaired[0]["pipeline"]["name"] == "webshop-audit@score"


def test_serverless_gets_retention_by_data_stream_lifecycle_and_no_ilm(folder: Path):
    with serve(flavor="serverless") as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        project, facts = load_project(folder), server_facts(client)
        run_setup(client, project, facts, mode="apply").raise_for_state()
        assert not [request for request in sandbox.requests if "_ilm" in request.path]
        lifecycle = client.indices.get_data_lifecycle(name=STREAM)["data_streams"][0]["lifecycle"]
        assert lifecycle["data_retention"] == "365d"
        assert [r for r in run_setup(client, project, facts, mode="plan").rows if r.state != "unchanged"] == []


def test_a_licence_without_machine_learning_is_said_and_setup_goes_on(folder: Path):
    with serve(license="basic") as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        report = run_setup(client, load_project(folder), server_facts(client), mode="apply")
        assert "training, promotion, scoring and anomaly jobs will not" in report.notes[0]
        assert row(report, STREAM, "data stream").state == "created"


def test_elasticsearch_below_the_floor_is_refused_with_a_sentence():
    with (
        serve(version="9.1.5") as sandbox,
        connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client,
        pytest.raises(VersionError, match=r"9\.1\.5.*needs 9\.2 or newer"),
    ):
        server_facts(client)
