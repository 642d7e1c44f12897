"""Airflow DAGs of elastic_ml.stages.rescore.

rescore: scores the past with a model's champion, beside the events, which stay as they
were.
"""

from pathlib import Path

from elastic_ml.stages import rescore

globals().update(rescore.build(Path(__file__).parent / "project"))
