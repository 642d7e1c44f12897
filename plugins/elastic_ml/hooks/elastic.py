"""The Airflow hook to Elasticsearch: a connection becomes settings, settings become the official client.

Connection type ``elastic``, default id ``elasticsearch_default``. Any connection type is accepted by id, so an existing
connection of the official Elasticsearch provider works too. Only named extras are read; an unknown one is an error, so
that a typing mistake in ``verify_certs`` cannot pass unnoticed.
"""

import asyncio
import logging
from functools import cached_property
from typing import TYPE_CHECKING

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from elastic_ml.exceptions import ElasticMLError
from elastic_ml.hooks.environment import refuse_unreadable
from elastic_ml.hooks.extras import Extras
from elastic_ml.hooks.urls import url_of

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from elasticsearch import AsyncElasticsearch, Elasticsearch

    from elastic_ml.clients.elasticsearch import ServerFacts
    from elastic_ml.clients.settings import ElasticsearchSettings

DEFAULT_CONNECTION = "elasticsearch_default"
EXTRAS = (
    "api_key",
    "ca_certs",
    "cloud_id",
    "http_compress",
    "request_timeout",
    "ssl_assert_fingerprint",
    "verify_certs",
)


class ElasticHook(BaseHook):
    """A client of the cluster that a connection names, with this package's errors and retries.

    :param elastic_conn_id: connection id.
    :param opaque_id: ``X-Opaque-Id`` of every request, such as ``dag/run/task``; made safe for a header.
    """

    conn_name_attr = "elastic_conn_id"
    default_conn_name = DEFAULT_CONNECTION
    conn_type = "elastic"
    hook_name = "Elastic"

    def __init__(self, elastic_conn_id: str = DEFAULT_CONNECTION, opaque_id: str | None = None) -> None:
        super().__init__()
        self.elastic_conn_id = elastic_conn_id
        self.opaque_id = opaque_id

    @cached_property
    def settings(self) -> "ElasticsearchSettings":
        """The connection's settings.

        :raises AirflowNotFoundException: there is no such connection.
        :raises ConnectionSettingsError: an unknown extra, or values that contradict each other.
        """
        return settings_of(self._connection())

    @cached_property
    def client(self) -> "Elasticsearch":
        """The synchronous client, made once per hook."""
        from elastic_ml.clients.elasticsearch import connect

        _quieten_transport()
        return connect(self.settings, opaque_id=self.opaque_id)

    def get_conn(self) -> "Elasticsearch":
        """Return :attr:`client`; the name that Airflow's own code calls."""
        return self.client

    async def async_client(self) -> "AsyncElasticsearch":
        """Return a new asynchronous client; whoever asks for it closes it."""
        from elastic_ml.clients.elasticsearch import connect_async

        _quieten_transport()
        # The first client of a process imports the official one, which takes longer than an event loop may be blocked.
        return await asyncio.to_thread(connect_async, await self.async_settings(), opaque_id=self.opaque_id)

    async def async_settings(self) -> "ElasticsearchSettings":
        """Return the connection's settings without blocking the triggerer's event loop."""
        try:
            connection = await self.aget_connection(self.elastic_conn_id)
        except AirflowNotFoundException:
            # `airflow dags test` runs triggers where only the blocking look-up reaches the connections (3.3.2).
            connection = await asyncio.to_thread(self._connection)
        return settings_of(connection)

    def _connection(self) -> "Connection":
        try:
            return self.get_connection(self.elastic_conn_id)
        except AirflowNotFoundException as error:
            refuse_unreadable(self.elastic_conn_id)
            raise AirflowNotFoundException(
                f"Airflow has no connection {self.elastic_conn_id}. Make it in the UI (type Elastic), or with: airflow "
                f"connections add {self.elastic_conn_id} --conn-type elastic --conn-host https://<host>:9200 "
                '--conn-extra \'{"api_key": "..."}\'.'
            ) from error

    @cached_property
    def facts(self) -> "ServerFacts":
        """Version, flavor and licence of the cluster, asked once per hook (that is, once per task)."""
        from elastic_ml.clients.elasticsearch import server_facts

        return server_facts(self.client)

    @cached_property
    def serverless(self) -> bool:
        """Whether this is a Serverless project; one request where :attr:`facts` takes three."""
        return bool(self.client.info()["version"].get("build_flavor") == "serverless")

    def test_connection(self) -> tuple[bool, str]:
        """Ask the cluster who it is; what the "Test" button of the connection form shows."""
        from elastic_ml.clients.elasticsearch import server_facts

        try:
            # A person waits for the answer: one try says more than a minute of back-off.
            facts = server_facts(self.client.options(max_retries=0, request_timeout=10))
        except ElasticMLError as error:
            return False, str(error)
        version = ".".join(str(part) for part in facts.version)
        kind = "Serverless" if facts.serverless else f"licence {facts.license or 'not readable with this key'}"
        ml = "available" if facts.ml_available else "not available"
        return True, f"Elasticsearch {version}, cluster {facts.cluster_name}, {kind}, machine learning {ml}."


def _quieten_transport() -> None:
    """Keep the client's line per request out of task logs, where polling would bury everything else.

    A level that somebody set on the logger ``elastic_transport`` stays as it is.
    """
    transport = logging.getLogger("elastic_transport")
    if transport.level == logging.NOTSET:
        transport.setLevel(logging.WARNING)


def settings_of(connection: "Connection") -> "ElasticsearchSettings":
    """Turn an Airflow connection into settings.

    The host is a URL, or a host name beside port and schema (``http`` or ``https``; https when nothing is said).

    :raises ConnectionSettingsError: an unknown extra, a value of the wrong type, two ports, no host and no cloud_id.
    """
    from elastic_ml.clients.settings import ElasticsearchSettings

    extras = Extras(connection, EXTRAS)
    cloud_id, api_key = extras.text("cloud_id"), extras.text("api_key")
    login, password = (None, None) if api_key else (connection.login or None, connection.password or None)
    return ElasticsearchSettings(
        url=None if cloud_id else _url_of(connection),
        cloud_id=cloud_id,
        api_key=api_key,
        username=login,
        password=password,
        ca_certs=extras.text("ca_certs"),
        verify_certs=extras.flag("verify_certs", default=True),
        ssl_assert_fingerprint=extras.text("ssl_assert_fingerprint"),
        http_compress=extras.flag("http_compress", default=True),
        request_timeout=extras.number("request_timeout", default=60.0),
    )


def _url_of(connection: "Connection") -> str:
    return url_of(
        connection,
        default_port=9200,
        missing="neither a host nor the extra cloud_id",
        remedy="Set the host to https://<host>:9200.",
    )
