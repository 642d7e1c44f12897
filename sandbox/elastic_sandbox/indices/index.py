"""One index: identity, settings, mapping, aliases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.indices.mapping import Mapping
from elastic_sandbox.indices.settings import Settings, nest


class Index:
    """One open index.

    :param settings: flat, ``{"index.mode": "logsdb", ...}``; values are strings
    :param data_stream: the data stream this is a backing or failure index of
    :param failure_store: whether it belongs to the stream's failure store
    :param lifecycle: where it is in its ILM policy, kept by :class:`IndexLifecycle`
    :param rolled: the aliases and data streams it was rolled over for, and when, in epoch milliseconds
    :param save: makes a change of this index durable
    """

    def __init__(
        self,
        name: str,
        uuid: str,
        settings: Settings,
        mapping: dict[str, Any],
        created_ms: int,
        *,
        aliases: dict[str, dict[str, Any]] | None = None,
        data_stream: str | None = None,
        failure_store: bool = False,
        lifecycle: dict[str, Any] | None = None,
        rolled: dict[str, int] | None = None,
        save: Callable[[Index], None] | None = None,
    ) -> None:
        self.name = name
        self.uuid = uuid
        self.settings = settings
        self.created_ms = created_ms
        self.aliases = aliases or {}
        self.data_stream = data_stream
        self.failure_store = failure_store
        self.lifecycle = lifecycle or {}
        self.rolled = rolled or {}
        self._save = save
        self.mapping = Mapping(mapping, settings, on_change=lambda _definition: self.save())

    def save(self) -> None:
        """Write this index through to the cluster state."""
        if self._save is not None:
            self._save(self)

    @property
    def mode(self) -> str:
        """``standard``, ``logsdb`` or ``lookup``."""
        return str(self.settings.get("index.mode", "standard"))

    @property
    def hidden(self) -> bool:
        """Whether wildcards skip it."""
        return bool(self.settings.get("index.hidden") == "true")

    def check_writable(self) -> None:
        """Raise 403 cluster_block_exception when writes are blocked by a setting."""
        for setting, number, words in (
            ("index.blocks.read_only", 5, "index read-only (api)"),
            ("index.blocks.write", 8, "index write (api)"),
        ):
            if self.settings.get(setting) == "true":
                raise ElasticError(
                    403, "cluster_block_exception", f"index [{self.name}] blocked by: [FORBIDDEN/{number}/{words}];"
                )

    def shown_settings(self, *, flat: bool = False) -> dict[str, Any]:
        """Settings as ``GET _settings`` shows them."""
        return dict(sorted(self.settings.items())) if flat else nest(self.settings)

    def to_state(self) -> dict[str, Any]:
        """What the cluster state keeps."""
        return {
            "uuid": self.uuid,
            "settings": self.settings,
            "mapping": self.mapping.definition,
            "created_ms": self.created_ms,
            "aliases": self.aliases,
            "data_stream": self.data_stream,
            "failure_store": self.failure_store,
            "lifecycle": self.lifecycle,
            "rolled": self.rolled,
        }

    @classmethod
    def from_state(cls, name: str, kept: dict[str, Any], save: Callable[[Index], None]) -> Index:
        """The reverse of :meth:`to_state`."""
        return cls(
            name,
            kept["uuid"],
            kept["settings"],
            kept["mapping"],
            kept["created_ms"],
            aliases=kept["aliases"],
            data_stream=kept["data_stream"],
            failure_store=kept["failure_store"],
            lifecycle=kept.get("lifecycle"),
            rolled=kept.get("rolled"),
            save=save,
        )
