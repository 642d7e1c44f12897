"""Airflow DAG: elastic_setup. The page is elastic_ml.stages.elastic_setup's docstring."""

from pathlib import Path

from elastic_ml.stages import elastic_setup

globals().update(elastic_setup.build(Path(__file__).parents[1] / "include"))
