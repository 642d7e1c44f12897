"""What clients asked and what they got, for tests to look at."""

from __future__ import annotations

import gzip
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from elastic_sandbox.indices.names import matches

KEPT_REQUESTS = 2000
KEPT_BYTES = 32 * 1024


class LoggedRequest:
    """One request and its answer; bodies beyond ``kept`` bytes are cut (``truncated``) and then read as None.

    ``status`` is None while the request is running, or when the connection was cut before the work.
    """

    def __init__(
        self,
        method: str,
        path: str,
        params: dict[str, str],
        raw: bytes,
        headers: Mapping[str, str],
        kept: int = KEPT_BYTES,
    ) -> None:
        self.method = method
        self.path = path
        self.params = params
        self.headers = dict(headers)
        self.status: int | None = None
        self.truncated = len(raw) > kept
        self._kept = kept
        self._body = raw[:kept]
        self._response = b""

    def close(self, status: int, response: bytes) -> None:
        """Note the answer."""
        self.status = status
        self._response = response if len(response) <= self._kept else b""

    @property
    def body(self) -> Any:
        """The parsed request body: JSON, or a list of lines for newline-delimited bodies."""
        body = self._body
        if self.headers.get("content-encoding") == "gzip":
            # What was cut cannot be unzipped.
            body = b"" if self.truncated else gzip.decompress(body)
        if "ndjson" in self.headers.get("content-type", ""):
            lines = body.split(b"\n")
            whole = lines[:-1] if self.truncated else lines
            return [orjson.loads(line) for line in whole if line.strip()]
        return None if self.truncated else _parsed(body)

    @property
    def response(self) -> Any:
        """The parsed answer."""
        return _parsed(self._response)

    def __repr__(self) -> str:
        return f"<{self.method} {self.path} -> {self.status}>"


def _parsed(raw: bytes) -> Any:
    try:
        return orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError:
        return raw.decode(errors="replace")


class RequestLog:
    """The last requests, oldest first.

    :param kept: how many bytes of a body are kept; a test may change it for the requests to come
    """

    def __init__(self, kept: int = KEPT_BYTES) -> None:
        self._entries: deque[LoggedRequest] = deque(maxlen=KEPT_REQUESTS)
        self.kept = kept

    def open(
        self, method: str, path: str, params: dict[str, str], raw: bytes, headers: Mapping[str, str]
    ) -> LoggedRequest:
        """Note a request as it arrives."""
        entry = LoggedRequest(method, path, params, raw, headers, self.kept)
        self._entries.append(entry)
        return entry

    def matching(self, method: str = "*", path: str = "*") -> list[LoggedRequest]:
        """Requests by method and path pattern (``*`` is any text)."""
        return [entry for entry in self if method in {"*", entry.method} and matches(path, entry.path)]

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()

    def __iter__(self) -> Iterator[LoggedRequest]:
        return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> LoggedRequest:
        return self._entries[index]
