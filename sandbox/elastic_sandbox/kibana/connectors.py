"""`/api/actions`: connectors, which are `action` saved objects, and their execution.

Words and shapes: Kibana's functional tests under x-pack/platform/test/alerting_api_integration and
actions/server/application/connector/methods. A custom id has to be a UUID, since connectors are encrypted; it is taken
in all spaces at once. A failed execution is an answer with status 200.
"""

from __future__ import annotations

import copy
import logging
import re
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.documents.operations import BulkOperation
from elastic_sandbox.errors import ElasticError
from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.kibana.application import request_of
from elastic_sandbox.kibana.connector_types import TYPES, ConnectorType, type_of
from elastic_sandbox.kibana.errors import bad_request, unsupported
from elastic_sandbox.kibana.saved_objects import CONNECTOR, RULE, SavedObject
from elastic_sandbox.kibana.validation import TEXT, Field, InvalidError, allow, body_of, checked, mapping

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

routes = Router()
server_log = logging.getLogger("elastic_sandbox.kibana.server_log")

# UUID_REGEX of SavedObjectsUtils.isRandomId.
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)
_CREATE: Final = {
    "name": Field(TEXT, required=True),
    "connector_type_id": Field(TEXT, required=True),
    "config": Field(mapping),
    "secrets": Field(mapping),
}
_UPDATE: Final = {name: one for name, one in _CREATE.items() if name != "connector_type_id"}
_LEVELS: Final = {"trace": 5, "debug": 10, "info": 20, "warn": 30, "error": 40, "fatal": 50}


@routes.route("GET", "/api/actions/connector_types")
def connector_types(backend: Backend, request: Request) -> Response:
    """The types, and whether each may be used here."""
    allow(request, "feature_id")
    return [kind.shown(backend) for kind in TYPES.values()]


@routes.route("GET", "/api/actions/connectors")
def get_connectors(backend: Backend, request: Request) -> Response:
    """All connectors of the space."""
    space = request_of(request).space
    users = [
        action["id"] for rule in backend.kibana.objects.all(RULE, space) for action in rule["attributes"]["actions"]
    ]
    return [
        {**shown(saved), "referenced_by_count": users.count(saved["id"])}
        for saved in backend.kibana.objects.all(CONNECTOR, space)
    ]


@routes.route("GET", "/api/actions/connector/{id}")
def get_connector(backend: Backend, request: Request) -> Response:
    """One connector, without its secrets."""
    return shown(backend.kibana.objects.get(CONNECTOR, request.path_params["id"], request_of(request).space))


@routes.route("POST", "/api/actions/connector")
@routes.route("POST", "/api/actions/connector/{id}")
def create_connector(backend: Backend, request: Request) -> Response:
    """Create a connector."""
    name = request.path_params.get("id")
    body = body_of(request, _CREATE)
    kind = type_of(body["connector_type_id"])
    config = _config(kind, body)
    kind.check(backend)
    if name is not None and not _UUID.fullmatch(name):
        # SavedObjectsEncryptionExtension: guessable ids are refused.
        raise bad_request(
            "Predefined IDs are not allowed for saved objects with encrypted attributes unless the ID is a UUID.: "
            "Bad Request"
        )
    attributes = {"actionTypeId": kind.id, "name": _name(body), "isMissingSecrets": False, "config": config}
    return shown(backend.kibana.objects.create(CONNECTOR, attributes, request_of(request).space, name=name))


@routes.route("PUT", "/api/actions/connector/{id}")
def update_connector(backend: Backend, request: Request) -> Response:
    """Replace name and configuration."""
    name, space = request.path_params["id"], request_of(request).space
    body = body_of(request, _UPDATE)
    title = _name(body)
    saved = backend.kibana.objects.get(CONNECTOR, name, space)
    kind = type_of(saved["attributes"]["actionTypeId"])
    config = _config(kind, body)
    kind.check(backend)

    def change(attributes: dict[str, Any]) -> None:
        attributes.update(name=title, config=config)

    return shown(backend.kibana.objects.update(CONNECTOR, name, space, change))


@routes.route("DELETE", "/api/actions/connector/{id}")
def delete_connector(backend: Backend, request: Request) -> Response:
    """Delete; rules that name it keep doing so."""
    backend.kibana.objects.delete(CONNECTOR, request.path_params["id"], request_of(request).space)
    return 204, None


@routes.route("POST", "/api/actions/connector/{id}/_execute")
def execute_connector(backend: Backend, request: Request) -> Response:
    """Run a connector once."""
    name, space = request.path_params["id"], request_of(request).space
    body = body_of(request, {"params": Field(mapping, required=True)})
    return execute(backend, backend.kibana.objects.get(CONNECTOR, name, space), body["params"])


def shown(saved: SavedObject) -> dict[str, Any]:
    """A connector as the API shows it."""
    attributes = saved["attributes"]
    return {
        "id": saved["id"],
        "name": attributes["name"],
        "connector_type_id": attributes["actionTypeId"],
        "config": attributes["config"],
        "is_preconfigured": False,
        "is_deprecated": False,
        "is_missing_secrets": attributes["isMissingSecrets"],
        "is_system_action": False,
        "is_connector_type_deprecated": False,
    }


def _name(body: dict[str, Any]) -> str:
    if not body["name"].strip():
        raise bad_request("[request body.name]: value '' is not valid")
    return str(body["name"])


def _config(kind: ConnectorType, body: dict[str, Any]) -> dict[str, Any]:
    if kind.config is None:
        raise unsupported(f"connector type [{kind.id}]")
    try:
        config = checked(body.get("config", {}), kind.config)
    except InvalidError as problem:
        raise bad_request(f"error validating action type config: {problem}") from None
    if body.get("secrets"):
        first = next(iter(body["secrets"]))
        raise bad_request(f"error validating action type secrets: [{first}]: definition for this key is missing")
    if kind.id == ".index":
        config.setdefault("executionTimeField", None)
    return config


# Execution ----------------------------------------------------------------------------------------------------------


def execute(backend: Backend, saved: SavedObject, params: dict[str, Any]) -> dict[str, Any]:
    """Run a connector and return what `_execute` answers.

    Parameters that the type does not take are a failed execution too (validateAction of action_executor.ts).

    :raises KibanaError: 403 for a type that may not be used here
    """
    kind = type_of(saved["attributes"]["actionTypeId"])
    kind.check(backend)
    try:
        params = checked(params, kind.params)
    except InvalidError as problem:
        return _failed(saved, f"error validating action params: {problem}")
    if kind.id == ".server-log":
        return _log(backend, saved, params)
    return _index(backend, saved, params)


def _log(backend: Backend, saved: SavedObject, params: dict[str, Any]) -> dict[str, Any]:
    message = f"Server log: {params['message']}"
    server_log.log(_LEVELS[params["level"]], "%s", message)
    backend.kibana.server_log.append((params["level"], message))
    return {"status": "ok", "connector_id": saved["id"]}


def _index(backend: Backend, saved: SavedObject, params: dict[str, Any]) -> dict[str, Any]:
    config = saved["attributes"]["config"]
    target = config["index"]
    override = params.get("indexOverride")
    if override:
        if not override.startswith("kibana-alert-history-"):
            return _failed(
                saved, 'error validating action params: [indexOverride]: index must start with "kibana-alert-history-"'
            )
        target = override
    documents = copy.deepcopy(params["documents"])
    time_field = (config.get("executionTimeField") or "").strip()
    if time_field:
        for document in documents:
            document[time_field] = backend.clock.now_iso()
    # The bulk lines say index with op_type create, so that a data stream takes them.
    operations = [BulkOperation("create", target, None, document) for document in documents]
    try:
        items = backend.documents.bulk(operations, refresh=config["refresh"])
    except ElasticError as error:
        return _failed(saved, "error indexing documents", error.reason)
    errors = [item["create"]["error"] for item in items if "error" in item["create"]]
    if errors:
        reasons = ";".join(error["reason"] for error in errors)
        causes = ";".join(error["caused_by"]["reason"] for error in errors if error.get("caused_by"))
        return _failed(saved, "error indexing documents", f"{reasons} ({causes})" if causes else reasons)
    data = {"errors": False, "took": 0, "items": items}
    return {"status": "ok", "data": data, "connector_id": saved["id"]}


def _failed(saved: SavedObject, message: str, service_message: str | None = None) -> dict[str, Any]:
    return {
        "status": "error",
        "connector_id": saved["id"],
        "message": message,
        **({"service_message": service_message} if service_message else {}),
        "retry": False,
        "errorSource": "user",
    }
