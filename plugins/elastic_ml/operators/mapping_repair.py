"""Bringing a stream's old backing indices to the types that its template has now."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from elastic_ml.exceptions import JobFailedError, NotFoundError, NotReadyError
from elastic_ml.links.kibana import IndexLink
from elastic_ml.operators.base import sorted_fields
from elastic_ml.operators.reindex import reindex_job, submit_reindex
from elastic_ml.operators.remote_job import RemoteJob, RemoteJobOperator

if TYPE_CHECKING:
    from elastic_ml.clients.remote_jobs import JobStatus
    from elastic_ml.project.project import Project

META = "repair"
REPAIRED_KEY = "repaired"


class RepairMappingOperator(RemoteJobOperator):
    """Copy each backing index of a stream whose field types are not the template's, and put the copy in its place.

    Per index, oldest first: a write index is rolled over first; an index with the template's mapping is made beside
    it; a sliced `_reindex` task copies it; when both hold the same number of documents, one
    `_data_stream/_modify` takes the old one out and the new one in, so that no search sees a gap or a document twice;
    lifecycle and age are carried over; the old index is deleted. A value that the new type refuses fails the task with
    the document's error, and the stream is as it was.

    Run it while nobody deletes or updates documents of old indices; new events go to the write index all the time.

    :param project_folder: the project folder.
    :param stream: the stream to repair; empty: skipped (templated).
    :return: `{stream, repaired: [{index, replaced_by, documents}]}`.
    :raises NotReadyError: the stream is not one that this project manages.
    :raises JobFailedError: documents did not fit, or the copy is not complete.
    """

    template_fields: Sequence[str] = sorted_fields("stream")
    operator_extra_links = (IndexLink(),)
    kind: ClassVar[str] = "task"

    def __init__(self, *, project_folder: str, stream: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.stream = stream

    def prepare(self, context: Any) -> RemoteJob:
        """Find the oldest index to repair; skip with a sentence when there is none."""
        from airflow.sdk.exceptions import AirflowSkipException

        if not self.stream:
            raise AirflowSkipException("No repair was asked for: the param repair names no stream.")
        project = self._project()
        from elastic_ml.project.streams import managed_streams

        if self.stream not in {stream.name for stream in managed_streams(project)}:
            raise NotReadyError(
                f"{self.stream} is no stream that this project manages.",
                remedy=f"Repair one of {', '.join(s.name for s in managed_streams(project))}.",
            )
        self._delete_replaced()
        job = self._next()
        if job is None:
            raise AirflowSkipException(f"Every backing index of {self.stream} has the template's types.")
        return job

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Make the new index, and start copying or attach to the copy that runs."""
        spec = job.spec
        if self._backing()[-1] == spec["replaces"]:
            self.client.indices.rollover(alias=self.stream)
        if not self.client.indices.exists(index=spec["dest"]["index"]):
            self.client.indices.create(index=spec["dest"]["index"], **self._body(spec["replaces"]))
        return submit_reindex(self.client, job, can_list_tasks=not self.hook.serverless)

    def following(self, context: Any, job: RemoteJob, status: "JobStatus") -> RemoteJob | None:
        """Put the copy in place, and go on with the next index."""
        done = self._swap(job)
        store = context["task_state_store"]
        store.set(REPAIRED_KEY, [*(store.get(REPAIRED_KEY) or []), done])
        return self._next()

    def finish(self, context: Any, job: RemoteJob, status: "JobStatus") -> dict[str, Any]:
        """Say what was replaced."""
        return {"stream": self.stream, "repaired": context["task_state_store"].get(REPAIRED_KEY) or []}

    def link_names(self, job: RemoteJob) -> Mapping[str, str]:
        """Return the new index."""
        return {"IndexLink": str(job.spec["dest"]["index"])}

    def _project(self) -> "Project":
        from elastic_ml.project import load_project

        return load_project(self.project_folder)

    def _backing(self) -> list[str]:
        shown = self.client.indices.get_data_stream(name=self.stream)["data_streams"][0]
        return [index["index_name"] for index in shown["indices"]]

    def _template(self) -> dict[str, Any]:
        return dict(self.client.indices.simulate_index_template(name=self.stream)["template"])

    def _next(self) -> RemoteJob | None:
        from elastic_ml.project.bodies import body_hash
        from elastic_ml.project.streams import additions

        wanted = self._template()["mappings"]
        mappings = self.client.indices.get_mapping(index=self.stream).body
        for index in self._backing():
            _, retyped = additions(wanted, mappings[index]["mappings"])
            if retyped:
                self.log.info(
                    "%s: %s",
                    index,
                    "; ".join(f"{path} is {now}, the template says {then}" for path, now, then in retyped),
                )
                base = re.sub(r"^(\.ds-|repaired-[0-9a-f]{8}-)+", "", index)
                target = f"repaired-{body_hash([wanted.get('properties'), index])[:8]}-{base}"
                job = reindex_job(source=index, dest=target)
                return job._replace(spec={**job.spec, "replaces": index})
        return None

    def _body(self, replaces: str) -> dict[str, Any]:
        template, project = self._template(), self._project()
        found = self.client.indices.get(index=replaces, flat_settings=True)[replaces]
        settings = {**template.get("settings", {})}
        index = {**settings.get("index", {})}
        # What is copied was normalised and scored when it came in.
        index.pop("default_pipeline", None)
        # With its policy the copy would age, and perhaps be deleted, while it is being filled.
        index.pop("lifecycle", None)
        if not self.hook.serverless:
            index["lifecycle"] = {"origination_date": self._age(replaces, found["settings"])}
        mappings = project.stamp(template.get("mappings", {}))
        mappings.pop("_data_stream_timestamp", None)
        kept = {k: v for k, v in (found["mappings"].get("_meta") or {}).items() if k == "history"}
        mappings["_meta"] = {**mappings["_meta"], **kept, META: {"stream": self.stream, "replaces": replaces}}
        return {"settings": {**settings, "index": index}, "mappings": mappings}

    def _age(self, index: str, settings: Mapping[str, Any]) -> int:
        """What the lifecycle counts from, in milliseconds since 1970: as before, or the newest event."""
        if found := settings.get("index.lifecycle.origination_date"):
            return int(found)
        newest = self.client.search(index=index, size=0, aggs={"newest": {"max": {"field": "@timestamp"}}})
        value = newest["aggregations"]["newest"]["value"]
        return int(value if value is not None else settings["index.creation_date"])

    def _swap(self, job: RemoteJob) -> dict[str, Any]:
        from elastic_ml.ingest.history import policy_of

        old, new = str(job.spec["replaces"]), str(job.spec["dest"]["index"])
        backing = self._backing()
        if new not in backing:
            self.client.indices.refresh(index=[old, new])
            documents, copied = (int(self.client.count(index=name)["count"]) for name in (old, new))
            if documents != copied:
                raise JobFailedError(
                    f"{new} holds {copied:,} of the {documents:,} documents of {old}; the stream was left as it is.",
                    remedy="Look at the reindex task's failures; clear this task to copy what is missing.",
                )
            actions: list[Mapping[str, Any]] = [
                {"remove_backing_index": {"data_stream": self.stream, "index": old}},
                {"add_backing_index": {"data_stream": self.stream, "index": new}},
            ]
            self.client.indices.modify_data_stream(actions=actions)
        if not self.hook.serverless and (policy := policy_of(self.client, self.stream)):
            settings = {"index.lifecycle.name": policy, "index.lifecycle.indexing_complete": True}
            self.client.indices.put_settings(index=new, settings=settings)
        self._delete(old)
        return {"index": old, "replaced_by": new, "documents": int(self.client.count(index=new)["count"])}

    def _delete_replaced(self) -> None:
        """Delete what an interrupted run took out of the stream and did not get to delete."""
        backing = set(self._backing())
        for body in self.client.indices.get_mapping(index=self.stream).body.values():
            old = ((body["mappings"].get("_meta") or {}).get(META) or {}).get("replaces")
            if old and old not in backing:
                self._delete(old)

    def _delete(self, index: str) -> None:
        try:
            self.client.indices.delete(index=index)
        except NotFoundError:
            return
        self.log.info("%s is replaced and was deleted.", index)
