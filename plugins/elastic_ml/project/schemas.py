"""JSON Schemas of the files that users write, for editors that complete and check YAML."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from elastic_ml.project.anomaly_job import AnomalyJob
from elastic_ml.project.durations import print_duration
from elastic_ml.project.model import MODEL_NAME_PATTERN, Model
from elastic_ml.project.settings import ProjectSettings
from elastic_ml.project.source import Source

_FILES: dict[str, tuple[str, type[BaseModel]]] = {
    "project": ("project.yml", ProjectSettings),
    "model": ("models/<name>.yml", Model),
    "source": ("sources/<name>.yml", Source),
    "anomaly_job": ("anomaly_jobs/<name>.yml", AnomalyJob),
}


class _Schema(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        """Durations by default as people write them, not in ISO 8601."""
        return print_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def json_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (draft 2020-12) by kind of file: `project`, `model`, `source`, `anomaly_job`.

    What comes from the file's name is not part of its schema.
    """
    schemas = {}
    for kind, (title, shape) in _FILES.items():
        schema = shape.model_json_schema(by_alias=True, schema_generator=_Schema)
        if "name" in shape.model_fields and shape.model_fields["name"].exclude:
            del schema["properties"]["name"]
            schema["required"].remove("name")
            schema["description"] = f"{schema['description']} File names match {MODEL_NAME_PATTERN}."
        schemas[kind] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}
    return schemas
