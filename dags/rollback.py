"""Airflow DAGs: rollback_<model>. The page is elastic_ml.stages.rollback's docstring."""

from pathlib import Path

from elastic_ml.stages import rollback

globals().update(rollback.build(Path(__file__).parents[1] / "include"))
