"""Connections in environment variables: Airflow passes over one that it cannot read, as if it were not there."""

import json
import os

from elastic_ml.exceptions import ConnectionSettingsError


def refuse_unreadable(connection: str) -> None:
    """Raise when the environment has a connection that Airflow did not find.

    :param connection: id of a connection that was looked up and not found.
    :raises ConnectionSettingsError: its variable is set, but cannot be read. The value is not repeated: it has secrets.
    """
    variable = f"AIRFLOW_CONN_{connection.upper()}"
    value = os.environ.get(variable, "").strip()
    if not value:
        return
    why = "Airflow cannot make a connection of it"
    if value.startswith("{"):
        try:
            json.loads(value)
        except json.JSONDecodeError as error:
            why = f"it is no JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        else:
            why = "it is JSON with a key or a value that Airflow does not know there"
    raise ConnectionSettingsError(
        f"The environment variable {variable} is set, but {why}.",
        remedy='Write one JSON object with double quotes: {"conn_type": "...", "host": "https://...", "extra": {...}}.',
    )
