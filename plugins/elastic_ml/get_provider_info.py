"""What Airflow reads about this provider before anything else is importable."""


def get_provider_info() -> dict:
    """Return the provider's metadata; imports nothing, since discovery runs before Airflow is configured."""
    return {"package-name": "airflow-provider-elastic-ml", "name": "Elastic ML", "description": "x", "versions": ["0.1.0"]}
