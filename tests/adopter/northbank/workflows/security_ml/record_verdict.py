"""Airflow DAGs of elastic_ml.stages.record_verdict.

record_verdict: what a person decided about one event, for models to learn from.
"""

from pathlib import Path

from elastic_ml.stages import record_verdict

globals().update(record_verdict.build(Path(__file__).parent / "project"))
