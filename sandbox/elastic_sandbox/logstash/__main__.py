"""``python -m elastic_sandbox.logstash lint | test | run DIR``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from elastic_sandbox.logstash import golden
from elastic_sandbox.logstash.config import ConfigError
from elastic_sandbox.logstash.lint import lint
from elastic_sandbox.logstash.output import Elasticsearch, Kept
from elastic_sandbox.logstash.runner import Runner


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m elastic_sandbox.logstash",
        description="Check and run Logstash pipelines without Logstash: the plugins that the shipped pipelines use, "
        "as Logstash 9 executes them. Everything else is refused by name.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    checking = verbs.add_parser("lint", help="say what would not start, not work as it looks, or lose events")
    testing = verbs.add_parser("test", help="lint, then run golden events and compare what comes out")
    testing.add_argument(
        "--golden", type=Path, required=True, metavar="FOLDER", help="*.yml with *.expected.ndjson beside"
    )
    testing.add_argument("--update", action="store_true", help="write what comes out as what is expected; then read it")
    running = verbs.add_parser("run", help="send lines of stdin through the pipelines")
    running.add_argument("--dataset", required=True, help="data_stream.dataset of the lines, for example ml.registry")
    running.add_argument(
        "--elasticsearch", metavar="URL", help="write there (key in ES_API_KEY); without it documents are printed"
    )
    for each in (checking, testing, running):
        each.add_argument(
            "path", type=Path, metavar="DIR", help="folder with config/pipelines.yml; lint takes a file, too"
        )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 when something is to be mended."""
    options = _parser().parse_args(arguments)
    try:
        if options.verb == "run":
            return _run(options)
        findings = lint(options.path)
        for finding in findings:
            _say(str(finding))
        if options.verb == "lint" or findings:
            _say(f"{len(findings)} to mend" if findings else "nothing to mend")
            return 1 if findings else 0
        different = golden.run(options.path, options.golden, update=options.update)
    except (ConfigError, OSError) as error:
        sys.stderr.write(f"elastic_sandbox.logstash: {error}\n")
        return 1
    for result in different:
        _say(f"{result.file}, {result.case}:")
        _say("\n".join(f"  - {json.dumps(each, ensure_ascii=False)[:2000]}" for each in result.expected))
        _say("\n".join(f"  + {json.dumps(each, ensure_ascii=False)[:2000]}" for each in result.found))
    if options.update:
        _say(f"{len(different)} cases written anew")
        return 0
    _say(f"{len(different)} cases differ" if different else "all golden events come out as written")
    return 1 if different else 0


def _run(options: argparse.Namespace) -> int:
    url = options.elasticsearch
    sink = Elasticsearch(url, os.environ.get("ES_API_KEY")) if url else Kept()
    runner = Runner(options.path, os.environ, sink)
    stream = {"type": "logs", "dataset": options.dataset, "namespace": "default"}
    for line in sys.stdin.buffer:
        text = line.rstrip(b"\r\n").decode("utf-8", "replace")
        runner.beats([{"message": text, "data_stream": stream}])
    runner.drain()
    for written in runner.written:
        if not url:
            _say(json.dumps({"stream": written.stream, "document": written.document}, ensure_ascii=False))
        elif written.answer.failure_store or written.answer.status not in {200, 201}:
            _say(f"{written.stream}: {written.answer.status}{' in the failure store' * written.answer.failure_store}")
    for letter in runner.lost:
        _say(f"lost: {letter.reason}")
    return 1 if runner.lost else 0


def _say(line: str) -> None:
    if line:
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
