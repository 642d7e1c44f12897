"""The wire: headers, media types, errors, parameters, authentication, faults."""

from __future__ import annotations

import errno
import gzip
import http.client
import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from elasticsearch import ApiError, AuthenticationException, Elasticsearch, UnsupportedProductError
from elasticsearch import ConnectionError as ClientConnectionError

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.testing import Sandbox, serve


def ask(
    url: str, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    sent = {"content-type": "application/json", **(headers or {})} if body is not None else headers or {}
    connection.request(method, path, body=body, headers=sent)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, content


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 200), ("GET", "/absent", 404), ("DELETE", "/_cluster/health", 405), ("GET", "/_no_such_api", 501)],
)
def test_every_answer_carries_the_product_header(sandbox: Sandbox, method: str, path: str, status: int) -> None:
    answered, headers, _ = ask(sandbox.elasticsearch_url, method, path)

    assert answered == status
    assert headers["x-elastic-product"] == "Elasticsearch"


def test_an_unknown_route_is_refused_by_name(sandbox: Sandbox) -> None:
    status, _, content = ask(sandbox.elasticsearch_url, "GET", "/logs-x/_no_such_api")

    error = json.loads(content)["error"]
    assert status == 501
    assert error["type"] == "sandbox_unsupported"
    assert "GET /logs-x/_no_such_api" in error["reason"]


def test_a_wrong_method_is_answered_as_the_server_words_it(sandbox: Sandbox) -> None:
    status, headers, content = ask(sandbox.elasticsearch_url, "DELETE", "/_cluster/health")

    assert status == 405
    assert headers["allow"] == "GET"
    assert json.loads(content) == {
        "error": "Incorrect HTTP method for uri [/_cluster/health] and method [DELETE], allowed: [GET]",
        "status": 405,
    }


def test_the_vendor_media_type_is_answered_in_kind(sandbox: Sandbox) -> None:
    vendor = "application/vnd.elasticsearch+json; compatible-with=9"

    assert ask(sandbox.elasticsearch_url, "GET", "/", headers={"accept": vendor})[1]["content-type"] == (
        "application/vnd.elasticsearch+json;compatible-with=9"
    )
    assert ask(sandbox.elasticsearch_url, "GET", "/")[1]["content-type"] == "application/json"


def test_gzip_is_read_and_written(sandbox: Sandbox) -> None:
    properties = {f"field_{number}": {"type": "keyword"} for number in range(100)}
    body = gzip.compress(json.dumps({"mappings": {"properties": properties}}).encode())
    status, _, _ = ask(sandbox.elasticsearch_url, "PUT", "/zipped", body, {"content-encoding": "gzip"})
    assert status == 200

    _, headers, content = ask(sandbox.elasticsearch_url, "GET", "/zipped/_mapping", headers={"accept-encoding": "gzip"})

    assert headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(content))["zipped"]["mappings"]["properties"] == properties


def test_a_twenty_megabyte_body_is_read(sandbox: Sandbox) -> None:
    body = json.dumps({"mappings": {"_meta": {"padding": "x" * 20_000_000}}}).encode()

    status, _, _ = ask(sandbox.elasticsearch_url, "PUT", "/large", body)

    assert status == 200
    assert sandbox.requests[-1].truncated


@pytest.mark.parametrize("body", [b"{", b"{]", b"not json"])
def test_malformed_json_is_a_400(sandbox: Sandbox, body: bytes) -> None:
    status, _, content = ask(sandbox.elasticsearch_url, "PUT", "/broken", body)

    assert status == 400
    assert json.loads(content)["error"]["type"] == "x_content_parse_exception"


def test_a_body_that_is_no_gzip_is_a_400(sandbox: Sandbox) -> None:
    assert ask(sandbox.elasticsearch_url, "PUT", "/broken", b"{}", {"content-encoding": "gzip"})[0] == 400


def test_an_unknown_parameter_is_a_400_naming_it(sandbox: Sandbox) -> None:
    status, _, content = ask(sandbox.elasticsearch_url, "GET", "/_cluster/health?wait_for_godot=1")

    assert status == 400
    assert json.loads(content)["error"] == {
        "root_cause": [
            {
                "type": "illegal_argument_exception",
                "reason": "request [/_cluster/health] contains unrecognized parameter: [wait_for_godot]",
            }
        ],
        "type": "illegal_argument_exception",
        "reason": "request [/_cluster/health] contains unrecognized parameter: [wait_for_godot]",
    }


def test_filter_path_includes_and_excludes(elasticsearch: Elasticsearch) -> None:
    assert elasticsearch.info(filter_path="version.number,tag*").body == {
        "version": {"number": "9.5.0"},
        "tagline": "You Know, for Search",
    }
    assert "version" not in elasticsearch.info(filter_path="-version.**,-version").body


def test_head_answers_without_a_body(sandbox: Sandbox) -> None:
    status, _, content = ask(sandbox.elasticsearch_url, "HEAD", "/absent")

    assert (status, content) == (404, b"")


def test_an_encoded_slash_stays_inside_its_segment(sandbox: Sandbox) -> None:
    ask(sandbox.elasticsearch_url, "GET", "/_tasks/a%2Fb:1")

    assert (
        sandbox.requests[-1].response["error"]["reason"] == "task [a/b:1] isn't running and hasn't stored its results"
    )


def test_the_request_log_keeps_method_path_parameters_bodies_and_status(
    sandbox: Sandbox, elasticsearch: Elasticsearch
) -> None:
    elasticsearch.options(opaque_id="me").indices.create(index="noted", settings={"number_of_replicas": 0})

    [entry] = sandbox.requests.matching("PUT", "/no*")
    assert (entry.status, entry.body) == (200, {"settings": {"number_of_replicas": 0}})
    assert entry.response["index"] == "noted"
    assert entry.headers["x-opaque-id"] == "me"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Sandbox]:
    with serve(api_key="aWQ6a2V5", user="elastic:secret") as served:
        yield served


class TestAuthentication:
    def test_a_missing_key_is_a_401(self, guarded: Sandbox) -> None:
        with pytest.raises(AuthenticationException) as refused:
            Elasticsearch(guarded.elasticsearch_url, max_retries=0).info()

        assert refused.value.body["error"]["reason"] == "missing authentication credentials for REST request [/]"
        assert "ApiKey" in refused.value.meta.headers["www-authenticate"]

    def test_a_wrong_key_is_a_401(self, guarded: Sandbox) -> None:
        with pytest.raises(AuthenticationException):
            Elasticsearch(guarded.elasticsearch_url, api_key=("id", "other"), max_retries=0).info()

    def test_the_right_key_and_the_right_password_enter(self, guarded: Sandbox) -> None:
        url = guarded.elasticsearch_url
        assert Elasticsearch(url, api_key=("id", "key")).info()["tagline"]
        assert Elasticsearch(url, api_key="aWQ6a2V5").info()["tagline"]
        assert Elasticsearch(url, basic_auth=("elastic", "secret")).info()["tagline"]

    def test_a_wrong_password_is_a_401(self, guarded: Sandbox) -> None:
        with pytest.raises(AuthenticationException):
            Elasticsearch(guarded.elasticsearch_url, basic_auth=("elastic", "no"), max_retries=0).info()


def test_a_disk_that_fills_up_is_the_flood_stage(
    sandbox: Sandbox, elasticsearch: Elasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sandbox.backend.state, "put", full)
    with pytest.raises(ApiError) as refused:
        elasticsearch.ilm.put_lifecycle(name="p", policy={"phases": {}})
    assert (refused.value.status_code, refused.value.error) == (429, "cluster_block_exception")


class TestFlavorsAndLicences:
    def test_version_flavor_and_licence_are_reported(self) -> None:
        with serve(version="9.2.0", flavor="serverless", license="basic") as served:
            client = Elasticsearch(served.elasticsearch_url)
            assert client.info()["version"]["number"] == "9.2.0"
            assert client.info()["version"]["build_flavor"] == "serverless"
            assert client.license.get()["license"]["type"] == "basic"

    def test_serverless_refuses_what_it_lacks(self) -> None:
        with serve(flavor="serverless") as served:
            client = Elasticsearch(served.elasticsearch_url, max_retries=0)
            for call in (
                client.ilm.get_lifecycle,
                client.tasks.list,
                client.cluster.health,
                client.cluster.get_settings,
            ):
                with pytest.raises(ApiError) as refused:
                    call()
                assert refused.value.status_code == 410
                assert refused.value.body["error"]["type"] == "api_not_available_exception"

    def test_a_basic_licence_refuses_machine_learning(self) -> None:
        with serve(license="basic") as served, pytest.raises(ElasticError) as refused:
            served.backend.require_ml()

        assert refused.value.body()["error"] == {
            "root_cause": [
                {
                    "type": "security_exception",
                    "reason": "current license is non-compliant for [ml]",
                    "license.expired.feature": "ml",
                }
            ],
            "type": "security_exception",
            "reason": "current license is non-compliant for [ml]",
            "license.expired.feature": "ml",
        }


class TestFaults:
    def test_a_status_is_answered_as_often_as_asked(self, sandbox: Sandbox, elasticsearch: Elasticsearch) -> None:
        sandbox.faults.add(method="GET", path="/_license", status=429, times=2)

        statuses = []
        for _ in range(3):
            try:
                elasticsearch.license.get()
                statuses.append(200)
            except ApiError as error:
                statuses.append(error.status_code)
        assert statuses == [429, 429, 200]

    def test_a_cut_after_the_work_leaves_the_work_done(self, sandbox: Sandbox, elasticsearch: Elasticsearch) -> None:
        sandbox.faults.add(method="PUT", path="/kept", action="cut_after")

        with pytest.raises(ClientConnectionError):
            elasticsearch.indices.create(index="kept")

        assert elasticsearch.indices.exists(index="kept")

    def test_a_cut_before_the_work_leaves_it_undone(self, sandbox: Sandbox, elasticsearch: Elasticsearch) -> None:
        sandbox.faults.add(method="PUT", path="/lost", action="cut_before")

        with pytest.raises(ClientConnectionError):
            elasticsearch.indices.create(index="lost")

        assert not elasticsearch.indices.exists(index="lost")

    def test_a_share_hits_some_requests_and_spares_others(self, sandbox: Sandbox) -> None:
        fault = sandbox.faults.add(path="/_license", times=None, share=0.5)

        statuses = [ask(sandbox.elasticsearch_url, "GET", "/_license")[0] for _ in range(40)]

        assert 5 < statuses.count(503) < 35
        assert fault.hits == statuses.count(503)

    def test_flood_stage_names_the_index(self, sandbox: Sandbox) -> None:
        sandbox.faults.flood_stage_pattern = "logs-*"

        sandbox.faults.check_flood_stage("other")
        with pytest.raises(ElasticError, match="disk usage exceeded flood-stage watermark") as refused:
            sandbox.faults.check_flood_stage("logs-a-b")
        assert refused.value.status == 429

    def test_an_unknown_key_is_refused(self, sandbox: Sandbox) -> None:
        with pytest.raises(ValueError, match="'statsu'"):
            sandbox.faults.add(statsu=429)
        with pytest.raises(ValueError, match="'requets'"):
            sandbox.faults.load({"requets": []})

    def test_reset_returns_to_what_the_file_said(self, sandbox: Sandbox) -> None:
        sandbox.faults.load({"requests": [{"path": "/_license", "times": None}], "upgrade_mode": True})
        sandbox.faults.add(path="/")
        sandbox.faults.reset()

        assert [fault.path for fault in sandbox.faults.requests] == ["/_license"]
        assert sandbox.faults.upgrade_mode
        sandbox.faults._initial.clear()
        sandbox.faults.reset()


def test_kibana_says_it_is_available_and_refuses_the_rest(sandbox: Sandbox) -> None:
    status, headers, content = ask(sandbox.kibana_url, "GET", "/api/status")
    assert status == 200
    assert json.loads(content)["status"]["overall"]["level"] == "available"
    assert "x-elastic-product" not in headers

    status, _, content = ask(sandbox.kibana_url, "GET", "/api/agent_builder/tools")
    assert status == 501
    assert "GET /api/agent_builder/tools" in json.loads(content)["message"]


def test_the_client_refuses_a_server_without_the_header(sandbox: Sandbox) -> None:
    """What the header is for: Kibana's port answers without it."""
    with pytest.raises((UnsupportedProductError, ApiError)):
        Elasticsearch(sandbox.kibana_url, max_retries=0).perform_request("GET", "/api/status")


def test_serverless_refuses_the_settings_it_manages_itself() -> None:
    with serve(flavor="serverless") as served:
        client = Elasticsearch(served.elasticsearch_url, max_retries=0)
        for settings, words in (
            (
                {"number_of_shards": 1},
                r"Settings \[index.number_of_shards\] are not available when running in serverless mode",
            ),
            (
                {"refresh_interval": "1s"},
                r"\[index.refresh_interval=1s\] should be either -1 or equal to or greater than 5s",
            ),
        ):
            with pytest.raises(ApiError, match=words):
                client.indices.create(index="a", settings=settings)
            with pytest.raises(ApiError, match=words):
                client.cluster.put_component_template(name="c", template={"settings": settings})
        client.indices.create_data_stream(name="logs-a-b")
        [stream] = client.indices.get_data_stream(name="logs-a-b")["data_streams"]
        assert stream["next_generation_managed_by"] == "Data stream lifecycle"


def test_answers_on_one_connection_do_not_wait_for_acknowledgements(elasticsearch: Elasticsearch) -> None:
    """Without TCP_NODELAY each of these takes 40 ms, 4 s together."""
    begun = time.perf_counter()
    for _ in range(100):
        elasticsearch.license.get()
    assert time.perf_counter() - begun < 2
