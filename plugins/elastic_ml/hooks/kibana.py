"""The Airflow hook to Kibana: a client of its API, and the address that links need.

Connection type ``kibana``, default id ``kibana_default``. Only named extras are read; an unknown one is an error.
"""

import logging
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

from elastic_ml.exceptions import ConnectionSettingsError, ElasticMLError
from elastic_ml.hooks.environment import refuse_unreadable
from elastic_ml.hooks.extras import Extras
from elastic_ml.hooks.urls import url_of

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from elastic_ml.clients.kibana import KibanaClient

DEFAULT_CONNECTION = "kibana_default"
EXTRAS = ("api_key", "ca_certs", "public_url", "request_timeout", "space", "verify_certs")

log = logging.getLogger(__name__)


class KibanaAddress(NamedTuple):
    """Where a browser finds Kibana.

    :param public_url: address without credentials and without a slash at its end.
    :param space: Kibana space, empty for the default one.
    """

    public_url: str
    space: str = ""

    def page(self, path: str) -> str:
        """Return the URL of an application's page, such as ``/app/ml/trained_models``, in this space."""
        space = f"/s/{quote(self.space, safe='')}" if self.space and self.space != "default" else ""
        return f"{self.public_url}{space}{path}"


class KibanaHook(BaseHook):
    """A client of the Kibana that a connection names, and the address of its pages.

    Links use the extra ``public_url``; without it, host, port and schema. The connection may be absent: then there are
    no links.

    :param kibana_conn_id: connection id.
    :param space: id of a space, instead of the connection's.
    """

    conn_name_attr = "kibana_conn_id"
    default_conn_name = DEFAULT_CONNECTION
    conn_type = "kibana"
    hook_name = "Kibana"

    def __init__(self, kibana_conn_id: str = DEFAULT_CONNECTION, *, space: str | None = None) -> None:
        super().__init__()
        self.kibana_conn_id = kibana_conn_id
        self.space = space or None

    @cached_property
    def client(self) -> "KibanaClient":
        """The client, made once per hook.

        :raises AirflowNotFoundException: there is no such connection.
        :raises ConnectionSettingsError: an unknown extra, or values that contradict each other.
        """
        from elastic_ml.clients.kibana import KibanaClient
        from elastic_ml.clients.settings import KibanaSettings

        try:
            connection = self.get_connection(self.kibana_conn_id)
        except AirflowNotFoundException as error:
            refuse_unreadable(self.kibana_conn_id)
            raise AirflowNotFoundException(
                f"Airflow has no connection {self.kibana_conn_id}. Make it in the UI (type Kibana), or with: airflow "
                f"connections add {self.kibana_conn_id} --conn-type kibana --conn-host https://<host>:5601."
            ) from error
        extras = Extras(connection, EXTRAS)
        api_key = extras.text("api_key")
        login, password = (None, None) if api_key else (connection.login or None, connection.password or None)
        return KibanaClient(
            KibanaSettings(
                url=_url_of(connection),
                space=self.space or extras.text("space") or "",
                api_key=api_key,
                username=login,
                password=password,
                ca_certs=extras.text("ca_certs"),
                verify_certs=extras.flag("verify_certs", default=True),
                request_timeout=extras.number("request_timeout", default=60.0),
            )
        )

    def get_conn(self) -> "KibanaClient":
        """Return :attr:`client`; the name that Airflow's own code calls."""
        return self.client

    def test_connection(self) -> tuple[bool, str]:
        """Ask Kibana who it is; what the "Test" button of the connection form shows."""
        from elastic_ml.clients.kibana import KibanaClient

        try:
            # A person waits for the answer: one try says more than half a minute of back-off.
            settings = replace(self.client.settings, request_timeout=10)
            with KibanaClient(settings, retries=0) as client:
                facts = client.facts()
        except ElasticMLError as error:
            return False, str(error)
        kind = "Serverless" if facts.serverless else "self-managed or Cloud"
        space = self.client.settings.space or "default"
        return True, f"Kibana {'.'.join(map(str, facts.version))}, {kind}, {facts.level}, space {space}."

    def address(self) -> KibanaAddress | None:
        """Return where Kibana is, or None when there is no such connection.

        A link is a convenience: an address that cannot be used is logged, never raised.
        """
        try:
            connection = self.get_connection(self.kibana_conn_id)
        except AirflowNotFoundException:
            return None
        except AirflowRuntimeError as error:
            log.warning("No links to Kibana: connection %s cannot be read (%s).", self.kibana_conn_id, error)
            return None
        try:
            extras = connection.extra_dejson
            return KibanaAddress(
                _address(str(extras.get("public_url") or _url_of(connection))),
                str(self.space or extras.get("space") or ""),
            )
        except ConnectionSettingsError as error:
            log.warning("No links to Kibana: %s", error)
            return None


def _url_of(connection: "Connection") -> str:
    return url_of(connection, default_port=None, missing="no host", remedy="Set it to https://<host>:5601.")


def _address(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port  # read to be checked: what follows a # of a password would be taken for the port
    except ValueError:
        usable = False
    if not usable:
        raise ConnectionSettingsError("the Kibana address is no URL.", remedy="Write it as https://<host>:5601.")
    netloc = parts.netloc.rsplit("@", 1)[-1]
    return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))
