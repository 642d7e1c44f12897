"""Airflow DAG: rescore. The page is elastic_ml.stages.rescore's docstring."""

from pathlib import Path

from elastic_ml.stages import rescore

globals().update(rescore.build(Path(__file__).parents[1] / "include"))
