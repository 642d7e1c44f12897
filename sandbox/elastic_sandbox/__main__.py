"""``python -m elastic_sandbox``: serve until stopped."""

from __future__ import annotations

import argparse
import json
import logging
import re
import signal
import sys
import threading
from pathlib import Path

from elastic_sandbox.backend import FLAVORS, LICENSES, Backend, DataDirectoryError
from elastic_sandbox.running import PortTakenError, RunningSandbox, load_ahead, prefer_short_answers
from elastic_sandbox.server import Credentials


def _version(text: str) -> str:
    match = re.fullmatch(r"(9)\.(\d+)(?:\.(\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a version the sandbox speaks; give 9.2 to 9.5, e.g. 9.2 or 9.5.0"
        )
    return f"{match[1]}.{match[2]}.{match[3] or 0}"


def _port(text: str) -> int:
    if not text.isdigit() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give 0 (any free one) to 65535")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m elastic_sandbox",
        description="Serve the Elasticsearch and Kibana APIs that the package calls, from one process, until stopped. "
        "What it cannot do it refuses with 501 sandbox_unsupported, naming the thing.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=9200, help="Elasticsearch's port, 0 for a free one (default %(default)s)"
    )
    parser.add_argument(
        "--kibana-port", type=_port, default=5601, help="Kibana's port, 0 for a free one (default %(default)s)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="keep everything in this directory; in memory without it"
    )
    parser.add_argument(
        "--version", type=_version, default="9.5.0", metavar="9.x", help="version to report (default %(default)s)"
    )
    parser.add_argument("--flavor", choices=FLAVORS, default="default", help="serverless refuses what Serverless lacks")
    parser.add_argument(
        "--license", choices=LICENSES, default="platinum", help="basic refuses machine learning (default %(default)s)"
    )
    parser.add_argument(
        "--faults", type=Path, metavar="FILE", help="JSON file of faults to inject (see elastic_sandbox.faults)"
    )
    parser.add_argument(
        "--api-key", metavar="KEY", help="encoded API key callers must present; without --api-key and --user anyone may"
    )
    parser.add_argument("--user", metavar="NAME:PASSWORD", help="basic authentication callers must present")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 after a stop, 1 when it cannot start."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.user is not None and ":" not in options.user:
        parser.error("--user needs NAME:PASSWORD")
    prefer_short_answers()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        backend = Backend(options.data, version=options.version, flavor=options.flavor, license=options.license)
    except DataDirectoryError as error:
        return _refuse(str(error))
    try:
        if options.faults is not None:
            _load_faults(backend, options.faults)
        with RunningSandbox(
            backend,
            host=options.host,
            port=options.port,
            kibana_port=options.kibana_port,
            credentials=Credentials(options.api_key, options.user),
        ) as running:
            stop = threading.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
            _say(f"sandbox ready: elasticsearch {running.elasticsearch_url} kibana {running.kibana_url}")
            load_ahead()
            stop.wait()
    except (PortTakenError, _FaultsFileError) as error:
        return _refuse(str(error))
    finally:
        backend.close()
    return 0


class _FaultsFileError(Exception):
    """The file of ``--faults`` cannot be used; the message is the sentence to show."""


def _load_faults(backend: Backend, file: Path) -> None:
    try:
        backend.faults.load(json.loads(file.read_text()))
    except OSError as error:
        raise _FaultsFileError(
            f"cannot read the faults file {file}: {error.strerror}; name a JSON file with --faults"
        ) from error
    except (ValueError, TypeError) as error:
        raise _FaultsFileError(
            f"cannot read the faults file {file}: {error}; its keys are those of elastic_sandbox.faults"
        ) from error


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"elastic_sandbox: {sentence}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
