"""Mapping definitions as JSON: validation, merging of updates, merging of templates.

A definition is what ``GET _mapping`` shows. This file knows what may stand in one and what an update may change;
what a definition does to documents is in document_parser.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from elastic_sandbox.errors import ElasticError, illegal_argument, unsupported
from elastic_sandbox.indices.field_types import FIELD_TYPES, OTHER_TYPES, preview
from elastic_sandbox.shapes import EACH, STRINGS, check_shape

Definition = dict[str, Any]

_ROOT_PARAMETERS = {
    "dynamic", "properties", "dynamic_templates", "date_detection", "numeric_detection", "dynamic_date_formats",
    "_meta", "_source", "_routing", "_data_stream_timestamp", "runtime", "subobjects", "enabled",
}  # fmt: skip
_OBJECT_PARAMETERS = {"type", "dynamic", "enabled", "properties", "subobjects"}
_NESTED_PARAMETERS = _OBJECT_PARAMETERS - {"enabled", "subobjects"} | {"include_in_parent", "include_in_root"}
_FIELD_VALUES = {
    "format": str,
    "ignore_above": (int, str),
    "scaling_factor": (float, str),
    "fields": (EACH(dict), None),
    "locale": str,
    "path": str,
}
_DYNAMIC_VALUES = {"true", "false", "strict", "runtime"}


def is_object(definition: Definition) -> bool:
    """Whether a property is an object or nested, rather than a field."""
    return definition.get("type", "object") in {"object", "nested"}


def mapper_parsing(reason: str) -> ElasticError:
    """400 for a mapping that cannot be: the outer reason repeats the inner one, as the server words it."""
    cause = {"type": "mapper_parsing_exception", "reason": reason}
    return ElasticError(
        400, "mapper_parsing_exception", f"Failed to parse mapping: {reason}", caused_by=cause, root_cause=[cause]
    )


def normalise(definition: Definition) -> Definition:
    """Validate a definition and return it in canonical form: dotted names expanded, values as the server prints them.

    :raises ElasticError: 400 mapper_parsing_exception, or 501 for a feature the sandbox has not.
    """
    if not isinstance(definition, dict):
        raise mapper_parsing(f"Expected map for mapping but got a class {type(definition).__name__}")
    if set(definition) == {"_doc"}:
        raise illegal_argument("Types cannot be provided in put mapping requests")
    unknown = {key: value for key, value in definition.items() if key not in _ROOT_PARAMETERS}
    if unknown:
        listed = " ".join(f"[{key} : {preview(value)}]" for key, value in unknown.items())
        raise mapper_parsing(f"Root mapping definition has unsupported parameters:  {listed}")
    _refuse_unsupported_root(definition)
    canonical = {key: deepcopy(value) for key, value in definition.items() if key != "properties"}
    if "dynamic" in canonical:
        canonical["dynamic"] = _dynamic(canonical["dynamic"], "_doc")
    if "dynamic_templates" in canonical:
        _check_dynamic_templates(canonical["dynamic_templates"])
    if "properties" in definition:
        canonical["properties"] = normalise_properties(definition["properties"], "")
    return canonical


def _refuse_unsupported_root(definition: Definition) -> None:
    for feature, wanted in {
        "runtime": bool(definition.get("runtime")),
        "subobjects": definition.get("subobjects") not in {None, True, "true"},
        "_routing": bool(definition.get("_routing", {}).get("required")),
        "_source.enabled: false": definition.get("_source", {}).get("enabled") is False,
        "enabled: false": definition.get("enabled") is False,
    }.items():
        if wanted:
            raise unsupported(f"mapping parameter [{feature}] at the root")


def _dynamic(value: Any, where: str) -> str:
    text = preview(value)
    if text not in _DYNAMIC_VALUES:
        raise mapper_parsing(f"[{where}] Could not convert [{where}.dynamic] to dynamic: [{text}]")
    if text == "runtime":
        raise unsupported("dynamic: runtime in a mapping")
    return text


def _check_dynamic_templates(templates: Any) -> None:
    known = {"match", "unmatch", "path_match", "path_unmatch", "match_mapping_type", "unmatch_mapping_type",
             "match_pattern", "mapping"}  # fmt: skip
    if not isinstance(templates, list):
        raise mapper_parsing("Dynamic template syntax error. An array of named objects is expected.")
    conditions = dict.fromkeys(known - {"mapping"}, (*STRINGS, None))
    check_shape("mapping", templates, [EACH({"mapping": dict, **conditions})], "dynamic_templates")
    for template in templates:
        if not isinstance(template, dict) or len(template) != 1:
            raise mapper_parsing("A dynamic template must be defined with a name")
        [(name, body)] = template.items()
        if "runtime" in body:
            raise unsupported(f"runtime in dynamic template [{name}]")
        strange = sorted(set(body) - known)
        if strange:
            raise mapper_parsing(f"Illegal dynamic template parameter: [{strange[0]}]")
        if "mapping" not in body:
            raise mapper_parsing(f"template [{name}] must have either mapping or runtime set")


def normalise_properties(properties: Any, prefix: str) -> Definition:
    """Canonical form of a ``properties`` object whose parent's path is ``prefix`` (with its trailing dot)."""
    if not isinstance(properties, dict):
        raise mapper_parsing(f"Expected map for property [properties] on field [{prefix.rstrip('.') or '_doc'}]")
    canonical: Definition = {}
    for name, body in properties.items():
        if not name.strip() or any(not piece.strip() for piece in name.split(".")):
            raise mapper_parsing("field name cannot be an empty string")
        first, _, rest = name.partition(".")
        if rest:
            expanded = normalise_properties({first: {"properties": {rest: body}}}, prefix)[first]
        else:
            expanded = _normalise_property(body, prefix + first)
        if first in canonical:
            expanded = merge_property(canonical[first], expanded, prefix + first)
        canonical[first] = expanded
    return canonical


def _normalise_property(body: Any, path: str) -> Definition:
    if not isinstance(body, dict):
        raise mapper_parsing(f"Expected map for property [fields] on field [{path}] but got a class java.lang.String")
    check_shape("mapping", body, {"type": (str, None)}, path)
    kind = body.get("type") or ("object" if "properties" in body or set(body) <= _OBJECT_PARAMETERS else None)
    if kind is None:
        raise mapper_parsing(f"No type specified for field [{path.rsplit('.', maxsplit=1)[-1]}]")
    if kind in {"object", "nested"}:
        return _normalise_object(body, kind, path)
    return normalise_field(body, path)


def _normalise_object(body: Definition, kind: str, path: str) -> Definition:
    leaf = path.rsplit(".", maxsplit=1)[-1]
    strange = sorted(set(body) - (_NESTED_PARAMETERS if kind == "nested" else _OBJECT_PARAMETERS))
    if strange:
        raise mapper_parsing(
            f"Mapping definition for [{leaf}] has unsupported parameters:  [{strange[0]} : {preview(body[strange[0]])}]"
        )
    if body.get("include_in_parent") or body.get("include_in_root"):
        raise unsupported(f"include_in_parent of nested field [{path}]")
    if body.get("subobjects", True) not in {True, "true"}:
        raise unsupported(f"subobjects: false on [{path}]")
    canonical: Definition = {}
    if kind == "nested" or not body.get("properties"):
        canonical["type"] = kind
    if "dynamic" in body:
        canonical["dynamic"] = _dynamic(body["dynamic"], leaf)
    if "enabled" in body:
        canonical["enabled"] = body["enabled"] not in {False, "false"}
    if body.get("properties"):
        canonical["properties"] = normalise_properties(body["properties"], path + ".")
    return canonical


def normalise_field(body: Definition, path: str) -> Definition:
    """Validate one field (not object) definition; its multi-fields too."""
    leaf, kind = path.rsplit(".", maxsplit=1)[-1], body.get("type")
    if kind in OTHER_TYPES:
        raise unsupported(f"field type [{kind}] of [{path}]")
    if kind not in FIELD_TYPES:
        raise mapper_parsing(
            f"The mapper type [{kind}] declared on field [{leaf}] does not exist. It might have been created within a "
            "future version or requires a plugin to be installed. Check the documentation."
        )
    field_type = FIELD_TYPES[kind]
    strange = sorted(set(body) - field_type.parameters)
    if strange:
        raise mapper_parsing(f"unknown parameter [{strange[0]}] on mapper [{leaf}] of type [{kind}]")
    for feature in ("copy_to", "script", "time_series_dimension"):
        if body.get(feature):
            raise unsupported(f"mapping parameter [{feature}] of field [{path}]")
    if body.get("analyzer", "standard") != "standard" or body.get("search_analyzer", "standard") != "standard":
        raise unsupported(f"analyzer [{body.get('analyzer') or body.get('search_analyzer')}] of field [{path}]")
    if body.get("normalizer", "lowercase") != "lowercase":
        raise unsupported(f"normalizer [{body['normalizer']}] of field [{path}]")
    check_shape("mapping", body, _FIELD_VALUES, path)
    canonical = {"type": kind, **{key: deepcopy(value) for key, value in body.items() if key not in {"type", "fields"}}}
    field_type.converter(path, canonical)  # refuses a bad date format or a missing scaling_factor
    if body.get("fields"):
        check_shape("fields", body["fields"], EACH({"type": str}))
        for name, sub in body["fields"].items():
            if sub.get("fields") or is_object(sub):
                raise mapper_parsing(f"Type [{sub.get('type', 'object')}] cannot be used in multi field")
            canonical.setdefault("fields", {})[name] = normalise_field(sub, f"{path}.{name}")
    return canonical


def merge(old: Definition, new: Definition) -> Definition:
    """Apply an update (``PUT _mapping``, dynamic mapping) to a definition; both canonical.

    :raises ElasticError: 400 illegal_argument_exception where the update contradicts what is there.
    """
    merged = deepcopy(old)
    for key, value in new.items():
        if key != "properties":
            merged[key] = deepcopy(value)
    if "properties" in new:
        merged["properties"] = merge_properties(old.get("properties", {}), new["properties"], "")
    return merged


def merge_properties(old: Definition, new: Definition, prefix: str) -> Definition:
    """Apply an update to one ``properties`` object."""
    merged = dict(old)
    for name, body in new.items():
        path = prefix + name
        merged[name] = merge_property(old[name], body, path) if name in old else deepcopy(body)
    return merged


def merge_property(old: Definition, new: Definition, path: str) -> Definition:
    """Apply an update to one property."""
    if is_object(old) != is_object(new):
        if is_object(old):
            raise illegal_argument(f"can't merge a non object mapping [{path}] with an object mapping")
        raise illegal_argument(f"can't merge a non object mapping [{path}] with an object mapping")
    if is_object(old):
        return _merge_object(old, new, path)
    if old["type"] != new["type"]:
        raise illegal_argument(f"mapper [{path}] cannot be changed from type [{old['type']}] to [{new['type']}]")
    _check_parameters(old, new, path)
    # Parameters that an update may change and leaves out keep their value only when they are merged as a set.
    merged = deepcopy(new)
    if old["type"] == "constant_keyword" and "value" in old:
        merged.setdefault("value", old["value"])
    fields = merge_properties(old.get("fields", {}), new.get("fields", {}), path + ".")
    if fields:
        merged["fields"] = fields
    return merged


def _merge_object(old: Definition, new: Definition, path: str) -> Definition:
    if (old.get("type") == "nested") != (new.get("type") == "nested"):
        if old.get("type") == "nested":
            raise illegal_argument(f"can't merge a nested mapping [{path}] with a non-nested mapping")
        raise illegal_argument(f"can't merge a non-nested mapping [{path}] with a nested mapping")
    if "enabled" in new and new["enabled"] != old.get("enabled", True):
        raise ElasticError(
            400, "mapper_exception", f"the [enabled] parameter can't be updated for the object mapping [{path}]"
        )
    merged = {**old, **{key: value for key, value in new.items() if key not in {"properties", "type"}}}
    properties = merge_properties(old.get("properties", {}), new.get("properties", {}), path + ".")
    if properties:
        merged["properties"] = properties
        if merged.get("type") == "object":
            del merged["type"]
    return merged


def _check_parameters(old: Definition, new: Definition, path: str) -> None:
    fixed = FIELD_TYPES[old["type"]].parameters - FIELD_TYPES[old["type"]].updatable - {"type"}
    defaults: dict[str, Any] = {"index": True, "doc_values": True, "store": False, "norms": old["type"] == "text"}
    problems = []
    for name in sorted(fixed):
        before, after = old.get(name, defaults.get(name)), new.get(name, defaults.get(name))
        if name == "value" and (before is None or after is None):
            continue
        if before != after:
            problems.append(f"Cannot update parameter [{name}] from [{preview(before)}] to [{preview(after)}]")
    if problems:
        raise illegal_argument(f"Mapper for [{path}] conflicts with existing mapper:\n\t" + "\n\t".join(problems))


def merge_templates(base: Definition, over: Definition) -> Definition:
    """Join the mappings of two templates: the later one wins field by field, objects are joined."""
    merged = deepcopy(base)
    for key, value in over.items():
        if key == "properties":
            merged["properties"] = _overlay_properties(base.get("properties", {}), value)
        elif key == "dynamic_templates":
            named = {next(iter(item)): item for item in base.get("dynamic_templates", [])}
            named.update({next(iter(item)): item for item in value})
            merged[key] = deepcopy(list(named.values()))
        elif key == "_meta" and isinstance(merged.get("_meta"), dict):
            merged["_meta"] = {**merged["_meta"], **deepcopy(value)}
        else:
            merged[key] = deepcopy(value)
    return merged


def _overlay_properties(base: Definition, over: Definition) -> Definition:
    merged = deepcopy(base)
    for name, body in over.items():
        before = merged.get(name)
        if before is not None and is_object(before) and is_object(body):
            joined = {**before, **{key: deepcopy(value) for key, value in body.items() if key != "properties"}}
            properties = _overlay_properties(before.get("properties", {}), body.get("properties", {}))
            if properties:
                joined["properties"] = properties
                if joined.get("type") == "object":
                    del joined["type"]
            merged[name] = joined
        else:
            merged[name] = deepcopy(body)
    return merged


def paths(properties: Definition, prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """Every object, field and multi-field of a canonical ``properties`` object with its full path."""
    for name, body in properties.items():
        path = prefix + name
        yield path, body
        yield from paths(body.get("properties", {}), path + ".")
        yield from paths(body.get("fields", {}), path + ".")
