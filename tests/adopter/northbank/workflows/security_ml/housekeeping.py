"""Airflow DAGs of elastic_ml.stages.housekeeping.

elastic_housekeeping: puts away what trainings leave behind. Without `apply` it only
says what it would do.
"""

from pathlib import Path

from elastic_ml.stages import housekeeping

globals().update(housekeeping.build(Path(__file__).parent / "project"))
