"""The named extras of a connection: an unknown one is an error, so that no typing mistake passes unnoticed."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from elastic_ml.exceptions import ConnectionSettingsError

if TYPE_CHECKING:
    from airflow.sdk import Connection


class Extras:
    """Reads the named extras of one connection, each with its type.

    :param connection: the connection.
    :param allowed: names of the extras that its type has.
    :raises ConnectionSettingsError: the extra is no JSON object, or holds a name that is not allowed.
    """

    TRUE: ClassVar[set[str]] = {"true", "1", "yes", "on"}
    FALSE: ClassVar[set[str]] = {"false", "0", "no", "off"}

    def __init__(self, connection: "Connection", allowed: Sequence[str]) -> None:
        self.conn_id = connection.conn_id
        try:
            extras = json.loads(connection.extra or "{}")
        except ValueError:
            extras = None
        if not isinstance(extras, dict):
            raise ConnectionSettingsError(
                f"The extra of connection {self.conn_id} is not a JSON object.",
                remedy=f"Allowed extras: {', '.join(allowed)}.",
            )
        unknown = sorted(set(extras) - set(allowed))
        if unknown:
            raise ConnectionSettingsError(
                f"Connection {self.conn_id} has an unknown extra: {', '.join(unknown)}.",
                remedy=f"Allowed extras: {', '.join(allowed)}.",
            )
        self.values: dict[str, Any] = extras

    def text(self, name: str) -> str | None:
        """Return a text; an empty one is none."""
        value = self.values.get(name)
        if isinstance(value, bool | dict | list):
            raise ConnectionSettingsError(
                f"The extra {name} of connection {self.conn_id} is not a text.", remedy="Write it in quotes."
            )
        return str(value) if value not in {None, ""} else None

    def flag(self, name: str, default: bool) -> bool:
        """Return a truth value, also one that was typed as text."""
        value = self.values.get(name)
        if value is None or value == "":
            return default
        word = str(value).strip().lower()
        if word in self.TRUE | self.FALSE:
            return word in self.TRUE
        raise ConnectionSettingsError(
            f"The extra {name} of connection {self.conn_id} is neither true nor false.", remedy="Write true or false."
        )

    def number(self, name: str, default: float) -> float:
        """Return a number, also one that was typed as text."""
        value = self.values.get(name)
        if value is None or value == "":
            return default
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ConnectionSettingsError(
                f"The extra {name} of connection {self.conn_id} is not a number.", remedy="Write seconds, such as 60."
            ) from None
