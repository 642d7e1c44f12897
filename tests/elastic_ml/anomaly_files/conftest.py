"""The webshop with one anomaly job, on a cluster of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from webshop_jobs.world import Shop, copy_shop

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.project import load_project
from elastic_ml.project.setup import run_setup
from elastic_sandbox.testing import Sandbox, serve


@pytest.fixture(scope="session")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with serve() as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        run_setup(
            client, load_project(copy_shop(tmp_path_factory.mktemp("setup"))), server_facts(client), mode="apply"
        ).raise_for_state()
        yield sandbox


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The project folder, for tests that need no cluster."""
    return copy_shop(tmp_path)


@pytest.fixture
def shop(_served: Sandbox, folder: Path) -> Iterator[Shop]:
    """The project on a cluster that is set up and has no job."""
    with connect(ElasticsearchSettings(url=_served.elasticsearch_url)) as client:
        made = Shop(_served, folder, client)
        made.empty()
        _served.requests.clear()
        yield made
