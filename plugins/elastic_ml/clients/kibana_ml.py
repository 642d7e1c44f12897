"""Kibana's list of machine-learning jobs and models."""

from elastic_ml.clients.kibana import KibanaClient


def sync_ml(client: KibanaClient) -> dict[str, int]:
    """Show jobs and models that were made through Elasticsearch in Kibana's machine-learning pages of this space.

    :return: how many were added and removed.
    """
    client.require_space()
    answer = client.request("GET", "/api/ml/saved_objects/sync")
    return {
        word: sum(len(names) for names in (answer.get(key) or {}).values())
        for word, key in (("added", "savedObjectsCreated"), ("removed", "savedObjectsDeleted"))
    }
