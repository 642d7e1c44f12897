"""What links into Kibana need: the address that people's browsers use, and the space."""

import logging
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

from elastic_ml.exceptions import ConnectionSettingsError

DEFAULT_CONNECTION = "kibana_default"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KibanaAddress:
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
    """Address and space of Kibana, from a connection of type ``kibana``.

    The extra ``public_url`` is what links use; without it, host, port and schema. The connection may be absent: then
    there are no links.
    """

    conn_name_attr = "kibana_conn_id"
    default_conn_name = DEFAULT_CONNECTION
    conn_type = "kibana"
    hook_name = "Kibana"

    def __init__(self, kibana_conn_id: str = DEFAULT_CONNECTION) -> None:
        super().__init__()
        self.kibana_conn_id = kibana_conn_id

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
                _address(str(extras.get("public_url") or _url_of(connection))), str(extras.get("space") or "")
            )
        except ConnectionSettingsError as error:
            log.warning("No links to Kibana: %s", error)
            return None


def _url_of(connection: object) -> str:
    host = str(getattr(connection, "host", None) or "")
    if not host:
        raise ConnectionSettingsError(
            "the Kibana connection has no host.", remedy="Set its host or the extra public_url."
        )
    if "://" in host:
        return host
    port = getattr(connection, "port", None)
    return f"{getattr(connection, 'schema', None) or 'https'}://{host}{f':{port}' if port else ''}"


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConnectionSettingsError("the Kibana address is no URL.", remedy="Write it as https://<host>:5601.")
    netloc = parts.netloc.rsplit("@", 1)[-1]
    return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))
