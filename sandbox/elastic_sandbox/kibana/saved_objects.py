"""What Kibana keeps: saved objects by type and id, each visible in the spaces that it names.

All types here are multi-namespace: an id is taken once, in whichever space (the `namespaceType` of their
registrations). Data views, connectors and rules are saved objects too: `index-pattern`, `action` and `alert`.
"""

from __future__ import annotations

import base64
import copy
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.kibana.errors import conflict, not_found
from elastic_sandbox.kibana.validation import FLAG, NUMBER, TEXT, Field, InvalidError, list_of, mapping, object_of

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

KIND: Final = "kibana_object"
DATA_VIEW, CONNECTOR, RULE = "index-pattern", "action", "alert"
CORE_VERSION: Final = "8.8.0"
"""coreMigrationVersion of every object that a 9.x writes."""

SavedObject = dict[str, Any]


@dataclass(frozen=True)
class Type:
    """A type that can be imported and exported.

    :param icon: what import and export answers carry as `meta.icon`
    :param version: the newest `typeMigrationVersion` that this Kibana knows
    :param attributes: members whose type is checked; others pass
    """

    icon: str
    version: str
    attributes: dict[str, Field] = field(default_factory=dict)


_SEARCH_SOURCE: Final = object_of({"searchSourceJSON": Field(TEXT)})

# Versions: check_registered_types.test.ts of Kibana as of 9.4; shapes: the model versions of the dashboard's
# registration (src/platform/plugins/shared/dashboard/server/dashboard_saved_object).
TYPES: Final = {
    "dashboard": Type(
        "dashboardApp",
        "10.3.0",
        {
            "title": Field(TEXT, required=True),
            "description": Field(TEXT),
            "panelsJSON": Field(TEXT),
            "optionsJSON": Field(TEXT),
            "kibanaSavedObjectMeta": Field(_SEARCH_SOURCE),
            "timeRestore": Field(FLAG),
            "timeFrom": Field(TEXT),
            "timeTo": Field(TEXT),
            "refreshInterval": Field(mapping),
            "controlGroupInput": Field(mapping),
            "sections": Field(list_of(mapping)),
            "version": Field(NUMBER),
            "hits": Field(NUMBER),
        },
    ),
    DATA_VIEW: Type("indexPatternApp", "8.0.0", {"title": Field(TEXT, required=True)}),
    "lens": Type("lensApp", "10.1.0"),
    "map": Type("gisApp", "8.4.0"),
    "query": Type("search", "10.2.0"),
    "search": Type("discoverApp", "10.11.0"),
    "tag": Type("tag", "8.0.0", {name: Field(TEXT) for name in ("name", "description", "color")}),
    "visualization": Type("visualizeApp", "8.5.0"),
}
# Types that a Kibana imports and the sandbox does not.
OTHERS: Final = frozenset({
    CONNECTOR, RULE, "alerting_rule_template", "canvas-workpad", "config", "csp-rule-template",
    "event-annotation-group", "graph-workspace", "infrastructure-ui-source", "links", "ml-module", "slo", "url",
})  # fmt: skip


def title_of(saved: SavedObject) -> str | None:
    """What lists show: the title, of a tag its name."""
    attributes = saved.get("attributes") or {}
    found = attributes.get("name" if saved["type"] == "tag" else "title")
    return None if found is None else str(found)


def check_attributes(saved: SavedObject) -> None:
    """Raise :class:`InvalidError` for attributes that the type's schema refuses."""
    attributes = saved.get("attributes")
    if not isinstance(attributes, dict):
        raise InvalidError("[attributes]: expected a plain object value")
    for name, one in TYPES[saved["type"]].attributes.items():
        if name in attributes:
            one.check(attributes[name], f"attributes.{name}")
        elif one.required:
            raise InvalidError(f"[attributes.{name}]: expected value of type [string] but got [undefined]")


class SavedObjects:
    """The saved objects of all spaces, kept in the cluster state."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def find(self, kind: str, name: str, space: str) -> SavedObject | None:
        """An object as it is visible in a space."""
        saved = self.anywhere(kind, name)
        return saved if saved is not None and space in saved["namespaces"] else None

    def anywhere(self, kind: str, name: str) -> SavedObject | None:
        """An object, whichever space it is in."""
        return self._backend.state.get(KIND, f"{kind}:{name}")

    def get(self, kind: str, name: str, space: str) -> SavedObject:
        """An object; 404 when this space has none of that id."""
        saved = self.find(kind, name, space)
        if saved is None:
            raise not_found(kind, name)
        return saved

    def all(self, kind: str, space: str | None) -> list[SavedObject]:
        """All objects of a type in a space, or in every space, by id."""
        prefix = f"{kind}:"
        return [
            saved
            for name, saved in self._backend.state.items(KIND)
            if name.startswith(prefix) and (space is None or space in saved["namespaces"])
        ]

    def create(
        self,
        kind: str,
        attributes: dict[str, Any],
        space: str,
        *,
        name: str | None = None,
        references: list[dict[str, str]] | None = None,
        namespaces: list[str] | None = None,
        **more: Any,
    ) -> SavedObject:
        """Create an object; 409 when its id is taken, be it in another space."""
        name = name or str(uuid.uuid4())
        with self._backend.lock:
            if self.anywhere(kind, name) is not None:
                raise conflict(kind, name)
            saved = {
                "id": name,
                "type": kind,
                "namespaces": namespaces or [space],
                "attributes": attributes,
                "references": references or [],
                "managed": False,
                "coreMigrationVersion": CORE_VERSION,
                "typeMigrationVersion": TYPES[kind].version if kind in TYPES else "10.1.0",
                "created_at": self._backend.clock.now_iso(),
                **more,
            }
            return self.write(saved)

    def update(self, kind: str, name: str, space: str, change: Callable[[dict[str, Any]], None]) -> SavedObject:
        """Change an object's attributes in place."""
        with self._backend.lock:
            saved = self.get(kind, name, space)
            change(saved["attributes"])
            return self.write(saved)

    def write(self, saved: SavedObject) -> SavedObject:
        """Store an object as it is, with a new version and time of update."""
        with self._backend.lock:
            counter = self._backend.state.get("kibana_counter", "version") or {"at": 0}
            counter["at"] += 1
            self._backend.state.put("kibana_counter", "version", counter)
            saved = copy.deepcopy(saved)
            saved["version"] = base64.b64encode(f"[{counter['at']},1]".encode()).decode()
            saved["updated_at"] = self._backend.clock.now_iso()
            saved.setdefault("created_at", saved["updated_at"])
            self._backend.state.put(KIND, f"{saved['type']}:{saved['id']}", saved)
            return saved

    def delete(self, kind: str, name: str, space: str) -> SavedObject:
        """Delete an object; 404 when this space has none of that id."""
        with self._backend.lock:
            saved = self.get(kind, name, space)
            self._backend.state.delete(KIND, f"{kind}:{name}")
            return saved
