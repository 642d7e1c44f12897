"""Airflow DAG: elastic_rotate_credentials. The page is elastic_ml.stages.rotate_credentials's docstring."""

from pathlib import Path

from elastic_ml.stages import rotate_credentials

globals().update(rotate_credentials.build(Path(__file__).parents[1] / "include"))
