"""Trained models: stored definitions, aliases, statistics, and the rules that protect a model in use."""

from __future__ import annotations

import base64
import gzip
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from elastic_sandbox.errors import ElasticError, resource_already_exists
from elastic_sandbox.ml.analysis_config import CONFIG_VERSION
from elastic_sandbox.ml.definition import parse_definition
from elastic_sandbox.ml.inference import LoadedModel
from elastic_sandbox.ml.inference_config import parse_inference_config
from elastic_sandbox.ml.model_body import GENERATED, byte_count, check_model_body, definition_of, input_fields
from elastic_sandbox.ml.pipeline_references import pipelines_naming
from elastic_sandbox.ml.strict import (
    bad_request,
    conflict,
    expand_expression,
    not_found,
)

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

CONFIG: Final = "trained_model"
DEFINITION: Final = "trained_model_definition"
ALIAS: Final = "model_alias"
INCLUDES: Final = (
    "definition", "total_feature_importance", "feature_importance_baseline", "hyperparameters", "definition_status"
)  # fmt: skip
_METADATA_ON_REQUEST = ("total_feature_importance", "feature_importance_baseline", "hyperparameters")
_ALIAS_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_\-.]*[a-z_\-.])?|[a-z]")


@dataclass
class _Counts:
    """`inference_stats` of one model since the process started."""

    inferences: int = 0
    failures: int = 0
    missing_all_fields: int = 0
    cache_misses: int = 0
    timestamp: int = 0


class TrainedModels:
    """The cluster's trained models."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._loaded: dict[str, LoadedModel] = {}
        self._counts: dict[str, _Counts] = {}
        self._lock = threading.RLock()

    def reset(self) -> None:
        """Forget what was loaded and counted; the models go with the cluster state."""
        with self._lock:
            self._loaded.clear()
            self._counts.clear()

    # Lookup ---------------------------------------------------------------------------------------------------------

    def aliases(self) -> dict[str, str]:
        """Alias → model id."""
        return {alias: document["model_id"] for alias, document in self._backend.state.items(ALIAS)}

    def aliases_of(self, model_id: str) -> list[str]:
        """The aliases of a model, sorted."""
        return sorted(alias for alias, target in self.aliases().items() if target == model_id)

    def concrete_id(self, model: str) -> str:
        """The model id an alias stands for; anything else unchanged."""
        document = self._backend.state.get(ALIAS, model)
        return model if document is None else document["model_id"]

    def expand(self, expression: str | None, *, allow_no_match: bool, tags: Sequence[str] = ()) -> list[str]:
        """Model ids an expression of ids, aliases and wildcards selects, sorted.

        :raises ElasticError: 404 for an id that is not there, or for no match at all when allow_no_match is false.
        """
        aliases = self.aliases()
        models = self._backend.state.names(CONFIG)
        chosen, missing = expand_expression(expression, [*models, *aliases])
        ids = sorted({aliases.get(name, name) for name in chosen})
        if tags:
            wanted = set(tags)
            ids = [i for i in ids if wanted <= set((self._backend.state.get(CONFIG, i) or {}).get("tags") or ())]
        if missing or (not ids and not allow_no_match):
            raise not_found(f"No known trained model with model_id [{','.join(missing) or expression}]")
        return ids

    def config(self, model_id: str) -> dict[str, Any]:
        """The stored configuration; 404 when there is none."""
        config = self._backend.state.get(CONFIG, model_id)
        if config is None:
            raise not_found(f"No known trained model with model_id [{model_id}]")
        return config

    # Show -----------------------------------------------------------------------------------------------------------

    def shown(
        self, ids: Sequence[str], includes: set[str], *, exclude_generated: bool = False, decompress: bool = True
    ) -> list[dict[str, Any]]:
        """Models as GET shows them.

        :param includes: of INCLUDES; a definition is shown for one model only
        """
        unknown = sorted(includes - set(INCLUDES))
        if unknown:
            raise bad_request(
                f"unknown [include] parameter {unknown}. Valid options are {sorted(INCLUDES)}".replace("'", "")
            )
        if "definition" in includes and len(ids) > 1:
            raise bad_request("Getting model definition is not supported when getting more than one model")
        if "definition_status" in includes:
            if len(ids) > 1:
                raise bad_request("Getting the model download status is not supported when getting more than one model")
            raise bad_request("Definition status is only relevant to PyTorch model types")
        return [
            self._shown(self.config(model_id), includes, exclude_generated=exclude_generated, decompress=decompress)
            for model_id in ids
        ]

    def _shown(
        self, config: dict[str, Any], includes: set[str], *, exclude_generated: bool, decompress: bool
    ) -> dict[str, Any]:
        model_id = config["model_id"]
        metadata = dict(config.get("metadata") or {})
        for name in _METADATA_ON_REQUEST:
            if name not in includes:
                metadata.pop(name, None)
        aliases = self.aliases_of(model_id)
        if aliases:
            metadata["model_aliases"] = aliases
        shown = {k: v for k, v in config.items() if not (exclude_generated and k in GENERATED)}
        shown.pop("metadata", None)
        if metadata:
            shown["metadata"] = metadata
        if "definition" in includes:
            body = self._definition_body(model_id)
            if decompress:
                shown["definition"] = body
            else:
                packed = gzip.compress(orjson.dumps(body), mtime=0)
                shown["compressed_definition"] = base64.b64encode(packed).decode()
        return shown

    def _definition_body(self, model_id: str) -> dict[str, Any]:
        body = self._backend.state.get(DEFINITION, model_id)
        if body is None:
            raise not_found(f"Could not find trained model definition [{model_id}]")
        unpacked: dict[str, Any] = definition_of(body) if "compressed_definition" in body else body
        return unpacked

    # Store ----------------------------------------------------------------------------------------------------------

    def store(self, config: dict[str, Any], definition: dict[str, Any]) -> None:
        """Keep a model that is known to be valid; its definition first, so that a model seen is complete."""
        self._backend.state.put(DEFINITION, config["model_id"], definition)
        self._backend.state.put(CONFIG, config["model_id"], config)
        with self._lock:
            self._loaded.pop(config["model_id"], None)

    def put(self, model_id: str, body: Any, *, defer: bool = False) -> dict[str, Any]:
        """`PUT _ml/trained_models/{model_id}`: validate and store a tree model; returns its configuration.

        :raises ElasticError: 400 for a broken or existing model, 501 for kinds of model that are not evaluated.
        """
        check_model_body(model_id, body)
        if defer and body.get("compressed_definition") is not None and body.get("model_size_bytes") is None:
            raise bad_request(
                "when [defer_definition_decompression] is true and a compressed definition is provided, "
                "model_size_bytes must be set"
            )
        inference = parse_inference_config(body["inference_config"])
        deferred = defer and body.get("compressed_definition") is not None
        definition = None if deferred else parse_definition(definition_of(body))
        if definition is not None and inference.kind != definition.target_type:
            raise bad_request(
                f"Model [{model_id}] inference config type [{inference.kind}] does not support definition target type "
                f"[{definition.target_type}]"
            )
        if self._backend.state.get(CONFIG, model_id) is not None:
            raise resource_already_exists(f"Trained machine learning model [{model_id}] already exists")
        if self._backend.state.get(ALIAS, model_id) is not None:
            raise bad_request(
                f"requested model_id [{model_id}] is the same as an existing model_alias. "
                "Model model_aliases and ids must be unique"
            )
        size = body.get("model_size_bytes")
        config: dict[str, Any] = {
            "model_id": model_id,
            "model_type": "tree_ensemble",
            "created_by": "api_user",
            "version": CONFIG_VERSION,
            "create_time": self._backend.clock.now_ms(),
            "model_size_bytes": byte_count(size) if definition is None or size is not None else definition.size_bytes,
            "estimated_operations": 0 if definition is None else definition.estimated_operations,
            "license_level": "platinum",
            "tags": body.get("tags") or [],
            "input": {"field_names": input_fields(body)},
            "inference_config": inference.to_json(),
        }
        for name in ("description", "metadata", "default_field_map"):
            if body.get(name) is not None:
                config[name] = body[name]
        # a definition whose unpacking is deferred may be broken: it is noticed when the model is used
        packed = {"compressed_definition": body.get("compressed_definition")}
        self.store(config, packed if definition is None else definition.body)
        return config

    # Delete and aliases ---------------------------------------------------------------------------------------------

    def delete(self, model_id: str, *, force: bool) -> None:
        """Delete a model and its aliases.

        :raises ElasticError: 404 when there is none; 409 when a pipeline names it or one of its aliases, unless forced.
        """
        with self._backend.lock:
            if self._backend.state.get(CONFIG, model_id) is None:
                raise not_found(f"No known trained model with model_id [{model_id}]")
            aliases = self.aliases_of(model_id)
            if not force:
                self._refuse_when_used(model_id, aliases)
            for alias in aliases:
                self._backend.state.delete(ALIAS, alias)
            self._backend.state.delete(CONFIG, model_id)
            self._backend.state.delete(DEFINITION, model_id)
        with self._lock:
            self._loaded.pop(model_id, None)
            self._counts.pop(model_id, None)

    def _refuse_when_used(self, model_id: str, aliases: list[str]) -> None:
        remedy = "still referenced by ingest processors; use force to delete the model"
        if pipelines_naming(self._backend.state, {model_id}):
            raise conflict(f"Cannot delete model [{model_id}] as it is {remedy}")
        for alias in aliases:
            if pipelines_naming(self._backend.state, {alias}):
                raise conflict(f"Cannot delete model [{model_id}] as it has a model_alias [{alias}] that is {remedy}")

    def put_alias(self, model_id: str, alias: str, *, reassign: bool) -> list[str]:
        """Point an alias at a model, in one step; returns warnings for the `Warning` header.

        :raises ElasticError: 404 without the model; 400 for a bad name, a taken alias without reassign, or a model of
            another kind than the one the alias leaves.
        """
        if not _ALIAS_NAME.fullmatch(alias):
            raise _validation(
                f"Invalid model_alias; '{alias}' can contain lowercase alphanumeric (a-z and 0-9), hyphens or "
                "underscores; must start with alphanumeric and cannot end with numbers"
            )
        if alias == model_id:
            raise _validation(f"model_alias [{alias}] cannot equal model_id [{model_id}]")
        with self._backend.lock:
            if self._backend.state.get(CONFIG, alias) is not None:
                raise bad_request("model_alias cannot be the same as an existing trained model_id")
            new = self.config(model_id)
            known = self._backend.state.get(ALIAS, alias)
            warnings: list[str] = []
            if known is not None:
                old_id = known["model_id"]
                if not reassign:
                    raise bad_request(
                        f"cannot assign model_alias [{alias}] to model_id [{model_id}] as model_alias already refers "
                        f"to [{old_id}]. Set parameter [reassign] to [true] if model_alias should be reassigned."
                    )
                old = self._backend.state.get(CONFIG, old_id)
                if old is not None:
                    warnings = _check_replacement(alias, old, new)
            self._backend.state.put(ALIAS, alias, {"model_id": model_id})
            return warnings

    def delete_alias(self, model_id: str, alias: str) -> None:
        """Remove an alias: 404 when there is none, 409 when it points elsewhere or a pipeline names it."""
        with self._backend.lock:
            known = self._backend.state.get(ALIAS, alias)
            if known is None:
                raise not_found(f"model_alias [{alias}] could not be found")
            if known["model_id"] != model_id:
                raise conflict(f"model_alias [{alias}] does not refer to provided model_id [{model_id}]")
            if pipelines_naming(self._backend.state, {alias}):
                raise conflict(f"Cannot delete model_alias [{alias}] as it is still referenced by ingest processors")
            self._backend.state.delete(ALIAS, alias)

    # Inference ------------------------------------------------------------------------------------------------------

    def load(self, model: str) -> LoadedModel:
        """A model by id or alias, ready to infer.

        :raises ElasticError: 404 "Could not find trained model".
        """
        model_id = self.concrete_id(model)
        with self._lock:
            loaded = self._loaded.get(model_id)
            if loaded is not None:
                return loaded
        config = self._backend.state.get(CONFIG, model_id)
        if config is None:
            raise not_found(f"Could not find trained model [{model_id}]")
        loaded = LoadedModel(
            model_id,
            parse_definition(self._definition_body(model_id)),
            parse_inference_config(config["inference_config"]),
            config["input"]["field_names"],
            config.get("default_field_map") or {},
        )
        with self._lock:
            self._loaded[model_id] = loaded
            self._counts_of(model_id).cache_misses += 1
        return loaded

    def _counts_of(self, model_id: str) -> _Counts:
        return self._counts.setdefault(model_id, _Counts())

    def infer(
        self,
        model: LoadedModel,
        documents: Sequence[Mapping[str, Any]],
        update: dict[str, Any] | None = None,
        field_map: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        """Infer and count."""
        counts = self._counts_of(model.model_id)
        try:
            results = model.infer(documents, update, field_map)
        except ElasticError:
            with self._lock:
                counts.failures += len(documents)
                counts.timestamp = self._backend.clock.now_ms()
            raise
        with self._lock:
            counts.inferences += len(documents)
            counts.missing_all_fields += sum("warning" in result and len(result) == 1 for result in results)
            counts.timestamp = self._backend.clock.now_ms()
        return results

    def stats(self, model_id: str) -> dict[str, Any]:
        """One entry of `_stats`: size, inference counters, and the pipelines that name the model or its aliases."""
        config = self.config(model_id)
        counts = self._counts.get(model_id, _Counts())
        pipelines = pipelines_naming(self._backend.state, {model_id, *self.aliases_of(model_id)})
        shown: dict[str, Any] = {
            "model_id": model_id,
            "model_size_stats": {
                "model_size_bytes": config["model_size_bytes"],
                "required_native_memory_bytes": 0,
            },
            "pipeline_count": len(pipelines),
        }
        if pipelines:
            shown["ingest"] = _ingest_section(self._backend.ingest.stats(pipelines))
        if counts.timestamp:
            shown["inference_stats"] = {
                "failure_count": counts.failures,
                "inference_count": counts.inferences,
                "cache_miss_count": counts.cache_misses,
                "missing_all_fields_count": counts.missing_all_fields,
                "timestamp": counts.timestamp,
            }
        return shown


def _ingest_section(stats: dict[str, Any]) -> dict[str, Any]:
    """Ingest statistics of some pipelines, with their own sum as `total` (TransportGetTrainedModelsStatsAction)."""
    names = ("count", "time_in_millis", "current", "failed")
    pipelines = stats["pipelines"].values()
    return {"total": {n: sum(p.get(n, 0) for p in pipelines) for n in names}, "pipelines": stats["pipelines"]}


def _validation(problem: str) -> ElasticError:
    return ElasticError(400, "action_request_validation_exception", f"Validation Failed: 1: {problem};")


def _check_replacement(alias: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    kinds = [next(iter(model["inference_config"])) for model in (old, new)]
    if kinds[0] != kinds[1]:
        raise bad_request(
            f"cannot reassign model_alias [{alias}] to model [{new['model_id']}] with inference config type "
            f"[{kinds[1]}] from model [{old['model_id']}] with type [{kinds[0]}]"
        )
    before, after = set(old["input"]["field_names"]), set(new["input"]["field_names"])
    # Elasticsearch warns when the shared inputs are at most a tenth of all
    if len(before & after) * 10 <= len(before | after):
        return [
            f"The input fields for new model [{new['model_id']}] and for old model [{old['model_id']}] differ "
            "significantly, model results may change drastically."
        ]
    return []
