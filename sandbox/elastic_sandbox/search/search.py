"""Search: the part that answers ``_search``, ``_count``, scrolls and points in time, and scans for other parts."""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from elastic_sandbox.documents.documents import Hit
from elastic_sandbox.errors import ElasticError
from elastic_sandbox.search.aggregations import run_aggregations
from elastic_sandbox.search.contexts import Context, Contexts
from elastic_sandbox.search.hits import Chosen, HitSearch, count
from elastic_sandbox.search.plan import Plan, make_plan
from elastic_sandbox.search.query_parser import query_of
from elastic_sandbox.search.request import MAX_RESULT_WINDOW, SearchRequest, check_window
from elastic_sandbox.search.sort import SortKey, parse_sort
from elastic_sandbox.search.source import SourceFilter
from elastic_sandbox.search.view import IndexView

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.documents import Snapshot
    from elastic_sandbox.indices import Index

_READ_AHEAD = 5000
"""Documents a scan reads at once, however small its batches are."""
_FETCHED = 500
"""Rows taken out of DuckDB at once: nothing else runs in the process meanwhile, and requests shall not wait."""


class Search:
    """Searches over snapshots of the documents."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.contexts = Contexts(backend)

    def reset(self) -> None:
        """Close all contexts."""
        self.contexts.close(None)

    def close(self) -> None:
        """Close all contexts."""
        self.contexts.close(None)

    # Requests -------------------------------------------------------------------------------------------------------

    def search(self, indices: list[Index], request: SearchRequest) -> dict[str, Any]:
        """The answer to a search of ``indices``, or of the request's point in time."""
        started = time.monotonic()
        if request.pit is not None:
            return self._search_pit(request, started)
        if any(key.path == "_shard_doc" for key in request.sort):
            raise ElasticError(
                400,
                "action_request_validation_exception",
                "Validation Failed: 1: [_shard_doc] sort field cannot be used without [point in time];",
            )
        if request.scroll_seconds is not None:
            return self._open_scroll(indices, request, started)
        with self._backend.documents.view(indices) as snapshot:
            return self._answer(snapshot, request, started)[0]

    def _search_pit(self, request: SearchRequest, started: float) -> dict[str, Any]:
        from elastic_sandbox.http import duration_seconds

        assert request.pit is not None
        keep_alive = request.pit.get("keep_alive")
        context = self.contexts.get(
            str(request.pit.get("id", "")),
            None if keep_alive is None else duration_seconds(keep_alive, "keep_alive"),
        )
        if request.sort and not any(key.path == "_shard_doc" for key in request.sort):
            after = request.search_after
            # The tiebreak is implicit, but its value is shown and may be given back.
            request = replace(request, sort=(*request.sort, SortKey("_shard_doc")))
            if after is not None and len(after) == len(request.sort) - 1:
                request = replace(request, search_after=(*after, 2**62))
        with context.lock:
            answer, _, _ = self._answer(context.snapshot, request, started)
        return {"pit_id": context.id, **answer}

    def _answer(
        self, snapshot: Snapshot, request: SearchRequest, started: float
    ) -> tuple[dict[str, Any], list[Chosen], dict[str, Any]]:
        plan = make_plan(self._backend, snapshot, request.query, runtime=request.runtime)
        plan.each(lambda view: check_window(request, _window(view)))
        hits = HitSearch.of(plan, request) if request.size or request.sort else None
        chosen = hits.choose(request.size, request.offset) if hits is not None and request.size else []
        rendered = hits.render(chosen) if hits is not None else []
        shown: dict[str, Any] = {}
        limit = request.track_total_hits
        if limit != 0:
            # A page that is not full ends with the last hit.
            short = len(chosen) < request.size and (chosen or not request.offset) and request.search_after is None
            found = request.offset + len(chosen) if short else count(plan, limit)
            shown["total"] = (
                {"value": found, "relation": "eq"}
                if limit is None or found <= limit
                else {"value": limit, "relation": "gte"}
            )
        scores = [hit["_score"] for hit in rendered if hit["_score"] is not None]
        shown["max_score"] = max(scores) if scores and (not request.sort or request.scored) else None
        shown["hits"] = rendered
        answer: dict[str, Any] = {"took": 0, "timed_out": False, "_shards": {}, "hits": shown}
        if request.aggregations and plan.views:  # no index, no shard to begin an aggregation
            answer["aggregations"] = run_aggregations(plan, request.aggregations)
        answer["_shards"] = plan.shards()
        answer["took"] = int((time.monotonic() - started) * 1000)
        return answer, chosen, shown.get("total", {})

    # Scrolls --------------------------------------------------------------------------------------------------------

    def _open_scroll(self, indices: list[Index], request: SearchRequest, started: float) -> dict[str, Any]:
        keep_alive = request.scroll_seconds or 0.0
        request = replace(request, track_total_hits=None)
        snapshot = self._backend.documents.snapshot(indices)
        context = self.contexts.open(snapshot, keep_alive)
        try:
            answer, chosen, total = self._answer(snapshot, request, started)
        except BaseException:
            self.contexts.close([context.id])
            raise
        # Later pages carry hits only.
        context.request = replace(request, aggregations={}, track_total_hits=0)
        context.total = total
        context.last = chosen[-1].keys if chosen else None
        return {"_scroll_id": context.id, **answer}

    def scroll(self, key: str, keep_alive: float | None) -> dict[str, Any]:
        """The next page of a scroll; no hits once it is exhausted."""
        started = time.monotonic()
        context = self.contexts.get(key, keep_alive)
        with context.lock:
            return {"_scroll_id": context.id, **self._next_page(context, started)}

    def _next_page(self, context: Context, started: float) -> dict[str, Any]:
        request = context.request
        if request is None:
            from elastic_sandbox.search.contexts import missing

            raise missing()
        plan = make_plan(self._backend, context.snapshot, request.query, runtime=request.runtime)
        hits = HitSearch.of(plan, request)
        chosen = [] if context.last is None else hits.choose(request.size, beyond=context.last)
        context.last = chosen[-1].keys if chosen else None
        rendered = hits.render(chosen)
        scores = [hit["_score"] for hit in rendered if hit["_score"] is not None]
        return {
            "took": int((time.monotonic() - started) * 1000),
            "timed_out": False,
            "_shards": plan.shards(),
            "hits": {"total": context.total, "max_score": max(scores, default=None), "hits": rendered},
        }

    # For other parts ------------------------------------------------------------------------------------------------

    def count(self, expression: str, query: dict[str, Any] | None = None) -> int:
        """How many refreshed documents match."""
        return self.count_in(self._backend.indices.resolve(expression), query)[0]

    def count_in(self, indices: list[Index], query: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        """How many documents of ``indices`` match, and the ``_shards`` of the answer."""
        parsed = query_of(query)
        with self._backend.documents.view(indices) as snapshot:
            plan = make_plan(self._backend, snapshot, parsed)
            return count(plan), plan.shards()

    def scan(
        self,
        expression: str,
        query: dict[str, Any] | None = None,
        *,
        source: bool | list[str] | dict[str, Any] = True,
        sort: list[Any] | None = None,
        batch: int = 5000,
    ) -> Iterator[Hit]:
        """Every matching document from one view; see :meth:`Documents.scan`."""
        with Scan(self._backend, self._backend.indices.resolve(expression), query, source=source, sort=sort) as scan:
            while hits := scan.next(batch):
                yield from hits


class Scan:
    """Batches of matching documents from one view of the indices, in index order unless sorted.

    :param part: (number, of how many): only the documents whose id falls into that slice
    """

    def __init__(
        self,
        backend: Backend,
        indices: list[Index],
        query: dict[str, Any] | None,
        *,
        source: bool | list[str] | dict[str, Any] = True,
        sort: list[Any] | None = None,
        part: tuple[int, int] | None = None,
    ) -> None:
        parsed = query_of(query)
        self._filter = SourceFilter.parse(source)
        self._snapshot = backend.documents.snapshot(sorted(indices, key=lambda index: index.name))
        try:
            extra = "true" if part is None else f"hash(_id) % {part[1]} = {part[0]}"
            self._plan: Plan = make_plan(backend, self._snapshot, parsed, extra=extra)
            self._order = self._matching(sort)
        except BaseException:
            self._snapshot.close()
            raise
        self._views = {view.ordinal: view for view in self._plan.views}
        self._sorted = sort is not None
        self._at = 0
        self._ahead: list[Hit] = []

    def __enter__(self) -> Scan:
        return self

    def __exit__(self, *_: object) -> None:
        self._snapshot.close()

    def _matching(self, sort: list[Any] | None) -> Any:
        """(index ordinal, _seq_no) of every match, in order: 16 bytes a document, which pays for cheap batches."""
        if not self._plan.views:
            return np.empty((0, 2), dtype=np.int64)
        if sort is None:
            union = self._plan.union(lambda view: f"{view.ordinal}::BIGINT AS i, _seq_no")
            found = self._plan.run(f"SELECT i, _seq_no FROM ({union}) ORDER BY i, _seq_no").fetchnumpy()
            return np.column_stack((found["i"], found["_seq_no"]))
        request = SearchRequest(query=self._plan.query, sort=tuple(parse_sort(sort)))
        chosen = HitSearch.of(self._plan, request).choose(2**62)
        return np.array([(hit.ordinal, hit.seq_no) for hit in chosen], dtype=np.int64).reshape(-1, 2)

    def total(self) -> int:
        """How many documents there are in all."""
        return len(self._order)

    def next(self, size: int) -> list[Hit]:
        """The next ``size`` documents; none at the end."""
        while len(self._ahead) < size and self._at < len(self._order):
            window = self._order[self._at : self._at + max(size, _READ_AHEAD)]
            self._at += len(window)
            self._ahead += self._read(window)
        hits, self._ahead = self._ahead[:size], self._ahead[size:]
        return hits

    def _read(self, window: Any) -> list[Hit]:
        found: dict[tuple[int, int], Hit] = {}
        for ordinal in np.unique(window[:, 0]):
            view = self._views[int(ordinal)]
            seq_nos = window[window[:, 0] == ordinal, 1]
            source = "_source" if self._filter.enabled else "NULL"
            # In index order a range holds the window and nothing else, and lets DuckDB skip what lies outside it.
            condition = f"_seq_no BETWEEN {seq_nos.min()} AND {seq_nos.max()} AND ({self._plan.where(view)})"
            if self._sorted:
                condition = f"_seq_no IN (SELECT unnest({self._plan.parameters.add(seq_nos.tolist())}))"
            rows = self._plan.run(
                f"SELECT _seq_no, _id, {source}, _version, _routing FROM {view.schema.table} WHERE {condition}"
            )
            while some := rows.fetchmany(_FETCHED):
                for seq_no, doc_id, text, version, routing in some:
                    found[view.ordinal, seq_no] = Hit(view.index.name, doc_id, text, seq_no, version, routing)
        hits = [found[int(ordinal), int(seq_no)] for ordinal, seq_no in window]
        for hit in hits:
            hit.source = self._filter.apply(orjson.loads(hit.source)) if self._filter.enabled else {}  # type: ignore[arg-type]
        return hits


def _window(view: IndexView) -> int:
    return int(view.index.settings.get("index.max_result_window", MAX_RESULT_WINDOW))
