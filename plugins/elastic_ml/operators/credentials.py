"""After an API key was replaced: making everything that runs with the old one run with the new one."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import (
    ConflictError,
    ElasticMLError,
    InvalidRequestError,
    LicenseError,
    NotFoundError,
    PartialFailureError,
    SecurityError,
    VersionError,
)
from elastic_ml.links.kibana import RulesLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.cleaning import Step, counts, table
from elastic_ml.operators.kibana_pages import names_of

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.project import Project

log = logging.getLogger(__name__)

ROTATED, OLD = "rotated", "still on the old key"


class RotateCredentialsOperator(ElasticBaseOperator):
    """Let transforms, datafeeds and rules run with the key of the connections as they are now.

    A transform or datafeed keeps the rights of whoever updated it last, a rule those of whoever made it or renewed
    its key. Each that shows another key than the connection presents is updated with what it already says: transforms
    in place; datafeeds are stopped, updated and started again where they ran; rules through `_update_api_key`.

    Run it after the connections hold the new key, and before the old one is invalidated. Repeating it is safe: what
    is on the new key already is left alone. Without `apply` it only lists.

    :param project_folder: the project folder.
    :param datafeeds_conn_id: connection that datafeeds are to run with; default `elastic_conn_id` (templated).
    :param kibana_conn_id: connection whose rules are renewed; one that does not exist means no rules (templated).
    :param apply: whether to do it (templated; `true` or `false`).
    :return: `{applied, key, counts, steps: [{kind, name, action, reason}]}`.
    :raises PartialFailureError: something is still on the old key; the table says what and why.
    """

    template_fields: Sequence[str] = sorted_fields("apply", "datafeeds_conn_id")
    operator_extra_links = (RulesLink(),)

    def __init__(
        self,
        *,
        project_folder: str,
        datafeeds_conn_id: str | None = None,
        apply: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.datafeeds_conn_id = datafeeds_conn_id
        self.apply = apply

    def pages(self, context: Any) -> Mapping[str, str]:
        """The project's rules: Kibana shows with whose key each runs."""
        return {"RulesLink": names_of(self.project_folder).name}

    def execute(self, context: Any) -> dict[str, Any]:
        """Look, update, look again, and say what is left."""
        from elastic_ml.hooks.elastic import ElasticHook
        from elastic_ml.project import load_project

        project = load_project(self.project_folder)
        apply = str(self.apply).lower() == "true"
        asker = _who(self.client.security.authenticate().body)
        feeder, feeds_as = self.client, asker
        if self.datafeeds_conn_id not in {None, self.elastic_conn_id}:
            feeder = ElasticHook(self.datafeeds_conn_id, opaque_id=self._opaque_id()).client
            feeds_as = _who(feeder.security.authenticate().body)
        halted = Halted(feeder, context["task_state_store"])
        if apply:
            halted.resume()
        steps = [
            *_rotated(self.client, "transform", transforms_of(self.client, project), asker, apply and _update),
            *_rotated(feeder, "datafeed", datafeeds_of(feeder, project), feeds_as, apply and halted.update),
            *self._rules(project, apply=apply),
        ]
        self.log.info("This connection presents %s.\n%s", asker, table(steps))
        left = {f"{step.kind} {step.name}": step.reason for step in steps if step.action == OLD}
        if apply and left:
            raise PartialFailureError(
                f"{len(left)} objects are still on the old key: {'; '.join(f'{k}: {v}' for k, v in left.items())}",
                remedy="Do not invalidate the old key yet.",
                failures=left,
            )
        return {"applied": apply, "key": asker, "counts": counts(steps), "steps": [s.as_dict() for s in steps]}

    def _rules(self, project: "Project", *, apply: bool) -> Iterator[Step]:
        """Rules say whose key they run with, never which: each of the project's is given a new one."""
        from airflow.sdk.exceptions import AirflowNotFoundException

        from elastic_ml.clients.kibana_rules import rules_with_tags
        from elastic_ml.hooks.kibana import KibanaHook

        try:
            client = KibanaHook(self.kibana_conn_id).client
        except AirflowNotFoundException:
            self.log.info("There is no connection %s: no rules are looked at.", self.kibana_conn_id)
            return
        for rule in rules_with_tags(client, ["elastic-ml", project.name]):
            if not apply:
                yield Step("rule", rule["name"], "would rotate", f"runs with a key of {rule.get('api_key_owner')}")
                continue
            try:
                client.request("POST", f"/api/alerting/rule/{rule['id']}/_update_api_key")
                yield Step("rule", rule["name"], ROTATED)
            except ElasticMLError as error:
                yield Step("rule", rule["name"], OLD, error.message)


def transforms_of(client: "Elasticsearch", project: "Project") -> list[Mapping[str, Any]]:
    """Return the project's transforms: the user-hours, and months that are being computed."""
    if project.names.features is None:
        return []
    return list(client.transform.get_transform(transform_id=f"{project.names.features}*", size=1000)["transforms"])


def datafeeds_of(client: "Elasticsearch", project: "Project") -> list[Mapping[str, Any]]:
    """Return the datafeeds of the project's anomaly jobs, of all their versions."""
    import re

    jobs = project.anomaly_jobs()
    if not jobs:
        return []
    ours = re.compile(f"({'|'.join(re.escape(project.names.on_cluster(job)) for job in jobs)})(_v[0-9]+)?")
    try:
        found = client.ml.get_datafeeds(datafeed_id="*")["datafeeds"]
    except (LicenseError, VersionError):
        return []
    return [feed for feed in found if ours.fullmatch(str(feed["job_id"]))]


class Halted:
    """Datafeeds that are stopped for an update, remembered so that a try after a crash starts them again.

    :param state: the task's state store.
    """

    KEY = "halted"

    def __init__(self, client: "Elasticsearch", state: Any) -> None:
        self.client = client
        self.state = state

    def update(self, client: "Elasticsearch", shown: Mapping[str, Any]) -> str:
        """Update a datafeed; a running one is refused, so it is stopped, and goes on where it was."""
        from elastic_ml.clients.anomaly_jobs import stop_datafeed

        name = str(shown["datafeed_id"])
        stats = client.ml.get_datafeed_stats(datafeed_id=name)["datafeeds"][0]
        running = stats["state"] in {"started", "starting"}
        if running and not (stats.get("running_state") or {}).get("real_time_configured"):
            # Started again it would have no end, and feed its job in real time.
            raise ConflictError(
                f"{name} feeds a partition right now, or is only starting.",
                remedy="Run this again when the partition is done.",
            )
        if running:
            self.state.set(self.KEY, [*(self.state.get(self.KEY) or []), name])
            stop_datafeed(client, name)
        try:
            return _runs_as(client.ml.update_datafeed(datafeed_id=name, job_id=shown["job_id"]).body)
        finally:
            self.resume()

    def resume(self) -> None:
        """Start what was stopped; without a start time it goes on after the last record that its job has seen."""
        from elastic_ml.clients.anomaly_jobs import open_job, start_datafeed

        for name in self.state.get(self.KEY) or []:
            try:
                feed = self.client.ml.get_datafeeds(datafeed_id=name)["datafeeds"][0]
                open_job(self.client, feed["job_id"])
                start_datafeed(self.client, name)
            except NotFoundError:
                log.warning("Datafeed %s or its job was deleted while it was stopped: there is nothing to start.", name)
        if self.state.get(self.KEY):
            self.state.delete(self.KEY)


def _rotated(
    client: "Elasticsearch",
    kind: str,
    objects: Sequence[Mapping[str, Any]],
    asker: str,
    update: "Callable[[Elasticsearch, Mapping[str, Any]], str] | bool",
) -> Iterator[Step]:
    for shown in objects:
        name = str(shown["id"] if kind == "transform" else shown["datafeed_id"])
        before = _runs_as(shown)
        if before == asker:
            yield Step(kind, name, "current", before)
        elif not callable(update):
            yield Step(kind, name, "would rotate", f"runs with {before}")
        else:
            try:
                after = update(client, shown)
            except NotFoundError:
                yield Step(kind, name, "gone", "deleted while this ran")
                continue
            except (ConflictError, InvalidRequestError, SecurityError) as error:
                yield Step(kind, name, OLD, str(error))
                continue
            yield Step(kind, name, ROTATED if after == asker else OLD, f"ran with {before}, now with {after}")


def _update(client: "Elasticsearch", shown: Mapping[str, Any]) -> str:
    # Its own description: an update that says nothing new still takes the rights of whoever sends it, as these are
    # part of what the server compares (TransformConfigUpdate.isNoop looks at the headers, too).
    answer = client.transform.update_transform(transform_id=shown["id"], description=shown.get("description") or "")
    return _runs_as(answer.body)


def _runs_as(shown: Mapping[str, Any]) -> str:
    """Say with whose rights an object runs, as servers show it in `authorization`."""
    found = shown.get("authorization") or {}
    if "api_key" in found:
        return f"API key {found['api_key'].get('name')} ({found['api_key'].get('id')})"
    if "service_account" in found:
        return f"service account {found['service_account']}"
    return f"roles {', '.join(found['roles'])}" if found.get("roles") else "unknown rights"


def _who(answer: Mapping[str, Any]) -> str:
    return _runs_as({"authorization": {k: answer[k] for k in ("api_key", "roles") if answer.get(k)}})
