"""A cluster that is set up once, and lines as a shipper sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from shipped_pipelines.world import PROJECT, Cluster

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.project import load_project
from elastic_ml.project.setup import run_setup
from elastic_sandbox.testing import serve


@pytest.fixture(scope="session")
def _set_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("acme")
    (folder / "project.yml").write_text(yaml.safe_dump(PROJECT))
    with serve() as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        run_setup(client, load_project(folder), server_facts(client), mode="apply").raise_for_state()
        yield Cluster(sandbox, client)


@pytest.fixture
def cluster(_set_up: Cluster) -> Cluster:
    """The cluster with empty operations streams."""
    _set_up.empty()
    return _set_up


@pytest.fixture
def line() -> Callable[..., dict[str, Any]]:
    """An event as Filebeat sends a line."""

    def made(dataset: str, message: str, **more: Any) -> dict[str, Any]:
        stream = {"type": "logs", "dataset": dataset, "namespace": "default"}
        return {"@timestamp": "2026-05-28T11:59:59.000Z", "message": message, "data_stream": stream, **more}

    return made
