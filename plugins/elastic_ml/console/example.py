"""What a script has to know that a DAG asks the cluster for: types of features, and documents to show."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elastic_ml.project.features import continuous_transform, features_of, mapping_of, sources_of
from elastic_ml.project.yaml_files import file_error, line_of_key
from elastic_ml.sources.records import get_path, set_path

if TYPE_CHECKING:
    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project
    from elastic_ml.training.run import TrainingRun

DAY = date(2026, 6, 30)
SAMPLE = "sample.ndjson"
_GENERAL = {bool: "boolean", str: "keyword", int: "double", float: "double"}
"""Types that the audit streams give to what they do not know, such as `audit.*`."""


@dataclass(frozen=True)
class Example:
    """The day and the documents that the scripts are written for.

    :param samples: `(stream, document)`, as an ingestion would send them.
    :param unknown_type: the type of features of which nothing says it; None where that is an error.
    """

    project: Project
    day: date = DAY
    samples: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    unknown_type: str | None = None

    @classmethod
    def of(cls, project: Project, folder: Path, day: date = DAY) -> Example:
        """Read the documents of `sample.ndjson` in the scripts' folder; there may be none.

        :raises ProjectFileError: a line is no object with `stream` and `document`, or its document has no `event.id`.
        """
        path = folder / SAMPLE
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        except UnicodeDecodeError as error:
            raise file_error(path, None, "", f"cannot be read: {error}", "save it as UTF-8") from None
        found = []
        for number, line in enumerate(lines, start=1):
            try:
                one = json.loads(line)
                sample = (str(one["stream"]), dict(one["document"]))
                str(sample[1]["event"]["id"])
            except (ValueError, TypeError, KeyError) as error:
                lacks = f": it has no {error}" if isinstance(error, KeyError) else ""
                shape = json.dumps({"stream": "logs-...", "document": _document(day)})
                raise file_error(path, number, "", f"the line is no sample{lacks}", f"write {shape}") from None
            found.append(sample)
        return cls(project, day, found)

    def run(self, model: str) -> TrainingRun:
        """The training of a model for the day, as somebody's own run."""
        from elastic_ml.training.run import TrainingRun

        rendered = {"day": self.day.isoformat(), "run_type": "manual"}
        return TrainingRun.of(str(self.project.folder), model, rendered)

    def types(self, model: Model) -> dict[str, str]:
        """Mapping types of a model's features: by the templates, else by the samples' values.

        :raises ProjectFileError: nothing says of which type a feature is; the remedy is a line of `sample.ndjson`.
        """
        known = dict(_flat(self._mapped(model)))
        found = {}
        for feature in model.features:
            values = [get_path(document, feature) for _, document in self.samples]
            value = next((value for value in values if value is not None), None)
            value = value[0] if isinstance(value, list) and value else value
            found[feature] = known.get(feature) or _GENERAL.get(type(value)) or self.unknown_type
        unknown = [feature for feature, kind in found.items() if kind is None]
        if unknown:
            path = self.project.folder / "models" / f"{model.name}.yml"
            line = {"stream": model.source.index[0], "document": _document(self.day, unknown)}
            raise file_error(
                path,
                line_of_key(path, "features", model.features.index(unknown[0])),
                "features",
                f"nothing says of which type {', '.join(unknown)} {'is' if len(unknown) == 1 else 'are'}",
                f"add a line to {SAMPLE} in the folder of the scripts, with values where the dots are: "
                f"{json.dumps(line, ensure_ascii=False)}",
            )
        return {feature: kind for feature, kind in found.items() if kind is not None}

    def documents(self, model: Model) -> list[dict[str, Any]]:
        """Documents to try a model on, as `_simulate` takes them: samples of its streams, or one made up."""
        own = [(stream, document) for stream, document in self.samples if stream in model.source.index]
        if not own:
            own = [(model.source.index[0], _made_up(self.types(model)))]
        return [{"_index": stream, "_id": str(number), "_source": document} for number, (stream, document) in
                enumerate(own, start=1)]  # fmt: skip

    def _mapped(self, model: Model) -> Mapping[str, Any]:
        if self.project.names.features in model.source.index:
            return self._features
        return self._audit

    @cached_property
    def _audit(self) -> Mapping[str, Any]:
        body = self.project.templates.render("component_templates/audit_mappings.yml.j2", models=[])
        return dict(body["template"]["mappings"]["properties"])

    @cached_property
    def _features(self) -> Mapping[str, Any]:
        pivot = continuous_transform(self.project)["pivot"]
        return mapping_of(list(features_of(self.project, pivot)), sources_of(pivot))


def _document(day: date, features: Sequence[str] = ()) -> dict[str, Any]:
    """A document of a sample, with dots for the values of features."""
    document: dict[str, Any] = {
        "@timestamp": f"{day.isoformat()}T09:00:00Z",
        "event": {"id": "example-1"},
        "user": {"id": "u1"},
    }
    for feature in features:
        set_path(document, feature, "...")
    return document


def _flat(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, definition in properties.items():
        if "properties" in definition:
            yield from _flat(definition["properties"], f"{prefix}{name}.")
        elif "type" in definition:
            kind = str(definition["type"])
            yield f"{prefix}{name}", "keyword" if kind == "constant_keyword" else kind


def _made_up(types: Mapping[str, str]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for feature, kind in types.items():
        *parents, last = feature.split(".")
        inner = document
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = {"keyword": "a", "boolean": False}.get(kind, 1)
    return document
