"""Connectors: read, compared, and only then written; run, where somebody asks for it."""

import re
from typing import Any
from urllib.parse import quote

from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.clients.kibana_changes import (
    JSON,
    Change,
    check_type,
    create_in,
    delete_from,
    differences,
    found_in,
    told,
)
from elastic_ml.exceptions import ConflictError, ElasticMLError, InvalidRequestError, UnavailableError

CONNECTORS = "/api/actions/connector"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def upsert_connector(
    client: KibanaClient,
    connector_id: str,
    body: JSON,
    *,
    secrets: JSON | None = None,
    rotate_secrets: bool = False,
    write: bool = True,
) -> Change:
    """Create a connector, or update what differs.

    Kibana never tells secrets, so they cannot be compared: they are sent when the connector is created, when something
    else of it changes, when Kibana says that they are missing, or with ``rotate_secrets``.

    :param connector_id: a UUID, the only form that Kibana takes; or the id of a preconfigured connector, which is left
        as it is.
    :param body: ``name``, ``connector_type_id`` and ``config``.
    :param write: False only says what would be done.
    :raises ConflictError: the id belongs to a connector of another type, or to one in another space.
    :raises InvalidRequestError: the id is no UUID.
    :raises LicenseError: the licence does not contain the type.
    :raises VersionError: this Kibana does not offer the type, as Serverless does not offer ``.server-log``.
    """
    client.require_space()
    actual = found_in(client, CONNECTORS, connector_id)
    kind = body["connector_type_id"]
    config = dict(body.get("config", {}))
    if actual is None:
        if not _UUID.fullmatch(connector_id):
            raise InvalidRequestError(
                f"{connector_id!r} cannot be the id of a connector: Kibana takes UUIDs only.",
                remedy="Make one with `python -c 'import uuid; print(uuid.uuid4())'` and keep it.",
            )
        _check_connector_type(client, kind)
        if not write:
            return Change("connector", connector_id, "would create")
        wanted = {"name": body["name"], "connector_type_id": kind, "config": config, "secrets": dict(secrets or {})}
        if not create_in(client, CONNECTORS, "connector", connector_id, wanted):
            return upsert_connector(client, connector_id, body, secrets=secrets, rotate_secrets=rotate_secrets)
        return Change("connector", connector_id, "created")
    if actual["connector_type_id"] != kind:
        raise ConflictError(
            f"Kibana's connector {connector_id} has type {actual['connector_type_id']}, wanted is {kind}, which cannot "
            "be changed.",
            remedy="Choose another id, or delete that connector first.",
        )
    if actual.get("is_preconfigured"):
        return Change("connector", connector_id, "unchanged", "preconfigured in kibana.yml")
    found = differences(
        {"name": body["name"], "config": config},
        {"name": actual["name"], "config": told(actual.get("config") or {}, config)},
    )
    if secrets and (rotate_secrets or actual.get("is_missing_secrets")):
        found.append("secrets: sent again")
    if not found:
        return Change("connector", connector_id, "unchanged")
    _check_connector_type(client, kind)
    if not write:
        return Change("connector", connector_id, "differs", "; ".join(found))
    wanted = {"name": body["name"], "config": config, "secrets": dict(secrets or {})}
    client.request("PUT", f"{CONNECTORS}/{quote(connector_id, safe='')}", body=wanted)
    return Change("connector", connector_id, "changed", "; ".join(found))


def execute_connector(client: KibanaClient, connector_id: str, params: JSON) -> Any:
    """Run a connector once and return what it answered.

    Kibana answers 200 for an execution that failed, too.

    :param params: what the type takes: ``{"documents": [...]}`` of an ``.index`` connector.
    :raises ElasticMLError: it failed; :class:`UnavailableError` where Kibana says that another try may help.
    :raises NotFoundError: there is no such connector in this space.
    """
    path = f"{CONNECTORS}/{quote(connector_id, safe='')}/_execute"
    answer = client.request("POST", path, body={"params": dict(params)})
    if answer.get("status") == "ok":
        return answer.get("data")
    why = ": ".join(str(answer[name]) for name in ("message", "service_message") if answer.get(name))
    error = UnavailableError if answer.get("retry") else ElasticMLError
    raise error(
        f"Kibana's connector {connector_id} failed: {why or 'no reason given'}.",
        remedy="Test it in Kibana under Stack Management, Connectors.",
    )


def delete_connector(client: KibanaClient, connector_id: str) -> Change:
    """Delete a connector that no rule uses.

    :raises ConflictError: rules notify it.
    """
    used = {one["id"]: one["referenced_by_count"] for one in client.request("GET", "/api/actions/connectors")}
    if used.get(connector_id):
        raise ConflictError(
            f"{used[connector_id]} rules notify Kibana's connector {connector_id}, so it was not deleted.",
            remedy="Delete or change these rules first.",
        )
    return delete_from(client, CONNECTORS, "connector", connector_id)


def _check_connector_type(client: KibanaClient, kind: str) -> None:
    types = {one["id"]: one for one in client.request("GET", "/api/actions/connector_types")}
    check_type("connector type", kind, types.get(kind))
