"""Transforms over HTTP: what is refused, in which words; states and conflicts, as Elastic's YAML tests have them."""

import time
from typing import Any

import pytest
from elasticsearch import ApiError, Elasticsearch

from elastic_sandbox.testing import serve

PIVOT = {
    "group_by": {"airline": {"terms": {"field": "airline"}}},
    "aggregations": {"avg_response": {"avg": {"field": "responsetime"}}},
}
BY_HOUR = {
    "group_by": {
        "airline": {"terms": {"field": "airline"}},
        "by-hour": {"date_histogram": {"fixed_interval": "1h", "field": "time"}},
    },
    "aggregations": {
        "avg_response": {"avg": {"field": "responsetime"}},
        "time.max": {"max": {"field": "time"}},
        "time.min": {"min": {"field": "time"}},
    },
}
DOCUMENTS = [
    {"time": "2017-02-18T00:00:00Z", "airline": "foo", "responsetime": 1.0},
    {"time": "2017-02-18T00:30:00Z", "airline": "foo", "responsetime": 1.0},
    {"time": "2017-02-18T01:00:00Z", "airline": "bar", "responsetime": 42.0},
    {"time": "2017-02-18T01:01:00Z", "airline": "foo", "responsetime": 42.0},
]


@pytest.fixture(autouse=True)
def airlines(elasticsearch: Elasticsearch) -> None:
    fields = {"time": "date", "airline": "keyword", "responsetime": "float"}
    mappings = {"properties": {name: {"type": type_} for name, type_ in fields.items()}}
    elasticsearch.indices.create(index="airline-data", mappings=mappings)
    operations = [line for d in DOCUMENTS for line in ({"index": {}}, d)]
    elasticsearch.bulk(index="airline-data", operations=operations, refresh=True)


def body(**more: Any) -> dict[str, Any]:
    return {"source": {"index": "airline-data"}, "dest": {"index": "airline-dest"}, "pivot": PIVOT, **more}


def put(elasticsearch: Elasticsearch, name: str = "airline-transform", **more: Any) -> None:
    options = {key: more.pop(key) for key in ("defer_validation",) if key in more}
    elasticsearch.transform.put_transform(transform_id=name, body=body(**more), **options)


def refused(call: Any, **arguments: Any) -> tuple[int, str, str]:
    with pytest.raises(ApiError) as refusal:
        call(**arguments)
    error = refusal.value.body["error"]
    return refusal.value.status_code, error["type"], error["reason"]


def finished(elasticsearch: Elasticsearch, name: str = "airline-transform") -> dict[str, Any]:
    for _ in range(500):
        [stats] = elasticsearch.transform.get_transform_stats(transform_id=name)["transforms"]
        if stats["state"] not in {"started", "indexing"}:
            return dict(stats)
        time.sleep(0.01)
    raise AssertionError(f"{name} does not end: {stats}")


REFUSED_BODIES = {
    "minimum permitted [frequency] is [1s]": {"frequency": "999ms"},
    "highest permitted [frequency] is [1h]": {"frequency": "3600001ms"},
    "no such index [missing-index]": {"source": {"index": "missing-index"}},
    "Destination index [airline-data] is included in source expression [airline-data*]": {
        "source": {"index": ["airline-data*"]}, "dest": {"index": "airline-data"}
    },
    "pivot.max_page_search_size [5] is out of range. The minimum value is 10 and the maximum is 65536": {
        "pivot": {**PIVOT, "max_page_search_size": 5}
    },
    "settings.num_failure_retries [101] is out of range. The minimum value is -1 (infinity) and the maximum is 100": {
        "settings": {"num_failure_retries": 101}
    },
    "duplicate field [airline] detected": {
        "pivot": {**PIVOT, "aggregations": {"airline": {"avg": {"field": "responsetime"}}}}
    },
    "field [airline] cannot be both an object and a field": {
        "pivot": {**PIVOT, "aggregations": {"airline.responsetime": {"avg": {"field": "responsetime"}}}}
    },
    "Destination index [DeStInAtIoN] must be lowercase": {"dest": {"index": "DeStInAtIoN"}},
    "Invalid index name [destination#dest], must not contain '#'": {"dest": {"index": "destination#dest"}},
    "Found [create_time], not allowed for strict parsing": {"create_time": 123456789},
    "Found [version], not allowed for strict parsing": {"version": "7.3.0"},
    "Pipeline with id [missing-pipeline] could not be found": {
        "dest": {"index": "airline-dest", "pipeline": "missing-pipeline"}
    },
    "[data_frame_terms_group] unknown field [not_a_terms_param]": {
        "pivot": {**PIVOT, "group_by": {"airline": {"terms": {"not_a_terms_param": "airline"}}}}
    },
    "Unsupported aggregation type [significant_terms]": {
        "pivot": {**PIVOT, "aggregations": {"vals": {"significant_terms": {"field": "airline"}}}}
    },
    "Transform configuration must specify exactly 1 function": {"pivot": None},
    "Pivot transform configuration must specify at least 1 group_by": {"pivot": {**PIVOT, "group_by": {}}},
    "[data_frame_transform_config] unknown field [sorce]": {"sorce": {}},
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED_BODIES)
def test_a_body_is_refused_in_the_servers_words(elasticsearch: Elasticsearch, reason: str):
    status, _, said = refused(put, elasticsearch=elasticsearch, **REFUSED_BODIES[reason])
    assert (status, reason in said) == (400, True), said
    assert elasticsearch.transform.get_transform()["count"] == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("!@$not-an-id", "can contain lowercase alphanumeric (a-z and 0-9), hyphens or underscores"),
        ("a" * 65, "The id cannot contain more than 64 characters."),
    ],
)
def test_an_id_is_refused_in_the_servers_words(elasticsearch: Elasticsearch, name: str, reason: str):
    status, kind, said = refused(put, elasticsearch=elasticsearch, name=name)
    assert (status, kind, reason in said) == (400, "action_request_validation_exception", True)


@pytest.mark.parametrize(
    "more",
    [
        {"pivot": None, "latest": {"unique_key": ["airline"], "sort": "time"}},
        {"retention_policy": {"time": {"field": "time", "max_age": "30d"}}},
        {"settings": {"unattended": True}},
        {"pivot": {**PIVOT, "aggregations": {"t": {"terms": {"field": "airline"}}}}},
        {"dest": {"index": "d", "aliases": [{"alias": "a"}]}},
        {"source": {"index": "airline-data", "runtime_mappings": {"x": {"type": "long"}}}},
    ],
    ids=["latest", "retention_policy", "unattended", "terms", "aliases", "runtime_mappings"],
)
def test_what_the_sandbox_cannot_run_is_said(elasticsearch: Elasticsearch, more: dict[str, Any]):
    assert refused(put, elasticsearch=elasticsearch, **more)[:2] == (501, "sandbox_unsupported")


def test_a_destination_may_not_be_among_its_sources_whatever_it_is_called_there(elasticsearch: Elasticsearch):
    def said(source: str, dest: str) -> str:
        return refused(put, elasticsearch=elasticsearch, source={"index": source}, dest={"index": dest})[2]

    included = "Destination index [{}] is included in source expression [{}]"
    assert included.format("airline-data-later", "airline-data*") in said("airline-data*", "airline-data-later")
    elasticsearch.indices.create(index="made")
    elasticsearch.indices.put_alias(index="made", name="dest")
    elasticsearch.indices.put_alias(index=["made", "airline-data"], name="both")
    assert included.format("made", "airline-data,made") in said("both", "dest")
    elasticsearch.indices.put_alias(index="airline-data", name="dest")
    assert "no write index is defined for alias [dest]" in said("airline-data", "dest")


def test_validation_of_source_and_pipeline_can_be_deferred_to_the_start(elasticsearch: Elasticsearch):
    put(elasticsearch, source={"index": "missing"}, defer_validation=True)
    said = refused(elasticsearch.transform.start_transform, transform_id="airline-transform")
    assert said == (400, "validation_exception", "Validation Failed: 1: no such index [missing];")


def test_a_transform_is_echoed_with_what_the_server_adds(elasticsearch: Elasticsearch):
    put(elasticsearch, description="yaml test", _meta={"made": {"by": "us"}}, sync={"time": {"field": "time"}})
    [found] = elasticsearch.transform.get_transform(transform_id="airline-transform")["transforms"]
    assert isinstance(found.pop("create_time"), int)
    assert found == {
        "id": "airline-transform",
        "version": "10.0.0",
        "source": {"index": ["airline-data"], "query": {"match_all": {}}},
        "dest": {"index": "airline-dest"},
        "pivot": PIVOT,
        "description": "yaml test",
        "sync": {"time": {"field": "time", "delay": "60s"}},
        "settings": {},
        "_meta": {"made": {"by": "us"}},
        "authorization": {"roles": ["superuser"]},
    }
    [exported] = elasticsearch.transform.get_transform(transform_id="*", exclude_generated=True)["transforms"]
    assert set(found) - set(exported) == {"version", "authorization"}


def test_transforms_are_found_by_name_list_and_wildcard_page_by_page(elasticsearch: Elasticsearch):
    for name in ("airline-b", "airline-a", "other"):
        put(elasticsearch, name)
    get = elasticsearch.transform.get_transform
    assert [t["id"] for t in get(transform_id="airline*")["transforms"]] == ["airline-a", "airline-b"]
    assert [t["id"] for t in get(transform_id="other,airline-b")["transforms"]] == ["airline-b", "other"]
    second = get(transform_id="_all", from_=1, size=1)
    assert (second["count"], [t["id"] for t in second["transforms"]]) == (3, ["airline-b"])
    assert get(transform_id="none*") == {"count": 0, "transforms": []}
    assert refused(get, transform_id="none*", allow_no_match=False)[0] == 404
    assert refused(get, transform_id="none") == (
        404, "resource_not_found_exception", "Transform with id [none] could not be found"
    )  # fmt: skip
    assert "max acceptable value of [1000]" in refused(get, transform_id="_all", size=10_000)[2]
    assert elasticsearch.transform.get_transform_stats(transform_id="none") == {"count": 0, "transforms": []}


def test_an_id_that_is_taken_is_400(elasticsearch: Elasticsearch):
    put(elasticsearch)
    assert refused(put, elasticsearch=elasticsearch) == (
        400, "resource_already_exists_exception", "Transform with id [airline-transform] already exists"
    )  # fmt: skip


def test_a_batch_transform_makes_its_index_with_deduced_types_and_stops(elasticsearch: Elasticsearch):
    put(elasticsearch, pivot=BY_HOUR)
    elasticsearch.transform.start_transform(transform_id="airline-transform")
    mappings = elasticsearch.indices.get_mapping(index="airline-dest")["airline-dest"]["mappings"]
    assert mappings["properties"] == {
        "airline": {"type": "keyword"},
        "avg_response": {"type": "double"},
        "by-hour": {"type": "date"},
        "time": {"properties": {"max": {"type": "date"}, "min": {"type": "date"}}},
    }
    assert mappings["_meta"]["created_by"] == "transform"
    stats = finished(elasticsearch)
    assert (stats["state"], stats["checkpointing"]["last"]["checkpoint"]) == ("stopped", 1)
    assert (stats["stats"]["documents_processed"], stats["stats"]["documents_indexed"]) == (4, 3)
    assert "node" not in stats
    elasticsearch.indices.refresh(index="airline-dest")
    hits = elasticsearch.search(index="airline-dest", sort=["by-hour", "airline"])["hits"]["hits"]
    assert hits[0]["_source"] == {
        "airline": "foo",
        "by-hour": "2017-02-18T00:00:00.000Z",
        "avg_response": 1.0,
        "time": {"max": "2017-02-18T00:30:00.000Z", "min": "2017-02-18T00:00:00.000Z"},
    }


def test_no_mapping_is_deduced_when_told_so_and_an_existing_index_is_left_as_it_is(elasticsearch: Elasticsearch):
    put(elasticsearch, settings={"deduce_mappings": False})
    elasticsearch.transform.start_transform(transform_id="airline-transform")
    finished(elasticsearch)
    elasticsearch.indices.create(index="mine")
    put(elasticsearch, "second", dest={"index": "mine"})
    elasticsearch.transform.start_transform(transform_id="second")
    assert "_meta" not in elasticsearch.indices.get_mapping(index="mine")["mine"]["mappings"]


def test_a_running_transform_is_neither_started_nor_deleted_nor_reset(elasticsearch: Elasticsearch):
    put(elasticsearch, sync={"time": {"field": "time", "delay": "90m"}})
    api, name = elasticsearch.transform, "airline-transform"
    api.start_transform(transform_id=name)
    assert api.get_transform_stats(transform_id=name)["transforms"][0]["state"] in {"started", "indexing"}
    assert refused(api.start_transform, transform_id=name) == (
        409, "status_exception", "Cannot start transform [airline-transform] as it is already started."
    )  # fmt: skip
    for verb, call in {"delete": api.delete_transform, "reset": api.reset_transform}.items():
        assert refused(call, transform_id=name) == (
            409,
            "status_exception",
            f"Cannot {verb} transform [airline-transform] as the task is running. Stop the task first",
        )
    api.stop_transform(transform_id="_all", wait_for_completion=True)
    assert api.get_transform_stats(transform_id=name)["transforms"][0]["state"] == "stopped"
    api.stop_transform(transform_id=name)
    api.start_transform(transform_id=name)
    api.delete_transform(transform_id=name, force=True)
    assert api.get_transform()["count"] == 0


def test_what_is_not_there_cannot_be_started_stopped_updated_previewed_or_deleted(elasticsearch: Elasticsearch):
    api = elasticsearch.transform
    for call in (api.start_transform, api.stop_transform, api.reset_transform, api.delete_transform,
                 api.preview_transform):  # fmt: skip
        status, _, said = refused(call, transform_id="none")
        assert (status, said) == (404, "Transform with id [none] could not be found")
    assert refused(api.update_transform, transform_id="none", description="x")[0] == 404
    assert api.stop_transform(transform_id="none*") == {"acknowledged": True}


def test_force_and_waiting_for_a_checkpoint_exclude_each_other(elasticsearch: Elasticsearch):
    put(elasticsearch)
    said = refused(
        elasticsearch.transform.stop_transform, transform_id="airline-transform", force=True, wait_for_checkpoint=True
    )
    assert "cannot set both [force] and [wait_for_checkpoint] to true" in said[2]


def test_from_is_for_continuous_transforms_and_has_to_be_a_date(elasticsearch: Elasticsearch):
    put(elasticsearch)
    put(elasticsearch, "continuous", dest={"index": "c"}, sync={"time": {"field": "time"}})
    start = elasticsearch.transform.start_transform
    said = refused(start, transform_id="airline-transform", from_="2023-01-11T12:00:00")
    assert "[from] parameter is currently not supported for batch (non-continuous) transforms" in said[2]
    assert "Failed to parse date for [from]" in refused(start, transform_id="continuous", from_="not-a-date")[2]


def test_a_reset_deletes_the_index_that_the_transform_made_and_no_other(elasticsearch: Elasticsearch):
    put(elasticsearch)
    elasticsearch.transform.start_transform(transform_id="airline-transform")
    assert finished(elasticsearch)["checkpointing"]["last"]["checkpoint"] == 1
    elasticsearch.transform.reset_transform(transform_id="airline-transform")
    assert not elasticsearch.indices.exists(index="airline-dest")
    [stats] = elasticsearch.transform.get_transform_stats(transform_id="airline-transform")["transforms"]
    assert (stats["checkpointing"]["last"], stats["stats"]["documents_indexed"]) == ({"checkpoint": 0}, 0)
    elasticsearch.indices.create(index="airline-dest")
    elasticsearch.transform.start_transform(transform_id="airline-transform")
    finished(elasticsearch)
    elasticsearch.transform.reset_transform(transform_id="airline-transform")
    assert elasticsearch.indices.exists(index="airline-dest")


def test_deleting_takes_the_destination_along_only_on_request(elasticsearch: Elasticsearch):
    for keep in (True, False):
        put(elasticsearch)
        elasticsearch.transform.start_transform(transform_id="airline-transform")
        finished(elasticsearch)
        elasticsearch.transform.delete_transform(transform_id="airline-transform", delete_dest_index=not keep)
        assert bool(elasticsearch.indices.exists(index="airline-dest")) == keep


def test_an_update_changes_what_it_names(elasticsearch: Elasticsearch):
    put(elasticsearch, sync={"time": {"field": "time"}}, _meta={"a": 1, "b": 2}, settings={"docs_per_second": 100})
    update = elasticsearch.transform.update_transform
    settings = {"docs_per_second": None, "max_page_search_size": 10}
    changed = update(
        transform_id="airline-transform", body={"frequency": "5s", "_meta": {"c": 3}, "settings": settings}
    )
    assert (changed["frequency"], changed["_meta"], changed["settings"]) == (
        "5s",
        {"c": 3},
        {"max_page_search_size": 10},
    )
    assert elasticsearch.transform.get_transform()["transforms"][0] == changed
    assert "unknown field [pivot]" in refused(update, transform_id="airline-transform", body={"pivot": PIVOT})[2]
    assert "[frequency] is [1s]" in refused(update, transform_id="airline-transform", frequency="1ms")[2]
    put(elasticsearch, "batch")
    assert refused(update, transform_id="batch", sync={"time": {"field": "time"}})[2] == (
        "Cannot change the current sync configuration of transform [batch] from [null] to [time]"
    )


def test_a_preview_shows_documents_after_the_pipeline_and_the_index(elasticsearch: Elasticsearch):
    elasticsearch.ingest.put_pipeline(id="mark", processors=[{"set": {"field": "mine", "value": 42}}])
    api = elasticsearch.transform
    answer = api.preview_transform(source={"index": "airline-data"}, dest={"pipeline": "mark"}, pivot=BY_HOUR)
    shown = [(p["airline"], p["by-hour"], p["avg_response"], p["mine"]) for p in answer["preview"]]
    assert shown == [
        ("foo", "2017-02-18T00:00:00.000Z", 1.0, 42),
        ("bar", "2017-02-18T01:00:00.000Z", 42.0, 42),
        ("foo", "2017-02-18T01:00:00.000Z", 42.0, 42),
    ]
    assert answer["generated_dest_index"]["mappings"]["properties"]["time.max"] == {"type": "date"}
    put(elasticsearch, pivot=BY_HOUR)
    stored = api.preview_transform(transform_id="airline-transform")["preview"]
    assert stored == [{k: v for k, v in p.items() if k != "mine"} for p in answer["preview"]]
    assert not elasticsearch.indices.exists(index="airline-dest")
    assert "Please provide a transform [id] or the config object" in refused(api.preview_transform)[2]
    both = refused(api.preview_transform, transform_id="airline-transform", pivot=PIVOT)
    assert "but not both" in both[2]


def test_a_basic_licence_and_serverless_have_transforms():
    for options in ({"license": "basic"}, {"flavor": "serverless"}):
        with serve(**options) as sandbox:  # type: ignore[arg-type]
            client = Elasticsearch(sandbox.elasticsearch_url)
            client.index(index="airline-data", document=DOCUMENTS[0], refresh=True)
            client.transform.put_transform(
                transform_id="t",
                source={"index": "airline-data"},
                dest={"index": "d"},
                pivot={**PIVOT, "group_by": {"airline": {"terms": {"field": "airline.keyword"}}}},
            )
            client.transform.start_transform(transform_id="t")
            assert finished(client, "t")["stats"]["documents_indexed"] == 1


def test_documents_that_the_destination_refuses_fail_the_transform_until_it_is_forced(elasticsearch: Elasticsearch):
    elasticsearch.indices.create(index="airline-dest", mappings={"properties": {"airline": {"type": "long"}}})
    put(elasticsearch)
    api, name = elasticsearch.transform, "airline-transform"
    api.start_transform(transform_id=name)
    stats = finished(elasticsearch)
    assert (stats["state"], stats["health"]["status"]) == ("failed", "red")
    assert stats["reason"].startswith("Failed to index documents into destination index due to permanent error: [")
    assert refused(api.start_transform, transform_id=name)[2].startswith(
        "Unable to start transform [airline-transform] as it is in a failed state"
    )
    assert refused(api.stop_transform, transform_id=name)[0] == 409
    api.stop_transform(transform_id=name, force=True)
    assert api.get_transform_stats(transform_id=name)["transforms"][0]["state"] == "stopped"
