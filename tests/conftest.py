"""Fixtures every room uses: a sandbox per session, a client on it, and ``stack``, which may be a real one."""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_sandbox.testing import Sandbox


def pytest_xdist_auto_num_workers() -> int:
    """Three workers on two cores: a quarter of the time tests wait, for a server's answer or another process."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)


# Six thousand tests and all that they import are there to stay; nobody need look through them for garbage meanwhile.
gc.disable()


def pytest_collection_finish() -> None:
    from harness.repeated_work import spare_repeated_work

    spare_repeated_work()
    gc.enable()
    atexit.register(gc.unfreeze)  # else DuckDB complains of what is left at the end


@pytest.fixture(scope="session")
def _sandbox_server() -> Iterator[Sandbox]:
    from elastic_sandbox.testing import serve

    with serve() as served:
        yield served


@pytest.fixture
def sandbox(_sandbox_server: Sandbox) -> Iterator[Sandbox]:
    """The session's sandbox, emptied before the test; a fault of its own during the test fails it."""
    _sandbox_server.reset()
    yield _sandbox_server
    asked = [*_sandbox_server.requests, *_sandbox_server.kibana_requests]
    crashed = [entry for entry in asked if entry.status == 500 and _crashed(entry.response)]
    assert not crashed, f"the sandbox itself failed: {crashed} {crashed[0].response}"


def _crashed(response: Any) -> bool:
    error = response.get("error") if isinstance(response, dict) else None
    return isinstance(error, dict) and error.get("type") == "sandbox_failure"


@pytest.fixture
def elasticsearch(sandbox: Sandbox) -> Iterator[Elasticsearch]:
    """The official client on the sandbox, without retries, so that a test sees the first answer."""
    from elasticsearch import Elasticsearch

    with Elasticsearch(sandbox.elasticsearch_url, max_retries=0, request_timeout=30) as client:
        yield client


@dataclass(frozen=True)
class Stack:
    """Where the stack under test is; ``sandbox`` is None on a real one."""

    elasticsearch_url: str
    kibana_url: str | None
    api_key: str | None
    sandbox: Sandbox | None


@pytest.fixture
def stack(request: pytest.FixtureRequest) -> Stack:
    """The sandbox, or the real stack that ELASTICSEARCH_URL, KIBANA_URL and ELASTIC_API_KEY name."""
    url = os.environ.get("ELASTICSEARCH_URL")
    if url:
        return Stack(url, os.environ.get("KIBANA_URL"), os.environ.get("ELASTIC_API_KEY"), None)
    served: Sandbox = request.getfixturevalue("sandbox")
    return Stack(served.elasticsearch_url, served.kibana_url, None, served)
