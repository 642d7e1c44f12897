"""The replay of the golden events, with the suite's runner in Logstash's place and the sandbox in Elasticsearch's."""

from __future__ import annotations

import importlib
import json
import socketserver
import struct
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from docker.compose import FOLDER, ROOT
from elastic_sandbox.logstash.output import Elasticsearch
from elastic_sandbox.logstash.runner import Runner
from elastic_sandbox.testing import Sandbox

GOLDEN = ROOT / "tests" / "logstash" / "golden"
SPACES = {"OPERATIONS_NAMESPACE": "replay", "AUDIT_NAMESPACE": "replay"}
LATER = datetime(2026, 11, 21, 20, tzinfo=UTC)


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("logstash_replay")


class Logstash:
    """Both inputs of the shipped pipelines in clear, before the runner that executes their files."""

    def __init__(self, elasticsearch_url: str) -> None:
        self.runner = Runner(ROOT / "logstash", SPACES, Elasticsearch(elasticsearch_url), now=lambda: LATER)
        self.lock, self.slow, self.changed = threading.Lock(), False, False
        self.beats = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._beats())
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._http())
        for server in (self.beats, self.http):
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        for server in (self.beats, self.http):
            server.shutdown()
            server.server_close()

    def take(self, event: dict[str, Any]) -> None:
        with self.lock:
            self.runner.beats([{**event, "message": "another"} if self.changed else event])
            self.runner.drain()

    def _beats(self) -> type[socketserver.StreamRequestHandler]:
        logstash = self

        class Handler(socketserver.StreamRequestHandler):
            """Lumberjack v2 as logstash-input-beats reads it (its PROTOCOL.md)."""

            def handle(self) -> None:
                kind, window = self.rfile.read(2), struct.unpack(">I", self.rfile.read(4))[0]
                assert kind == b"2W"
                for number in range(1, window + 1):
                    assert self.rfile.read(2) == b"2J"
                    sequence, size = struct.unpack(">II", self.rfile.read(8))
                    assert sequence == number
                    logstash.take(json.loads(self.rfile.read(size)))
                self.wfile.write(b"2A" + struct.pack(">I", 0))  # still at work
                self.wfile.write(b"2A" + struct.pack(">I", window))

        return Handler

    def _http(self) -> type[BaseHTTPRequestHandler]:
        logstash = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                allowed = self.headers["authorization"] == "Basic dXNlcjpwYXNzd29yZA=="
                if allowed:
                    with logstash.lock:
                        logstash.runner.http(self.path, body, dict(self.headers))
                        logstash.runner.drain()
                self.send_response(200 if allowed else 401)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Nothing."""

        return Handler


@pytest.fixture
def logstash(sandbox: Sandbox) -> Iterator[Logstash]:
    made = Logstash(sandbox.elasticsearch_url)
    yield made
    made.close()


def ran(replay: Any, sandbox: Sandbox, logstash: Logstash, folder: Path = GOLDEN, password: str = "password") -> Any:
    elasticsearch = replay.Elasticsearch(sandbox.elasticsearch_url, "of-elastic", Path("no-authority"))
    elasticsearch.prepare()
    ports = (logstash.beats.server_address[1], logstash.http.server_address[1])
    there = replay.Logstash("127.0.0.1", *ports, "user", password, None)
    return replay.replay(folder, elasticsearch, there, patience=5, pause=0.02)


def test_what_the_suite_expects_comes_back_from_the_streams(replay: Any, sandbox: Sandbox, logstash: Logstash):
    assert ran(replay, sandbox, logstash) == ([], [])
    assert len(replay.expected(GOLDEN)) > 50


def test_a_second_run_starts_from_nothing(replay: Any, sandbox: Sandbox, logstash: Logstash, tmp_path: Path):
    for name in ("unknown.yml", "unknown.expected.ndjson"):
        (tmp_path / name).write_text((GOLDEN / name).read_text())
    for _ in range(2):
        assert ran(replay, sandbox, logstash, tmp_path) == ([], [])


def test_each_difference_is_missing_on_one_side_and_too_many_on_the_other(
    replay: Any, sandbox: Sandbox, logstash: Logstash, tmp_path: Path
):
    for name in ("internal.yml", "internal.expected.ndjson"):
        (tmp_path / name).write_text((GOLDEN / name).read_text())
    logstash.changed = True
    missing, surplus = ran(replay, sandbox, logstash, tmp_path)
    assert len(missing) == len(replay.expected(tmp_path))
    assert {one.document["raw"] for one in surplus} == {"another"}


def test_a_refused_request_is_told(replay: Any, sandbox: Sandbox, logstash: Logstash):
    with pytest.raises(Exception, match="with 401"):
        ran(replay, sandbox, logstash, password="wrong")


def test_a_document_stands_for_one_only(replay: Any):
    one = replay.Written("logs-ml.registry-replay", {"@timestamp": "2026-01-01T00:00:00.000Z", "n": 1})
    assert replay.differences([one, one], [one]) == ([one], [])
    assert replay.differences([one], [one, one]) == ([], [one])


def test_of_what_came_by_http_everything_but_the_time_counts(replay: Any):
    wanted = replay.Written("logs-ml.registry-replay", {"@timestamp": replay.ARRIVAL, "event": {"id": "a"}})
    later = replay.Written(wanted.stream, {**wanted.document, "@timestamp": "2026-11-21T20:00:00.000Z"})
    assert replay.differences([wanted], [later]) == ([], [])
    other = replay.Written(wanted.stream, {**later.document, "event": {"id": "b"}})
    assert replay.differences([wanted], [other]) == ([wanted], [other])


def test_a_beats_input_that_closes_early_is_a_sentence(replay: Any):
    class Closing(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)

    with socketserver.TCPServer(("127.0.0.1", 0), Closing) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        there = replay.Logstash("127.0.0.1", server.server_address[1], 0, "", "", None)
        with pytest.raises(Exception, match="closed the connection before it acknowledged"):
            replay.ship(there, [{"message": "x"}])
