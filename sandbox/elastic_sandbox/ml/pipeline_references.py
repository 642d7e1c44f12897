"""Which ingest pipelines name which models, read from the stored pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elastic_sandbox.state import ClusterState


def inference_processors(pipeline: Any) -> Iterator[dict[str, Any]]:
    """The configurations of all inference processors in a pipeline, those in on_failure and foreach included."""
    if isinstance(pipeline, list):
        for item in pipeline:
            yield from inference_processors(item)
    elif isinstance(pipeline, dict):
        for key, value in pipeline.items():
            if key == "inference" and isinstance(value, dict) and "model_id" in value:
                yield value
            if key != "_meta":
                yield from inference_processors(value)


def pipelines_naming(state: ClusterState, names: set[str]) -> list[str]:
    """The pipelines that have an inference processor for one of these model ids or aliases."""
    return [
        pipeline_id
        for pipeline_id, body in state.items("pipeline")
        if any(config["model_id"] in names for config in inference_processors(body))
    ]
