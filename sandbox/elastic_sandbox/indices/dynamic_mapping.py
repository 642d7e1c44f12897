"""Dynamic mapping: which field a value becomes when the mapping does not know it.

Rules (Elasticsearch reference, "Dynamic field mapping" and "Dynamic templates"): the first dynamic template that
matches decides; otherwise true/false → boolean, whole number → long, fraction → float, text that reads as a date →
date, other text → text with a ``keyword`` multi-field.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

from elastic_sandbox.indices.dates import parser
from elastic_sandbox.indices.mapping_definition import Definition, normalise_properties

_DATE_FORMATS = ["strict_date_optional_time", "yyyy/MM/dd HH:mm:ss Z||yyyy/MM/dd Z"]
_DEFAULT_FIELDS: dict[str, Definition] = {
    "boolean": {"type": "boolean"},
    "long": {"type": "long"},
    "double": {"type": "float"},
    "date": {"type": "date"},
    "string": {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}},
}
_DEFAULT_TYPE = {"boolean": "boolean", "long": "long", "double": "float", "date": "date", "string": "text"}


def properties_for(unmapped: list[tuple[str, Any]], definition: Definition) -> Definition:
    """The ``properties`` (canonical, nested) that the unmapped values of one document add.

    :param unmapped: full path and value, as the document parser found them
    """
    flat: dict[str, Definition] = {}
    for path, value in unmapped:
        _collect(path, value, definition, flat)
    return normalise_properties(flat, "") if flat else {}


def _collect(path: str, value: Any, definition: Definition, flat: dict[str, Definition]) -> None:
    if isinstance(value, list):
        for item in value:
            _collect(path, item, definition, flat)
        return
    if value is None:
        return
    if isinstance(value, dict):
        body = _from_template(path, "object", definition)
        if body is not None:
            flat.setdefault(path, body)
            if body.get("type", "object") not in {"object", "nested"} or body.get("enabled") is False:
                return
        elif not value:
            flat.setdefault(path, {"type": "object"})
        for key, item in value.items():
            _collect(f"{path}.{key}", item, definition, flat)
        return
    if path in flat:
        return
    kind, body = _json_type(value, definition)
    flat[path] = _from_template(path, kind, definition) or body


def _json_type(value: Any, definition: Definition) -> tuple[str, Definition]:
    if isinstance(value, bool):
        kind = "boolean"
    elif isinstance(value, int):
        kind = "long"
    elif isinstance(value, float):
        kind = "double"
    else:
        return _text_type(value, definition)
    return kind, _DEFAULT_FIELDS[kind]


def _text_type(text: str, definition: Definition) -> tuple[str, Definition]:
    if definition.get("date_detection", True) and re.search("[:/-]", text):
        formats = definition.get("dynamic_date_formats")
        for date_format in formats or _DATE_FORMATS:
            try:
                parser(date_format)(text)
            except ValueError:
                continue
            # A format other than the default is kept on the field, or its values could not be read again.
            keep = {} if date_format == _DATE_FORMATS[0] else {"format": date_format}
            return "date", {"type": "date", **keep}
    if definition.get("numeric_detection", False):
        if re.fullmatch(r"-?\d+", text):
            return "long", _DEFAULT_FIELDS["long"]
        if re.fullmatch(r"-?\d+\.\d+", text):
            return "double", _DEFAULT_FIELDS["double"]
    return "string", _DEFAULT_FIELDS["string"]


def _from_template(path: str, kind: str, definition: Definition) -> Definition | None:
    name = path.rsplit(".", maxsplit=1)[-1]
    for item in definition.get("dynamic_templates", []):
        [(_, template)] = item.items()
        if _matches(template, name, path, kind):
            return _with_type(_substitute(template["mapping"], name, kind), kind)
    return None


def _matches(template: Definition, name: str, path: str, kind: str) -> bool:
    kinds = _listed(template.get("match_mapping_type", "*" if kind != "object" else None))
    if "match_mapping_type" in template or kind != "object":
        if "*" not in kinds and kind not in kinds:
            return False
    elif "path_match" not in template and "match" not in template:
        return False
    if kind in _listed(template.get("unmatch_mapping_type")):
        return False
    regex = template.get("match_pattern") == "regex"

    def hit(patterns: Any, text: str) -> bool:
        found = _listed(patterns)
        if regex:
            return any(re.fullmatch(pattern, text) for pattern in found)
        return any(fnmatchcase(text, pattern) for pattern in found)

    if "match" in template and not hit(template["match"], name):
        return False
    if "path_match" in template and not hit(template["path_match"], path):
        return False
    return not (hit(template.get("unmatch"), name) or hit(template.get("path_unmatch"), path))


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _substitute(mapping: Any, name: str, kind: str) -> Any:
    if isinstance(mapping, dict):
        return {_substitute(key, name, kind): _substitute(value, name, kind) for key, value in mapping.items()}
    if isinstance(mapping, list):
        return [_substitute(item, name, kind) for item in mapping]
    if isinstance(mapping, str):
        dynamic = _DEFAULT_TYPE.get(kind, kind)
        return mapping.replace("{name}", name).replace("{dynamic_type}", dynamic).replace("{dynamicType}", dynamic)
    return mapping


def _with_type(mapping: Definition, kind: str) -> Definition:
    return mapping if "type" in mapping else {"type": _DEFAULT_TYPE.get(kind, kind), **mapping}
