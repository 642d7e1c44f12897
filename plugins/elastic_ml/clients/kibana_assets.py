"""Rules, connectors and data views of Kibana, brought to a wanted state: read, compared, and only then written.

Nothing here deletes, or switches on what a person switched off, unless it is asked to. What this Kibana cannot take
(version, flavor, licence, privilege) is an error that says so, before anything is written.
"""

from elastic_ml.clients.kibana_changes import Change, differences
from elastic_ml.clients.kibana_connectors import delete_connector, execute_connector, upsert_connector
from elastic_ml.clients.kibana_data_views import delete_data_view, upsert_data_view
from elastic_ml.clients.kibana_ml import sync_ml
from elastic_ml.clients.kibana_rules import delete_rule, run_rule_soon, upsert_rule

__all__ = [
    "Change",
    "delete_connector",
    "delete_data_view",
    "delete_rule",
    "differences",
    "execute_connector",
    "run_rule_soon",
    "sync_ml",
    "upsert_connector",
    "upsert_data_view",
    "upsert_rule",
]
