"""The URL that a connection's host, port and schema make."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from elastic_ml.exceptions import ConnectionSettingsError

if TYPE_CHECKING:
    from airflow.sdk import Connection


def url_of(connection: "Connection", *, default_port: int | None, missing: str, remedy: str) -> str:
    """Return the URL of a connection: its host, completed by port and schema.

    Airflow takes URIs apart: ``elastic://https://host:9201`` has the host ``https://host`` and the port beside it, and
    an IPv6 address arrives without its brackets.

    :param default_port: the port of a host that is no URL and has none; None leaves it to the schema.
    :param missing: what the connection has not got, where it has no host.
    :param remedy: what to write there.
    :raises ConnectionSettingsError: no host, a schema that is neither http nor https, or two different ports.
    """
    conn_id = connection.conn_id
    host = (connection.host or "").strip()
    if not host:
        raise ConnectionSettingsError(f"Connection {conn_id} has {missing}.", remedy=remedy)
    schema = (connection.schema or "").strip().lower()
    if schema not in {"", "http", "https"}:
        raise ConnectionSettingsError(
            f"Connection {conn_id} has the schema {schema!r}.", remedy="The schema is http or https."
        )
    is_url = "://" in host
    if not is_url:
        if host.count(":") > 1 and not host.startswith("["):
            host = f"[{host}]"
        host = f"{schema or 'https'}://{host}"
    try:
        parts = urlsplit(host)
        written = parts.port
    except ValueError:
        # The value itself may hold a password, so the sentence does not repeat it.
        raise ConnectionSettingsError(
            f"The host of connection {conn_id} cannot be read.", remedy="Write it as https://<host>:<port>."
        ) from None
    port = connection.port or (None if is_url else default_port)
    if written is not None and connection.port and int(connection.port) != written:
        raise ConnectionSettingsError(
            f"The host of connection {conn_id} ends with port {written}, and its port is {connection.port}.",
            remedy="Keep one of them.",
        )
    if written is None and port:
        parts = parts._replace(netloc=f"{parts.netloc.rstrip(':')}:{port}")
    return parts.geturl()
