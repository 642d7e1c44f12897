"""What housekeeping and removal have in common: a list of things to delete, shown before and after it is done."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from elastic_ml.exceptions import ConflictError, InvalidRequestError, NotFoundError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

DELETED = "deleted"
REFUSED = "the server refuses: "


class Step(NamedTuple):
    """One thing that goes, or stays for a reason.

    :param kind: word for tables, a key of `DELETE` where it can be deleted.
    :param action: `delete` or `stop` before it is done, `deleted` or `stopped` after; `keep` for what stays.
    :param part_of: what it is a part of; once a part stays, those after it stay as well.
    """

    kind: str
    name: str
    action: str
    reason: str = ""
    part_of: str = ""

    @property
    def refused(self) -> bool:
        """Whether it stays because the server would not delete it."""
        return self.action == "keep" and self.reason.startswith(REFUSED)

    def as_dict(self) -> dict[str, str]:
        """JSON-able, for an XCom."""
        return {name: value for name, value in self._asdict().items() if name != "part_of"}


DELETE: "Mapping[str, Callable[[Elasticsearch, str], Any]]" = {
    "trained model": lambda client, name: client.ml.delete_trained_model(model_id=name),
    "analytics job": lambda client, name: client.ml.delete_data_frame_analytics(id=name),
    "anomaly job": lambda client, name: client.ml.delete_job(job_id=name, force=True),
    "calendar": lambda client, name: client.ml.delete_calendar(calendar_id=name),
    "filter": lambda client, name: client.ml.delete_filter(filter_id=name),
    "model snapshot": lambda client, name: client.ml.delete_model_snapshot(
        job_id=name.split("/")[0], snapshot_id=name.split("/")[1]
    ),
    "transform": lambda client, name: client.transform.delete_transform(transform_id=name, force=True),
    "ingest pipeline": lambda client, name: client.ingest.delete_pipeline(id=name),
    "enrich policy": lambda client, name: client.enrich.delete_policy(name=name),
    "index": lambda client, name: client.indices.delete(index=name),
    "data stream": lambda client, name: client.indices.delete_data_stream(name=name),
    "index template": lambda client, name: client.indices.delete_index_template(name=name),
    "component template": lambda client, name: client.cluster.delete_component_template(name=name),
    "ILM policy": lambda client, name: client.ilm.delete_lifecycle(name=name),
}


def carry_out(client: "Elasticsearch", step: Step) -> Step:
    """Delete what a step names; what is gone already is fine, what the server refuses stays, with its words."""
    try:
        DELETE[step.kind](client, step.name)
    except NotFoundError:
        return step._replace(action=DELETED, reason=f"{step.reason}; was gone already")
    except (ConflictError, InvalidRequestError) as error:
        # Something names it: a pipeline, an alias, a stream. The server knows better.
        return step._replace(action="keep", reason=f"{REFUSED}{error.message}")
    return step._replace(action=DELETED)


def table(steps: Iterable[Step]) -> str:
    """The steps as aligned text."""
    lines = [("what", "name", "action", "why"), *((s.kind, s.name, s.action, s.reason) for s in steps)]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]]).rstrip()
        for line in lines
    )


def counts(steps: Sequence[Step]) -> dict[str, int]:
    """Steps per action and kind, as `delete index: 3`."""
    found: dict[str, int] = {}
    for step in steps:
        key = f"{step.action} {step.kind}"
        found[key] = found.get(key, 0) + 1
    return dict(sorted(found.items()))


def named_in_pipelines(pipelines: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return model ids and aliases that inference processors name, wherever they stand → the pipelines."""
    found: dict[str, set[str]] = {}
    for name, body in pipelines.items():
        for processor in walk(body):
            model = (processor.get("inference") or {}).get("model_id")
            if model:
                found.setdefault(str(model), set()).add(name)
    return found


def walk(value: Any) -> "Iterable[Mapping[str, Any]]":
    """Yield every object inside a body: processors stand in `processors`, `on_failure` and `foreach`."""
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)
