"""LendPath's pivot over what its three sources really deliver: they meet in a person's hour, and no feature is dead."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.project import Project, load_project
from elastic_ml.project.features import continuous_transform, features_of, run_month
from elastic_ml.project.setup import run_setup
from elastic_ml.sources.adapters import adapt
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.readers import read
from elastic_sandbox.testing import serve

INCLUDE = Path(__file__).parents[3] / "include"
DAY = datetime(2026, 3, 4, tzinfo=UTC)
RARE = {"identity.privileged", "identity.admin", "identity.raised_risk"}
"""What some days do not have at this size."""


def documents(project: Project, name: str) -> Iterator[dict[str, Any]]:
    source = project.source(name)
    options = {**source.reader.options, "events_per_day": 1000, "prevalence": 0.05}
    source = source.model_copy(update={"reader": source.reader.model_copy(update={"options": options})})
    people = NameTable.read(name, INCLUDE / source.names) if source.names else None
    for found in adapt(source, read(source, Partition("2026-03-04", DAY, DAY + timedelta(days=1))), people):
        assert isinstance(found, dict), found
        yield found


@pytest.fixture(scope="module")
def user_hours() -> Iterator[list[dict[str, Any]]]:
    project = load_project(INCLUDE)
    with serve() as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        run_setup(client, project, server_facts(client), mode="apply").raise_for_state()
        for name in project.sources():
            source = project.source(name)
            if source.kind == "events":
                lines = [line for document in documents(project, name) for line in ({"create": {}}, document)]
                client.bulk(index=source.stream, operations=lines, refresh=True)
        assert run_month(client, project, "2026.03", poll_seconds=0.05)
        client.indices.refresh(index=project.names.features)
        hits = client.search(index=project.names.features, size=10_000)["hits"]["hits"]
        yield [hit["_source"] for hit in hits]


def value(user_hour: dict[str, Any], path: str) -> Any:
    for part in path.split("."):
        user_hour = user_hour[part]
    return user_hour


def test_identity_database_and_application_meet_in_one_persons_hour(user_hours: list[dict[str, Any]]):
    together = [h for h in user_hours if h["has_identity"] and h["has_database"] and h["has_application"]]
    assert len(together) > 10
    for hour in together:
        assert hour["events"] == sum(hour[source]["events"] for source in ("identity", "database", "application"))
    assert not [h for h in user_hours if h["user"]["id"].startswith("unresolved:")]


def test_every_feature_is_there_and_says_something(user_hours: list[dict[str, Any]]):
    project = load_project(INCLUDE)
    for feature in features_of(project, continuous_transform(project)["pivot"]):
        values = [value(hour, feature.path) for hour in user_hours]
        assert all(isinstance(each, int | float) for each in values), feature.path
        assert any(values) or feature.path in RARE, feature.path
