"""Definitions of runtime fields, as a search, a datafeed or an analysis carries them.

Rules and words: Elasticsearch's `RuntimeField` and its tests, and the YAML tests `runtime_fields`. Types without a
caller (composite, geo_point, lookup) are 501.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import ElasticError, unsupported
from elastic_sandbox.indices.dates import DEFAULT_FORMAT, parser
from elastic_sandbox.search.source import wildcard_regex

if TYPE_CHECKING:
    from elastic_sandbox.painless.field_script import FieldScript

TYPES: Final = ("boolean", "date", "double", "ip", "keyword", "long")
_OTHER_TYPES: Final = frozenset({"composite", "geo_point", "geo_shape", "lookup"})
_PARAMETERS: Final = frozenset({"meta", "on_script_error", "script"})
_JAVA: Final = {str: "java.lang.String", bool: "java.lang.Boolean", int: "java.lang.Integer",
                float: "java.lang.Double", list: "java.util.ArrayList"}  # fmt: skip


@dataclass(frozen=True)
class RuntimeField:
    """One runtime field.

    :param script: None where its values are those of the same name in `_source`
    :param lenient: whether a document on which the script fails has no value, rather than failing the search
    """

    name: str
    type: str
    script: FieldScript | None
    params: dict[str, Any]
    format: str = DEFAULT_FORMAT
    lenient: bool = False


@dataclass(frozen=True)
class RuntimeMappings:
    """The runtime fields of one request.

    :param body: as they came; parsed where the indices are looked at, as the server's shards do
    :param uses: texts of the request among which the names are that must be evaluated for documents that match
    """

    body: dict[str, Any] = field(default_factory=dict)
    uses: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.body)


def parse_runtime_fields(body: dict[str, Any]) -> dict[str, RuntimeField]:
    """Runtime fields by name, compiled.

    :raises ElasticError: 400 mapper_parsing_exception or script_exception, 501 for types and Painless that are not here
    """
    return {name: _parse_one(name, definition) for name, definition in body.items()}


def mapper_parsing(reason: str) -> ElasticError:
    """400: a definition that cannot be."""
    return ElasticError(400, "mapper_parsing_exception", reason)


def _parse_one(name: str, definition: Any) -> RuntimeField:
    if definition is None:
        raise mapper_parsing(f"Runtime field [{name}] was set to null but its removal is not supported in this context")
    if not isinstance(definition, dict):
        raise mapper_parsing(f"Expected map for runtime field [{name}] definition but got a {_JAVA[type(definition)]}")
    if definition.get("type") is None:
        raise mapper_parsing(f"No type specified for runtime field [{name}]")
    kind = str(definition["type"])
    if kind in _OTHER_TYPES:
        raise unsupported(f"type [{kind}] of runtime field [{name}]")
    if kind not in TYPES:
        raise mapper_parsing(
            f"The mapper type [{kind}] declared on runtime field [{name}] does not exist. It might have been created "
            "within a future version or requires a plugin to be installed. Check the documentation."
        )
    known = _PARAMETERS | ({"format", "locale"} if kind == "date" else set())
    for parameter, value in definition.items():
        if parameter == "type":
            continue
        if parameter not in known:
            raise mapper_parsing(f"unknown parameter [{parameter}] on runtime field [{name}] of type [{kind}]")
        if value is None:
            raise mapper_parsing(
                f"[{parameter}] on runtime field [{name}] of type [{kind}] must not have a [null] value"
            )
    if str(definition.get("locale", "")) not in {"", "ROOT"}:
        raise unsupported(f"[locale] of runtime field [{name}]")
    on_error = str(definition.get("on_script_error", "fail"))
    if on_error not in {"fail", "continue"}:
        raise mapper_parsing(
            f"Unknown value [{on_error}] for field [on_script_error] - accepted values are [fail, continue]"
        )
    date_format = str(definition.get("format", DEFAULT_FORMAT))
    parser(date_format)
    source, params = _script(name, definition.get("script"))
    script = None if source is None else _compiled(name, kind, source, date_format)
    return RuntimeField(name, kind, script, params, date_format, on_error == "continue")


def _script(name: str, script: Any) -> tuple[str | None, dict[str, Any]]:
    if script is None:
        return None, {}
    if isinstance(script, str):
        return script, {}
    if not isinstance(script, dict):
        raise mapper_parsing(f"Script value should be a String or a Map for runtime field [{name}]")
    for key in script:
        if key not in {"source", "id", "lang", "params", "options"}:
            raise ElasticError(400, "parse_exception", f"Unsupported field [{key}]")
    if "id" in script:
        raise mapper_parsing(f"stored scripts are not supported for runtime field [{name}]")
    if "source" not in script:
        raise ElasticError(400, "parse_exception", "Expected one of [source] or [id] fields, but found none")
    source, params = script["source"], script.get("params") or {}
    if not isinstance(source, str) or not isinstance(params, dict):
        wrong, wanted = ("params", "a map") if isinstance(source, str) else ("source", "a string")
        raise ElasticError(400, "parse_exception", f"Value must be of type {wanted} for [{wrong}]")
    if script.get("lang", "painless") != "painless":
        raise unsupported(f"script language [{script['lang']}] of runtime field [{name}]")
    return source, params


@lru_cache(maxsize=256)
def _compiled(name: str, kind: str, source: str, date_format: str) -> FieldScript:
    # Most starts of the sandbox never see a script: its parser is not imported before.
    from elastic_sandbox.painless.field_script import compile_field_script

    return compile_field_script(name, kind, source, parse_of(date_format) if kind == "date" else None)


def parse_of(date_format: str) -> Callable[[str], int]:
    """The `parse` of a date field's script."""
    from elastic_sandbox.painless.errors import ScriptThrow

    parse = parser(date_format)

    def parse_date(text: str) -> int:
        try:
            return parse(text)
        except ValueError:
            reason = f"failed to parse date field [{text}] with format [{date_format}]"
            raise ScriptThrow("illegal_argument_exception", reason) from None

    return parse_date


def texts(node: Any) -> Iterator[str]:
    """Every text in a query tree or a JSON value: among them are the fields it names."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from texts(value)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from texts(item)
    elif is_dataclass(node):
        for one in fields(node):
            yield from texts(getattr(node, one.name))


def named(names: Iterator[str] | tuple[str, ...], found: dict[str, RuntimeField]) -> list[str]:
    """Which runtime fields are among ``names``: themselves, below an object, or by a pattern."""
    given = set(names)
    patterns = [wildcard_regex(name) for name in given if "*" in name]
    return [
        name
        for name in found
        if name in given
        or any(pattern.fullmatch(name) for pattern in patterns)
        or any(name[:at] in given for at, letter in enumerate(name) if letter == ".")
    ]
