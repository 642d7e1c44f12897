"""Airflow DAGs of elastic_ml.stages.audit_ingest.

audit_ingest: audit events and verdicts of one day into Elasticsearch.
"""

from pathlib import Path

from elastic_ml.stages import audit_ingest

globals().update(audit_ingest.build(Path(__file__).parent / "project"))
