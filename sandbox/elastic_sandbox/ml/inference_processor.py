"""The `inference` ingest processor, for tree models.

The model id or alias is looked up when documents arrive, so a pipeline may name a model that does not exist (yet): it
is accepted and then fails every document. A result is put under `target_field` together with `model_id`, the id behind
the alias; where the target field already has a value, Elasticsearch appends, and so does this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import ElasticError, unsupported
from elastic_sandbox.ingest.processors import register
from elastic_sandbox.ml.inference_config import check_update
from elastic_sandbox.ml.pipeline_references import inference_processors
from elastic_sandbox.ml.strict import conflict

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.ingest.configuration import Config
    from elastic_sandbox.ingest.document import IngestDocument, Result

MAX_PROCESSORS_SETTING: Final = "xpack.ml.max_inference_processors"
DEFAULT_TARGET_FIELD: Final = "ml.inference"


class InferenceProcessor:
    """Infers a batch of documents in one call to the model.

    :param model: model id or alias
    :param update: overriding `inference_config`, or None
    :param field_map: document field → model field
    """

    type = "inference"

    def __init__(
        self,
        backend: Backend,
        model: str,
        target_field: str,
        update: dict[str, Any] | None,
        field_map: dict[str, str],
    ) -> None:
        self._backend = backend
        self._model = model
        self._target_field = target_field
        self._update = update
        self._field_map = field_map

    def execute(self, documents: list[IngestDocument]) -> list[Result]:
        """Write a result into every document; on failure every document of the batch carries the error."""
        models = self._backend.ml.models
        try:
            model = models.load(self._model)
            inputs = [document.source for document in documents]
            if self._field_map and any(path.startswith("_") for path in self._field_map):
                inputs = [document.source | document.metadata | {"_ingest": document.ingest} for document in documents]
            results = models.infer(model, inputs, self._update, self._field_map)
        except ElasticError as error:
            return [error] * len(documents)
        outcomes: list[Result] = []
        for document, result in zip(documents, results, strict=True):
            try:
                result["model_id"] = model.model_id
                if document.has(self._target_field):
                    document.append(self._target_field, [result])
                else:
                    document.set(self._target_field, result)
                outcomes.append(None)
            except ElasticError as error:
                outcomes.append(error)
        return outcomes


def build(backend: Backend, config: Config) -> InferenceProcessor:
    """An inference processor from its configuration.

    :raises ElasticError: 400 for missing or unknown options, 409 beyond the cluster's limit of inference processors,
        501 for `input_output` (natural language models).
    """
    _check_limit(backend, config)
    model = config.string("model_id")
    if config.value("input_output", None) is not None:
        raise unsupported("[input_output] of the inference processor (it is for natural language models)")
    default = DEFAULT_TARGET_FIELD if config.tag is None else f"{DEFAULT_TARGET_FIELD}.{config.tag}"
    target_field = config.string("target_field", default)
    field_map = config.map("field_map", None) or config.map("field_mappings", None) or {}
    update = config.map("inference_config", None)
    config.boolean("ignore_missing")  # read and kept; it matters for input_output only
    return InferenceProcessor(
        backend, model, target_field, None if update is None else check_update(update), dict(field_map)
    )


def _check_limit(backend: Backend, config: Config) -> None:
    stored = [found for _, body in backend.state.items("pipeline") for found in inference_processors(body)]
    limit = backend.ml.max_inference_processors
    # stored pipelines are compiled again after a restart; what was accepted once is not refused then
    if len(stored) < limit or any(dict(config).items() <= found.items() for found in stored):
        return
    raise conflict(
        f"Max number of inference processors reached, total inference processors [{len(stored)}]. "
        f"Adjust the setting [{MAX_PROCESSORS_SETTING}]: [{limit}] if a greater number is desired."
    )


register("inference", build)
