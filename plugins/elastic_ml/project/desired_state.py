"""Everything that a project wants to exist in Elasticsearch, rendered for one flavor, in the order it is written.

The order makes every step possible after the ones before it: a pipeline that enriches is refused while its policy has
no enrich index, a policy while its source index is missing; data streams come last, when their templates, and the
pipelines that these name, exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elastic_ml import __version__
from elastic_ml.project.bodies import MANAGED_BY, body_hash
from elastic_ml.project.clock import normalized_clock
from elastic_ml.project.features import continuous_transform, features_of, mapping_of, sources_of
from elastic_ml.project.names import LabelKind
from elastic_ml.project.server_objects import (
    COMPONENT_TEMPLATE,
    ENRICH_POLICY,
    ILM_POLICY,
    INDEX,
    INDEX_TEMPLATE,
    PIPELINE,
    TRANSFORM,
    Body,
    Kind,
)

if TYPE_CHECKING:
    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project


@dataclass(frozen=True)
class DesiredObject:
    """One object to be kept: `body` carries `_meta` where the kind has it.

    `executes` is an enrich policy that must have been executed before the object can be written.
    """

    kind: Kind
    name: str
    body: Body
    executes: str | None = None


def desired_objects(project: Project, *, serverless: bool = False) -> list[DesiredObject]:
    """Render all objects of the project; reads every model file.

    Raises ProjectFileError for an invalid model file or template.
    """
    names, render = project.names, project.templates.render
    models = [project.model(name) for name in project.models()]
    flavor = {"serverless": serverless}
    wanted: list[DesiredObject] = []

    def add(kind: Kind, name: str, body: Body, *, executes: str | None = None) -> None:
        wanted.append(_desired(project, kind, name, body, executes))

    if not serverless:
        add(ILM_POLICY, names.audit_policy, render("ilm/audit.yml.j2"))
        add(ILM_POLICY, names.ml_logs_policy, render("ilm/ml_logs.yml.j2"))

    add(INDEX, names.ledger, render("indices/ledger.yml.j2", **flavor))
    add(INDEX, names.labels, render("indices/labels.yml.j2", **flavor))
    add(INDEX, names.baselines, render("indices/baselines.yml.j2", **flavor))
    add(INDEX, names.model_cards, render("indices/model_cards.yml.j2", **flavor))

    for kind in _verdict_kinds(models):
        add(ENRICH_POLICY, *enrich_policy(project, kind))

    scored = [
        {"name": model.name, "condition": _condition(project, model)}
        for model in models
        if model.serve is not None and model.serve.pipeline == names.audit_score
    ]
    for model in models:
        if model.label is not None:
            verdicts = model.label.verdicts
            policy = enrich_policy(project, verdicts)[0] if verdicts else None
            body = render("pipelines/label.yml.j2", model=model, policy=policy)
            add(PIPELINE, names.label_pipeline(model.name), body, executes=policy)
    add(PIPELINE, names.audit_score, render("pipelines/audit_score.yml.j2", scored=scored))
    add(PIPELINE, names.audit_normalize, render("pipelines/audit_normalize.yml.j2", clock=normalized_clock(project)))
    add(PIPELINE, names.ml_logs_normalize, render("pipelines/ml_logs_normalize.yml.j2"))

    managed = [stream.name for stream in names.audit_streams if stream.managed]
    if managed:
        supervised = [model for model in models if model.supervised]
        add(
            COMPONENT_TEMPLATE,
            names.audit_mappings,
            render("component_templates/audit_mappings.yml.j2", models=supervised),
        )
        add(COMPONENT_TEMPLATE, names.audit_settings, render("component_templates/audit_settings.yml.j2", **flavor))
        add(INDEX_TEMPLATE, names.audit_template, render("index_templates/audit.yml.j2", patterns=managed, **flavor))
    add(INDEX_TEMPLATE, names.labels_template, render("index_templates/labels.yml.j2", **flavor))
    add(INDEX_TEMPLATE, names.ml_logs_template, render("index_templates/ml_logs.yml.j2", **flavor))

    if names.features:
        pivot = continuous_transform(project)["pivot"]
        features, sources = list(features_of(project, pivot)), sources_of(pivot)
        served = [model for model in models if model.serve is not None and model.serve.pipeline == names.features_score]
        add(PIPELINE, names.features_score, render("pipelines/features_score.yml.j2", models=served))
        prepare = render("pipelines/features_prepare.yml.j2", features=features, sources=sources)
        add(PIPELINE, names.features_prepare, prepare)
        mapped = {"properties": mapping_of(features, sources), "models": served}
        add(INDEX_TEMPLATE, names.features_template, render("index_templates/features.yml.j2", **mapped))
    return wanted


def desired_transform(project: Project) -> DesiredObject | None:
    """The continuous transform of the user-hours, for after the streams that it reads; None without `features:`."""
    name = project.names.features
    if name is None:
        return None
    return _desired(project, TRANSFORM, name, continuous_transform(project))


def _desired(project: Project, kind: Kind, name: str, body: Body, executes: str | None = None) -> DesiredObject:
    metadata = {
        **kind.metadata(body),
        "managed_by": MANAGED_BY,
        "project": project.name,
        "version": __version__,
        "hash": kind.hash(body),
    }
    return DesiredObject(kind, name, kind.with_metadata(body, metadata), executes)


def enrich_policy(project: Project, kind: LabelKind) -> tuple[str, dict[str, Any]]:
    """Name and body of the enrich policy that joins verdicts by event or by user-hour."""
    body = project.templates.render(f"enrich/{kind}.yml.j2")
    return project.names.enrich_policy(kind, body_hash(body)), body


def _verdict_kinds(models: list[Model]) -> list[LabelKind]:
    """`by_event` always: verdicts arrive before the first model; others when a model asks for them."""
    asked: set[LabelKind] = {model.label.verdicts for model in models if model.label and model.label.verdicts}
    kinds: tuple[LabelKind, ...] = ("by_event", "by_user_hour")
    return [kind for kind in kinds if kind == "by_event" or kind in asked]


def _condition(project: Project, model: Model) -> str:
    """Painless: the event is of one of the model's streams, and the model file's own `if` holds."""
    places = []
    for index in model.source.index:
        stream = project.names.stream(index)
        if stream is not None and not stream.managed:
            # Not everybody's events say their dataset.
            places.append(f"ctx._index == '{stream.name}'")
            continue
        dataset = stream.dataset if stream else index.split("-")[1] if index.count("-") >= 2 else index
        places.append(f"ctx.event?.dataset == '{dataset}'")
    here = " || ".join(dict.fromkeys(places))
    condition = model.serve.if_ if model.serve else None
    return f"({here}) && ({condition})" if condition else here
