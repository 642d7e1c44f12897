"""The `inference` ingest processor, for tree models.

The model id or alias is looked up when documents arrive, so a pipeline may name a model that does not exist (yet): it
is accepted and then fails every document. A result is put under `target_field` together with `model_id`, the id behind
the alias; where the target field already has a value, Elasticsearch appends, and so does this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.ingest.configuration import Config
from elastic_sandbox.ingest.document import illegal
from elastic_sandbox.ingest.processors import register
from elastic_sandbox.ml.inference_config import check_update
from elastic_sandbox.ml.pipeline_references import inference_processors
from elastic_sandbox.ml.strict import conflict

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
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


class TextInference:
    """The processor with `input_output`, over models that take no text.

    Elasticsearch sends such inputs to inference services and deployed models only (InferenceProcessor.buildRequest,
    TransportCoordinatedInferenceAction.forNlp), neither of which the sandbox has, so that no input ever succeeds.
    """

    type = "inference"

    def __init__(self, model: str, inputs: list[str], *, ignore_missing: bool) -> None:
        self._model = model
        self._inputs = inputs
        self._ignore_missing = ignore_missing

    def execute(self, documents: list[IngestDocument]) -> list[Result]:
        """Keep documents without an input as they are, and fail the others."""
        return [self._refused(document) for document in documents]

    def _refused(self, document: IngestDocument) -> ElasticError | None:
        present = False
        for path in self._inputs:
            try:
                value = document.get(path)
            except ElasticError as missing:
                if not self._ignore_missing:
                    return missing
                value = None
            if value is not None and not isinstance(value, str):
                return illegal(f"input field [{path}] cannot be processed because it is not a text field")
            present = present or value is not None
            if not present:  # the server asks after each input, not after the last
                return None
        reason = f"[{self._model}] is not an inference service model or a deployed ml model"
        return ElasticError(404, "status_exception", reason)


def build(backend: Backend, config: Config) -> InferenceProcessor | TextInference:
    """An inference processor from its configuration.

    :raises ElasticError: 400 for missing, unknown or contradicting options, 409 beyond the cluster's limit of inference
        processors, 501 for an `inference_config` of natural language.
    """
    _check_limit(backend, config)
    model = config.string("model_id")
    update = config.map("inference_config", None)
    if update is not None:
        update = check_update(update)
    inputs = _inputs(config)
    if inputs is not None:
        ignore_missing = config.boolean("ignore_missing")
        if config.string("target_field", None) is not None:
            raise config.error(
                "target_field",
                "option is incompatible with [input_output]. Use the [output_field] option to specify where to write "
                "the inference results to.",
            )
        if update is not None and next(iter(update.values())).get("results_field") is not None:
            raise config.error(
                None,
                "The [inference_config.results_field] setting is incompatible with using [input_output]. Prefer to use "
                "the [input_output.output_field] option to specify where to write the inference results to.",
            )
        return TextInference(model, inputs, ignore_missing=ignore_missing)
    default = DEFAULT_TARGET_FIELD if config.tag is None else f"{DEFAULT_TARGET_FIELD}.{config.tag}"
    target_field = config.string("target_field", default)
    field_map = config.map("field_map", None)
    if field_map is None:
        field_map = config.map("field_mappings", None)
    return InferenceProcessor(backend, model, target_field, update, dict(field_map or {}))


def _inputs(config: Config) -> list[str] | None:
    """The input fields of `input_output`, an object or a list of them; None where it is not given."""
    given = config.value("input_output", None)
    if given is None:
        return None
    entries = [given] if isinstance(given, dict) else given
    if not isinstance(entries, list):
        raise config.error("input_output", "property isn't a map or list of maps")
    if not entries:
        raise config.error("input_output", "property cannot be empty at least one is required")
    names: dict[str, list[str]] = {"input_field": [], "output_field": []}
    for entry in entries:
        if not isinstance(entry, dict):
            raise config.error("input_output", "property isn't a list of maps")
        options = Config(entry, config.type, config.tag)
        found = {option: options.string(option) for option in names}
        for option, name in found.items():
            if name in names[option]:
                raise config.error(option, f"names must be unique but [{name}] is repeated")
            names[option].append(name)
    return names["input_field"]


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
