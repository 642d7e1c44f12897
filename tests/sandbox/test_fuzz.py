"""A thousand requests that nobody should send: each gets a proper answer, none a crash, none a hang.

Seeded, so that a failure comes again. What is checked of every answer: it arrives, it carries the product header, its
status is not 500, and an error has the envelope of Elasticsearch's errors.
"""

from __future__ import annotations

import gzip
import http.client
import json
import random
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from sandbox.fuzz_corpus import GOOD, HEADERS, KEYS, METHODS, NAMES, PARAMETERS, REAL_500, VALUES

from elastic_sandbox.server import elasticsearch_router
from elastic_sandbox.testing import Sandbox

REQUESTS = 1000
SECONDS = 5.0


class Fuzz:
    """Requests made of the sandbox's own routes and of nonsense."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        routes = elasticsearch_router().entries
        # What takes seconds by design (training, closing) is other tests' business; what is wrong with it is not.
        self.routes = sorted({(method, path) for method, path, _ in routes})

    def requests(self, number: int) -> Iterator[tuple[str, str, bytes, dict[str, str]]]:
        """Method, target, body, headers."""
        for _ in range(number):
            if self.random.random() < 0.5:
                method, path, body = self.random.choice(GOOD)
                spoilt = self.spoil(self.spoil(body) if self.random.random() < 0.4 else body)
                yield method, path, json.dumps(spoilt).encode(), {"content-type": "application/json"}
                continue
            method, path = self.random.choice(self.routes)
            if self.random.random() < 0.1:
                method = self.random.choice([*METHODS, "PATCH", "OPTIONS"])
            body = self.body(path)
            headers = {"content-type": "application/json", **self.random.choice(HEADERS)}
            if self.random.random() < 0.6:
                headers = {"content-type": "application/x-ndjson" if path.endswith("_bulk") else "application/json"}
            if headers.get("content-encoding") == "gzip" and self.random.random() < 0.7:
                body = gzip.compress(body)[: self.random.choice([5, 20, 10_000_000])]
            yield method, self.target(path), body, headers

    def spoil(self, body: Any) -> Any:
        """The body with one of its places changed: another value, an unknown key, or a branch of its own in it."""
        if isinstance(body, dict) and body and self.random.random() < 0.9:
            key = self.random.choice(list(body))
            spoilt = {**body, key: self.spoil(body[key])}
            if self.random.random() < 0.1:
                spoilt[self.random.choice(KEYS)] = spoilt.pop(key)
            return spoilt
        if isinstance(body, list) and body and self.random.random() < 0.9:
            place = self.random.randrange(len(body))
            return [*body[:place], self.spoil(body[place]), *body[place + 1 :]]
        return self.random.choice([*VALUES, {"term": {"a.b": 1}}, body, [body], {"x": body}])

    def target(self, path: str) -> str:
        pieces = []
        for piece in path.split("/"):
            filled = self.random.choice(NAMES) if piece.startswith("{") else piece
            pieces.append(
                "".join(f"%{byte:02x}" if byte > 126 or byte <= 32 else chr(byte) for byte in filled.encode())
            )
        target = "/".join(pieces)
        twist = self.random.random()
        if twist < 0.04:
            target = target.replace("/", "//")
        elif twist < 0.07:
            target += "/%2e%2e/" + self.random.choice(NAMES[:3])
        elif twist < 0.09:
            target = target + "/" + "x" * 3000
        chosen = self.random.sample(PARAMETERS, self.random.choice([0, 0, 1, 2]))
        return target + ("?" + "&".join(chosen) if chosen else "")

    def body(self, path: str) -> bytes:
        kind = self.random.random()
        if kind < 0.15:
            return b""
        if kind < 0.3:
            return self.random.choice(
                [b"{", b"[]", b"null", b'"x"', b"{} {}", b'{"a":1,"a":2}', b"\xff\xfe\x00", b"\x00" * 50, b"not json",
                 b'{"query":' * 500, b"[" * 5000, b'{"a":' * 3000 + b"1" + b"}" * 3000, b'{"a":NaN}', b'{"size":1e999}',
                 b'{"a":"\xed\xa0\x80"}', b"\n" * 1000]
            )  # fmt: skip
        if path.endswith("_bulk"):
            lines = [json.dumps({self.random.choice(["index", "create", "update", "delete", "what"]): self.tree(1)})]
            lines += [json.dumps(self.tree(2)) for _ in range(3)]
            return ("\n".join(lines) + self.random.choice(["", "\n"])).encode()
        return json.dumps(self.tree(4)).encode()

    def tree(self, depth: int) -> Any:
        made = {}
        for _ in range(self.random.choice([0, 1, 1, 2, 3])):
            key = self.random.choice(KEYS)
            if depth == 0 or self.random.random() < 0.3:
                made[key] = self.random.choice(VALUES)
            elif self.random.random() < 0.15:
                made[key] = [self.tree(depth - 1)]
            else:
                made[key] = self.tree(depth - 1)
        return made


def send(url: str, method: str, target: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any, bytes]:
    """Status, headers and body of an answer; an exception when none arrives in time."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=SECONDS)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value.encode("latin-1"))
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def problem(method: str, status: int, headers: Any, content: bytes) -> str | None:
    """What is wrong with an answer, or None."""
    if headers.get("x-elastic-product") != "Elasticsearch":
        return "no product header"
    if status == 500 and not any(real in content for real in REAL_500):
        return "a 500"
    if method == "HEAD":
        return "a body" if content else None
    if headers.get("content-encoding") == "gzip":
        content = gzip.decompress(content)
    if status < 400 or not content:
        return None
    body = json.loads(content)
    if status == 404 and "error" not in body:
        return None  # a document that is not there
    error = body.get("error")
    if body.get("status") != status:
        return "the status of the envelope is another"
    if isinstance(error, dict) and not (error.get("type") and error.get("root_cause") and "reason" in error):
        return "an error without type, reason or root cause"
    return None if error else "no error in the envelope"


@pytest.mark.parametrize("seed", range(4))
def test_no_request_crashes_or_hangs_it(sandbox: Sandbox, seed: int) -> None:
    send(sandbox.elasticsearch_url, "PUT", "/_data_stream/logs-a.b-c", b"", {})
    document = {"content-type": "application/json"}
    send(sandbox.elasticsearch_url, "PUT", "/plain/_doc/1?refresh=true", b'{"a":{"b":1},"t":"2026-01-01"}', document)

    found = []
    for method, target, body, headers in Fuzz(seed).requests(REQUESTS // 4):
        try:
            status, answered, content = send(sandbox.elasticsearch_url, method, target, body, headers)
            wrong = problem(method, status, answered, content)
        except (OSError, http.client.HTTPException, ValueError) as error:
            status, content, wrong = 0, b"", f"no answer: {error!r}"
        if wrong is not None:
            found.append(f"{wrong}: {status} {method} {target[:200]} {headers} {body[:300]!r}\n    {content[:300]!r}")
    assert not found, f"{len(found)} of {REQUESTS // 4}:\n" + "\n".join(found)


def test_a_body_of_twenty_megabytes_is_read_and_one_over_the_limit_refused(sandbox: Sandbox) -> None:
    line = b'{"index":{"_index":"big"}}\n{"text":"' + b"x" * 1000 + b'"}\n'
    status, _, content = send(
        sandbox.elasticsearch_url, "POST", "/_bulk?filter_path=errors", line * 20_000,
        {"content-type": "application/x-ndjson"},
    )  # fmt: skip
    assert (status, json.loads(content)) == (200, {"errors": False})

    bomb = gzip.compress(b" " * 150_000_000, 1)
    status, _, content = send(
        sandbox.elasticsearch_url, "POST", "/big/_search", bomb,
        {"content-type": "application/json", "content-encoding": "gzip"},
    )  # fmt: skip
    assert status == 413


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /plain/_search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
        b'2\r\n{}\r\n0\r\n\r\n',
        b"GET / HTTP/1.0\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /_bulk HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
    ],
)  # fmt: skip
def test_what_is_hardly_http_ends_too(sandbox: Sandbox, raw: bytes) -> None:
    address = urlsplit(sandbox.elasticsearch_url)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=SECONDS) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65_536)
    assert not answer.startswith(b"HTTP/1.1 500")
    assert send(sandbox.elasticsearch_url, "GET", "/", b"", {})[0] == 200
