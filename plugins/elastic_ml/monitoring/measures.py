"""The figures of one monitored day, each from as few requests as it takes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from elastic_ml.clients.documents import IN_HISTORY, dig
from elastic_ml.clients.esql import run_query
from elastic_ml.evaluation.drift import count_like, daily_reference, distance, drift_limit, row_text
from elastic_ml.evaluation.model_card import baseline_of
from elastic_ml.exceptions import ConflictError, NotFoundError
from elastic_ml.monitoring.findings import Finding
from elastic_ml.monitoring.operations_log import iso
from elastic_ml.project.clock import clock_features

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project

SAMPLE = 10_000
"""Events of a window that are looked at; of that many, chance moves PSI by less than 0.01."""
FEWEST = 50
"""Rows below which nothing is said of a distribution."""
CALENDAR = frozenset({"audit.weekday", "audit.holiday", "audit.date"})
"""What `@normalize` reads off the calendar: drift in it would say what day it is."""
LONGEST_WINDOW = 7
COVERAGE_LIMIT = 0.95
PRECISION_SHARE = 0.5
"""Share of the holdout's precision at review capacity below which a day's precision is drift."""
FEWEST_JUDGED = 10
ERROR_SHARE = 1.5
"""How many times the holdout's mean absolute error counts as drift."""
RANKS = {"none": 0, "suspicious": 1, "confirmed": 2, "true": 2}
BASELINE_AFTER = timedelta(hours=24)
BASELINE_PREDICTIONS = 500


class Measures:
    """Measures one day of one version.

    :param version: the champion, or an outlier model's results index.
    :param card: the champion's card; None for outlier models and for champions without one.
    """

    def __init__(
        self,
        client: "Elasticsearch",
        project: "Project",
        model: "Model",
        version: str,
        card: Mapping[str, Any] | None,
        day: date,
    ) -> None:
        self.client = client
        self.project = project
        self.names = project.names
        self.model = model
        self.version = version
        self.card = card
        self.start = datetime.combine(day, datetime.min.time(), UTC)
        self.end = self.start + timedelta(days=1)
        self.sentences: list[str] = []
        """About what could not be judged."""

    def findings(self) -> list[Finding]:
        """Return everything there is to say of the day."""
        if not self.model.supervised:
            return self._drift(self._results_baseline())
        if self.card is None:
            self.sentences.append(
                f"The champion {self.version} has no model card, so nothing says what drift would be. Train and "
                "promote a model to get one."
            )
            return [*self._coverage(), *self._performance()]
        return [*self._drift(self.card.get("baseline") or {}), *self._coverage(), *self._performance()]

    # drift

    def _drift(self, baseline: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
        start, rows = self._window(baseline)
        if rows < FEWEST:
            self.sentences.append(f"{rows} events until {iso(self.end)}: too few to judge their distribution.")
            return []
        sample = self._sample(start)
        quiet = start < self.start
        note = f"of the events since {start:%Y-%m-%d}, as the day itself is a quiet one" if quiet else ""
        # What the model's own pipelines compute is in no event.
        unseen = CALENDAR.union(clock_features(self.project, self.model))
        found = []
        for feature, histogram in baseline.items():
            if feature in unseen or (feature != "_score" and feature not in self.model.features):
                continue
            values = self._values(feature, histogram, sample)
            if len(values) < FEWEST:
                if feature == "_score":
                    self.sentences.append(f"{len(values)} events with a score of {self.version}: too few to judge.")
                continue
            psi = distance(dict(histogram), count_like(dict(histogram), values))
            limit = drift_limit(dict(histogram), self.model.monitor.psi_limit)
            found.append(Finding(feature, breached=psi > limit, limit=limit, psi=psi, quiet=quiet, note=note))
        return found

    def _window(self, baseline: Mapping[str, Mapping[str, Any]]) -> tuple[datetime, int]:
        """Return where the shortest window starts that ends with the day and holds a usual one, and its events.

        Weekends and holidays have a few sessions of a few people: by themselves they differ from everything.
        """
        fewest = max(float(((baseline.get("_score") or {}).get("days") or {}).get("fewest", 0)), FEWEST)
        first = self.end - timedelta(days=LONGEST_WINDOW)
        answer = self.client.search(
            index=self.model.source.index,
            size=0,
            track_total_hits=False,
            query=self._events(first, self.end),
            aggs={"days": {"date_histogram": {"field": "@timestamp", "calendar_interval": "day", "time_zone": "UTC"}}},
        )
        counts = {bucket["key"] // 1000: bucket["doc_count"] for bucket in answer["aggregations"]["days"]["buckets"]}
        start, rows = self.start, counts.get(int(self.start.timestamp()), 0)
        newest = rows
        # An empty day is an outage, not a quiet day: what came before says nothing about it.
        while rows > 0 and newest < fewest and start > first:
            start -= timedelta(days=1)
            newest = counts.get(int(start.timestamp()), 0)
            rows += newest
        return start, rows

    def _sample(self, start: datetime) -> list[dict[str, Any]]:
        body = self.project.templates.render(
            "model/random_sample.json.j2",
            size=SAMPLE,
            fields=[*self.model.features, f"ml.{self.model.name}.score", f"ml.{self.model.name}.model_id"],
            query=self._events(start, self.end),
        )
        body["source"] = body.pop("_source")
        hits = self.client.search(index=self.model.source.index, **body)["hits"]["hits"]
        return [hit["_source"] for hit in hits]

    def _values(self, feature: str, histogram: Mapping[str, Any], sample: Sequence[Mapping[str, Any]]) -> list[Any]:
        if feature == "_score":
            scored = [dig(row, f"ml.{self.model.name}") or {} for row in sample]
            return [s["score"] for s in scored if s.get("model_id") == self.version and s.get("score") is not None]
        raw = [dig(row, feature) for row in sample]
        if histogram["kind"] == "numeric":
            # As the card was made: the first number of a list.
            return [next(iter(value), None) if isinstance(value, list) else value for value in raw]
        return [row_text(value) for value in raw]

    def _results_baseline(self) -> dict[str, Any]:
        """Histograms of the rows that an outlier model's published run has scored."""
        body = self.project.templates.render(
            "model/random_sample.json.j2",
            size=SAMPLE,
            fields=["@timestamp", *self.model.features],
            query={"match_all": {}},
        )
        body["source"] = body.pop("_source")
        rows = [hit["_source"] for hit in self.client.search(index=self.version, **body)["hits"]["hits"]]
        if len(rows) < FEWEST:
            self.sentences.append(f"{self.version} holds {len(rows)} rows: too few to compare a day with.")
            return {}
        days = [str(row.get("@timestamp", ""))[:10] for row in rows]
        found = {}
        for feature in self.model.features:
            values = [row_text(dig(row, feature)) for row in rows]
            histogram = baseline_of(values)
            found[feature] = {**histogram, "days": daily_reference(histogram, values, days)}
        return found

    # coverage

    def _coverage(self) -> list[Finding]:
        """Share of the day's events since the first promotion that have a score, an error counting as none."""
        since = self._first_promotion()
        # A promotion after the day's end is none for events that come in batches: theirs follow it.
        if since is None:
            return []
        score = f"ml.{self.model.name}.score"
        fresh = {"range": {"event.ingested": {"gte": iso(since)}}}
        answer = self.client.search(
            index=self.model.source.index,
            size=0,
            track_total_hits=True,
            query={
                "bool": {
                    "filter": [self._events(self.start, self.end), fresh],
                    "must_not": IN_HISTORY,
                }
            },
            aggs={"scored": {"filter": {"exists": {"field": score}}}},
        )
        events, scored = answer["hits"]["total"]["value"], answer["aggregations"]["scored"]["doc_count"]
        if events == 0:
            return []
        share = scored / events
        return [
            Finding(
                "_coverage",
                breached=share < COVERAGE_LIMIT,
                limit=COVERAGE_LIMIT,
                value=share,
                retrains=False,
                note=f"{scored:,} of {events:,} events have a score",
            )
        ]

    def _first_promotion(self) -> datetime | None:
        hits = self.client.search(
            index=self.names.registry,
            size=1,
            query={
                "bool": {
                    "filter": [
                        {"term": {"model_name": self.model.name}},
                        {"term": {"event_type": "deployed"}},
                        {"term": {"status": "success"}},
                    ]
                }
            },
            sort=[{"@timestamp": "asc"}],
            source={"includes": ["@timestamp"]},
        )["hits"]["hits"]
        return datetime.fromisoformat(hits[0]["_source"]["@timestamp"]) if hits else None

    # precision and error

    def _performance(self) -> list[Finding]:
        label = self.model.label
        if label is None:
            return []
        if self.model.kind == "regression":
            return self._error(str(label.field))
        # The verdicts of a day are complete `label_delay` later; a label in the event itself is there at once.
        delay = self.model.label_delay if label.verdicts else timedelta(0)
        start = self.start - timedelta(days=-(-delay // timedelta(days=1)))
        rows = run_query(
            self.client, self._reviewed_query(), filter=self._reviewed_filter(start), parameters=self._parameters()
        )
        if not rows or (rows[0]["judged"] or 0) < FEWEST_JUDGED:
            return []
        row = rows[0]
        precision = row["found"] / row["reviewed"]
        holdout = ((self.card or {}).get("metrics") or {}).get("challenger", {}).get("review", {}).get("precision")
        limit = None if holdout is None else PRECISION_SHARE * float(holdout)
        return [
            Finding(
                "_precision",
                breached=limit is not None and precision < limit,
                limit=limit,
                value=precision,
                note=f"of the {row['reviewed']} highest scores of {start:%Y-%m-%d}, {row['judged']} of them judged",
            )
        ]

    def _parameters(self) -> list[Any]:
        label = self.model.label
        assert label is not None
        return [{"positive": str(label.positive_class)}] if label.field else []

    def _reviewed_query(self) -> str:
        """ES|QL: of the highest scores, as many as people review a day, how many were right."""
        label, serve = self.model.label, self.model.serve
        assert label is not None
        capacity = serve.review_capacity if serve else 50
        score = f"ml.{self.model.name}.score"
        streams = ", ".join(self.model.source.index)
        if label.verdicts == "by_user_hour":
            rank = RANKS.get(str(label.positive_class), 2)
            # By the first score: a late event writes its user-hour again, with a score that nobody reviewed.
            return (
                f"FROM {self.names.predictions}"
                " | WHERE value IS NOT NULL AND user_hour IS NOT NULL"
                f" | SORT value DESC | LIMIT {capacity} | KEEP user_hour, value"
                f" | LOOKUP JOIN {self.names.labels} ON user_hour"
                " | STATS highest = MAX(rank) BY user_hour"
                f" | STATS found = COUNT(*) WHERE highest >= {rank}, judged = COUNT(*) WHERE highest IS NOT NULL,"
                " reviewed = COUNT(*)"
            )
        if label.verdicts == "by_event":
            event_id = self._event_id()
            return (
                f"FROM {streams} METADATA _id | WHERE {score} IS NOT NULL{event_id}"
                f" | SORT {score} DESC | LIMIT {capacity} | KEEP event.id, {score}"
                f" | LOOKUP JOIN {self.names.labels} ON event.id"
                ' | STATS found = COUNT(*) WHERE verdict == "confirmed", judged = COUNT(*) WHERE verdict IS NOT NULL,'
                " reviewed = COUNT(*)"
            )
        return (
            f"FROM {streams} | WHERE {score} IS NOT NULL | SORT {score} DESC | LIMIT {capacity}"
            f" | EVAL truth = TO_STRING({label.field})"
            " | STATS found = COUNT(*) WHERE truth == ?positive, judged = COUNT(*) WHERE truth IS NOT NULL,"
            " reviewed = COUNT(*)"
        )

    def _event_id(self) -> str:
        """ES|QL that makes the document's id the event's where the streams' managers give none."""
        streams = self.model.source.index
        if all((stream := self.names.stream(index)) is None or stream.managed for index in streams):
            return ""
        mapped = self.client.field_caps(index=streams, fields=["event.id"])["fields"]
        return f" | EVAL event.id = {'COALESCE(event.id, _id)' if mapped else '_id'}"

    def _reviewed_filter(self, start: datetime) -> dict[str, Any]:
        end = start + timedelta(days=1)
        assert self.model.label is not None
        if self.model.label.verdicts != "by_user_hour":
            return self._events(start, end)
        scored = [{"term": {"event_type": "scored"}}, {"term": {"model_name": self.model.name}}]
        return {"bool": {"filter": [*scored, _between(start, end)]}}

    def _error(self, field: str) -> list[Finding]:
        score = f"ml.{self.model.name}.score"
        rows = run_query(
            self.client,
            f"FROM {', '.join(self.model.source.index)} | WHERE {score} IS NOT NULL AND {field} IS NOT NULL"
            f" | STATS error = AVG(ABS({score} - TO_DOUBLE({field}))), events = COUNT(*)",
            filter=self._events(self.start, self.end),
        )
        if not rows or (rows[0]["events"] or 0) < FEWEST:
            return []
        metrics = ((self.card or {}).get("metrics") or {}).get("challenger", {})
        holdout = (metrics.get("mean_absolute_error") or {}).get("value")
        limit = None if holdout is None else ERROR_SHARE * float(holdout)
        error = float(rows[0]["error"])
        note = f"mean absolute error of {rows[0]['events']:,} events"
        return [Finding("_error", breached=limit is not None and error > limit, limit=limit, value=error, note=note)]

    # latency

    def fill_latency_baseline(self) -> list[str]:
        """Keep the 99th percentile of each version's latency, once it was served long enough; return what was filled.

        The same aggregation as the alert rule's, which compares with it: over a pipeline's rows both are percentiles of
        interval means.
        """
        rows = run_query(
            self.client,
            f"FROM {self.names.predictions}"
            ' | WHERE event_type == "predict" AND model_name == ?model AND latency_ms IS NOT NULL'
            " | STATS p99 = PERCENTILE(latency_ms, 99), predictions = SUM(count), since = MIN(@timestamp)"
            " BY model_version",
            parameters=[{"model": self.model.name}],
            filter={"range": {"@timestamp": {"lte": iso(self.end)}}},
        )
        filled = []
        for row in rows:
            long_enough = self.end - datetime.fromisoformat(row["since"]) >= BASELINE_AFTER
            if long_enough and row["predictions"] >= BASELINE_PREDICTIONS and row["model_version"]:
                key = f"{self.model.name}@{row['model_version']}"
                if self._fill(key, float(row["p99"])):
                    filled.append(key)
        return filled

    def _fill(self, key: str, p99: float) -> bool:
        document = {"model_key": key, "baseline_p99_ms": round(p99, 3), "measured_at": iso(self.end)}
        condition: dict[str, Any] = {"op_type": "create"}
        try:
            there = self.client.get(index=self.names.baselines, id=key)
        except NotFoundError:
            pass
        else:
            if there["_source"].get("baseline_p99_ms") is not None:
                return False
            condition = {"if_seq_no": there["_seq_no"], "if_primary_term": there["_primary_term"]}
        try:
            self.client.index(index=self.names.baselines, id=key, document=document, refresh=True, **condition)
        except ConflictError:
            return False  # somebody filled it in between
        return True

    # queries

    def _events(self, start: datetime, end: datetime) -> dict[str, Any]:
        return {"bool": {"filter": [self.model.source.query, _between(start, end)]}}


def _between(start: datetime, end: datetime) -> dict[str, Any]:
    return {"range": {"@timestamp": {"gte": iso(start), "lt": iso(end)}}}
