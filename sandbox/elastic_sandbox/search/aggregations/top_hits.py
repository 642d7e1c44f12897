"""top_hits: the best documents of each bucket."""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from elastic_sandbox.errors import illegal_argument, parsing, unsupported
from elastic_sandbox.search.aggregations.base import Aggregation, Result, Run
from elastic_sandbox.search.hits import Chosen, HitSearch
from elastic_sandbox.search.request import SearchRequest
from elastic_sandbox.search.sort import parse_sort
from elastic_sandbox.search.source import SourceFilter

_KNOWN = {"size", "from", "sort", "_source", "fields", "version", "seq_no_primary_term", "track_scores"}
_OTHER = {"highlight", "explain", "script_fields", "docvalue_fields", "stored_fields"}
MAX_INNER_WINDOW = 100


@dataclass
class TopHits(Aggregation):
    """The first ``size`` documents of each bucket in an order."""

    search: HitSearch | None = None
    columns: list[str] = field(default_factory=list)
    score: str = ""

    def prepare(self, run: Run) -> None:
        """Ask for the sort keys as columns."""
        for key in self.body:
            if key in _OTHER:
                raise unsupported(f"[{key}] of a top_hits aggregation")
            if key not in _KNOWN:
                raise parsing(f"Unknown key for a VALUE_STRING in [{self.name}]: [{key}].")
        size, offset = int(self.body.get("size", 3)), int(self.body.get("from", 0))
        if size + offset > MAX_INNER_WINDOW:
            raise illegal_argument(
                f"Top hits result window is too large, the top hits aggregator [{self.name}]'s from + size must "
                "be less than or "
                f"equal to: [{MAX_INNER_WINDOW}] but was [{size + offset}]. This limit can be set by changing the "
                "[index.max_inner_result_window] index level setting."
            )
        request = SearchRequest(
            query=run.plan.query,
            size=size,
            offset=offset,
            sort=tuple(parse_sort(self.body.get("sort"))),
            source=SourceFilter.parse(self.body.get("_source", True)),
            fields=tuple(self.body.get("fields", ())),
            track_scores=bool(self.body.get("track_scores", False)),
            version=bool(self.body.get("version", False)),
            seq_no=bool(self.body.get("seq_no_primary_term", False)),
        )
        search = self.search = HitSearch.of(run.plan, request)
        plan = run.plan
        for at, order in enumerate(search.orders):
            self.columns.append(
                run.column(
                    f"sort {id(self)} {at}",
                    lambda view, at=at, order=order: order.filled(  # type: ignore[misc]
                        search.bounds[view.ordinal][at].sql.replace("(i::", f"({view.ordinal}::"),
                        plan.parameters,
                        plan.now_ms,
                    ),
                )
            )
        self.score = run.column(f"score {id(self)}", lambda view: f"({search.scores.get(view.ordinal, '1.0')})::FLOAT")

    def results(self, run: Run, relation: str, buckets: int) -> list[Result]:
        """Hits by bucket."""
        search = self.search
        assert search is not None
        request = search.request
        ordering = ", ".join(
            order.order_by().replace(order.name, column, 1)
            for order, column in zip(search.orders, self.columns, strict=True)
        )
        keys = "".join(f", {column}" for column in self.columns)
        counts = dict(run.rows(f"SELECT b, count(*) FROM {relation} GROUP BY b"))
        rows = run.rows(
            f"SELECT b, i, s, {self.score}{keys} FROM (SELECT *, row_number() OVER (PARTITION BY b ORDER BY "
            f"{ordering}) AS n "
            f"FROM {relation}) WHERE n > {request.offset} AND n <= {request.offset + request.size} ORDER BY b, n"
        )
        rendered = search.render([Chosen(row[1], row[2], row[3], row[4:]) for row in rows])
        by_bucket: dict[int, list[Any]] = {}
        for row, hit in zip(rows, rendered, strict=True):
            by_bucket.setdefault(row[0], []).append(hit)
        results = []
        for b in range(buckets):
            hits = by_bucket.get(b, [])
            scores = [hit["_score"] for hit in hits if hit["_score"] is not None]
            results.append(
                {
                    "hits": {
                        "total": {"value": counts.get(b, 0), "relation": "eq"},
                        "max_score": max(scores, default=None),
                        "hits": hits,
                    }
                }
            )
        return results
