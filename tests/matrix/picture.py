"""A picture of a whole cluster: every object and every document, as plain values that two pictures are compared by."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import requests

Picture = dict[str, Any]
PAGE = 5_000
WHEN_WRITTEN = frozenset({
    "created_date", "created_date_millis", "modified_date", "modified_date_millis",  # templates, pipelines, policies
    "index.uuid", "index.creation_date", "index.version.created", "index.provided_name",
    "updatedAt", "updated_at", "createdAt", "created_at", "version",  # Kibana's objects
})  # fmt: skip
"""What a server sets at each write, whether or not the write changed anything."""
OF_THE_LAST_RUN = frozenset({"execution_status", "last_run", "next_run", "monitoring"})
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?|(?<![\d.])1\d{12}(?!\d)")
IDS = re.compile(
    r"(?<![0-9a-f])(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{20})(?![0-9a-f])"
)
"""What a server calls things by chance: tasks, forecasts."""


def picture(client: Any, kibana_url: str | None = None) -> Picture:
    """Everything that is on the cluster, by `kind/name`; documents by `document/index/id`."""
    found: Picture = {}
    for key, value in _objects(client):
        found[key] = _plain(value)
    for key, value in _documents(client):
        found[key] = value
    if kibana_url:
        for key, value in _kibana(kibana_url):
            found[key] = _plain(value)
    return found


def differences(before: Picture, after: Picture, most: int = 12) -> list[str]:
    """What separates two pictures, one line each."""
    lines = []
    for key in sorted(before.keys() | after.keys()):
        if key not in after:
            lines.append(f"{key} is gone")
        elif key not in before:
            lines.append(f"{key} is new: {json.dumps(after[key], default=str)[:300]}")
        elif before[key] != after[key]:
            lines.append(f"{key}: {'; '.join(_paths(before[key], after[key]))[:400]}")
    return lines[:most] + ([f"and {len(lines) - most} more"] if len(lines) > most else [])


def timeless(shown: Picture, since: datetime) -> Picture:
    """The picture without moments after ``since`` and without random ids: what two runs must agree on."""

    def moment(match: re.Match[str]) -> str:
        text = match[0]
        try:
            at = datetime.fromtimestamp(int(text) / 1000, UTC) if text.isdigit() else datetime.fromisoformat(text)
        except ValueError:
            return text
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return "<then>" if at >= since else text

    def said(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {said(key): said(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [said(inner) for inner in value]
        if isinstance(value, str):
            return IDS.sub("<id>", MOMENT.sub(moment, value))
        if isinstance(value, int) and not isinstance(value, bool) and value >= since.timestamp() * 1000:
            return "<then>"
        return value

    plain: Picture = {}
    for key, value in shown.items():
        name = said(key)
        while name in plain:
            # Two things whose names differ by their random id alone are two all the same.
            name += " again"
        plain[name] = said(value)
    return plain


def without(shown: Picture, *patterns: str) -> Picture:
    """The picture without the keys that match, and without `key:path` fields that do."""
    fields = [pattern.partition("#") for pattern in patterns if "#" in pattern]
    whole = [re.compile(pattern) for pattern in patterns if "#" not in pattern]
    left: Picture = {}
    for key, value in shown.items():
        if any(one.search(key) for one in whole):
            continue
        left[key] = value
        for about, _, name in fields:
            if re.search(about, key):
                left[key] = _drop(left[key], name.split("."))
    return left


def _drop(value: Any, path: list[str]) -> Any:
    if not isinstance(value, Mapping) or path[0] not in value:
        return value
    if len(path) == 1:
        return {key: inner for key, inner in value.items() if key != path[0]}
    return {**value, path[0]: _drop(value[path[0]], path[1:])}


def _objects(client: Any) -> Iterator[tuple[str, Any]]:
    everything = {"expand_wildcards": "all"}
    for name, body in client.indices.get(index="*", flat_settings=True, **everything).body.items():
        yield f"index/{name}", body
    for stream in client.indices.get_data_stream(name="*", **everything)["data_streams"]:
        stream["indices"] = [index["index_name"] for index in stream["indices"]]
        stream["failure_store"] = {"enabled": stream.get("failure_store", {}).get("enabled")}
        yield f"data stream/{stream['name']}", stream
    for name, body in client.ingest.get_pipeline().body.items():
        yield f"pipeline/{name}", body
    for entry in client.indices.get_index_template()["index_templates"]:
        yield f"index template/{entry['name']}", entry["index_template"]
    for entry in client.cluster.get_component_template()["component_templates"]:
        yield f"component template/{entry['name']}", entry["component_template"]
    for name, body in client.ilm.get_lifecycle().body.items():
        yield f"ILM policy/{name}", body["policy"]
    for entry in client.enrich.get_policy()["policies"]:
        yield f"enrich policy/{next(iter(entry['config'].values()))['name']}", entry
    yield from _machine_learning(client)


def _machine_learning(client: Any) -> Iterator[tuple[str, Any]]:
    ml = client.ml
    states = {one["id"]: one["state"] for one in client.transform.get_transform_stats(transform_id="*")["transforms"]}
    for body in client.transform.get_transform(size=1000)["transforms"]:
        yield f"transform/{body['id']}", {**body, "state": states.get(body["id"])}
    states = {one["id"]: one["state"] for one in ml.get_data_frame_analytics_stats(id="*")["data_frame_analytics"]}
    for body in ml.get_data_frame_analytics(id="*", size=1000)["data_frame_analytics"]:
        yield f"analytics job/{body['id']}", {**body, "state": states.get(body["id"])}
    for body in ml.get_trained_models(size=1000)["trained_model_configs"]:
        yield f"trained model/{body['model_id']}", body
    counted = ("processed_record_count", "input_record_count", "latest_record_timestamp")
    states = {
        one["job_id"]: [one["state"], *(one["data_counts"].get(name) for name in counted)]
        for one in ml.get_job_stats()["jobs"]
    }
    for body in ml.get_jobs()["jobs"]:
        yield f"anomaly job/{body['job_id']}", {**body, "state": states[body["job_id"]]}
        for snapshot in ml.get_model_snapshots(job_id=body["job_id"], size=1000)["model_snapshots"]:
            yield f"model snapshot/{body['job_id']}/{snapshot['snapshot_id']}", snapshot
    states = {one["datafeed_id"]: one["state"] for one in ml.get_datafeed_stats()["datafeeds"]}
    for body in ml.get_datafeeds()["datafeeds"]:
        yield f"datafeed/{body['datafeed_id']}", {**body, "state": states[body["datafeed_id"]]}
    for body in ml.get_calendars()["calendars"]:
        yield f"calendar/{body['calendar_id']}", body
        for event in ml.get_calendar_events(calendar_id=body["calendar_id"], size=1000)["events"]:
            yield f"calendar event/{body['calendar_id']}/{event['start_time']} {event['description']}", True
    for body in ml.get_filters()["filters"]:
        yield f"filter/{body['filter_id']}", body


def _documents(client: Any) -> Iterator[tuple[str, Any]]:
    client.indices.refresh(index="*", expand_wildcards="all")
    for index in client.indices.get(index="*", expand_wildcards="all", features=["aliases"]).body:
        after: list[Any] | None = None
        while True:
            hits = client.search(
                index=index, size=PAGE, sort=["_doc"], search_after=after, version=True, track_total_hits=False
            )["hits"]["hits"]
            for hit in hits:
                yield f"document/{index}/{hit['_id']}", hit["_source"]
            if len(hits) < PAGE:
                break
            after = hits[-1]["sort"]


def _kibana(url: str) -> Iterator[tuple[str, Any]]:
    with requests.Session() as session:
        session.headers["kbn-xsrf"] = "tests"
        for rule in session.get(f"{url}/api/alerting/rules/_find?per_page=1000", timeout=30).json().get("data", []):
            yield f"rule/{rule['id']}", {name: value for name, value in rule.items() if name not in OF_THE_LAST_RUN}
        for connector in session.get(f"{url}/api/actions/connectors", timeout=30).json():
            yield f"connector/{connector['id']}", connector


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items() if key not in WHEN_WRITTEN}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _paths(before: Any, after: Any, path: str = "") -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted(before.keys() | after.keys(), key=str):
            if before.get(key) != after.get(key):
                yield from _paths(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
        return
    yield f"{path} {json.dumps(before, default=str)[:90]} -> {json.dumps(after, default=str)[:90]}"
