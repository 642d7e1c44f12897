"""Exchanges with a stack as files: one NDJSON line per request with its answer, nothing that names the stack."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "recordings"
READS = ("GET", "HEAD")
READING_POSTS = re.compile(r"/(_search|_count|_field_caps|_query|_mget|_msearch|_evaluate|_explain|_simulate\S*)$")

# Value → stand-in, by the name of the field. A recording goes into a public repository.
_REDACTED = {
    "cluster_name": "recorded",
    "cluster_uuid": "recorded",
    "host": "127.0.0.1",
    "transport_address": "127.0.0.1:9300",
    "ephemeral_id": "recorded",
    "api_key": "recorded",
    "encoded": "recorded",
    "password": "recorded",
    "authorization": "recorded",
}


@dataclass(frozen=True)
class Exchange:
    """One request as it was sent, and its answer.

    :param target: path and query
    :param headers: those that the server looks at, without credentials
    :param body: request body as text; bulk bodies have several lines
    :param answer: parsed JSON, or text where it is none
    """

    method: str
    target: str
    headers: dict[str, str]
    body: str
    status: int
    answer: Any

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.split("?")[0]

    @property
    def reads(self) -> bool:
        """Whether sending it twice changes nothing."""
        return self.method in READS or (self.method == "POST" and READING_POSTS.search(self.path) is not None)


def redacted(answer: Any) -> Any:
    """The answer without names, addresses and secrets of the stack it came from."""
    if isinstance(answer, dict):
        return {
            key: _REDACTED[key] if key in _REDACTED and isinstance(value, str) else redacted(value)
            for key, value in answer.items()
        }
    return [redacted(item) for item in answer] if isinstance(answer, list) else answer


def condensed(exchanges: Iterable[Exchange]) -> Iterator[Exchange]:
    """Of a read that is repeated while nothing is written, the last answer only: a replay does not wait as long."""
    reads: dict[tuple[str, str, str], Exchange] = {}
    for exchange in exchanges:
        if exchange.reads:
            key = (exchange.method, exchange.target, exchange.body)
            reads.pop(key, None)  # so that it moves to the end
            reads[key] = exchange
        else:
            yield from reads.values()
            reads.clear()
            yield exchange
    yield from reads.values()


def write(path: Path, exchanges: Iterable[Exchange]) -> int:
    """Write a recording (gzip, the same bytes for the same exchanges) and give the number of its exchanges."""
    lines = [json.dumps(asdict(exchange), sort_keys=True) for exchange in exchanges]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))
    partial.replace(path)
    return len(lines)


def read(path: Path) -> Iterator[Exchange]:
    """The exchanges of a recording, in the order they happened."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield Exchange(**json.loads(line))
