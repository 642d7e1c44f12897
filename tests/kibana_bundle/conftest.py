"""One sandbox for all panels: set up by the product, asked while empty, then given a day of two models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from harness.operations_day import write_day

from demo.panels import PanelQuery, panel_queries

INCLUDE = Path(__file__).parents[2] / "include"


@pytest.fixture(scope="session")
def project() -> Any:
    from elastic_ml.project import load_project

    return load_project(INCLUDE)


@pytest.fixture(scope="session")
def bundle(project: Any) -> Any:
    from elastic_ml.kibana_bundle import build_bundle

    return build_bundle(project)


@dataclass(frozen=True)
class Day:
    """What the panels answer.

    :param empty: before anything was written, as (query, error or None).
    """

    answers: dict[str, tuple[PanelQuery, dict[str, Any]]]
    empty: dict[str, str | None]

    def value(self, name: str) -> Any:
        """The only value that a panel answers."""
        _, answer = self.answers[name]
        ((value,),) = answer["values"]
        return value

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A panel's rows, by column."""
        _, answer = self.answers[name]
        names = [column["name"] for column in answer["columns"]]
        return [dict(zip(names, row, strict=True)) for row in answer["values"]]


@pytest.fixture(scope="session")
def day(project: Any, bundle: Any) -> Iterator[Day]:
    from elastic_ml.clients.elasticsearch import connect, server_facts
    from elastic_ml.clients.settings import ElasticsearchSettings
    from elastic_ml.project.setup import run_setup
    from elastic_sandbox.testing import serve

    queries = {str(query): query for query in panel_queries(bundle.objects)}
    with serve() as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        run_setup(client, project, server_facts(client), mode="apply").raise_for_state()
        empty = {name: _error(query, client) for name, query in queries.items()}
        write_day(client, project, datetime.now(UTC))
        yield Day({name: (query, query.ask(client)) for name, query in queries.items()}, empty)


def _error(query: PanelQuery, client: Any) -> str | None:
    from elastic_ml.exceptions import ElasticMLError

    try:
        query.ask(client)
    except ElasticMLError as error:
        return str(error)
    return None
