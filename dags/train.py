"""Airflow DAGs: train_<model>. The page is elastic_ml.stages.train's docstring."""

from pathlib import Path

from elastic_ml.stages import train

globals().update(train.build(Path(__file__).parents[1] / "include"))
