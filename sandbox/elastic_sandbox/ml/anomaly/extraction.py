"""Reading a datafeed's data: documents by column, or buckets of its aggregations, in the order of time.

Documents are read from the columns that searches use (Elasticsearch reads doc values), which runtime fields have too,
and only fields without one, such as text, from the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from elastic_sandbox.documents.columns import ip_from_column
from elastic_sandbox.errors import ElasticError
from elastic_sandbox.ml.anomaly.analysis import Records
from elastic_sandbox.ml.anomaly.config import analysed_fields
from elastic_sandbox.ml.anomaly.datafeed_config import Histogram
from elastic_sandbox.ml.inference import reader
from elastic_sandbox.ml.strict import bad_request, not_found
from elastic_sandbox.search.failures import all_shards_failed
from elastic_sandbox.search.runtime_fields import RuntimeMappings, parse_runtime_fields

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.search.plan import Plan
    from elastic_sandbox.search.view import IndexView

_SQL: Final = {"keyword": "VARCHAR", "ip": "VARCHAR", "long": "BIGINT", "double": "DOUBLE", "date": "BIGINT",
               "boolean": "BOOLEAN"}  # fmt: skip
_RECORDS: Final = 10_000
"""Records a chunk should hold: what keeps a slice of work short and memory flat."""
_PAGE: Final = 1000


class Extractor:
    """What one datafeed reads for its job.

    :raises ElasticError: 404 when an index is missing, 400 when a field has no mapping or a runtime field cannot be,
        501 for runtime fields beyond the sandbox
    """

    def __init__(self, backend: Backend, datafeed: dict[str, Any], job: dict[str, Any]) -> None:
        self._backend = backend
        self._config = datafeed
        self._runtime: dict[str, Any] = datafeed.get("runtime_mappings") or {}
        self._time = job["data_description"]["time_field"]
        self._summary = job["analysis_config"].get("summary_count_field_name")
        self.fields = [name for name in analysed_fields(job["analysis_config"]) if name != self._summary]
        self.searches = 0
        self._histogram = Histogram.of(datafeed["aggregations"]) if "aggregations" in datafeed else None
        self.check()

    def check(self) -> None:
        """Refuse what cannot be read; also done before a datafeed starts."""
        datafeed_id = self._config["datafeed_id"]
        indices = self._indices()
        if not indices:
            listed = ", ".join(self._config["indices"])
            raise not_found(
                f"datafeed [{datafeed_id}] cannot retrieve data because no index matches datafeed's indices [{listed}]"
            )
        runtime = parse_runtime_fields(self._runtime)
        if self._histogram is not None:
            return
        extra = [self._summary] if self._summary and self._summary != "doc_count" else []
        for name in [self._time, *self.fields, *extra]:
            found = [runtime[name].type] if name in runtime else [
                index.mapping.fields[name].type for index in indices if name in index.mapping.fields
            ]  # fmt: skip
            if not found:
                raise bad_request(f"[{datafeed_id}] cannot retrieve field [{name}] because it has no mappings")
            if name == self._time and not {"date", "date_nanos"} & set(found):
                raise bad_request(f"[{datafeed_id}] field [{name}] is of type [{found[0]}] "
                                  "and cannot be the time field")  # fmt: skip

    def _indices(self) -> list[Any]:
        options = self._config["indices_options"]
        try:
            return self._backend.indices.resolve(
                ",".join(self._config["indices"]), allow_no_indices=options["allow_no_indices"],
                ignore_unavailable=options["ignore_unavailable"],
                expand_wildcards=",".join(options["expand_wildcards"]) or "none",
            )  # fmt: skip
        except ElasticError as error:
            if error.status != 404:
                raise
            raise not_found(
                f"datafeed [{self._config['datafeed_id']}] cannot retrieve data because index "
                f"[{error.metadata.get('index', ','.join(self._config['indices']))}] does not exist"
            ) from None

    def _query(self, start: int | None, end: int | None) -> dict[str, Any]:
        bounds: dict[str, Any] = {"format": "epoch_millis"}
        if start is not None:
            bounds["gte"] = start
        if end is not None:
            bounds["lt"] = end
        return {"bool": {"filter": [self._config["query"], {"range": {self._time: bounds}}]}}

    def _plan(self, snapshot: Any, start: int | None, end: int | None, *names: str) -> Plan:
        """The search of a range, which will read the fields ``names``.

        :raises ElasticError: 400 when it failed on any index, as in Elasticsearch, which takes no part for the whole
        """
        from elastic_sandbox.search.plan import make_plan
        from elastic_sandbox.search.query_parser import query_of

        self.searches += 1
        uses = RuntimeMappings(self._runtime, (self._time, *names))
        plan = make_plan(self._backend, snapshot, query_of(self._query(start, end)), runtime=uses)
        if self._runtime and plan.failures:
            raise all_shards_failed(plan.failures, plan.node)
        return plan

    def chunks(self, start: int, end: int, span_ms: int) -> Iterator[tuple[int, int]]:
        """Cut a range into (start, end) of so many records each, on whole buckets, skipping what is empty before."""
        summary = self._summarise(start, end)
        if summary is None:
            return
        count, first, last = summary
        chunking = self._config["chunking_config"]
        if chunking["mode"] == "manual":
            from elastic_sandbox.http import duration_seconds

            width = int(duration_seconds(chunking["time_span"], "time_span") * 1000)
        else:
            width = int((last - first + 1) * _RECORDS / max(count, 1))
        width = max(span_ms, width - width % span_ms)
        at = first - first % span_ms
        while at <= last:
            yield max(at, start), min(at + width, end)
            at += width

    def _summarise(self, start: int, end: int) -> tuple[int, int, int] | None:
        with self._backend.documents.view(sorted(self._indices(), key=lambda index: index.name)) as snapshot:
            plan = self._plan(snapshot, start, end)
            sql = plan.union(lambda view: f"{self._column(view, self._time, 'BIGINT', multi=False)} AS t")
            row = plan.run(f"SELECT count(*), min(t), max(t) FROM ({sql})").fetchone()
        return None if row is None or not row[0] else (row[0], row[1], row[2])

    def read(self, start: int | None, end: int | None, limit: int | None = None) -> Records:
        """The records of a range of time, sorted; of equal times in index order."""
        if self._histogram is not None:
            return self._aggregated(start, end, limit)
        indices = sorted(self._indices(), key=lambda index: index.name)
        extra = [self._summary] if self._summary and self._summary not in self.fields else []
        names = [*self.fields, *extra]
        with self._backend.documents.view(indices) as snapshot:
            plan = self._plan(snapshot, start, end, *names)
            columns = self._columns(plan, names, limit)
        times = np.array(columns.pop(self._time), dtype=np.int64)
        counts = None
        if self._summary:
            given = columns.pop(self._summary) if self._summary in columns else [1] * len(times)
            counts = np.array([float(value or 0) for value in given])
        return Records(times, columns, counts)

    @staticmethod
    def _from_source(view: IndexView, name: str) -> bool:
        mapped = view.fields.get(name)
        return mapped is not None and (mapped.nested is not None or view.target(name).kind not in _SQL)  # type: ignore[union-attr]

    @staticmethod
    def _column(view: IndexView, name: str, sql_type: str, *, multi: bool) -> str:
        target = view.target(name)
        if target is None or target.sql is None:
            return f"NULL::{sql_type}{'[]' if multi else ''}"
        if multi:
            return f"{target.sql}::{sql_type}[]" if target.multi else f"[{target.sql}]::{sql_type}[]"
        return f"{target.sql}[1]::{sql_type}" if target.multi else f"{target.sql}::{sql_type}"

    def _columns(self, plan: Plan, names: list[str], limit: int | None) -> dict[str, list[Any]]:
        sourced = [name for name in names if any(self._from_source(view, name) for view in plan.views)]
        shapes = []
        for name in names:
            if name in sourced:
                continue
            targets = [target for view in plan.views if (target := view.target(name)) is not None]
            kinds = {_SQL[target.kind] for target in targets}
            shapes.append((name, kinds.pop() if len(kinds) == 1 else "VARCHAR", any(t.multi for t in targets),
                           any(t.kind == "ip" for t in targets)))  # fmt: skip

        def select(view: IndexView) -> str:
            listed = "".join(
                f", {self._column(view, name, kind, multi=multi)} AS f{number}"
                for number, (name, kind, multi, _) in enumerate(shapes)
            )
            listed += ", _source" if sourced else ""
            return f"{view.ordinal} AS i, _seq_no, {self._column(view, self._time, 'BIGINT', multi=False)} AS t{listed}"

        if not plan.views:
            return {self._time: [], **{name: [] for name in names}}
        cut = "" if limit is None else f" LIMIT {limit}"
        found = plan.run(f"SELECT * FROM ({plan.union(select)}) ORDER BY t, i, _seq_no{cut}").fetchnumpy()
        columns = {self._time: found["t"].tolist()}
        for number, (name, _, multi, address) in enumerate(shapes):
            values = found[f"f{number}"].tolist()
            if multi:
                values = [None if v is None else v[0] if len(v) == 1 else list(v) for v in values]
            if address:
                values = [None if v is None else ip_from_column(v) for v in values]
            columns[name] = values
        if sourced:
            documents = [orjson.loads(text) for text in found["_source"].tolist()]
            columns |= {name: list(map(reader(name), documents)) for name in sourced}
        return columns

    # Aggregations ---------------------------------------------------------------------------------------------------

    def _aggregated(self, start: int | None, end: int | None, limit: int | None) -> Records:
        rows = sorted(self.flattened(start, end, limit), key=lambda row: row[self._time])
        times = np.array([int(row[self._time]) for row in rows], dtype=np.int64)
        counts = np.array([float(row.get(self._summary) or 0) for row in rows])
        return Records(times, {name: [row.get(name) for row in rows] for name in self.fields}, counts)

    def flattened(self, start: int | None, end: int | None, limit: int | None = None) -> list[dict[str, Any]]:
        """One flat object per leaf of the aggregations (Elasticsearch's `AggregationToJsonProcessor`)."""
        from elastic_sandbox.search.request import parse_body

        assert self._histogram is not None
        indices = sorted(self._indices(), key=lambda index: index.name)
        histogram, definition = self._histogram, self._config["aggregations"][self._histogram.name]
        rows: list[dict[str, Any]] = []
        after: dict[str, Any] | None = None
        while True:
            self.searches += 1
            body = dict(definition)
            if histogram.kind == "composite":
                paged = {**definition["composite"], "size": definition["composite"].get("size", _PAGE)}
                body["composite"] = paged if after is None else {**paged, "after": after}
            request = parse_body({"size": 0, "query": self._query(start, end), "aggs": {histogram.name: body},
                                  "runtime_mappings": self._runtime})  # fmt: skip
            found = self._backend.search.search(indices, request)
            if self._runtime and found["_shards"]["failed"]:
                raise ElasticError(400, "search_phase_execution_exception", "Partial shards failure", phase="query",
                                   failed_shards=found["_shards"]["failures"])  # fmt: skip
            answer = found.get("aggregations", {}).get(histogram.name, {})
            for bucket in answer.get("buckets", []):
                base = {self._time: self._bucket_time(bucket)}
                if base[self._time] is None:
                    continue  # an empty bucket has no time
                if histogram.kind == "composite":
                    dated = {
                        name for source in paged["sources"] for name, one in source.items() if "date_histogram" in one
                    }
                    base |= {name: value for name, value in bucket["key"].items() if name not in dated}
                rows += self._leaves(bucket, histogram.below, base)
                if limit is not None and len(rows) >= limit:
                    return rows[:limit]
            after = answer.get("after_key")
            if histogram.kind != "composite" or after is None or not answer.get("buckets"):
                return rows

    def _bucket_time(self, bucket: dict[str, Any]) -> int | None:
        assert self._histogram is not None
        for name, sub in self._histogram.below.items():
            if sub.get("max", {}).get("field") == self._time:
                value = bucket[name]["value"]
                return None if value is None else int(value)
        return None

    def _leaves(self, bucket: dict[str, Any], below: dict[str, Any], base: dict[str, Any]) -> list[dict[str, Any]]:
        row, nested = dict(base), []
        for name, sub in below.items():
            found = bucket.get(name)
            if not isinstance(found, dict) or sub.get("max", {}).get("field") == self._time:
                continue
            if "buckets" in found:
                nested.append((name, sub.get("aggregations", sub.get("aggs")) or {}, found["buckets"]))
            elif "value" in found and found["value"] is not None:
                row[name] = found["value"]
            elif "values" in found:
                row[name] = next(iter(found["values"].values()))
        if len(nested) > 1:
            raise bad_request("Multiple bucket aggregations at the same level are not supported by datafeeds")
        if nested:
            [(name, sub, buckets)] = nested
            return [leaf for one in buckets for leaf in self._leaves(one, sub, row | {name: one["key"]})]
        if self._summary == "doc_count":
            row["doc_count"] = bucket["doc_count"]
        return [row]
