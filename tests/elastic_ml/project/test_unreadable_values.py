"""Values that PyYAML itself fails on, and files with more than one mistake."""

import shutil
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elastic_ml.exceptions import PartialFailureError, ProjectFileError
from elastic_ml.project import load_project
from elastic_ml.project.check import check_files, findings, invalid_files
from elastic_ml.project.durations import parse_duration
from elastic_ml.project.model import Model
from elastic_ml.project.source import Source
from elastic_ml.project.yaml_files import read_file

WEBSHOP = Path(__file__).parent / "webshop"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WEBSHOP, tmp_path / "webshop"))


UNREADABLE = [
    ("2026-13-01", "looks like a date and is none: month must be in 1..12"),
    ("2026-02-30", "looks like a date and is none"),
    ("2026-01-01 25:00:00", "looks like a date and is none"),
    ("!!timestamp x", "looks like a date and is none"),
    ("!!int x", "looks like a number and is none"),
    ("0b_", "looks like a number and is none"),
    ("!!bool x", "looks like a bool and is none"),
    ("9" * 5000, "looks like a number and is none"),
    ("&a [*a]", "contains itself"),
    ("&a {b: [1, *a]}", "contains itself"),
]


@pytest.mark.parametrize(("written", "problem"), UNREADABLE, ids=[written[:12] for written, _ in UNREADABLE])
@pytest.mark.parametrize("name", ["models/broken.yml", "sources/broken.yml", "anomaly_jobs/broken.yml"])
def test_a_value_that_cannot_be_read_is_one_finding_and_the_other_files_are_read(folder, name, written, problem):
    (folder / "anomaly_jobs").mkdir()
    (folder / name).write_text(f"owner: me\nouter:\n  - description: {written}\n")
    (folder / "models" / "visit_length.yml").write_text("[")
    [error] = [one for one in invalid_files(folder) if one.file == str(folder / name)]
    assert problem in error.problem
    assert error.line == 3
    assert error.field.startswith("outer.0.description")
    assert error.remedy
    assert len(str(error)) < 500 + len(str(folder))
    assert {Path(one.file).name for one in invalid_files(folder)} == {"broken.yml", "visit_length.yml"}
    assert load_project(folder).model("refund_abuse").owner == "fraud"
    with pytest.raises(PartialFailureError, match="2 invalid files"):
        check_files(folder)


@pytest.mark.parametrize("written", ["2026-13-01", "&a [*a]", "!!int x"])
def test_a_value_of_project_yml_that_cannot_be_read_is_a_finding(folder: Path, written: str):
    (folder / "project.yml").write_text(f"name: shop\nowner: {written}\n")
    [error] = findings(folder)
    assert (error.line, error.field.split(".", 1)[0]) == (2, "owner")


def test_a_key_that_looks_like_a_date_and_is_none_is_named(folder: Path):
    path = folder / "models" / "broken.yml"
    path.write_text("owner: me\n2026-02-30: x\n")
    [error] = invalid_files(folder)
    assert (error.line, error.field) == (2, "2026-02-30")
    assert '"2026-02-30"' in error.remedy


@pytest.mark.parametrize(
    "written",
    [
        "[" * 2_000 + "]" * 2_000,
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        "\n" + "- " * 50_000,
    ],
    ids=["2000", "100000 unclosed", "100000", "50000 lists"],
)
def test_a_file_that_nests_too_deep_is_a_finding(folder: Path, written: str):
    (folder / "models" / "broken.yml").write_text(f"owner: {written}\n")
    [error] = invalid_files(folder)
    assert "nests too deep" in error.problem
    assert error.line == 1


@pytest.mark.parametrize("levels", [90, 400, 900])
def test_a_query_that_nests_deep_ends_in_findings_or_in_none(folder: Path, levels: int):
    path = folder / "models" / "refund_abuse.yml"
    path.write_text(path.read_text().replace("}\n", f", query: {{a: {'[' * levels}{']' * levels}}}}}\n", 1))
    assert all(error.remedy for error in findings(folder))


BOMB = ["{0}: &{0} [{1}]", "? &{0} [{1}]\n: 1", "{0}: &{0} {{<<: [{1}]}}"]


@pytest.mark.parametrize("level", BOMB, ids=["value", "key", "merge"])
def test_aliases_that_multiply_are_refused_at_once(folder: Path, level: str):
    path = folder / "models" / "refund_abuse.yml"
    lines = ["a: &a {k: 1}", *(level.format(new, ", ".join([f"*{old}"] * 9)) for old, new in pairwise("abcdefghij"))]
    path.write_text("\n".join([*lines, path.read_text()]))
    begun = time.process_time()
    [error] = findings(folder)
    assert time.process_time() - begun < 1
    assert "aliases (*) repeat more than 100,000 values" in error.problem
    assert "*e, *e" in path.read_text().splitlines()[error.line - 1]
    assert error.field
    assert error.remedy


def test_a_long_list_without_aliases_is_read(folder: Path):
    path = folder / "models" / "refund_abuse.yml"
    path.write_text(path.read_text().replace("[", f"[{', '.join(f'a.b{n}' for n in range(120_000))}, ", 1))
    assert [error for error in invalid_files(folder) if "alias" in error.problem] == []


def test_broken_yaml_names_the_key_above(folder: Path):
    path = folder / "models" / "broken.yml"
    path.write_text("owner: me\nfeatures:\n  - a\n  - [b, c\ngate: 1\n")
    [error] = invalid_files(folder)
    assert "not valid YAML" in error.problem
    assert (error.line, error.field) == (5, "gate")
    path.write_text("owner: me\nfeatures:\n  - @timestamp\n")
    [error] = invalid_files(folder)
    assert (error.line, error.field) == (3, "features")


@pytest.mark.parametrize(
    ("written", "field", "said"),
    [
        ("{country: ZZ, years: [2020, 2030]}", "holidays.country", "ZZ not available"),
        ("{country: DE, subdivision: text, years: [2020, 2030]}", "holidays.subdivision", "BB, BE, BW"),
        ("{country: AI, subdivision: text, years: [2020, 2030]}", "holidays.subdivision", "none"),
    ],
)
def test_holidays_of_nowhere_are_a_finding(folder: Path, written: str, field: str, said: str):
    path = folder / "project.yml"
    kept = [line for line in path.read_text().splitlines() if not line.startswith("holidays:")]
    path.write_text("\n".join([*kept, f"holidays: {written}", ""]))
    [error] = findings(folder)
    assert (Path(error.file).name, error.line, error.field) == ("project.yml", len(kept) + 1, field)
    assert said in str(error)


@pytest.mark.parametrize("key", ["label", "windows"])
def test_a_part_that_the_analysis_needs_is_named_as_the_field(folder: Path, key: str):
    path = folder / "models" / "visit_length.yml"
    kept = [line for line in path.read_text().splitlines() if not line.startswith(f"{key}:")]
    path.write_text("\n".join(kept))
    assert [(error.line, error.field) for error in findings(folder)] == [(1, key)]


def test_a_long_value_is_not_repeated_as_a_whole(folder: Path):
    path = folder / "models" / "visit_length.yml"
    path.write_text(path.read_text().replace("owner:", f"label_delay: {'x' * 9_000}\nowner:", 1))
    [error] = findings(folder)
    assert error.field == "label_delay"
    assert len(str(error)) < 1_500


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("2026-01-31", 'Quote it: "2026-01-31"'),
        ("2026-01-31T10:00:00Z", 'Quote it: "2026-01-31 10:00:00+00:00"'),
        ("!!set {a, b}", "cannot be sent as JSON"),
        ("!!binary aGk=", "cannot be sent as JSON"),
        ("-.inf", "cannot be sent as JSON"),
        (".nan", "cannot be sent as JSON"),
    ],
)
def test_what_json_has_not_is_refused_where_a_body_is_written(folder: Path, written: str, said: str):
    model = folder / "models" / "refund_abuse.yml"
    index = model.read_text().index("]", model.read_text().index("index:")) + 1
    query = f", query: {{bool: {{filter: [{{range: {{day: {{gte: {written}}}}}}}]}}}}"
    model.write_text(model.read_text()[:index] + query + model.read_text()[index:])
    (folder / "anomaly_jobs").mkdir()
    (folder / "anomaly_jobs" / "reads.yml").write_text(
        "owner: me\njob: {analysis_config: {bucket_span: 1h, detectors: [{function: count}]}}\n"
        f"datafeed:\n  indices: [a]\n  query:\n    term:\n      day: {written}\n"
    )
    in_model, in_job = sorted(findings(folder), key=lambda error: error.file, reverse=True)
    assert in_model.field == "source.query.bool.filter.0.range.day.gte"
    assert (in_job.line, in_job.field) == (7, "datafeed.query.term.day")
    assert said in str(in_model)
    assert said in str(in_job)


def test_a_name_of_a_field_may_be_anything(folder: Path):
    path = folder / "models" / "visit_length.yml"
    lines = [
        line if not line.startswith("label:") else "label: {field: '*: \"a'}" for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines))
    assert findings(folder) == []


def test_an_alias_that_is_no_loop_is_read(folder: Path):
    path = folder / "models" / "odd_accounts.yml"
    path.write_text(path.read_text().replace("owner:", "description: &who somebody\nowner: *who #", 1))
    assert load_project(folder).model("odd_accounts").owner == "somebody"


def test_a_date_where_text_is_wanted_is_to_be_quoted(folder: Path):
    path = folder / "models" / "odd_accounts.yml"
    path.write_text(f"description: 2026-01-31\n{path.read_text()}")
    [error] = invalid_files(folder)
    assert (error.line, error.field) == (1, "description")
    assert '"2026-01-31"' in error.remedy


@pytest.mark.parametrize("written", ["1000000000d", "9" * 30 + "h", "9" * 5000 + "s"])
def test_a_duration_that_is_longer_than_there_is_time_is_refused(written: str):
    with pytest.raises(ValueError, match="too long a duration"):
        parse_duration(written)


@pytest.fixture(scope="module")
def one_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("one") / "file.yml"


PIECES = st.lists(
    st.sampled_from(
        ["owner", "label", "start_date", "1", "0x", "0b_", "2026-13-01", "9999-12-31 23:59:59-14:00", ".nan", "!!int",
         "!!timestamp", "!!set", "!!omap", "!!binary", "!!float", "<<", "&a", "*a", "[", "]", "{", "}", ": ", ": ",
         ", ", "- ", "\n", "\n", "\n  ", "? ", "~", "'", '"', "\x00", "\ud7ff", "source", "windows", "1000000000d"]
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PIECES)
def test_whatever_a_file_says_it_is_read_or_refused_with_its_name(one_file: Path, pieces: list[str]):
    assert_read_or_refused(one_file, "".join(pieces))


def assert_read_or_refused(path: Path, text: str) -> None:
    path.write_text(text)
    for shape in (Model, Source):
        found = None
        try:
            read_file(path, shape, defaults={"name": "file"})
        except ProjectFileError as error:
            found = error
        for said in (found, *found.also) if found else ():
            assert (said.file, bool(said.problem), bool(said.remedy)) == (str(path), True, True)


VALUES = st.one_of(
    st.dates().map(str), st.datetimes().map(str), st.floats().map(str), st.integers().map(str), st.text(max_size=5),
    st.sampled_from([written for written, _ in UNREADABLE]),
    st.sampled_from(["1000000000d", "[]", "{1: 2}", "0x" + "f" * 5000]),
)  # fmt: skip
LINES = [
    "owner", "source", "label", "label_delay", "windows", "features", "analysis", "gate", "monitor", "schedule",
    "stream", "start_date", "reader", "adapter", "timezone", "constants",
]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(LINES), VALUES, max_size=6))
def test_whatever_stands_in_a_value_the_file_is_read_or_refused(one_file: Path, written: dict[str, str]):
    assert_read_or_refused(one_file, "".join(f"{key}: {value}\n" for key, value in written.items()))


def test_the_ingest_dag_stays_when_a_source_cannot_be_read(folder: Path):
    from elastic_ml.stages import audit_ingest

    (folder / "sources" / "broken.yml").write_text("start_date: 2026-13-01\n")
    assert list(audit_ingest.build(folder)) == ["audit_ingest"]


# several mistakes


def test_every_mistake_of_a_file_is_found_with_its_line(folder: Path):
    path = folder / "models" / "visit_length.yml"
    lines = [
        "ownr: product",
        "source: {index: []}",
        "features: [a, a]",
        "analysis: {regression: {}}",
        "monitor: {days: 0}",
    ]
    path.write_text("\n".join(lines) + "\n")
    found = [(error.line, error.field) for error in findings(folder)]
    assert found == [(1, "ownr"), (2, "source.index"), (3, "features.1"), (5, "monitor.days")]
    with pytest.raises(PartialFailureError, match="1 invalid file in") as caught:
        check_files(folder)
    assert all(field in caught.value.failures[str(path)] for _, field in found)


def test_a_value_that_fits_none_of_several_types_is_one_finding(folder: Path):
    path = folder / "sources" / "shop.yml"
    path.write_text(f"{path.read_text().rstrip()}\nconstants: {{a: [1], b: {{}}}}\n")
    assert [error.field.rsplit(".", 1)[0] for error in findings(folder)] == ["constants.a", "constants.b"]
