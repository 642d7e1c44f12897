"""Airflow DAGs: anomalies_<job>. The page is elastic_ml.stages.anomalies' docstring."""

from pathlib import Path

from elastic_ml.stages import anomalies

globals().update(anomalies.build(Path(__file__).parents[1] / "include"))
