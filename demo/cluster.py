"""The Elasticsearch of the tour: the sandbox, started here, or a real cluster named by the environment."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests

from demo.sessions import Sessions, TourError, free_port, wait_for_port
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.exceptions import ElasticMLError, SecurityError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

VARIABLES = ("ELASTICSEARCH_URL", "KIBANA_URL", "ELASTIC_API_KEY", "ELASTIC_CA_CERTS")


@dataclass(frozen=True)
class Cluster:
    """Where the tour's data goes, and how Airflow reaches it."""

    elasticsearch_url: str
    kibana_url: str
    api_key: str | None
    sandbox: bool
    ca_certs: str | None = None

    @property
    def settings(self) -> ElasticsearchSettings:
        """The package's settings of this cluster."""
        return ElasticsearchSettings(url=self.elasticsearch_url, api_key=self.api_key, ca_certs=self.ca_certs)

    @property
    def address(self) -> str:
        """Elasticsearch's URL without the credentials that may stand in it: for sentences and the screen."""
        return self.settings.address

    def client(self) -> Elasticsearch:
        """Return the package's client, which raises the package's own errors."""
        from elastic_ml.clients.elasticsearch import connect

        return connect(self.settings)

    def connections(self) -> list[dict[str, Any]]:
        """Return the Airflow connections; the key stands in the extra, which Airflow keeps encrypted."""
        key = {"api_key": self.api_key} if self.api_key else {}
        elastic = key | ({"ca_certs": self.ca_certs} if self.ca_certs else {})
        return [
            {
                "connection_id": "elasticsearch_default",
                "conn_type": "elastic",
                "host": self.elasticsearch_url,
                "extra": json.dumps(elastic) if elastic else None,
            },
            {
                "connection_id": "kibana_default",
                "conn_type": "kibana",
                "host": self.kibana_url,
                "extra": json.dumps({"public_url": self.kibana_url} | key),
            },
        ]


def named_cluster(environment: Mapping[str, str]) -> Cluster | None:
    """Return the cluster that the environment names once it and its Kibana have answered; None where none is named.

    :raises TourError: a variable is missing or wrong; the sentence begins with its name.
    """
    values = {name: environment.get(name, "").strip() for name in VARIABLES}
    named = [name for name, value in values.items() if value]
    if not named:
        return None
    if not values["ELASTICSEARCH_URL"]:
        raise TourError(
            f"{named[0]} is set and ELASTICSEARCH_URL is not: name both URLs to use your own cluster, or unset "
            f"{' and '.join(named)} to use the sandbox."
        )
    for name in ("ELASTICSEARCH_URL", "KIBANA_URL"):
        _check_url(name, values[name])
    cluster = Cluster(
        values["ELASTICSEARCH_URL"].rstrip("/"),
        values["KIBANA_URL"].rstrip("/"),
        values["ELASTIC_API_KEY"] or None,
        sandbox=False,
        # Airflow's tasks run elsewhere than this.
        ca_certs=os.path.abspath(values["ELASTIC_CA_CERTS"]) if values["ELASTIC_CA_CERTS"] else None,
    )
    _check_elasticsearch(cluster)
    _check_kibana(cluster)
    return cluster


def _check_url(name: str, value: str) -> None:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        example = "https://localhost:9200" if name == "ELASTICSEARCH_URL" else "https://localhost:5601"
        # A value that is no URL may still hold a password.
        shown = "is not set" if not value else f"({value.rpartition('@')[2]}) is not a URL"
        raise TourError(f"{name} {shown}: write one such as {example}, or set none of {', '.join(VARIABLES)}.")


def _check_elasticsearch(cluster: Cluster) -> None:
    from elastic_ml.clients.elasticsearch import server_facts

    try:
        server_facts(cluster.client().options(max_retries=0))
    except SecurityError as error:
        given = "ELASTIC_API_KEY is refused" if cluster.api_key else "ELASTIC_API_KEY is not set, and a key is needed"
        raise TourError(f"{given} by {cluster.address}. {error}") from error
    except ElasticMLError as error:
        more = " For the demo: make demo ELASTIC_CA_CERTS=/path/to/http_ca.crt ..." if "ca_certs" in str(error) else ""
        raise TourError(f"ELASTICSEARCH_URL cannot be used. {error}{more}") from error


def _check_kibana(cluster: Cluster) -> None:
    """Links lead to Kibana: an address that leads elsewhere is noticed now and not when somebody clicks."""
    shown = cluster.kibana_url.rpartition("@")[2]
    headers = {"Authorization": f"ApiKey {cluster.api_key}"} if cluster.api_key else {}
    try:
        answer = requests.get(
            f"{cluster.kibana_url}/api/status", headers=headers, timeout=15, verify=cluster.ca_certs or True
        )
        body = answer.json()
    except requests.JSONDecodeError:
        body = None
    except (requests.RequestException, OSError) as error:
        reason = str(error).replace(cluster.kibana_url, shown)[:240]
        raise TourError(
            f"KIBANA_URL ({shown}) cannot be reached ({reason}). Check host and port, and that Kibana runs; with a "
            "certificate of its own, set ELASTIC_CA_CERTS to the file of its CA."
        ) from error
    if answer.status_code == 401:
        raise TourError(f"ELASTIC_API_KEY is refused by the Kibana at {shown} (401): is it a key of another cluster?")
    # Elasticsearch's errors have a `status` too, which is a number.
    if not isinstance(body, dict) or not isinstance(body.get("status"), dict):
        raise TourError(
            f"KIBANA_URL ({shown}) is not Kibana: it answered /api/status with {answer.status_code} and no status. "
            "Check host, port and path."
        )


def refuse_without_ml(cluster: Cluster) -> None:
    """Stop before training, with a sentence, where the cluster's licence has no machine learning."""
    from elastic_ml.clients.elasticsearch import server_facts

    facts = server_facts(cluster.client())
    if not facts.ml_available:
        raise TourError(
            f"The licence of {cluster.address} is {facts.license!r}, which has no machine learning: the "
            "audit events are indexed, nothing was trained. Start a trial (POST _license/start_trial?acknowledge=true) "
            "or use a Platinum or Enterprise licence, then run the demo again."
        )


def start_sandbox(sessions: Sessions) -> Cluster:
    """Start the sandbox and return once it listens.

    :raises TourError: it ended or did not listen in time; the sentence carries its last words.
    """
    port, kibana_port = free_port(), free_port()
    command = [sys.executable, "-m", "elastic_sandbox", "--port", str(port), "--kibana-port", str(kibana_port)]
    sessions.start("sandbox", [*command, "--data", str(sessions.folder / "elastic")], os.environ)
    wait_for_port(sessions, "sandbox", port)
    return Cluster(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{kibana_port}", None, sandbox=True)
