"""The client against the sandbox, and against servers that are not Elasticsearch."""

import asyncio
import json
import socket
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from elastic_ml.clients import elasticsearch as module
from elastic_ml.clients.elasticsearch import connect, connect_async, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.clients.translation import seconds_asked_for
from elastic_ml.exceptions import (
    ConnectionSettingsError,
    DiskFullError,
    NotFoundError,
    SecurityError,
    UnavailableError,
    VersionError,
)
from elastic_sandbox.testing import serve


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "BACKOFF_BASE_SECONDS", 0.01)


@pytest.fixture
def client(sandbox):
    with connect(ElasticsearchSettings(url=sandbox.elasticsearch_url), opaque_id="dag/run/task") as made:
        yield made


class Answers(BaseHTTPRequestHandler):
    """Answers the scripted ``(status, headers, body)`` in turn, the last one for ever."""

    script: ClassVar[list] = []
    seen: ClassVar[list] = []

    def do_GET(self):
        type(self).seen.append(time.monotonic())
        status, headers, body = self.script[0] if len(self.script) == 1 else self.script.pop(0)
        data = body.encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def other_server():
    handler = type("Scripted", (Answers,), {"script": [], "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield handler
    server.shutdown()
    server.server_close()


JSON = {"Content-Type": "application/json", "X-Elastic-Product": "Elasticsearch"}


def info(sandbox):
    return [r for r in sandbox.requests if r.path == "/"]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_cluster_that_cannot_answer_now_is_asked_again(sandbox, client, status):
    sandbox.faults.add(path="/", status=status, times=2)
    assert client.info()["tagline"] == "You Know, for Search"
    assert len(info(sandbox)) == 3


def test_a_lost_connection_is_tried_again(sandbox, client):
    sandbox.faults.add(path="/", action="cut_before", times=2)
    assert client.info()["version"]


def test_patience_ends_and_the_last_answer_is_told(sandbox, client):
    sandbox.faults.add(path="/", status=503, times=None)
    with pytest.raises(UnavailableError) as caught:
        client.options(max_retries=2).info()
    assert caught.value.status == 503
    assert len(info(sandbox)) == 3
    assert type(caught.value.__cause__).__name__ == "ApiError"


def test_without_retries_a_request_is_sent_once(sandbox, client):
    sandbox.faults.add(path="/", status=429, times=None)
    with pytest.raises(UnavailableError):
        client.options(max_retries=0).info()
    assert len(info(sandbox)) == 1


def test_a_full_disk_is_told_at_once(sandbox, client):
    client.indices.create(index="full")
    sandbox.faults.flood_stage_pattern = "full"
    with pytest.raises(DiskFullError, match="Free disk space"):
        client.index(index="full", id="1", document={"a": 1})
    assert len([r for r in sandbox.requests if "/_doc/" in r.path]) == 1


def test_the_server_says_how_long_to_wait(other_server):
    body = json.dumps({"error": {"type": "es_rejected_execution_exception", "reason": "busy"}, "status": 429})
    fine = json.dumps({"version": {"number": "9.5.0"}})
    other_server.script[:] = [(429, {**JSON, "Retry-After": "1"}, body), (200, JSON, fine)]
    connect(ElasticsearchSettings(url=other_server.url)).info()
    assert 0.9 < other_server.seen[1] - other_server.seen[0] < 2


def test_the_server_may_say_it_as_a_date(other_server, monkeypatch):
    slept = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    body = json.dumps({"error": {"type": "es_rejected_execution_exception", "reason": "busy"}, "status": 429})
    until = formatdate(time.time() + 20, usegmt=True)
    other_server.script[:] = [(429, {**JSON, "Retry-After": until}, body), (200, JSON, "{}")]
    connect(ElasticsearchSettings(url=other_server.url)).info()
    assert [seconds for seconds in slept if 15 < seconds <= 20]


@pytest.mark.parametrize(
    ("headers", "body"), [({}, "upstream connect error"), ({"Content-Type": "application/json"}, "<html>busy</html>")]
)
def test_a_gateway_whose_answer_cannot_be_read_is_asked_again(other_server, monkeypatch, headers, body):
    monkeypatch.setattr(module, "BACKOFF_BASE_SECONDS", 0.01)
    settings = ElasticsearchSettings(url=other_server.url)
    other_server.script[:] = [(503, headers, body), (200, JSON, "{}")]
    connect(settings).info()
    assert len(other_server.seen) == 2

    async def ask():
        async with connect_async(settings) as client:
            return await client.options(max_retries=0).info()

    other_server.script[:] = [(502, headers, body)]
    with pytest.raises(UnavailableError, match="502"):
        asyncio.run(ask())


@pytest.mark.parametrize("said", [None, "", "soon", "-3", "²", "Sat, 99 Nov 2026 03:00:00 GMT"])
def test_a_retry_after_that_says_nothing_is_none(said):
    assert seconds_asked_for(said) is None


def test_a_password_may_have_any_character():
    with serve(user="jörg:pä€ss") as sandbox:
        settings = ElasticsearchSettings(url=sandbox.elasticsearch_url, username="jörg", password="pä€ss")
        assert connect(settings).info()["version"]


def test_a_missing_object_keeps_the_clients_error_as_cause(client):
    from elasticsearch import NotFoundError as TheirNotFoundError

    with pytest.raises(NotFoundError, match="nowhere") as caught:
        client.indices.get(index="nowhere")
    assert isinstance(caught.value.__cause__, TheirNotFoundError)
    assert client.indices.exists(index="nowhere").meta.status == 404


def test_every_request_carries_the_opaque_id(sandbox, client):
    client.info()
    assert info(sandbox)[-1].headers["x-opaque-id"] == "dag/run/task"


def test_the_clients_helpers_work(client):
    from elasticsearch import helpers

    client.indices.create(index="things")
    actions = [{"_op_type": "create", "_index": "things", "_id": str(n), "n": n} for n in range(25)]
    assert helpers.bulk(client, actions, chunk_size=10, refresh=True) == (25, [])
    assert len(list(helpers.scan(client, index="things", size=10))) == 25
    with pytest.raises(helpers.BulkIndexError):
        helpers.bulk(client, actions)


def test_a_wrong_key_and_a_missing_key_say_so():
    with serve(api_key="cmlnaHQ6a2V5") as sandbox:
        url = sandbox.elasticsearch_url
        assert connect(ElasticsearchSettings(url=url, api_key="cmlnaHQ6a2V5")).info()["version"]
        for settings in (ElasticsearchSettings(url=url, api_key="d3Jvbmc6a2V5"), ElasticsearchSettings(url=url)):
            with pytest.raises(SecurityError, match="Check the API key") as caught:
                connect(settings).info()
            assert caught.value.status == 401
            assert "d3Jvbmc6a2V5" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "headers", "body", "says"),
    [
        (200, {"Content-Type": "application/json"}, "{}", "not Elasticsearch"),
        (404, {"Content-Type": "application/json"}, '{"statusCode":404}', "does not say that it is Elasticsearch"),
        (200, {"Content-Type": "text/html"}, "<html>login</html>", "not Elasticsearch"),
        (302, {"Content-Type": "text/html", "Location": "/login"}, "", "does not say that it is Elasticsearch"),
    ],
)
def test_a_server_that_is_not_elasticsearch_is_a_wrong_address(other_server, status, headers, body, says):
    other_server.script[:] = [(status, headers, body)]
    with pytest.raises(ConnectionSettingsError, match=says) as caught:
        connect(ElasticsearchSettings(url=other_server.url)).info()
    assert other_server.url in str(caught.value)
    assert len(other_server.seen) == 1


def test_https_to_a_plain_server_says_to_write_http(sandbox):
    url = sandbox.elasticsearch_url.replace("http://", "https://")
    with pytest.raises(ConnectionSettingsError, match="write http://"):
        connect(ElasticsearchSettings(url=url, verify_certs=False)).info()


def test_nobody_listening_says_what_to_check():
    with pytest.raises(UnavailableError, match=r"cannot connect to http://127\.0\.0\.1:1 ") as caught:
        connect(ElasticsearchSettings(url="http://u:s3cret@127.0.0.1:1")).options(max_retries=0).info()
    assert "s3cret" not in str(caught.value)


def test_the_asynchronous_client_retries_and_translates_alike(sandbox):
    async def ask():
        client = connect_async(ElasticsearchSettings(url=sandbox.elasticsearch_url))
        try:
            sandbox.faults.add(path="/", status=503, times=2)
            sandbox.faults.add(path="/", action="cut_before", times=1)
            assert (await client.info())["version"]
            with pytest.raises(NotFoundError, match="nowhere"):
                await client.indices.get(index="nowhere")
            sandbox.faults.add(path="/", status=429, times=None)
            with pytest.raises(UnavailableError):
                await client.options(max_retries=0).info()
        finally:
            await client.close()

    asyncio.run(ask())


class SixthServer(ThreadingHTTPServer):
    address_family = socket.AF_INET6


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_both_clients_reach_an_ipv6_host():
    handler = type("Scripted", (Answers,), {"script": [(200, JSON, json.dumps({"name": "six"}))], "seen": []})
    server = SixthServer(("::1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}).start()
    settings = ElasticsearchSettings(url=f"http://[::1]:{server.server_address[1]}")

    async def ask():
        async with connect_async(settings) as client:
            return (await client.info())["name"]

    assert (connect(settings).info()["name"], asyncio.run(ask())) == ("six", "six")
    server.shutdown()
    server.server_close()


def test_neither_client_goes_through_a_proxy_of_the_environment(sandbox, other_server, monkeypatch):
    """Else a triggerer would hand the credentials to a proxy that its workers never see."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, other_server.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    settings = ElasticsearchSettings(url=sandbox.elasticsearch_url)

    async def ask():
        async with connect_async(settings) as client:
            return (await client.options(max_retries=0).info())["version"]

    assert connect(settings).info()["version"] == asyncio.run(ask())
    assert other_server.seen == []


def test_the_facts_of_a_cluster(sandbox, client):
    facts = server_facts(client)
    assert (facts.flavor, facts.ml_available, facts.version[0]) == ("default", True, 9)
    assert facts.license in {"platinum", "trial", "enterprise"}


def test_a_basic_licence_has_no_machine_learning():
    with serve(license="basic") as sandbox:
        facts = server_facts(connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)))
    assert (facts.license, facts.ml_available) == ("basic", False)


def test_a_serverless_project_is_told_apart():
    with serve(flavor="serverless") as sandbox:
        facts = server_facts(connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)))
    assert facts.serverless
    assert facts.license == ""


def test_a_cluster_that_is_too_old_is_refused_by_name(other_server):
    body = {"cluster_name": "old", "version": {"number": "8.19.3", "build_flavor": "default"}}
    other_server.script[:] = [(200, JSON, json.dumps(body))]
    with pytest.raises(VersionError, match=r"old runs Elasticsearch 8\.19\.3"):
        server_facts(connect(ElasticsearchSettings(url=other_server.url)))
