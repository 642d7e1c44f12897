"""The commands of ES|QL over documents: what rows, in which columns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sandbox.esql_world import DEFAULT_LIMIT, World


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    made.index(
        "rides",
        {"line": "keyword", "stops": "integer", "km": "double", "at": "date", "tags": "keyword",
         "note": {"type": "text", "fields": {"raw": {"type": "keyword"}}}, "gate": {"type": "object"},
         "delays": "long", "open": "boolean"},
        [
            {"line": "blue", "stops": 4, "km": 2.5, "at": "2026-03-01T06:10:00Z", "tags": ["tram", "early"],
             "note": "Doors stuck twice", "gate": {"id": "g1"}, "delays": [30, 10], "open": True},
            {"line": "blue", "stops": 9, "km": 7.25, "at": "2026-03-01T07:40:00Z", "tags": "tram",
             "note": "no trouble", "delays": 5, "open": False},
            {"line": "red", "stops": 2, "km": 1.0, "at": "2026-03-01T07:55:00Z", "tags": ["bus", "tram"]},
            {"line": "red", "stops": 6, "at": "2026-03-02T09:00:00Z", "open": True},
            {"stops": 1, "km": 9.5},
        ],
    )  # fmt: skip
    made.index(
        "lines",
        {"line": "keyword", "depot": "keyword", "km": "double"},
        [{"line": "blue", "depot": "north", "km": 40}, {"line": "red", "depot": "south"},
         {"line": "red", "depot": "west"}],
        **{"index.mode": "lookup"},
    )  # fmt: skip
    yield made
    made.backend.close()


def test_from_lists_fields_by_name_multi_fields_included(world: World) -> None:
    assert world.types("FROM rides | LIMIT 0") == {
        "at": "date", "delays": "long", "gate.id": "text", "gate.id.keyword": "keyword", "km": "double",
        "line": "keyword", "note": "text", "note.raw": "keyword", "open": "boolean", "stops": "integer",
        "tags": "keyword",
    }  # fmt: skip


def test_several_values_come_sorted_and_keywords_once(world: World) -> None:
    assert world.rows("FROM rides | SORT stops DESC | KEEP tags, delays | LIMIT 3 | SORT tags") == [
        [["early", "tram"], [10, 30]],
        ["tram", 5],
        [None, None],
    ]


def test_a_text_is_what_the_source_says(world: World) -> None:
    assert world.rows("FROM rides | WHERE stops == 4 | KEEP note, note.raw, gate.id") == [
        ["Doors stuck twice", "Doors stuck twice", "g1"]
    ]


def test_metadata_comes_last(world: World) -> None:
    answer = world.ask("FROM rides METADATA _index, _id | WHERE stops == 9 | DROP n*, g*, d*, o*, tags, at, km, line")
    assert [column["name"] for column in answer.columns] == ["stops", "_index", "_id"]
    assert answer.values == [[9, "rides", "1"]]


def test_the_source_can_be_asked_for(world: World) -> None:
    assert world.rows("FROM rides METADATA _source | WHERE stops == 1 | KEEP _source") == [[{"stops": 1, "km": 9.5}]]


@pytest.mark.parametrize(
    ("condition", "stops"),
    [
        ("km > 2", [1, 4, 9]),
        ("km > 2 OR open", [1, 4, 6, 9]),
        ("NOT open", [9]),
        ("open IS NULL AND line IS NOT NULL", [2]),
        ('line IN ("red", null)', [2, 6]),
        ('line NOT IN ("red")', [4, 9]),
        ('NOT (line == "red" AND km > 0.5)', [4, 9]),
        ("null", []),
        ('at >= "2026-03-01T07:00:00Z" AND at < "2026-03-02"', [2, 9]),
        ('line LIKE "b*" AND stops + 1 > 5', [9]),
        ('line RLIKE "(re|gr)."', [2, 6]),
        ('note:"TWICE unknown"', [4]),
        ('NOT note:"doors"', [1, 2, 6, 9]),
        ('tags:"tram"', [2, 4, 9]),
        ("delays:10", [4]),
        ("true", [1, 2, 4, 6, 9]),
    ],
)
def test_where_keeps_what_is_true(world: World, condition: str, stops: list[int]) -> None:
    assert world.rows(f"FROM rides | WHERE {condition} | SORT stops | KEEP stops") == [[n] for n in stops]


def test_eval_moves_a_replaced_column_to_the_end_and_sees_its_own_columns(world: World) -> None:
    answer = world.ask("FROM rides | KEEP km, stops | EVAL km = stops * 2, far = km + 1, km + 1 | SORT stops | LIMIT 1")
    assert [column["name"] for column in answer.columns] == ["stops", "km", "far", "km + 1"]
    assert answer.values == [[1, 2, 3, 3]]


@pytest.mark.parametrize(
    ("sort", "lines"),
    [
        ("line", ["blue", "blue", "red", "red", None]),
        ("line DESC", [None, "red", "red", "blue", "blue"]),
        ("line NULLS FIRST", [None, "blue", "blue", "red", "red"]),
        ("line DESC NULLS LAST", ["red", "red", "blue", "blue", None]),
    ],
)
def test_nulls_are_greatest_unless_told_otherwise(world: World, sort: str, lines: list[str | None]) -> None:
    assert world.rows(f"FROM rides | SORT {sort}, stops | KEEP line") == [[line] for line in lines]


def test_a_list_sorts_by_its_smallest_value_and_descending_by_its_largest(world: World) -> None:
    assert world.rows("FROM rides | WHERE tags IS NOT NULL | SORT tags, stops | KEEP stops") == [[2], [4], [9]]
    assert world.rows("FROM rides | WHERE delays IS NOT NULL | SORT delays DESC | KEEP stops") == [[4], [9]]


def test_order_survives_what_does_not_change_rows(world: World) -> None:
    assert world.rows("FROM rides | SORT stops DESC | EVAL x = stops * 10 | WHERE x > 10 | LIMIT 2 | KEEP x") == [
        [90],
        [60],
    ]


def test_keep_prefers_names_to_patterns_and_patterns_to_everything(world: World) -> None:
    assert list(world.types("FROM rides | KEEP line, *, s* | LIMIT 0"))[-1] == "stops"
    assert list(world.types("FROM rides | KEEP o*, open, k*, km | LIMIT 0")) == ["open", "km"]
    assert list(world.types("FROM rides | KEEP stops, line, stops | LIMIT 0")) == ["line", "stops"]


def test_rename_keeps_the_place_and_takes_both_notations(world: World) -> None:
    assert list(world.types("FROM rides | KEEP km, line, stops | RENAME line AS km, n = stops | LIMIT 0")) == [
        "km",
        "n",
    ]


def test_mv_expand_gives_a_row_per_value_and_keeps_rows_without(world: World) -> None:
    assert world.rows("FROM rides | MV_EXPAND delays | KEEP stops, delays | SORT stops, delays") == [
        [1, None], [2, None], [4, 10], [4, 30], [6, None], [9, 5],
    ]  # fmt: skip


def test_a_group_is_made_of_every_value_and_of_none(world: World) -> None:
    assert world.rows("FROM rides | STATS n = COUNT(*), s = SUM(stops) BY tags | SORT tags") == [
        [1, 2, "bus"],
        [1, 4, "early"],
        [3, 15, "tram"],
        [2, 7, None],
    ]


def test_aggregates_come_before_groups_and_are_named_by_their_source(world: World) -> None:
    answer = world.ask(
        "FROM rides | STATS MAX(km), n = COUNT(km) WHERE open, COUNT(*) WHERE km > 2 BY line | SORT line"
    )
    assert [(column["name"], column["type"]) for column in answer.columns] == [
        ("MAX(km)", "double"), ("n", "long"), ("COUNT(*) WHERE km > 2", "long"), ("line", "keyword"),
    ]  # fmt: skip
    assert answer.values == [[7.25, 1, 2, "blue"], [1.0, 0, 0, "red"], [9.5, 0, 1, None]]


def test_an_aggregate_over_nothing_is_null_and_a_count_is_zero(world: World) -> None:
    assert world.rows("FROM rides | WHERE stops > 99 | STATS COUNT(*), COUNT(km), SUM(km), MAX(line), VALUES(km)") == [
        [0, 0, None, None, None]
    ]
    assert world.rows("FROM rides | WHERE stops > 99 | STATS COUNT(*) BY line") == []


def test_expressions_over_aggregates_and_groups(world: World) -> None:
    query = "FROM rides | STATS per = ROUND(SUM(km) / COUNT(*), 2), s2 = half + 1 BY half = stops / 2 | SORT half"
    assert world.rows(query) == [
        [9.5, 1, 0],
        [1.0, 2, 1],
        [2.5, 3, 2],
        [None, 4, 3],
        [7.25, 5, 4],
    ]


def test_values_of_lists_are_aggregated_one_by_one(world: World) -> None:
    answer = world.ask(
        "FROM rides | STATS COUNT(delays), SUM(delays), MIN(delays), MAX(delays), AVG(delays), MEDIAN(delays), "
        'COUNT_DISTINCT(tags), VALUES(tags), TOP(delays, 2, "desc"), PERCENTILE(delays, 25)'
    )
    assert answer.values == [[3, 45, 5, 30, 15.0, 10.0, 3, ["bus", "early", "tram"], [30, 10], 7.5]]


def test_stats_without_aggregates_lists_the_groups(world: World) -> None:
    assert world.rows("FROM rides | STATS BY line | SORT line") == [["blue"], ["red"], [None]]


def test_the_last_of_two_columns_of_one_name_wins_with_a_warning(world: World) -> None:
    answer = world.ask("FROM rides | STATS x = MAX(km), x = MIN(km) | LIMIT 1")
    assert answer.values == [[1.0]]
    assert answer.warnings == ["Line 1:20: Field 'x' shadowed by field at line 1:33"]


def test_a_count_is_grouped_by_time(world: World) -> None:
    query = "FROM rides | WHERE at IS NOT NULL | STATS n = COUNT(*) BY h = BUCKET(at, 1 hour) | SORT h"
    assert world.rows(query) == [
        [1, "2026-03-01T06:00:00.000Z"],
        [2, "2026-03-01T07:00:00.000Z"],
        [1, "2026-03-02T09:00:00.000Z"],
    ]


def test_lookup_join_adds_columns_repeats_rows_and_replaces_namesakes(world: World) -> None:
    answer = world.ask("FROM rides | KEEP km, line, stops | LOOKUP JOIN lines ON line | SORT stops, depot")
    assert [column["name"] for column in answer.columns] == ["line", "stops", "depot", "km"]
    assert answer.values == [
        [None, 1, None, None],
        ["red", 2, "south", None], ["red", 2, "west", None],
        ["blue", 4, "north", 40.0],
        ["red", 6, "south", None], ["red", 6, "west", None],
        ["blue", 9, "north", 40.0],
    ]  # fmt: skip


def test_lookup_join_on_an_expression_of_the_query(world: World) -> None:
    query = 'ROW a = "bl", b = "ue" | EVAL line = CONCAT(a, b) | LOOKUP JOIN lines ON line | KEEP depot, km'
    assert world.rows(query) == [["north", 40.0]]


def test_a_list_joins_nothing_and_says_so(world: World) -> None:
    query = 'ROW line = ["blue", "red"] | LOOKUP JOIN lines ON line'
    assert world.rows(query) == [[["blue", "red"], None, None]]
    assert world.warnings(query) == [
        "Line 1:30: evaluation of [LOOKUP JOIN lines ON line] failed, treating result as null. Only first 20 failures "
        "recorded.",
        "Line 1:30: java.lang.IllegalArgumentException: LOOKUP JOIN encountered multi-value",
    ]


def test_without_a_limit_a_thousand_rows_come_with_a_warning(world: World) -> None:
    world.index("many", {"n": "long"}, [{"n": n} for n in range(10_050)])
    answer = world.ask("FROM many")
    assert (len(answer.values), answer.warnings) == (1000, [DEFAULT_LIMIT])
    assert len(world.rows("FROM many | LIMIT 10020")) == 10_000
    assert world.ask("FROM many | LIMIT 3 | STATS n = COUNT(*)").warnings == []
    assert world.rows("FROM many | STATS s = SUM(n)") == [[sum(range(10_050))]]


def test_sources_are_joined_by_name_and_missing_fields_are_null(world: World) -> None:
    world.index("old-1", {"a": "keyword", "n": "short"}, [{"a": "x", "n": 1}])
    world.index("old-2", {"b": "wildcard", "n": "integer"}, [{"b": "y", "n": [3, 2]}])
    assert world.rows("FROM old-1, old-2 | KEEP a, b, n | SORT a") == [["x", None, 1], [None, "y", [2, 3]]]
    assert world.rows("FROM old-*,-old-2 | STATS COUNT(*)") == [[1]]
    assert world.types("FROM old-* | LIMIT 0") == {"a": "keyword", "b": "keyword", "n": "integer"}


def test_an_index_without_fields_has_rows(world: World) -> None:
    world.index("bare", {}, [{}, {}])
    assert world.rows("FROM bare | STATS n = COUNT(*)") == [[2]]
    assert world.types("FROM bare") == {"<no-fields>": "null"}


@pytest.fixture(scope="module")
def operations() -> Iterator[World]:
    """A quarter of an hour of prediction logs: `slow` takes three times its baseline, `mute` only beats."""
    made = World()
    fields = {"@timestamp": "date", "model_name": "keyword", "model_version": "keyword", "event_type": "keyword",
              "status": "keyword", "latency_ms": "float", "count": "long", "expected": "long",
              "min_expected": "long"}  # fmt: skip
    documents: list[dict[str, object]] = []
    for minute in range(0, 15, 5):
        at = f"2026-04-01T10:{minute:02}:00Z"
        for model, latency in (("slow", 90.0), ("fine", 21.0)):
            common = {"@timestamp": at, "model_name": model, "model_version": "v1"}
            documents.append(
                {**common, "event_type": "predict", "status": "success", "latency_ms": latency, "count": 40}
            )
            documents.append({**common, "event_type": "predict", "status": "error", "latency_ms": latency, "count": 2})
        beat = {"@timestamp": at, "event_type": "heartbeat", "expected": 40, "min_expected": 10}
        documents += [{**beat, "model_name": model} for model in ("slow", "fine", "mute")]
    made.index("predictions", fields, documents)
    made.index(
        "ml-baselines",
        {"model_key": "keyword", "baseline_p99_ms": "double"},
        [{"model_key": "slow@v1", "baseline_p99_ms": 30}, {"model_key": "fine@v1", "baseline_p99_ms": 20}],
        **{"index.mode": "lookup"},
    )  # fmt: skip
    yield made
    made.backend.close()


def test_the_latency_rule_finds_the_model_that_left_its_baseline(operations: World) -> None:
    query = """FROM predictions
        | WHERE event_type == "predict"
        | STATS p99 = PERCENTILE(latency_ms, 99), n = SUM(count) BY model_name, model_version
        | EVAL model_key = CONCAT(model_name, "@", model_version)
        | LOOKUP JOIN ml-baselines ON model_key
        | WHERE n >= 50 AND p99 > 2 * baseline_p99_ms
        | KEEP model_name, n, p99, baseline_p99_ms"""
    assert operations.rows(query) == [["slow", 126, 90.0, 30.0]]


def test_the_silence_rule_finds_the_model_that_says_nothing(operations: World) -> None:
    query = """FROM predictions
        | STATS p = SUM(count) WHERE event_type == "predict", expected = SUM(expected) WHERE event_type == "heartbeat",
            floor = MAX(min_expected) WHERE event_type == "heartbeat" BY model_name
        | WHERE expected >= floor AND COALESCE(p, 0) == 0"""
    assert operations.rows(query) == [[None, 120, 10, "mute"]]


def test_a_panel_shows_rates_over_time_for_the_range_of_the_dashboard(operations: World) -> None:
    query = """FROM predictions
        | WHERE event_type == "predict"
        | STATS errors = SUM(count) WHERE status == "error", all = SUM(count)
            BY b = BUCKET(@timestamp, 3, ?_tstart, ?_tend), model_name
        | EVAL rate = ROUND(100.0 * errors / all, 1) | SORT b, model_name | KEEP b, model_name, rate | LIMIT 2"""
    params = [{"_tstart": "2026-04-01T10:00:00.000Z"}, {"_tend": "2026-04-01T10:15:00.000Z"}]
    assert operations.rows(query, params=params) == [
        ["2026-04-01T10:00:00.000Z", "fine", 4.8],
        ["2026-04-01T10:00:00.000Z", "slow", 4.8],
    ]
