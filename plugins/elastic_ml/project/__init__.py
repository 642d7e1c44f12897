"""The project folder as typed objects: settings, names, models, sources, templates. Needs no Airflow."""

from elastic_ml.project.bodies import body_hash
from elastic_ml.project.names import Names, Stream
from elastic_ml.project.project import Project, load_project

__all__ = ["Names", "Project", "Stream", "body_hash", "load_project"]
