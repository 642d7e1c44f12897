"""Which fields of the source indices an analysis uses, and why not the others.

The rules and the reasons `_explain` reports are those of Elasticsearch's ExtractedFieldsDetector: supported types,
`analyzed_fields`, the required dependent variable, one of a field and its multi-fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from elastic_sandbox.ml.analysis_config import analysis_of, is_filtered_out
from elastic_sandbox.ml.strict import bad_request, matches

NUMERICAL: Final = frozenset(
    {"long", "integer", "short", "byte", "double", "float", "half_float", "scaled_float", "unsigned_long"}
)
CATEGORICAL: Final = frozenset({"text", "keyword", "ip"})
DISCRETE: Final = frozenset({"long", "integer", "short", "byte", "unsigned_long"})
BOOLEAN: Final = frozenset({"boolean"})
DEPENDENT: Final = {"classification": CATEGORICAL | DISCRETE | BOOLEAN, "regression": NUMERICAL}
"""The types a dependent variable may have (Elastic's tests of ExtractedFieldsDetector)."""
INCREMENTAL_ID: Final = "ml__incremental_id"


@dataclass
class SourceField:
    """One field over all source indices: its types there, and the field it is a multi-field of."""

    types: set[str]
    parent: str | None = None


@dataclass
class SourceFields:
    """The merged mappings: fields, and the paths of nested and plain objects."""

    fields: dict[str, SourceField]
    nested: set[str]
    objects: set[str]


@dataclass
class Selection:
    """The outcome: what `_explain` lists, and the features in name order with their source paths."""

    kind: str
    """The kind of analysis."""
    field_selection: list[dict[str, Any]]
    features: list[str]
    categorical: list[str]
    dependent_variable: str | None
    """What is learned; None where the analysis learns nothing (outlier detection)."""
    dependent_types: set[str]
    parents: dict[str, str]
    """Multi-field → the field whose value stands in `_source`."""

    def source_path(self, field: str) -> str:
        """Where a field's value is found in `_source`."""
        return self.parents.get(field, field)

    @property
    def prediction_field_type(self) -> str:
        """How predictions are written: as `string`, `boolean` or `number`, like the dependent variable."""
        if self.dependent_types <= BOOLEAN:
            return "boolean"
        return "number" if self.dependent_types <= DISCRETE else "string"


def merge_mappings(indices: list[Any]) -> SourceFields:
    """The fields of several indices together (`elastic_sandbox.indices.Index`)."""
    merged = SourceFields({}, set(), set())
    for index in indices:
        for path, field in index.mapping.fields.items():
            known = merged.fields.setdefault(path, SourceField(set(), field.parent))
            known.types.add(field.type)
        for path, item in index.mapping.objects.items():
            (merged.nested if item.type == "nested" else merged.objects).add(path)
    return merged


def select_fields(config: dict[str, Any], source: SourceFields) -> Selection:
    """Choose the fields of an analysis.

    :raises ElasticError: 400 when the dependent variable or every feature is missing, or a chosen field cannot be used.
    """
    return _Selector(config, source).select()


class _Selector:
    def __init__(self, config: dict[str, Any], source: SourceFields) -> None:
        self.kind, options = analysis_of(config)
        self.dependent: str | None = options.get("dependent_variable")
        categorical = CATEGORICAL if self.dependent is not None else frozenset[str]()
        self.supported = (NUMERICAL, categorical, BOOLEAN)
        self.listed_types = ", ".join(sorted(NUMERICAL | categorical | BOOLEAN))
        self.results_prefix = config["dest"]["results_field"] + "."
        self.analyzed = config.get("analyzed_fields")
        self.source_filter = config["source"].get("_source")
        self.source = source
        self.excluded: dict[str, dict[str, Any]] = {}
        outer = sorted(source.nested)
        self.nested = [p for p in outer if not any(p.startswith(o + ".") for o in outer)]

    def select(self) -> Selection:
        if self.dependent is not None and self.dependent not in self.source.fields:
            raise bad_request(f"no mappings could be found for field [{self.dependent}]")
        chosen = [
            path
            for path in sorted(self.source.fields)
            if not path.startswith((self.results_prefix, "_"))
            and path != INCREMENTAL_ID
            and not is_filtered_out(self.source_filter, path)
        ]
        includes = (self.analyzed or {}).get("includes") or []
        if not includes:
            chosen = [path for path in chosen if self._keep_compatible(path)]
        if self.analyzed:
            chosen = self._apply_filter(chosen, includes, self.analyzed.get("excludes") or [])
        self._check_types(chosen)
        if self.dependent is not None:
            self._check_dependent(self.dependent, chosen)
        chosen = self._one_of_each_multi_field(chosen)
        features = [path for path in chosen if path != self.dependent]
        if not features:
            excluding = "" if self.dependent is None else f" (excluding fields [{self.dependent}])"
            raise bad_request(f"at least one field must be included in the analysis{excluding}")
        categorical = [path for path in features if self._types(path) <= CATEGORICAL]
        parents = {p: f.parent for p in chosen if (f := self.source.fields[p]).parent is not None}
        return Selection(
            self.kind,
            self._listed(chosen, categorical),
            features,
            categorical,
            self.dependent,
            set() if self.dependent is None else self._types(self.dependent),
            {path: parent for path, parent in parents.items() if parent is not None},
        )

    def _types(self, path: str) -> set[str]:
        return self.source.fields[path].types

    def _compatible(self, path: str) -> bool:
        return any(self._types(path) <= family for family in self.supported)

    def _nested_pattern(self, path: str) -> str | None:
        return next((f"{outer}.*" for outer in self.nested if path.startswith(outer + ".")), None)

    def _exclude(self, path: str, reason: str, types: set[str] | None = None) -> None:
        self.excluded[path] = {
            "name": path,
            "mapping_types": sorted(types or self._types(path)),
            "is_included": False,
            "is_required": False,
            "reason": reason,
        }

    def _exclude_unusable(self, path: str) -> bool:
        pattern = self._nested_pattern(path)
        if pattern is not None:
            self._exclude(pattern, "nested fields are not supported", {"nested"})
        elif not self._compatible(path):
            self._exclude(path, f"unsupported type; supported types are [{self.listed_types}]")
        else:
            return False
        return True

    def _keep_compatible(self, path: str) -> bool:
        return not self._exclude_unusable(path)

    def _apply_filter(self, chosen: list[str], includes: list[str], excludes: list[str]) -> list[str]:
        objects = [p for p in [*includes, *excludes] if p in self.source.objects or p in self.source.nested]
        if objects:
            listed = ", ".join(objects)
            raise bad_request(f"analyzed_fields must not include or exclude object or nested fields: [{listed}]")
        for pattern in includes:
            if not any(matches(pattern, path) for path in chosen):
                raise bad_request(f"No field [{pattern}] could be detected")
        kept = []
        for path in chosen:
            if includes and not any(matches(pattern, path) for pattern in includes):
                if not self._exclude_unusable(path):
                    self._exclude(path, "field not in includes list")
            elif any(matches(pattern, path) for pattern in excludes):
                self._exclude(path, "field in excludes list")
            else:
                kept.append(path)
        return kept

    def _check_types(self, chosen: list[str]) -> None:
        for path in chosen:
            if not self._compatible(path):
                types = ", ".join(sorted(self._types(path)))
                raise bad_request(
                    f"field [{path}] has unsupported type [{types}]. Supported types are [{self.listed_types}]."
                )
            pattern = self._nested_pattern(path)
            if pattern is not None:
                raise bad_request(f"nested fields [{pattern}] are not supported")

    def _check_dependent(self, dependent: str, chosen: list[str]) -> None:
        if dependent not in chosen:
            raise bad_request(f"required field [{dependent}] is missing; analysis requires fields [{dependent}]")
        types, allowed = self._types(dependent), DEPENDENT[self.kind]
        if not types <= allowed:
            raise bad_request(
                f"invalid types [{', '.join(sorted(types))}] for required field [{dependent}]; "
                f"expected types are [{', '.join(sorted(allowed))}]"
            )

    def _one_of_each_multi_field(self, chosen: list[str]) -> list[str]:
        kept: dict[str, str] = {}
        for path in chosen:  # sorted, so a parent comes before its multi-fields
            family = self.source.fields[path].parent or path
            other = kept.get(family)
            kept[family] = path if other is None else self._prefer(other, path)
        return sorted(kept.values())

    def _prefer(self, first: str, second: str) -> str:
        for wanted, other in ((first, second), (second, first)):
            if wanted == self.dependent:
                self._exclude(other, f"[{wanted}] is required instead")
                return wanted
        if self.source.fields[first].parent is not None:
            self._exclude(second, f"[{first}] came first")
            return first
        for wanted, other in ((first, second), (second, first)):
            if "text" not in self._types(wanted):
                self._exclude(other, f"[{wanted}] is preferred because it is aggregatable")
                return wanted
        self._exclude(second, f"[{first}] is preferred because none of the multi-fields are aggregatable")
        return first

    def _listed(self, chosen: list[str], categorical: list[str]) -> list[dict[str, Any]]:
        listed = dict(self.excluded)
        label = self.dependent if self.kind == "classification" else None
        for path in chosen:
            listed[path] = {
                "name": path,
                "mapping_types": sorted(self._types(path)),
                "is_included": True,
                "is_required": path == self.dependent,
                "feature_type": "categorical" if path in categorical or path == label else "numerical",
            }
        return [listed[name] for name in sorted(listed)]
