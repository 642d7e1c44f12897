"""Where documents go: `_bulk` with `create` into data streams, as the elasticsearch output of Logstash sends them.

Rules: data_stream_support.rb and common.rb of logstash-output-elasticsearch 12. 200 and 201 are done, also where the
failure store took the document; 409 is dropped with a line in the log; 400, 404 and the codes of `dlq_custom_codes` go
to the dead letter queue; everything else is sent again.
"""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

DLQ_CODES = frozenset({400, 404})


class Answer(NamedTuple):
    """What became of one document."""

    status: int
    failure_store: bool = False
    error: Any = None


Sink = Callable[[Sequence[tuple[str, dict[str, Any]]]], list[Answer]]


class Kept:
    """A sink that keeps what it is given, for looking at pipelines without an Elasticsearch."""

    def __init__(self) -> None:
        self.documents: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, items: Sequence[tuple[str, dict[str, Any]]]) -> list[Answer]:
        """Take everything."""
        self.documents += items
        return [Answer(201)] * len(items)


class Elasticsearch:
    """A sink over HTTP.

    :param url: of any Elasticsearch, the sandbox's among them.
    :param api_key: encoded; or id and key with a colon between them, as Logstash takes it.
    :param attempts: how often a document is sent that is refused for the moment; Logstash would never give up.
    """

    def __init__(self, url: str, api_key: str | None = None, attempts: int = 6, pause: float = 0.2) -> None:
        self._url = f"{url.rstrip('/')}/_bulk?filter_path=errors,items.*.error,items.*.status,items.*.failure_store"
        self._headers = {"content-type": "application/x-ndjson"}
        if api_key:
            encoded = base64.b64encode(api_key.encode()).decode() if ":" in api_key else api_key
            self._headers["authorization"] = f"ApiKey {encoded}"
        self._attempts = attempts
        self._pause = pause

    def __call__(self, items: Sequence[tuple[str, dict[str, Any]]]) -> list[Answer]:
        """Send documents and wait until none is to be sent again.

        :raises OSError: the server cannot be reached, or refuses the whole request for good.
        """
        answers: dict[int, Answer] = {}
        waiting = list(range(len(items)))
        for attempt in range(self._attempts):
            answers |= dict(zip(waiting, self._send([items[at] for at in waiting]), strict=True))
            waiting = [at for at in waiting if answers[at].status == 429 or answers[at].status >= 500]
            if not waiting:
                break
            time.sleep(self._pause * 2**attempt)
        return [answers[at] for at in range(len(items))]

    def _send(self, items: Sequence[tuple[str, dict[str, Any]]]) -> list[Answer]:
        lines = []
        for stream, document in items:
            lines.append(json.dumps({"create": {"_index": stream}}))
            lines.append(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
        body = ("\n".join(lines) + "\n").encode("utf-8", "replace")  # half a surrogate pair has no bytes
        request = urllib.request.Request(self._url, body, self._headers, method="POST")  # noqa: S310 - http or https
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                answer = json.loads(response.read())
        except urllib.error.HTTPError as error:
            if error.code in {413, 429} or error.code >= 500:
                return [Answer(error.code, error=error.reason)] * len(items)
            raise OSError(f"Elasticsearch refused a bulk request with {error.code}: {error.read()[:500]!r}") from None
        results = [next(iter(item.values())) for item in answer["items"]]
        return [Answer(r["status"], r.get("failure_store") == "used", r.get("error")) for r in results]
