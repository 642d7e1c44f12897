"""Write docs/compatibility.md: `python -m tests.compatibility`, `make compatibility`.

Behaviours and their tests stand in tests/elastic/behaviours.yml, what was seen where in tests/recordings/seen.json.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # as pytest has it

from elastic import seen  # noqa: E402

BEHAVIOURS = ROOT / "tests" / "elastic" / "behaviours.yml"
PAGE = ROOT / "docs" / "compatibility.md"
# What make notes beside the tests: the golden events went through Logstash; all compose services were well.
REPLAY, STACK_UP = "logstash-replay", "stack-up"
NOT_YET = "not yet seen on a real stack"
HEAD = """\
# Compatibility

<!-- written by `make compatibility` from tests/elastic/behaviours.yml and tests/recordings/seen.json -->

What the package relies on, and where that has been seen. The suite runs against the sandbox; a behaviour that has only
been read in Elastic's documentation, specification or tests is "not yet seen on a real stack". Nothing claims more.

| component | version | seen |
|---|---|---|
| Airflow | {airflow}, LocalExecutor, SQLite | in every run of `make demo` and `make test` |
| Airflow on PostgreSQL, the wheel in the official image | {airflow} | {composed} |
| Python | 3.11 | in every run |
| elasticsearch-py | {client} | in every run, against the sandbox |
| Elasticsearch, self-managed | 9.2 to 9.5 | {elasticsearch} |
| Kibana | 9.2 to 9.5 | {kibana} |
| Logstash | 9.2 to 9.5 | {logstash}; the sandbox's runner executes the files of `logstash/` |
| Filebeat, Elastic Agent | 9.2 to 9.5 | not yet seen: their files are checked by their structure |
| Serverless (Security projects) | | {serverless} |
| Elastic Cloud | | not yet seen on a real stack |
| `docker-compose.yml` | | {composed}; checked by schema, a linter and rules of its own (`tests/docker`) |
| `.github/workflows` | | not yet run on GitHub; checked by schema and rules of their own |

`make stack-test` runs the behaviour tests on a real stack and notes here what it has seen, `make stack-logstash` sends
the golden events through a real Logstash, `make record` keeps a stack's answers to the lifecycle, to which the suite
then holds the sandbox (`tests/recordings/`). [The page of the real stack](real-stack.md) says how.{none}
"""


def behaviours() -> dict[str, list[dict[str, Any]]]:
    """Product → behaviours, each with ``what`` and ``tests``: file under tests/ → names, or ``all``."""
    found: dict[str, list[dict[str, Any]]] = yaml.safe_load(BEHAVIOURS.read_text("utf-8"))
    return found


def on_a_real_stack(behaviour: dict[str, Any]) -> Iterator[str]:
    """The tests of a behaviour that a real stack runs, by the names they are recorded under."""
    for file, names in behaviour["tests"].items():
        if file == REPLAY:
            yield REPLAY
        elif file.startswith("elastic/"):
            yield from (f"tests/{file}::{name}" for name in names)


def page(record: dict[str, dict[str, Any]]) -> str:
    """The whole page."""
    tested = [one for one in sorted(record) if _ran(record[one], "tests/elastic/")]
    composed = _seen(seen.versions([STACK_UP], record))
    head = HEAD.format(
        airflow=version("apache-airflow"),
        client=version("elasticsearch"),
        composed=composed,
        elasticsearch=_seen([one for one in tested if one != "serverless"]),
        kibana=_seen([one for one in tested if _ran(record[one], "tests/elastic/test_behaviour_kibana.py::")]),
        logstash=_seen(seen.versions([REPLAY], record)),
        serverless=_seen([one for one in tested if one == "serverless"]),
        none="" if record else "\nNone of the three has run yet: no Docker engine runs where this is developed.",
    )
    lines = []
    for product, found in behaviours().items():
        lines += ["", f"## Behaviour of {product} that the package relies on", ""]
        lines += ["| behaviour | test, under `tests/` | seen |", "|---|---|---|"]
        lines += [_row(behaviour, record) for behaviour in found]
    return head + "\n".join(lines) + "\n"


def _row(behaviour: dict[str, Any], record: dict[str, dict[str, Any]]) -> str:
    tests = []
    for file, names in behaviour["tests"].items():
        shown = "" if names == "all" else ": " + ", ".join(name.removeprefix("test_") for name in names)
        tests.append(f"`{file}`{shown}")
    what = behaviour["what"].strip().replace("|", "\\|")
    return f"| {what} | {'; '.join(tests)} | {_seen(seen.versions(on_a_real_stack(behaviour), record))} |"


def _ran(entry: dict[str, Any], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in entry["passed"])


def _seen(versions: list[str]) -> str:
    return ", ".join(versions) or NOT_YET


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(seen.read()), "utf-8")


if __name__ == "__main__":
    main()
