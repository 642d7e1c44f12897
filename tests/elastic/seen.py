"""Which behaviour was seen on which real stack: `tests/recordings/seen.json`, written by `make stack-test`.

One entry per version, such as ``9.5.1`` or ``serverless``: the day, and the tests that passed and failed there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

SEEN = Path(__file__).parents[1] / "recordings" / "seen.json"


def read(path: Path = SEEN) -> dict[str, dict[str, Any]]:
    """What was seen so far, by version."""
    found: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return found


def version_of(about: dict[str, Any]) -> str | None:
    """The name a stack goes by here, of its answer to `GET /`; None for a sandbox, which proves nothing."""
    if about["cluster_name"] == "elastic-sandbox":
        return None
    version = about["version"]
    return "serverless" if version.get("build_flavor") == "serverless" else str(version["number"])


def add(
    version: str, passed: Iterable[str], failed: Iterable[str], path: Path = SEEN, today: date | None = None
) -> None:
    """Note a run; what it did not run keeps what an earlier one said."""
    passed, failed = set(passed), set(failed)
    seen = read(path)
    before = seen.get(version, {"passed": [], "failed": []})
    seen[version] = {
        "date": (today or datetime.now(UTC).date()).isoformat(),
        "passed": sorted((set(before["passed"]) - failed) | passed - failed),
        "failed": sorted((set(before["failed"]) - passed) | failed),
    }
    path.write_text(json.dumps(seen, indent=1, sort_keys=True) + "\n", "utf-8")


def versions(tests: Iterable[str], seen: dict[str, dict[str, Any]]) -> list[str]:
    """The versions on which all of these tests passed."""
    wanted = set(tests)
    return [version for version in sorted(seen) if wanted and wanted <= set(seen[version]["passed"])]


def main(arguments: list[str]) -> None:
    """Note that something passed on a version: `python -m elastic.seen 9.5.1 logstash-replay`."""
    version, *passed = arguments
    add(version, passed, [])


if __name__ == "__main__":
    main(sys.argv[1:])
