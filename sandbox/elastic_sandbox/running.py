"""Two uvicorn servers in threads of their own: the Elasticsearch port and the Kibana port of one backend."""

from __future__ import annotations

import atexit
import errno
import gc
import importlib
import socket
import sys
import threading
import time
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from elastic_sandbox.backend import Backend
from elastic_sandbox.kibana.application import KibanaApplication
from elastic_sandbox.kibana.routes import routes as kibana_routes
from elastic_sandbox.request_log import RequestLog
from elastic_sandbox.server import Application, Credentials, elasticsearch_router

_LOAD_AFTER_SECONDS: Final = 3
"""The first requests go first, and a sandbox that is started for them alone loads nothing."""
_COLLECT_SECONDS: Final = 20
_IDLE_SECONDS: Final = 0.05
"""Of work in a second; a client that polls for a job's end takes less."""


class PortTakenError(Exception):
    """A port cannot be listened on; the message is the sentence to show."""


class _Protocol(HttpToolsProtocol):
    """Puts the transport into the scope, so that a fault can cut the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["elastic_sandbox.transport"] = self.transport  # type: ignore[typeddict-unknown-key]


class _Server:
    """One listening port, served in a daemon thread."""

    def __init__(self, application: Application, host: str, port: int) -> None:
        self._socket = _listen(host, port)
        config = uvicorn.Config(
            application,
            http=_Protocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            access_log=False,
            proxy_headers=False,
            log_level="warning",
            timeout_graceful_shutdown=3,
            timeout_keep_alive=75,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name=f"sandbox-{self.port}", daemon=True)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        self._thread.start()
        # The socket listens already: connections made before the loop runs wait in its backlog.

    def stop(self) -> None:
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(10)
        self._socket.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that say they are TCP; without it every answer waits 40 ms for an ACK.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise PortTakenError(f"cannot listen on {host}:{port}: {error.strerror}; {_remedy(error)}") from error
    return listening


def _remedy(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "give --host an address of this machine"
    if error.errno == errno.EACCES:
        return "choose a port above 1023 with --port or --kibana-port (make sandbox PORT=... KIBANA_PORT=...)"
    return (
        "stop what uses the port, or choose another with --port or --kibana-port "
        "(make sandbox PORT=... KIBANA_PORT=...; 0 takes a free one)"
    )


def prefer_short_answers() -> None:
    """Set the interpreter up for a server, where small requests come while jobs compute; for a process of its own.

    Switching threads twenty-five times as often lets a request in, which needs its turn a dozen times. The collector of
    cyclic garbage stops everything and looks at each value of a job's rows, which hold no cycles (50 ms for 50,000 rows
    of 20): it comes when the process has nothing else to do, and otherwise only for 200,000 objects at once.
    """
    sys.setswitchinterval(0.0002)
    gc.set_threshold(200_000, 10, 1000)
    threading.Thread(target=_collect_when_idle, name="sandbox-collect", daemon=True).start()


def _collect_when_idle() -> None:
    spent, waited = time.process_time(), 0
    while True:
        time.sleep(1)
        waited += 1
        now = time.process_time()
        if now - spent < _IDLE_SECONDS and waited >= _COLLECT_SECONDS:
            gc.collect()
            waited = 0
        spent = time.process_time()


def load_ahead() -> threading.Thread:
    """Import in the background what jobs and queries need first of all; done when the thread ends.

    An import keeps the interpreter for up to a tenth of a second at a time, and machine learning takes seconds of
    them: requests that come while the first job starts would wait.
    """
    thread = threading.Thread(target=_load, name="sandbox-load", daemon=True)
    thread.start()
    return thread


def _load() -> None:
    time.sleep(_LOAD_AFTER_SECONDS)
    for name in ("sklearn.neighbors", "scipy.special", "xgboost", "elastic_sandbox.esql.commands"):
        importlib.import_module(name)
    importlib.import_module("elastic_sandbox.ingest.processors").load_processors()
    # The grammars are compiled when they are first used.
    importlib.import_module("elastic_sandbox.esql.parser").parse("ROW loaded = true")
    importlib.import_module("elastic_sandbox.painless").compile_script("return true;")
    gc.collect()
    gc.freeze()  # what has been loaded stays; nobody need look at it again
    atexit.register(gc.unfreeze)  # else DuckDB complains of what is left at the end


class RunningSandbox:
    """Both ports of a backend, listening from construction on.

    :raises PortTakenError: a port is in use or not allowed
    """

    def __init__(
        self,
        backend: Backend,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        kibana_port: int = 0,
        credentials: Credentials | None = None,
        requests: RequestLog | None = None,
        kibana_requests: RequestLog | None = None,
    ) -> None:
        credentials = credentials or Credentials()
        applications: list[tuple[Application, int]] = [
            (Application(backend, elasticsearch_router(), credentials, requests), port),
            (
                KibanaApplication(backend, kibana_routes, credentials, kibana_requests, product_header=False),
                kibana_port,
            ),
        ]
        self._servers: list[_Server] = []
        try:
            for application, wanted in applications:
                self._servers.append(_Server(application, host, wanted))
        except PortTakenError:
            self.stop()
            raise
        shown = f"[{host}]" if ":" in host else host
        self.elasticsearch_url, self.kibana_url = [f"http://{shown}:{server.port}" for server in self._servers]
        for server in self._servers:
            server.start()

    def stop(self) -> None:
        """Answer what is running, then close the ports."""
        for server in self._servers:
            server.stop()

    def __enter__(self) -> RunningSandbox:
        return self

    def __exit__(self, *_exception: Any) -> None:
        self.stop()
