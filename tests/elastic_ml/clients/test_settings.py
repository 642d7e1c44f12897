import pytest

from elastic_ml.clients.elasticsearch import connect, connect_async, header_safe
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.exceptions import ConnectionSettingsError


def test_secrets_are_in_no_repr():
    settings = ElasticsearchSettings(url="https://elastic:s3cret@host:9200")
    assert settings.password == "s3cret"
    assert "s3cret" not in repr(settings)
    assert "k3y" not in repr(ElasticsearchSettings(url="https://host:9200", api_key="k3y"))


def test_credentials_in_the_url_are_taken_out_of_it_and_used():
    settings = ElasticsearchSettings(url="https://elastic:p%40ss@host:9243/es/")
    assert settings.url == settings.address == "https://host:9243/es"
    assert (settings.username, settings.password) == ("elastic", "p@ss")


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://host", "http://host:9200"),
        ("https://host", "https://host:443"),
        ("http://[::1]:9200", "http://[::1]:9200"),
    ],
)
def test_a_url_gets_the_port_that_its_kind_of_server_uses(url, normal):
    assert ElasticsearchSettings(url=url).url == normal


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "either a URL or a cloud_id"),
        ({"url": "https://h:9200", "cloud_id": "a:b"}, "either a URL or a cloud_id"),
        ({"url": "host:9200"}, "http://"),
        ({"url": "https://u:s3cret@host:notaport"}, "cannot be read"),
        ({"url": "https://h", "username": "u", "password": "p", "api_key": "k"}, "both an API key and a user"),
        ({"url": "https://h", "username": "u"}, "only one of login and password"),
        ({"url": "https://h", "api_key": "s3cret\nkey"}, "on one line"),
        ({"url": "https://h", "ssl_assert_fingerprint": "zz"}, "SHA-256"),
        ({"url": "https://h", "request_timeout": 0}, "above 0"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_a_sentence_and_no_secret(values, says):
    with pytest.raises(ConnectionSettingsError) as caught:
        ElasticsearchSettings(**values)
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_ca_file_that_is_not_there_is_a_sentence():
    with pytest.raises(ConnectionSettingsError, match="ca_certs"):
        connect(ElasticsearchSettings(url="https://h:9200", ca_certs="/nowhere/ca.crt"))


def test_the_asynchronous_client_says_that_it_cannot_check_a_fingerprint():
    with pytest.raises(ConnectionSettingsError, match="ca_certs instead"):
        connect_async(ElasticsearchSettings(url="https://h:9200", ssl_assert_fingerprint="ab" * 32))


def test_an_opaque_id_fits_a_header_and_two_different_ones_stay_different():
    plain = "dag/manual__2026-11-21T00:00:00+00:00/task"
    assert header_safe(plain) == plain
    one, two = header_safe("dög/" + "x" * 300 + "1"), header_safe("dög/" + "x" * 300 + "2")
    assert one != two
    assert one.isascii()
    assert len(one) <= 120
    assert "\n" not in header_safe("a\r\nb: c")
