"""A search over its indices: one SELECT per index, and the failures of those that cannot take part."""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elastic_sandbox.search.failures import ShardFailure, all_shards_failed, shard_entry
from elastic_sandbox.search.query import Query
from elastic_sandbox.search.view import IndexView, Parameters

if TYPE_CHECKING:
    import duckdb

    from elastic_sandbox.backend import Backend
    from elastic_sandbox.documents import Snapshot
    from elastic_sandbox.search.runtime_fields import RuntimeMappings


@dataclass
class Plan:
    """What every statement of one search shares."""

    snapshot: Snapshot
    views: list[IndexView]
    query: Query
    parameters: Parameters
    now_ms: int
    node: str
    total: int
    extra: str = "true"
    failures: list[tuple[ShardFailure, str, str]] = field(default_factory=list)

    @property
    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Where the statements run."""
        return self.snapshot.cursor

    @property
    def has_documents(self) -> bool:
        """Whether any index has ever had a document that was refreshed."""
        return any(view.schema.created for view in self.views)

    def run(self, sql: str) -> duckdb.DuckDBPyConnection:
        """Execute with the parameters the statement uses."""
        return self.cursor.execute(sql, self.parameters.of(sql))

    def each(self, make: Callable[[IndexView], Any]) -> list[Any]:
        """``make`` for every index; one that fails leaves the search, and all failing is an error.

        :raises ElasticError: search_phase_execution_exception when no index is left
        """
        made = []
        kept = []
        for view in self.views:
            try:
                made.append(make(view))
                kept.append(view)
            except ShardFailure as failure:
                self.failures.append((failure, view.index.name, view.index.uuid))
        if self.failures and not kept:
            raise all_shards_failed(self.failures, self.node)
        self.views = kept
        return made

    def where(self, view: IndexView) -> str:
        """The condition of the query over one index."""
        condition = self.query.sql(view)
        return condition if self.extra == "true" else f"({condition}) AND ({self.extra})"

    def union(self, columns: Callable[[IndexView], str]) -> str:
        """``SELECT columns`` of matching documents of all indices; there must be an index."""
        parts = [
            f"SELECT {columns(view)} FROM {view.schema.table} WHERE {self.where(view)}"
            for view in self.views
            if view.schema.created
        ]
        if parts:
            return " UNION ALL ".join(parts)
        # No document anywhere: any index's columns are NULL, and nothing is selected.
        empty = "(SELECT NULL::VARCHAR AS _id, NULL::BIGINT AS _seq_no, NULL::BIGINT AS _version) AS nothing"
        return f"SELECT {columns(self.views[0])} FROM {empty} WHERE false"

    def shards(self) -> dict[str, Any]:
        """The ``_shards`` of the answer."""
        shards: dict[str, Any] = {
            "total": self.total,
            "successful": self.total - len(self.failures),
            "skipped": 0,
            "failed": len(self.failures),
        }
        if self.failures:
            shards["failures"] = [shard_entry(f, name, uuid, self.node) for f, name, uuid in self.failures]
        return shards


def make_plan(
    backend: Backend,
    snapshot: Snapshot,
    query: Query,
    *,
    extra: str = "true",
    runtime: RuntimeMappings | None = None,
) -> Plan:
    """Prepare a search of a snapshot; the query is tried on every index, so its failures show at once."""
    parameters = Parameters()
    now_ms = backend.clock.now_ms()
    views = []
    for ordinal, (index, schema) in enumerate(snapshot.views):
        names = {index.name, *index.aliases}
        if index.data_stream is not None:
            names.add(index.data_stream)
        views.append(IndexView(index, schema, ordinal, now_ms, parameters, frozenset(names)))
    plan = Plan(snapshot, views, query, parameters, now_ms, backend.tasks.node, len(views), extra)
    if runtime:
        from elastic_sandbox.search.runtime_values import apply

        apply(plan, runtime)
    else:
        plan.each(plan.where)
    return plan
