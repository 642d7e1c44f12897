"""An enrich policy: its definition, and whether the source indices fit it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from elastic_sandbox.errors import ElasticError, illegal_argument, unsupported, x_content_parse
from elastic_sandbox.shapes import STRINGS, check_shape

_OPTIONS: Final = {"name", "query", "indices", "match_field", "enrich_fields", "elasticsearch_version"}
_FORBIDDEN: Final = '\\/*?"<>| ,#:'


@dataclass(frozen=True)
class Policy:
    """A `match` policy."""

    name: str
    indices: list[str]
    match_field: str
    enrich_fields: list[str]
    query: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As stored, and as `GET _enrich/policy` shows it inside `config.match` after the name."""
        query = {} if self.query is None else {"query": self.query}
        return {**query, "indices": self.indices, "match_field": self.match_field, "enrich_fields": self.enrich_fields}

    @classmethod
    def from_json(cls, name: str, body: dict[str, Any]) -> Policy:
        """From what `to_json` gave."""
        return cls(name, body["indices"], body["match_field"], body["enrich_fields"], body.get("query"))


def read_policy(name: str, body: dict[str, Any]) -> Policy:
    """Parse and validate the body of `PUT _enrich/policy/{name}`."""
    _check_name(name)
    if len(body) != 1:
        raise x_content_parse("unexpected token: expected exactly one policy type")
    type_name, options = next(iter(body.items()))
    if type_name in {"range", "geo_match"}:
        raise unsupported(f"enrich policy type [{type_name}]")
    if type_name != "match":
        raise illegal_argument(f"unsupported policy type [{type_name}], supported types are [match, geo_match, range]")
    if not isinstance(options, dict):
        raise x_content_parse("[1:1] [policy] Expected START_OBJECT")
    for option in options:
        if option not in _OPTIONS:
            raise x_content_parse(f"[1:1] [policy] unknown field [{option}]")
    missing = [option for option in ("indices", "match_field", "enrich_fields") if options.get(option) is None]
    if missing:
        raise illegal_argument(f"Required [{', '.join(missing)}]")
    shape = {"indices": STRINGS, "match_field": str, "enrich_fields": STRINGS, "query": (dict, None)}
    check_shape("policy", options, shape)
    indices, fields = [
        [given] if isinstance(given, str) else given for given in (options["indices"], options["enrich_fields"])
    ]
    return Policy(name, indices, options["match_field"], fields, options.get("query"))


def _check_name(name: str) -> None:
    bad = [character for character in name if character in _FORBIDDEN]
    if bad:
        raise illegal_argument(
            f"Invalid policy name [{name}], must not contain the following characters [{_FORBIDDEN}]"
        )
    if name.startswith(("_", "-", "+")):
        raise illegal_argument(f"Invalid policy name [{name}], must not start with '_', '-', or '+'")
    if name.lower() != name:
        raise illegal_argument(f"Invalid policy name [{name}], must be lowercase")


def check_mappings(policy: Policy, index: str, mapping: dict[str, Any]) -> None:
    """Raise when a source index lacks the match field, or a field on the way to one is no object."""
    try:
        _check_field(mapping, policy.match_field, required=True)
        for field in policy.enrich_fields:
            _check_field(mapping, field, required=False)
    except ElasticError as problem:
        raise ElasticError(
            500,
            "exception",
            f"Enrich policy execution for [{policy.name}] failed while validating field mappings for index [{index}]",
            caused_by=problem.cause(),
        ) from None


def _check_field(mapping: dict[str, Any], path: str, *, required: bool) -> None:
    node = mapping
    walked: list[str] = []
    for part in path.split("."):
        parent = ".".join(walked) or "root"
        kind = node.get("type", "object")
        if kind != "object":
            raise ElasticError(
                500,
                "exception",
                f"Could not traverse mapping to field [{path}]. "
                f"The [{parent}] field must be regular object but was [{kind}].",
            )
        properties = node.get("properties")
        if not properties or part not in properties:
            if not required:
                return
            detail = (
                f"Could not find the [{part}] field under [{parent}]"
                if properties
                else f"Expected the [{parent}] field to have sub fields but none were configured."
            )
            raise ElasticError(500, "exception", f"Could not traverse mapping to field [{path}]. {detail}")
        node = properties[part]
        walked.append(part)
