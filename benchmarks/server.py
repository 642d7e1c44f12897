"""A sandbox in a process of its own, as a user has it: what it does never waits for the one who measures."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SERVE = """
import sys
from elastic_sandbox.running import prefer_short_answers
from elastic_sandbox.testing import serve
prefer_short_answers()
with serve() as sandbox:
    print(sandbox.elasticsearch_url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def served() -> Iterator[str]:
    """The address of an empty sandbox until the block ends."""
    server = subprocess.Popen([sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.stdin.close()
        server.wait(30)
