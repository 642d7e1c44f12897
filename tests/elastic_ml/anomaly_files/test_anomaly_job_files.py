"""Anomaly job files: what they may say, what is refused and how, and the bodies they give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from elastic_ml.exceptions import PartialFailureError, ProjectFileError
from elastic_ml.project import load_project
from elastic_ml.project.anomaly_bodies import calendar_bodies, datafeed_body, filter_bodies, job_body
from elastic_ml.project.check import check_files, invalid_files
from elastic_ml.project.schemas import json_schemas

INCLUDE = Path(__file__).parents[3] / "include"
PROJECT = load_project(INCLUDE)
SHIPPED_JOB = PROJECT.anomaly_job("failed_authentications")
SHIPPED = ["bulk_reads", "failed_authentications", "prediction_latency", "rare_privileged_actions"]


def refusal(folder: Path, old: str, new: str) -> ProjectFileError:
    """What is said of the job file after a change."""
    path = folder / "anomaly_jobs" / "logins.yml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ProjectFileError) as caught:
        load_project(folder).anomaly_job("logins")
    return caught.value


def test_a_job_file_becomes_a_typed_job(folder: Path) -> None:
    job = load_project(folder).anomaly_job("logins")
    assert (job.name, job.mode, job.alert_score, job.replay_days) == ("logins", "partition", 60, 30)
    assert job.job.analysis_config.detectors[0].function == "high_count"
    assert not job.population


def test_the_four_shipped_jobs_are_valid() -> None:
    project = load_project(INCLUDE)
    assert project.anomaly_jobs() == SHIPPED
    modes = {name: (project.anomaly_job(name).mode, project.anomaly_job(name).population) for name in SHIPPED}
    assert modes == {
        "bulk_reads": ("partition", True),
        "failed_authentications": ("partition", False),
        "prediction_latency": ("realtime", False),
        "rare_privileged_actions": ("partition", True),
    }


@pytest.mark.parametrize(
    ("old", "new", "field", "line", "said"),
    [
        ("alert_score", "alert_scores", "alert_scores", 17, "unknown key. Did you mean alert_score?"),
        ("function: high_count", "function: hihg_count", "job.analysis_config.detectors.0.function", 9,
         "'hihg_count' is no function. Did you mean high_count?"),
        ("function: high_count", "function: high_mean", "job.analysis_config.detectors.0.function", 9,
         "high_mean is computed of a field. Add `field_name:`."),
        ("function: high_count", "function: rare", "job.analysis_config.detectors.0.function", 9,
         "rare needs the field whose values are rare. Add `by_field_name:`."),
        ("function: high_count", "function: count\n        field_name: x", "job.analysis_config.detectors.0.field_name",
         10, "count has no field. Remove field_name."),
        ("bucket_span: 1h", "bucket_span: 7h", "job.analysis_config.bucket_span", 7, "a day is no multiple of 7h"),
        ("bucket_span: 1h", "bucket_span: hourly", "job.analysis_config.bucket_span", 7, "is no duration"),
        ("filter_id: robots", "filter_id: robot",
         "job.analysis_config.detectors.0.custom_rules.0.scope.user.id.filter_id", 12,
         "'robot' is no filter of this file. Did you mean robots?"),
        ("  robots: {items", "  staff: {items: [ana]}\n  robots: {items", "filters.staff", 25,
         "no rule of a detector names this filter"),
        ("[crawler, monitoring]", "[crawler, crawler]", "filters.robots.items.1", 25, "crawler is listed twice"),
        ("start: 2026-06-06", "start: 2026-06-08", "calendars.works.events.0.end", 23, "ends before it begins"),
        ("timezone: Europe/Berlin}", "timezone: Europe/Berlun}", "calendars.free_days.timezone", 19, "no time zone"),
        ("holidays: true", "holidays: false", "calendars.free_days", 19, "the calendar has no events"),
        ("groups: [shop]", "groups: [logins]", "groups", 4, "a job and a group cannot both be called logins"),
        ("alert_score: 60", "alert_score: 101", "alert_score", 17, "less than or equal to 100"),
        ("alert_score: 60", "mode: realtime\nreplay_days: 3", "replay_days", 18, "has no partitions to replay"),
        ("datafeed:", "  job_id: x\ndatafeed:", "job.job_id", 14, "unknown key"),
    ],
)  # fmt: skip
def test_a_wrong_file_names_line_field_and_remedy(
    folder: Path, old: str, new: str, field: str, line: int, said: str
) -> None:
    error = refusal(folder, old, new)
    assert (error.field, error.line) == (field, line)
    assert said in str(error)


def test_holidays_need_those_of_the_project(folder: Path) -> None:
    project = folder / "project.yml"
    project.write_text(project.read_text().replace("holidays:", "# holidays:"))
    error = refusal(folder, "owner: security", "owner: security")
    assert (error.field, error.line) == ("calendars.free_days.holidays", 19)


def test_a_file_whose_name_can_be_no_jobs_name_is_refused(folder: Path) -> None:
    (folder / "anomaly_jobs" / "logins.yml").rename(folder / "anomaly_jobs" / "logins_2.yml")
    with pytest.raises(ProjectFileError, match="'logins_2' can be no anomaly job's name"):
        load_project(folder).anomaly_job("logins_2")


def test_a_job_that_is_not_there_is_said_with_those_that_are(folder: Path) -> None:
    with pytest.raises(ProjectFileError, match=r"there is no anomaly job 'login' in this project.*logins"):
        load_project(folder).anomaly_job("login")


def test_the_check_of_all_files_covers_anomaly_jobs(folder: Path) -> None:
    before = {Path(error.file).name for error in invalid_files(folder)}
    (folder / "anomaly_jobs" / "broken.yml").write_text("owner: x\n")
    assert {Path(error.file).name for error in invalid_files(folder)} == before | {"broken.yml"}
    with pytest.raises(PartialFailureError, match=r"broken\.yml.*job: the key is missing"):
        check_files(folder)


def test_the_published_schema_takes_every_file_that_is_valid(folder: Path) -> None:
    schema = json_schemas()["anomaly_job"]
    Draft202012Validator.check_schema(schema)
    files = [*sorted((INCLUDE / "anomaly_jobs").glob("*.yml")), folder / "anomaly_jobs" / "logins.yml"]
    for path in files:
        body = yaml.safe_load(path.read_text())
        for calendar in body.get("calendars", {}).values():
            for event in calendar.get("events", ()):  # an editor sees times as text
                event |= {edge: event[edge].isoformat() for edge in ("start", "end")}
        assert [error.message for error in Draft202012Validator(schema).iter_errors(body)] == [], path
    assert [*Draft202012Validator(schema).iter_errors({"owner": "x", "jobs": {}})]


def test_names_of_a_job_follow_from_its_file() -> None:
    names = load_project(INCLUDE).names
    assert (names.anomaly_job("bulk_reads"), names.anomaly_job("bulk_reads", 2)) == ("bulk_reads", "bulk_reads_v2")
    assert names.datafeed("bulk_reads_v2") == "datafeed-bulk_reads_v2"
    longest = "j" * 30
    assert len(names.anomaly_calendar(longest, "c" * 30)) <= 64 >= len(names.anomaly_filter(longest, "f" * 30))


# Bodies -----------------------------------------------------------------------------------------------------------


def test_what_the_file_says_is_sent_as_it_is_with_ids_for_names(folder: Path) -> None:
    project = load_project(folder)
    job = project.anomaly_job("logins")
    body = job_body(project, job, {"airflow_dag": "anomalies_logins"})
    assert body["description"] == "Sign-ins by user"
    assert body["groups"] == ["shop"]
    assert body["custom_settings"] == {"airflow_dag": "anomalies_logins"}
    [detector] = body["analysis_config"]["detectors"]
    assert detector["custom_rules"][0]["scope"]["user.id"]["filter_id"] == "logins-robots"
    feed = datafeed_body(project, job, "logins_v2")
    assert feed == {
        "indices": ["logs-shop.audit-eu"], "query": {"term": {"event.action": "login"}}, "query_delay": "120s",
        "job_id": "logins_v2",
    }  # fmt: skip
    assert filter_bodies(project, job) == {
        "logins-robots": {"description": "logins: robots [webshop]", "items": ["crawler", "monitoring"]}
    }


def test_a_holiday_is_a_local_day(folder: Path) -> None:
    project = load_project(folder)
    bodies = calendar_bodies(project, project.anomaly_job("logins"))
    assert list(bodies) == ["logins-free_days", "logins-works"]
    events = {event["description"]: event for event in bodies["logins-free_days"]["events"]}
    christmas = events["Christmas Day [webshop]"]
    assert christmas["end_time"] - christmas["start_time"] == 24 * 3_600_000
    assert christmas["end_time"] % 86_400_000 == 23 * 3_600_000  # midnight in Berlin in winter
    [move] = bodies["logins-works"]["events"]
    assert (move["start_time"], move["end_time"]) == (1_780_768_800_000, 1_780_804_800_000)  # 18:00 and 04:00 UTC


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["user.id", "event.action", "source.ip"]), st.text(max_size=8), max_size=3),
    st.text(max_size=30),
)
def test_any_text_survives_rendering(query: dict[str, Any], description: str) -> None:
    datafeed = SHIPPED_JOB.datafeed.model_copy(update={"query": {"bool": {"filter": [{"term": query}]}}})
    job = SHIPPED_JOB.model_copy(update={"description": description, "datafeed": datafeed})
    assert datafeed_body(PROJECT, job, "j")["query"] == {"bool": {"filter": [{"term": query}]}}
    assert job_body(PROJECT, job, {})["description"] == (description or job.name)
