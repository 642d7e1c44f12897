"""The worker of one classification job: from copying the source to the trained model, phase by phase.

It runs in a thread of its own. Between chunks it looks whether the job shall stop, and while ML upgrade mode or a lazy
assignment holds, it waits. Everything it has done is kept: a job that is started again goes on after its last whole
step (a copied destination is not copied again, training starts over).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.ml.analysis_config import CONFIG_VERSION, is_filtered_out
from elastic_sandbox.ml.destination import prepare_destination
from elastic_sandbox.ml.field_selection import INCREMENTAL_ID, Selection, merge_mappings, select_fields
from elastic_sandbox.ml.inference import LoadedModel, class_names
from elastic_sandbox.ml.inference_config import InferenceConfig
from elastic_sandbox.ml.job import LAZY_EXPLANATION, UPGRADE_EXPLANATION, Job, JobStoppedError, Journal
from elastic_sandbox.ml.memory import estimate_bytes
from elastic_sandbox.ml.rows import Rows, choose_training_rows, class_labels, load_rows
from elastic_sandbox.ml.strict import byte_size, byte_text
from elastic_sandbox.ml.training import Classifier, TrainingCancelledError, train_classifier

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.documents.documents import Hit

log = logging.getLogger(__name__)
_CHUNK: Final = 1000
_LOSS: Final = {2: "binomial_logistic"}


class JobFailedError(Exception):
    """The analysis cannot go on; the message becomes the job's failure_reason."""


class JobRun:
    """One run of a job, from `_start` to `stopped` or `failed`."""

    def __init__(self, backend: Backend, job: Job) -> None:
        self._backend = backend
        self._job = job
        self._journal = Journal(backend, job)
        self._options = job.config["analysis"]["classification"]
        self._dest = job.config["dest"]["index"]
        self._started = time.monotonic()

    def __call__(self) -> None:
        """Run to the end; the outcome is the job's state."""
        try:
            self._wait_for_node()
            self._run()
            self._end("stopped")
        except (JobStoppedError, TrainingCancelledError):
            self._end("stopped")
        except JobFailedError as error:
            self._end("failed", str(error))
        except ElasticError as error:
            self._end("failed", error.reason)
        except Exception as error:  # the thread has no caller: what went wrong must show in the job
            if self._job.stop_requested.is_set():  # its indices may be gone already
                log.debug("data frame analytics [%s] was interrupted", self._job.id, exc_info=error)
                self._end("stopped")
                return
            log.exception("data frame analytics [%s] failed", self._job.id)
            self._end("failed", f"{type(error).__name__}: {error}")

    def _end(self, state: str, reason: str | None = None) -> None:
        try:
            with self._backend.lock, self._job.lock:
                self._job.state = state
                self._job.failure_reason = reason
                self._job.assignment_explanation = ""
                self._journal.save()
        except JobStoppedError:
            log.debug("data frame analytics [%s] was deleted while it ran", self._job.id)

    # Waiting and stopping -------------------------------------------------------------------------------------------

    def _wait_for_node(self) -> None:
        faults = self._backend.faults
        slow_until = self._backend.clock.now_ms() + faults.slow_start_seconds * 1000
        memory = byte_size("model_memory_limit", self._job.config["model_memory_limit"])
        waiting = LAZY_EXPLANATION.format(id=self._job.id, node="{sandbox}", memory=memory)
        while faults.lazy_assignment or self._backend.clock.now_ms() < slow_until:
            with self._job.lock:
                self._job.assignment_explanation = waiting if faults.lazy_assignment else ""
            self._pause()
        with self._job.lock:
            self._job.state = "started"
            self._job.assignment_explanation = ""
        self._journal.save()

    def _pause(self) -> None:
        if self._job.stop_requested.wait(0.05):
            raise JobStoppedError

    def _checkpoint(self) -> None:
        """Called between chunks of work: stops or waits when the job must."""
        if self._job.stop_requested.is_set():
            raise JobStoppedError
        if self._backend.ml.upgrade_mode:
            with self._job.lock:
                self._job.assignment_explanation = UPGRADE_EXPLANATION
            while self._backend.ml.upgrade_mode:
                self._pause()
            with self._job.lock:
                self._job.assignment_explanation = ""

    def _cancelled(self) -> bool:
        return self._job.stop_requested.is_set()

    # The phases -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        indices = self._backend.indices.resolve(",".join(self._job.config["source"]["index"]))
        selection = select_fields(self._job.config, merge_mappings(indices))
        if self._job.progress["reindexing"] < 100:
            self._reindex(indices)
        rows = self._load(selection)
        labels = class_labels(rows.labels, selection.prediction_field_type)
        position = {label: index for index, label in enumerate(labels)}
        classes = np.fromiter(
            (-1 if label is None else position[label] for label in rows.labels), dtype=np.int64, count=len(rows.labels)
        )
        training = choose_training_rows(classes, self._options["training_percent"], self._options["randomize_seed"])
        self._count(rows, training)
        self._check_memory(rows, selection, training)
        if len(labels) < 2:
            dependent = selection.dependent_variable
            raise JobFailedError(
                f"Field [{dependent}] must have at least [2] distinct values but there were [{len(labels)}]"
            )
        classifier = self._train(rows, selection, classes, training, labels)
        model = self._write_results(rows, selection, classifier, training)
        self._backend.ml.models.store(self._model_config(selection, classifier, model), classifier.definition.body)
        self._journal.advance("inference", 100)

    def _reindex(self, indices: list[Any]) -> None:
        """Copy the matching source documents to the destination, which a run that was interrupted begins afresh."""
        config = self._job.config
        with self._backend.lock:
            self._checkpoint()
            if self._job.begun and self._backend.indices.get(self._dest) is not None:
                self._backend.indices.delete(self._dest)
            prepare_destination(self._backend, config, indices)
        self._journal.advance("reindexing", 1)
        expression = ",".join(config["source"]["index"])
        query = config["source"]["query"]
        total = max(1, self._backend.documents.count(expression, query))
        source_filter = config["source"].get("_source")
        done = 0
        for chunk in _chunks(self._backend.documents.scan(expression, query)):
            documents = []
            for hit in chunk:
                source = hit.source if source_filter is None else _filtered(hit.source, source_filter)
                documents.append((hit.id, source | {INCREMENTAL_ID: done}))
                done += 1
            self._index(documents)
            self._journal.advance("reindexing", min(99, 1 + int(98 * done / total)))
        self._refresh()
        self._journal.advance("reindexing", 100)

    def _index(self, documents: Sequence[tuple[str, dict[str, Any]]]) -> None:
        from elastic_sandbox.documents.operations import BulkOperation

        operations = [
            BulkOperation(action="index", index=self._dest, id=doc_id, source=source, pipeline="_none")
            for doc_id, source in documents
        ]
        with self._backend.lock:  # a reset holds this lock: nothing may be written after it
            self._checkpoint()
            items = self._backend.documents.bulk(operations)
        for item in items:
            error = next(iter(item.values())).get("error")
            if error is not None:
                raise JobFailedError(
                    f"failed to write to the destination index [{self._dest}]: {error.get('reason', error)}"
                )

    def _refresh(self) -> None:
        with self._backend.lock:
            self._checkpoint()
            self._backend.documents.refresh(self._backend.indices.resolve(self._dest))

    def _load(self, selection: Selection) -> Rows:
        total = max(1, self._backend.documents.count(self._dest))

        def documents() -> Iterator[tuple[str, dict[str, Any]]]:
            for done, hit in enumerate(self._backend.documents.scan(self._dest)):
                if done % _CHUNK == 0:
                    self._checkpoint()
                    self._journal.advance("loading_data", min(99, int(100 * done / total)))
                yield hit.id, hit.source

        rows = load_rows(documents(), selection)
        self._journal.advance("loading_data", 100)
        return rows

    def _count(self, rows: Rows, training: NDArray[np.bool_]) -> None:
        with self._job.lock:
            trained = int(training.sum())
            self._job.data_counts = {
                "training_docs_count": trained,
                "test_docs_count": len(rows.ids) - trained,
                "skipped_docs_count": rows.skipped,
            }
        self._journal.save()

    def _check_memory(self, rows: Rows, selection: Selection, training: NDArray[np.bool_]) -> None:
        estimate = estimate_bytes(int(training.sum()), len(selection.features))
        limit = byte_size("model_memory_limit", self._job.config["model_memory_limit"])
        usage: dict[str, Any] = {
            "timestamp": self._backend.clock.now_ms(),
            "peak_usage_bytes": min(estimate, limit),
            "status": "ok",
        }
        if limit * 2 < estimate:  # the estimate is generous; only a limit far below it makes the real process give up
            usage |= {"status": "hard_limit", "memory_reestimate_bytes": estimate}
        with self._job.lock:
            self._job.memory_usage = usage
        if usage["status"] == "hard_limit":
            raise JobFailedError(
                f"Input error: memory limit [{byte_text(limit)}] has been exceeded. Please force stop the job, "
                f"increase to new value [{byte_text(estimate)}] and restart."
            )

    def _train(
        self,
        rows: Rows,
        selection: Selection,
        classes: NDArray[np.int64],
        training: NDArray[np.bool_],
        labels: list[str],
    ) -> Classifier:
        chosen = np.flatnonzero(training).tolist()
        columns = {name: [column[i] for i in chosen] for name, column in rows.columns.items()}

        def progress(phase: str, percent: int) -> None:
            self._checkpoint()
            self._journal.advance(phase, percent)

        classifier = train_classifier(
            columns, selection.categorical, classes[training], labels, self._options, progress, self._cancelled
        )
        self._report_stats(classifier, len(labels))
        return classifier

    def _report_stats(self, classifier: Classifier, classes: int) -> None:
        elapsed = int((time.monotonic() - self._started) * 1000)
        hyperparameters: dict[str, Any] = {
            "class_assignment_objective": self._options["class_assignment_objective"],
            **classifier.hyperparameters,
        }
        losses = [loss for loss in classifier.fold_losses if np.isfinite(loss)]
        with self._job.lock:
            self._job.analysis_stats = {
                "classification_stats": {
                    "timestamp": self._backend.clock.now_ms(),
                    "iteration": classifier.rounds,
                    "hyperparameters": hyperparameters,
                    "timing_stats": {
                        "elapsed_time": elapsed,
                        "iteration_time": elapsed // max(1, classifier.rounds),
                    },
                    "validation_loss": {
                        "loss_type": _LOSS.get(classes, "multinomial_logistic"),
                        "fold_values": [{"fold": fold, "values": [loss]} for fold, loss in enumerate(losses)],
                    },
                }
            }
        self._journal.save()

    def _write_results(
        self, rows: Rows, selection: Selection, classifier: Classifier, training: NDArray[np.bool_]
    ) -> LoadedModel:
        config = InferenceConfig(
            "classification",
            results_field=self._options["prediction_field_name"],
            num_top_classes=self._options["num_top_classes"],
            num_top_feature_importance_values=self._options.get("num_top_feature_importance_values", 0),
            prediction_field_type=selection.prediction_field_type,
        )
        model = LoadedModel(self._job.id, classifier.definition, config, selection.features, {})
        position = {doc_id: index for index, doc_id in enumerate(rows.ids)}
        field = self._job.config["dest"]["results_field"]
        done = 0
        for chunk in _chunks(self._backend.documents.scan(self._dest)):
            hits = [hit for hit in chunk if hit.id in position]
            picked = [position[hit.id] for hit in hits]
            inputs = [{name: column[i] for name, column in rows.columns.items()} for i in picked]
            documents = []
            for hit, index, result in zip(hits, picked, model.infer(inputs), strict=True):
                documents.append((hit.id, hit.source | {field: {**result, "is_training": bool(training[index])}}))
            self._index(documents)
            done += len(hits)
            self._journal.advance("writing_results", min(99, int(100 * done / max(1, len(rows.ids)))))
        self._refresh()
        self._journal.advance("writing_results", 100)
        return model

    def _model_config(self, selection: Selection, classifier: Classifier, model: LoadedModel) -> dict[str, Any]:
        now = self._backend.clock.now_ms()
        names = class_names(classifier.definition, selection.prediction_field_type)
        baseline = classifier.baseline if len(names) > 2 else [-classifier.baseline[0], classifier.baseline[0]]
        importance = [
            {
                "feature_name": item["feature_name"],
                "classes": [
                    {"class_name": names[entry["class"]], "importance": entry["importance"]}
                    for entry in item["classes"]
                ],
            }
            for item in classifier.total_importance
        ]
        config: dict[str, Any] = {
            "model_id": f"{self._job.id}-{now}",
            "model_type": "tree_ensemble",
            "created_by": "_xpack",
            "version": CONFIG_VERSION,
            "create_time": now,
            "model_size_bytes": classifier.definition.size_bytes,
            "estimated_operations": classifier.definition.estimated_operations,
            "license_level": "platinum",
            "tags": [self._job.id],
            "metadata": {
                "analytics_config": self._job.config,
                "total_feature_importance": importance,
                "feature_importance_baseline": {
                    "classes": [
                        {"class_name": name, "baseline": value} for name, value in zip(names, baseline, strict=True)
                    ]
                },
                "hyperparameters": [
                    {"name": name, "value": value, "supplied": name in classifier.supplied}
                    for name, value in classifier.hyperparameters.items()
                ],
            },
            "input": {"field_names": list(selection.features)},
            "inference_config": model.config.to_json(),
        }
        if self._job.config.get("description"):
            config["description"] = self._job.config["description"]
        if selection.parents:
            mapped = {p: f for f, p in selection.parents.items() if f in selection.features}
            config["default_field_map"] = mapped
        return config


def _chunks(hits: Iterator[Hit]) -> Iterator[list[Hit]]:
    chunk = []
    for hit in hits:
        chunk.append(hit)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _filtered(source: dict[str, Any], source_filter: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    kept = {}
    for key, value in source.items():
        path = prefix + key
        if isinstance(value, dict):
            inner = _filtered(value, source_filter, path + ".")
            if inner:
                kept[key] = inner
        elif not is_filtered_out(source_filter, path):
            kept[key] = value
    return kept
