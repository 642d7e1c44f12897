"""Component and index templates: validation, composition, and which template wins for a name."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from elastic_sandbox.errors import ElasticError, illegal_argument, resource_not_found, unsupported, x_content_parse
from elastic_sandbox.indices import builtin
from elastic_sandbox.indices.mapping import Mapping
from elastic_sandbox.indices.mapping_definition import merge_templates, normalise
from elastic_sandbox.indices.names import check_alias_name, matches, overlap
from elastic_sandbox.indices.settings import flatten, nest, refuse_on_serverless, validate
from elastic_sandbox.indices.stream_lifecycle import check_lifecycle, check_options
from elastic_sandbox.shapes import EACH, STRINGS, check_shape

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

Template = dict[str, Any]
COMPONENT, INDEX = "component_template", "index_template"

_COMPONENT_KEYS = {"template", "version", "_meta", "deprecated", "created_date", "created_date_millis", "modified_date",
                   "modified_date_millis"}  # fmt: skip
_INDEX_KEYS = _COMPONENT_KEYS | {"index_patterns", "composed_of", "priority", "data_stream", "allow_auto_create",
                                 "ignore_missing_component_templates"}  # fmt: skip
_TEMPLATE_KEYS = {"settings", "mappings", "aliases", "lifecycle", "data_stream_options"}
_LOGS_PATTERN = "logs-*-*"


_PART = ({"settings": (dict, None), "mappings": (dict, None), "aliases": (EACH((dict, None)), None),
          "lifecycle": (dict, None), "data_stream_options": (dict, None)}, None)  # fmt: skip
_SHAPE = {"index_patterns": STRINGS, "composed_of": ([str], None), "ignore_missing_component_templates": ([str], None),
          "template": _PART, "data_stream": (dict, None), "_meta": (dict, None)}  # fmt: skip


class Composed:
    """What an index or data stream gets from its template: flat settings, mapping, aliases, lifecycle, options."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.mappings: dict[str, Any] = {}
        self.aliases: dict[str, Any] = {}
        self.lifecycle: dict[str, Any] | None = None
        self.data_stream_options: dict[str, Any] | None = None
        self._layers: tuple[bytes, ...] = ()

    def add(self, template: Template) -> None:
        """Lay one template over what is there."""
        self.settings.update(flatten(template.get("settings") or {}))
        self._layers += (orjson.dumps(template.get("mappings") or {}),)
        self.mappings = orjson.loads(_merged(self._layers))
        self.aliases.update(deepcopy(template.get("aliases") or {}))
        for key in ("lifecycle", "data_stream_options"):
            if key in template:
                # null in a later template takes back what an earlier one said
                setattr(self, key, deepcopy(template[key]))


@lru_cache(maxsize=32)
def _merged(layers: tuple[bytes, ...]) -> bytes:
    """The mappings of templates in their order as one: the same few are joined for every stream, again and again."""
    mappings: dict[str, Any] = {}
    for layer in layers:
        mappings = merge_templates(mappings, normalise(orjson.loads(layer)))
    return orjson.dumps(mappings)


class Templates:
    """The templates of a cluster."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def install_builtin(self) -> None:
        """Write what a fresh cluster has, unless it is there (perhaps edited) already."""
        state = self._backend.state
        for kind, templates in ((COMPONENT, builtin.COMPONENT_TEMPLATES), (INDEX, builtin.INDEX_TEMPLATES)):
            for name, template in templates.items():
                if state.get(kind, name) is None:
                    state.put(kind, name, self._for_flavor(template))

    def _for_flavor(self, template: Template) -> Template:
        made = deepcopy(template)
        if self._backend.flavor == "serverless":
            made.get("template", {}).get("settings", {}).pop("index.lifecycle.name", None)
        return made

    def _check_settings(self, kept: Template) -> None:
        settings = (kept.get("template") or {}).get("settings")
        if settings and self._backend.flavor == "serverless":
            refuse_on_serverless(settings)

    # CRUD ---------------------------------------------------------------------------------------------------------

    def put_component(self, name: str, body: Template, *, create: bool = False) -> None:
        """Create or replace a component template.

        :raises ElasticError: 400 when it is malformed, exists (with ``create``) or breaks an index template using it.
        """
        _check_keys(body, _COMPONENT_KEYS, "component_template")
        if not isinstance(body.get("template"), dict):
            raise illegal_argument("Required [template]")
        if create and self._backend.state.get(COMPONENT, name) is not None:
            raise illegal_argument(f"component template [{name}] already exists")
        kept = _kept(body)
        _check_template(kept["template"], self._backend)
        self._check_settings(kept)
        composed = Composed()
        composed.add(kept["template"])
        _check_composed(composed)
        for user, template in self._backend.state.items(INDEX):
            if name in template.get("composed_of", []):
                self._check_composition(user, template, {name: kept})
        self._backend.state.put(COMPONENT, name, kept)

    def put_index(self, name: str, body: Template, *, create: bool = False) -> None:
        """Create or replace an index template.

        :raises ElasticError: 400 when it is malformed, names missing component templates, or another template of the
            same priority covers the same names.
        """
        kept = self.checked_index(name, body)
        if create and self._backend.state.get(INDEX, name) is not None:
            raise illegal_argument(f"index template [{name}] already exists")
        self._backend.state.put(INDEX, name, kept)

    def checked_index(self, name: str, body: Template) -> Template:
        """Validate an index template and return it as it is kept."""
        _check_keys(body, _INDEX_KEYS, "index_template")
        patterns = body.get("index_patterns")
        if not patterns:
            raise illegal_argument("Required [index_patterns]")
        kept = _kept(body)
        kept["index_patterns"] = [patterns] if isinstance(patterns, str) else list(patterns)
        kept["composed_of"] = list(kept.get("composed_of") or [])
        ignored = kept.get("ignore_missing_component_templates") or []
        if "priority" in kept:
            kept["priority"] = _whole(kept["priority"], "priority")
        if kept.get("data_stream") is not None:
            _check_keys(
                kept["data_stream"], {"hidden", "allow_custom_routing", "failure_store"}, "data_stream_template"
            )
            kept["data_stream"] = {
                "hidden": bool(kept["data_stream"].get("hidden", False)),
                "allow_custom_routing": bool(kept["data_stream"].get("allow_custom_routing", False)),
            }
        _check_template(kept.get("template") or {}, self._backend)
        self._check_settings(kept)
        missing = [
            component
            for component in kept["composed_of"]
            if component not in ignored and self._backend.state.get(COMPONENT, component) is None
        ]
        if missing:
            listed = f"[{', '.join(missing)}]"
            if ignored:
                raise _invalid(
                    name,
                    f"index template [{name}] specifies a missing component templates {listed} that does not "
                    "exist and is not part of 'ignore_missing_component_templates'",
                )
            raise _invalid(name, f"index template [{name}] specifies component templates {listed} that do not exist")
        self._check_overlap(name, kept)
        self._check_composition(name, kept, {})
        return kept

    def get(self, kind: str, expression: str | None) -> list[tuple[str, Template]]:
        """Templates by name or wildcard, sorted; a plain name that is missing is 404."""
        word = "component template" if kind == COMPONENT else "index template"
        if expression is None:
            return self._backend.state.items(kind)
        found: list[tuple[str, Template]] = []
        for piece in expression.split(","):
            hits = [(name, body) for name, body in self._backend.state.items(kind) if matches(piece, name)]
            if not hits and "*" not in piece:
                raise resource_not_found(f"{word} matching [{piece}] not found")
            found += [hit for hit in hits if hit not in found]
        return found

    def delete(self, kind: str, expression: str) -> None:
        """Delete templates; one in use is refused."""
        names = []
        for piece in expression.split(","):
            hits = [name for name in self._backend.state.names(kind) if matches(piece, name)]
            if not hits and "*" not in piece:
                raise ElasticError(404, "index_template_missing_exception", f"index_template [{piece}] missing")
            names += hits
        if kind == COMPONENT:
            users = [
                user
                for user, template in self._backend.state.items(INDEX)
                if set(names)
                & (set(template["composed_of"]) - set(template.get("ignore_missing_component_templates", [])))
            ]
            if users:
                raise illegal_argument(
                    f"component templates [{','.join(names)}] cannot be removed as they are still in use by "
                    f"index templates [{','.join(users)}]"
                )
        else:
            self._check_unused(names)
        for name in names:
            self._backend.state.delete(kind, name)

    def _check_unused(self, names: list[str]) -> None:
        streams = []
        for stream in self._backend.state.names("data_stream"):
            covering = [name for name, template in self.covering(stream) if template.get("data_stream") is not None]
            if covering and not set(covering) - set(names):
                streams.append(stream)
        if streams:
            raise illegal_argument(
                f"unable to remove composable templates [{', '.join(names)}] as they are in use by a data streams "
                f"[{', '.join(streams)}]"
            )

    # Composition ----------------------------------------------------------------------------------------------------

    def covering(self, name: str) -> list[tuple[str, Template]]:
        """Templates whose patterns cover an index or stream name, the winner first."""
        hits = [
            (template_name, template)
            for template_name, template in self._backend.state.items(INDEX)
            if any(matches(pattern, name) for pattern in template["index_patterns"])
        ]
        return sorted(hits, key=lambda hit: -hit[1].get("priority", 0))

    def winner(self, name: str) -> tuple[str, Template] | None:
        """The template that decides for a name, or None."""
        hits = self.covering(name)
        return hits[0] if hits else None

    def compose(
        self, template: Template, *, replaced: dict[str, Template] | None = None, stream: str | None = None
    ) -> Composed:
        """Join a template with its components; ``stream`` also applies what Elasticsearch adds for that data stream."""
        composed = Composed()
        for name in template["composed_of"]:
            component = (replaced or {}).get(name) or self._backend.state.get(COMPONENT, name)
            if component is not None:
                composed.add(component["template"])
        composed.add(template.get("template") or {})
        if stream is not None and template.get("data_stream") is not None:
            # LogsdbIndexModeSettingsProvider: streams named logs-*-* are logsdb unless a template says otherwise.
            if matches(_LOGS_PATTERN, stream):
                composed.settings.setdefault("index.mode", "logsdb")
            if composed.lifecycle is None and self._backend.flavor == "serverless":
                composed.lifecycle = {}
            if composed.settings.get("index.mode") == "lookup":
                raise illegal_argument("index mode [lookup] is not allowed for data streams")
        return composed

    def simulate_index(self, name: str, body: Template | None = None) -> Template | None:
        """What an index of that name would get and which templates lose; None when none covers it."""
        hits = self.covering(name)
        if body is not None:
            candidate = self.checked_index(f"simulate_template_{name}", body)
            if not any(matches(pattern, name) for pattern in candidate["index_patterns"]):
                raise unsupported("_simulate_index with a template whose patterns do not cover the name")
            hits = sorted([("", candidate), *hits], key=lambda hit: -hit[1].get("priority", 0))
        if not hits:
            return None
        composed = self.compose(hits[0][1], stream=name)
        shown: Template = {
            "settings": nest({**self._provided(hits[0][1]), **composed.settings}),
            "mappings": _with_timestamp(composed.mappings, hits[0][1]),
            "aliases": composed.aliases,
        }
        if composed.lifecycle is not None:
            shown["lifecycle"] = {"enabled": True, **composed.lifecycle}
        overlapping = [
            {"name": loser, "index_patterns": template["index_patterns"]} for loser, template in hits[1:] if loser
        ]
        return {"template": shown, "overlapping": sorted(overlapping, key=lambda item: item["name"])}

    def _provided(self, template: Template) -> dict[str, str]:
        return self.tier_preference(stream=template.get("data_stream") is not None)

    def tier_preference(self, *, stream: bool) -> dict[str, str]:
        """What DataTier's settings provider adds to every new index: streams start on the hot tier."""
        if self._backend.flavor == "serverless":
            return {}
        return {"index.routing.allocation.include._tier_preference": "data_hot" if stream else "data_content"}

    def _check_overlap(self, name: str, template: Template) -> None:
        priority = template.get("priority", 0)
        rivals = {
            other: body["index_patterns"]
            for other, body in self._backend.state.items(INDEX)
            if other != name
            and body.get("priority", 0) == priority
            and any(overlap(one, two) for one in template["index_patterns"] for two in body["index_patterns"])
        }
        if rivals:
            patterns = ", ".join(template["index_patterns"])
            listed = ",".join(f"{other} => [{', '.join(theirs)}]" for other, theirs in rivals.items())
            raise illegal_argument(
                f"index template [{name}] has index patterns [{patterns}] matching patterns from existing templates "
                f"[{','.join(rivals)}] with patterns ({listed}) that have the same priority [{priority}], multiple "
                "index templates may not match during index creation, please use a different priority"
            )

    def _check_composition(self, name: str, template: Template, replaced: dict[str, Template]) -> None:
        composed = self.compose(template, replaced=replaced)
        for part, words in (("lifecycle", "lifecycle configuration"), ("data_stream_options", "data stream options")):
            if getattr(composed, part) is not None and template.get("data_stream") is None:
                raise illegal_argument(
                    f"index template [{name}] specifies {words} that can only be used in combination with a data stream"
                )
        try:
            _check_composed(composed)
        except ElasticError as error:
            if error.status == 501:
                raise
            components = template["composed_of"]
            inserted = f"with component templates [{', '.join(components)}] " if components else ""
            raise illegal_argument(
                f"composable template [{name}] template after composition {inserted}is invalid", caused_by=error.cause()
            ) from error


def shown_template(template: Template, *, flat_settings: bool = False) -> Template:
    """A template as GET shows it: settings nested (or flat), everything else as it was put."""
    shown = deepcopy(template)
    inner = shown.get("template")
    if inner and inner.get("settings"):
        flat = flatten(inner["settings"])
        inner["settings"] = flat if flat_settings else nest(flat)
    return shown


def _with_timestamp(mappings: Template, template: Template) -> Template:
    shown = Mapping(mappings).to_json()
    if template.get("data_stream") is not None:
        shown = {"_data_stream_timestamp": {"enabled": True}, **shown}
        shown.setdefault("properties", {}).setdefault("@timestamp", {"type": "date"})
    return shown


def _kept(body: Template) -> Template:
    check_shape("index_template", body, _SHAPE)
    kept = deepcopy(body)
    inner = kept.get("template")
    if inner and inner.get("settings") is not None:
        inner["settings"] = flatten(inner["settings"])
    if kept.get("version") is not None:
        kept["version"] = _whole(kept["version"], "version")
    return kept


def _whole(value: Any, name: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise x_content_parse(f"[1:1] [index_template] failed to parse field [{name}]") from None


def _check_keys(body: Any, known: set[str], what: str) -> None:
    if not isinstance(body, dict):
        raise x_content_parse(f"[1:1] [{what}] Expected START_OBJECT but was: VALUE_STRING")
    for key in body:
        if key not in known:
            raise x_content_parse(f"[1:1] [{what}] unknown field [{key}]")


def _check_template(template: Template, backend: Backend) -> None:
    _check_keys(template, _TEMPLATE_KEYS, "template")
    for alias, body in (template.get("aliases") or {}).items():
        check_alias_name(alias)
        if set(body or {}) - {"is_hidden"}:
            raise unsupported(f"parameters {sorted(body)} of alias [{alias}] in a template")
    if template.get("lifecycle") is not None:
        check_lifecycle(template["lifecycle"], backend, template=True)
    if template.get("data_stream_options") is not None:
        check_options(template["data_stream_options"])


def _check_composed(composed: Composed) -> None:
    validate({name: value for name, value in composed.settings.items() if value is not None})
    Mapping(composed.mappings, composed.settings)


def _invalid(name: str, problem: str) -> ElasticError:
    return ElasticError(400, "invalid_index_template_exception", f"index_template [{name}] invalid, cause [{problem}]")
