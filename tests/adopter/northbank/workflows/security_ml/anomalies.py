"""Airflow DAGs of elastic_ml.stages.anomalies.

anomalies_<job>: lets an anomaly job learn what happened, and tells what was out of the
ordinary.
"""

from pathlib import Path

from elastic_ml.stages import anomalies

globals().update(anomalies.build(Path(__file__).parent / "project"))
