"""The sandbox's routes against Elastic's API specification: none is made up, and each flavor offers what it should."""

import re

import httpx
import pytest
from harness.specification import specification

from elastic_sandbox.server import elasticsearch_router
from elastic_sandbox.testing import serve

ROUTES = sorted({(method, path) for method, path, _ in elasticsearch_router().entries})

# Routes that the server has and the specification has not.
UNSPECIFIED = {
    ("POST", "/_enrich/policy/{name}/_execute"): "RestExecuteEnrichPolicyAction takes PUT and POST",
}
# A placeholder that stands for everything below it, to refuse it by name.
WHOLE_FAMILIES = {"/_ml/anomaly_detectors/{rest}"}


def api_of(method: str, path: str) -> str | None:
    call = specification().api_of(method, path)
    return None if call is None else call.api


def routes() -> list[tuple[str, str]]:
    return [(method, path) for method, path in ROUTES if path not in WHOLE_FAMILIES]


def test_every_route_is_specified() -> None:
    assert {route for route in routes() if api_of(*route) is None} == set(UNSPECIFIED)


@pytest.fixture(scope="module")
def on_serverless() -> dict[tuple[str, str], int]:
    """What a Serverless project answers to all routes that the sandbox has."""
    with serve(flavor="serverless") as sandbox, httpx.Client(base_url=sandbox.elasticsearch_url) as client:
        found = {}
        for method, path in routes():
            answer = client.request(method, re.sub(r"\{\w+\}", "x", path))
            assert answer.status_code != 500, (method, path, answer.text)
            if answer.status_code != 501:
                found[method, path] = answer.status_code
    return found


def test_serverless_refuses_exactly_what_the_specification_keeps_from_its_users(
    on_serverless: dict[tuple[str, str], int],
) -> None:
    offered = specification(serverless=True).E
    refused = {route for route, status in on_serverless.items() if status == 410}
    assert refused == {route for route in on_serverless if (api := api_of(*route)) and api not in offered}
    assert len(refused) > 10
    assert len(on_serverless) > 100
