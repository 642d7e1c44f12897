"""MLflow's webhooks through the receiver into the registry's stream."""

import base64
import hashlib
import hmac
import importlib.util
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from shipped_pipelines.world import NOW, PIPELINES

from elastic_sandbox.logstash.runner import Runner

SECRET = b"between MLflow and us"
EVENT = {
    "entity": "model_version_alias", "action": "created", "timestamp": "2026-05-28T10:15:30.123456+00:00",
    "data": {"name": "fraud", "alias": "champion", "version": "3"},
}  # fmt: skip


def load() -> Any:
    spec = importlib.util.spec_from_file_location("webhook_receiver", PIPELINES / "mlflow" / "webhook_receiver.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


receiver = load()


def signed(body: bytes, secret: bytes = SECRET, *, delivery: str = "d-1", age: float = 0) -> dict[str, str]:
    stamp = str(int(time.time() - age))
    digest = hmac.new(secret, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": stamp,
        "X-MLflow-Signature": f"v1,{base64.b64encode(digest).decode()}",
    }


@contextmanager
def serving(http_server: ThreadingHTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http_server.server_address[1]}"
    finally:
        http_server.shutdown()
        thread.join()
        http_server.server_close()


@pytest.fixture
def lines() -> list[bytes]:
    return []


@pytest.fixture
def post(lines: list[bytes]) -> Iterator[Callable[..., int]]:
    with serving(receiver.server(("127.0.0.1", 0), SECRET, lines.append)) as url:

        def posted(body: bytes, headers: dict[str, str]) -> int:
            request = urllib.request.Request(url, body, headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=10) as response:
                    return int(response.status)
            except urllib.error.HTTPError as error:
                return error.code

        yield posted


def documents(sent: list[bytes]) -> list[dict[str, Any]]:
    runner = Runner(PIPELINES, now=lambda: NOW)
    for line in sent:
        runner.http("/ml.registry", line)
    runner.drain()
    assert {written.stream for written in runner.written} <= {"logs-ml.registry-default"}
    return [written.document for written in runner.written]


def test_a_signed_delivery_becomes_a_registry_event(post: Callable[..., int], lines: list[bytes]):
    body = json.dumps(EVENT).encode()
    assert post(body, signed(body)) == 200
    [document] = documents(lines)
    assert document["event"]["id"] == "d-1"
    assert (document["event_type"], document["model_name"], document["stage"]) == ("transitioned", "fraud", "champion")
    assert document["@timestamp"] == "2026-05-28T10:15:30.123Z"


def test_a_repeated_delivery_has_the_same_id(post: Callable[..., int], lines: list[bytes]):
    body = json.dumps(EVENT).encode()
    headers = signed(body)
    assert [post(body, headers), post(body, headers)] == [200, 200]
    assert {document["event"]["id"] for document in documents(lines)} == {"d-1"}


def test_what_is_not_signed_so_or_old_is_refused(post: Callable[..., int], lines: list[bytes]):
    body = json.dumps(EVENT).encode()
    other = signed(body)
    assert post(body, signed(body, b"another")) == 401
    assert post(body + b" ", other) == 401
    assert post(body, {**other, "X-MLflow-Delivery-Id": "d-2"}) == 401
    assert post(body, {**other, "X-MLflow-Timestamp": str(int(time.time()) + 1)}) == 401
    assert post(body, {name: value for name, value in other.items() if "Signature" not in name}) == 401
    assert post(body, signed(body, age=301)) == 401
    assert post(body, signed(body, age=-301)) == 401
    assert post(body, {**other, "X-MLflow-Signature": "v1,\xe4"}) == 401
    assert lines == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_a_signed_body_that_is_no_object_is_refused(post: Callable[..., int], lines: list[bytes], body: bytes):
    assert post(body, signed(body)) == 400
    assert lines == []


def test_a_body_that_is_too_long_is_not_read(post: Callable[..., int]):
    body = b"x" * (receiver.LONGEST_BODY + 1)
    with suppress(urllib.error.URLError, ConnectionError):  # answered and closed before all of it was sent
        assert post(body, signed(body)) == 413


def test_mlflow_is_asked_to_try_again_when_logstash_does_not_take_it():
    def failing(line: bytes) -> None:
        raise ConnectionRefusedError("nobody listens")

    body = json.dumps(EVENT).encode()
    with serving(receiver.server(("127.0.0.1", 0), SECRET, failing)) as url:
        request = urllib.request.Request(url, body, signed(body), method="POST")
        with pytest.raises(urllib.error.HTTPError) as answered:
            urllib.request.urlopen(request, timeout=10)
    assert answered.value.code == 502


def test_lines_are_posted_with_user_and_password():
    seen: list[tuple[str, str | None, bytes]] = []

    class Input(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path, self.headers["Authorization"], body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Input)) as url:
        receiver.Logstash(f"{url}/ml.registry", "ml", "pw")(b"{}\n")
    assert seen == [("/ml.registry", "Basic " + base64.b64encode(b"ml:pw").decode(), b"{}\n")]


def test_missing_settings_are_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOGSTASH_URL", "https://logstash:8080/ml.registry")
    assert receiver.main([]) == 2
    assert "MLFLOW_WEBHOOK_SECRET, HTTP_USER, HTTP_PASSWORD" in capsys.readouterr().err


def call(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/api/2.0/mlflow/{path}", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return dict(json.loads(response.read()))


@contextmanager
def mlflow(python: str, folder: Path) -> Iterator[str]:
    """A real MLflow server on SQLite that may deliver to this machine."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": base64.urlsafe_b64encode(b"0" * 32).decode(),
        "GIT_PYTHON_REFRESH": "quiet",
    }
    store = f"sqlite:///{folder}/mlflow.db"
    command = [python, "-m", "mlflow", "server", "--backend-store-uri", store, "--registry-store-uri", store]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "server.log").read_text()
                assert time.monotonic() < deadline, (folder / "server.log").read_text()
                time.sleep(0.5)
        yield url
    finally:
        # Its workers and job runners, too; asked politely it takes longer than the test.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


@pytest.mark.skipif("MLFLOW_PYTHON" not in os.environ, reason="`make test-mlflow` installs MLflow and runs this")
@pytest.mark.timeout(400)
def test_a_real_mlflow_delivers_what_the_registry_records(tmp_path: Path, lines: list[bytes]):
    delivery = serving(receiver.server(("127.0.0.1", 0), SECRET, lines.append))
    with delivery as hook, mlflow(os.environ["MLFLOW_PYTHON"], tmp_path) as url:
        events = [("REGISTERED_MODEL", "CREATED"), ("MODEL_VERSION", "CREATED"), ("MODEL_VERSION_ALIAS", "CREATED"),
                  ("MODEL_VERSION_ALIAS", "DELETED")]  # fmt: skip
        call(url, "webhooks", {
            "name": "registry", "url": hook, "secret": SECRET.decode(),
            "events": [{"entity": entity, "action": action} for entity, action in events],
        })  # fmt: skip
        call(url, "registered-models/create", {"name": "fraud"})
        call(url, "model-versions/create", {"name": "fraud", "source": "s3://models/fraud"})
        call(url, "registered-models/alias", {"name": "fraud", "alias": "champion", "version": "1"})
        deadline = time.monotonic() + 60
        while len(lines) < 3:
            assert time.monotonic() < deadline, f"{lines} {(tmp_path / 'server.log').read_text()[-3000:]}"
            time.sleep(0.2)
    found = sorted(documents(lines), key=lambda each: each["@timestamp"])
    assert [(each["event_type"], each["model_name"], each.get("model_version")) for each in found] == [
        ("registered", "fraud", None), ("registered", "fraud", "1"), ("transitioned", "fraud", "1"),
    ]  # fmt: skip
    assert found[-1]["stage"] == "champion"
    assert len({each["event"]["id"] for each in found}) == 3
