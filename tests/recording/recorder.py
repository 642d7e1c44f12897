"""A proxy that notes what passes: clients talk to it in clear and without credentials, it talks to the stack with both.

So no credential can be in a recording, and the product under it needs no change.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from recording.exchanges import Exchange, redacted

_FORWARDED = ("accept", "content-type", "content-encoding", "x-opaque-id")
NOTED = ("accept", "content-type", "x-opaque-id")
_RETURNED = ("content-type", "x-elastic-product", "warning", "retry-after")
TIMEOUT_SECONDS = 300


class Recorder:
    """What passed so far, and where clients reach the stack through it."""

    def __init__(self, url: str, api_key: str | None, ca_certs: str | None) -> None:
        self.exchanges: list[Exchange] = []
        self.elasticsearch_url = ""
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.verify = ca_certs or True
        if api_key:
            self._session.headers["authorization"] = f"ApiKey {api_key}"
        self._lock = threading.Lock()

    def forward(self, method: str, target: str, headers: dict[str, str], body: bytes) -> requests.Response:
        """Send a request on, note it with its answer, and give that."""
        answer = self._session.request(
            method, self._url + target, headers=headers, data=body, timeout=TIMEOUT_SECONDS, allow_redirects=False
        )
        plain = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        noted = {name: value for name, value in headers.items() if name in NOTED}
        exchange = Exchange(method, target, noted, plain.decode(), answer.status_code, redacted(_parsed(answer)))
        with self._lock:
            self.exchanges.append(exchange)
        return answer


def _parsed(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except json.JSONDecodeError:
        return answer.text


@contextmanager
def recording(url: str, api_key: str | None = None, ca_certs: str | None = None) -> Iterator[Recorder]:
    """Listen on a free port of 127.0.0.1 until the block ends.

    :param url: of the stack
    :param ca_certs: file of the authority that signed its certificate
    """
    recorder = Recorder(url, api_key, ca_certs)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(recorder))
    recorder.elasticsearch_url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(recorder: Recorder) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: self.headers[name] for name in _FORWARDED if name in self.headers}
            answer = recorder.forward(self.command, self.path, headers, body)
            content = answer.content
            self.send_response(answer.status_code)
            for name in _RETURNED:
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            # To a HEAD the length of what a GET would bring: the client may look at it.
            length = answer.headers.get("content-length", "0") if self.command == "HEAD" else str(len(content))
            self.send_header("content-length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass  # noqa: N815 (the server's names)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the server's signature)
            """Say nothing per request."""

    return Handler
