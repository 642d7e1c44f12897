"""Objects that a user keeps as they are written, without a project folder: compared, then only the difference is sent.

An object is `{"kind", "name", "body"}`. The server's own defaults are no difference, and neither is what starting
an object adds to it, so that applying twice writes nothing. What cannot be updated in place is said before anything
is written to it, and replaced only when asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import InvalidRequestError, NotFoundError
from elastic_ml.project.bodies import MANAGED_BY
from elastic_ml.project.feature_setup import keep_running
from elastic_ml.project.features import arguments, delete_transform
from elastic_ml.project.reconcile import Mode, Row, shortened
from elastic_ml.project.server_objects import (
    COMPONENT_TEMPLATE,
    ENRICH_POLICY,
    ILM_POLICY,
    INDEX_TEMPLATE,
    PIPELINE,
    STREAM_LIFECYCLE,
    TRANSFORM,
    UPDATABLE,
    Body,
    Kind,
    differences,
)

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

KINDS: Mapping[str, Kind] = {
    "ilm_policy": ILM_POLICY,
    "component_template": COMPONENT_TEMPLATE,
    "enrich_policy": ENRICH_POLICY,
    "ingest_pipeline": PIPELINE,
    "index_template": INDEX_TEMPLATE,
    "data_stream_lifecycle": STREAM_LIFECYCLE,
    "transform": TRANSFORM,
}
"""What can be kept, in the order in which it is written: each may name the ones before it."""

_BY_USER = ("version", "deprecated")
"""Of templates and pipelines: kept when the body says them; otherwise whatever is there may stay."""


@dataclass(frozen=True)
class WantedObject:
    """One object to be kept; `body` as the API takes it."""

    kind: Kind
    name: str
    body: Body


def wanted_objects(entries: Iterable[Mapping[str, Any]]) -> list[WantedObject]:
    """Read `{"kind", "name", "body"}` entries, sorted so that each object comes after those it may name.

    :raises InvalidRequestError: an entry that is none, an unknown kind, an object that comes twice.
    """
    wanted: dict[tuple[str, str], WantedObject] = {}
    for position, entry in enumerate(entries, start=1):
        if not isinstance(entry, Mapping) or set(entry) != {"kind", "name", "body"}:
            raise InvalidRequestError(
                f"Object {position} is not made of kind, name and body.", remedy="Write exactly these three keys."
            )
        kind, name, body = str(entry["kind"]), str(entry["name"] or ""), entry["body"]
        if kind not in KINDS:
            raise InvalidRequestError(f"Object {position} has the kind {kind!r}.", remedy=f"Write {', '.join(KINDS)}.")
        if not name or not isinstance(body, Mapping):
            raise InvalidRequestError(f"Object {position} ({kind} {name!r}) has no name, or its body is no object.")
        if (kind, name) in wanted:
            raise InvalidRequestError(f"{KINDS[kind].word} {name} comes twice.", remedy="Keep one of them.")
        if kind == "ilm_policy" and "policy" not in body:
            body = {"policy": body}
        wanted[kind, name] = WantedObject(KINDS[kind], name, dict(body))
    order = list(KINDS)
    return [wanted[key] for key in sorted(wanted, key=lambda key: order.index(key[0]))]


@dataclass
class Keeper:
    """Brings objects to the wanted bodies; `plan` and `verify` only read and say what would be done.

    :param keep_edited: leave alone, and report, what somebody else made or edited since.
    :param replace: delete and create again what cannot be updated: an enrich policy, the pivot of a transform.
    :param check_models: refuse a pipeline whose model or alias does not exist: it would fail every document.
    :param labels: goes into `_meta` of what is written, beside the hash of the body.
    """

    client: Elasticsearch
    mode: Mode
    keep_edited: bool = False
    replace: bool = False
    check_models: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)

    def keep(self, objects: list[WantedObject]) -> Iterator[Row]:
        """Yield one row per object as it is done, and one for the state of each continuous transform.

        :raises ElasticMLError: the server refused an object; those before it are written.
        """
        policies = {each.name for each in objects if each.kind is ENRICH_POLICY}
        for wanted in objects:
            row = self._keep(wanted, policies)
            yield row
            if wanted.kind is TRANSFORM and "sync" in wanted.body and row.state not in {"conflict", "would create"}:
                yield from keep_running(self.client, wanted.name, self.mode)

    def _keep(self, wanted: WantedObject, policies: set[str]) -> Row:
        kind, name = wanted.kind, wanted.name
        if kind is PIPELINE and (problem := self._unusable(wanted.body)):
            return Row(kind.word, name, "conflict", problem)
        actual = kind.read(self.client, name)
        if actual is None:
            if self.mode != "apply":
                return Row(kind.word, name, "would create")
            self._write(wanted, None, policies)
            return Row(kind.word, name, "created")
        found = _differences(wanted, actual)
        if not found:
            return Row(kind.word, name, "unchanged")
        detail = shortened(found)
        if self.keep_edited and (by := _editor(kind, actual)):
            return Row(kind.word, name, "edited by hand", f"{by}: {detail}")
        obstacle = _obstacle(wanted, actual)
        if obstacle and not self.replace:
            return Row(kind.word, name, "conflict", f"{obstacle}: {detail}")
        detail = f"replaced: {detail}" if obstacle else detail
        if self.mode != "apply":
            return Row(kind.word, name, "differs", detail)
        self._write(wanted, actual, policies, anew=bool(obstacle))
        return Row(kind.word, name, "changed", detail)

    def _write(self, wanted: WantedObject, actual: Body | None, policies: set[str], *, anew: bool = False) -> None:
        kind, name = wanted.kind, wanted.name
        marks = {"managed_by": MANAGED_BY, "hash": kind.hash(wanted.body), **self.labels}
        body = kind.with_metadata(wanted.body, {**kind.metadata(wanted.body), **marks})
        if kind is PIPELINE:
            for processor in _named(body, "enrich"):
                if processor.get("policy_name") in policies:
                    # Refused until the policy was executed once; executed here, since a try that follows a crash
                    # finds the policy unchanged but this pipeline still to be written.
                    self.client.enrich.execute_policy(name=processor["policy_name"], wait_for_completion=True)
        if kind is ENRICH_POLICY and anew:
            self.client.enrich.delete_policy(name=name)
        if kind is not TRANSFORM:
            kind.write(self.client, name, body)
        elif actual is None or anew:
            delete_transform(self.client, name)
            self.client.transform.put_transform(transform_id=name, **arguments(body))
        else:
            self.client.transform.update_transform(transform_id=name, body=_change(body, actual))

    def _unusable(self, pipeline: Body) -> str:
        """Why no document could pass the pipeline; Elasticsearch takes it all the same."""
        for inference in _named(pipeline, "inference"):
            model = str(inference.get("model_id") or "")
            if "input_output" in inference and inference.keys() & {"target_field", "field_map"}:
                return (
                    f"the processor for {model} has input_output beside target_field or field_map: keep one of the two"
                )
            if self.check_models and model and not self._exists(model):
                return f"no trained model or alias is called {model}, so that every document would fail"
        return ""

    def _exists(self, model: str) -> bool:
        try:
            return bool(self.client.ml.get_trained_models(model_id=model, allow_no_match=False)["count"])
        except NotFoundError:
            return False


def _differences(wanted: WantedObject, actual: Body) -> list[str]:
    kind, body = wanted.kind, wanted.body
    if kind is TRANSFORM:
        # An update can set these to the server's default, but not take them away again.
        body = {**{key: text for key, text in _UNSET.items() if key in actual}, **body}
    found = differences(kind.canonical(body), kind.canonical(actual))
    marked = kind.metadata(actual)
    said = [(f"_meta.{key}", value, marked.get(key)) for key, value in kind.metadata(body).items()]
    if any(kind is each for each in (COMPONENT_TEMPLATE, INDEX_TEMPLATE, PIPELINE)):
        said += [(key, body[key], actual.get(key)) for key in _BY_USER if key in body]
    return found + [f"{path} is {theirs} (wanted {ours})" for path, ours, theirs in said if ours != theirs]


def _editor(kind: Kind, actual: Body) -> str:
    """Who made or changed the object, where that was not this package; kinds without `_meta` cannot tell."""
    if kind.meta is None:
        return ""
    marks = kind.metadata(actual)
    if marks.get("managed_by") != MANAGED_BY:
        return "made by somebody else"
    return "" if marks.get("hash") == kind.hash(actual) else "changed since it was written"


def _obstacle(wanted: WantedObject, actual: Body) -> str:
    """Why the object cannot be updated in place; empty where it can."""
    if wanted.kind is ENRICH_POLICY:
        return "an enrich policy cannot be changed"
    if wanted.kind is TRANSFORM:
        if ("sync" in wanted.body) != ("sync" in actual):
            return "a transform cannot turn from batch to continuous or back"
        ours, theirs = TRANSFORM.canonical(wanted.body), TRANSFORM.canonical(actual)
        paths = {path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)}
        if any(path.startswith(("pivot.", "latest.")) for path in paths):
            return "the function of a transform cannot be changed"
    return ""


_UNSET: Body = {"frequency": "1m", "description": ""}


def _change(wanted: Body, actual: Body) -> Body:
    """The body of an update: what the wanted transform says, and the defaults of what it no longer says."""
    change = {key: text for key, text in _UNSET.items() if key in actual}
    change |= {key: value for key, value in wanted.items() if key in UPDATABLE}
    if actual.get("settings"):
        # Settings are merged one by one; null takes one away.
        change["settings"] = {**dict.fromkeys(actual["settings"]), **(wanted.get("settings") or {})}
    if actual.get("retention_policy"):
        change.setdefault("retention_policy", None)
    return change


def _named(value: Any, name: str) -> Iterator[Mapping[str, Any]]:
    """The options of every processor of that type, wherever it is nested."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == name and isinstance(inner, Mapping):
                yield inner
            yield from _named(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner, name)
