"""export_model and import_model between two environments: what travels, what is measured anew, what is refused."""

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clinic.lifecycle import InProduction
from clinic.world import Clinic, Result, open_clinic, short_waits
from harness.task_runner import crash_after

from elastic_ml.exceptions import AlreadyExistsError, NotReadyError
from elastic_ml.stages import exchange
from elastic_sandbox.testing import serve


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The exchange folder of both environments."""
    path = tmp_path / "exchange"
    monkeypatch.setenv("AIRFLOW__ELASTIC_ML__EXCHANGE_FOLDER", f"file://{path}/")
    return path


@pytest.fixture(scope="module")
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    with serve() as sandbox, open_clinic(sandbox, tmp_path_factory.mktemp("elsewhere")) as clinic, short_waits():
        settings = clinic.folder / "project.yml"
        settings.write_text(settings.read_text().replace("environment: test", "environment: production"))
        clinic.fill()
        yield clinic


@pytest.fixture
def elsewhere(_elsewhere: Clinic) -> Clinic:
    """Another environment with the same model files, and no model yet."""
    clinic = _elsewhere
    clinic.sandbox.faults.clear()
    clinic.xcoms.clear()
    for config in clinic.client.ml.get_trained_models()["trained_model_configs"]:
        clinic.client.ml.delete_trained_model(model_id=config["model_id"], force=True)
    clinic.client.delete_by_query(index=clinic.names.model_cards, query={"match_all": {}}, refresh=True)
    clinic.client.indices.delete_data_stream(name=clinic.names.registry)
    clinic.client.indices.create_data_stream(name=clinic.names.registry)
    return clinic


def export(clinic: Clinic, **params: Any) -> Result:
    return clinic.runner("export_model", "export", **{"model": "misuse", "model_id": clinic.model_id, **params}).run()


def take_in(clinic: Clinic, file: str, task_id: str = "import", **params: Any) -> Result:
    params = {"file": file, "day": "2026-11-16", **params}
    return clinic.run("import_model", task_id, user="dora", **params)


# Out -----------------------------------------------------------------------------------------------------------------


def test_one_file_holds_model_card_and_baseline_with_their_checksums(trained: Clinic, folder: Path) -> None:
    value = export(trained).value
    (path,) = folder.iterdir()
    assert path.name == value["file"] == f"{trained.model_id}.zip"
    assert path.stat().st_size == value["bytes"]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        manifest, card, model = (json.loads(archive.read(f"{name}.json")) for name in ("manifest", "card", "model"))
        assert set(manifest["sha256"]) == {"card.json", "model.json", "definition.json.gz"}
        assert archive.read("definition.json.gz")[:2] == b"\x1f\x8b"
    assert (manifest["model_name"], manifest["environment"]) == ("misuse", "test")
    assert card["baseline"] == trained.card["baseline"]
    assert model["input"]["field_names"]
    assert "created_by" not in model


def test_the_same_model_gives_the_same_bytes(trained: Clinic, folder: Path) -> None:
    first, second = export(trained).value, export(trained).value
    assert first == second
    assert [path.name for path in folder.iterdir()] == [first["file"]]


def test_a_file_that_could_not_be_written_to_its_end_does_not_appear(
    trained: Clinic, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from elastic_ml.registry import model_archive

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(model_archive, "file_digest", full)
        assert isinstance(export(trained).error, OSError)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"model_id": "misuse-2025-x"}, "has no card as a version of misuse"),
        ({"model_id": None}, "misuse has no champion to export"),
        ({"model": "stay"}, "has no card as a version of stay"),
    ],
)
def test_what_cannot_be_exported_is_named(trained: Clinic, folder: Path, params: dict[str, Any], sentence: str) -> None:
    result = export(trained, **params)
    assert isinstance(result.error, NotReadyError)
    assert sentence in str(result.error)


def test_without_a_configured_folder_nothing_is_written_anywhere(trained: Clinic) -> None:
    assert "exchange_folder" in str(export(trained).error)


def test_the_champion_is_exported_by_default(production: InProduction, folder: Path) -> None:
    assert export(production.clinic, model_id=None).value["model_id"] == production.new


# In ------------------------------------------------------------------------------------------------------------------


def test_an_imported_model_is_judged_here_and_offered_under_its_own_key(
    trained: Clinic, elsewhere: Clinic, folder: Path
) -> None:
    exported = export(trained).value
    taken = take_in(elsewhere, exported["file"], sha256=exported["sha256"])
    assert taken.state == "success", taken.error
    assert taken.value["reused"] is False
    judged = take_in(elsewhere, exported["file"], "evaluate")
    assert judged.state == "success", judged.error
    card = elsewhere.client.get(index=elsewhere.names.model_cards, id=trained.model_id)["_source"]
    # The same events and verdicts are here: the same holdout gives the same figures.
    assert card["figures"] == pytest.approx(trained.card["figures"])
    for part in ("kept", "classes", "importance", "features"):
        assert card[part] == trained.card[part]
    assert card["windows"]["train_end"] == trained.card["windows"]["train_end"]
    assert card["imported_from"]["environment"] == "test"
    assert card["imported_from"]["job_id"] == trained.card["job_id"]
    assert "Imported from **test** of clinic" in card["markdown"]
    assert card["triggered"]["by"] == "dora"
    events = elsewhere.events(trained.model_id)
    assert events == [("registered", "success", "dora"), ("evaluated", "success", "dora")]

    runner = elsewhere.runner("import_model", "candidate", user="dora")
    offered = runner.run()
    assert offered.state == "success", offered.error
    (event,) = offered.outlet_events
    assert event["dest_asset_key"]["name"] == "clinicml_misuse_candidate"
    assert event["partition_key"] == card["job_id"]
    assert event["extra"]["model_id"] == trained.model_id
    assert card["job_id"] != trained.card["job_id"], "a job of that id may run in this cluster, too"


def test_an_imported_model_is_promoted_like_any_other_but_not_by_who_imported_it(
    trained: Clinic, elsewhere: Clinic, folder: Path
) -> None:
    file = export(trained).value["file"]
    for task_id in ("import", "evaluate"):
        assert take_in(elsewhere, file, task_id).state == "success"
    path = elsewhere.folder / "models" / "misuse.yml"
    path.write_text(path.read_text().replace("approvers: [ana]", "approvers: [ana, dora]"))
    assert elsewhere.gate(trained.model_id).state == "success"
    refused = elsewhere.answer(user="dora")
    assert "dora had this model trained and cannot approve it" in str(refused.error)
    assert elsewhere.answer().state == "success"
    assert elsewhere.run("promote_misuse", "switch").state == "success"
    assert elsewhere.champion() == trained.model_id


def test_only_the_models_own_asset_gets_an_event(trained: Clinic, elsewhere: Clinic, folder: Path) -> None:
    file = export(trained).value["file"]
    for task_id in ("import", "evaluate"):
        take_in(elsewhere, file, task_id)
    runner = elsewhere.runner("import_model", "candidate")
    finished: list[dict[str, Any]] = []
    real = runner.api._task_instance

    def seen(method: str, parts: list[str], request: Any) -> Any:
        if parts[-1] == "state" and b"task_outlets" in request.content:
            finished.append(json.loads(request.content))
        return real(method, parts, request)

    runner.api._task_instance = seen  # type: ignore[method-assign]
    assert runner.run().state == "success"
    assert [outlet["name"] for outlet in finished[0]["task_outlets"]] == ["clinicml_misuse_candidate"]
    declared = exchange.build(elsewhere.folder)["import_model"].get_task("candidate").outlets
    assert sorted(outlet.name for outlet in declared) == ["clinicml_misuse_candidate", "clinicml_stay_candidate"]


def test_the_holdout_never_reaches_into_what_the_model_learned(
    trained: Clinic, elsewhere: Clinic, folder: Path
) -> None:
    file = export(trained).value["file"]
    take_in(elsewhere, file)
    judged = take_in(elsewhere, file, "evaluate", holdout_window="9d")
    assert judged.state == "success", judged.error
    card = elsewhere.client.get(index=elsewhere.names.model_cards, id=trained.model_id)["_source"]
    assert card["windows"]["holdout_start"] == trained.card["windows"]["train_end"]
    elsewhere.client.delete(index=elsewhere.names.model_cards, id=trained.model_id, refresh=True)
    early = take_in(elsewhere, file, "evaluate", day="2026-11-12")
    assert isinstance(early.error, NotReadyError)
    assert "nothing is left to judge it on" in str(early.error)


def test_another_model_under_the_same_id_is_never_overwritten(trained: Clinic, elsewhere: Clinic, folder: Path) -> None:
    file = export(trained).value["file"]
    elsewhere.card = {"model_name": "misuse"}
    elsewhere.another_version(trained.model_id)
    before = elsewhere.client.ml.get_trained_models(model_id=trained.model_id, include="definition").body
    result = take_in(elsewhere, file)
    assert isinstance(result.error, AlreadyExistsError)
    assert "Nothing was overwritten" in str(result.error)
    assert elsewhere.client.ml.get_trained_models(model_id=trained.model_id, include="definition").body == before


def test_importing_twice_changes_nothing_however_the_server_packs_its_definition(
    trained: Clinic, elsewhere: Clinic, folder: Path
) -> None:
    file = export(trained).value["file"]
    take_in(elsewhere, file)
    before = elsewhere.client.ml.get_trained_models(model_id=trained.model_id).body
    assert take_in(elsewhere, file).value["reused"] is True
    assert elsewhere.client.ml.get_trained_models(model_id=trained.model_id).body == before


def test_back_where_it_was_trained_there_is_nothing_to_import(trained: Clinic, folder: Path) -> None:
    before = trained.client.ml.get_trained_models(model_id=trained.model_id).body
    assert take_in(trained, export(trained).value["file"]).state == "skipped"
    assert trained.client.ml.get_trained_models(model_id=trained.model_id).body == before


def test_a_job_of_the_same_id_does_not_take_the_imported_model_for_its_own(
    trained: Clinic, elsewhere: Clinic, folder: Path
) -> None:
    from elastic_ml.clients.remote_jobs import models_of

    take_in(elsewhere, export(trained).value["file"])
    assert models_of(elsewhere.client, trained.card["job_id"]) == []


def test_crashes_all_along_the_import_leave_one_model(trained: Clinic, elsewhere: Clinic, folder: Path) -> None:
    file = export(trained).value["file"]
    runner = elsewhere.runner("import_model", "import", file=file)
    for point in range(1, 10):
        with crash_after(point):
            result = runner.run()
        if result.state == "success":
            break
        assert result.state == "killed"
    assert result.state == "success"
    assert len(elsewhere.client.ml.get_trained_models()["trained_model_configs"]) == 1


@pytest.mark.parametrize("member", ["manifest.json", "model.json", "card.json", "definition.json.gz"])
def test_a_file_that_somebody_changed_is_refused(trained: Clinic, elsewhere: Clinic, folder: Path, member: str) -> None:
    exported = export(trained).value
    path, changed = folder / exported["file"], folder / "changed.zip"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content[:-1] + b"  " if name == member else content)
    result = take_in(elsewhere, "changed.zip")
    assert isinstance(result.error, NotReadyError)
    assert elsewhere.client.ml.get_trained_models()["trained_model_configs"] == []
    shutil.copy(changed, path)
    wrong = take_in(elsewhere, exported["file"], sha256=exported["sha256"])
    assert "was expected" in str(wrong.error)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [("no.zip", "There is no file"), ("../misuse.zip", "is no file name"), ("text.zip", "is no exported model")],
)
def test_what_is_no_exported_model_is_named(elsewhere: Clinic, folder: Path, file: str, sentence: str) -> None:
    folder.mkdir()
    (folder / "text.zip").write_text("not a zip archive")
    result = take_in(elsewhere, file)
    assert isinstance(result.error, NotReadyError)
    assert sentence in str(result.error)


def test_eland_639_what_another_version_exported_and_this_one_refuses_names_both(
    trained: Clinic, elsewhere: Clinic, folder: Path
) -> None:
    file = export(trained).value["file"]
    elsewhere.sandbox.faults.add(
        method="PUT", path="/_ml/trained_models/*", status=400, type="x_content_parse_exception",
        reason="[ensemble] unknown field [new_in_10]",
    )  # fmt: skip
    error = take_in(elsewhere, file).error
    assert isinstance(error, NotReadyError)
    assert "was exported from Elasticsearch 9.5.0, and this one, 9.5.0, refuses it" in str(error)
    assert "unknown field [new_in_10]" in str(error)


def test_a_model_that_the_project_does_not_have_or_reads_other_features_is_refused(
    trained: Clinic, elsewhere: Clinic, folder: Path
) -> None:
    file = export(trained).value["file"]
    path = elsewhere.folder / "models" / "misuse.yml"
    text = path.read_text()
    try:
        path.write_text(text.replace("audit.distance, ", ""))
        assert "inputs that are no feature here: audit.distance" in str(take_in(elsewhere, file).error)
        path.unlink()
        assert "which this project does not have" in str(take_in(elsewhere, file).error)
    finally:
        path.write_text(text)


def test_a_model_that_is_larger_than_a_request_may_be_is_refused_in_words(
    trained: Clinic, elsewhere: Clinic, folder: Path
) -> None:
    file = export(trained).value["file"]
    elsewhere.sandbox.faults.add(
        method="PUT",
        path="/_ml/trained_models/*",
        status=413,
        type="content_too_large_exception",
        reason="entity content is too large [104857601] for the configured buffer limit [104857600]",
    )
    result = take_in(elsewhere, file)
    assert isinstance(result.error, NotReadyError)
    assert "MB as one request" in str(result.error)
    assert "http.max_content_length" in str(result.error)
    assert elsewhere.client.ml.get_trained_models()["count"] == 0
