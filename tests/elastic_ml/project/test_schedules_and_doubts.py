"""What `check` finds that would only fail, or do nothing, in Airflow: schedules, placeholders, files nobody reads."""

import shutil
from pathlib import Path

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_ml.project import load_project
from elastic_ml.project.check import findings
from elastic_ml.project.cron import PRESETS, check_cron
from elastic_ml.project.doubts import doubts
from elastic_ml.project.yaml_files import InvalidValueError

WEBSHOP = Path(__file__).parent / "webshop"
INCLUDE = Path(__file__).parents[3] / "include"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = Path(shutil.copytree(WEBSHOP, tmp_path / "webshop"))
    replace(made / "models/odd_accounts.yml", "features-shop.user_hour", "logs-shop.audit-eu")
    return made


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# schedules


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("every day", "no schedule"),
        ("0 3 * *", "no schedule"),
        ("0 0 3 * * 0", "no schedule"),
        ("", "no schedule"),
        ("61 3 * * 0", "'61'"),
        ("0 24 * * *", "'24'"),
        ("0 3 * * noday", "'noday'"),
        ("*/0 * * * *", r"'\*/0'"),
        ("0 3 ? * ?", "no day"),
        ("0 3 * * 5#2,mon", "mixes"),
        ("0 3 1 * 5#2", "mixes"),
        ("0 3 30 2 *", "never comes"),
        ("0 3 31 apr,6 ?", "never comes"),
        ("@dayly", "@dayly"),
        ("@continuous", "@continuous"),
    ],
)
def test_what_is_no_schedule_names_file_line_and_remedy(folder: Path, written: str, said: str):
    with (folder / "models/refund_abuse.yml").open("a") as file:
        file.write(f'\nschedule: "{written}"\n')
    [error] = findings(folder)
    text = (folder / "models/refund_abuse.yml").read_text().splitlines()
    assert text[error.line - 1].startswith("schedule:")
    assert error.field == "schedule"
    assert error.remedy
    with pytest.raises(InvalidValueError, match=said):
        check_cron(written)


@pytest.mark.parametrize(
    "written",
    [
        *PRESETS,
        "0 3 * * 0",
        "*/15 * * * *",
        "0 0 L * *",
        "0 0 * * 5#2",
        "0 3 * * MON-FRI",
        "0 0 1 jan,jul ?",
        "0 3 31 2,3 *",
        "0 3 31 * *",
        "0 3 30 2 1",
        "5-59/5 22-2 * * 7",
    ],
)
def test_what_airflow_takes_as_a_schedule_is_taken(written: str):
    from airflow.timetables.trigger import CronTriggerTimetable

    assert check_cron(written) == written
    CronTriggerTimetable(written, timezone="UTC").validate()


PART = st.one_of(
    st.sampled_from(["*", "?", "l", "l5", "l8", "mon", "jan", "5#2", "mon#6", "", "-", "*/"]),
    st.integers(0, 70).map(str),
    st.tuples(st.integers(0, 62), st.integers(0, 62)).map(lambda pair: f"{pair[0]}-{pair[1]}"),
    st.tuples(st.sampled_from(["*", "1", "1-7", "mon-fri"]), st.integers(0, 70)).map(
        lambda pair: f"{pair[0]}/{pair[1]}"
    ),
)
FIELD = st.lists(PART, min_size=1, max_size=2).map(",".join)


@settings(max_examples=300, deadline=None)
@given(st.tuples(st.integers(0, 4), FIELD))
def test_no_schedule_is_taken_that_croniter_refuses(at: tuple[int, str]):
    fields = ["0", "3", "*", "*", "*"]
    fields[at[0]] = at[1]
    written = " ".join(fields)
    try:
        check_cron(written)
    except InvalidValueError:
        return
    assert croniter(written).get_next() > 0, written


# paths


def test_a_path_with_an_unknown_placeholder_is_refused(folder: Path):
    path = folder / "sources/shop.yml"
    replace(path, "%Y-%m-%d", "{dayy}")
    [error] = findings(folder)
    assert "{dayy}" in path.read_text().splitlines()[error.line - 1]
    assert (error.field, error.remedy) == ("reader.path", "Did you mean {day}?")


@pytest.mark.parametrize(
    ("options", "path", "field", "remedy"),
    [
        (
            'params: {from: "{start}", to: "{end}"}',
            "/v1/{enviroment_id}/x",
            "reader.path",
            "Did you mean {environment_id}?",
        ),
        ('params: {from: "{strat}", to: "{end}"}', "/v1/x", "reader.options.params.from", "Did you mean {start}?"),
        (
            'params: {e: "{environment_id}", f: "{start_s}", t: "{end_s}"}',
            "/x",
            "reader.options.params.e",
            "Use {start}",
        ),
    ],
)
def test_an_api_is_asked_for_nothing_that_stays_in_braces(folder: Path, options, path, field, remedy):
    source = folder / "sources/shop.yml"
    lines = [line for line in source.read_text().splitlines() if not line.startswith("reader:")]
    reader = f"reader: {{kind: http, conn_id: api, path: '{path}', options: {{{options}}}}}"
    source.write_text("\n".join([*lines, reader, ""]))
    [error] = findings(folder)
    assert (error.line, error.field) == (len(lines) + 1, field)
    assert error.remedy.startswith(remedy)
    assert "is no placeholder" in error.problem


def test_an_api_may_have_braces_of_its_own(folder: Path):
    source = folder / "sources/shop.yml"
    lines = [line for line in source.read_text().splitlines() if not line.startswith("reader:")]
    params = """{q: "{name} after {after}", to: "{end}", body: '{"a": {b}}'}"""
    reader = f"reader: {{kind: http, conn_id: api, path: /x, options: {{params: {params}}}}}"
    source.write_text("\n".join([*lines, reader, ""]))
    assert findings(folder) == []


# what may be meant so


def test_the_shipped_project_raises_no_doubt():
    assert doubts(INCLUDE) == []


def test_an_index_that_the_project_does_not_know_is_a_doubt_with_the_nearest(folder: Path):
    replace(folder / "models/refund_abuse.yml", "logs-shop.audit-eu", "logs-shop.audits-eu")
    assert findings(folder) == []
    [doubt] = doubts(folder)
    assert (Path(doubt.file).name, doubt.line, doubt.field) == ("refund_abuse.yml", 2, "source.index.0")
    assert "logs-shop.audit-eu" in doubt.remedy


@pytest.mark.parametrize("index", ["logs-shop.*", "logs-auth0.logs-prod", "shop-model-cards", "odd_accounts_results"])
def test_streams_patterns_and_own_indices_raise_no_doubt(folder: Path, index: str):
    replace(folder / "models/refund_abuse.yml", "logs-shop.audit-eu", f'"{index}"')
    assert index in load_project(folder).model("refund_abuse").source.index
    assert doubts(folder) == []


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("models/other.yaml", "other.yml"),
        ("models/old/other.yml", "other.yml"),
        ("sources/more.json", "more.yml"),
        ("templates/ilm/audit.yml", "audit.yml.j2"),
        ("project.yaml", "project.yml"),
        ("model", "models/"),
        ("anomaly-jobs", "anomaly_jobs/"),
        ("models.yml", "models/"),
    ],
)
def test_what_nobody_reads_is_a_doubt(folder: Path, name: str, remedy: str):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix:
        path.write_text("owner: me\n")
    else:
        path.mkdir()
    [doubt] = doubts(folder)
    assert doubt.file == str(path)
    assert "nobody reads" in doubt.problem
    assert remedy in doubt.remedy


@pytest.mark.parametrize(
    "name", ["README.md", "models/README.md", "models/.gitkeep", "sources/__pycache__/a.pyc", "names.csv"]
)
def test_pages_and_hidden_files_raise_no_doubt(folder: Path, name: str):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("")
    assert doubts(folder) == []


def test_a_name_table_may_lie_beside_the_sources(folder: Path):
    (folder / "sources/people.csv").write_text("")
    [doubt] = doubts(folder)
    assert doubt.file.endswith("people.csv")
    with (folder / "sources/shop.yml").open("a") as file:
        file.write("\nnames: sources/people.csv\n")
    assert findings(folder) == []
    assert doubts(folder) == []


def test_a_misnamed_project_file_is_named_where_project_yml_is_missing(folder: Path):
    (folder / "project.yml").rename(folder / "project.yaml")
    [error] = findings(folder)
    assert "ename project.yaml" in error.remedy
    assert doubts(folder) == []
