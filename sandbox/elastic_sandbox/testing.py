"""A sandbox inside the test process.

::

    with serve() as sandbox:
        client = Elasticsearch(sandbox.elasticsearch_url)
        sandbox.clock.advance(3600)
        sandbox.faults.add(method="PUT", path="/_bulk", status=429, times=2)
        assert sandbox.requests.matching("PUT", "/_bulk")
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from elastic_sandbox.backend import Backend
from elastic_sandbox.clock import Clock
from elastic_sandbox.faults import Faults
from elastic_sandbox.request_log import KEPT_BYTES, LoggedRequest, RequestLog
from elastic_sandbox.running import RunningSandbox
from elastic_sandbox.server import Credentials

__all__ = ["LoggedRequest", "Sandbox", "serve"]


class Sandbox:
    """A running sandbox: its addresses, and handles on its clock, faults, request log and parts."""

    def __init__(
        self, backend: Backend, running: RunningSandbox, requests: RequestLog, kibana_requests: RequestLog
    ) -> None:
        self.backend = backend
        self.requests = requests
        self.kibana_requests = kibana_requests
        self.elasticsearch_url = running.elasticsearch_url
        self.kibana_url = running.kibana_url

    @property
    def clock(self) -> Clock:
        """The clock all parts go by."""
        return self.backend.clock

    @property
    def faults(self) -> Faults:
        """Faults to inject."""
        return self.backend.faults

    def reset(self) -> None:
        """An empty cluster, real time, no faults, an empty request log."""
        self.backend.reset()
        self.requests.clear()
        self.kibana_requests.clear()


@contextmanager
def serve(
    *,
    data: Path | None = None,
    version: str = "9.5.0",
    flavor: Literal["default", "serverless"] = "default",
    license: str = "platinum",  # noqa: A002 (the API's own word)
    api_key: str | None = None,
    user: str | None = None,
    kept_bytes: int = KEPT_BYTES,
) -> Iterator[Sandbox]:
    """Serve a sandbox on free ports of 127.0.0.1 until the block ends.

    :param data: directory to keep state in; in memory when None
    :param api_key: encoded API key callers must present; with ``user`` (``name:password``) either will do
    :param kept_bytes: how much of each body the request log keeps
    """
    backend = Backend(data, version=version, flavor=flavor, license=license)
    requests, kibana_requests = RequestLog(kept_bytes), RequestLog(kept_bytes)
    try:
        with RunningSandbox(
            backend, credentials=Credentials(api_key, user), requests=requests, kibana_requests=kibana_requests
        ) as running:
            yield Sandbox(backend, running, requests, kibana_requests)
    finally:
        backend.close()
