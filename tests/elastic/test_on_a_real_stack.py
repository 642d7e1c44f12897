"""What `make stack-test` does to a cluster: it notes real ones only, and leaves nothing of its own behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from elastic import seen
from elastic.real_stack import clear

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

PREFIX = "behaviour-0a1b2c3d-"


def test_a_sandbox_is_never_noted_as_seen(elasticsearch: Elasticsearch):
    about = elasticsearch.info().body
    assert seen.version_of(about) is None
    assert seen.version_of({**about, "cluster_name": "docker-cluster"}) == about["version"]["number"]
    serverless = {**about, "cluster_name": "a", "version": {"number": "9.6.0", "build_flavor": "serverless"}}
    assert seen.version_of(serverless) == "serverless"


@pytest.mark.parametrize("prefix", [PREFIX, "somebody-elses-"])
def test_everything_of_a_test_is_deleted_and_nothing_else(elasticsearch: Elasticsearch, prefix: str):
    es = elasticsearch
    es.indices.put_index_template(
        name=f"{prefix}template", index_patterns=[f"{prefix}stream"], priority=501, data_stream={}, template={}
    )
    es.indices.create_data_stream(name=f"{prefix}stream")
    [stream] = es.indices.get_data_stream(name=f"{prefix}stream")["data_streams"]
    es.indices.rollover(alias=f"{prefix}stream")
    old = stream["indices"][0]["index_name"]
    action = {"remove_backing_index": {"data_stream": f"{prefix}stream", "index": old}}
    es.indices.modify_data_stream(actions=[action])
    es.ilm.put_lifecycle(name=f"{prefix}policy", policy={"phases": {"hot": {"actions": {}}}})
    es.indices.create(index=f"{prefix}index", settings={"index.lifecycle.name": f"{prefix}policy"})
    es.index(index=f"{prefix}index", document={"id": "a"}, refresh=True)
    es.ingest.put_pipeline(id=f"{prefix}pipeline", processors=[])
    es.ml.put_job(job_id=f"{prefix}job", analysis_config={"detectors": [{"function": "count"}]}, data_description={})
    es.ml.put_calendar(calendar_id=f"{prefix}days")

    clear(es, PREFIX)

    left = [
        *es.indices.get_data_stream()["data_streams"],
        *es.indices.get(index=f"{prefix}*,.ds-{prefix}*", expand_wildcards="all"),
        *[name for name in es.ingest.get_pipeline() if name.startswith(prefix)],
        *[name for name in es.ilm.get_lifecycle() if name.startswith(prefix)],
        *es.ml.get_jobs()["jobs"],
        *es.ml.get_calendars()["calendars"],
    ]
    assert len(left) == (0 if prefix == PREFIX else 8)
