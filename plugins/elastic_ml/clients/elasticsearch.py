"""Elasticsearch from plain settings: the official client, with this package's errors and retries.

:func:`connect` and :func:`connect_async` return subclasses of the official clients. Three things differ:

- **Errors** are those of :mod:`elastic_ml.exceptions`; the client's own is their ``__cause__``.
- **Waiting**: 429, 502, 503 and 504 are asked again with exponential back-off, full jitter and the server's
  ``Retry-After``; a lost connection or a timeout likewise. What waiting cannot mend (a full disk, upgrade mode, a lock)
  also comes as 429 and is raised at once. ``client.options(max_retries=0)`` turns all of it off, for a request
  that must not be sent twice without looking first.
- **helpers**: ``elasticsearch.helpers.bulk`` and ``scan`` work on these clients. Their own handling of
  ``ApiError`` (``raise_on_exception=False``, ``max_retries`` on a 429 of the whole request) does not see our errors;
  code that wants per-chunk handling uses :mod:`elastic_ml.ingest`.
"""

import asyncio
import json
import logging
import random
import re
import time
from base64 import b64encode
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.clients.translation import (
    RETRYABLE_STATUSES,
    error_from_answer,
    error_from_exception,
    seconds_asked_for,
)
from elastic_ml.exceptions import (
    ConnectionSettingsError,
    ElasticMLError,
    LicenseError,
    SecurityError,
    UnavailableError,
    VersionError,
)

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch, Elasticsearch

MAX_RETRIES = 5
BACKOFF_BASE_SECONDS = 0.5
BACKOFF_CAP_SECONDS = 30.0
OLDEST_VERSION = (9, 2)


def connect(settings: ElasticsearchSettings, *, opaque_id: str | None = None) -> "Elasticsearch":
    """Return a synchronous client. Nothing is sent yet.

    :param settings: how to reach the cluster.
    :param opaque_id: ``X-Opaque-Id`` of every request: shown in tasks, slow logs and deprecation logs.
    :raises ConnectionSettingsError: the settings cannot be used (a CA file that is not there).
    """
    return _built(_sync_class(), settings, opaque_id, {"node_class": _node_class()})


def connect_async(settings: ElasticsearchSettings, *, opaque_id: str | None = None) -> "AsyncElasticsearch":
    """Return an asynchronous client over httpx, which Airflow brings along; close it with ``await client.close()``.

    :raises ConnectionSettingsError: also when a certificate fingerprint is set, which httpx cannot check.
    """
    if settings.ssl_assert_fingerprint:
        raise ConnectionSettingsError(
            f"The connection to {settings.address} pins a certificate fingerprint, which httpx cannot check.",
            remedy="Set ca_certs instead of ssl_assert_fingerprint, or deferrable=False on the operator.",
        )
    return _built(_async_class(), settings, opaque_id, {"node_class": _async_node_class()})


def _built(cls: Any, settings: ElasticsearchSettings, opaque_id: str | None, more: dict[str, Any]) -> Any:
    options: dict[str, Any] = {
        "http_compress": settings.http_compress,
        "request_timeout": settings.request_timeout,
        "max_retries": MAX_RETRIES,
        "retry_on_timeout": True,
        # Statuses are retried above the transport, where the answer's words and Retry-After can be read.
        "retry_on_status": (),
        "retry_backoff_base": BACKOFF_BASE_SECONDS,
        "retry_backoff_cap": BACKOFF_CAP_SECONDS,
        **more,
    }
    if settings.cloud_id:
        options["cloud_id"] = settings.cloud_id
    else:
        options["hosts"] = settings.url
    if settings.api_key:
        options["api_key"] = settings.api_key
    elif settings.username:
        # Encoded here: the client itself takes ASCII only.
        pair = f"{settings.username}:{settings.password or ''}"
        options["basic_auth"] = b64encode(pair.encode()).decode()
    if settings.cloud_id or str(settings.url).startswith("https"):
        options["verify_certs"] = settings.verify_certs
        if not settings.verify_certs:
            options["ssl_show_warn"] = False
        if settings.ca_certs:
            if not Path(settings.ca_certs).exists():
                raise ConnectionSettingsError(
                    f"The connection to {settings.address} names ca_certs {settings.ca_certs}, which is not there.",
                    remedy="Put the CA certificate at that path on every worker and on the triggerer.",
                )
            options["ca_certs"] = settings.ca_certs
        if settings.ssl_assert_fingerprint:
            options["ssl_assert_fingerprint"] = settings.ssl_assert_fingerprint
    _accept_preview_apis()
    logging.getLogger("elastic_transport.transport").addFilter(_without_traceback)
    if opaque_id:
        options["opaque_id"] = header_safe(opaque_id)
    try:
        return cls(**options)
    except (ValueError, OSError) as error:
        raise ConnectionSettingsError(
            f"No client can be made for {settings.address} ({error}).",
            remedy="Check URL and cloud_id of the connection.",
        ) from error


def header_safe(opaque_id: str, limit: int = 120) -> str:
    """Return the id as a header value, printable ASCII and short; a digest of what is lost keeps ids apart."""
    text = re.sub(r"[^\x21-\x7e]", "_", opaque_id)
    if text == opaque_id and len(text) <= limit:
        return text
    from hashlib import sha256

    return f"{text[: limit - 9]}-{sha256(opaque_id.encode()).hexdigest()[:8]}"


def _wait_before_retry(error: UnavailableError, attempt: int, retry_after: str | None) -> float:
    """Seconds to wait: what the server asked for, else full jitter over an exponentially growing span."""
    asked = seconds_asked_for(retry_after)
    if asked is not None:
        return min(asked, BACKOFF_CAP_SECONDS)
    return random.uniform(0, min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2**attempt))  # noqa: S311 - jitter


class _Retries:
    """Decides, for one request, whether an error of the client is worth another try; raises ours when it is not."""

    def __init__(self, client: Any, method: str, path: str) -> None:
        allowed = client._max_retries
        self.allowed = allowed if isinstance(allowed, int) else MAX_RETRIES
        self.doing = f"{method} {path}"
        nodes = client.transport.node_pool.all()
        self.address = nodes[0].base_url if nodes else "the cluster"
        self.attempt = 0

    def wait_after(self, error: Exception) -> float:
        """Seconds to wait before the next try.

        :raises ElasticMLError: there is no next try.
        """
        ours = error_from_exception(error, doing=self.doing, address=self.address)
        if ours is None:
            raise error
        if (
            ours.status not in RETRYABLE_STATUSES
            or not isinstance(ours, UnavailableError)
            or self.attempt >= self.allowed
        ):
            raise ours from error
        headers = getattr(getattr(error, "meta", None), "headers", {})
        seconds = _wait_before_retry(ours, self.attempt, headers.get("retry-after"))
        self.attempt += 1
        return seconds


def _without_traceback(record: logging.LogRecord) -> bool:
    """The transport logs sixty lines of traceback before each of its retries; what went wrong fits into one."""
    if record.exc_info and record.exc_info[1] is not None:
        record.msg, record.args = "%s: %s", (record.getMessage(), str(record.exc_info[1])[:500])
        record.exc_info = record.exc_text = None
    return True


def _accept_preview_apis() -> None:
    """Keep the client's "technical preview" warnings about APIs that this package chose (tasks) out of task logs."""
    import warnings

    from elasticsearch.exceptions import GeneralAvailabilityWarning

    warnings.filterwarnings("ignore", category=GeneralAvailabilityWarning, module=r"elastic_ml\.")


@lru_cache(maxsize=1)
def _sync_class() -> Any:
    from elastic_transport import TransportError
    from elasticsearch import ApiError, Elasticsearch

    class TranslatingElasticsearch(Elasticsearch):
        """The official client, raising this package's errors."""

        def perform_request(self, method: str, path: str, **kwargs: Any) -> Any:
            retries = _Retries(self, method, path)
            while True:
                try:
                    return super().perform_request(method, path, **kwargs)
                except (ApiError, TransportError) as error:
                    time.sleep(retries.wait_after(error))

    return TranslatingElasticsearch


@lru_cache(maxsize=1)
def _node_class() -> Any:
    from elastic_transport import Urllib3HttpNode

    class ReadableNode(Urllib3HttpNode):
        """urllib3, whose answers can all be read; see `_readable`."""

        def perform_request(self, *args: Any, **kwargs: Any) -> Any:
            return _readable(super().perform_request(*args, **kwargs))

    return ReadableNode


def _readable(answer: Any) -> Any:
    """Call a gateway's 502, 503 or 504 text where it claims to be JSON and is none, or says nothing of itself.

    The transport would hide the status behind an error of its serializer, and nobody would try again.
    """
    from elastic_transport import HttpHeaders

    if answer.meta.status not in RETRYABLE_STATUSES or not answer.body:
        return answer
    try:
        json.loads(answer.body)
    except ValueError:
        headers = HttpHeaders({**answer.meta.headers, "content-type": "text/plain"})
        return answer._replace(meta=replace(answer.meta, headers=headers))
    return answer


@lru_cache(maxsize=1)
def _async_node_class() -> Any:
    import httpx
    from elastic_transport import HttpxAsyncHttpNode

    class DirectHttpxNode(HttpxAsyncHttpNode):
        """httpx that goes where the synchronous client goes: to IPv6 hosts too, and past proxies of the environment.

        Otherwise a triggerer would send through a proxy what a worker sends directly, its credentials with it.
        """

        def __init__(self, config: Any) -> None:
            # Its client is made anew below; an IPv6 host without brackets could not be part of its address.
            super().__init__(replace(config, host="localhost") if ":" in config.host else config)
            self._config, self._host = config, config.host
            # A transport of its own is what keeps httpx from looking for proxies.
            transport = self.client._transport
            self.client = httpx.AsyncClient(base_url=self.base_url, timeout=config.request_timeout, transport=transport)

        async def perform_request(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            return _readable(await super().perform_request(*args, **kwargs))

    return DirectHttpxNode


@lru_cache(maxsize=1)
def _async_class() -> Any:
    from elastic_transport import TransportError
    from elasticsearch import ApiError, AsyncElasticsearch

    class TranslatingAsyncElasticsearch(AsyncElasticsearch):
        """The official asynchronous client, raising this package's errors."""

        async def perform_request(self, method: str, path: str, **kwargs: Any) -> Any:
            retries = _Retries(self, method, path)
            while True:
                try:
                    return await super().perform_request(method, path, **kwargs)
                except (ApiError, TransportError) as error:
                    await asyncio.sleep(retries.wait_after(error))

    return TranslatingAsyncElasticsearch


@dataclass(frozen=True)
class ServerFacts:
    """What the package needs to know about a cluster, asked once per task.

    :param version: such as ``(9, 5, 1)``; on Serverless the version it reports.
    :param flavor: ``default`` or ``serverless``.
    :param license: ``basic``, ``trial``, ``platinum``, ``enterprise``; empty where it cannot be read.
    :param ml_available: machine-learning APIs answer; a missing licence or a project type without ML is False.
    :param cluster_name: its name.
    """

    version: tuple[int, ...]
    flavor: str
    license: str
    ml_available: bool
    cluster_name: str

    @property
    def serverless(self) -> bool:
        """Whether this is a Serverless project."""
        return self.flavor == "serverless"


def server_facts(client: "Elasticsearch") -> ServerFacts:
    """Ask version, flavor, licence and whether machine learning answers.

    :raises VersionError: the server is older than 9.2.
    """
    info = client.info()
    number = str(info["version"]["number"])
    version = tuple(int(part) for part in re.findall(r"\d+", number.split("-", maxsplit=1)[0])[:3])
    flavor = str(info["version"].get("build_flavor", "default"))
    if flavor != "serverless" and version < OLDEST_VERSION:
        raise VersionError(
            f"The cluster {info['cluster_name']} runs Elasticsearch {number}.",
            remedy="This package needs 9.2 or newer.",
        )
    return ServerFacts(
        version=version,
        flavor=flavor,
        license="" if flavor == "serverless" else _license(client),
        ml_available=_ml_available(client),
        cluster_name=str(info["cluster_name"]),
    )


def _license(client: "Elasticsearch") -> str:
    try:
        return str(client.license.get()["license"]["type"])
    except SecurityError:
        # Reading the licence needs the `monitor` privilege, which a key for ingest need not have.
        return ""


def _ml_available(client: "Elasticsearch") -> bool:
    try:
        client.ml.get_data_frame_analytics(id="_all", size=1)
    except (LicenseError, VersionError, SecurityError):
        return False
    return True


__all__ = [
    "ElasticMLError",
    "ServerFacts",
    "connect",
    "connect_async",
    "error_from_answer",
    "header_safe",
    "server_facts",
]
