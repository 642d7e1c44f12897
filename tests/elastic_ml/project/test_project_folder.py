"""What load_project reads, and what it says about files that are wrong."""

import shutil
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_ml.exceptions import PartialFailureError, ProjectFileError
from elastic_ml.project import load_project
from elastic_ml.project.check import check_files, invalid_files
from elastic_ml.project.durations import parse_duration, print_duration

WEBSHOP = Path(__file__).parent / "webshop"
INCLUDE = Path(__file__).parents[3] / "include"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WEBSHOP, tmp_path / "webshop"))


def write(folder: Path, name: str, old: str, new: str) -> Path:
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def error_of(folder: Path, model: str) -> ProjectFileError:
    with pytest.raises(ProjectFileError) as caught:
        load_project(folder).model(model)
    return caught.value


def test_a_model_file_becomes_a_typed_model():
    model = load_project(WEBSHOP).model("refund_abuse")
    assert (model.name, model.kind, model.supervised) == ("refund_abuse", "classification", True)
    assert model.windows.train == timedelta(days=60)
    assert model.label_delay == timedelta(days=14)
    assert model.serve.if_ == "ctx.event?.action == 'refund'"
    assert model.gate.limits() == {"auc_roc": 0.75}
    assert model.source.query == {"match_all": {}}


def test_every_kind_of_analysis_is_read():
    project = load_project(WEBSHOP)
    assert {name: project.model(name).kind for name in project.models()} == {
        "odd_accounts": "outlier_detection",
        "refund_abuse": "classification",
        "visit_length": "regression",
    }


def test_a_source_file_becomes_a_typed_source():
    source = load_project(WEBSHOP).source("shop")
    assert (source.name, source.kind, source.partition) == ("shop", "events", "day")
    assert source.start_date == date(2024, 6, 1)
    assert source.fields == {"@timestamp": "time", "event.id": "id"}


def test_the_shipped_project_folder_is_valid():
    assert invalid_files(INCLUDE) == []


def test_loading_and_listing_read_no_model_file(folder: Path):
    (folder / "models" / "broken.yml").write_text("[")
    project = load_project(folder)
    assert project.models() == ["broken", "odd_accounts", "refund_abuse", "visit_length"]
    assert project.model("refund_abuse").owner == "fraud"


def test_an_unknown_key_names_file_line_and_the_nearest_key(folder: Path):
    path = write(folder, "models/refund_abuse.yml", "auc_roc", "auc_rocc")
    error = error_of(folder, "refund_abuse")
    assert (error.file, error.line, error.field) == (str(path), 7, "gate.auc_rocc")
    assert "Did you mean auc_roc?" in str(error)


def test_an_unknown_key_without_a_near_one_lists_what_is_known(folder: Path):
    write(folder, "models/refund_abuse.yml", "owner: fraud", "owner: fraud\nzzz: 1")
    assert "Known keys here: owner, description, source" in str(error_of(folder, "refund_abuse"))


def test_a_misspelt_required_key_is_reported_as_the_misspelling(folder: Path):
    write(folder, "models/refund_abuse.yml", "windows:", "window:")
    error = error_of(folder, "refund_abuse")
    assert (error.line, error.field, error.remedy) == (4, "window", "Did you mean windows?")


def test_a_missing_key_is_named(folder: Path):
    write(folder, "models/refund_abuse.yml", "owner: fraud\n", "")
    error = error_of(folder, "refund_abuse")
    assert (error.field, error.problem) == ("owner", "the key is missing.")


def test_an_unquoted_class_is_refused_with_the_quotes_to_write(folder: Path):
    write(folder, "models/refund_abuse.yml", '"true"', "true")
    error = error_of(folder, "refund_abuse")
    assert (error.line, error.field) == (3, "label.positive_class")
    assert 'Quote it: "true"' in error.remedy


def test_a_repeated_key_is_refused_where_yaml_would_keep_the_last(folder: Path):
    write(folder, "models/refund_abuse.yml", "owner: fraud", "owner: fraud\ngate: {auc_roc: 0.99}")
    error = error_of(folder, "refund_abuse")
    assert (error.line, error.field) == (8, "gate")
    assert "repeated (first in line 2)" in error.problem


def test_broken_yaml_names_its_line(folder: Path):
    write(folder, "models/refund_abuse.yml", "gate: {auc_roc: 0.75}", "gate: {auc_roc: 0.75")
    error = error_of(folder, "refund_abuse")
    assert error.line == 8
    assert "not valid YAML" in error.problem


def test_an_unknown_model_or_source_is_answered_with_those_that_are_there(folder: Path):
    problem = error_of(folder, "basket_fraudd")
    assert problem.file == str(folder / "models" / "basket_fraudd.yml")
    assert "there is no model 'basket_fraudd' in this project" in str(problem)
    for name in load_project(folder).models():
        assert name in problem.remedy
    with pytest.raises(ProjectFileError, match="there is no source 'nosuch'"):
        load_project(folder).source("nosuch")


def test_a_file_that_is_no_mapping_and_one_that_is_missing_are_refused(folder: Path):
    (folder / "models" / "list.yml").write_text("- a\n")
    assert "not a mapping" in error_of(folder, "list").problem
    assert "there is no model" in error_of(folder, "absent").problem


@pytest.mark.parametrize("duration", ["14", "1.5d", "0d", "2w", "-1d", "14 d", ""])
def test_what_is_no_duration_is_refused_with_the_form(folder: Path, duration: str):
    write(folder, "models/refund_abuse.yml", "60d", f'"{duration}"')
    error = error_of(folder, "refund_abuse")
    assert (error.line, error.field) == (4, "windows.train")
    assert "as in 14d or 90m" in error.problem


@given(st.integers(min_value=1, max_value=10**6), st.sampled_from("dhms"))
def test_a_duration_survives_being_printed_and_read(amount: int, unit: str):
    duration = parse_duration(f"{amount}{unit}")
    assert parse_duration(print_duration(duration)) == duration


def test_durations_print_in_their_largest_exact_unit():
    assert [print_duration(parse_duration(text)) for text in ("14d", "24h", "90m", "45s")] == [
        "14d",
        "1d",
        "90m",
        "45s",
    ]


@pytest.mark.parametrize("part", ["label: {field: a}", "gate: {auc_roc: 0.5}", "approval: {}", "serve: {pipeline: x}"])
def test_an_outlier_model_refuses_what_needs_a_trained_model(folder: Path, part: str):
    write(folder, "models/odd_accounts.yml", "owner: fraud", f"owner: fraud\n{part}")
    error = error_of(folder, "odd_accounts")
    assert (error.line, error.field) == (2, part.partition(":")[0])
    assert "makes no trained model" in error.problem


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ("", "windows"),
        ("windows: {train: 7d, holdout: 3d}", "windows"),
        ("label_delay: 3d\nwindows: {train: 7d}", "label_delay"),
    ],
)
def test_an_outlier_model_has_a_window_and_waits_for_nothing(folder: Path, written: str, field: str):
    write(folder, "models/odd_accounts.yml", "windows: {train: 7d}", written)
    assert error_of(folder, "odd_accounts").field == field


def test_a_classification_needs_its_positive_class(folder: Path):
    write(folder, "models/refund_abuse.yml", ', positive_class: "true"', "")
    error = error_of(folder, "refund_abuse")
    assert (error.line, error.field) == (3, "label")
    assert "positive_class" in error.remedy


def test_a_label_has_exactly_one_origin(folder: Path):
    write(folder, "models/refund_abuse.yml", "verdicts: by_event", "verdicts: by_event, field: event.action")
    assert "exactly one" in error_of(folder, "refund_abuse").remedy.lower()


def test_the_label_cannot_be_a_feature(folder: Path):
    write(folder, "models/visit_length.yml", "audit.weekday]", "session.duration]")
    error = error_of(folder, "visit_length")
    assert (error.line, error.field) == (5, "features.1")


def test_a_metric_of_another_analysis_is_refused(folder: Path):
    write(folder, "models/visit_length.yml", "r_squared: 0.2", "auc_roc: 0.9")
    assert error_of(folder, "visit_length").field == "gate.auc_roc"


def test_an_unknown_analysis_is_refused(folder: Path):
    write(folder, "models/visit_length.yml", "regression: {}", "clustering: {}")
    assert "classification, regression, outlier_detection" in error_of(folder, "visit_length").remedy


@pytest.mark.parametrize("name", ["Refunds", "refunds_2", "a", "x" * 31, "refund-abuse", "_refund"])
def test_a_file_name_that_can_be_no_model_name_is_refused(folder: Path, name: str):
    shutil.copy(folder / "models" / "refund_abuse.yml", folder / "models" / f"{name}.yml")
    assert "can be no model's name" in error_of(folder, name).problem


def test_a_source_may_only_write_a_managed_stream_of_the_project(folder: Path):
    write(folder, "sources/shop.yml", "logs-shop.audit-eu", "logs-auth0.logs-prod")
    with pytest.raises(ProjectFileError) as caught:
        load_project(folder).source("shop")
    assert (caught.value.line, caught.value.field) == (1, "stream")
    assert "logs-shop.audit-eu" in caught.value.remedy


def test_a_python_reader_needs_a_function(folder: Path):
    write(folder, "sources/shop.yml", "kind: files", "kind: python")
    with pytest.raises(ProjectFileError, match="names no function"):
        load_project(folder).source("shop")


def test_lifecycle_ages_must_rise(folder: Path):
    write(folder, "project.yml", "delete_after: 365d", "warm_after: 400d, delete_after: 365d")
    with pytest.raises(ProjectFileError, match="not later than warm_after"):
        load_project(folder)


def test_a_stream_listed_twice_is_refused(folder: Path):
    write(folder, "project.yml", "  - dataset: shop.audit", "  - dataset: shop.audit\n  - dataset: shop.audit")
    with pytest.raises(ProjectFileError, match="listed twice") as caught:
        load_project(folder)
    assert (caught.value.line, caught.value.field) == (7, "streams.1")


def test_all_invalid_files_are_reported_in_one_error(folder: Path):
    write(folder, "models/refund_abuse.yml", "auc_roc", "auc")
    write(folder, "models/visit_length.yml", "owner: product", "owner: 3")
    write(folder, "sources/shop.yml", "adapter: ndjson", "adapter: xml")
    with pytest.raises(PartialFailureError) as caught:
        check_files(folder)
    text = str(caught.value)
    assert "3 invalid files" in text
    assert [name for name in ("refund_abuse.yml:7", "visit_length.yml:1", "shop.yml:4") if name in text] == [
        "refund_abuse.yml:7",
        "visit_length.yml:1",
        "shop.yml:4",
    ]


def test_reading_a_project_and_a_model_takes_under_five_milliseconds_warm():
    load_project(INCLUDE).model("audit_fraud")
    seconds = []
    for _ in range(20):
        began = time.process_time()
        load_project(INCLUDE).model("audit_fraud")
        seconds.append(time.process_time() - began)
    assert sorted(seconds)[10] < 0.005


def test_reading_a_project_imports_neither_airflow_nor_the_client():
    import subprocess

    code = (
        "import sys; from elastic_ml.project import load_project; load_project(sys.argv[1]).model('refund_abuse');"
        "print([m for m in ('airflow', 'elasticsearch', 'holidays', 'jinja2') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code, str(WEBSHOP)], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
