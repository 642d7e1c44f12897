import json
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from elastic_ml.clients import kibana
from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.clients.settings import KibanaSettings
from elastic_ml.exceptions import (
    ConflictError,
    ConnectionSettingsError,
    InvalidRequestError,
    PartialFailureError,
    SecurityError,
    UnavailableError,
)


class Kibana(ThreadingHTTPServer):
    """Answers with what a test put into `answers`, in order, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def says(self, status: int, body: Any = None, **headers: str) -> None:
        self.answers.append((status, body, {name.replace("_", "-"): value for name, value in headers.items()}))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Kibana

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, headers, body))
        status, said, more = self.server.answers.pop(0)
        content = said.encode() if isinstance(said, str) else json.dumps(said).encode() if said is not None else b""
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kibana]:
    monkeypatch.setattr(kibana, "BACKOFF_SECONDS", 0.01)
    server = Kibana()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def client(server: Kibana, **settings: Any) -> KibanaClient:
    return KibanaClient(KibanaSettings(url=server.url, **settings))


STATUS = {"version": {"number": "9.5.0-SNAPSHOT", "build_flavor": "traditional"}}
STATUS = {**STATUS, "status": {"overall": {"level": "available"}}}


def test_every_request_says_that_it_is_no_forged_one_and_who_asks(server: Kibana) -> None:
    server.says(200, {"id": "r"})
    with client(server, space="fraud", api_key="a2V5") as kibana_client:
        assert kibana_client.request("GET", "/api/alerting/rule/r") == {"id": "r"}
    ((method, path, headers, _),) = server.asked
    assert (method, path) == ("GET", "/s/fraud/api/alerting/rule/r")
    assert headers["kbn-xsrf"]
    assert headers["authorization"] == "ApiKey a2V5"


def test_the_default_space_has_no_prefix_and_status_knows_no_space(server: Kibana) -> None:
    server.says(200, {})
    server.says(200, STATUS)
    client(server, space="default").request("GET", "/api/x")
    facts = client(server, space="fraud").facts()
    assert [path for _, path, _, _ in server.asked] == ["/api/x", "/api/status"]
    assert facts == ((9, 5, 0), False, "available")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_kibana_is_asked_again_after_the_time_it_names(server: Kibana, status: int) -> None:
    server.says(status, {"statusCode": status, "error": "Busy", "message": "later"}, retry_after="0")
    server.says(200, {"id": "r"})
    assert client(server).request("POST", "/api/x", body={"a": 1}) == {"id": "r"}
    assert [json.loads(body) for *_, body in server.asked] == [{"a": 1}] * 2


@pytest.mark.parametrize(
    "asked", [lambda: "86400", lambda: formatdate(time.time() + 86400, usegmt=True)], ids=["seconds", "date"]
)
def test_a_page_for_maintenance_that_asks_for_a_day_is_asked_again_sooner(
    server: Kibana, monkeypatch: pytest.MonkeyPatch, asked: Callable[[], str]
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", slept.append)
    server.says(503, {"message": "maintenance"}, retry_after=asked())
    server.says(200, {"id": "r"})
    assert client(server).request("GET", "/api/x") == {"id": "r"}
    assert kibana.LONGEST_BACKOFF_SECONDS in slept
    assert max(slept) == kibana.LONGEST_BACKOFF_SECONDS


@pytest.mark.parametrize("asked", ["soon", "-3"])
def test_a_retry_after_that_cannot_be_read_is_no_reason_to_give_up(server: Kibana, asked: str) -> None:
    server.says(429, {"message": "slow down"}, retry_after=asked)
    server.says(200, {"id": "r"})
    assert client(server).request("GET", "/api/x") == {"id": "r"}


def test_a_password_may_have_any_character(server: Kibana) -> None:
    server.says(200, {})
    client(server, username="jörg", password="pä€ss").request("GET", "/api/x")
    ((_, _, headers, _),) = server.asked
    assert b64decode(headers["authorization"].removeprefix("Basic ")).decode() == "jörg:pä€ss"


def test_a_ca_file_that_is_not_there_is_a_sentence() -> None:
    settings = KibanaSettings(url="https://kibana", ca_certs="/nowhere/ca.pem")
    with pytest.raises(ConnectionSettingsError, match=r"ca_certs /nowhere/ca\.pem, which is not there"):
        KibanaClient(settings).request("GET", "/api/x")


def test_a_gateways_timeout_is_repeated_only_where_that_changes_nothing(server: Kibana) -> None:
    server.says(504, "gateway")
    server.says(200, {})
    client(server).request("PUT", "/api/x", body={})
    server.says(504, "gateway")
    with pytest.raises(UnavailableError):
        client(server).request("POST", "/api/x", body={})
    assert [method for method, *_ in server.asked] == ["PUT", "PUT", "POST"]


def test_a_kibana_that_stays_busy_is_unavailable(server: Kibana) -> None:
    for _ in range(kibana.RETRIES + 1):
        server.says(503, {"statusCode": 503, "error": "Service Unavailable", "message": "License is not available."})
    with pytest.raises(UnavailableError, match="License is not available"):
        client(server).request("GET", "/api/x")


@pytest.mark.parametrize(
    ("status", "error"), [(400, InvalidRequestError), (401, SecurityError), (403, SecurityError), (409, ConflictError)]
)
def test_a_refusal_is_said_in_kibanas_words_and_not_repeated(
    server: Kibana, status: int, error: type[Exception]
) -> None:
    server.says(status, {"statusCode": status, "error": "Bad Request", "message": "[request body.name]: expected"})
    with pytest.raises(error, match=r"expected value|\[request body.name\]: expected"):
        client(server).request("POST", "/api/x", body={})
    assert len(server.asked) == 1


def test_an_import_that_succeeded_lists_its_objects(server: Kibana) -> None:
    done = {"type": "dashboard", "id": "d", "overwrite": True}
    server.says(200, {"success": True, "successCount": 1, "successResults": [done]})
    result = client(server).import_saved_objects(b'{"type":"dashboard"}\n')
    assert (result.imported, result.objects) == (1, [("dashboard", "d", True)])
    ((_, path, headers, body),) = server.asked
    assert path == "/api/saved_objects/_import?overwrite=true"
    assert headers["content-type"].startswith("multipart/form-data")
    assert b'filename="bundle.ndjson"' in body


def test_an_import_with_status_200_and_success_false_fails_with_every_error(server: Kibana) -> None:
    reference = {"type": "index-pattern", "id": "logs"}
    errors = [
        {"type": "dashboard", "id": "a", "error": {"type": "missing_references", "references": [reference]}},
        {"type": "dashboard", "id": "b", "error": {"type": "conflict"}},
        {"type": "tag", "id": "c", "error": {"type": "unknown", "message": "migration failed", "statusCode": 500}},
        {"type": "map", "id": "d", "error": {"type": "unsupported_type"}},
    ]
    server.says(200, {"success": False, "successCount": 2, "errors": errors})
    with pytest.raises(PartialFailureError) as caught:
        client(server).import_saved_objects(b"{}", overwrite=False)
    assert caught.value.failures == {
        "dashboard a": "it refers to index-pattern logs, which does not exist",
        "dashboard b": "an object of that id exists already",
        "tag c": "migration failed",
        "map d": "this Kibana has no such type (feature or licence)",
    }
    assert "Kibana wrote nothing of the bundle and refused 4" in str(caught.value)


def test_a_login_page_is_a_wrong_connection(server: Kibana) -> None:
    server.says(302, None, location="/login")
    with pytest.raises(ConnectionSettingsError, match="redirect"):
        client(server).request("GET", "/api/x")


def test_what_is_no_kibana_is_told_so(server: Kibana) -> None:
    server.says(200, "<html>hello</html>")
    with pytest.raises(ConnectionSettingsError, match="which Kibana"):
        client(server).facts()


def test_nobody_at_home_is_unavailable_and_no_secret_is_told() -> None:
    gone = KibanaClient(KibanaSettings(url="http://127.0.0.1:9", username="ana", password="s3cret"))
    gone._session.get_adapter("http://").max_retries.total = 0
    with pytest.raises(UnavailableError) as caught:
        gone.request("GET", "/api/status")
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(gone.settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "kibana:5601"},
        {"url": "http://ana:s3cret@kibana:5601"},
        {"url": "http://kibana", "space": "No Space"},
        {"url": "http://kibana", "api_key": "a", "username": "b", "password": "c"},
        {"url": "http://kibana", "username": "b"},
        {"url": "http://kibana", "request_timeout": 0},
        {"url": "http://[::1:5601"},
        {"url": "http://kibana:5601:5601"},
        {"url": "http://ana:s3cret#x@kibana:5601"},
        {"url": "http://kibana", "api_key": "s3cret\n"},
        {"url": "http://kibana", "api_key": "ApiKey s3cret"},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConnectionSettingsError) as caught:
        KibanaSettings(**settings)
    assert "s3cret" not in str(caught.value)


def test_the_sandbox_is_a_kibana(sandbox: Any) -> None:
    with KibanaClient(KibanaSettings(url=sandbox.kibana_url)) as kibana_client:
        assert kibana_client.facts().level == "available"
