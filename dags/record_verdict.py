"""Airflow DAG: record_verdict. The page is elastic_ml.stages.record_verdict's docstring."""

from pathlib import Path

from elastic_ml.stages import record_verdict

globals().update(record_verdict.build(Path(__file__).parents[1] / "include"))
