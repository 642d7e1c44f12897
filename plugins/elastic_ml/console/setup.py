"""Scripts of `elastic_setup` and `elastic_remove`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from elastic_ml.console.script import Request, Script
from elastic_ml.project.desired_state import DesiredObject, desired_objects, desired_transform
from elastic_ml.project.server_objects import (
    COMPONENT_TEMPLATE,
    ENRICH_POLICY,
    ILM_POLICY,
    INDEX,
    INDEX_TEMPLATE,
    PIPELINE,
)
from elastic_ml.project.unmanaged_streams import hook_processor, hooks

if TYPE_CHECKING:
    from elastic_ml.console.example import Example
    from elastic_ml.project.project import Project

PATHS = {
    ILM_POLICY.word: "/_ilm/policy/",
    COMPONENT_TEMPLATE.word: "/_component_template/",
    INDEX_TEMPLATE.word: "/_index_template/",
    PIPELINE.word: "/_ingest/pipeline/",
    ENRICH_POLICY.word: "/_enrich/policy/",
    INDEX.word: "/",
}


def setup(example: Example) -> Script:
    """What `elastic_setup` writes on an empty cluster, in its order."""
    project = example.project
    return Script(
        project.names.dag_id("elastic_setup"),
        1,
        "Everything that the project needs in Elasticsearch: lifecycle, indices, pipelines, templates, streams.",
        "once, at the start. On Serverless leave out what has `_ilm` in its path, and `lifecycle` in templates.",
        "the data streams at the end: each with its template and, where the licence has it, a lifecycle.",
        "compares before it writes, keeps what somebody edited, proves that these templates win over others, and "
        "adapts streams that exist already. Here a second run is refused where an index or policy exists.",
        list(_setup(project)),
    )


def _setup(project: Project) -> Iterator[Request]:
    executed = set()
    for one in desired_objects(project):
        if one.executes and one.executes not in executed:
            executed.add(one.executes)
            yield Request(
                "POST",
                f"/_enrich/policy/{one.executes}/_execute",
                why="A pipeline that enriches is refused while its policy was never executed.",
            )
        yield Request("PUT", f"{PATHS[one.kind.word]}{one.name}", one.body)
    for name in _streams(project):
        yield Request("PUT", f"/_data_stream/{name}")
    for pipeline, streams in hooks(project).items():
        yield Request(
            "PUT",
            f"/_ingest/pipeline/{pipeline}",
            {"processors": [hook_processor(project, streams)]},
            why=f"Somebody else's: {', '.join(streams)}. Where this pipeline exists, add the processor to it instead.",
        )
    transform = desired_transform(project)
    if transform is not None:
        yield Request("PUT", f"/{transform.name}")
        yield Request(
            "PUT",
            f"/_transform/{transform.name}",
            transform.body,
            why="User-hours: refused while one of its sources does not exist.",
        )
        yield Request("POST", f"/_transform/{transform.name}/_start")
    yield Request("GET", f"/_data_stream/{','.join(_streams(project))}")


def remove(example: Example) -> Script:
    """What `elastic_remove` deletes when it is asked to delete data, too."""
    project = example.project
    return Script(
        project.names.dag_id("elastic_remove"),
        99,
        "Takes the project off the cluster, WITH ITS DATA: streams, verdicts, cards.",
        "never, on a cluster whose data somebody needs.",
        "the last answers: nothing of the project is left but its jobs and models; elastic_housekeeping deletes those.",
        "deletes only what is marked as the project's, asks for the project's name first, and leaves data, and what "
        "data needs, unless it is asked to.",
        list(_remove(project)),
    )


def _remove(project: Project) -> Iterator[Request]:
    names = project.names
    if names.features:
        yield Request("POST", f"/_transform/{names.features}/_stop?force=true&wait_for_completion=true")
        yield Request("DELETE", f"/_transform/{names.features}")
        yield Request("DELETE", f"/{names.features}", why="From here on, data goes.")
    for name in _streams(project):
        yield Request("DELETE", f"/_data_stream/{name}")
    # What is behind a name goes before what it names.
    order = [INDEX_TEMPLATE, COMPONENT_TEMPLATE, PIPELINE, ENRICH_POLICY, INDEX, ILM_POLICY]
    wanted = desired_objects(project)
    for kind in order:
        found: list[DesiredObject] = [one for one in wanted if one.kind is kind]
        for one in reversed(found):
            yield Request("DELETE", f"{PATHS[kind.word]}{one.name}")
    yield Request("GET", f"/_data_stream/logs-{names.prefix}.*")


def _streams(project: Project) -> list[str]:
    names = project.names
    managed = [stream.name for stream in names.audit_streams if stream.managed]
    return [*managed, names.labels_stream, *names.operations_streams]
