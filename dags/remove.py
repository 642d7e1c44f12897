"""Airflow DAG: elastic_remove. The page is elastic_ml.stages.remove's docstring."""

from pathlib import Path

from elastic_ml.stages import remove

globals().update(remove.build(Path(__file__).parents[1] / "include"))
