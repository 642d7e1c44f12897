"""Every body that is shipped as a template, rendered for both flavors, against what each of them offers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clinic.world import CLINIC, DAY
from harness.specification import specification

from contract.deviations import numberless, unexplained
from elastic_ml.evaluation.sampling import plan_sampling
from elastic_ml.project import Project, load_project
from elastic_ml.project.anomaly_bodies import calendar_bodies, datafeed_body, filter_bodies, job_body
from elastic_ml.project.anomaly_job import AnomalyJob, Filter
from elastic_ml.project.clock import model_clock
from elastic_ml.project.desired_state import desired_objects, desired_transform, enrich_policy
from elastic_ml.project.features import month_transform
from elastic_ml.project.privileges import ROLES, role_descriptor
from elastic_ml.project.templates import Templates
from elastic_ml.project.unmanaged_streams import hook_processor, score_fields
from elastic_ml.registry.champion_switch import score_pipeline
from elastic_ml.training.run import TrainingRun
from elastic_ml.training.training_set import source_fields

TESTS = Path(__file__).parents[1]
PROJECTS = {
    "include": TESTS.parent / "include",
    "webshop": TESTS / "elastic_ml" / "project" / "webshop",
    "clinic": CLINIC,
    "northbank": TESTS / "adopter" / "northbank" / "workflows" / "security_ml" / "project",
}
OFFERED: dict[str, dict[str, Any]] = {"9.2": {"stack": (9, 2)}, "serverless": {"serverless": True}}
APIS = {
    "ILM policy": "ilm.put_lifecycle",
    "component template": "cluster.put_component_template",
    "index template": "indices.put_index_template",
    "ingest pipeline": "ingest.put_pipeline",
    "enrich policy": "enrich.put_policy",
    "index": "indices.create",
}
# Text for people, what other templates include, and a document.
NO_BODIES = {"model/card.html.j2", "model/card.md.j2", "transforms/frame.yml.j2", "anomaly/alert.json.j2"}
Body = tuple[str, Any]


def bodies(folder: Path, *, serverless: bool) -> Iterator[Body]:
    """(API, body) of all that setup and the model stages of a project send."""
    project = load_project(folder)
    for wanted in desired_objects(project, serverless=serverless):
        yield APIS[wanted.kind.word], wanted.body
    for role in ROLES:
        descriptor = role_descriptor(project, role, serverless=serverless)
        yield "security.create_api_key", {"name": role, "role_descriptors": {role: descriptor}}
        if not serverless:
            yield "security.put_role", descriptor
    if (transform := desired_transform(project)) is not None:
        yield "transform.put_transform", transform.body
        yield "transform.put_transform", project.stamp(month_transform(project, "2026.12"))
    for kind in ("by_event", "by_user_hour"):
        yield "enrich.put_policy", enrich_policy(project, kind)[1]  # type: ignore[arg-type]
    yield "ingest.put_pipeline", {"processors": [hook_processor(project, ["logs-a-b", "logs-a-c"])]}
    scored = [model for name in project.models() if (model := project.model(name)).supervised]
    mappings = {"properties": score_fields(project, scored)}
    yield "cluster.put_component_template", {"template": {"mappings": mappings}}
    for name in project.models():
        run = TrainingRun.of(str(folder), name, {"day": DAY.isoformat()})
        yield from of_model(project, run) if run.model.supervised else of_outliers(project, run)
    for name in project.anomaly_jobs():
        yield from of_anomaly_job(project, project.anomaly_job(name))


def of_anomaly_job(project: Project, job: AnomalyJob) -> Iterator[Body]:
    yield "ml.put_job", job_body(project, job, {"hash": "12345678"})
    yield "ml.put_datafeed", datafeed_body(project, job, job.name)
    for calendar in calendar_bodies(project, job).values():
        yield "ml.put_calendar", {"description": calendar["description"]}
        yield "ml.post_calendar_events", {"events": calendar["events"]}
    with_filter = job.model_copy(update={"filters": {**job.filters, "robots": Filter(items=["crawler", "bot-*"])}})
    for body in filter_bodies(project, with_filter).values():
        yield "ml.put_filter", body


def of_outliers(project: Project, run: TrainingRun) -> Iterator[Body]:
    render, model = project.templates.render, run.model
    fields = dict.fromkeys(model.features, "double")
    yield "indices.create", render("model/train_index.json.j2", fields=fields, label_type=None, about=run.about)
    pipeline = {"job": run.job_id, "label_pipeline": None, "kept": source_fields(run), "joined": []}
    body = render("model/training.json.j2", sampling=plan_sampling({}, None), sample_field="event.id", **pipeline)
    yield "ingest.put_pipeline", project.stamp(body)
    analytics = run.analytics_body(train_index=run.train_index, results_index=run.results_index, about=run.about)
    yield "ml.put_data_frame_analytics", analytics


def of_model(project: Project, run: TrainingRun) -> Iterator[Body]:
    render, model = project.templates.render, run.model
    fields = {feature: "keyword" if n else "double" for n, feature in enumerate(model.features)}
    query = run.query(run.train_start, run.holdout_start)
    yield "search", render("model/readiness.json.j2", features=model.features, query=query)
    yield "search", render("model/random_sample.json.j2", size=10, fields=model.features, query=query)
    common = {"fields": fields, "label_type": run.label_type, "about": run.about}
    yield "indices.create", render("model/train_index.json.j2", **common)
    yield "indices.create", render("model/holdout_index.json.j2", kind=model.kind, **common)
    analytics = run.analytics_body(train_index=run.train_index, results_index=run.results_index, about=run.about)
    yield "ml.put_data_frame_analytics", analytics
    pipeline = {
        "job": run.job_id,
        "label_pipeline": run.label_pipeline,
        "joined": model.features[1:],
        "clock": model_clock(project, model),
    }
    sampling = plan_sampling({"true": 10, "false": 1000}, "true")
    scorers = [{"field": "challenger", "model_id": "m-1"}, {"field": "champion", "model_id": "m-0"}]
    for body in (
        render("model/training.json.j2", sampling=sampling, sample_field="event.id", kept=model.features, **pipeline),
        render("model/holdout.json.j2", features=model.features, kind=model.kind, scorers=scorers, **pipeline),
        score_pipeline(project, model, reference="m-0", kept={"m-0": {"true": 1.0, "false": 0.5}}),
    ):
        yield "ingest.put_pipeline", project.stamp(body)
    score = score_pipeline(project, model, reference="m-0", kept={"m-0": {"true": 1.0, "false": 0.5}})["processors"]
    rescored = {"model": model, "model_id": "m-0", "index": "scores", "score": score, "condition": "ctx.a != null"}
    yield "ingest.put_pipeline", project.stamp(render("model/rescore.json.j2", **rescored))
    yield "indices.create", render("model/scores_index.json.j2", model=model, about=run.about)
    evaluation = render("model/evaluate.json.j2", kind=model.kind, scorer="champion", positive_class="true")
    yield "ml.evaluate_data_frame", {"index": "x", **evaluation}


@pytest.mark.parametrize("flavor", list(OFFERED))
@pytest.mark.parametrize("project", list(PROJECTS))
def test_every_shipped_body_is_valid_where_it_is_sent(project: str, flavor: str) -> None:
    spec = specification(**OFFERED[flavor])
    problems = {
        (api, numberless(problem)): body
        for api, body in bodies(PROJECTS[project], serverless=flavor == "serverless")
        for problem in (spec.check_request(api, body) if api in spec.E else ["not offered there"])
    }
    assert unexplained(problems) == []


def test_no_template_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: set[str] = set()
    real = Templates.render_text

    def render_text(self: Templates, name: str, **variables: Any) -> str:
        rendered.add(name)
        return real(self, name, **variables)

    monkeypatch.setattr(Templates, "render_text", render_text)
    for folder in PROJECTS.values():
        list(bodies(folder, serverless=False))
    shipped = {name for folder in PROJECTS.values() for name in load_project(folder).templates.names()}
    assert shipped - rendered == NO_BODIES
