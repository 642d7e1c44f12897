"""Airflow DAGs of elastic_ml.stages.rotate_credentials.

elastic_rotate_credentials: after a connection got a new API key, everything that runs
with the old one gets it too.
"""

from pathlib import Path

from elastic_ml.stages import rotate_credentials

globals().update(rotate_credentials.build(Path(__file__).parent / "project"))
