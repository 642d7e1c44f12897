"""Elasticsearch from plain settings: the official client with this package's errors; no Airflow."""
