"""Is there enough to learn from, and will the result be worth serving? The checks and what they found."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from elastic_ml.clients.documents import batches, dig, in_object_list
from elastic_ml.evaluation.ranking import single_feature_auc
from elastic_ml.exceptions import NotFoundError
from elastic_ml.ingest.arrivals import feeding
from elastic_ml.ingest.history import month_bounds, unsealed_history
from elastic_ml.project.clock import clock_features
from elastic_ml.project.unmanaged_streams import obstacles
from elastic_ml.training.features import NUMERIC_TYPES, feature_types
from elastic_ml.training.judged_rows import judged_rows

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.training.judged_rows import JudgedRows
    from elastic_ml.training.run import TrainingRun

FEWEST_PER_CLASS = 50
FEWEST_POSITIVES_IN_HOLDOUT = 10
SAMPLE = 3000
MENTIONED = 10
LARGEST_SKIPPED = 0.01
LEAK_AUC = 0.995
SUSPICIOUS_AUC = 0.95


class Report:
    """What was found: each no-go and each warning is a sentence with its remedy.

    :param figures: counts of documents and classes per window.
    :param features: one row per feature: type, missing and distinct values, AUC alone.
    """

    def __init__(self) -> None:
        self.no_go: list[str] = []
        self.warnings: list[str] = []
        self.figures: dict[str, Any] = {}
        self.features: list[dict[str, Any]] = []

    def to_json(self) -> dict[str, Any]:
        """Return the report as the task's result."""
        return {
            "go": not self.no_go,
            "no_go": self.no_go,
            "warnings": self.warnings,
            **self.figures,
            "features": self.features,
        }

    def table(self) -> str:
        """Return the features as a table for the task's log."""
        rows = [("feature", "type", "missing", "distinct", "AUC alone")]
        for item in self.features:
            alone = item.get("auc")
            rows.append(
                (
                    item["feature"],
                    item["type"] or "unmapped",
                    f"{item['missing']:.1%}",
                    str(item["distinct"]),
                    "" if alone is None else f"{alone:.3f}",
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def examine(client: "Elasticsearch", run: "TrainingRun") -> Report:
    """Run every check and collect what it says."""
    report = Report()
    _check_objects(client, run, report)
    types = feature_types(client, run.project, run.model, report.no_go)
    windows = [("train", run.train_start, run.holdout_start)]
    if run.model.supervised:
        windows.append(("holdout", run.holdout_start, run.holdout_end))
    for window, start, end in windows:
        query = run.query(start, end)
        total = int(client.count(index=run.model.source.index, query=query)["count"])
        report.figures[window] = {
            "documents": total,
            "from": run.windows[f"{window}_start"],
            "to": run.windows[f"{window}_end"],
        }
    _check_history(client, run, report)
    _check_partitions(client, run, report)
    if report.figures["train"]["documents"] == 0:
        report.no_go.append(
            f"{', '.join(run.model.source.index)} has no document between {run.windows['train_start']} and "
            f"{run.windows['train_end']}: ingest that window, or give another `day`."
        )
        return report
    if run.model.supervised and report.figures["holdout"]["documents"] == 0:
        report.no_go.append(
            f"There is nothing to judge on between {run.windows['holdout_start']} and {run.windows['holdout_end']}: "
            "ingest that window, or give another `day`."
        )
    judged = _check_classes(client, run, report)
    _check_features(client, run, report, types, judged)
    return report


def _check_objects(client: "Elasticsearch", run: "TrainingRun", report: Report) -> None:
    names, model = run.project.names, run.model
    remedy = "run the DAG elastic_setup with mode=apply (a new model file needs it)."
    if model.label is not None:
        try:
            client.ingest.get_pipeline(id=run.label_pipeline)
        except NotFoundError:
            report.no_go.append(f"The pipeline {run.label_pipeline} is missing: {remedy}")
    if model.serve is not None:
        called = _called_pipelines(client, model.serve.pipeline)
        if called is None:
            report.no_go.append(f"The pipeline {model.serve.pipeline}, where scoring hooks in, is missing: {remedy}")
        elif names.score_pipeline(model.name) not in called:
            report.no_go.append(
                f"The pipeline {model.serve.pipeline} does not call {names.score_pipeline(model.name)}: {remedy}"
            )
    managed = [s for s in model.source.index if (stream := names.stream(s)) is not None and stream.managed]
    if managed and model.serve is not None:
        field_name = f"ml.{model.name}.score"
        found = client.field_caps(index=managed, fields=[field_name], ignore_unavailable=True)["fields"]
        if field_name not in found:
            report.no_go.append(
                f"{', '.join(managed)} does not map {field_name}, so scores could not be searched: {remedy}"
            )
    report.no_go += obstacles(client, run.project, model)


def _check_history(client: "Elasticsearch", run: "TrainingRun", report: Report) -> None:
    """Months of the windows that were read and are in no stream yet: no search, and so no training, sees them."""
    names = run.project.names
    streams = [stream.name for stream in names.audit_streams if stream.name in run.model.source.index]
    if names.features is not None and set(run.model.source.index) - set(streams):
        # User-hours are computed over every audit stream, from what is sealed.
        streams = [stream.name for stream in names.audit_streams]
    waiting: dict[str, list[str]] = {}
    for index in unsealed_history(client, streams):
        start, end = month_bounds(index.month)
        if start < run.holdout_end and end > run.train_start and index.month not in waiting.get(index.stream, []):
            waiting.setdefault(index.stream, []).append(index.month)
    for stream, months in waiting.items():
        report.warnings.append(
            f"{', '.join(months)} of {stream} {'is' if len(months) == 1 else 'are'} not sealed: what was read of "
            f"{'it' if len(months) == 1 else 'them'} is in no search and not learned from. Ingest the month's missing "
            "partitions (GET ml-ledger/_search shows which are done); the last one seals it."
        )


def _check_partitions(client: "Elasticsearch", run: "TrainingRun", report: Report) -> None:
    """Partitions of the window that nobody ever took: a hole in the verdicts makes fraud look honest."""
    first = run.train_start.date()
    # A file that cannot be read was named by the sensor before this task.
    for name, source, judges in feeding(run.project, run.model, warn=lambda *_: None):
        days = [first + timedelta(days=n) for n in range((run.day - first).days)]
        keys = [
            f"{day}{hour}"
            for day in days
            if day >= source.start_date
            for hour in ([f"T{n:02}" for n in range(24)] if source.partition == "hour" else [""])
        ]
        ids = {run.project.names.partition_id(name, key): key for key in keys}
        missing = [
            ids[one] for chunk in batches(list(ids)) for one in _unknown(client, run.project.names.ledger, chunk)
        ]
        if missing:
            shown = f"{', '.join(missing[:MENTIONED])}{' ...' if len(missing) > MENTIONED else ''}"
            ingest = run.project.names.dag_id("audit_ingest" if source.partition == "day" else "audit_ingest_hourly")
            report.warnings.append(
                f"{len(missing)} of {len(ids)} partitions of source {name} were never taken ({shown})"
                f"{': what they judge counts as not judged' if judges else ''}. Run {ingest} for them, then clear this "
                "task."
            )


def _unknown(client: "Elasticsearch", ledger: str, ids: Sequence[str]) -> list[str]:
    found = client.mget(index=ledger, ids=ids, source=False)["docs"]
    return [document["_id"] for document in found if not document.get("found")]


def _called_pipelines(client: "Elasticsearch", pipeline: str) -> set[str] | None:
    try:
        body = client.ingest.get_pipeline(id=pipeline)[pipeline]
    except NotFoundError:
        return None
    return {p["pipeline"]["name"] for p in body["processors"] if "pipeline" in p}


def _check_classes(client: "Elasticsearch", run: "TrainingRun", report: Report) -> "JudgedRows | None":
    model, label = run.model, run.model.label
    if model.kind != "classification" or label is None:
        return None
    positive = str(label.positive_class)
    judged = judged_rows(client, run, label) if label.verdicts else None
    windows = (
        ("train", run.train_start, run.holdout_start, FEWEST_PER_CLASS),
        ("holdout", run.holdout_start, run.holdout_end, FEWEST_POSITIVES_IN_HOLDOUT),
    )
    for window, start, end, fewest in windows:
        query, figures = run.query(start, end), report.figures[window]
        if judged is None:
            answer = client.search(
                index=model.source.index,
                size=0,
                query=query,
                aggs={"classes": {"terms": {"field": label.field, "size": 30}}},
            )
            buckets = answer["aggregations"]["classes"]["buckets"]
            figures["classes"] = {str(b.get("key_as_string", b["key"])): int(b["doc_count"]) for b in buckets}
        else:
            found = judged.counts(client, model.source.index, query)
            figures["classes"] = {**found, judged.rest: figures["documents"] - sum(found.values())}
        classes = figures["classes"]
        short = {name: count for name, count in classes.items() if count < fewest}
        if window == "holdout":
            short = {positive: classes.get(positive, 0)} if classes.get(positive, 0) < fewest else {}
        if len(classes) < 2 or short:
            counts = ", ".join(f"{name}: {count}" for name, count in sorted(classes.items())) or "no label at all"
            report.no_go.append(
                f"The {window} window has too few of a class ({counts}; at least {fewest} needed): wait for verdicts, "
                f"or widen `{window}_window`."
            )
    classes = report.figures["train"].get("classes", {})
    if classes and min(classes.values()) > 0:
        ratio = max(classes.values()) / min(classes.values())
        report.figures["class_ratio"] = round(ratio, 1)
        if ratio > 10:
            report.warnings.append(
                f"One class is {ratio:.0f} times as frequent as the rarest; the training set keeps at most 10:1 and "
                "scores are corrected for it."
            )
    return judged


def _check_features(
    client: "Elasticsearch",
    run: "TrainingRun",
    report: Report,
    types: Mapping[str, str],
    judged: "JudgedRows | None",
) -> None:
    computed = clock_features(run.project, run.model)
    features = [feature for feature in types if feature not in computed]
    if not features:
        return
    query = run.query(run.train_start, run.holdout_start)
    body = run.project.templates.render("model/readiness.json.j2", features=features, query=query)
    answer = client.search(index=run.model.source.index, **body)
    total = report.figures["train"]["documents"]
    for number, feature in enumerate(features):
        missing = answer["aggregations"][f"missing_{number}"]["doc_count"] / total
        distinct = int(answer["aggregations"][f"distinct_{number}"]["value"])
        report.features.append(
            {"feature": feature, "type": types[feature], "missing": missing, "distinct": distinct, "auc": None}
        )
        if missing == 1:
            report.no_go.append(
                f"The feature {feature} is empty in the whole training window: correct its name, or leave it out."
            )
        elif missing > 0.5:
            report.warnings.append(f"The feature {feature} is missing in {missing:.0%} of the training window.")
        if distinct == 1 and missing == 0:
            report.warnings.append(
                f"The feature {feature} has one single value in the training window and teaches nothing."
            )
        if types[feature] == "keyword" and total >= 1000 and distinct > 0.5 * total:
            report.no_go.append(
                f"The feature {feature} is different in nearly every event ({distinct:,} values): an identifier is "
                "learned by heart, not understood; leave it out."
            )
    if run.model.kind == "classification":
        _check_leakage(client, run, report, query, judged)
    elif not run.model.supervised:
        _check_complete(client, run, report, query)


def _check_leakage(
    client: "Elasticsearch",
    run: "TrainingRun",
    report: Report,
    query: Mapping[str, Any],
    judged: "JudgedRows | None",
) -> None:
    import numpy as np

    label = run.model.label
    features = [item["feature"] for item in report.features]
    wanted = [*features, judged.field if judged else str(label.field if label else "")]
    body = run.project.templates.render("model/random_sample.json.j2", size=SAMPLE, fields=wanted, query=query)
    hits = list(client.search(index=run.model.source.index, **body)["hits"]["hits"])
    positive = str(label.positive_class if label else "")
    if judged is None:
        labels = [str(dig(hit["_source"], wanted[-1])).lower() == positive.lower() for hit in hits]
    else:
        known = set(judged.keys.get(positive, ()))
        hits = [hit for hit in hits if judged.key_of(hit) not in known]
        labels = [False] * len(hits)
        for limited, size in judged.queries(query, positive):
            room = SAMPLE - (len(hits) - labels.count(False))
            if room <= 0:
                break
            answer = client.search(
                index=run.model.source.index, query=limited, source={"includes": wanted}, size=min(room, size)
            )
            hits += answer["hits"]["hits"]
            labels += [True] * len(answer["hits"]["hits"])
    for item in report.features:
        feature = item["feature"]
        if any(in_object_list(hit["_source"], feature) for hit in hits):
            report.no_go.append(f"The feature {feature} is in a list of objects: models do not read it; leave it out.")
            continue
        values = [dig(hit["_source"], feature) for hit in hits]
        lists = sum(isinstance(value, list) and len(value) > 1 for value in values)
        if lists and item["type"] in NUMERIC_TYPES:
            report.no_go.append(
                f"The feature {feature} holds several numbers in {lists} of {len(values)} events: index one number."
            )
        elif lists:
            report.warnings.append(
                f"The feature {feature} holds several values in {lists} of {len(values)} events: training joins them."
            )
        column = np.array(_as_column(values, item["type"]))
        area = single_feature_auc(labels, column)
        if np.isnan(area):
            continue
        item["auc"] = round(area, 4)
        if area >= LEAK_AUC:
            report.no_go.append(
                f"The feature {feature} alone separates the classes (AUC {area:.3f}): it is the answer, not a clue "
                "to it; leave it out."
            )
        elif area >= SUSPICIOUS_AUC:
            report.warnings.append(
                f"The feature {feature} alone reaches AUC {area:.3f}: make sure it is known at the time of the event."
            )


def _check_complete(client: "Elasticsearch", run: "TrainingRun", report: Report, query: Mapping[str, Any]) -> None:
    """Outlier detection leaves out every row that lacks a feature or is no single number, without a word."""
    incomplete = [{"bool": {"must_not": {"exists": {"field": item["feature"]}}}} for item in report.features]
    total = report.figures["train"]["documents"]
    limited = {"bool": {"filter": [query], "should": incomplete, "minimum_should_match": 1}}
    skipped = int(client.count(index=run.model.source.index, query=limited)["count"])
    if skipped > LARGEST_SKIPPED * total:
        gaps = ", ".join(f"{item['feature']} {item['missing']:.1%}" for item in report.features if item["missing"])
        report.no_go.append(
            f"{skipped:,} of {total:,} rows lack a feature and would get no score (missing: {gaps}): default them "
            "where the rows are made, or leave these features out."
        )
    for item in report.features:
        if item["type"] not in NUMERIC_TYPES | {"boolean"}:
            report.no_go.append(f"The feature {item['feature']} is a {item['type']}: outlier detection takes numbers.")


def _as_column(values: Sequence[Any], type_: str) -> list[Any]:
    if type_ in NUMERIC_TYPES:
        return [float("nan") if value is None or isinstance(value, list) else float(value) for value in values]
    return [
        "" if value is None else f"={','.join(map(str, value)) if isinstance(value, list) else value}"
        for value in values
    ]
