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
FILTERS = frozenset({"+metadata", "-metadata", "parent", "-parent", "-nested", "-multifield"})
"""Values of the ``filters`` parameter (FieldCapabilitiesFetcher.buildFilter)."""
_METADATA = {
    "_id": ("_id", True, False),
    "_index": ("_index", True, True),
    "_ignored": ("_ignored", True, True),
    "_seq_no": ("_seq_no", True, True),
    "_version": ("_version", False, True),
    "_source": ("_source", False, False),
    "_routing": ("_routing", True, False),
}


def field_caps(
    indices: list[Index],
    patterns: list[str],
    *,
    unmapped: bool,
    types: list[str] | None,
    filters: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """The body of ``_field_caps``: per field, per type, whether it can be searched and aggregated, and where.

    :param filters: of :data:`FILTERS`
    """
    fields: dict[str, dict[str, dict[str, Any]]] = {}
    for index in indices:
        for path, (kind, searchable, aggregatable, metadata) in _of_index(index, patterns, types, filters).items():
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


def _of_index(
    index: Index, patterns: list[str], types: list[str] | None, filters: frozenset[str]
) -> dict[str, tuple[str, bool, bool, bool]]:
    """By path (type, searchable, aggregatable, metadata field).

    Objects are not asked for by name: they come with a field inside them, whatever the pattern says
    (FieldCapabilitiesFetcher.retrieveFieldCaps), unless ``types`` leaves them out (60_types_filter_objects.yml).
    """
    known: dict[str, tuple[str, bool, bool, bool]] = {
        name: (kind, searchable, aggregatable, True) for name, (kind, searchable, aggregatable) in _METADATA.items()
    }
    for path, field in index.mapping.fields.items():
        if ("-nested" in filters and field.nested) or ("-multifield" in filters and field.parent):
            continue
        stored = field.params.get("doc_values", True) not in {False, "false"}
        indexed = field.params.get("index", True) not in {False, "false"}
        searchable = indexed or (stored and field.type in _BY_DOC_VALUES)
        aggregatable = stored and field.type not in _NOT_AGGREGATABLE
        known[path] = (_FAMILY.get(field.type, field.type), searchable, aggregatable, False)
    found = {
        path: caps
        for path, caps in known.items()
        if any(matches(pattern, path) for pattern in patterns)
        and (types is None or caps[0] in types)
        and ("-metadata" if caps[3] else "+metadata") not in filters
    }
    if "-parent" not in filters:
        parents = {path[:at] for path in found for at, character in enumerate(path) if character == "."}
        for path, item in index.mapping.objects.items():
            if path in parents and (types is None or item.type in types):
                found[path] = (item.type, False, False, False)
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
