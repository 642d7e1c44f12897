"""Airflow DAG: kibana_deploy. The page is elastic_ml.stages.kibana_deploy's docstring."""

from pathlib import Path

from elastic_ml.stages import kibana_deploy

globals().update(kibana_deploy.build(Path(__file__).parents[1] / "include"))
