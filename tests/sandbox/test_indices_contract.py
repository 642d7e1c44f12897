"""Answers of this room against Elasticsearch's own API schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from harness.specification import specification

from elastic_sandbox.testing import Sandbox

# What servers answer and the specification does not say.
KNOWN = {"$: unknown property 'lazy'", "$: unknown property 'errors'", "$.p: unknown property 'in_use_by'"}


@pytest.fixture(scope="module")
def spec() -> Any:
    return specification()


ADD_ALIAS = {"add": {"index": "plain", "alias": "z"}}
CALLS: list[tuple[str, Callable[[Elasticsearch], Any]]] = [
    ("info", lambda client: client.info()),
    ("license.get", lambda client: client.license.get()),
    ("cluster.health", lambda client: client.cluster.health()),
    ("cluster.get_settings", lambda client: client.cluster.get_settings(include_defaults=True, flat_settings=True)),
    ("tasks.list", lambda client: client.tasks.list()),
    ("cluster.get_component_template", lambda client: client.cluster.get_component_template()),
    ("indices.get_index_template", lambda client: client.indices.get_index_template()),
    ("indices.simulate_index_template", lambda client: client.indices.simulate_index_template(name="logs-c-d")),
    ("indices.get_data_stream", lambda client: client.indices.get_data_stream()),
    ("indices.get_data_stream_options", lambda client: client.indices.get_data_stream_options(name="*")),
    ("indices.get_data_lifecycle", lambda client: client.indices.get_data_lifecycle(name="*")),
    ("indices.rollover", lambda client: client.indices.rollover(alias="logs-a-b", conditions={"max_age": "1d"})),
    ("ilm.get_lifecycle", lambda client: client.ilm.get_lifecycle(name="p")),
    ("indices.create", lambda client: client.indices.create(index="new")),
    ("indices.get", lambda client: client.indices.get(index="plain")),
    ("indices.get_mapping", lambda client: client.indices.get_mapping()),
    ("indices.get_settings", lambda client: client.indices.get_settings(index="*,logs-*")),
    ("indices.get_alias", lambda client: client.indices.get_alias()),
    ("indices.update_aliases", lambda client: client.indices.update_aliases(actions=[ADD_ALIAS])),
    ("field_caps", lambda client: client.field_caps(fields="*")),
    ("cat.indices", lambda client: client.cat.indices(format="json")),
]  # fmt: skip


@pytest.mark.parametrize(("api", "call"), CALLS, ids=[api for api, _ in CALLS])
def test_an_answer_has_the_shape_of_the_specification(
    spec: Any, sandbox: Sandbox, elasticsearch: Elasticsearch, api: str, call: Callable[[Elasticsearch], Any]
) -> None:
    elasticsearch.indices.create(index="plain", mappings={"properties": {"a": {"type": "text"}}}, aliases={"also": {}})
    elasticsearch.indices.create_data_stream(name="logs-a-b")
    sandbox.backend.indices.failure_index("logs-a-b")
    elasticsearch.indices.put_data_lifecycle(name="logs-a-b", data_retention="30d")
    elasticsearch.ilm.put_lifecycle(
        name="p",
        policy={
            "phases": {
                "hot": {"actions": {"rollover": {"max_age": "30d"}}},
                "delete": {"min_age": "9d", "actions": {"delete": {}}},
            }
        },
    )

    assert [problem for problem in spec.check_response(api, call(elasticsearch).body) if problem not in KNOWN] == []
