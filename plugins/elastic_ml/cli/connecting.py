"""Which cluster a command talks to: named in the environment, or one of Airflow's connections."""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING

from elastic_ml.clients.elasticsearch import connect
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.exceptions import ConnectionSettingsError

if TYPE_CHECKING:
    import argparse

    from elasticsearch import Elasticsearch

_USER = re.compile(r"//[^/]*@")
TIMEOUT_SECONDS = 15.0
"""A person waits: a server that does not answer by then is reported."""


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a cluster. A key is no argument: it would show in the process list."""
    parser.add_argument("--url", help="https://host:9200; default: ELASTICSEARCH_URL")
    parser.add_argument("--connection", metavar="ID", help="one of Airflow's connections instead")


def settings_of(options: argparse.Namespace, connection: str) -> ElasticsearchSettings:
    """How to reach the cluster that was named, else the one behind Airflow's `connection`.

    :raises ConnectionSettingsError: nothing was named and Airflow is not installed or has no such connection.
    """
    url = _url(options)
    if url:
        return ElasticsearchSettings(
            url=url,
            api_key=os.environ.get("ELASTIC_API_KEY") or None,
            ca_certs=os.environ.get("ELASTIC_CA_CERTS") or None,
            request_timeout=TIMEOUT_SECONDS,
        )
    return _airflow_settings(options.connection or connection)


def named(options: argparse.Namespace) -> str | None:
    """The cluster that was named for every role alike, as people know it; None when project.yml's connections count."""
    if url := _url(options):
        return f"cluster {_USER.sub('//', url)}"
    return f"connection {options.connection}" if options.connection else None


def _url(options: argparse.Namespace) -> str | None:
    return options.url or (None if options.connection else os.environ.get("ELASTICSEARCH_URL"))


def client_of(settings: ElasticsearchSettings) -> Elasticsearch:
    """A client that gives up after one more try: whoever typed the command sees at once that nobody answers."""
    # Airflow, once imported, shows every request of every client: nothing that somebody typed a command for.
    logging.getLogger("elastic_transport").setLevel(logging.WARNING)
    client: Elasticsearch = connect(settings, opaque_id="elastic_ml").options(max_retries=1)
    return client


def _airflow_settings(connection: str) -> ElasticsearchSettings:
    remedy = (
        f"Set ELASTICSEARCH_URL (and ELASTIC_API_KEY), or make the connection: airflow connections add {connection} "
        '--conn-type elastic --conn-host https://... --conn-extra \'{"api_key": "..."}\'.'
    )
    try:
        from airflow.exceptions import AirflowNotFoundException

        from elastic_ml.hooks.elastic import ElasticHook
    except ImportError as error:
        raise ConnectionSettingsError(
            f"No cluster was named, and Airflow is not there to ask for its connection {connection} ({error}).",
            remedy=remedy,
        ) from error
    try:
        return ElasticHook(connection).settings
    except AirflowNotFoundException as error:
        raise ConnectionSettingsError(f"Airflow has no connection {connection}.", remedy=remedy) from error
