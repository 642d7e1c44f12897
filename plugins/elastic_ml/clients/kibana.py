"""Kibana's HTTP API from plain settings, on requests; no Airflow.

Every request carries ``kbn-xsrf``. Throttled and unavailable answers are tried again, after ``Retry-After`` where the
server says how long. Errors are those of :mod:`elastic_ml.exceptions`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import quote

from elastic_ml.clients.settings import KibanaSettings
from elastic_ml.clients.translation import error_from_answer, seconds_asked_for
from elastic_ml.exceptions import (
    ConnectionSettingsError,
    ElasticMLError,
    NotFoundError,
    PartialFailureError,
    UnavailableError,
)

if TYPE_CHECKING:
    import requests

RETRIES = 5
BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30
API_VERSION = "2023-10-31"
"""The version of Kibana's public APIs; without it a Serverless project answers with its newest one."""
_NOTHING_WRITTEN = frozenset({"conflict", "ambiguous_conflict", "missing_references"})
"""Kinds of import errors for which Kibana writes no object of the file at all, whatever its successCount says."""

Existing = Literal["replace", "keep", "fail"]


class KibanaFacts(NamedTuple):
    """What a Kibana says of itself.

    :param version: ``(9, 5, 0)``.
    :param serverless: whether it belongs to a Serverless project.
    :param level: ``available``, ``degraded``, ``unavailable`` or ``critical``.
    """

    version: tuple[int, ...]
    serverless: bool
    level: str


@dataclass(frozen=True)
class ImportResult:
    """What an import of saved objects did.

    :param imported: objects written.
    :param objects: ``(type, id, overwritten)`` of each.
    :param kept: ``type id`` of objects that were there already and were left as they are.
    :param renamed: ``type id`` → the id that Kibana gave it, since another space holds that one.
    """

    imported: int
    objects: list[tuple[str, str, bool]]
    kept: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)


class KibanaClient:
    """A session with one Kibana; use it as a context manager, or :meth:`close` it.

    :param settings: where it is and who asks.
    :param retries: how often a request is tried again.
    """

    def __init__(self, settings: KibanaSettings, *, retries: int = RETRIES) -> None:
        self.settings = settings
        self._retries = retries
        self._space_seen = False

    def __enter__(self) -> "KibanaClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if "_session" in self.__dict__:
            self._session.close()

    @cached_property
    def _session(self) -> "requests.Session":
        import requests
        from requests.adapters import HTTPAdapter
        from requests.auth import HTTPBasicAuth

        session = requests.Session()
        # Neither ~/.netrc nor a proxy's environment may replace the connection's own credentials.
        session.trust_env = False
        session.headers["kbn-xsrf"] = "airflow-provider-elastic-ml"
        session.verify = self._verify()
        if self.settings.api_key:
            session.headers["authorization"] = f"ApiKey {self.settings.api_key}"
        elif self.settings.username:
            # As bytes: requests itself would take them for latin-1.
            session.auth = HTTPBasicAuth(self.settings.username.encode(), (self.settings.password or "").encode())
        adapter = HTTPAdapter(max_retries=_patience(self._retries))
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        return session

    def _verify(self) -> bool | str:
        if not self.settings.verify_certs:
            return False
        ca_certs = self.settings.ca_certs
        if ca_certs and not Path(ca_certs).exists():
            raise ConnectionSettingsError(
                f"The connection to Kibana at {self.settings.url} names ca_certs {ca_certs}, which is not there.",
                remedy="Put the CA certificate at that path on every worker.",
            )
        return ca_certs or True

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        files: Mapping[str, Any] | None = None,
        in_space: bool = True,
    ) -> Any:
        """Send one request and return the parsed answer (text where it is not JSON, None where it is empty).

        :param path: such as ``/api/alerting/rule/x``; the space's prefix is put before it.
        :param body: sent as JSON.
        :param files: multipart fields, instead of a body.
        :param in_space: False for APIs that know no space, such as ``/api/status``.
        :raises ElasticMLError: the subclass that the answer's status stands for; :class:`UnavailableError` when Kibana
            cannot be reached or stayed busy.
        """
        import requests

        doing = f"{method} {path} of Kibana"
        internal = path.startswith("/internal/")
        # Since 9.0 Kibana refuses its internal routes to whoever does not say that he knows what they are.
        headers = {"x-elastic-internal-origin": "Kibana"} if internal else {"elastic-api-version": API_VERSION}
        space = self.settings.space
        prefix = f"/s/{quote(space, safe='')}" if in_space and space and space != "default" else ""
        try:
            answer = self._session.request(
                method,
                f"{self.settings.url}{prefix}{path}",
                json=body,
                params=dict(params or {}),
                files=files,
                headers=headers,
                timeout=self.settings.request_timeout,
                allow_redirects=False,
            )
        except requests.exceptions.SSLError as error:
            raise ConnectionSettingsError(
                f"TLS with Kibana at {self.settings.url} failed ({_cause(error)}).",
                remedy="Set the extra ca_certs to the CA that signed its certificate.",
            ) from None
        except requests.exceptions.RequestException as error:
            raise UnavailableError(
                f"{doing}: no answer from {self.settings.url} ({_cause(error)}).",
                remedy="Check that Kibana runs, and host, port and network between Airflow and it.",
            ) from None
        return self._parsed(answer, doing)

    def _parsed(self, answer: "requests.Response", doing: str) -> Any:
        if answer.is_redirect:
            raise ConnectionSettingsError(
                f"{doing} was answered with a redirect: to a login page, or to a base path.",
                remedy="Check the connection's URL (server.basePath belongs into it), and its credentials.",
                status=answer.status_code,
            )
        try:
            body = answer.json() if answer.content else None
        except json.JSONDecodeError:
            body = answer.text
        if answer.ok:
            return body
        if isinstance(body, dict) and "message" in body:
            # Kibana's errors are {"statusCode", "error", "message"}, unlike Elasticsearch's.
            body = {"type": str(body.get("error", "")), "reason": str(body["message"])}
        raise error_from_answer(answer.status_code, body, doing=doing)

    def facts(self) -> KibanaFacts:
        """Ask for version, flavor and state.

        :raises ConnectionSettingsError: what answers is no Kibana.
        """
        body = self.request("GET", "/api/status", in_space=False)
        try:
            # Without the right to see it, only the overall level is told.
            number = str(body["version"]["number"]).split("-", 1)[0]
            serverless = body["version"].get("build_flavor") == "serverless"
            level = str(body["status"]["overall"]["level"])
        except (KeyError, TypeError):
            raise ConnectionSettingsError(
                f"What answers at {self.settings.url} does not say which Kibana it is.",
                remedy="Check host and port, and that the user or key may read Kibana's status.",
            ) from None
        return KibanaFacts(tuple(int(part) for part in number.split(".")), serverless, level)

    def require_space(self) -> None:
        """Make sure that the space of the settings exists; asked once per client.

        Kibana's APIs take requests for a space that does not exist, and what they write there nobody ever sees.

        :raises ConnectionSettingsError: there is no such space.
        """
        space = self.settings.space or "default"
        if self._space_seen or space == "default":
            return
        try:
            self.request("GET", f"/api/spaces/space/{space}", in_space=False)
        except NotFoundError:
            raise ConnectionSettingsError(
                f"Kibana at {self.settings.url} has no space {space!r}, or not for this user.",
                remedy="Create it, or correct the space of the connection or of the task: what is written into a space "
                "that does not exist is seen by nobody.",
                status=404,
            ) from None
        self._space_seen = True

    def import_saved_objects(
        self, bundle: bytes, *, overwrite: bool = True, existing: Existing | None = None
    ) -> ImportResult:
        """Import an NDJSON bundle, completely or with an error that lists every object that was not taken.

        Kibana answers 200 for a partial failure too, with ``success: false``. As long as one object is in conflict or
        refers to something that is not there, it writes none of them.

        :param bundle: one saved object per line.
        :param overwrite: replace objects of the same type and id; otherwise each is a conflict.
        :param existing: ``replace``, ``keep`` (import only what is not there) or ``fail``; instead of ``overwrite``.
        :raises PartialFailureError: some objects were not imported. Importing again is safe.
        """
        existing = existing or ("replace" if overwrite else "fail")
        answer = self._import(bundle, overwrite=existing == "replace")
        kept: list[str] = []
        if existing == "keep":
            there = {_named(error) for error in answer.get("errors", []) if _kind_of(error) == "conflict"}
            if there:
                kept = sorted(there)
                rest = b"\n".join(line for line in _objects(bundle) if _named(json.loads(line)) not in there)
                if not rest:
                    return ImportResult(0, [], kept)
                answer = self._import(rest, overwrite=False)
        if not answer["success"]:
            raise _import_failure(answer)
        done = answer.get("successResults", [])
        written = [(one["type"], one["id"], bool(one.get("overwrite"))) for one in done]
        renamed = {_named(one): str(one["destinationId"]) for one in done if one.get("destinationId")}
        return ImportResult(int(answer.get("successCount", len(written))), written, kept, renamed)

    def _import(self, bundle: bytes, *, overwrite: bool) -> dict[str, Any]:
        answer = self.request(
            "POST",
            "/api/saved_objects/_import",
            params={"overwrite": "true"} if overwrite else {},
            files={"file": ("bundle.ndjson", bundle, "application/ndjson")},
        )
        if not isinstance(answer, dict) or "success" not in answer:
            raise ElasticMLError(f"Kibana answered an import with {str(answer)[:200]!r}, which says nothing about it.")
        return answer

    def export_saved_objects(self, objects: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
        """Return saved objects by type and id.

        :raises InvalidRequestError: one of them does not exist.
        """
        wanted = [{"type": kind, "id": name} for kind, name in objects]
        body = {"objects": wanted, "excludeExportDetails": True, "includeReferencesDeep": False}
        answer = self.request("POST", "/api/saved_objects/_export", body=body)
        if isinstance(answer, dict):
            return [answer]  # a single line of NDJSON is JSON
        return [json.loads(line) for line in str(answer or "").splitlines() if line.strip()]


def _objects(bundle: bytes) -> list[bytes]:
    """The lines of a bundle, without the figures that an export ends with."""
    lines = [line for line in bundle.splitlines() if line.strip()]
    return [line for line in lines if b'"exportedCount"' not in line]


def _named(one: Mapping[str, Any]) -> str:
    return f"{one['type']} {one['id']}"


def _kind_of(error: Mapping[str, Any]) -> str:
    return str((error.get("error") or {}).get("type", "unknown"))


def _import_failure(answer: Mapping[str, Any]) -> PartialFailureError:
    errors = answer.get("errors", [])
    failures: dict[str, str] = {}
    for error in errors:
        # One object may fail in several ways.
        name, why = _named(error), _import_error(error)
        failures[name] = f"{failures[name]}; {why}" if name in failures else why
    written = 0 if any(_kind_of(error) in _NOTHING_WRITTEN for error in errors) else answer.get("successCount", 0)
    listed = "; ".join(f"{name}: {why}" for name, why in failures.items()) or "no reason given"
    wrote = f"wrote {written} saved objects" if written else "wrote nothing"
    return PartialFailureError(
        f"Kibana {wrote} of the bundle and refused {len(failures)}: {listed}.",
        remedy="Correct these and import again: what is there already is replaced.",
        failures=failures,
    )


def _import_error(error: Mapping[str, Any]) -> str:
    cause = error.get("error") or {}
    kind = str(cause.get("type", "unknown"))
    if kind == "missing_references":
        missing = ", ".join(f"{reference['type']} {reference['id']}" for reference in cause.get("references", []))
        return f"it refers to {missing}, which does not exist"
    if kind in {"conflict", "ambiguous_conflict"}:
        return "an object of that id exists already"
    if kind == "unsupported_type":
        return "this Kibana has no such type (feature or licence)"
    return str(cause.get("message") or kind)


def _cause(error: Exception) -> str:
    """The innermost words of an exception of requests, which may repeat the URL several times."""
    text = str(error.args[0] if error.args else error)
    found = re.search(r"\(Caused by (?:\w+\(.*?\): )?(.*)\)", text)
    return " ".join((found[1] if found else text).split())[:240]


def _patience(retries: int) -> Any:
    from urllib3.util.retry import Retry

    class Patience(Retry):
        """Which answers are worth another try: a gateway's 502 and 504 may hide a request that was carried out."""

        def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
            repeatable = method.upper() in {"GET", "HEAD", "PUT", "DELETE"}
            return bool(self.total) and status_code in ({429, 502, 503, 504} if repeatable else {429, 503})

        def parse_retry_after(self, retry_after: str) -> float:
            """Seconds to wait: a page for maintenance asks for hours, and a worker would sleep through them."""
            return min(seconds_asked_for(retry_after) or 0.0, LONGEST_BACKOFF_SECONDS)

    return Patience(
        total=retries,
        backoff_factor=BACKOFF_SECONDS,
        backoff_max=LONGEST_BACKOFF_SECONDS,
        allowed_methods={"GET", "HEAD", "PUT", "DELETE"},  # after a lost answer
        respect_retry_after_header=True,
        raise_on_status=False,
    )
