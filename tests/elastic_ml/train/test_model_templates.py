"""Bodies of the model stages against Elasticsearch's own API schema, and their arithmetic."""

import json
from datetime import datetime
from typing import Any

import pytest
from clinic.world import CLINIC, DAY
from harness.specification import specification

from elastic_ml.evaluation.sampling import STEPS, plan_sampling, threshold
from elastic_ml.project import load_project
from elastic_ml.registry.champion_switch import score_pipeline
from elastic_ml.training.run import TrainingRun


@pytest.fixture(scope="module")
def spec() -> Any:
    return specification()


@pytest.fixture(params=["misuse", "stay"])
def run(request: pytest.FixtureRequest) -> TrainingRun:
    return TrainingRun.of(str(CLINIC), request.param, {"day": DAY.isoformat()})


def training_pipeline(run: TrainingRun, **sampling: int) -> dict[str, Any]:
    return run.project.templates.render(
        "model/training.json.j2",
        job=run.job_id,
        label_pipeline=run.label_pipeline,
        kept=run.model.features,
        joined=["event.action"],
        sampling=plan_sampling(sampling, "true"),
        sample_field="event.id",
    )


def test_the_analytics_body_is_the_users_analysis_and_what_the_stage_adds(spec: Any, run: TrainingRun) -> None:
    body = run.analytics_body(train_index=run.train_index, results_index=run.results_index, about=run.about)
    assert spec.check_request("ml.put_data_frame_analytics", body) == []
    (options,) = body["analysis"].values()
    assert options["dependent_variable"] == "label"
    assert options["training_percent"] == 100
    assert options["eta"] == 0.3
    assert options.get("num_top_classes") == (-1 if run.model.kind == "classification" else None)
    assert "." not in options["prediction_field_name"]
    assert body["allow_lazy_start"] is True


def test_pipelines_are_bodies_that_the_server_accepts(spec: Any, run: TrainingRun) -> None:
    scorers = [{"field": "challenger", "model_id": "m-1"}, {"field": "champion", "model_id": "m-0"}]
    holdout = run.project.templates.render(
        "model/holdout.json.j2",
        job=run.job_id,
        kind=run.model.kind,
        label_pipeline=run.label_pipeline,
        features=run.model.features,
        joined=["event.action"],
        scorers=scorers,
    )
    score = score_pipeline(run.project, run.model, reference="x_champion", kept={"m-1": {"true": 1.0, "false": 0.5}})
    for body in (holdout, score, training_pipeline(run, true=10, false=1000)):
        problems = spec.check_request("ingest.put_pipeline", run.project.stamp(body))
        # The schema asks for `field` where the server takes either `field` or `keep`, never both.
        assert [problem for problem in problems if "remove: missing required 'field'" not in problem] == []
        tags = [next(iter(processor.values()))["tag"] for processor in body["processors"]]
        assert len(tags) == len(set(tags)), "each processor has a tag of its own, so that statistics name it"


def test_index_bodies_and_evaluations(spec: Any, run: TrainingRun) -> None:
    render = run.project.templates.render
    fields = {"event.action": "keyword", "audit.records": "double"}
    common = {"fields": fields, "label_type": run.label_type, "about": run.about}
    assert spec.check_request("indices.create", render("model/train_index.json.j2", **common)) == []
    holdout = render("model/holdout_index.json.j2", kind=run.model.kind, **common)
    assert spec.check_request("indices.create", holdout) == []
    if run.model.kind == "classification":
        assert holdout["mappings"]["properties"]["ml.challenger"]["properties"]["top_classes"]["type"] == "nested"
    evaluation = render("model/evaluate.json.j2", kind=run.model.kind, scorer="champion", positive_class="true")
    assert spec.check_request("ml.evaluate_data_frame", {"index": "x", **evaluation}) == []


def test_searches(spec: Any, run: TrainingRun) -> None:
    query = run.query(run.train_start, run.holdout_start)
    sample = run.project.templates.render("model/random_sample.json.j2", size=10, fields=["a"], query=query)
    counts = run.project.templates.render("model/readiness.json.j2", features=["a", "b.c"], query=query)
    for body in (sample, counts):
        assert spec.check_request("search", body) == []


def test_no_body_sets_shards_or_replicas(run: TrainingRun) -> None:
    for name in ("train_index", "holdout_index"):
        body = run.project.templates.render(
            f"model/{name}.json.j2", fields={}, label_type="keyword", kind=run.model.kind, about={}
        )
        assert "settings" not in body, "Serverless refuses them"


def test_windows_meet_and_end_before_verdicts_are_missing() -> None:
    run = TrainingRun.of(str(CLINIC), "misuse", {"day": "2026-11-16", "label_delay": "3d", "holdout_window": "2d"})
    assert run.windows == {
        "train_start": "2026-11-02T00:00:00Z",
        "train_end": "2026-11-11T00:00:00Z",
        "holdout_start": "2026-11-11T00:00:00Z",
        "holdout_end": "2026-11-13T00:00:00Z",
        "label_delay": "3d",
    }
    assert run.holdout_start < run.holdout_end < datetime.fromisoformat("2026-11-16T00:00:00Z")


# Down-sampling -----------------------------------------------------------------------------------------------------


def test_the_majority_is_reduced_to_ten_to_one_and_the_positives_never() -> None:
    sampling = plan_sampling({"true": 540, "false": 35_460}, "true")
    assert sampling.majority == "false"
    assert sampling.kept["true"] == 1.0
    assert 35_460 * sampling.kept["false"] <= 5_400
    assert 35_460 * sampling.kept["false"] > 5_390
    assert plan_sampling({"true": 900, "false": 10}, "true").threshold is None
    assert plan_sampling({"true": 100, "false": 900}, "true").threshold is None
    assert plan_sampling({}, "true").kept == {}


def test_a_threshold_keeps_exactly_its_share_of_all_two_character_prefixes() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for steps in (1, 63, 64, 65, 1000, 4095):
        limit = threshold(steps)
        assert limit is not None
        kept = sum(f"{a}{b}xyz==" < limit for a in alphabet for b in alphabet)
        assert kept == steps
    assert threshold(STEPS) is None
    with pytest.raises(ValueError, match="between 1 and 4096"):
        threshold(0)


def test_a_class_that_was_kept_whole_has_no_drop_processor() -> None:
    run = TrainingRun.of(str(CLINIC), "misuse", {"day": DAY.isoformat()})
    assert "down_sample" not in json.dumps(training_pipeline(run, true=100, false=500))
    assert "ctx.label == 'false'" in json.dumps(training_pipeline(run, true=100, false=5000))


def test_a_feature_name_that_painless_cannot_spell_is_a_reason_without_a_value() -> None:
    project = load_project(CLINIC)
    model = project.model("misuse").model_copy(update={"features": ["event.action", "odd-name.x"]})
    body = score_pipeline(project, model, reference="m", kept={})
    (source,) = [p["script"]["source"] for p in body["processors"] if "script" in p]
    assert "'event.action': ctx.event?.action" in source
    assert "odd-name" not in source
