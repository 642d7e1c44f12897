"""The Airflow plugin, found by entry point; it registers what provider metadata cannot.

Links, connection forms, asset URIs and configuration are in :mod:`elastic_ml.get_provider_info`.
"""

from airflow.plugins_manager import AirflowPlugin


class ElasticMLPlugin(AirflowPlugin):
    """Lists the package among Airflow's plugins."""

    name = "elastic_ml"
