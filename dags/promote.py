"""Airflow DAGs: promote_<model>. The page is elastic_ml.stages.promote's docstring."""

from pathlib import Path

from elastic_ml.stages import promote

globals().update(promote.build(Path(__file__).parents[1] / "include"))
