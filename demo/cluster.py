"""The Elasticsearch of the tour: the sandbox, started here, or a real cluster named by the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from demo.sessions import Sessions, TourError, free_port, wait_for_port

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch


@dataclass(frozen=True)
class Cluster:
    """Where the tour's data goes, and how Airflow reaches it."""

    elasticsearch_url: str
    kibana_url: str
    api_key: str | None
    sandbox: bool

    def client(self) -> Elasticsearch:
        """Return the package's client, which raises the package's own errors."""
        from elastic_ml.clients.elasticsearch import connect
        from elastic_ml.clients.settings import ElasticsearchSettings

        return connect(ElasticsearchSettings(url=self.elasticsearch_url, api_key=self.api_key))

    def connections(self) -> list[dict[str, Any]]:
        """Return the two Airflow connections; the key stands in the extra, which Airflow keeps encrypted."""
        import json

        elastic = json.dumps({"api_key": self.api_key}) if self.api_key else None
        kibana = json.dumps({"public_url": self.kibana_url} | ({"api_key": self.api_key} if self.api_key else {}))
        return [
            {
                "connection_id": "elasticsearch_default",
                "conn_type": "elastic",
                "host": self.elasticsearch_url,
                "extra": elastic,
            },
            {"connection_id": "kibana_default", "conn_type": "kibana", "host": self.kibana_url, "extra": kibana},
        ]


def open_cluster(sessions: Sessions, environment: Mapping[str, str]) -> Cluster:
    """Start the sandbox, or check the cluster named by ELASTICSEARCH_URL; return once it answers.

    :raises TourError: the URL or the key is wrong, or the sandbox did not start.
    """
    url = environment.get("ELASTICSEARCH_URL", "").rstrip("/")
    if not url:
        return _start_sandbox(sessions)
    key = environment.get("ELASTIC_API_KEY") or None
    kibana = environment.get("KIBANA_URL", "").rstrip("/")
    for name, value in (("ELASTICSEARCH_URL", url), ("KIBANA_URL", kibana)):
        if urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).hostname:
            raise TourError(f"{name}={value!r} is not a URL such as https://localhost:9200; set both or neither.")
    cluster = Cluster(url, kibana, key, sandbox=False)
    from elastic_ml.clients.elasticsearch import server_facts

    server_facts(cluster.client())
    return cluster


def refuse_without_ml(cluster: Cluster) -> None:
    """Stop before training, with a sentence, where the cluster's licence has no machine learning."""
    from elastic_ml.clients.elasticsearch import server_facts

    facts = server_facts(cluster.client())
    if not facts.ml_available:
        raise TourError(
            f"The licence of {cluster.elasticsearch_url} is {facts.license!r}, which has no machine learning: the "
            "audit events are indexed, nothing was trained. Start a trial (POST _license/start_trial?acknowledge=true) "
            "or use a Platinum or Enterprise licence, then run the demo again."
        )


def _start_sandbox(sessions: Sessions) -> Cluster:
    port, kibana_port = free_port(), free_port()
    command = [sys.executable, "-m", "elastic_sandbox", "--port", str(port), "--kibana-port", str(kibana_port)]
    sessions.start("sandbox", [*command, "--data", str(sessions.folder / "elastic")], os.environ)
    wait_for_port(sessions, "sandbox", port)
    return Cluster(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{kibana_port}", None, sandbox=True)
