"""Airflow DAG: elastic_housekeeping. The page is elastic_ml.stages.housekeeping's docstring."""

from pathlib import Path

from elastic_ml.stages import housekeeping

globals().update(housekeeping.build(Path(__file__).parents[1] / "include"))
