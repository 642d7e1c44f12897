"""Enrich policies and the copies their execution makes.

What a processor sees is the copy of the last execution, never the source index: Elasticsearch keeps it in a hidden
index `.enrich-<policy>-<ms>`, the sandbox in the cluster state and, by match value, in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from elastic_sandbox.enrich.policy import Policy, check_mappings, read_policy
from elastic_sandbox.errors import ElasticError, index_not_found, resource_already_exists, resource_not_found
from elastic_sandbox.painless.values import to_string

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.tasks import Task

POLICY: Final = "enrich_policy"
SNAPSHOT: Final = "enrich_snapshot"


@dataclass
class Snapshot:
    """A policy's copy: documents (match field and enrich fields) by the text of their match values, in index order."""

    index: str
    match_field: str
    by_value: dict[str, list[bytes]] = field(default_factory=dict)

    def matches(self, value: Any, limit: int) -> list[dict[str, Any]]:
        """Up to `limit` documents whose match field holds the value, or one of a list of values; fresh copies."""
        if isinstance(value, list):
            wanted = {to_string(item) for item in value if item is not None}
            found = [document for key, documents in self.by_value.items() if key in wanted for document in documents]
            found = list(dict.fromkeys(found))
        else:
            found = self.by_value.get(to_string(value), [])
        return [orjson.loads(document) for document in found[:limit]]


class Enrich:
    """Policies, executions and copies."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._guard = threading.Lock()
        self._locked: set[str] = set()
        self._snapshots: dict[str, Snapshot] = {}

    def reset(self) -> None:
        """Forget the copies held in memory; policies go with the cluster state."""
        self._snapshots.clear()
        with self._guard:
            self._locked.clear()

    def close(self) -> None:
        """Nothing is held open."""

    def put(self, name: str, body: dict[str, Any]) -> None:
        """Create a policy; it cannot be changed later, only deleted and made again."""
        policy = read_policy(name, body)
        self._check_sources(policy)
        with self._backend.lock:
            if self._backend.state.get(POLICY, name) is not None:
                raise resource_already_exists(f"policy [{name}] already exists")
            self._backend.state.put(POLICY, name, policy.to_json())

    def policies(self, names: list[str] | None = None) -> list[Policy]:
        """The policies of some names, or all; names that are none are left out, as the server does."""
        stored = self._backend.state.items(POLICY)
        return [Policy.from_json(name, body) for name, body in stored if names is None or name in names]

    def policy(self, name: str) -> Policy | None:
        """One policy."""
        body = self._backend.state.get(POLICY, name)
        return None if body is None else Policy.from_json(name, body)

    def delete(self, name: str) -> None:
        """Delete a policy and its copy; 409 while a pipeline names it."""
        if self.policy(name) is None:
            raise resource_not_found(f"policy [{name}] not found")
        with self.lock(name):
            pipelines = self._backend.ingest.pipelines_with("enrich", "policy_name", name)
            if pipelines:
                raise ElasticError(
                    409,
                    "status_exception",
                    f"Could not delete policy [{name}] because a pipeline is referencing it [{', '.join(pipelines)}]",
                )
            self._backend.state.delete(SNAPSHOT, name)
            self._snapshots.pop(name, None)
            self._backend.state.delete(POLICY, name)

    def execute(self, name: str) -> dict[str, Any]:
        """Make a new copy now; answers the final status."""
        with self.lock(name):
            self._copy(self._required(name))
        return {"phase": "COMPLETE"}

    def execute_as_task(self, name: str, opaque_id: str | None) -> Task:
        """Make a new copy in the background; the lock is held until it is done."""
        release = self._take_lock(name)
        try:
            policy = self._required(name)
        except ElasticError:
            release()
            raise

        def run(task: Task) -> dict[str, Any]:
            try:
                task.status["phase"] = "RUNNING"
                self._copy(policy)
                task.status["phase"] = "COMPLETE"
            except ElasticError:
                task.status["phase"] = "FAILED"
                raise
            finally:
                release()
            return {"phase": "COMPLETE"}

        # Its task ends without a stored result: source InternalExecutePolicyAction of Elasticsearch.
        return self._backend.tasks.start(
            "policy_execution",
            f"executing enrich policy [{name}]",
            run,
            opaque_id=opaque_id,
            cancellable=True,
            stores_result=False,
        )

    def snapshot(self, name: str) -> Snapshot | None:
        """The copy of the last execution, or None when there was none."""
        found = self._snapshots.get(name)
        if found is None:
            stored = self._backend.state.get(SNAPSHOT, name)
            if stored is not None:
                found = self._snapshots[name] = _index(stored)
        return found

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a policy's lock: one execution or deletion at a time, a second one is refused with 429."""
        release = self._take_lock(name)
        try:
            yield
        finally:
            release()

    def _take_lock(self, name: str) -> Callable[[], None]:
        with self._guard:
            if name in self._locked:
                raise ElasticError(
                    429,
                    "es_rejected_execution_exception",
                    f"Could not obtain lock because policy execution for [{name}] is already in progress.",
                )
            self._locked.add(name)
        return lambda: self._locked.discard(name)

    def _required(self, name: str) -> Policy:
        policy = self.policy(name)
        if policy is None:
            raise resource_not_found(f"policy [{name}] does not exist")
        return policy

    def _check_sources(self, policy: Policy) -> None:
        for expression in policy.indices:
            indices = self._backend.indices.resolve(expression)
            if not indices and "*" not in expression:
                raise index_not_found(expression)
            for index in indices:
                check_mappings(policy, index.name, index.mapping.to_json())

    def _copy(self, policy: Policy) -> None:
        self._check_sources(policy)
        fields = [policy.match_field, *policy.enrich_fields]
        hits = self._backend.documents.scan(",".join(policy.indices), policy.query, source=fields)
        stored = {
            "index": f".enrich-{policy.name}-{self._backend.clock.now_ms()}",
            "match_field": policy.match_field,
            "documents": [hit.source for hit in hits],
        }
        self._backend.state.put(SNAPSHOT, policy.name, stored)
        self._snapshots[policy.name] = _index(stored)


def _index(stored: dict[str, Any]) -> Snapshot:
    snapshot = Snapshot(stored["index"], stored["match_field"])
    keys = stored["match_field"].split(".")
    for document in stored["documents"]:
        encoded = orjson.dumps(document)
        for value in values_at(document, keys):
            snapshot.by_value.setdefault(to_string(value), []).append(encoded)
    return snapshot


def values_at(node: Any, keys: list[str]) -> list[Any]:
    """All values under a mapped path of a source, written nested (`{"a": {"b": 1}}`) or dotted (`{"a.b": 1}`)."""
    if isinstance(node, list):
        return [value for item in node for value in values_at(item, keys)]
    if not keys:
        return [] if node is None or isinstance(node, dict) else [node]
    if not isinstance(node, dict):
        return []
    found = []
    for length in range(1, len(keys) + 1):
        key = ".".join(keys[:length])
        if key in node:
            found += values_at(node[key], keys[length:])
    return found
