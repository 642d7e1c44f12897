"""The project's user-hours: that their index follows its template, and their transform is the wanted one and runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elastic_ml.exceptions import ConflictError, InvalidRequestError
from elastic_ml.project.desired_state import DesiredObject, desired_transform
from elastic_ml.project.features import transform_stats
from elastic_ml.project.reconcile import Mode, Row, reconcile
from elastic_ml.project.server_objects import TRANSFORM, replaces
from elastic_ml.project.streams import additions, field_types, simulated_template

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.project import Project

RUNS = frozenset({"started", "indexing", "waiting"})


class FeatureSetup:
    """Brings index and transform of the user-hours to the wanted state; like `reconcile`, only `apply` writes.

    Runs after the streams exist: a transform is refused while one of its sources is missing. `problems` collects
    sentences about what only a person can mend.
    """

    def __init__(self, client: Elasticsearch, project: Project, mode: Mode, *, overwrite_edited: bool = False) -> None:
        self._client = client
        self._project = project
        self._mode = mode
        self._overwrite_edited = overwrite_edited
        self.problems: list[str] = []

    def run(self) -> list[Row]:
        """Index, transform, and whether it runs; nothing without `features:` in project.yml."""
        wanted = desired_transform(self._project)
        if wanted is None:
            return []
        index = self._index(wanted.name)
        if any(row.state == "conflict" for row in index):
            return index  # the transform would fail on the first document
        return [*index, *self._transform(wanted)]

    def _index(self, name: str) -> list[Row]:
        found = self._client.options(ignore_status=404).indices.get_mapping(index=name)
        if found.meta.status == 404:
            if self._mode != "apply":
                return [Row("features index", name, "would create")]
            # Made here, not by the transform: resetting a transform deletes the index that it made.
            self._client.indices.create(index=name)
            return [Row("features index", name, "created")]
        simulated = simulated_template(self._client, name, self._mode)
        template = simulated.body.get("template") or {} if simulated.meta.status == 200 else {}
        missing, retyped = additions(template.get("mappings", {}), found.body[name]["mappings"])
        if retyped:
            detail = "; ".join(f"{path} is {actual}, the template says {wants}" for path, actual, wants in retyped)
            self.problems.append(
                f"{name}: {detail}. The type of a field cannot be changed: delete the index and its transform of the "
                "same name, then run elastic_setup with mode=apply; both come back, and every user-hour whose events "
                "are still there is written again."
            )
            return [Row("features index", name, "conflict", detail)]
        if not missing:
            return [Row("features index", name, "unchanged")]
        detail = "adds " + ", ".join(sorted(field_types(missing, objects=False)))
        if self._mode == "apply":
            self._client.indices.put_mapping(index=name, properties=missing)
        return [Row("features index", name, "changed" if self._mode == "apply" else "differs", detail)]

    def _transform(self, wanted: DesiredObject) -> list[Row]:
        before = TRANSFORM.read(self._client, wanted.name)
        try:
            [row] = reconcile(self._client, [wanted], mode=self._mode, overwrite_edited=self._overwrite_edited)
        except InvalidRequestError as refused:
            # Usually a stream that somebody else manages and that has no data yet.
            self.problems.append(
                f"The transform {wanted.name} was refused: {refused.message} Once its sources exist, run elastic_setup "
                "again; a wrong aggregation is corrected in the template that project.yml names under `features:`."
            )
            return [Row(TRANSFORM.word, wanted.name, "conflict", refused.message)]
        if before is not None and row.state in {"changed", "differs"}:
            anew = replaces(TRANSFORM.canonical(wanted.body), TRANSFORM.canonical(before))
            how = "replaced, every user-hour is written again" if anew else "updated in place"
            row = Row(row.kind, row.name, row.state, f"{how}: {row.detail}")
        return [row, *keep_running(self._client, wanted.name, self._mode)]


def keep_running(client: Elasticsearch, name: str, mode: Mode) -> list[Row]:
    """Whether a continuous transform runs; `apply` starts one that does not, a failed one after stopping it by force.

    Nothing is said of a transform that is not there.
    """
    stats = transform_stats(client, name)
    if stats is None:
        return []
    state, kind = stats["state"], "transform state"
    if state in RUNS:
        return [Row(kind, name, "unchanged", state)]
    detail = f"{state} (wanted started)" + (f": {stats['reason']}" if stats.get("reason") else "")
    if mode != "apply":
        return [Row(kind, name, "differs", detail)]
    if state != "stopped":
        client.transform.stop_transform(transform_id=name, force=True, wait_for_completion=True)
    try:
        client.transform.start_transform(transform_id=name)
    except ConflictError as error:
        # The answer to our own start was lost and the request sent again.
        if "already started" not in error.message:
            raise
    return [Row(kind, name, "changed", f"was {detail}, started")]
