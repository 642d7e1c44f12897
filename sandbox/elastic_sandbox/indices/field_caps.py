"""Field capabilities: one answer over the mappings of many indices, conflicts included."""

from __future__ import annotations

from typing import Any

from elastic_sandbox.indices.index import Index
from elastic_sandbox.indices.names import matches

# Types that report as their family (MappedFieldType.familyTypeName).
_FAMILY = {"match_only_text": "text", "wildcard": "keyword", "constant_keyword": "keyword"}
_NOT_AGGREGATABLE = {"text", "match_only_text", "object", "nested"}
# These are searched by their doc values where they have no index, since 8.1 (field_caps/10_basic.yml).
_BY_DOC_VALUES = {
    "keyword", "boolean", "date", "date_nanos", "ip", "geo_point", "long", "integer", "short", "byte", "double",
    "float", "half_float", "scaled_float", "unsigned_long",
}  # fmt: skip
_METADATA = {
    "_id": ("_id", True, False),
    "_index": ("_index", True, True),
    "_ignored": ("_ignored", True, True),
    "_seq_no": ("_seq_no", True, True),
    "_version": ("_version", False, True),
    "_source": ("_source", False, False),
    "_routing": ("_routing", True, False),
}


def field_caps(indices: list[Index], patterns: list[str], *, unmapped: bool, types: list[str] | None) -> dict[str, Any]:
    """The body of ``_field_caps``: per field, per type, whether it can be searched and aggregated, and where."""
    fields: dict[str, dict[str, dict[str, Any]]] = {}
    for index in indices:
        for path, (kind, searchable, aggregatable, metadata) in _of_index(index).items():
            if not any(matches(pattern, path) for pattern in patterns):
                continue
            if types is not None and kind not in types:
                continue
            entry = fields.setdefault(path, {}).setdefault(
                kind, {"metadata": metadata, "searchable": [], "aggregatable": [], "indices": []}
            )
            entry["indices"].append(index.name)
            entry["searchable"].append(searchable)
            entry["aggregatable"].append(aggregatable)
    names = sorted(index.name for index in indices)
    return {
        "indices": names,
        "fields": {path: _shown(kinds, names, unmapped) for path, kinds in sorted(fields.items())},
    }


def _of_index(index: Index) -> dict[str, tuple[str, bool, bool, bool]]:
    found: dict[str, tuple[str, bool, bool, bool]] = {
        name: (kind, searchable, aggregatable, True) for name, (kind, searchable, aggregatable) in _METADATA.items()
    }
    for path, item in index.mapping.objects.items():
        found[path] = (item.type, False, False, False)
    for path, field in index.mapping.fields.items():
        stored = field.params.get("doc_values", True) not in {False, "false"}
        indexed = field.params.get("index", True) not in {False, "false"}
        searchable = indexed or (stored and field.type in _BY_DOC_VALUES)
        aggregatable = stored and field.type not in _NOT_AGGREGATABLE
        found[path] = (_FAMILY.get(field.type, field.type), searchable, aggregatable, False)
    return found


def _shown(kinds: dict[str, dict[str, Any]], names: list[str], unmapped: bool) -> dict[str, Any]:
    mapped = {name for entry in kinds.values() for name in entry["indices"]}
    rest = [name for name in names if name not in mapped]
    if unmapped and rest:
        kinds = {
            **kinds,
            "unmapped": {"metadata": False, "searchable": [False], "aggregatable": [False], "indices": rest},
        }
    shown: dict[str, Any] = {}
    for kind, entry in sorted(kinds.items()):
        shown[kind] = {
            "type": kind,
            "metadata_field": entry["metadata"],
            "searchable": all(entry["searchable"]),
            "aggregatable": all(entry["aggregatable"]),
        }
        # Which indices is only said where they differ.
        if len(kinds) > 1:
            shown[kind]["indices"] = sorted(entry["indices"])
        for what in ("searchable", "aggregatable"):
            if any(entry[what]) and not all(entry[what]):
                pairs = zip(entry["indices"], entry[what], strict=True)
                shown[kind][f"non_{what}_indices"] = sorted(name for name, able in pairs if not able)
    return shown
