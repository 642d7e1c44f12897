"""Elastic verbs as Airflow operators."""
