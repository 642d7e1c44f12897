"""What the behaviour tests need of a stack: clients, names of their own, and a clean cluster afterwards."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from conftest import Stack
    from elasticsearch import Elasticsearch

PATIENCE_SECONDS = 120.0


def connected(stack: Stack) -> Elasticsearch:
    """The official client without retries, so that a test sees the first answer."""
    from elasticsearch import Elasticsearch

    if stack.sandbox is not None:
        return Elasticsearch(stack.elasticsearch_url, max_retries=0, request_timeout=30)
    ca = {"ca_certs": os.environ["ELASTIC_CA_CERTS"]} if os.environ.get("ELASTIC_CA_CERTS") else {}
    return Elasticsearch(stack.elasticsearch_url, api_key=stack.api_key, max_retries=0, request_timeout=120, **ca)


def until(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """Ask until the answer is true; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not so after {seconds:.0f} s: {condition.__name__}"
        time.sleep(0.05)


class Kibana:
    """Short words for Kibana's API."""

    def __init__(self, stack: Stack) -> None:
        self.url = str(stack.kibana_url).rstrip("/")
        self._session = requests.Session()
        self._session.headers["kbn-xsrf"] = "behaviour"
        if stack.api_key:
            self._session.headers["authorization"] = f"ApiKey {stack.api_key}"
        if stack.sandbox is None:
            self._session.verify = os.environ.get("ELASTIC_CA_CERTS") or True

    def ask(self, method: str, path: str, body: Any = None, *, status: int = 200, **more: Any) -> Any:
        """The answer's JSON, or its text where it is none."""
        answer = self._session.request(method, self.url + path, json=body, timeout=120, **more)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        return answer.json() if "json" in answer.headers.get("content-type", "") and answer.content else answer.text

    def bundle(self, *objects: dict[str, Any], **parameters: str) -> Any:
        """Import saved objects."""
        text = "\n".join(json.dumps(one) for one in objects)
        files = {"file": ("bundle.ndjson", text.encode(), "application/ndjson")}
        return self.ask("POST", "/api/saved_objects/_import", files=files, params=parameters)

    def forget(self, *paths: str) -> None:
        """Delete what a test made, whether it is there or not."""
        for path in paths:
            self._session.delete(self.url + path, timeout=120)

    def close(self) -> None:
        """Close its connections."""
        self._session.close()


def clear(client: Elasticsearch, prefix: str) -> None:
    """Delete everything whose name starts with ``prefix``: what uses a thing before the thing."""
    ours = f"{prefix}*"
    for name, delete in _found(client, ours, ml_there=_has_ml(client)):
        delete(name)
    client.indices.delete_data_stream(name=ours, expand_wildcards="all")
    # One that was taken out of its stream keeps its hidden name.
    for index in client.indices.get(index=f"{ours},.ds-{ours}", expand_wildcards="all", allow_no_indices=True):
        client.indices.delete(index=index)
    for one in client.indices.get_index_template()["index_templates"]:
        if one["name"].startswith(prefix):
            client.indices.delete_index_template(name=one["name"])
    for policy in client.ilm.get_lifecycle():
        if policy.startswith(prefix):
            client.ilm.delete_lifecycle(name=policy)


def _found(client: Elasticsearch, ours: str, *, ml_there: bool) -> Iterator[tuple[str, Callable[[str], Any]]]:
    ml, prefix = client.ml, ours.removesuffix("*")
    for name in client.ingest.get_pipeline():
        if name.startswith(prefix):
            yield name, lambda name: client.ingest.delete_pipeline(id=name)
    for one in client.transform.get_transform(transform_id=ours, allow_no_match=True)["transforms"]:
        yield one["id"], lambda name: client.transform.delete_transform(transform_id=name, force=True)
    for one in client.enrich.get_policy()["policies"]:
        if (name := one["config"]["match"]["name"]).startswith(prefix):
            yield name, lambda name: client.enrich.delete_policy(name=name)
    if not ml_there:
        return
    for one in ml.get_jobs(job_id=ours, allow_no_match=True)["jobs"]:
        yield one["job_id"], lambda name: ml.delete_job(job_id=name, force=True)
    for one in ml.get_data_frame_analytics(id=ours, allow_no_match=True)["data_frame_analytics"]:
        yield one["id"], lambda name: ml.delete_data_frame_analytics(id=name, force=True)
    for one in ml.get_trained_models(model_id=ours, allow_no_match=True)["trained_model_configs"]:
        yield one["model_id"], lambda name: ml.delete_trained_model(model_id=name, force=True)
    for one in ml.get_calendars()["calendars"]:
        if one["calendar_id"].startswith(prefix):
            yield one["calendar_id"], lambda name: ml.delete_calendar(calendar_id=name)


def _has_ml(client: Elasticsearch) -> bool:
    return licence(client) not in {"basic", "standard", "gold"}


def licence(client: Elasticsearch) -> str:
    """The licence's type; the sandbox and Serverless have every feature."""
    return str(client.license.get()["license"]["type"])
