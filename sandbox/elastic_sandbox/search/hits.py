"""Choosing, ordering and showing the hits of a search."""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from elastic_sandbox.search.fetch import fields_of, runtime_values, stored
from elastic_sandbox.search.plan import Plan
from elastic_sandbox.search.request import SearchRequest
from elastic_sandbox.search.sort import Bound, Ordering, SortKey, after, bind, orderings
from elastic_sandbox.search.view import IndexView

_CONSTANT = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
_TIEBREAK = SortKey("_shard_doc")


@dataclass
class Chosen:
    """A hit before its document is fetched; ``keys`` are the raw sort values, the tiebreak last."""

    ordinal: int
    seq_no: int
    score: float
    keys: tuple[Any, ...]


@dataclass
class HitSearch:
    """The ordering of one search, ready to be paged through."""

    plan: Plan
    request: SearchRequest
    orders: list[Ordering]
    bounds: dict[int, list[Bound]]
    scores: dict[int, str]
    shown: int

    @classmethod
    def of(cls, plan: Plan, request: SearchRequest) -> HitSearch:
        """Bind sort keys and scores to every index; an index that lacks a sort field leaves the search."""
        scores: dict[int, str] = {}
        if request.scored:
            for view, score in zip(plan.views, plan.each(plan.query.score), strict=True):
                scores[view.ordinal] = score
        keys = list(request.sort)
        if not keys and request.scored and not _constant(scores):
            keys = [SortKey("_score", descending=True)]
        if not any(key.path == "_shard_doc" for key in keys):
            keys.append(_TIEBREAK)

        def bound(view: IndexView) -> tuple[int, list[Bound]]:
            score = f"({scores.get(view.ordinal, '1.0')})::FLOAT::DOUBLE"
            return view.ordinal, [bind(key, view, score) for key in keys]

        bounds = dict(plan.each(bound))
        orders = orderings(keys, list(bounds.values()))
        return cls(plan, request, orders, bounds, scores, len(request.sort))

    def choose(self, size: int, offset: int = 0, beyond: tuple[Any, ...] | None = None) -> list[Chosen]:
        """The next hits.

        :param beyond: raw keys of the last hit of the page before
        """
        plan = self.plan
        condition = "true"
        if beyond is not None:
            condition = after(self.orders, list(beyond), plan.parameters, plan.now_ms)
        elif self.request.search_after is not None:
            condition = after(self.orders[: self.shown], list(self.request.search_after), plan.parameters, plan.now_ms)

        def columns(view: IndexView) -> str:
            keys = self.bounds.get(view.ordinal, [])
            listed = "".join(
                f", {order.filled(key.sql, plan.parameters, plan.now_ms)} AS {order.name}"
                for order, key in zip(self.orders, keys, strict=True)
            )
            score = self.scores.get(view.ordinal, "1.0")
            return f"{view.ordinal} AS i, _seq_no, ({score})::FLOAT AS score{listed}"

        if not plan.has_documents:
            return []
        names = "".join(f", {order.name}" for order in self.orders)
        ordering = ", ".join(order.order_by() for order in self.orders)
        sql = (
            f"SELECT i, _seq_no, score{names} FROM ({plan.union(columns)}) WHERE {condition} "
            f"ORDER BY {ordering} LIMIT {size} OFFSET {offset}"
        )
        return [Chosen(row[0], row[1], row[2], row[3:]) for row in plan.run(sql).fetchall()]

    def render(self, chosen: list[Chosen]) -> list[dict[str, Any]]:
        """The hits as the answer shows them."""
        request = self.request
        need_source = request.source.enabled or bool(request.fields)
        wanted = [(hit.ordinal, hit.seq_no) for hit in chosen]
        rows = stored(self.plan, wanted, source=need_source)
        computed = runtime_values(self.plan, wanted, request.fields) if request.fields else {}
        views = {view.ordinal: view for view in self.plan.views}
        hits = []
        for hit in chosen:
            doc_id, source, version, routing, ignored = rows[hit.ordinal, hit.seq_no]
            view = views[hit.ordinal]
            shown: dict[str, Any] = {"_index": view.index.name, "_id": doc_id}
            if request.version:
                shown["_version"] = version
            if request.seq_no:
                shown |= {"_seq_no": hit.seq_no, "_primary_term": 1}
            shown["_score"] = score_of(hit.score) if request.scored else None
            if ignored:
                shown["_ignored"] = ignored
            if routing is not None:
                shown["_routing"] = routing
            if request.source.enabled:
                shown["_source"] = request.source.apply(orjson.loads(source))
            if request.fields:
                found = fields_of(view, source, request.fields, computed.get((hit.ordinal, hit.seq_no)))
                if found:
                    shown["fields"] = found
            if request.sort:
                shown["sort"] = [
                    score_of(value) if order.key.path == "_score" else order.shown(value)
                    for order, value in zip(self.orders[: self.shown], hit.keys, strict=False)
                ]
            hits.append(shown)
        return hits


def score_of(value: float) -> float:
    """A score as Elasticsearch prints it: the shortest text of its 32 bits."""
    return float(str(np.float32(value)))


def _constant(scores: dict[int, str]) -> bool:
    return len(set(scores.values())) <= 1 and all(_CONSTANT.fullmatch(score) for score in scores.values())


def count(plan: Plan, limit: int | None = None) -> int:
    """How many documents match; no further than ``limit`` plus one."""
    if not plan.has_documents:
        return 0
    union = plan.union(lambda view: "1 AS one")
    if limit is not None:
        union = f"SELECT one FROM ({union}) LIMIT {limit + 1}"
    row = plan.run(f"SELECT count(*) FROM ({union})").fetchone()
    return 0 if row is None else int(row[0])
