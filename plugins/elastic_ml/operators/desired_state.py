"""Keeping objects of a cluster as they are written: ILM policies, templates, pipelines, transforms and the like."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from airflow.sdk.exceptions import AirflowFailException

from elastic_ml.exceptions import InvalidRequestError, VersionError
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields


class ApplyObjectsOperator(ElasticBaseOperator):
    """Compare objects with what the cluster has, write only what differs, and say what that was.

    ::

        ApplyObjectsOperator(
            task_id="retention",
            mode="apply",
            objects=[
                {"kind": "ilm_policy", "name": "clicks", "body": "clicks-policy.yml"},
                {"kind": "index_template", "name": "clicks", "body": {"index_patterns": ["clicks-*"], ...}},
            ],
        )

    Kinds are ``ilm_policy``, ``component_template``, ``enrich_policy``, ``ingest_pipeline``, ``index_template``,
    ``data_stream_lifecycle`` and ``transform``; they are written in this order, whatever order they are given in.
    Applying twice writes nothing: defaults that the server adds are no difference. A transform that runs is updated
    while it runs; a continuous one is started where it does not run. An enrich policy is executed before a pipeline
    that names it is written.

    :param objects: ``{"kind", "name", "body"}`` each (templated); a body is an object, or YAML or JSON text, or a
        template file's name. The whole list may be such a file. Mustache of pipelines (``{{{field}}}``) is Jinja's too:
        write it inside ``{% raw %}``.
    :param mode: ``plan`` says what differs, ``verify`` fails on any difference, ``apply`` writes (templated).
    :param keep_edited: leave alone, and report, objects that somebody else made or edited since (by the hash in their
        ``_meta``); by default the wanted body wins.
    :param replace: delete and create again what Elasticsearch cannot change: an enrich policy, the pivot of a
        transform. Its destination index stays. By default that is an error that says what would have to change.
    :param check_models: refuse a pipeline whose trained model or alias does not exist. Switch it off for models
        that are deployments or inference endpoints.
    :return: ``{"mode", "counts", "rows": [{"kind", "name", "state", "detail"}]}``, the table that the log shows.
    :raises AirflowFailException: ``verify`` found a difference, or an object cannot become what is wanted.
    :raises InvalidRequestError: an object is not well formed, or the server refused its body.
    :raises VersionError: ILM policies on Serverless.
    """

    template_fields: Sequence[str] = sorted_fields("mode", "objects")
    template_fields_renderers: ClassVar[dict[str, str]] = {"objects": "json"}
    template_ext: Sequence[str] = (".json", ".yaml", ".yml")

    def __init__(
        self,
        *,
        objects: Sequence[Mapping[str, Any]] | str,
        mode: str = "plan",
        keep_edited: bool = False,
        replace: bool = False,
        check_models: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.objects = objects
        self.mode = mode
        self.keep_edited = keep_edited
        self.replace = replace
        self.check_models = check_models

    def execute(self, context: Any) -> dict[str, Any]:
        """Compare and, in ``apply``, write; the table is logged before anything is raised."""
        from elastic_ml.project.objects import ILM_POLICY, Keeper, wanted_objects
        from elastic_ml.project.reconcile import DRIFT, Row, counts, table

        if self.mode not in {"plan", "verify", "apply"}:
            raise InvalidRequestError(f"mode is {self.mode!r}.", remedy="Write plan, verify or apply.")
        wanted = wanted_objects(self._entries())
        if any(each.kind is ILM_POLICY for each in wanted) and self.hook.serverless:
            raise VersionError(
                "Serverless has no ILM policies.", remedy="Keep the retention by objects of kind data_stream_lifecycle."
            )
        keeper = Keeper(
            self.client,
            self.mode,  # type: ignore[arg-type]
            keep_edited=self.keep_edited,
            replace=self.replace,
            check_models=self.check_models,
            labels=self.labels(context),
        )
        rows: list[Row] = []
        try:
            for row in keeper.keep(wanted):
                rows.append(row)  # noqa: PERF402 - what was done before an error is shown too
        finally:
            self.log.info("%s: %s\n%s", self.mode, counts(rows), table(rows))
        blocked = [row for row in rows if row.state == "conflict"] if self.mode != "verify" else []
        drift = [row for row in rows if row.state in DRIFT] if self.mode == "verify" else []
        if self.mode != "plan" and (blocked or drift):
            named = "; ".join(f"{row.kind} {row.name} ({row.state}) {row.detail}".strip() for row in blocked or drift)
            # Another try would find the same: a person has to act first.
            raise AirflowFailException(
                f"{len(blocked or drift)} of {len(wanted)} objects are not as they should be: {named}. "
                + ("Nothing was written to them." if blocked else "Run this task with mode apply to write them.")
            )
        return {"mode": self.mode, "counts": counts(rows), "rows": [row.as_dict() for row in rows]}

    def _entries(self) -> list[Mapping[str, Any]]:
        """The objects with their bodies read, where they were given as text."""
        entries = _read(self.objects, "objects")
        if not isinstance(entries, Sequence) or isinstance(entries, str):
            raise InvalidRequestError("objects is no list.", remedy="Write a list of {kind, name, body}.")
        return [
            {**entry, "body": _read(entry["body"], str(entry.get("name")))}
            if isinstance(entry, Mapping) and "body" in entry
            else entry
            for entry in entries
        ]


def _read(value: Any, name: str) -> Any:
    if not isinstance(value, str):
        return value
    import yaml

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InvalidRequestError(f"{name} is neither YAML nor JSON: {error}") from error
