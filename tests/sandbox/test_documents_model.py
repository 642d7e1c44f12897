"""Bulks, refreshes, rollovers of the buffer and crashes in any order, against a dictionary that does the same."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from elastic_sandbox.backend import Backend
from elastic_sandbox.documents import table
from elastic_sandbox.documents.operations import BulkOperation
from elastic_sandbox.documents.routes import bulk
from elastic_sandbox.http import Request

MEMORY = Path("/dev/shm")  # where files cost no disk
IDS = st.sampled_from([f"d{number}" for number in range(6)])
VALUES = st.one_of(st.integers(-5, 5), st.just("x"), st.none(), st.lists(st.integers(0, 3), max_size=2))
MAPPING = {"dynamic": False, "properties": {"n": {"type": "long"}, "o": {"properties": {"k": {"type": "keyword"}}}}}


@pytest.fixture(autouse=True)
def _short_requests_are_read_from_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "RAW_FROM", 1)


class Writes(RuleBasedStateMachine):
    """``documents`` is what a get must find, ``seen`` what a search must, ``versions`` of whatever ever was."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.lives = 0

    @initialize()
    def start(self) -> None:
        self.backend = Backend(self.home / "0")
        self.backend.indices.create("a", {"mappings": MAPPING, "settings": {"index.refresh_interval": "-1"}})
        self.documents: dict[str, dict[str, Any]] = {}
        self.seen: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, int] = {}
        self.uncertain: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "backend"):
            self.backend.close()
        shutil.rmtree(self.home)

    @rule(operations=st.lists(st.tuples(st.sampled_from(["create", "index", "delete"]), IDS, VALUES), max_size=8))
    def write(self, operations: list[tuple[Any, str, Any]]) -> None:
        items = self.backend.documents.bulk(
            [
                BulkOperation(action, "a", name, None if action == "delete" else {"n": value})
                for action, name, value in operations
            ]
        )
        for (action, name, value), item in zip(operations, items, strict=True):
            answer = item[action]
            before = self.documents.get(name)
            if action == "delete":
                assert answer["result"] == ("not_found" if before is None else "deleted")
                self.documents.pop(name, None)
            elif action == "create" and before is not None:
                assert answer["status"] == 409
                continue
            elif value == "x":
                assert answer["error"]["type"] == "document_parsing_exception"
                continue
            else:
                assert answer["result"] == ("created" if before is None else "updated")
                self.documents[name] = {"n": value}
            self.check_version(name, answer)

    def check_version(self, name: str, answer: dict[str, Any]) -> None:
        """A write makes the next version of what was there, deleted or not."""
        if name in self.uncertain:
            self.uncertain.discard(name)
            assert answer["_version"] in {1, self.versions[name] + 1}
            self.versions[name] = answer["_version"]
        else:
            self.versions[name] = self.versions.get(name, 0) + 1
            assert answer["_version"] == self.versions[name]

    @rule(first=st.integers(0, 60), value=VALUES, action=st.sampled_from(["create", "index"]))
    def write_many(self, first: int, value: Any, action: str) -> None:
        """A request long enough for the short way; whether it takes it depends on what it says and what is there."""
        sources = {f"m{number}": {"n": value, "o": {"k": str(number)}} for number in range(first, first + 20)}
        lines = [line for name, source in sources.items() for line in ({action: {"_id": name}}, source)]
        body = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        answer: Any = bulk(self.backend, Request("PUT", "/a/_bulk", {"index": "a"}, {}, {}, body))
        answer = orjson.loads(answer) if isinstance(answer, bytes) else answer
        for item, (name, source) in zip(answer["items"], sources.items(), strict=True):
            status = item[action]["status"]
            if action == "create" and name in self.documents:
                assert status == 409
            elif value == "x":
                assert status == 400
            else:
                assert status == (200 if name in self.documents else 201)
                self.check_version(name, item[action])
                self.documents[name] = source

    @rule()
    def refresh(self) -> None:
        self.backend.documents.refresh(self.backend.indices.resolve("a"))
        self.seen = dict(self.documents)

    @rule()
    def crash(self) -> None:
        """The files as they are at this moment, opened by another process: nothing was closed or flushed."""
        self.lives += 1
        after = self.home / str(self.lives)
        shutil.copytree(self.home / str(self.lives - 1), after)
        self.backend.close()
        self.backend = Backend(after)
        self.seen = dict(self.documents)
        # The version of what is deleted may be forgotten, as it is after index.gc_deletes.
        self.uncertain = set(self.versions) - set(self.documents)

    @invariant()
    def gets_and_searches_agree_with_the_model(self) -> None:
        if not hasattr(self, "backend"):
            return
        index = self.backend.indices.get("a")
        assert index is not None
        for name in {*self.documents, "d0", "m0"}:
            stored = self.backend.documents.get(index, name)
            assert (None if stored is None else stored.version) == (
                self.versions[name] if name in self.documents else None
            )
        found = {hit.id: hit.source for hit in self.backend.documents.scan("a")}
        assert found == self.seen
        zero = [hit.id for hit in self.backend.documents.scan("a", {"range": {"n": {"gte": 0}}})]
        assert set(zero) == {name for name, source in self.seen.items() if _reaches_zero(source["n"])}


def _reaches_zero(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(one is not None and one >= 0 for one in values)


Writes.TestCase.settings = settings(
    max_examples=10,
    stateful_step_count=10,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),  # a smaller example is not worth minutes of opening databases
)
TestWritesRefreshesAndCrashes = Writes.TestCase
