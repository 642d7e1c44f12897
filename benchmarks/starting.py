"""Import and start of the sandbox in a fresh process, and warm parses of the DAG files."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import time
from pathlib import Path

_START = """
import time; began = time.perf_counter()
from elastic_sandbox.testing import serve
with serve(): print(time.perf_counter() - began)
"""


def run() -> None:
    """Print the medians."""
    starts = [
        float(subprocess.run([sys.executable, "-c", _START], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    ]
    print(f"  sandbox, import and start   {statistics.median(starts):6.2f} s   (budget 1.5 s)")
    for path in sorted((Path(__file__).parents[1] / "dags").glob("*.py")):
        times = [_parse(path) for _ in range(20)][5:]
        print(f"  parse {path.name:22} {1000 * statistics.median(times):6.1f} ms  (budget 20 ms)")


def _parse(path: Path) -> float:
    began = time.perf_counter()
    spec = importlib.util.spec_from_file_location(f"parsed_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return time.perf_counter() - began
