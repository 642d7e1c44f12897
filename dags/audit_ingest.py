"""Airflow DAGs: audit_ingest, audit_ingest_hourly. The page is elastic_ml.stages.audit_ingest's docstring."""

from pathlib import Path

from elastic_ml.stages import audit_ingest

globals().update(audit_ingest.build(Path(__file__).parents[1] / "include"))
