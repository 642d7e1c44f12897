"""What is needed to reach an Elasticsearch cluster, as plain values; no Airflow, no client."""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from elastic_ml.exceptions import ConnectionSettingsError


def _check_credentials(server: str, api_key: str | None, username: str | None, password: str | None) -> None:
    """Refuse an API key beside a user, a key that no header could hold, and half of a login."""
    if api_key and username:
        raise ConnectionSettingsError(
            f"The connection to {server} has both an API key and a user.",
            remedy="Keep the API key and empty login and password.",
        )
    if api_key and not re.fullmatch(r"[\x21-\x7e]+", api_key):
        raise ConnectionSettingsError(
            f"The API key of the connection to {server} holds a blank, a line break or a character outside ASCII, "
            "which no key does.",
            remedy="Copy the `encoded` value of the answer that created the key, on one line.",
        )
    if bool(username) != (password is not None):
        raise ConnectionSettingsError(
            f"The connection to {server} has only one of login and password.",
            remedy="Set both, or an API key instead.",
        )


_SPACE = re.compile(r"[a-z0-9_-]*")


@dataclass(frozen=True)
class ElasticsearchSettings:
    """How to reach a cluster. Secrets are left out of ``repr``.

    :param url: ``https://host:9200``; a user and password in it are taken out and used.
    :param cloud_id: Elastic Cloud's id, instead of ``url``.
    :param api_key: encoded API key (the ``encoded`` value of the answer that created it), instead of user and password.
    :param username: user of basic authentication, with ``password``.
    :param password: its password.
    :param ca_certs: path of the CA certificate (bundle) that signed the server's certificate.
    :param verify_certs: check the server's certificate; False only for a laptop.
    :param ssl_assert_fingerprint: SHA-256 of the certificate, hex, instead of a CA.
    :param http_compress: gzip request bodies.
    :param request_timeout: seconds to wait for one answer.
    :raises ConnectionSettingsError: the values contradict each other or cannot be used.
    """

    url: str | None = None
    cloud_id: str | None = None
    api_key: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_certs: str | None = None
    verify_certs: bool = True
    ssl_assert_fingerprint: str | None = None
    http_compress: bool = True
    request_timeout: float = 60.0

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.cloud_id):
            raise ConnectionSettingsError(
                "A connection to Elasticsearch needs either a URL or a cloud_id, and exactly one of them.",
                remedy="Set the host to https://<host>:9200, or the extra cloud_id.",
            )
        if self.url:
            self._take_credentials_out_of_url(self.url)
        _check_credentials(self.address, self.api_key, self.username, self.password)
        if self.ssl_assert_fingerprint:
            fingerprint = self.ssl_assert_fingerprint.replace(":", "")
            if not re.fullmatch(r"[0-9a-fA-F]{64}", fingerprint):
                raise ConnectionSettingsError(
                    "ssl_assert_fingerprint is not a SHA-256 fingerprint (64 hex digits, colons allowed).",
                    remedy="Take it from `openssl x509 -fingerprint -sha256 -in config/certs/http_ca.crt`.",
                )
        if not self.request_timeout > 0:
            raise ConnectionSettingsError("request_timeout has to be a number of seconds above 0.")

    def _take_credentials_out_of_url(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            # The value itself may hold a password, so the sentence does not repeat it.
            raise ConnectionSettingsError(
                "The Elasticsearch URL cannot be read.", remedy="Write it as https://<host>:9200."
            ) from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConnectionSettingsError(
                "The Elasticsearch URL does not start with http:// or https:// and a host name.",
                remedy="Write it as https://<host>:9200.",
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        port = port or (443 if parts.scheme == "https" else 9200)
        object.__setattr__(self, "url", f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}")
        if parts.username and not self.username and not self.api_key:
            object.__setattr__(self, "username", unquote(parts.username))
            object.__setattr__(self, "password", unquote(parts.password or ""))

    @property
    def address(self) -> str:
        """Where this leads, without credentials: for sentences and logs."""
        return self.url or f"cloud_id {str(self.cloud_id).split(':', 1)[0]}"


@dataclass(frozen=True)
class KibanaSettings:
    """How to reach Kibana. Secrets are left out of ``repr``.

    :param url: ``https://host:5601``, with a base path where Kibana has one.
    :param space: id of the space that every request is for; empty for the default one.
    :param api_key: encoded API key of Elasticsearch, instead of user and password.
    :param username: user of basic authentication, with ``password``.
    :param password: its password.
    :param ca_certs: path of the CA certificate (bundle) that signed the server's certificate.
    :param verify_certs: check the server's certificate; False only for a laptop.
    :param request_timeout: seconds to wait for one answer.
    :raises ConnectionSettingsError: the values contradict each other or cannot be used.
    """

    url: str
    space: str = ""
    api_key: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_certs: str | None = None
    verify_certs: bool = True
    request_timeout: float = 60.0

    def __post_init__(self) -> None:
        url = self.url.strip()
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.username
            _ = parts.port  # read to be checked
        except ValueError:
            usable = False
        if not usable:
            # The value itself may hold a password, so the sentence does not repeat it.
            raise ConnectionSettingsError(
                "The Kibana URL is no http:// or https:// address, or has a user in it.",
                remedy="Write it as https://<host>:5601, and the user as login and password.",
            )
        object.__setattr__(self, "url", url.rstrip("/"))
        if not _SPACE.fullmatch(self.space):
            raise ConnectionSettingsError(
                f"{self.space!r} is no id of a Kibana space.",
                remedy="It has lower-case letters, digits, _ and - only, and stands in the address after /s/.",
            )
        _check_credentials(f"Kibana at {self.url}", self.api_key, self.username, self.password)
        if not self.request_timeout > 0:
            raise ConnectionSettingsError("request_timeout has to be a number of seconds above 0.")
