"""A recording sent to a sandbox again: is each answer the same, refused as unsupported, or wrong?

Ids that a stack makes itself (tasks, points in time, trained models, index generations' uuids) differ between two
runs. Where an answer brings another one than the recording did, it replaces that in all later requests.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import requests

from recording.exchanges import Exchange, redacted

Verdict = Literal["same", "refused", "wrong"]

MADE_BY_THE_STACK = re.compile(
    r"[\w-]{20,24}:\d+"  # task: node id and number
    r"|[A-Za-z0-9+/=_-]{40,}"  # point in time, scroll
    r"|[a-z0-9_-]+-\d{13}"  # trained model of a job
    r"|[A-Za-z0-9_-]{20,22}"  # uuid, document id
)
# Not compared beyond their type: clocks, sizes, scores (the sandbox's are its own) and what the hardware decides.
VOLATILE = re.compile(
    r"(took|.*_(millis|time|at|ms|nanos|bytes|date|percent|timestamp)|.*time|timestamp|@timestamp|size|.*_size.*|uuid|version"
    r"|build_.*|number|tagline|_shards|node|nodes|tasks?|name|_seq_no|_primary_term|_version|max_score|_score|score|value"
    r"|importance|total_feature_importance.*|hyperparameters|feature_importance.*|prediction.*|top_classes|progress_percent"
    r"|curve|.*probability|validation_loss|timing_stats|memory_usage|memory_estimation|attributes|ingested)"
)
_UUID_IN_WORDS = re.compile(r"/[A-Za-z0-9_-]{22}(?=\])")
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Finding:
    """What became of one exchange; ``differences`` says what is wrong, ``refused`` what the sandbox lacks."""

    exchange: Exchange
    verdict: Verdict
    differences: list[str]

    def __str__(self) -> str:
        return f"{self.verdict}: {self.exchange.method} {self.exchange.target}\n    " + "\n    ".join(self.differences)


def replay(exchanges: Iterable[Exchange], url: str, *, patience: float = PATIENCE_SECONDS) -> Iterator[Finding]:
    """Send each request, in order, and judge its answer.

    :param patience: seconds for which a read that differs is sent again, since background work may still run
    """
    renamed: dict[str, str] = {}
    with requests.Session() as session:
        for exchange in exchanges:
            deadline = time.monotonic() + patience
            while True:
                answer = _send(session, url, exchange, renamed)
                finding = _judge(exchange, answer, renamed)
                if finding.verdict != "wrong" or not exchange.reads or time.monotonic() > deadline:
                    break
                time.sleep(0.1)
            yield finding


def _send(session: requests.Session, url: str, exchange: Exchange, renamed: dict[str, str]) -> requests.Response:
    target, body = exchange.target, exchange.body
    for recorded, ours in renamed.items():
        target = target.replace(quote(recorded, safe=""), quote(ours, safe="")).replace(recorded, ours)
        body = body.replace(recorded, ours)
    return session.request(exchange.method, url + target, headers=exchange.headers, data=body.encode(), timeout=60)


def _judge(exchange: Exchange, answer: requests.Response, renamed: dict[str, str]) -> Finding:
    try:
        body = redacted(answer.json())
    except ValueError:
        body = answer.text
    if answer.status_code == 501 and isinstance(body, dict):
        return Finding(exchange, "refused", [body["error"]["reason"]])
    found = dict(renamed)
    differences = list(_differences(exchange.answer, body, "$", found))
    if answer.status_code != exchange.status:
        differences.insert(0, f"status {exchange.status} became {answer.status_code}: {str(body)[:300]}")
    if differences:
        return Finding(exchange, "wrong", differences)
    renamed.update(found)
    return Finding(exchange, "same", [])


def _differences(recorded: Any, ours: Any, where: str, renamed: dict[str, str]) -> Iterator[str]:
    name = where.rsplit(".", 1)[-1]
    if isinstance(recorded, str) and isinstance(ours, str) and recorded != ours:
        if MADE_BY_THE_STACK.fullmatch(recorded) and MADE_BY_THE_STACK.fullmatch(ours):
            renamed[recorded] = ours
        elif not VOLATILE.fullmatch(name) and not _same_with(renamed, recorded, ours):
            yield f"{where}: {recorded!r} became {ours!r}"
    elif isinstance(recorded, dict) and isinstance(ours, dict):
        yield from _differences_of_objects(recorded, ours, where, renamed)
    elif isinstance(recorded, list) and isinstance(ours, list):
        if len(recorded) != len(ours) and not VOLATILE.fullmatch(name):
            yield f"{where}: {len(recorded)} became {len(ours)} elements"
        for position, pair in enumerate(zip(recorded, ours, strict=False)):
            yield from _differences(*pair, f"{where}[{position}]", renamed)
    elif _kind(recorded) != _kind(ours) or (recorded != ours and not _volatile(where, name, recorded)):
        yield f"{where}: {recorded!r} became {ours!r}"


def _differences_of_objects(
    recorded: dict[str, Any], ours: dict[str, Any], where: str, renamed: dict[str, str]
) -> Iterator[str]:
    # Tasks and backing indices stand as keys: one key of each side that the stack made is one and the same.
    left, right = recorded.keys() - ours.keys(), ours.keys() - recorded.keys()
    if len(left) == len(right) == 1:
        (old,), (new,) = left, right
        if MADE_BY_THE_STACK.fullmatch(old) and MADE_BY_THE_STACK.fullmatch(new):
            renamed[old] = new
            yield from _differences(recorded[old], ours[new], f"{where}.{old}", renamed)
            left = right = set()
    yield from (f"{where}.{key}: missing" for key in sorted(left))
    yield from (f"{where}.{key}: made up" for key in sorted(right))
    for key in recorded.keys() & ours.keys():
        yield from _differences(recorded[key], ours[key], f"{where}.{key}", renamed)


def _same_with(renamed: dict[str, str], recorded: str, ours: str) -> bool:
    """Whether two sentences are one but for ids in them, such as the uuid in `index [name/uuid] already exists`."""
    for old, new in renamed.items():
        recorded = recorded.replace(old, new)
    return _UUID_IN_WORDS.sub("/", recorded) == _UUID_IN_WORDS.sub("/", ours)


def _volatile(where: str, name: str, recorded: Any) -> bool:
    return VOLATILE.fullmatch(name) is not None or isinstance(recorded, float) or where == "$.task.id"


def _kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
