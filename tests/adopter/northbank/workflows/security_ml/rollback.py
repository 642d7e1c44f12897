"""Airflow DAGs of elastic_ml.stages.rollback.

rollback_<model>: takes a model back, effective on the next document; waits for nobody's
approval.
"""

from pathlib import Path

from elastic_ml.stages import rollback

globals().update(rollback.build(Path(__file__).parent / "project"))
