"""The types of connectors: what each takes, and which licence, flavor or setting refuses it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.kibana.errors import KibanaError, bad_request
from elastic_sandbox.kibana.validation import FLAG, TEXT, Field, list_of, mapping, of_type, one_of

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

FEATURES: Final = ["alerting", "uptime", "siem"]
_GOLD: Final = frozenset({"platinum", "trial"})


@dataclass(frozen=True)
class ConnectorType:
    """A type of connector.

    :param license: the least licence it needs
    :param config: fields of `config`; None where the sandbox knows the type only by name
    :param params: fields of what an execution takes
    :param serverless: whether Serverless projects have it
    """

    id: str
    name: str
    license: str = "basic"
    config: dict[str, Field] | None = None
    params: dict[str, Field] = field(default_factory=dict)
    serverless: bool = True

    def in_license(self, backend: Backend) -> bool:
        """Whether the licence covers it."""
        return self.license == "basic" or backend.license in _GOLD

    def enabled(self, backend: Backend) -> bool:
        """Whether the configuration has it."""
        return self.serverless or backend.flavor != "serverless"

    def check(self, backend: Backend) -> None:
        """Raise 403 for a type that may not be used here (actions/server/lib/license_state.ts, actions_config.ts)."""
        if not self.enabled(backend):
            raise KibanaError(
                403, f'action type "{self.id}" is not enabled in the Kibana config xpack.actions.enabledActionTypes'
            )
        if not self.in_license(backend):
            raise KibanaError(
                403,
                f"Action type {self.id} is disabled because your {backend.license} license does not support it. Please "
                "upgrade your license.",
            )

    def shown(self, backend: Backend) -> dict[str, Any]:
        """As `GET /api/actions/connector_types` lists it."""
        in_license, in_config = self.in_license(backend), self.enabled(backend)
        return {
            "id": self.id,
            "name": self.name,
            "enabled": in_license and in_config,
            "enabled_in_config": in_config,
            "enabled_in_license": in_license,
            "minimum_license_required": self.license,
            "supported_feature_ids": FEATURES,
            "is_system_action_type": False,
            "is_deprecated": False,
            "source": "stack",
            "is_testable": True,
        }


_LEVELS: Final = ("trace", "debug", "info", "warn", "error", "fatal")

TYPES: Final = {
    kind.id: kind
    for kind in (
        # stack_connectors/server/connector_types/es_index and kbn-connector-schemas/es_index
        ConnectorType(
            ".index",
            "Index",
            config={
                "index": Field(TEXT, required=True),
                "refresh": Field(FLAG, default=False),
                "executionTimeField": Field(of_type(str, nullable=True)),
            },
            params={
                "documents": Field(list_of(mapping), required=True),
                "indexOverride": Field(of_type(str, nullable=True)),
            },
        ),
        # stack_connectors/server/connector_types/server_log
        ConnectorType(
            ".server-log",
            "Server log",
            config={},
            params={"message": Field(TEXT, required=True), "level": Field(one_of(*_LEVELS), default="info")},
            serverless=False,
        ),
        # Known by name and licence, for what asks whether they are there; not kept or executed.
        ConnectorType(".email", "Email", "gold"),
        ConnectorType(".pagerduty", "PagerDuty", "gold", serverless=False),
        ConnectorType(".slack", "Slack", "gold"),
        ConnectorType(".slack_api", "Slack API", "gold"),
        ConnectorType(".webhook", "Webhook", "gold"),
    )
}


def type_of(name: str) -> ConnectorType:
    """A type by its id; 400 for what no Kibana knows."""
    found = TYPES.get(name)
    if found is None:
        raise bad_request(f'Action type "{name}" is not registered.')
    return found
