"""Golden events: what a pipeline makes of an input, written down and compared.

A folder holds `<pipeline>.yml`, a list of cases, and `<pipeline>.expected.ndjson`, what comes out: one line per
document with the name of its case. A case is ``{name, dataset, line}``, ``{name, beats: {...}}`` or
``{name, http: {path, body | base64}}``; `repeat` multiplies a line's text, for huge ones.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from elastic_sandbox.logstash.output import Sink
from elastic_sandbox.logstash.runner import Runner, Written

NOW = datetime(2026, 5, 28, 12, tzinfo=UTC)
"""When golden events arrive."""


class Result(NamedTuple):
    """A case that did not come out as it is written down; empty lists on neither side are a match."""

    file: str
    case: str
    expected: list[dict[str, Any]]
    found: list[dict[str, Any]]


def run(
    pipelines: Path, folder: Path, variables: Mapping[str, str] | None = None, *, update: bool = False
) -> list[Result]:
    """Run all cases of a folder; the ones that differ.

    :param update: write what comes out as what is expected.
    """
    different: list[Result] = []
    for file in sorted(folder.glob("*.yml")):
        expected_file = file.with_name(f"{file.stem}.expected.ndjson")
        lines = expected_file.read_text("utf-8").splitlines() if expected_file.is_file() else []
        expected: dict[str, list[dict[str, Any]]] = {}
        for line in lines:
            document = json.loads(line)
            expected.setdefault(document.pop("case"), []).append(document)
        out: list[str] = []
        for case, written in cases(pipelines, file, variables):
            found = [{"stream": each.stream, "document": each.document} for each in written]
            out += [json.dumps({"case": case, **each}, ensure_ascii=False) for each in found]
            if found != expected.pop(case, []):
                different.append(
                    Result(file.name, case, [json.loads(x) for x in lines if json.loads(x)["case"] == case], found)
                )
        different += [Result(file.name, case, documents, []) for case, documents in expected.items()]
        if update:
            expected_file.write_text("\n".join(out) + "\n", encoding="utf-8")
    return different


def cases(
    pipelines: Path, file: Path, variables: Mapping[str, str] | None = None, sink: Sink | None = None
) -> Iterator[tuple[str, list[Written]]]:
    """Each case of a file and the documents that come out of it."""
    runner = Runner(pipelines, variables, sink, now=lambda: NOW)
    for case in yaml.safe_load(file.read_text("utf-8")):
        start = len(runner.written)
        send(runner, case)
        runner.drain()
        yield case["name"], runner.written[start:]


def send(runner: Runner, case: Mapping[str, Any]) -> None:
    """Send one case's input."""
    if "http" in case:
        request = case["http"]
        body = base64.b64decode(request["base64"]) if "base64" in request else request["body"].encode()
        runner.http(request["path"], body, {"content-type": request.get("type", "application/x-ndjson")})
        return
    event = case.get("beats") or {
        "message": case["line"] * case.get("repeat", 1),
        "data_stream": {"type": "logs", "dataset": case["dataset"], "namespace": "default"},
    }
    runner.beats([{"@timestamp": "2026-05-28T11:59:59.000Z", **event}])
