"""Sending bodies as templates render them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import AlreadyExistsError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch


def create_index(client: "Elasticsearch", index: str, body: Mapping[str, Any]) -> None:
    """Create an index unless it is there."""
    try:
        client.indices.create(index=index, mappings=body["mappings"])
    except AlreadyExistsError:
        # An earlier try made it; its mapping follows from the job's id.
        return


def put_pipeline(client: "Elasticsearch", name: str, body: Mapping[str, Any]) -> None:
    """Write an ingest pipeline with its `_meta`."""
    client.ingest.put_pipeline(
        id=name, description=body.get("description"), processors=body["processors"], meta=body.get("_meta")
    )
