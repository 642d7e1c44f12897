"""`/api/data_views`: data views, which are `index-pattern` saved objects.

Sources: src/platform/plugins/shared/data_views (server/rest_api_routes/public, common/data_views/data_views.ts). A data
view is a duplicate by its **name**, and `override` deletes the one of that name. An update ignores `allowNoIndex`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.indices.field_caps import field_caps
from elastic_sandbox.kibana.application import request_of
from elastic_sandbox.kibana.errors import bad_request, unsupported
from elastic_sandbox.kibana.saved_objects import DATA_VIEW, SavedObject
from elastic_sandbox.kibana.validation import FLAG, TEXT, Field, body_of, list_of, mapping, object_of, of_type

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

routes = Router()
DEFAULT: Final = "kibana_default_data_view"

_UPDATABLE: Final = {
    "title": Field(TEXT),
    "type": Field(TEXT),
    "typeMeta": Field(mapping),
    "timeFieldName": Field(TEXT),
    "sourceFilters": Field(
        list_of(object_of({"value": Field(TEXT, required=True), "clientId": Field(lambda *_: None)}))
    ),
    "fieldFormats": Field(mapping),
    "fields": Field(mapping),
    "allowNoIndex": Field(FLAG),
    "runtimeFieldMap": Field(mapping),
    "name": Field(TEXT),
}
_SPEC: Final = {
    **_UPDATABLE,
    "title": Field(TEXT, required=True),
    "id": Field(TEXT),
    "version": Field(TEXT),
    "fieldAttrs": Field(mapping),
    "allowHidden": Field(FLAG),
    "namespaces": Field(list_of(TEXT)),
}
# Attributes that are kept as JSON texts, and the name of each in the API.
_STORED: Final = {"fieldFormats": "fieldFormatMap", "fieldAttrs": "fieldAttrs", "runtimeFieldMap": "runtimeFieldMap",
                  "sourceFilters": "sourceFilters", "typeMeta": "typeMeta"}  # fmt: skip


@routes.route("GET", "/api/data_views")
def get_data_views(backend: Backend, request: Request) -> Response:
    """What there is, in short."""
    shown = []
    for saved in backend.kibana.objects.all(DATA_VIEW, request_of(request).space):
        attributes = saved["attributes"]
        shown.append(
            {
                "id": saved["id"],
                "namespaces": saved["namespaces"],
                "title": attributes["title"],
                "name": attributes.get("name") or attributes["title"],
            }
        )
    return {"data_view": shown}


@routes.route("GET", "/api/data_views/data_view/{id}")
def get_data_view(backend: Backend, request: Request) -> Response:
    """One data view with its fields."""
    name = request.path_params["id"]
    if len(name) > 1000:
        raise bad_request(
            f"[request params.id]: value has length [{len(name)}] but it must have a maximum length of [1000]."
        )
    return {"data_view": _shown(backend, backend.kibana.objects.get(DATA_VIEW, name, request_of(request).space))}


@routes.route("POST", "/api/data_views/data_view")
def create_data_view(backend: Backend, request: Request) -> Response:
    """Create; 400 for a name in use, unless `override` deletes its owner."""
    fields = {
        "data_view": Field(object_of(_SPEC), required=True),
        "override": Field(FLAG),
        "refresh_fields": Field(FLAG),
    }
    body = body_of(request, fields)
    spec, space = body["data_view"], request_of(request).space
    _refuse_fields(spec)
    store = backend.kibana.objects
    name = spec.get("name") or spec["title"]
    with backend.lock:
        for saved in store.all(DATA_VIEW, space):
            if (saved["attributes"].get("name") or saved["attributes"]["title"]) == name:
                if not body.get("override"):
                    raise bad_request(f"Duplicate data view: {name}")
                store.delete(DATA_VIEW, saved["id"], space)
        attributes: dict[str, Any] = {"title": spec["title"], "name": name, "fields": "[]"}
        _apply(attributes, spec)
        for key in ("allowNoIndex", "allowHidden"):
            if key in spec:
                attributes[key] = spec[key]
        if "fieldAttrs" in spec:
            attributes["fieldAttrs"] = json.dumps(spec["fieldAttrs"])
        saved = store.create(DATA_VIEW, attributes, space, name=spec.get("id"), namespaces=spec.get("namespaces"))
        if store.all(DATA_VIEW, space) == [saved] and backend.state.get(DEFAULT, space) is None:
            # createAndSaveDataViewLazy: the first one becomes the default.
            backend.state.put(DEFAULT, space, {"id": saved["id"]})
    return {"data_view": {**_shown(backend, saved), "namespaces": saved["namespaces"]}}


@routes.route("POST", "/api/data_views/data_view/{id}")
def update_data_view(backend: Backend, request: Request) -> Response:
    """Change what is given; `allowNoIndex` is accepted and ignored."""
    fields = {"data_view": Field(object_of(_UPDATABLE), required=True), "refresh_fields": Field(FLAG)}
    spec = body_of(request, fields)["data_view"]
    _refuse_fields(spec)
    name, space = request.path_params["id"], request_of(request).space
    store = backend.kibana.objects
    if set(spec) - {"allowNoIndex"}:
        saved = store.update(DATA_VIEW, name, space, lambda attributes: _apply(attributes, spec))
    else:
        saved = store.get(DATA_VIEW, name, space)
    return {"data_view": _shown(backend, saved)}


@routes.route("DELETE", "/api/data_views/data_view/{id}")
def delete_data_view(backend: Backend, request: Request) -> Response:
    """Delete."""
    backend.kibana.objects.delete(DATA_VIEW, request.path_params["id"], request_of(request).space)
    return 200, None


@routes.route("GET", "/api/data_views/default")
def get_default(backend: Backend, request: Request) -> Response:
    """The default data view's id, empty when there is none."""
    found = backend.state.get(DEFAULT, request_of(request).space)
    return {"data_view_id": "" if found is None else found["id"]}


@routes.route("POST", "/api/data_views/default")
def set_default(backend: Backend, request: Request) -> Response:
    """Set the default; one that is set already stays without `force`."""
    fields = {"data_view_id": Field(of_type(str, nullable=True), required=True), "force": Field(FLAG)}
    body, space = body_of(request, fields), request_of(request).space
    if backend.state.get(DEFAULT, space) is None or body.get("force"):
        if body["data_view_id"] is None:
            backend.state.delete(DEFAULT, space)
        else:
            backend.state.put(DEFAULT, space, {"id": body["data_view_id"]})
    return {"acknowledged": True}


def _refuse_fields(spec: dict[str, Any]) -> None:
    for name in ("fields", "type"):
        if spec.get(name):
            raise unsupported(f"[{name}] of a data view")


def _apply(attributes: dict[str, Any], spec: dict[str, Any]) -> None:
    for name in ("title", "name", "timeFieldName"):
        if name in spec:
            attributes[name] = spec[name]
    for name, stored in _STORED.items():
        if name in spec and name != "fieldAttrs":
            attributes[stored] = json.dumps(spec[name])


def _shown(backend: Backend, saved: SavedObject) -> dict[str, Any]:
    attributes = saved["attributes"]
    texts = {name: json.loads(attributes.get(stored) or "null") for name, stored in _STORED.items()}
    return {
        "id": saved["id"],
        "version": saved["version"],
        "title": attributes["title"],
        **({"timeFieldName": attributes["timeFieldName"]} if attributes.get("timeFieldName") else {}),
        "sourceFilters": texts["sourceFilters"] or [],
        "fields": _fields(backend, attributes["title"]),
        **({"typeMeta": texts["typeMeta"]} if texts["typeMeta"] is not None else {}),
        "fieldFormats": texts["fieldFormats"] or {},
        "runtimeFieldMap": texts["runtimeFieldMap"] or {},
        "fieldAttrs": texts["fieldAttrs"] or {},
        "allowNoIndex": attributes.get("allowNoIndex", False),
        "name": attributes.get("name") or attributes["title"],
        "allowHidden": attributes.get("allowHidden", False),
        "managed": saved["managed"],
        "namespaces": saved["namespaces"],
    }


# Elasticsearch's types in Kibana's words (src/platform/packages/shared/kbn-field-types/src/kbn_field_types.ts).
_KINDS: Final = {
    "string": ("keyword", "text", "match_only_text", "constant_keyword", "wildcard", "flattened"),
    "number": ("long", "integer", "short", "byte", "double", "float", "half_float", "scaled_float", "unsigned_long"),
    "date": ("date", "date_nanos"),
    "boolean": ("boolean",),
    "ip": ("ip",),
    "geo_point": ("geo_point",),
    "nested": ("nested",),
}
_KIND_OF: Final = {kind: name for name, kinds in _KINDS.items() for kind in kinds}


def _fields(backend: Backend, title: str) -> dict[str, Any]:
    indices = backend.indices.resolve(title, ignore_unavailable=True)
    shown = {}
    for path, kinds in field_caps(indices, ["*"], unmapped=False, types=None)["fields"].items():
        if kinds.keys() & {"object"}:
            continue
        names = {_KIND_OF.get(kind, "unknown") for kind in kinds}
        shown[path] = {
            "name": path,
            "esTypes": sorted(kinds),
            "type": names.pop() if len(names) == 1 else "conflict",
            "searchable": all(one["searchable"] for one in kinds.values()),
            "aggregatable": all(one["aggregatable"] for one in kinds.values()),
            "scripted": False,
        }
    return shown
