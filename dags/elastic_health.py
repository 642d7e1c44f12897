"""Airflow DAG: elastic_health. The page is elastic_ml.stages.elastic_health's docstring."""

from pathlib import Path

from elastic_ml.stages import elastic_health

globals().update(elastic_health.build(Path(__file__).parents[1] / "include"))
