"""Connections of Airflow as clients."""
