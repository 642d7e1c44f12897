"""Requests to one API: where it is and who asks (an Airflow connection), tokens, patience, and no secret anywhere else.

Statuses that are worth another try, and that Retry-After is honoured: PingOne, "Retries: Best practice for managing
transient API errors". Access tokens live for `expires_in` seconds (PingOne: one hour); a refused one is renewed once.
"""

from __future__ import annotations

import base64
import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin

import requests
from requests.auth import AuthBase

from elastic_ml.exceptions import IngestError, SecurityError, UnavailableError
from elastic_ml.sources.readers.api_settings import ApiSettings, origin_of, shown_url, split_url, without_query
from elastic_ml.sources.strict_json import DECODER

log = logging.getLogger(__name__)

LONGEST_PAGE = 64 * 1024 * 1024
MOST_ATTEMPTS = 8
"""Tries of one page without an answer that can be used; with the back-off below about two minutes."""
TRIES_OF_TOO_MUCH = 3
LONGEST_WAIT_SECONDS = 900.0
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


class TooMuchError(UnavailableError):
    """The API could not put this page together: a shorter window may help."""


class _Header(AuthBase):
    """Sets the Authorization header last; requests would otherwise prefer an entry of ~/.netrc over a given header."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


class ApiClient:
    """Fetches JSON pages from one host.

    :param sleep: waits; a test passes its own.
    """

    def __init__(self, settings: ApiSettings, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._settings = settings
        self._sleep = sleep
        self._session = requests.Session()
        self._session.verify = settings.ca_certs or settings.verify_certs
        self._token: str | None = None
        self._token_until = 0.0
        self._pause_until = 0.0

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def url(self, path: str) -> str:
        """The address of a path below the connection's host."""
        return self._settings.url + path

    def link(self, page_url: str, href: str) -> str:
        """The address that a page links to; raises IngestError when it is on another host: no token is sent there."""
        target = split_url(urljoin(page_url, href))
        here = split_url(self._settings.url)
        assert here is not None
        if target is None or target.username is not None or origin_of(target) != origin_of(here):
            raise IngestError(
                f"A page of {without_query(page_url)} links to {shown_url(target)}, which is not the host of the "
                f"connection {self._settings.conn_id}; it was not followed, so that no credentials go there.",
                remedy="If the API answers under another name, write that name into the connection's host.",
            )
        return target.geturl()

    def page(self, url: str, params: Mapping[str, str] | None = None, *, divisible: bool = False) -> Any:
        """The JSON of one page, asked for until it comes whole.

        :param divisible: the caller can ask for less, so give up early when the API seems to work too long on it.
        :raises SecurityError: 401 with a fresh token, or 403.
        :raises TooMuchError: timeouts or 413, 504 only: what was asked for is too much at once.
        :raises UnavailableError: no usable answer in time; another run may succeed.
        :raises IngestError: the API refuses the request as such.
        """
        renewed = False
        problems: list[str] = []
        too_much = True
        while len(problems) < MOST_ATTEMPTS:
            self._wait(max(0.0, self._pause_until - time.monotonic()), url, "the rate limit is used up")
            wait = None
            try:
                with self._get(url, params) as answer:
                    self._pause_until = time.monotonic() + _rate_limit_pause(answer.headers)
                    if answer.status_code == 200:
                        return _json(answer)
                    if answer.status_code == 401 and self._settings.token_url and not renewed:
                        renewed, self._token = True, None
                        continue
                    problem = self._said(answer)
                    if answer.status_code == 413:
                        raise TooMuchError(f"{without_query(url)} answered {problem}.", status=413)
                    if answer.status_code not in _TRANSIENT:
                        raise self._refusal(url, answer.status_code, problem)
                    too_much = too_much and answer.status_code in {408, 504}
                    wait = _retry_after(answer.headers)
            except requests.Timeout:
                problem = f"no answer within {self._settings.request_timeout:g} s"
            except (requests.RequestException, _BrokenPageError) as error:
                # requests' own words hold the whole address; the kind of failure is enough.
                problem = str(error) if isinstance(error, _BrokenPageError) else type(error).__name__
                too_much = False
            problems.append(problem)
            if divisible and too_much and len(problems) >= TRIES_OF_TOO_MUCH:
                break
            if len(problems) < MOST_ATTEMPTS:
                self._wait(_backoff(len(problems)) if wait is None else wait, url, problem)
        kind = TooMuchError if too_much else UnavailableError
        raise kind(
            f"{without_query(url)} gave no usable answer in {len(problems)} tries (the last: {problems[-1]}).",
            remedy="Run the task again later; what was read before counts as duplicate then.",
        )

    def _get(self, url: str, params: Mapping[str, str] | None) -> requests.Response:
        return self._session.get(
            url,
            params=dict(params or {}),
            auth=_Header(self._authorization()),
            headers={"Accept": "application/json"},
            timeout=(10, self._settings.request_timeout),
            stream=True,
            allow_redirects=False,
        )

    def _authorization(self) -> str | None:
        settings = self._settings
        if settings.token_url:
            if self._token is None or time.monotonic() >= self._token_until:
                self._fetch_token()
            return f"Bearer {self._token}"
        if settings.login:
            pair = f"{settings.login}:{settings.secret}".encode()
            return f"Basic {base64.b64encode(pair).decode()}"
        return f"Bearer {settings.secret}" if settings.secret else None

    def _fetch_token(self) -> None:
        settings = self._settings
        form = {"grant_type": "client_credentials"}
        if settings.scope:
            form["scope"] = settings.scope
        header = None
        if settings.token_auth == "basic":  # noqa: S105
            pair = f"{settings.login}:{settings.secret}".encode()
            header = f"Basic {base64.b64encode(pair).decode()}"
        else:
            form |= {"client_id": str(settings.login), "client_secret": str(settings.secret)}
        where = f"The token endpoint of the connection {settings.conn_id}, {without_query(str(settings.token_url))},"
        problem = ""
        for attempt in range(1, MOST_ATTEMPTS + 1):
            wait = _backoff(attempt)
            try:
                with self._session.post(
                    str(settings.token_url),
                    data=form,
                    auth=_Header(header),
                    timeout=(10, settings.request_timeout),
                    stream=True,
                    allow_redirects=False,
                ) as answer:
                    if answer.status_code == 200:
                        return self._keep_token(_json(answer), where)
                    problem = self._said(answer)
                    if answer.status_code not in _TRANSIENT:
                        raise SecurityError(
                            f"{where} refused the client: {problem}.",
                            status=answer.status_code,
                            remedy="Check login (client id), password (client secret), token_auth and scope of the "
                            "connection, and that the client may use the grant client_credentials.",
                        )
                    wait = _retry_after(answer.headers) or wait
            except (requests.RequestException, _BrokenPageError) as error:
                problem = str(error) if isinstance(error, _BrokenPageError) else type(error).__name__
            if attempt < MOST_ATTEMPTS:
                self._wait(wait, str(settings.token_url), problem)
        raise UnavailableError(f"{where} gave no token ({problem}).", remedy="Run the task again later.") from None

    def _keep_token(self, answer: Any, where: str) -> None:
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise SecurityError(f"{where} answered without an access_token.", remedy="Check that token_url is one.")
        seconds = answer.get("expires_in")
        seconds = float(seconds) if isinstance(seconds, int | float) and not isinstance(seconds, bool) else 300.0
        self._token = token
        # A minute early, or half-way of a short life: the token must not expire on its way.
        self._token_until = time.monotonic() + max(seconds - 60.0, seconds / 2)

    def _said(self, answer: requests.Response) -> str:
        """Status and, where the API says one, its reason; never a body as such, and no secret that it may repeat."""
        status = f"{answer.status_code}"
        if answer.is_redirect:
            return f"{status} (a redirect to {shown_url(split_url(answer.headers.get('Location', '')))})"
        try:
            body = _json(answer)
        except (_BrokenPageError, requests.RequestException, IngestError):
            return status
        words = [
            str(body[name])
            for name in ("code", "error", "message", "error_description")
            if isinstance(body, dict) and isinstance(body.get(name), str)
        ]
        text = ": ".join(words)
        for secret in (self._settings.secret, self._token):
            if secret:
                text = text.replace(secret, "***")
        return f"{status} {text[:300]}".strip()

    def _refusal(self, url: str, status: int, problem: str) -> Exception:
        doing = f"{without_query(url)}, read through the connection {self._settings.conn_id}, answered {problem}."
        if status in {401, 403}:
            return SecurityError(
                doing, status=status, remedy="Check the credentials of the connection and the rights of their owner."
            )
        if 300 <= status < 400:
            return IngestError(
                doing, status=status, remedy="Redirects are not followed with credentials: correct the host or path."
            )
        return IngestError(
            doing, status=status, remedy="Correct `path` and `options` in the source file, or the connection's host."
        )

    def _wait(self, seconds: float, url: str, reason: str) -> None:
        if seconds <= 0:
            return
        if seconds > LONGEST_WAIT_SECONDS:
            raise UnavailableError(
                f"{without_query(url)} asks to wait {seconds:.0f} s ({reason}).",
                remedy="Run the task again later, or ask for less at a time (`options.window`, a smaller limit).",
            )
        log.warning("%s: waiting %.1f s (%s)", without_query(url), seconds, reason)
        self._sleep(seconds)


class _BrokenPageError(Exception):
    """The answer came, and is no whole JSON document."""


def _json(answer: requests.Response) -> Any:
    body = bytearray()
    for part in answer.iter_content(64 * 1024):
        body += part
        if len(body) > LONGEST_PAGE:
            raise IngestError(
                f"A page of {without_query(answer.url)} is longer than {LONGEST_PAGE // 1024 // 1024} MiB.",
                remedy="Ask for fewer records per page (`options.params`, often limit or page_size).",
            )
    try:
        return DECODER.decode(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else "no whole JSON document"
        raise _BrokenPageError(f"{answer.status_code} with {len(body)} bytes that are {what}") from None


def _backoff(attempt: int) -> float:
    span = min(60.0, 0.5 * 2.0**attempt)
    return random.uniform(span / 2, span)  # noqa: S311 - jitter


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header (RFC 9110: a number or a date), None without a usable one."""
    written = headers.get("Retry-After", "").strip()
    if written.isdecimal():
        return float(written)
    try:
        moment = parsedate_to_datetime(written)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _rate_limit_pause(headers: Mapping[str, str]) -> float:
    """Seconds until the limit is renewed when none of it is left; reset comes as seconds or as a time since 1970."""
    remaining = headers.get("X-RateLimit-Remaining") or headers.get("RateLimit-Remaining") or ""
    reset = headers.get("X-RateLimit-Reset") or headers.get("RateLimit-Reset") or ""
    if remaining.strip() != "0" or not re.fullmatch(r"\d{1,15}(\.\d+)?", reset.strip()):
        return 0.0
    seconds = float(reset)
    if seconds > 1e11:
        seconds /= 1000
    return max(0.0, seconds - time.time()) if seconds > 1e9 else seconds
