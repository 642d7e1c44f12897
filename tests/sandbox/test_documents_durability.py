"""What survives when the process is killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from elastic_sandbox.backend import Backend
from elastic_sandbox.documents import BulkOperation
from elastic_sandbox.documents.translog import Translog

_WRITER = """
import sys
from pathlib import Path
from elastic_sandbox.backend import Backend
from elastic_sandbox.documents import BulkOperation

backend = Backend(Path(sys.argv[1]))
for n in range(100_000):
    operations = [BulkOperation("create", "events", f"{n}-{k}", {"n": n, "tag": ["a", str(k)]}) for k in range(5)]
    operations.append(BulkOperation("index", "events", "last", {"n": n}))
    if n % 7 == 3:
        operations.append(BulkOperation("delete", "events", f"{n - 1}-0"))
    backend.documents.bulk(operations, refresh=n % 10 == 9)
    print(n, flush=True)
"""


def test_a_killed_sandbox_has_lost_no_acknowledged_write_and_doubled_none(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = -1
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged >= 25:
            os.kill(process.pid, signal.SIGKILL)
            break
    # What was printed before the signal arrived was acknowledged too.
    for line in process.stdout:
        acknowledged = int(line)
    process.wait()
    backend = Backend(tmp_path)
    try:
        hits = list(backend.documents.scan("events"))
        ids = [hit.id for hit in hits]
        assert len(ids) == len(set(ids))
        deleted = {f"{n - 1}-0" for n in range(acknowledged + 1) if n % 7 == 3}
        written = {f"{n}-{k}" for n in range(acknowledged + 1) for k in range(5)}
        assert (written - deleted) <= set(ids)
        assert not deleted & set(ids)
        last = next(hit for hit in hits if hit.id == "last")
        assert last.source["n"] >= acknowledged
        assert last.version == last.source["n"] + 1
        assert backend.documents.count("events", {"term": {"tag.keyword": "a"}}) == len(ids) - 1
        index = backend.indices.get("events")
        assert index is not None
        assert backend.documents.max_seq_no(index) >= max(hit.seq_no for hit in hits)
    finally:
        backend.close()


def test_documents_and_versions_survive_a_clean_restart(tmp_path: Path) -> None:
    backend = Backend(tmp_path)
    backend.documents.bulk(
        [
            BulkOperation("index", "a", "1", {"x": 1}),
            BulkOperation("index", "a", "1", {"x": 2}),
            BulkOperation("index", "b", "1", {"x": 3}, version=77, version_type="external_gte"),
        ]
    )
    backend.close()
    backend = Backend(tmp_path)
    try:
        assert [(hit.index, hit.version, hit.source) for hit in backend.documents.scan("a,b")] == [
            ("a", 2, {"x": 2}),
            ("b", 77, {"x": 3}),
        ]
        [conflict] = backend.documents.bulk([BulkOperation("create", "a", "1", {"x": 9})])
        assert conflict["create"]["status"] == 409
    finally:
        backend.close()


_WIDENER = """
import os, signal, sys
from pathlib import Path
from elastic_sandbox.backend import Backend
from elastic_sandbox.documents.bulk import BulkOperation
backend = Backend(Path(sys.argv[1]))
for name, value in (("1", "a"), ("2", ["a", "b"])):
    backend.documents.bulk([BulkOperation("index", "tags", name, source={"t": value})], refresh=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_column_that_became_a_list_right_before_the_kill_is_read_again_without_a_network(tmp_path: Path) -> None:
    """DuckDB's log then holds an expression, whose functions it would look for among extensions to download."""
    subprocess.run([sys.executable, "-c", _WIDENER, str(tmp_path)], check=False)
    backend = Backend(tmp_path)
    try:
        assert [hit.source["t"] for hit in backend.documents.scan("tags")] == ["a", ["a", "b"]]
    finally:
        backend.close()


def test_a_record_cut_short_by_the_kill_is_forgotten_and_what_follows_is_kept(tmp_path: Path) -> None:
    log = Translog(tmp_path)
    log.append([("i", "u", "1", 0, 1, "{}", None)])
    log.close()
    path = tmp_path / "translog" / "operations.log"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-3])
    log = Translog(tmp_path)
    log.append([("i", "u", "2", 1, 1, "{}", None)])
    assert [record[2] for record in log.replay()] == ["1", "2"]
    log.truncate()
    assert list(log.replay()) == []
    log.append([("i", "u", "3", 2, 1, orjson.dumps({"a": 1}).decode(), None)])
    assert [record[5] for record in log.replay()] == ['{"a":1}']
    log.close()


class _FullDisk:
    """A file of a disk that takes a few more bytes and then no more."""

    def __init__(self, file: Any, room: int) -> None:
        self._file = file
        self.room = room

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._file.write(data[: self.room])
        self.room -= written
        return int(written)


def test_a_write_that_a_full_disk_cuts_short_hides_nothing_that_follows_and_comes_with_the_next(tmp_path: Path) -> None:
    log = Translog(tmp_path)
    log.append([("i", "u", "1", 0, 1, "{}", None)])
    log._file = full = _FullDisk(log._file, room=9)
    with pytest.raises(OSError, match="No space left"):
        log.append([("i", "u", "2", 1, 1, "{}", None)])
    with pytest.raises(OSError, match="No space left"):
        log.append([])  # the same request again: all conflicts, and still not on the disk
    full.room = 10_000
    log.append([("i", "u", "3", 2, 1, "{}", None)])
    log.close()
    assert [record[2] for record in Translog(tmp_path).replay()] == ["1", "2", "3"]
