"""How to reach an API, from an Airflow connection, and addresses as messages may show them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from elastic_ml.exceptions import ConnectionSettingsError

_EXTRAS = ("token_url", "token_auth", "scope", "environment_id", "ca_certs", "verify_certs", "request_timeout")


@dataclass(frozen=True)
class ApiSettings:
    """How to reach an API. Secrets are left out of ``repr``.

    :param url: ``https://api.example.com``, perhaps with a path; nothing is ever sent to another host but the token
        request.
    :param login: user of basic authentication, or client id of OAuth 2.
    :param secret: password, client secret, or with no login and no token_url a token that never expires.
    :param token_url: OAuth 2 token endpoint; with it, client credentials.
    :param token_auth: how the client says who it is there: ``basic`` (CLIENT_SECRET_BASIC) or ``post``.
    :param environment_id: fills ``{environment_id}`` in the source's path.
    :raises ConnectionSettingsError: the values contradict each other or cannot be used.
    """

    conn_id: str
    url: str
    login: str | None = None
    secret: str | None = field(default=None, repr=False)
    token_url: str | None = None
    token_auth: str = "basic"  # noqa: S105 - a kind of authentication
    scope: str | None = None
    environment_id: str | None = None
    ca_certs: str | None = None
    verify_certs: bool = True
    request_timeout: float = 60.0

    def __post_init__(self) -> None:
        for name, url in (("host", self.url), ("token_url", self.token_url)):
            if url is not None:
                self._check_url(name, url)
        if self.token_auth not in {"basic", "post"}:
            self._wrong(f"the extra token_auth {self.token_auth!r}", "Write basic or post.")
        if self.token_url and not (self.login and self.secret):
            self._wrong("a token_url and not both login and password", "They are the client's id and secret.")
        if self.login and not self.secret:
            self._wrong("a login and no password", "Set both, or neither.")
        if self.secret and not self.login and not re.fullmatch(r"[\x21-\x7e]+", self.secret):
            self._wrong("a password that is no token (a blank, a line break, no ASCII)", "Enter the token on one line.")

    def _check_url(self, name: str, url: str) -> None:
        parts = split_url(url)
        if parts is None or parts.scheme not in {"https", "http"} or not parts.hostname:
            self._wrong(f"no usable URL as {name}", "Write it as https://api.example.com.")
        elif parts.username is not None or parts.password is not None:
            self._wrong(f"a user or password inside its {name}", "Write them into login and password.")
        elif parts.query or parts.fragment:
            self._wrong(f"a query inside its {name}", "Write parameters into the source file, under `options.params`.")
        elif self.secret and parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
            self._wrong(f"a password and the unencrypted {name} http://{parts.hostname}", "Use https.")

    def _wrong(self, problem: str, remedy: str) -> None:
        raise ConnectionSettingsError(f"The connection {self.conn_id} has {problem}.", remedy=remedy)


def settings_of(connection: Any) -> ApiSettings:
    """Settings of an Airflow connection of any type; raises ConnectionSettingsError, naming an unknown extra."""
    try:
        extras = json.loads(connection.extra or "{}")
    except ValueError:
        extras = None
    if not isinstance(extras, dict):
        raise ConnectionSettingsError(
            f"The extra of the connection {connection.conn_id} is no JSON object.", remedy="Correct it."
        )
    unknown = sorted(set(extras) - set(_EXTRAS))
    if unknown:
        raise ConnectionSettingsError(
            f"The connection {connection.conn_id} has the unknown extra {', '.join(unknown)}.",
            remedy=f"The http reader knows {', '.join(_EXTRAS)}.",
        )
    kinds: dict[str, Any] = {"verify_certs": bool, "request_timeout": (int, float)}
    for name, value in extras.items():
        if not isinstance(value, kinds.get(name, str)):
            raise ConnectionSettingsError(
                f"The extra {name} of the connection {connection.conn_id} is {type(value).__name__}.",
                remedy="Correct its type: verify_certs is true or false, request_timeout a number, the others text.",
            )
    host = connection.host or ""
    if "://" not in host:
        host = f"{connection.schema or 'https'}://{host}"
    if connection.port and port_of(host) is None:
        host = f"{host}:{connection.port}"
    return ApiSettings(
        conn_id=connection.conn_id,
        url=host.rstrip("/"),
        login=connection.login or None,
        secret=connection.password or None,
        **extras,
    )


def without_query(url: str) -> str:
    """An address as messages may show it: cursors and filters can say more than a log should."""
    return shown_url(split_url(url), path=True)


def split_url(url: str) -> SplitResult | None:
    """The parts of an address, None when it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def shown_url(parts: SplitResult | None, *, path: bool = False) -> str:
    """Scheme, host and port, with the path if asked; never a user, a password or a query."""
    if parts is None or not parts.hostname:
        return "an unusable address"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path if path else ''}"


def port_of(url: str) -> int | None:
    """The port that an address names."""
    parts = split_url(url)
    return parts.port if parts else None


def origin_of(parts: SplitResult) -> tuple[str, str | None, int | None]:
    """Scheme, host and port: what has to be equal for a token to be sent."""
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
