"""What one project owns on a cluster, in the order in which it can be deleted."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import LicenseError, VersionError
from elastic_ml.maintenance.possessions import PAGE
from elastic_ml.maintenance.steps import DELETED, Step, carry_out, walk
from elastic_ml.project.anomaly_bodies import mark_of
from elastic_ml.project.anomaly_calendars import marked
from elastic_ml.project.bodies import MANAGED_BY
from elastic_ml.project.server_objects import DATES
from elastic_ml.project.unmanaged_streams import hooks

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.project import Project


class Estate:
    """What one project owns on a cluster, in the order in which it can be deleted."""

    def __init__(self, client: "Elasticsearch", project: "Project", *, serverless: bool) -> None:
        self.client = client
        self.project = project
        self.names = project.names
        self.serverless = serverless
        self._models = "|".join(re.escape(self.names.on_cluster(name)) for name in project.models()) or "-"

    def steps(self, *, data: bool) -> list[Step]:
        """Return every object with what happens to it: `delete`, or `keep` with the reason."""
        streams = self._streams()
        needed = {} if data else self._needed(streams)
        learning = list(self._machine_learning(data=data))
        jobs_stay = any(step.kind == "anomaly job" and step.action == "keep" for step in learning)
        steps = [*learning, *self._calendars(jobs_stay=jobs_stay), *self._transforms(), *self._hooks()]
        if data:
            steps += [Step("data stream", name, "delete", "with all its events") for name in streams]
            steps += [Step("index", name, "delete", "data") for name in self._indices()]
        else:
            steps += [Step("data stream", name, "keep", "data") for name in streams]
            steps += [Step("index", name, "keep", "data") for name in self._indices()]
        for kind, name in self._objects():
            why = needed.get((kind, name))
            steps.append(Step(kind, name, "keep" if why else "delete", why or "marked as this project's"))
        return steps

    def do(self, step: Step) -> Step:
        """Carry out one step."""
        if step.kind == "processor":
            return self._unhook(step)
        if step.kind == "model alias":
            model_id, alias = step.name.split("/")
            self.client.options(ignore_status=404).ml.delete_trained_model_alias(model_id=model_id, model_alias=alias)
            return Step(step.kind, step.name, "deleted", step.reason)
        if step.kind == "analytics job":
            # One that runs is stopped by that as well.
            self.client.options(ignore_status=404).ml.delete_data_frame_analytics(id=step.name, force=True)
            return step._replace(action=DELETED)
        return carry_out(self.client, step)

    # what uses what

    def _needed(self, streams: Sequence[str]) -> dict[tuple[str, str], str]:
        """What events of streams and indices that stay go through, and what their next index is made from."""
        needed: dict[tuple[str, str], str] = {}
        if not streams:
            return needed
        shown = self.client.indices.get_data_stream(name=list(streams))["data_streams"]
        templates = self._get("/_index_template").get("index_templates", [])
        bodies = {entry["name"]: entry["index_template"] for entry in templates}
        pipelines = self.client.ingest.get_pipeline().body
        for stream in shown:
            why = f"the stream {stream['name']} stays and needs it"
            template = str(stream.get("template"))
            needed[("index template", template)] = why
            for component in bodies.get(template, {}).get("composed_of", []):
                needed[("component template", component)] = why
            if stream.get("ilm_policy"):
                needed[("ILM policy", stream["ilm_policy"])] = why
        settings = self.client.indices.get_settings(index=list(streams), flat_settings=True).body
        for index, found in settings.items():
            why = f"{index} stays and names it"
            if policy := found["settings"].get("index.lifecycle.name"):
                needed[("ILM policy", policy)] = why
            for name in ("index.default_pipeline", "index.final_pipeline"):
                if pipeline := found["settings"].get(name):
                    self._follow(str(pipeline), pipelines, why, needed)
        return needed

    def _follow(
        self, pipeline: str, pipelines: Mapping[str, Any], why: str, needed: dict[tuple[str, str], str]
    ) -> None:
        """Mark a pipeline, and those without which it would fail every document."""
        if pipeline not in pipelines or ("ingest pipeline", pipeline) in needed:
            return
        needed[("ingest pipeline", pipeline)] = why
        for processor in walk(pipelines[pipeline]):
            inner = processor.get("pipeline")
            # One that may be missing is not called when it is: scoring ends, and indexing goes on.
            if isinstance(inner, Mapping) and not inner.get("ignore_missing_pipeline"):
                self._follow(str(inner.get("name")), pipelines, f"{pipeline} calls it", needed)
            enrich = processor.get("enrich")
            if isinstance(enrich, Mapping):
                needed[("enrich policy", str(enrich.get("policy_name")))] = f"{pipeline} names it"

    # what there is

    def _streams(self) -> list[str]:
        """Data streams whose index template is marked as this project's."""
        ours = {name for kind, name in self._templates() if kind == "index template"}
        wanted = [
            *(stream.name for stream in self.names.audit_streams if stream.managed),
            self.names.labels_stream,
            *self.names.operations_streams,
        ]
        shown = self._get("/_data_stream/" + ",".join(f"{name}*" for name in wanted)).get("data_streams", [])
        return sorted(s["name"] for s in shown if s["name"] in wanted and s.get("template") in ours)

    def _indices(self) -> list[str]:
        names = self.names
        own = {names.ledger, names.labels, names.baselines, names.model_cards}
        families = [f"{names.prefix}-{family}-" for family in ("train", "holdout", "results", "scores")] + [
            names.history_index(stream.name, "", 0)[: -len("-0")] for stream in names.audit_streams if stream.managed
        ]
        if names.features:
            own.add(names.features)
        found = self.client.indices.get_mapping(
            index=[*sorted(own), *(f"{family}*" for family in families)], ignore_unavailable=True, allow_no_indices=True
        ).body
        result = re.compile(rf"{re.escape(names.prefix)}-(results|scores)-({self._models})-.+")
        return sorted(
            index
            for index, answer in found.items()
            # The destination of an analytics job carries Elasticsearch's own _meta.
            if self._ours(answer["mappings"].get("_meta")) or index == names.features or result.fullmatch(index)
        )

    def _objects(self) -> Iterator[tuple[str, str]]:
        """Everything without data, those first that name others."""
        templates = list(self._templates())
        yield from (entry for entry in templates if entry[0] == "index template")
        yield from self._pipelines()
        yield from self._policies()
        yield from (entry for entry in templates if entry[0] == "component template")
        if not self.serverless:
            for name, body in self._get("/_ilm/policy").items():
                if self._ours(body.get("policy", {}).get("_meta")):
                    yield "ILM policy", name

    def _templates(self) -> Iterator[tuple[str, str]]:
        for entry in self._get("/_index_template").get("index_templates", []):
            if self._ours(entry["index_template"].get("_meta")):
                yield "index template", entry["name"]
        for entry in self._get("/_component_template").get("component_templates", []):
            if self._ours(entry["component_template"].get("_meta")):
                yield "component template", entry["name"]

    def _pipelines(self) -> Iterator[tuple[str, str]]:
        found = self.client.ingest.get_pipeline().body
        yield from (("ingest pipeline", name) for name, body in found.items() if self._ours(body.get("_meta")))

    def _policies(self) -> Iterator[tuple[str, str]]:
        """Enrich policies have no `_meta`; their names start with the project's prefix and end in 8 hex of the body."""
        pattern = re.compile(rf"{re.escape(self.names.prefix)}-labels-by-(event|user-hour)-[0-9a-f]{{8}}")
        for entry in self._get("/_enrich/policy").get("policies", []):
            name = next(iter(entry["config"].values()))["name"]
            if pattern.fullmatch(name):
                yield "enrich policy", name

    def _transforms(self) -> Iterator[Step]:
        if self.names.features is None:
            return
        for transform in self._get(f"/_transform/{self.names.features}*").get("transforms", []):
            if self._ours(transform.get("_meta")):
                yield Step("transform", transform["id"], "delete", "stopped first; its index stays data")

    def _machine_learning(self, *, data: bool) -> Iterator[Step]:
        """Jobs hold results and models what was learned: both are data."""
        action, why = ("delete", "with its results") if data else ("keep", "data")
        job_of = re.compile(rf"({self._models})-\d{{8}}-[0-9a-f]{{8}}")
        for model in self._asked(lambda: self.client.ml.get_trained_models(size=10_000)["trained_model_configs"]):
            if not any(job_of.fullmatch(tag) for tag in model.get("tags") or []):
                continue
            made_by = ((model.get("metadata") or {}).get("analytics_config") or {}).get("_meta")
            if not (self._carded(model["model_id"]) or self._ours(made_by)):
                continue
            aliases = (model.get("metadata") or {}).get("model_aliases") or []
            # Somebody may have given it an alias of his own, with a pipeline called after it.
            scored = {
                m for m in self.project.models() if {self.names.champion(m), self.names.previous(m)} & set(aliases)
            }
            if data:
                # The pipelines that name it go first: a model in use is not deleted.
                for name in sorted(map(self.names.score_pipeline, scored)):
                    yield Step("ingest pipeline", name, "delete", "scores events")
                yield from (Step("model alias", f"{model['model_id']}/{a}", "delete", "") for a in aliases)
            yield Step("trained model", model["model_id"], action, "learned from this project's data" if data else why)
        for job in self._asked(
            lambda: self.client.ml.get_data_frame_analytics(id="*", size=1000)["data_frame_analytics"]
        ):
            if self._ours(job.get("_meta")):
                yield Step("analytics job", job["id"], action, why)
        for job in self._asked(lambda: self.client.ml.get_jobs(job_id="*")["jobs"]):
            if self._ours(job.get("custom_settings")):
                yield Step("anomaly job", job["job_id"], action, why)

    def _calendars(self, *, jobs_stay: bool) -> Iterator[Step]:
        """Calendars and filters: they have no `_meta`; the end of their description says whose they are."""
        mark = mark_of(self.project)
        action, why = "delete", "marked as this project's"
        if jobs_stay:
            action, why = "keep", "for the anomaly jobs that stay"
        for calendar in self._asked(lambda: self.client.ml.get_calendars(calendar_id="*", size=PAGE)["calendars"]):
            if marked(calendar, mark):
                yield Step("calendar", calendar["calendar_id"], action, why)
        for one in self._asked(lambda: self.client.ml.get_filters(filter_id="*", size=PAGE)["filters"]):
            if marked(one, mark):
                yield Step("filter", one["filter_id"], action, why)

    def _carded(self, model_id: str) -> bool:
        return bool(
            self.client.options(ignore_status=404).get(index=self.names.model_cards, id=model_id).body.get("found")
        )

    def _hooks(self) -> Iterator[Step]:
        """The one processor in each pipeline that somebody else owns."""
        for pipeline in hooks(self.project):
            if self._hook_at(pipeline) is not None:
                yield Step("processor", pipeline, "delete", "calls our scoring; the rest of it stays")

    def _hook_at(self, pipeline: str) -> int | None:
        body = self._get(f"/_ingest/pipeline/{pipeline}").get(pipeline) or {}
        tag = f"{MANAGED_BY}:{self.project.name}"
        return next(
            (i for i, p in enumerate(body.get("processors", [])) if next(iter(p.values())).get("tag") == tag), None
        )

    def _unhook(self, step: Step) -> Step:
        at = self._hook_at(step.name)
        if at is None:
            return Step(step.kind, step.name, "deleted", "was gone already")
        body = self._get(f"/_ingest/pipeline/{step.name}")[step.name]
        kept = {key: value for key, value in body.items() if key not in DATES}
        processors = [processor for i, processor in enumerate(kept["processors"]) if i != at]
        self.client.ingest.put_pipeline(id=step.name, body={**kept, "processors": processors})
        return Step(step.kind, step.name, "deleted", step.reason)

    def _asked(self, ask: Callable[[], Any]) -> list[Any]:
        try:
            return list(ask())
        except (LicenseError, VersionError):
            return []

    def _get(self, path: str) -> dict[str, Any]:
        answer = self.client.options(ignore_status=404).perform_request(
            "GET", path, headers={"accept": "application/json"}
        )
        return dict(answer.body) if answer.meta.status == 200 else {}

    def _ours(self, meta: Mapping[str, Any] | None) -> bool:
        found = meta or {}
        return found.get("managed_by") == MANAGED_BY and found.get("project") == self.project.name
