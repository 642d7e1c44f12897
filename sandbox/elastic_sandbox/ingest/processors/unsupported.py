"""Processors that Elasticsearch has and the sandbox has not: a 501 when a pipeline names one.

Without this list they would look misspelt ("No processor type exists with name").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from elastic_sandbox.errors import unsupported
from elastic_sandbox.ingest.processors import factory_of, register

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.ingest.configuration import Config

NAMES: Final = (
    *("attachment", "bytes", "cef", "circle", "community_id", "csv", "date_index_name", "dissect", "geo_grid"),
    *("geoip", "grok", "html_strip", "inference", "ip_location", "kv", "network_direction", "normalize_for_stream"),
    *("recover_failure_document", "redact", "registered_domain", "reroute", "set_security_user", "sort"),
    *("terminate", "uri_parts", "urldecode", "user_agent"),
)


def _refuse(_backend: Backend, config: Config) -> NoReturn:
    raise unsupported(f"ingest processor [{config.type}]")


for _name in NAMES:
    if factory_of(_name) is None:
        register(_name, _refuse)
