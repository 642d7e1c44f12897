"""Airflow DAGs of elastic_ml.stages.kibana_deploy.

kibana_deploy: brings dashboards, alert rules and connectors to Kibana.
"""

from pathlib import Path

from elastic_ml.stages import kibana_deploy

globals().update(kibana_deploy.build(Path(__file__).parent / "project"))
