"""Index settings: flat and nested forms, which exist, which may change while the index is open."""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from typing import Any

from elastic_sandbox.errors import ElasticError, illegal_argument
from elastic_sandbox.http import duration_seconds

Settings = dict[str, Any]
"""Flat: ``{"index.number_of_shards": "1"}``; values are strings or lists of strings, as the server keeps them."""

_DYNAMIC = {
    "index.number_of_replicas", "index.auto_expand_replicas", "index.refresh_interval", "index.hidden",
    "index.default_pipeline", "index.final_pipeline", "index.max_result_window", "index.max_inner_result_window",
    "index.max_terms_count", "index.max_docvalue_fields_search", "index.max_script_fields", "index.max_rescore_window",
    "index.max_ngram_diff", "index.max_shingle_diff", "index.max_refresh_listeners", "index.max_regex_length",
    "index.max_slices_per_scroll", "index.priority", "index.gc_deletes", "index.write.wait_for_active_shards",
    "index.mapping.total_fields.limit", "index.mapping.total_fields.ignore_dynamic_beyond_limit",
    "index.mapping.depth.limit", "index.mapping.nested_fields.limit", "index.mapping.nested_objects.limit",
    "index.mapping.nested_parents.limit", "index.mapping.field_name_length.limit",
    "index.mapping.dimension_fields.limit", "index.query.default_field", "index.search.idle.after",
    "index.blocks.read_only", "index.blocks.read_only_allow_delete", "index.blocks.read", "index.blocks.write",
    "index.blocks.metadata", "index.unassigned.node_left.delayed_timeout", "index.highlight.max_analyzed_offset",
    "index.analyze.max_token_count", "index.translog.durability", "index.translog.sync_interval",
    "index.translog.flush_threshold_size", "index.lifecycle.name", "index.lifecycle.rollover_alias",
    "index.lifecycle.origination_date", "index.lifecycle.parse_origination_date", "index.lifecycle.indexing_complete",
    "index.lifecycle.prefer_ilm", "index.lifecycle.step.wait_time_threshold", "index.query_string.lenient",
    "index.merge.scheduler.max_thread_count", "index.merge.policy.max_merged_segment",
}  # fmt: skip
_DYNAMIC_PREFIXES = ("index.routing.", "index.search.slowlog.", "index.indexing.slowlog.", "index.merge.policy.",
                     "index.look_", "index.time_series.end")  # fmt: skip
_STATIC = {
    "index.number_of_shards", "index.number_of_routing_shards", "index.routing_partition_size", "index.mode",
    "index.codec", "index.sort.field", "index.sort.order", "index.sort.mode", "index.sort.missing",
    "index.mapping.coerce", "index.mapping.ignore_malformed", "index.mapping.ignore_above", "index.mapping.source.mode",
    "index.mapping.synthetic_source_keep", "index.mapping.exclude_source_vectors", "index.shard.check_on_startup",
    "index.soft_deletes.enabled", "index.soft_deletes.retention_lease.period", "index.store.type",
    "index.load_fixed_bitset_filters_eagerly", "index.logsdb.route_on_sort_fields", "index.logsdb.sort_on_host_name",
    "index.logsdb.add_host_name_field", "index.logsdb.default_sort_on_message_template",
}  # fmt: skip
_LISTS = ("index.sort.", "index.query.default_field", "index.analysis.", "index.routing_path")
_STATIC_PREFIXES = ("index.analysis.", "index.similarity.")
_PRIVATE = {"index.creation_date", "index.uuid", "index.provided_name", "index.version.created"}
FINAL = {"index.number_of_shards", "index.mode", "index.routing_partition_size"}
MODES = ("standard", "logsdb", "lookup", "time_series")


def flatten(settings: AbstractMapping[str, Any]) -> Settings:
    """``{"index": {"mode": "lookup"}, "number_of_shards": 1}`` → ``{"index.mode": "lookup", ...}``; None is kept."""
    flat: Settings = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, AbstractMapping):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            name = prefix if prefix.startswith("index.") else f"index.{prefix}"
            text = _text(value)
            # A list given for a setting of one value reads as its text, as Settings.get does.
            flat[name] = str(text) if isinstance(text, list) and not name.startswith(_LISTS) else text

    walk("", settings)
    return flat


def _text(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return [_text(item) for item in value]
    return str(value)


def nest(flat: AbstractMapping[str, Any]) -> dict[str, Any]:
    """The nested form of the API: ``{"index": {"number_of_shards": "1"}}``.

    Where a name is both a value and a prefix, the rest stays dotted, as the server prints it.
    """
    nested: dict[str, Any] = {}
    for name in sorted(flat):
        pieces = name.split(".")
        level = nested
        while len(pieces) > 1:
            inner = level.setdefault(pieces[0], {})
            if not isinstance(inner, dict):
                break
            level = inner
            pieces = pieces[1:]
        level[".".join(pieces)] = flat[name]
    return nested


def is_dynamic(name: str) -> bool:
    """Whether the setting may change on an open index."""
    return name in _DYNAMIC or name.startswith(_DYNAMIC_PREFIXES)


def validate(flat: Settings, *, private: bool = False) -> None:
    """Refuse settings that do not exist or cannot hold their value.

    :raises ElasticError: 400 illegal_argument_exception in the server's words.
    """
    for name, value in flat.items():
        known = is_dynamic(name) or name in _STATIC or name.startswith(_STATIC_PREFIXES)
        if not known and not (private and name in _PRIVATE):
            if name in _PRIVATE:
                problem = f"private index setting [{name}] can not be set explicitly"
                raise ElasticError(400, "validation_exception", f"Validation Failed: 1: {problem};")
            raise illegal_argument(
                f"unknown setting [{name}] please check that any required plugins are installed, or check the breaking "
                "changes documentation for removed settings"
            )
        if value is not None:
            _check_value(name, value)
    mode = flat.get("index.mode")
    if mode == "lookup" and flat.get("index.number_of_shards") not in {None, "1"}:
        raise illegal_argument(
            f"index with [lookup] mode must have [index.number_of_shards] set to 1 or unset; provided "
            f"{flat['index.number_of_shards']}"
        )


# Settings an Elasticsearch has and a Serverless project refuses (PublicSettingsValidationActionFilter; the published
# list is the page "Index settings" of the Elasticsearch reference). Those of ILM do not exist there.
_NOT_ON_SERVERLESS = (
    "index.number_of_", "index.auto_expand_replicas", "index.routing", "index.lifecycle.", "index.translog.",
    "index.merge.", "index.store.", "index.unassigned.", "index.priority", "index.gc_deletes", "index.shard.",
    "index.soft_deletes.", "index.mapping.nested_fields.limit", "index.mapping.nested_objects.limit",
)  # fmt: skip


def refuse_on_serverless(flat: Settings) -> None:
    """Raise 400 for settings that Serverless manages itself, and for a refresh interval below its 5 seconds."""
    # The data stream lifecycle goes by it too: the published list has it, alone of its family.
    private = sorted(
        name for name in flat if name.startswith(_NOT_ON_SERVERLESS) and name != "index.lifecycle.origination_date"
    )
    if private:
        raise illegal_argument(f"Settings [{','.join(private)}] are not available when running in serverless mode")
    interval = flat.get("index.refresh_interval")
    if interval not in {None, "-1"} and duration_seconds(interval, "index.refresh_interval") < 5:
        raise illegal_argument(
            f"index setting [index.refresh_interval={interval}] should be either -1 or equal to or greater than 5s"
        )


_BOOLEANS = {
    "index.hidden", "index.mapping.ignore_malformed", "index.mapping.coerce", "index.blocks.read_only",
    "index.blocks.read", "index.blocks.write", "index.blocks.metadata", "index.blocks.read_only_allow_delete",
    "index.lifecycle.indexing_complete", "index.lifecycle.prefer_ilm", "index.lifecycle.parse_origination_date",
    "index.mapping.total_fields.ignore_dynamic_beyond_limit",
}  # fmt: skip
_WHOLE = {"index.number_of_shards": 1, "index.number_of_replicas": 0, "index.mapping.total_fields.limit": 0,
          "index.max_result_window": 1, "index.priority": 0, "index.lifecycle.origination_date": -1,
          "index.mapping.ignore_above": 0}  # fmt: skip


def _check_value(name: str, value: Any) -> None:
    if name in _BOOLEANS and value not in {"true", "false"}:
        raise illegal_argument(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")
    if name == "index.mode" and value not in MODES:
        raise illegal_argument(f"[{value}] is an invalid index mode, valid modes are: [{', '.join(MODES)}]")
    if name in _WHOLE:
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise illegal_argument(
                f"Failed to parse value [{value}] for setting [{name}]",
                caused_by={"type": "number_format_exception", "reason": f'For input string: "{value}"'},
            ) from None
        if number < _WHOLE[name]:
            raise illegal_argument(f"Failed to parse value [{value}] for setting [{name}] must be >= {_WHOLE[name]}")
    if name == "index.number_of_shards" and int(value) > 1024:
        raise illegal_argument(f"Failed to parse value [{value}] for setting [{name}] must be <= 1024")
