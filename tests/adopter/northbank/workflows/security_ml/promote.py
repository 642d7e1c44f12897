"""Airflow DAGs of elastic_ml.stages.promote.

promote_<model>: lets a candidate into production, by its figures and by a person, and
takes nothing on trust.
"""

from pathlib import Path

from elastic_ml.stages import promote

globals().update(promote.build(Path(__file__).parent / "project"))
