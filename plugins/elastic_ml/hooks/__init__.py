"""Connections of Airflow as clients, and the remote work that operators and triggers watch."""
