import asyncio
import json

import pytest
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from elastic_ml.exceptions import ConnectionSettingsError
from elastic_ml.hooks.elastic import ElasticHook, settings_of
from elastic_ml.hooks.kibana import KibanaHook


def connection(**fields):
    extra = fields.pop("extra", {})
    return Connection(conn_id="c", conn_type=fields.pop("conn_type", "elastic"), extra=json.dumps(extra), **fields)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "http://host:9200"}, "http://host:9200"),
        ({"host": "host", "port": 9201, "schema": "http"}, "http://host:9201"),
        ({"host": "host"}, "https://host:9200"),
        ({"host": "host:9243"}, "https://host:9243"),
        ({"host": "https://host:9200/prefix", "conn_type": "elasticsearch"}, "https://host:9200/prefix"),
        ({"host": "https://host/prefix", "port": 9201}, "https://host:9201/prefix"),
        ({"host": "host/prefix", "port": 9201}, "https://host:9201/prefix"),
        ({"host": "https://host:9201", "port": 9201}, "https://host:9201"),
        ({"host": "::1", "port": 9201, "schema": "http"}, "http://[::1]:9201"),
        ({"host": "[::1]", "schema": "http"}, "http://[::1]:9200"),
        ({"host": " https://host:9200 "}, "https://host:9200"),
    ],
)
def test_a_host_is_a_url_or_a_name_beside_port_and_schema(fields, url):
    assert settings_of(connection(**fields)).url == url


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("elastic://elastic:pw@host:9201", "https://host:9201"),
        ("elastic://https://elastic:pw@host:9201/?verify_certs=false", "https://host:9201"),
        ("elastic://elastic:pw@[::1]:9201/http", "http://[::1]:9201"),
    ],
)
def test_a_uri_that_airflow_took_apart_is_put_together_again(monkeypatch, uri, url):
    monkeypatch.setenv("AIRFLOW_CONN_TAKEN", uri)
    monkeypatch.setenv("AIRFLOW_CONN_SEEN", uri.replace("elastic://", "kibana://", 1))
    settings = ElasticHook("taken").settings
    assert (settings.url, settings.username, settings.password) == (url, "elastic", "pw")
    assert KibanaHook("seen").client.settings.url == url
    assert KibanaHook("seen").address().public_url == url


def test_every_named_extra_arrives_with_its_type():
    extra = {
        "api_key": "k", "ca_certs": "/ca.crt", "verify_certs": "false", "ssl_assert_fingerprint": "ab" * 32,
        "http_compress": False, "request_timeout": "90",
    }  # fmt: skip
    settings = settings_of(connection(host="https://h:9200", extra=extra, login="ignored", password="ignored"))
    assert (settings.api_key, settings.username) == ("k", None)
    assert (settings.verify_certs, settings.http_compress, settings.request_timeout) == (False, False, 90.0)


def test_a_cloud_id_needs_no_host():
    settings = settings_of(connection(extra={"cloud_id": "prod:abc"}, login="elastic", password="x"))
    assert (settings.cloud_id, settings.url) == ("prod:abc", None)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"host": "h", "extra": {"verify_cert": False}}, "unknown extra: verify_cert"),
        ({"host": "h", "extra": {"verify_certs": "maybe"}}, "verify_certs of connection c is neither"),
        ({"host": "h", "extra": {"request_timeout": "soon"}}, "request_timeout of connection c is not a number"),
        ({"host": "h", "extra": {"request_timeout": [60]}}, "request_timeout of connection c is not a number"),
        ({"host": "h", "extra": {"api_key": ["x"]}}, "api_key of connection c is not a text"),
        ({"host": "h", "extra": ["x"]}, "not a JSON object"),
        ({"host": "h", "schema": "ftp"}, "'ftp'"),
        ({}, "neither a host nor"),
        ({"host": "https://h:9200", "port": 9201}, "ends with port 9200, and its port is 9201"),
        ({"host": "https://u:s3#cret@h:9200"}, "host of connection c cannot be read"),
        ({"host": "https://[::1:9200"}, "host of connection c cannot be read"),
        ({"host": "https://h", "schema": "prefix"}, "'prefix'"),
    ],
)
def test_a_connection_that_cannot_work_names_itself_and_what_is_allowed(fields, says):
    with pytest.raises(ConnectionSettingsError) as caught:
        settings_of(connection(**fields))
    assert says in str(caught.value)
    assert "s3" not in str(caught.value)


def test_an_unknown_extra_lists_the_allowed_ones():
    with pytest.raises(ConnectionSettingsError, match="api_key, ca_certs, cloud_id, http_compress"):
        settings_of(connection(host="h", extra={"apikey": "x"}))


def test_the_hook_says_who_the_cluster_is(sandbox, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_ES", json.dumps({"conn_type": "http", "host": sandbox.elasticsearch_url}))
    good, message = ElasticHook("es").test_connection()
    assert good
    assert "machine learning available" in message


def test_a_cluster_that_cannot_be_reached_is_a_message_not_a_traceback(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_ES", json.dumps({"conn_type": "elastic", "host": "http://127.0.0.1:1"}))
    good, message = ElasticHook("es").test_connection()
    assert not good
    assert "cannot connect to http://127.0.0.1:1" in message


def test_a_connection_that_is_not_there_names_how_to_make_it(monkeypatch):
    def absent(conn_id):
        raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")

    monkeypatch.setattr(ElasticHook, "get_connection", staticmethod(absent))
    with pytest.raises(AirflowNotFoundException, match="airflow connections add es --conn-type elastic"):
        _ = ElasticHook("es").client


def test_kibanas_address_in_the_connection_is_said(sandbox, monkeypatch):
    """Kibana answers 400 to what does not come from its own client."""
    monkeypatch.setenv("AIRFLOW_CONN_ES", json.dumps({"conn_type": "elastic", "host": sandbox.kibana_url}))
    with pytest.raises(ConnectionSettingsError, match="Kibana's address is the usual mistake"):
        ElasticHook("es").client.esql.query(query="ROW n = 1")


def test_facts_are_asked_once_per_hook(sandbox, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_ES", json.dumps({"conn_type": "elastic", "host": sandbox.elasticsearch_url}))
    hook = ElasticHook("es")
    assert hook.facts is hook.facts
    assert hook.facts.version >= (9, 2)
    assert not hook.facts.serverless


def test_a_trigger_in_airflow_dags_test_finds_its_connection_too(monkeypatch):
    async def absent(conn_id):
        raise AirflowNotFoundException(conn_id)

    monkeypatch.setattr(ElasticHook, "aget_connection", staticmethod(absent))
    monkeypatch.setattr(ElasticHook, "get_connection", staticmethod(lambda conn_id: connection(host="http://h:1")))
    assert asyncio.run(ElasticHook("es").async_settings()).url == "http://h:1"


def test_links_lead_to_the_public_url_and_the_space(monkeypatch):
    extra = {"public_url": "https://user:pw@kibana.example/base/", "space": "fraud"}
    monkeypatch.setenv(
        "AIRFLOW_CONN_K", json.dumps({"conn_type": "kibana", "host": "http://inside:5601", "extra": extra})
    )
    address = KibanaHook("k").address()
    assert address.page("/app/ml") == "https://kibana.example/base/s/fraud/app/ml"


def test_without_a_public_url_links_lead_to_the_host(monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_K", json.dumps({"conn_type": "kibana", "host": "kibana", "port": 5601, "schema": "http"})
    )
    assert KibanaHook("k").address().page("/app/ml") == "http://kibana:5601/app/ml"


def test_without_a_kibana_connection_there_are_no_links(monkeypatch):
    def absent(conn_id):
        raise AirflowNotFoundException(conn_id)

    monkeypatch.setattr(KibanaHook, "get_connection", staticmethod(absent))
    assert KibanaHook("k").address() is None


@pytest.mark.parametrize("public_url", ["kibana", "https://[::1:5601", "https://ana:s3#cret@kibana:5601"])
def test_a_kibana_address_that_is_no_url_makes_no_link_and_no_failure(monkeypatch, caplog, public_url):
    monkeypatch.setenv("AIRFLOW_CONN_K", json.dumps({"conn_type": "kibana", "extra": {"public_url": public_url}}))
    assert KibanaHook("k").address() is None
    assert "No links to Kibana" in caplog.text
    assert "s3" not in caplog.text


def test_a_kibana_connection_is_tested_by_asking_for_its_version(sandbox, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_K", json.dumps({"conn_type": "kibana", "host": sandbox.kibana_url}))
    ok, said = KibanaHook("k").test_connection()
    assert (ok, said) == (True, "Kibana 9.5.0, self-managed or Cloud, available, space default.")


def test_a_person_who_tests_a_kibana_connection_waits_for_one_try(sandbox, monkeypatch):
    sandbox.faults.add(method="GET", path="/api/status", status=503, times=None)
    monkeypatch.setenv("AIRFLOW_CONN_K", json.dumps({"conn_type": "kibana", "host": sandbox.kibana_url}))
    ok, _ = KibanaHook("k").test_connection()
    assert not ok
    assert len(list(sandbox.kibana_requests)) == 1


def test_an_unknown_extra_of_a_kibana_connection_is_named(monkeypatch):
    extra = {"verify_cert": False}
    monkeypatch.setenv("AIRFLOW_CONN_K", json.dumps({"conn_type": "kibana", "host": "http://k", "extra": extra}))
    ok, said = KibanaHook("k").test_connection()
    assert not ok
    assert "verify_cert" in said
    assert "verify_certs" in said
