"""Classification and regression: train, report, store the model, predict every row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elastic_sandbox.ml.analysis_config import CONFIG_VERSION, analysis_of
from elastic_sandbox.ml.inference import LoadedModel, class_names
from elastic_sandbox.ml.inference_config import InferenceConfig
from elastic_sandbox.ml.job import JobFailedError
from elastic_sandbox.ml.rows import Rows, choose_training_rows, class_labels
from elastic_sandbox.ml.target import Target
from elastic_sandbox.ml.training import TrainedForest, train_forest

if TYPE_CHECKING:
    from elastic_sandbox.ml.field_selection import Selection
    from elastic_sandbox.ml.job_run import JobRun


def run_forest(run: JobRun, rows: Rows, selection: Selection) -> None:
    """Everything after loading: training, results of the training rows, the model, results of the other rows.

    :raises JobFailedError: fewer than two classes, or nothing to learn from.
    """
    kind, options = analysis_of(run.job.config)
    labels = class_labels(rows.targets, selection.prediction_field_type) if kind == "classification" else None
    classes = _classes(rows.targets, labels)
    training = choose_training_rows(classes, options["training_percent"], options["randomize_seed"])
    run.admit(rows, selection, int(training.sum()))
    target = _target(classes, rows, training, labels, selection)
    chosen = np.flatnonzero(training).tolist()
    columns = {name: [column[i] for i in chosen] for name, column in rows.columns.items()}
    forest = train_forest(columns, selection.categorical, target, options, run.advance, run.is_cancelled)
    run.report(f"{kind}_stats", _stats(forest, target, options, run.elapsed_ms))
    model = _model(run, forest, selection, kind, options)
    matrix = forest.definition.matrix(rows.columns)

    def results(picked: list[int]) -> list[dict[str, Any]]:
        found = model.results(matrix[picked], model.config)
        return [{**result, "is_training": bool(training[i])} for i, result in zip(picked, found, strict=True)]

    for phase, of_training in (("writing_results", True), ("inference", False)):
        # The rows that were not learned from are predicted by the stored model; a job that goes on after an
        # interruption has trained the same model again.
        if not of_training and not _has_model(run):
            run.backend.ml.models.store(_model_config(run, forest, selection, model), forest.definition.body)
        positions = {doc_id: i for i, doc_id in enumerate(rows.ids) if training[i] == of_training}
        run.write_results(positions, results, phase)


def _has_model(run: JobRun) -> bool:
    models = run.backend.ml.models
    made = (models.config(model_id) for model_id in models.expand(None, allow_no_match=True, tags=[run.job.id]))
    return any(model["create_time"] >= run.job.config["create_time"] for model in made)


def _classes(targets: list[Any], labels: list[str] | None) -> NDArray[np.int64]:
    position = {label: index for index, label in enumerate(labels or ())}
    found = (-1 if value is None else position.get(value, 0) for value in targets)
    return np.fromiter(found, dtype=np.int64, count=len(targets))


def _target(
    classes: NDArray[np.int64], rows: Rows, training: NDArray[np.bool_], labels: list[str] | None, selection: Selection
) -> Target:
    if labels is None:
        if not training.any():
            raise JobFailedError(f"no document has a value of the dependent variable [{selection.dependent_variable}]")
        return Target.of_numbers(np.array([rows.targets[i] for i in np.flatnonzero(training)], dtype=np.float64))
    if len(labels) < 2:
        raise JobFailedError(
            f"Field [{selection.dependent_variable}] must have at least [2] distinct values but there were "
            f"[{len(labels)}]"
        )
    return Target.of_classes(classes[training], labels)


def _stats(forest: TrainedForest, target: Target, options: dict[str, Any], elapsed: int) -> dict[str, Any]:
    objective = {k: v for k, v in options.items() if k == "class_assignment_objective"}
    losses = [loss for loss in forest.fold_losses if np.isfinite(loss)]
    return {
        "iteration": forest.rounds,
        "hyperparameters": objective | forest.hyperparameters,
        "timing_stats": {"elapsed_time": elapsed, "iteration_time": elapsed // max(1, forest.rounds)},
        "validation_loss": {
            "loss_type": target.loss_type,
            "fold_values": [{"fold": fold, "values": [loss]} for fold, loss in enumerate(losses)],
        },
    }


def _model(run: JobRun, forest: TrainedForest, selection: Selection, kind: str, options: dict[str, Any]) -> LoadedModel:
    config = InferenceConfig(
        kind,
        results_field=options["prediction_field_name"],
        num_top_classes=options.get("num_top_classes", 0),
        num_top_feature_importance_values=options.get("num_top_feature_importance_values", 0),
        prediction_field_type=selection.prediction_field_type,
    )
    return LoadedModel(run.job.id, forest.definition, config, selection.features, {})


def _importance(forest: TrainedForest, field_type: str) -> dict[str, Any]:
    """Total importance and baseline as the model's metadata show them, with the classes' names."""
    if forest.definition.target_type == "regression":
        baseline: dict[str, Any] = {"baseline": forest.baseline[0]}
        return {"total_feature_importance": forest.total_importance, "feature_importance_baseline": baseline}
    names = class_names(forest.definition, field_type)
    values = forest.baseline if len(names) > 2 else [-forest.baseline[0], forest.baseline[0]]
    named = [
        {
            "feature_name": item["feature_name"],
            "classes": [
                {"class_name": names[entry["class"]], "importance": entry["importance"]} for entry in item["classes"]
            ],
        }
        for item in forest.total_importance
    ]
    baseline = {"classes": [{"class_name": n, "baseline": v} for n, v in zip(names, values, strict=True)]}
    return {"total_feature_importance": named, "feature_importance_baseline": baseline}


def _model_config(run: JobRun, forest: TrainedForest, selection: Selection, model: LoadedModel) -> dict[str, Any]:
    now, job = run.backend.clock.now_ms(), run.job
    config: dict[str, Any] = {
        "model_id": f"{job.id}-{now}",
        "model_type": "tree_ensemble",
        "created_by": "_xpack",
        "version": CONFIG_VERSION,
        "create_time": now,
        "model_size_bytes": forest.definition.size_bytes,
        "estimated_operations": forest.definition.estimated_operations,
        "license_level": "platinum",
        "tags": [job.id],
        "metadata": {
            "analytics_config": job.config,
            **_importance(forest, selection.prediction_field_type),
            "hyperparameters": [
                {"name": name, "value": value, "supplied": name in forest.supplied}
                for name, value in forest.hyperparameters.items()
            ],
        },
        "input": {"field_names": list(selection.features)},
        "inference_config": model.config.to_json(),
    }
    if job.config.get("description"):
        config["description"] = job.config["description"]
    if selection.parents:
        config["default_field_map"] = {p: f for f, p in selection.parents.items() if f in selection.features}
    return config
