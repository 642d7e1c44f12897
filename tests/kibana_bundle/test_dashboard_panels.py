"""Every panel of every dashboard, asked as Kibana asks: it parses, runs on nothing, and answers on a day's data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness import operations_day as known
from harness.esql import syntax_errors

from demo.panels import panel_queries
from elastic_ml.kibana_bundle import build_bundle
from elastic_ml.kibana_bundle.columns import answer_of
from elastic_ml.project import load_project

BUNDLE = build_bundle(load_project(Path(__file__).parents[2] / "include"))
QUERIES = {str(query): query for query in panel_queries(BUNDLE.objects)}
LENS_TYPES = {
    "number": {"long", "integer", "double", "unsigned_long", "null"},
    "date": {"date"},
    "string": {"keyword", "text", "ip", "boolean", "null"},
}
OPERATIONS, DATA, FRAUD = "ml-model-operations", "ml-data-and-pipelines", "ml-fraud-operations"


@pytest.mark.parametrize("name", QUERIES)
def test_parses_with_elastics_grammar_and_its_columns_are_told_from_its_text(name: str, day: Any) -> None:
    query, answer = day.answers[name]
    assert syntax_errors(query.esql) == []
    assert [column["name"] for column in answer["columns"]] == answer_of(query.esql).columns


@pytest.mark.parametrize("name", QUERIES)
def test_answers_with_rows_and_columns_of_the_types_that_are_drawn(name: str, day: Any) -> None:
    query, answer = day.answers[name]
    types = {column["name"]: column["type"] for column in answer["columns"]}
    assert answer["values"], "no rows"
    for column, kind in query.columns:
        assert types[column] in LENS_TYPES[kind], f"{column} is {types[column]}, drawn as {kind}"
    drawn = [number for number, column in enumerate(answer["columns"]) if column["name"] in dict(query.columns)]
    assert any(row[number] is not None for row in answer["values"] for number in drawn)


def test_no_panel_is_an_error_before_anything_was_written(day: Any) -> None:
    assert {name: error for name, error in day.empty.items() if error} == {}


def test_sums_stand_for_predictions_and_neither_heartbeats_nor_first_scores_count(day: Any) -> None:
    assert day.value(f"{OPERATIONS}/predictions") == known.PREDICTIONS
    assert day.value(f"{OPERATIONS}/failed-of-all-predictions") == pytest.approx(known.FAILED / known.PREDICTIONS)
    per_minute = day.rows(f"{OPERATIONS}/predictions-per-minute")
    assert sum(row["per_minute"] * 5 for row in per_minute) == pytest.approx(known.PREDICTIONS)


def test_an_alert_that_recovered_or_was_withdrawn_is_not_open(day: Any) -> None:
    assert day.value(f"{OPERATIONS}/open-alerts") == known.OPEN_ALERTS
    *shown, looked = day.rows(f"{OPERATIONS}/alerts-that-are-open")
    assert [(row["order"], row["name"]) for row in shown] == [(1, "bulk_reads"), (2, "P99 latency")]
    assert (looked["order"], looked["severity"], looked["message"]) == (4, None, "nothing else is open")


def test_the_champion_is_told_from_its_heartbeat_and_set_against_its_baseline(day: Any) -> None:
    rows = {row["model_name"]: row for row in day.rows(f"{OPERATIONS}/models-in-production")}
    fraud = rows[known.FRAUD]
    assert (fraud["role"], fraud["model_version"]) == ("● champion", known.CHAMPION)
    assert (fraud["predictions"], fraud["done"]) == (4800, 1.0)
    assert rows[known.HOURS]["done"] == pytest.approx(0.4)
    assert fraud["failed"] == pytest.approx(0.1)
    assert fraud["slower"] == pytest.approx(8.0 / known.BASELINE_MS)
    assert rows["pricing"]["role"] == "◇ service"


def test_means_of_versions_are_weighted_by_the_predictions_behind_each_row(day: Any) -> None:
    rows = {row["model_name"]: row for row in day.rows(f"{OPERATIONS}/versions-compared")}
    requests = [20.0 + number % 7 for number in range(200)]
    assert rows["pricing"]["mean"] == pytest.approx(sum(requests) / 200)
    assert rows[known.FRAUD]["mean"] == pytest.approx(8.0)


def test_a_threshold_has_a_point_wherever_its_panel_has_one(day: Any) -> None:
    for name in QUERIES:
        if name.endswith("/layer_limit"):
            own = day.rows(name.removesuffix("/layer_limit"))
            axis = QUERIES[name].columns[0][0]
            assert {row[axis] for row in day.rows(name)} == {row[axis] for row in own}
    limits = {row["threshold"] for row in day.rows(f"{OPERATIONS}/latency-p99-by-model/layer_limit")}
    assert limits == {2 * known.BASELINE_MS}


def test_refused_records_and_lost_documents_are_counted(day: Any) -> None:
    assert day.value(f"{DATA}/records-refused") == 6
    assert day.value(f"{DATA}/in-failure-stores") == 1
    (row,) = (row for row in day.rows(f"{DATA}/ingested-partitions") if row["source"] == "oracle_audit")
    assert (row["partitions"], row["unfinished"], row["read"], row["missing"]) == (3, 1, 300, 0)


def test_the_newest_state_of_a_thing_counts(day: Any) -> None:
    assert day.value(f"{DATA}/need-a-person") == 1
    assert day.value(f"{DATA}/fullest-disk") == pytest.approx(0.815)
    first, *others = day.rows(f"{DATA}/jobs-transforms-keys-and-disks")
    assert (first["verdict"], first["name"]) == ("✖ needs a person", "node-1")
    assert {row["verdict"] for row in others} == {"✔ well"}


def test_what_drifted_lately_and_not_what_drifted_once_is_counted(day: Any) -> None:
    assert day.value(f"{DATA}/drifting-features") == 1
    figures = day.rows(f"{DATA}/beyond-their-limit-or-nearest-to-it")
    assert [row["state"][:1] for row in figures[:3]] == ["✖", "✖", "✔"]
    assert len(figures) > len([row for row in figures if row["feature"] == "audit.hour"])


def test_anomalies_are_told_before_the_jobs_that_found_nothing_else(day: Any) -> None:
    first, *others = day.rows(f"{FRAUD}/anomalies")
    assert (first["record_score"], first["name"], first["times"]) == (91.5, "bulk_reads", 40.0)
    assert [(row["name"], row["about"]) for row in others] == [("bulk_reads", "nothing else was unusual enough")]
    assert sum(row["anomalies"] for row in day.rows(f"{FRAUD}/anomalies-by-job")) == 1


def test_a_table_of_what_went_wrong_ends_with_the_look_that_saw_nothing_else(day: Any) -> None:
    *refused, seen = day.rows(f"{DATA}/why-records-were-refused")
    assert sum(row["refused"] for row in refused) == 6
    assert (seen["reason"], seen["refused"], seen["example"]) == ("nothing else was refused", 0, None)
    for panel, lost in (("refused-records-by-source", "refused"), ("failure-stores", "failures")):
        rows = day.rows(f"{DATA}/{panel}")
        assert {row[lost] > 0 for row in rows if "nothing else" in row.values()} == {False}
        assert sum(row[lost] for row in rows) == {"refused": 6, "failures": 1}[lost]


def test_the_queue_is_by_risk_and_leaves_out_what_was_judged(day: Any) -> None:
    queue = day.rows(f"{FRAUD}/review-queue")
    scores = [row["ml.audit_fraud.score"] for row in queue]
    assert scores == sorted(scores, reverse=True)
    assert len(queue) == known.RISKY - known.JUDGED_RISKY == day.value(f"{FRAUD}/waiting-for-a-verdict")
    assert queue[0]["event.id"] == f"lendpath.audit-{known.JUDGED_RISKY}"
    # Elasticsearch gives the values of a list in their order as texts.
    assert queue[0]["why"] == "audit.hour=3, source.geo.country_iso_code=RO"


def test_coverage_and_precision_are_shares_of_the_right_wholes(day: Any) -> None:
    assert day.value(f"{FRAUD}/coverage") == pytest.approx(known.SCORED / known.AUDITED)
    share = day.value(f"{FRAUD}/precision-of-the-queue")
    assert share == pytest.approx(known.CONFIRMED / known.JUDGED_RISKY)


def test_an_hour_with_many_verdicts_is_one_row_with_the_highest(day: Any) -> None:
    hours = day.rows(f"{FRAUD}/hours-to-review")
    assert len(hours) == 10
    assert [row["judged"] for row in hours[:3]] == ["confirmed", "confirmed", "-"]
