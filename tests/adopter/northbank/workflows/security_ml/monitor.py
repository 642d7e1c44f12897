"""Airflow DAGs of elastic_ml.stages.monitor.

monitor_<model>: measures one day of the model in production, and asks for a training
when it drifts on.
"""

from pathlib import Path

from elastic_ml.stages import monitor

globals().update(monitor.build(Path(__file__).parent / "project"))
