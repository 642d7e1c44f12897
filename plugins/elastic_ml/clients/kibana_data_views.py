"""Data views: read, compared, and only then written."""

from urllib.parse import quote

from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.clients.kibana_changes import (
    JSON,
    Change,
    delete_from,
    differences,
    found_in,
    taken_elsewhere,
)
from elastic_ml.exceptions import ConflictError, InvalidRequestError

DATA_VIEWS = "/api/data_views/data_view"
_DATA_VIEW_FIELDS = ("fieldFormats", "name", "runtimeFieldMap", "sourceFilters", "timeFieldName", "title")
"""What an update of a data view changes; Kibana ignores the rest."""


def upsert_data_view(client: KibanaClient, data_view_id: str, body: JSON) -> Change:
    """Create a data view, or update what differs; the default data view is never touched.

    :param data_view_id: its id.
    :param body: ``title`` (the index pattern), ``name``, ``timeFieldName``, ``allowNoIndex`` and the like.
    :raises ConflictError: another data view has that name, or one in another space has that id.
    """
    client.require_space()
    answer = found_in(client, DATA_VIEWS, data_view_id)
    if answer is None:
        # `override` is never sent: it deletes whichever data view has the same name.
        wanted = {"data_view": {**body, "id": data_view_id}}
        try:
            client.request("POST", DATA_VIEWS, body=wanted)
        except InvalidRequestError as error:
            if "Duplicate data view" in error.message:
                raise ConflictError(
                    f"Kibana has another data view called {body.get('name') or body['title']!r}.",
                    remedy=f"Rename or delete that one, or give {data_view_id} another name.",
                    status=error.status,
                ) from None
            raise
        except ConflictError as error:
            if found_in(client, DATA_VIEWS, data_view_id) is None:
                raise taken_elsewhere("data view", data_view_id, error) from None
            return upsert_data_view(client, data_view_id, body)
        return Change("data view", data_view_id, "created")
    actual = answer["data_view"]
    wanted = {"name": body["title"], **{name: body[name] for name in _DATA_VIEW_FIELDS if name in body}}
    found = differences(wanted, {name: actual.get(name) for name in wanted})
    if not found:
        return Change("data view", data_view_id, "unchanged")
    client.request("POST", f"{DATA_VIEWS}/{quote(data_view_id, safe='')}", body={"data_view": wanted})
    return Change("data view", data_view_id, "changed", "; ".join(found))


def delete_data_view(client: KibanaClient, data_view_id: str) -> Change:
    """Delete a data view."""
    return delete_from(client, DATA_VIEWS, "data view", data_view_id)
