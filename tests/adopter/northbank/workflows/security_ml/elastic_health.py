"""Airflow DAGs of elastic_ml.stages.elastic_health.

elastic_health: looks at every model in production and at the cluster around it, every
five minutes.
"""

from pathlib import Path

from elastic_ml.stages import elastic_health

globals().update(elastic_health.build(Path(__file__).parent / "project"))
