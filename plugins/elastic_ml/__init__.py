"""The Elastic machine-learning lifecycle as Airflow operators, stages and a project folder of YAML."""

__version__ = "0.1.0"
