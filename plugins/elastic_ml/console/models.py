"""Scripts of the stages that a model passes: training, promotion, rollback, monitoring, rescoring, exchange."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from elastic_ml.console.script import Request, Script
from elastic_ml.evaluation.sampling import STEPS, Sampling
from elastic_ml.project.clock import model_clock
from elastic_ml.project.desired_state import enrich_policy
from elastic_ml.registry.champion_switch import score_pipeline
from elastic_ml.training.features import joined_features
from elastic_ml.training.training_set import source_fields

if TYPE_CHECKING:
    from elastic_ml.console.example import Example
    from elastic_ml.project.model import Model
    from elastic_ml.training.run import TrainingRun

MODEL_ID = "${model_id}"
"""Elasticsearch makes it: the job's id and a time. A variable of Console stands for it."""
WHOLE: dict[str, dict[str, float]] = {MODEL_ID: {}}
"""Shares kept in training: by hand nothing is down-sampled, so every class is whole."""
STOPPED = ("data_frame_analytics.0.state", "stopped")


def train(example: Example, model: Model, order: int) -> Script:
    """A training from the verdicts to the figures on the holdout."""
    run = example.run(model.name)
    supervised = model.supervised
    return Script(
        example.project.names.dag_id("train", model.name),
        order,
        f"Learns {model.name} for {run.day}: events of {run.windows['train_start']} to {run.windows['train_end']}"
        + (f", judged on those up to {run.windows['holdout_end']}." if supervised else "."),
        "to see each step of a training. For another day write the scripts anew with --day.",
        "the evaluation: `auc_roc` near 1 is good, 0.5 is guessing; `r_squared` likewise."
        if supervised
        else "the rows with the highest `ml.outlier_score`.",
        "first judges whether the data is ready, down-samples the majority to 10:1 and corrects scores for it, "
        "compares with the model in production on the same rows, writes a model card, and offers the model by an asset."
        if supervised
        else "keeps the newest result behind the alias, whichever run ends last.",
        list(_train(example, run) if supervised else _outliers(example, run)),
    )


def _train(example: Example, run: TrainingRun) -> Iterator[Request]:
    project, model, names = run.project, run.model, run.project.names
    templates, types = project.templates, example.types(run.model)
    verdicts = model.label.verdicts if model.label else None
    if verdicts:
        yield Request(
            "POST",
            f"/_enrich/policy/{enrich_policy(project, verdicts)[0]}/_execute",
            why="Verdicts are joined from a snapshot: take a new one.",
        )
    yield from _training_set(run, types)
    yield from _analysis(run)
    yield Request(
        "GET",
        f"/_ml/trained_models?tags={run.job_id}",
        variable=("model_id", "trained_model_configs.0.model_id"),
        why="The job left a trained model.",
    )
    holdout = templates.render(
        "model/holdout_index.json.j2", fields=types, label_type=run.label_type, kind=model.kind, about=run.about
    )
    yield Request("PUT", f"/{run.holdout_index}", holdout, why="The holdout: events that the model has not seen.")
    pipeline = templates.render(
        "model/holdout.json.j2",
        job=run.job_id,
        kind=model.kind,
        label_pipeline=run.label_pipeline,
        features=model.features,
        clock=model_clock(project, model),
        joined=joined_features(types),
        scorers=[{"field": "challenger", "model_id": MODEL_ID}],
    )
    yield Request("PUT", f"/_ingest/pipeline/{names.holdout_pipeline(run.job_id)}", project.stamp(pipeline))
    query = run.query(run.holdout_start, run.holdout_end)
    yield _reindex(run, run.holdout_index, names.holdout_pipeline(run.job_id), query)
    evaluation = templates.render(
        "model/evaluate.json.j2",
        kind=model.kind,
        scorer="challenger",
        positive_class=model.label.positive_class if model.label else None,
    )
    yield Request("POST", "/_ml/data_frame/_evaluate", {"index": run.holdout_index, **evaluation})
    for name in (names.training_pipeline(run.job_id), names.holdout_pipeline(run.job_id)):
        yield Request("DELETE", f"/_ingest/pipeline/{name}")


def _outliers(example: Example, run: TrainingRun) -> Iterator[Request]:
    names = run.project.names
    yield from _training_set(run, example.types(run.model))
    yield from _analysis(run)
    yield Request("DELETE", f"/_ingest/pipeline/{names.training_pipeline(run.job_id)}")
    add = {"add": {"index": run.results_index, "alias": names.results_alias(run.model.name)}}
    yield Request("POST", "/_aliases", {"actions": [add]}, why="Publishes the result.")
    yield Request(
        "GET",
        f"/{names.results_alias(run.model.name)}/_search",
        {"sort": [{"ml.outlier_score": "desc"}], "size": 10},
    )


def _training_set(run: TrainingRun, types: Mapping[str, str]) -> Iterator[Request]:
    project, model = run.project, run.model
    sampling = Sampling(None, STEPS, {})
    body = project.templates.render(
        "model/train_index.json.j2",
        fields=types,
        label_type=run.label_type if model.supervised else None,
        about=run.about,
    )
    yield Request("PUT", f"/{run.train_index}", body, why="The training set, with the model's fields and no other.")
    pipeline = project.templates.render(
        "model/training.json.j2",
        job=run.job_id,
        label_pipeline=run.label_pipeline if model.supervised else None,
        kept=model.features if model.supervised else source_fields(run),
        clock=model_clock(project, model),
        joined=joined_features(types),
        sampling=sampling,
        sample_field="event.id",
    )
    name = project.names.training_pipeline(run.job_id)
    yield Request("PUT", f"/_ingest/pipeline/{name}", project.stamp(pipeline))
    yield _reindex(run, run.train_index, name, run.query(run.train_start, run.holdout_start))


def _analysis(run: TrainingRun) -> Iterator[Request]:
    about = {key: value for key, value in run.about.items() if key != "version"}
    body = run.analytics_body(train_index=run.train_index, results_index=run.results_index, about=about)
    explained: dict[str, Any] = {key: body[key] for key in ("source", "analysis", "analyzed_fields") if key in body}
    yield Request(
        "POST",
        "/_ml/data_frame/analytics/_explain",
        explained,
        why="What the analysis will need: compare `memory_estimation` with `model_memory_limit` below.",
    )
    job = f"/_ml/data_frame/analytics/{run.job_id}"
    yield Request("PUT", job, body)
    yield Request("POST", f"{job}/_start")
    yield Request("GET", f"{job}/_stats", until=STOPPED)


def _reindex(run: TrainingRun, index: str, pipeline: str, query: Mapping[str, Any]) -> Request:
    source = {"index": list(run.model.source.index), "query": query, "_source": source_fields(run)}
    dest = {"index": index, "pipeline": pipeline, "op_type": "create"}
    return Request(
        "POST",
        "/_reindex?refresh=true&slices=auto",
        {"conflicts": "proceed", "source": source, "dest": dest},
        why="Of much data this takes longer than Console waits: add wait_for_completion=false, and look at the task.",
    )


def promote(example: Example, model: Model, order: int) -> Script:
    """A model into production."""
    project, names = example.project, example.project.names
    alias, name = names.champion(model.name), names.score_pipeline(model.name)
    joined = joined_features(example.types(model))
    tried = score_pipeline(project, model, reference=MODEL_ID, kept=WHOLE, joined=joined)
    bound = project.stamp(score_pipeline(project, model, reference=alias, kept=WHOLE, joined=joined))
    documents = example.documents(model)
    return Script(
        names.dag_id("promote", model.name),
        order,
        f"Lets a trained model score new events as the champion of {model.name}.",
        f"after {names.dag_id('train', model.name)}, whose model the variable `model_id` names.",
        f"the simulations: `ml.{model.name}.score` is set, and there is no `ml.{model.name}.error`.",
        "holds the figures against the gate, asks a person, carries the shares for the correction of scores, keeps the "
        "champion before as `previous`, takes everything back when a simulation fails, and writes the registry.",
        [
            Request(
                "POST",
                "/_ingest/pipeline/_simulate",
                {"pipeline": tried, "docs": documents},
                why="The model is tried by its id, through a pipeline that exists in this request only.",
            ),
            Request(
                "PUT",
                f"/_ml/trained_models/{MODEL_ID}/model_aliases/{alias}?reassign=true",
                why="The alias before the pipeline: one that names a missing alias fails every event. When there is a "
                "champion already, the pipeline comes first.",
            ),
            Request("PUT", f"/_ingest/pipeline/{name}", bound),
            Request("POST", f"/_ingest/pipeline/{name}/_simulate", {"docs": documents}),
        ],
    )


def rollback(example: Example, model: Model, order: int) -> Script:
    """A model out of production."""
    names = example.project.names
    alias, name = names.champion(model.name), names.score_pipeline(model.name)
    return Script(
        names.dag_id("rollback", model.name),
        order,
        f"Takes {model.name} out of scoring. Events are indexed all the same, without a score.",
        "when a model does harm. To go back to another model instead, send only: "
        f"PUT /_ml/trained_models/<its id>/model_aliases/{alias}?reassign=true",
        f"GET /_ml/trained_models/{alias}: 404, since nothing has the alias any more.",
        f"goes back to `{names.previous(model.name)}` or to any version, proves it by a simulation, and writes the "
        "registry.",
        [
            Request("GET", f"/_ml/trained_models/{alias}", variable=("model_id", "trained_model_configs.0.model_id")),
            Request(
                "DELETE",
                f"/_ingest/pipeline/{name}",
                why="The pipeline before the alias. What calls it passes over a pipeline that is missing.",
            ),
            Request("DELETE", f"/_ml/trained_models/{MODEL_ID}/model_aliases/{alias}"),
        ],
    )


def monitor(example: Example, model: Model, order: int) -> Script:
    """A day of a model in production."""
    names, day = example.project.names, example.day.isoformat()
    streams, score = ", ".join(model.source.index), f"ml.{model.name}.score"
    within = f'@timestamp >= TO_DATETIME("{day}T00:00:00Z") - 30 days'
    queries: list[tuple[str, str]] = []
    if model.supervised:
        queries.append((
            "Coverage and scores by day.",
            f"FROM {streams} | WHERE {within} | STATS events = COUNT(*), scored = COUNT({score}), "
            f"mean = AVG({score}), p95 = PERCENTILE({score}, 95) BY day = DATE_TRUNC(1 day, @timestamp) | SORT day",
        ))  # fmt: skip
    queries.append((
        "What was served: counts and latency per version.",
        f'FROM {names.predictions} | WHERE model_name == "{model.name}" AND event_type == "predict" '
        "| STATS n = SUM(count), p99 = PERCENTILE(latency_ms, 99) BY model_version, status",
    ))  # fmt: skip
    queries.append((
        "What the DAG found to have drifted.",
        f'FROM {names.drift} | WHERE model_name == "{model.name}" AND breached == true '
        "| SORT @timestamp DESC | KEEP @timestamp, feature, psi, value, limit | LIMIT 50",
    ))  # fmt: skip
    return Script(
        names.dag_id("monitor", model.name),
        order,
        f"Shows how {model.name} did lately.",
        "whenever somebody wonders.",
        "days with few scores or another mean. With `?format=txt` behind the path the answers are tables.",
        "measures each feature against the holdout's histograms in the model card, waits for late verdicts, keeps the "
        "latency baseline, and asks for a training when drift lasts.",
        [Request("POST", "/_query", {"query": query}, why=why) for why, query in queries],
    )


def rescore(example: Example, model: Model, order: int) -> Script:
    """The past with a trained model."""
    project, names = example.project, example.project.names
    run = example.run(model.name)
    index = f"{names.prefix}-scores-{model.name}-by-hand"
    body = project.templates.render("model/scores_index.json.j2", model=model, about={"model": model.name})
    scored = score_pipeline(
        project, model, reference=MODEL_ID, kept=WHOLE, joined=joined_features(example.types(model))
    )
    pipeline = project.templates.render(
        "model/rescore.json.j2",
        model=model,
        model_id=MODEL_ID,
        index=index,
        score=scored["processors"],
        condition=model.serve.if_ if model.serve else None,
    )
    return Script(
        names.dag_id("rescore"),
        order,
        f"Scores events of the past with {model.name}, into an index of their own; the events stay as they were.",
        f"after {names.dag_id('train', model.name)}, whose model the variable `model_id` names.",
        f"the last answer: `ml.{model.name}.score` beside `event.id`.",
        "takes the champion of any model, names the index after it, goes slowly, resumes, and moves the alias "
        f"`{names.scores_alias(model.name)}`.",
        [
            Request("PUT", f"/{index}", body),
            Request("PUT", f"/_ingest/pipeline/{names.rescore_pipeline(model.name)}", project.stamp(pipeline)),
            _reindex(run, index, names.rescore_pipeline(model.name), run.query(run.train_start, run.holdout_end)),
            Request("DELETE", f"/_ingest/pipeline/{names.rescore_pipeline(model.name)}"),
            Request("GET", f"/{index}/_search", {"sort": [{f"ml.{model.name}.score": "desc"}], "size": 10}),
        ],
    )


def export(example: Example, order: int) -> Script:
    """A trained model's definition."""
    names = example.project.names
    return Script(
        names.dag_id("export_model"),
        order,
        "Shows a trained model as it would go to another cluster.",
        "after a training, whose model the variable `model_id` names.",
        "`definition`: the trees; `input.field_names`: what it reads.",
        "adds the model card and the latency baseline, and writes one file with a checksum.",
        [
            Request(
                "GET",
                f"/_ml/trained_models/{MODEL_ID}?include=definition&decompress_definition=true&exclude_generated=true",
            )
        ],
    )


def import_(example: Example, order: int) -> Script:
    """What comes from another cluster."""
    names = example.project.names
    return Script(
        names.dag_id("import_model"),
        order,
        "Takes a model of another cluster: PUT /_ml/trained_models/<id> with the answer of the export as its body, "
        "without `create_time` and what else says `managed`. Too long for a script.",
        "after an export.",
        "GET /_ml/trained_models/<id>.",
        "checks the file, judges the model on this environment's own holdout, and offers it to promotion.",
    )
