"""Asset URIs of Elasticsearch: ``elasticsearch://<connection id>/<data stream, index or name>``."""

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

if TYPE_CHECKING:
    from airflow.sdk import Asset

# What Airflow allows in a connection id; the id stands where other schemes have a host, so there is no port.
_CONNECTION = r"[A-Za-z0-9_.-]+"


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check an ``elasticsearch://`` URI; Airflow calls it for every asset of that scheme.

    The authority is a connection id, not a host: the same DAG then means another cluster in another environment, and
    no address or password ends up in an asset.

    :raises ValueError: it does not name one connection and one object.
    """
    names = [part for part in uri.path.split("/") if part]
    if len(names) != 1 or not re.fullmatch(_CONNECTION, uri.netloc) or uri.query or uri.fragment:
        # The URI is not repeated: whoever wrote credentials into it would find them in the log.
        raise ValueError(
            "An Elasticsearch asset is elasticsearch://<connection id>/<data stream, index or name>, with neither "
            "credentials nor port, and with exactly one name."
        )
    return uri._replace(path=f"/{names[0]}")


def create_asset(*, conn_id: str = "elasticsearch_default", name: str, extra: dict[str, Any] | None = None) -> "Asset":
    """Return the asset of one data stream, index or other named object behind a connection."""
    from airflow.sdk import Asset

    return Asset(name=name, uri=f"elasticsearch://{conn_id}/{name}", extra=extra or {})
