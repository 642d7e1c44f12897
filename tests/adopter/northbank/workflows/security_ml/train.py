"""Airflow DAGs of elastic_ml.stages.train.

train_<model>: learns a model from a window of events and their verdicts, judges it, and
offers it as a candidate.
"""

from pathlib import Path

from elastic_ml.stages import train

globals().update(train.build(Path(__file__).parent / "project"))
