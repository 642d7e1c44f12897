"""Order, pages, points in time, scrolls, and what a hit shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from elasticsearch import ApiError, BadRequestError, NotFoundError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_sandbox.testing import Sandbox

START = 1_767_222_000_000
"""Milliseconds of 2025-12-31T23:00:00Z; a number of four digits would be read as a year, here as on the server."""


@pytest.fixture
def numbers(elasticsearch: Elasticsearch) -> Elasticsearch:
    """25 documents over two indices; every fifth has no ``n``."""
    properties = {"n": {"type": "long"}, "k": {"type": "keyword"}, "t": {"type": "text"}, "d": {"type": "date"}}
    for name in ("p-1", "p-2"):
        elasticsearch.indices.create(index=name, mappings={"properties": properties})
    operations: list[dict[str, Any]] = []
    for i in range(25):
        document: dict[str, Any] = {
            "k": f"k{i % 4}",
            "t": "words",
            "d": START + i * 1000,
            "a": {"b": i, "c": [{"x": 1, "y": 2}]},
        }
        if i % 5:
            document["n"] = i
        operations += [{"index": {"_index": f"p-{1 + i % 2}", "_id": f"{i:02d}"}}, document]
    assert not elasticsearch.bulk(operations=operations, refresh=True)["errors"]
    return elasticsearch


def _hits(answer: Any) -> list[Any]:
    return answer["hits"]["hits"]


def test_hits_come_sorted_with_missing_values_last_unless_asked(numbers: Elasticsearch) -> None:
    ascending = _hits(numbers.search(index="p-*", sort=[{"n": "asc"}, {"d": "asc"}], size=100))
    assert [hit["sort"][0] for hit in ascending[:3]] == [1, 2, 3]
    assert [hit["_id"] for hit in ascending[-5:]] == ["00", "05", "10", "15", "20"]
    assert ascending[-1]["sort"] == [9223372036854775807, START + 20000]
    first = _hits(numbers.search(index="p-*", sort=[{"n": {"order": "desc", "missing": "_first"}}, "d"], size=6))
    assert [hit["_id"] for hit in first] == ["00", "05", "10", "15", "20", "24"]
    filled = _hits(numbers.search(index="p-*", sort=[{"n": {"order": "asc", "missing": 2}}, "d"], size=3))
    assert [hit["_id"] for hit in filled] == ["01", "00", "02"]


def test_search_after_walks_every_document_once(numbers: Elasticsearch) -> None:
    for sort in (
        [{"k": "desc"}, {"d": "asc"}],
        [{"n": "desc"}, {"d": "desc"}],
        [{"n": {"order": "asc", "missing": "_first"}}, "d"],
    ):
        everything = [hit["_id"] for hit in _hits(numbers.search(index="p-*", sort=sort, size=100))]
        walked: list[str] = []
        after = None
        while page := _hits(numbers.search(index="p-*", sort=sort, size=7, search_after=after)):
            walked += [hit["_id"] for hit in page]
            after = page[-1]["sort"]
        assert walked == everything
        assert len(set(walked)) == 25


def test_from_and_size_page_and_are_limited(numbers: Elasticsearch) -> None:
    page = _hits(numbers.search(index="p-*", sort=["d"], from_=20, size=10))
    assert [hit["_id"] for hit in page] == ["20", "21", "22", "23", "24"]
    with pytest.raises(BadRequestError) as refused:
        numbers.search(index="p-*", from_=1, size=10_000)
    reason = refused.value.body["error"]["root_cause"][0]["reason"]
    assert "Result window is too large, from + size must be less than or equal to: [10000] but was [10001]" in reason


def test_totals_are_exact_up_to_the_limit_asked_for(numbers: Elasticsearch) -> None:
    def total(**options: Any) -> Any:
        return numbers.search(index="p-*", size=0, **options)["hits"].get("total")

    assert total() == {"value": 25, "relation": "eq"}
    assert total(track_total_hits=10) == {"value": 10, "relation": "gte"}
    assert total(track_total_hits=True) == {"value": 25, "relation": "eq"}
    assert total(track_total_hits=False) is None


@pytest.mark.parametrize("size", [0, 5, 7, 8, 25, 40])
def test_the_total_does_not_depend_on_the_page(numbers: Elasticsearch, size: int) -> None:
    seven = {"range": {"d": {"lt": START + 7000}}}
    for offset in (0, 2, 7, 9):
        answer = numbers.search(index="p-*", query=seven, size=size, from_=offset)
        assert answer["hits"]["total"] == {"value": 7, "relation": "eq"}
        answer = numbers.search(index="p-*", query=seven, size=size, from_=offset, track_total_hits=6)
        assert answer["hits"]["total"] == {"value": 6, "relation": "gte"}
    later = numbers.search(index="p-*", query=seven, size=max(size, 1), sort=["d"], search_after=[START + 4000])
    assert later["hits"]["total"]["value"] == 7


def test_a_score_is_shown_only_without_a_sort(numbers: Elasticsearch) -> None:
    plain = numbers.search(index="p-*", size=1)["hits"]
    assert (plain["max_score"], plain["hits"][0]["_score"]) == (1.0, 1.0)
    assert "sort" not in plain["hits"][0]
    ordered = numbers.search(index="p-*", size=1, sort=["d"])["hits"]
    assert (ordered["max_score"], ordered["hits"][0]["_score"]) == (None, None)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (False, None),
        (["a.b"], {"a": {"b": 1}}),
        ("a", {"a": {"b": 1, "c": [{"x": 1, "y": 2}]}}),
        ({"includes": ["a", "k"], "excludes": ["*.y", "a.b"]}, {"k": "k1", "a": {"c": [{"x": 1}]}}),
        (["*.x"], {"a": {"c": [{"x": 1}]}}),
    ],
)
def test_the_source_is_filtered(numbers: Elasticsearch, source: Any, shown: Any) -> None:
    [hit] = _hits(numbers.search(index="p-*", query={"ids": {"values": ["01"]}}, source=source))
    assert hit.get("_source") == shown


def test_fields_are_read_by_the_mapping(numbers: Elasticsearch) -> None:
    [hit] = _hits(
        numbers.search(
            index="p-*", query={"ids": {"values": ["07"]}}, fields=["k", {"field": "d", "format": "yyyy"}], source=False
        )
    )
    assert hit["fields"] == {"k": ["k3"], "d": ["2025"]}


def test_version_and_sequence_numbers_are_shown_when_asked(numbers: Elasticsearch) -> None:
    [hit] = _hits(
        numbers.search(index="p-1", query={"ids": {"values": ["02"]}}, version=True, seq_no_primary_term=True)
    )
    assert (hit["_version"], hit["_seq_no"], hit["_primary_term"]) == (1, 1, 1)


def test_sorting_by_what_cannot_be_sorted_is_refused(numbers: Elasticsearch) -> None:
    for sort, words in {
        "t": "Fielddata is disabled on [t] in [p-1]",
        "zzz": "No mapping found for [zzz] in order to sort on",
        "_id": "Fielddata access on the _id field is disallowed",
    }.items():
        with pytest.raises(BadRequestError) as refused:
            numbers.search(index="p-*", sort=[sort])
        assert words in refused.value.body["error"]["root_cause"][0]["reason"]
        assert refused.value.body["error"]["type"] == "search_phase_execution_exception"
    unmapped = numbers.search(index="p-*", sort=[{"zzz": {"unmapped_type": "long"}}])
    assert unmapped["hits"]["total"]["value"] == 25


def test_a_string_here_and_a_number_there_cannot_be_sorted_together(elasticsearch: Elasticsearch) -> None:
    for name, kind in {"s-1": "keyword", "s-2": "long"}.items():
        elasticsearch.indices.create(index=name, mappings={"properties": {"v": {"type": kind}}})
    with pytest.raises(BadRequestError) as refused:
        elasticsearch.search(index="s-*", sort=["v"])
    assert "incompatible sort types: [LONG], [STRING] across shards" in refused.value.body["error"]["reason"]


def test_a_point_in_time_does_not_move(numbers: Elasticsearch) -> None:
    pit = numbers.open_point_in_time(index="p-*", keep_alive="1m")["id"]
    numbers.index(index="p-1", id="new", document={"n": 99}, refresh=True)
    numbers.delete(index="p-1", id="02", refresh=True)
    numbers.update(index="p-2", id="01", doc={"n": [1, 2]}, refresh=True)
    numbers.indices.delete(index="p-2")
    seen: list[str] = []
    after = None
    while page := numbers.search(pit={"id": pit, "keep_alive": "1m"}, sort=[{"n": "asc"}], size=6, search_after=after)[
        "hits"
    ]["hits"]:
        seen += [hit["_id"] for hit in page]
        after = page[-1]["sort"]
        assert len(after) == 2  # the implicit _shard_doc
    assert len(seen) == 25
    assert {"02", "01"} <= set(seen)
    assert "new" not in seen
    assert numbers.close_point_in_time(id=pit)["num_freed"] == 1
    with pytest.raises(NotFoundError) as gone:
        numbers.search(pit={"id": pit})
    assert gone.value.body["error"]["root_cause"][0]["type"] == "search_context_missing_exception"


def test_a_point_in_time_expires_by_the_clock(numbers: Elasticsearch, sandbox: Sandbox) -> None:
    pit = numbers.open_point_in_time(index="p-*", keep_alive="1m")["id"]
    sandbox.clock.advance(61)
    with pytest.raises(NotFoundError):
        numbers.search(pit={"id": pit})


def test_a_scroll_gives_every_document_of_the_moment_it_began(numbers: Elasticsearch) -> None:
    page = numbers.search(index="p-*", scroll="1m", size=10, sort=["_doc"])
    numbers.delete_by_query(index="p-*", query={"match_all": {}}, refresh=True)
    seen = []
    while page["hits"]["hits"]:
        seen += [hit["_id"] for hit in page["hits"]["hits"]]
        assert page["hits"]["total"]["value"] == 25
        page = numbers.scroll(scroll_id=page["_scroll_id"], scroll="1m")
    assert sorted(seen) == [f"{i:02d}" for i in range(25)]
    assert numbers.clear_scroll(scroll_id=page["_scroll_id"])["num_freed"] == 1


@pytest.mark.parametrize("key", ["highlight", "collapse", "script_fields", "suggest"])
def test_a_part_of_a_search_the_sandbox_lacks_is_501_by_name(numbers: Elasticsearch, key: str) -> None:
    with pytest.raises(ApiError) as refused:
        numbers.perform_request(
            "POST",
            "/p-1/_search",
            headers={"accept": "application/json", "content-type": "application/json"},
            body={key: {}},
        )
    assert refused.value.status_code == 501
    assert f"[{key}]" in refused.value.body["error"]["reason"]


def test_an_unknown_part_of_a_search_is_a_400(numbers: Elasticsearch) -> None:
    with pytest.raises(BadRequestError) as refused:
        numbers.perform_request(
            "POST",
            "/p-1/_search",
            headers={"accept": "application/json", "content-type": "application/json"},
            body={"sise": 1},
        )
    assert refused.value.body["error"]["reason"] == "Unknown key for a VALUE_NUMBER in [sise]."
