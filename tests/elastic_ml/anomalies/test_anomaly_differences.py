"""What separates a job or datafeed from the wanted one: nothing drifts by itself, nothing that differs is missed."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_ml.project.anomaly_differences import datafeed_changes, job_changes
from elastic_sandbox.ml.anomaly.config import parse_job, updated
from elastic_sandbox.ml.anomaly.datafeed_config import parse_datafeed
from elastic_sandbox.ml.anomaly.datafeed_config import updated as updated_datafeed

JOB: dict[str, Any] = {
    "description": "Sign-ins",
    "groups": ["b", "a"],
    "analysis_config": {
        "bucket_span": "60m",
        "detectors": [
            {"function": "dc", "field_name": "ip", "over_field_name": "user"},
            {
                "function": "high_count",
                "partition_field_name": "user",
                "custom_rules": [{"conditions": [{"applies_to": "actual", "operator": "lt", "value": 3}]}],
            },
        ],
        "influencers": ["user", "ip"],
    },
    "data_description": {"time_field": "@timestamp"},
    "analysis_limits": {"model_memory_limit": "1gb"},
    "allow_lazy_open": True,
    "custom_settings": {"custom_urls": [{"url_name": "runbook"}]},
}
DATAFEED: dict[str, Any] = {"indices": "sign-ins", "query_delay": "2m", "query": {"term": {"kind": "sign-in"}}}


def echo(body: dict[str, Any]) -> dict[str, Any]:
    return parse_job("job", copy.deepcopy(body), now_ms=0, max_memory=None)


def feed_echo(body: dict[str, Any]) -> dict[str, Any]:
    return parse_datafeed("datafeed-job", {"job_id": "job", **copy.deepcopy(body)}, {})


def with_(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The body with a value at a dotted path; None takes it away."""
    changed = copy.deepcopy(body)
    *steps, last = path.split(".")
    inner: Any = changed
    for step in steps:
        inner = inner[int(step)] if step.isdigit() else inner.setdefault(step, {})
    if value is None:
        inner.pop(last, None)
    else:
        inner[last] = value
    return changed


def test_the_servers_echo_of_a_job_has_no_difference():
    changes = job_changes(JOB, echo(JOB))
    assert (changes.update, changes.said, changes.anew) == ({}, (), ())


def test_the_servers_echo_of_a_datafeed_has_no_difference_although_it_draws_what_is_not_said():
    plain = {"indices": ["sign-ins"]}
    for body in (DATAFEED, plain, {**plain, "indices_options": {"ignore_unavailable": True}}):
        assert datafeed_changes(body, feed_echo(body)).said == ()


UPDATES = {
    "description": "Another",
    "groups": ["a"],
    "analysis_limits.model_memory_limit": "2gb",
    "model_snapshot_retention_days": 40,
    "results_retention_days": 90,
    "renormalization_window_days": 20,
    "background_persist_interval": "2h",
    "allow_lazy_open": False,
    "analysis_config.model_prune_window": "60d",
    "analysis_config.detectors.0.detector_description": "Addresses per user",
    "analysis_config.detectors.1.custom_rules": [
        {"conditions": [{"applies_to": "actual", "operator": "lt", "value": 5}]}
    ],
    "custom_settings.custom_urls": [],
}


@pytest.mark.parametrize("path", UPDATES)
def test_what_elasticsearch_updates_in_place_is_updated_and_then_differs_no_more(path):
    wanted = with_(JOB, path, UPDATES[path])
    changes = job_changes(wanted, echo(JOB))
    assert changes.anew == ()
    assert len(changes.said) == 1
    assert changes.closed == path.startswith("analysis_limits")
    after = updated(echo(JOB), changes.update, opened=False, used_mb=0, max_memory=None)
    assert job_changes(wanted, after).said == ()


def test_rules_that_left_the_file_leave_the_job():
    wanted = with_(JOB, "analysis_config.detectors.1.custom_rules", None)
    changes = job_changes(wanted, echo(JOB))
    after = updated(echo(JOB), changes.update, opened=True, used_mb=0, max_memory=None)
    assert (
        "custom_rules" not in after["analysis_config"]["detectors"][1]
        or not (after["analysis_config"]["detectors"][1]["custom_rules"])
    )
    assert job_changes(wanted, after).said == ()


ANEW = {
    "analysis_config.bucket_span": "30m",
    "analysis_config.influencers": ["user"],
    "analysis_config.detectors.0.function": "high_dc",
    "analysis_config.detectors.0.field_name": "host",
    "analysis_config.detectors.1.partition_field_name": "host",
    "analysis_config.detectors.1.use_null": True,
    "analysis_config.summary_count_field_name": "doc_count",
    "data_description.time_field": "event.created",
    "results_index_name": "mine",
}


@pytest.mark.parametrize("path", ANEW)
def test_what_elasticsearch_cannot_update_makes_another_job(path):
    wanted = with_(JOB, path, ANEW[path])
    changes = job_changes(wanted, echo(JOB))
    assert len(changes.anew) == 1
    assert changes.update == {}
    assert job_changes(wanted, echo(wanted)).anew == ()


def test_a_detector_more_makes_another_job():
    wanted = copy.deepcopy(JOB)
    wanted["analysis_config"]["detectors"].append({"function": "count"})
    assert "detectors" in job_changes(wanted, echo(JOB)).anew[0]


def test_settings_that_others_keep_on_the_job_are_left_alone():
    kept = {**JOB["custom_settings"], "created_by": "single-metric-wizard", "partitions": {"start": "x"}}
    assert job_changes(JOB, echo(with_(JOB, "custom_settings", kept))).said == ()
    changes = job_changes(with_(JOB, "custom_settings.custom_urls", []), echo(with_(JOB, "custom_settings", kept)))
    assert changes.update["custom_settings"] == {**kept, "custom_urls": []}


FEED_UPDATES = {
    "indices": ["sign-ins", "others"],
    "query": {"match_all": {}},
    "query_delay": "90s",
    "frequency": "10m",
    "scroll_size": 500,
    "chunking_config": {"mode": "manual", "time_span": "3h"},
    "delayed_data_check_config": {"enabled": False},
    "indices_options": {"ignore_unavailable": True},
    "max_empty_searches": 10,
}


@pytest.mark.parametrize("path", FEED_UPDATES)
def test_everything_of_a_datafeed_is_updated_and_then_differs_no_more(path):
    wanted = with_(DATAFEED, path, FEED_UPDATES[path])
    changes = datafeed_changes(wanted, feed_echo(DATAFEED))
    assert len(changes.said) == 1
    assert not changes.recreate
    assert datafeed_changes(wanted, updated_datafeed(feed_echo(DATAFEED), changes.update, {})).said == ()


@pytest.mark.parametrize("path", ["query", "scroll_size", "max_empty_searches", "delayed_data_check_config"])
def test_what_left_the_datafeeds_file_goes_back_to_the_servers_default(path):
    before = with_(DATAFEED, path, FEED_UPDATES[path] if path != "query" else {"term": {"a": "b"}})
    wanted = with_(DATAFEED, path, None)
    changes = datafeed_changes(wanted, feed_echo(before))
    assert not changes.recreate
    assert datafeed_changes(wanted, updated_datafeed(feed_echo(before), changes.update, {})).said == ()


def test_a_frequency_that_left_the_file_needs_the_datafeed_made_anew():
    changes = datafeed_changes(DATAFEED, feed_echo({**DATAFEED, "frequency": "5m"}))
    assert changes.recreate
    assert "frequency" in changes.said[0]


NAMES = st.sampled_from(["user", "ip", "host", "action"])
SPANS = st.sampled_from(["5m", "15m", "900s", "1h", "60m", "1d"])


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    detectors = []
    for function in draw(st.lists(st.sampled_from(["count", "high_c", "mean", "dc", "rare"]), min_size=1, max_size=3)):
        detector: dict[str, Any] = {"function": function}
        fields = draw(st.lists(NAMES, min_size=3, max_size=3, unique=True))
        if function in {"mean", "dc"}:
            detector["field_name"] = "bytes"
        if function == "rare" or draw(st.booleans()):
            detector["by_field_name"] = fields[0]
        if draw(st.booleans()):
            detector["partition_field_name"] = fields[1]
        if detector not in detectors:
            detectors.append(detector)
    body: dict[str, Any] = {
        "analysis_config": {"bucket_span": draw(SPANS), "detectors": detectors, "influencers": draw(st.lists(NAMES))},
        "data_description": {"time_field": "@timestamp"},
    }
    for name, values in {
        "description": st.text(max_size=5),
        "groups": st.lists(st.sampled_from(["g1", "g2"]), unique=True),
        "results_retention_days": st.integers(1, 9),
        "analysis_limits": st.sampled_from([{"model_memory_limit": one} for one in ("64mb", "1gb", "1024mb", 128)]),
        "custom_settings": st.dictionaries(st.sampled_from(["a", "b"]), st.integers()),
    }.items():
        if draw(st.booleans()):
            body[name] = draw(values)
    return body


@settings(max_examples=50, deadline=None)
@given(wanted=bodies(), other=bodies())
def test_whatever_is_wanted_its_echo_does_not_differ_and_an_update_leads_there(wanted, other):
    assert job_changes(wanted, echo(wanted)).said == ()
    changes = job_changes(wanted, echo(other))
    if not changes.anew:
        after = updated(echo(other), changes.update, opened=False, used_mb=0, max_memory=None)
        assert job_changes(wanted, after).said == ()
