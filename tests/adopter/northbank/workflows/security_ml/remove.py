"""Airflow DAGs of elastic_ml.stages.remove.

elastic_remove: takes the project off the cluster. Without `apply` it only says what it
would delete.
"""

from pathlib import Path

from elastic_ml.stages import remove

globals().update(remove.build(Path(__file__).parent / "project"))
