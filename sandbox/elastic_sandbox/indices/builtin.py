"""The templates and policies a fresh cluster has: the ``logs`` data stream template and what it is composed of.

After x-pack/plugin/core/template-resources of elastic/elasticsearch (``logs@template``, ``logs@mappings``,
``logs@settings``, ``ecs@mappings``); reduced to what decides behaviour here.
"""

from __future__ import annotations

from typing import Any

_MANAGED = {"managed": True}
_TEXT_TOO = {"fields": {"text": {"type": "match_only_text"}}}


def _dynamic(name: str, mapping: dict[str, Any], **match: Any) -> dict[str, Any]:
    return {name: {"mapping": mapping, **match}}


COMPONENT_TEMPLATES: dict[str, dict[str, Any]] = {
    "logs@mappings": {
        "template": {
            "mappings": {
                "date_detection": False,
                "properties": {
                    "@timestamp": {"type": "date"},
                    "data_stream.type": {"type": "constant_keyword", "value": "logs"},
                    "data_stream.dataset": {"type": "constant_keyword"},
                    "data_stream.namespace": {"type": "constant_keyword"},
                },
            }
        },
        "_meta": {**_MANAGED, "description": "default mappings for the logs index template installed by x-pack"},
        "version": 18,
        "deprecated": False,
    },
    "logs@settings": {
        "template": {
            "settings": {
                "index.lifecycle.name": "logs@lifecycle",
                "index.codec": "best_compression",
                "index.mapping.ignore_malformed": "true",
                "index.mapping.total_fields.ignore_dynamic_beyond_limit": "true",
            },
            "data_stream_options": {"failure_store": {"enabled": True}},
        },
        "_meta": {**_MANAGED, "description": "default settings for the logs index template installed by x-pack"},
        "version": 18,
        "deprecated": False,
    },
    "ecs@mappings": {
        "template": {
            "mappings": {
                "dynamic_templates": [
                    _dynamic("ecs_timestamp", {"type": "date", "ignore_malformed": False}, match="@timestamp"),
                    _dynamic("ecs_message", {"type": "match_only_text"}, path_match=["message", "*.message"]),
                    _dynamic("ecs_ip", {"type": "ip"}, path_match=["ip", "*.ip", "*_ip"], match_mapping_type="string"),
                    _dynamic(
                        "ecs_path_match_keyword_and_match_only_text",
                        {"type": "keyword", **_TEXT_TOO},
                        path_match=["*.title", "*.executable", "*.name", "*.full_name", "*file.path"],
                    ),
                    _dynamic(
                        "ecs_date",
                        {"type": "date"},
                        path_match=["*.timestamp", "*_timestamp", "*.created", "created", "ingested", "*.ingested",
                                    "*.start", "*.end"],
                    ),
                    _dynamic("ecs_geo_point", {"type": "geo_point"}, path_match=["location", "*.location"]),
                    _dynamic(
                        "all_strings_to_keywords",
                        {"type": "keyword", "ignore_above": 1024},
                        match_mapping_type="string",
                    ),
                ]
            }
        },
        "_meta": {**_MANAGED, "description": "dynamic mappings based on ECS, installed by x-pack"},
        "version": 18,
        "deprecated": False,
    },
}  # fmt: skip

INDEX_TEMPLATES: dict[str, dict[str, Any]] = {
    "logs": {
        "index_patterns": ["logs-*-*"],
        "composed_of": ["logs@mappings", "logs@settings", "logs@custom", "ecs@mappings"],
        "priority": 100,
        "version": 18,
        "_meta": {**_MANAGED, "description": "default logs template installed by x-pack"},
        "data_stream": {"hidden": False, "allow_custom_routing": False},
        "allow_auto_create": True,
        "ignore_missing_component_templates": ["logs@custom"],
        "deprecated": False,
    },
}

ILM_POLICIES: dict[str, dict[str, Any]] = {
    "logs@lifecycle": {
        "phases": {
            "hot": {
                "min_age": "0ms",
                "actions": {"rollover": {"max_age": "30d", "max_primary_shard_size": "50gb"}},
            }
        },
        "_meta": {**_MANAGED, "description": "default policy for the logs index template installed by x-pack"},
    },
}
