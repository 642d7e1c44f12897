"""Airflow DAGs of elastic_ml.stages.elastic_setup.

elastic_setup: brings Elasticsearch to what the project folder says.
"""

from pathlib import Path

from elastic_ml.stages import elastic_setup

globals().update(elastic_setup.build(Path(__file__).parent / "project"))
