"""The official client's errors and the server's answers as sentences of :mod:`elastic_ml.exceptions`.

Order matters: what a status means depends on the words that come with it. A 429 is a queue that is full (wait), a
disk that is full (do not wait), a lock (wait for its owner) or upgrade mode (wait for the administrator); a 403 is a
missing right, a missing licence or a blocked index.
"""

import re
import time
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import (
    AlreadyExistsError,
    ConflictError,
    ConnectionSettingsError,
    DiskFullError,
    ElasticMLError,
    InvalidRequestError,
    LicenseError,
    LockHeldError,
    NotFoundError,
    SecurityError,
    UnavailableError,
    UpgradeModeError,
    VersionError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_REASON = 600
"""Characters of a server's reason that are kept: some carry whole documents."""

RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})
_CUT = re.compile(r"reset by peer|closed connection without response|Connection aborted")
_FLOOD_STAGE = re.compile(r"flood.?stage|read-only.allow.delete|read-only / allow delete|/12/", re.IGNORECASE)


def error_from_answer(status: int, body: object, *, doing: str) -> ElasticMLError:
    """Turn an error answer, or the ``error`` of one bulk item, into an exception.

    :param status: HTTP status of the answer or of the bulk item.
    :param body: the answer (``{"error": {...}}``), an item's ``error`` object, or text.
    :param doing: what was asked, such as ``PUT /_ml/data_frame/analytics/x`` or ``create of abc in logs-x``.
    :return: the exception, not raised, with the server's type in ``error_type``.
    """
    kind, reason = _type_and_reason(body)
    said = f"{status} {kind}: {reason}" if kind else f"{status}: {reason}"
    return _by_words(status, kind, reason, doing, said) or _by_status(status, kind, doing, said)


def error_from_exception(error: Exception, *, doing: str, address: str) -> ElasticMLError | None:
    """Turn an exception of the official client into ours.

    :param error: what ``perform_request`` raised.
    :param doing: method and path.
    :param address: where the client leads, without credentials.
    :return: our exception, or None when the error is not one of the client's.
    """
    from elastic_transport import ConnectionTimeout, SerializationError, TlsError, TransportError
    from elasticsearch.exceptions import ApiError, UnsupportedProductError

    if isinstance(error, UnsupportedProductError):
        return ConnectionSettingsError(
            f"The server at {address} answers, but it is not Elasticsearch (no X-Elastic-Product header).",
            remedy="Check host and port of the connection, Kibana's address is the usual mistake; a proxy in between "
            "must pass that header on.",
            status=error.meta.status,
        )
    if isinstance(error, ApiError):
        return _of_api_error(error, doing, address)
    if isinstance(error, TlsError):
        return _of_tls_error(str(error.message), address)
    if isinstance(error, ConnectionTimeout):
        return UnavailableError(
            f"{doing}: no answer from {address} in time.",
            remedy="Try again; if it persists, raise the connection's request_timeout or look at the cluster's load.",
        )
    if isinstance(error, SerializationError):
        return ConnectionSettingsError(
            f"The server at {address} answered {doing} with something that is not JSON.",
            remedy="Check host and port of the connection: this may be Kibana, a proxy's login page or a web server.",
        )
    if isinstance(error, TransportError):
        return UnavailableError(
            f"{doing}: cannot connect to {address} ({_shortened(str(error.message), 240)}).",
            remedy="Check that the cluster stays up; if it speaks TLS, write https:// in the connection."
            if address.startswith("http://") and _CUT.search(str(error.message))
            else "Check that the cluster runs, and host, port and network between Airflow and it.",
        )
    return None


def seconds_asked_for(retry_after: str | None) -> float | None:
    """Seconds of a ``Retry-After``, a number or a date; None where it says nothing that can be read."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    from email.utils import parsedate_to_datetime

    try:
        until = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, until - time.time())


def _of_api_error(error: Any, doing: str, address: str) -> ElasticMLError:
    status, headers = error.meta.status, error.meta.headers
    # A 404, 405 or 501 that does not come from Elasticsearch is a wrong address, not a missing object; Kibana refuses
    # what its own client did not send with a 400.
    if status in {301, 302, 307, 308, 400, 404, 405, 501} and not _is_elastic(headers):
        return ConnectionSettingsError(
            f"The server at {address} answered {doing} with {status} and does not say that it is Elasticsearch.",
            remedy="Check host, port and path of the connection; Kibana's address is the usual mistake.",
            status=status,
        )
    return error_from_answer(status, error.body, doing=doing)


def _is_elastic(headers: "Mapping[str, str]") -> bool:
    return headers.get("x-elastic-product", "") == "Elasticsearch"


def _of_tls_error(message: str, address: str) -> ElasticMLError:
    text = message.lower()
    if "wrong version number" in text or "unknown protocol" in text or "record layer" in text:
        remedy = "The server speaks plain HTTP: write http:// in the connection, or turn TLS on in the cluster."
    elif "hostname" in text or "ip address mismatch" in text:
        remedy = "Use the host name that the certificate was made for."
    elif "fingerprint" in text:
        remedy = "Compare ssl_assert_fingerprint with the server's certificate; it changes when that is renewed."
    else:
        remedy = (
            "Set the extra ca_certs to the CA that signed it (config/certs/http_ca.crt), or ssl_assert_fingerprint."
        )
    return ConnectionSettingsError(
        f"TLS with {address} failed ({_shortened(message, 240)}).",
        remedy=remedy,
    )


def _type_and_reason(body: object) -> tuple[str, str]:
    """Type and reason of an answer's error; its causes are added where they say more, of a failed search a shard's."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return "", _shortened(str(error) if error not in {None, ""} else "no reason given", LONGEST_REASON)
    reason = str(error.get("reason") or "no reason given")
    shards = error.get("failed_shards")
    first = shards[0] if isinstance(shards, list) and shards else None
    cause = error.get("caused_by") or (first.get("reason") if isinstance(first, dict) else None)
    while isinstance(cause, dict):
        words = str(cause.get("reason") or "")
        if words and words not in reason:
            reason = f"{reason}; caused by {words}"
        cause = cause.get("caused_by")
    return str(error.get("type") or ""), _shortened(reason, LONGEST_REASON)


def _shortened(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _by_words(status: int, kind: str, reason: str, doing: str, said: str) -> ElasticMLError | None:
    if kind == "cluster_block_exception" and _FLOOD_STAGE.search(reason):
        return DiskFullError(
            f"{doing}: the index is read-only because a disk passed the flood-stage watermark ({said}).",
            remedy="Free disk space or add a node; Elasticsearch lifts the block by itself once the disk is below the "
            "high watermark. Then run the task again.",
            status=status,
            error_type=kind,
        )
    if kind == "cluster_block_exception" and status == 403:
        return InvalidRequestError(
            f"{doing}: the index is blocked ({said}).",
            remedy="See its index.blocks.* settings: somebody made it read-only or closed it.",
            status=status,
            error_type=kind,
        )
    if "upgrade mode" in reason and (status == 429 or "is enabled" in reason):
        return UpgradeModeError(
            f"{doing}: machine learning is in upgrade mode ({said}).",
            remedy="Wait for the upgrade to end, or end it with POST _ml/set_upgrade_mode?enabled=false.",
            status=status,
            error_type=kind,
        )
    if "Could not obtain lock" in reason:
        return LockHeldError(
            f"{doing}: another execution holds the lock ({said}).",
            remedy="Wait until it ends; enrich policies are executed one at a time.",
            status=status,
            error_type=kind,
        )
    if "license is non-compliant" in reason or "license is not compliant" in reason:
        return LicenseError(
            f"{doing}: the cluster's licence does not contain this feature ({said}).",
            remedy="Machine learning needs a Platinum or Enterprise licence; POST _license/start_trial gives 30 days.",
            status=status,
            error_type=kind,
        )
    if kind == "resource_already_exists_exception" or (status == 400 and reason.endswith("already exists")):
        return AlreadyExistsError(
            f"{doing}: it exists already ({said}).",
            remedy="Reuse it, choose another name, or delete it first.",
            status=status,
            error_type=kind,
        )
    if status == 410 or kind == "api_not_available_exception" or "no handler found for uri" in reason:
        return VersionError(
            f"{doing}: this server does not offer the API ({said}).",
            remedy="Serverless projects and older versions lack some APIs; see docs/compatibility.md.",
            status=status,
            error_type=kind,
        )
    return None


def _by_status(status: int, kind: str, doing: str, said: str) -> ElasticMLError:
    error: type[ElasticMLError] = ElasticMLError
    problem, remedy = "failed", "See the Elasticsearch log of that moment."
    if status == 401:
        error, problem = SecurityError, "the server does not know who we are"
        remedy = (
            "Check the API key or login of the connection: wrong, expired or invalidated. A key is given as its "
            "`encoded` value, not as id:api_key."
        )
    elif status == 403:
        error, problem = SecurityError, "not allowed"
        remedy = "Give the connection's user or API key the privilege that the message names."
    elif status == 404:
        error, problem = NotFoundError, "it does not exist"
        remedy = "Check the name; if the setup creates it, run elastic_setup with mode apply."
    elif status == 409:
        error, problem = ConflictError, "it is in a state that forbids this"
        remedy = "Look at its current state and run the task again."
    elif status == 406:
        error, problem = VersionError, "the server cannot speak this client's version"
        remedy = "The package needs Elasticsearch 9.2 or newer."
    elif status == 413:
        error, problem = InvalidRequestError, "the request is too large"
        remedy = "Send smaller chunks, or raise http.max_content_length."
    elif status == 501:
        error, problem = VersionError, "the server does not implement this"
        remedy = "See docs/compatibility.md for what each server offers."
    elif status in RETRYABLE_STATUSES:
        error, problem = UnavailableError, "the server cannot answer now"
        remedy = "It was tried several times; run the task again when the cluster is less busy."
    elif 400 <= status < 500:
        error, problem = InvalidRequestError, "refused"
        remedy = "Correct what the message names: the same request will be refused again."
    return error(f"{doing}: {problem} ({said}).", remedy=remedy, status=status, error_type=kind)
