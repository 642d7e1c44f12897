"""The stack's clients and names; on a real stack also a clean-up and a record of what was seen there."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from elastic import seen
from elastic.real_stack import Kibana, clear, connected, licence

if TYPE_CHECKING:
    from conftest import Stack
    from elasticsearch import Elasticsearch

_passed: set[str] = set()
_failed: set[str] = set()
_stack: list[str] = []


@pytest.fixture
def es(stack: Stack) -> Iterator[Elasticsearch]:
    """The official client on the stack."""
    with connected(stack) as client:
        if stack.sandbox is None and not _stack and (version := seen.version_of(client.info().body)):
            _stack.append(version)
        yield client


@pytest.fixture
def mine(stack: Stack, es: Elasticsearch) -> Iterator[Callable[[str], str]]:
    """Names of this test's own; what bears one is deleted from a real stack afterwards."""
    prefix = f"behaviour-{uuid.uuid4().hex[:8]}-"
    yield lambda name: prefix + name
    if stack.sandbox is None:
        clear(es, prefix)


@pytest.fixture
def ml(es: Elasticsearch) -> Any:
    """The machine-learning part of the client, where the licence has it."""
    if licence(es) in {"basic", "standard", "gold"}:
        pytest.skip("the licence has no machine learning: `make stack-trial` starts a trial")
    return es.ml


@pytest.fixture
def kibana(stack: Stack) -> Iterator[Kibana]:
    """Kibana of the stack."""
    if stack.kibana_url is None:
        pytest.skip("ELASTICSEARCH_URL names a stack and KIBANA_URL no Kibana")
    opened = Kibana(stack)
    yield opened
    opened.close()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    name = report.nodeid
    if "tests/elastic/test_behaviour_" not in name or not os.environ.get("ELASTICSEARCH_URL"):
        return
    if report.failed:
        _failed.add(name)
    elif report.when == "call" and report.passed:
        _passed.add(name)


def pytest_sessionfinish() -> None:
    if _stack and (_passed or _failed):
        seen.add(_stack[0], _passed, _failed)
