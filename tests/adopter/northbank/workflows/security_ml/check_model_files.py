"""No Airflow DAG: raises one import error that lists every invalid file of the project folder."""

from pathlib import Path

from elastic_ml.project.check import check_files

check_files(Path(__file__).parent / "project")
