"""Cluster state: small JSON documents by kind and name, written through to DuckDB.

What a cluster keeps in its cluster state or in system indices (templates, policies, pipelines, jobs, aliases)
lies here. Of a sandbox with a data directory, a document is durable when :meth:`ClusterState.put` returns, so an
acknowledged change survives the process being killed; one in memory has nobody to write for.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import duckdb


class ClusterState:
    """A dictionary of JSON documents, durable where the database is.

    Documents go in and out by value: what a caller does to a returned document changes nothing here.

    :param durable: whether the database outlives the process; each write costs a transaction of a millisecond
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, *, durable: bool = True) -> None:
        self._connection = connection.cursor()
        self._durable = durable
        self._lock = threading.RLock()
        self._documents: dict[str, dict[str, bytes]] = {}
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS cluster_state "
            "(kind VARCHAR, name VARCHAR, document BLOB, PRIMARY KEY (kind, name))"
        )
        rows = self._connection.execute("SELECT kind, name, document FROM cluster_state").fetchall()
        for kind, name, document in rows:
            self._documents.setdefault(kind, {})[name] = bytes(document)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """The document, or None."""
        with self._lock:
            document = self._documents.get(kind, {}).get(name)
        return None if document is None else orjson.loads(document)

    def put(self, kind: str, name: str, document: dict[str, Any]) -> None:
        """Create or replace."""
        # bytes() copies out of orjson's over-allocated buffer, which would otherwise stay as long as the document.
        encoded = bytes(bytearray(orjson.dumps(document)))
        with self._lock:
            self._write("INSERT OR REPLACE INTO cluster_state VALUES (?, ?, ?)", [kind, name, encoded])
            self._documents.setdefault(kind, {})[name] = encoded

    def delete(self, kind: str, name: str) -> bool:
        """Remove; False when it was not there."""
        with self._lock:
            if name not in self._documents.get(kind, {}):
                return False
            self._write("DELETE FROM cluster_state WHERE kind = ? AND name = ?", [kind, name])
            del self._documents[kind][name]
            return True

    def names(self, kind: str) -> list[str]:
        """All names of a kind, sorted."""
        with self._lock:
            return sorted(self._documents.get(kind, {}))

    def items(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """All documents of a kind, sorted by name."""
        with self._lock:
            documents = sorted(self._documents.get(kind, {}).items())
        return [(name, orjson.loads(document)) for name, document in documents]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._write("DELETE FROM cluster_state")
            self._documents.clear()

    def _write(self, statement: str, values: list[Any] | None = None) -> None:
        if self._durable:
            self._connection.execute(statement, values)

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()
