"""Airflow DAGs: monitor_<model>. The page is elastic_ml.stages.monitor's docstring."""

from pathlib import Path

from elastic_ml.stages import monitor

globals().update(monitor.build(Path(__file__).parents[1] / "include"))
