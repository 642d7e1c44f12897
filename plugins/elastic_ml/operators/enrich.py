"""Executing enrich policies: the snapshot that an enrich processor looks into."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from elastic_ml.links.kibana import EnrichPolicyLink
from elastic_ml.operators.base import sorted_fields
from elastic_ml.operators.remote_job import RemoteJob, RemoteJobOperator

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.hooks.remote_jobs import JobStatus
    from elastic_ml.lineage import DataLineage

LONGEST_EXECUTION = timedelta(hours=1)


class ExecuteEnrichPolicyOperator(RemoteJobOperator):
    """Execute an enrich policy and wait until its new snapshot is in place.

    One synchronous request: see `execute_policy`. Policies are executed one at a time: while another execution is at
    work, the task waits for its turn without a worker slot, since that execution may have begun before the data that
    this one is for.

    :param policy: name of the policy (templated).
    :return: ``{"policy": name}``.
    :raises NotFoundError: there is no such policy.
    :raises UnavailableError: the answer was lost; the next try waits for that execution and executes once more.
    """

    template_fields: Sequence[str] = sorted_fields("policy")
    operator_extra_links = (EnrichPolicyLink(),)
    kind = "request"

    def __init__(self, *, policy: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.policy = policy

    def prepare(self, context: Any) -> RemoteJob:
        """Return the policy; nothing is sent."""
        return RemoteJob(kind=self.kind, id=self.policy)

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Execute the policy."""
        execute_policy(self.client, job.id)
        return job

    def finish(self, context: Any, job: RemoteJob, status: "JobStatus") -> dict[str, Any]:
        """Return the policy's name."""
        return {"policy": job.id}

    def lineage(self) -> "DataLineage":
        """Return the policy's sources, and the alias of the indices that executions make of them."""
        from elastic_ml.lineage import DataLineage

        [found] = self.client.enrich.get_policy(name=self.policy)["policies"]
        [config] = found["config"].values()
        return DataLineage(tuple(config["indices"]), (f".enrich-{self.policy}",))

    def link_names(self, job: RemoteJob) -> Mapping[str, str]:
        """Return the policy."""
        return {"EnrichPolicyLink": job.id}


def execute_policy(client: "Elasticsearch", policy: str, *, timeout: timedelta = LONGEST_EXECUTION) -> None:
    """Execute a policy in one synchronous request, which answers once the new snapshot is in place.

    With ``wait_for_completion=false`` nobody could tell success from failure: Elasticsearch does not keep the result of
    that task, and ``GET _tasks/<id>`` answers 404 as soon as it ends (InternalExecutePolicyAction).

    :param timeout: how long to wait for the answer.
    :raises LockHeldError: another execution of the policy is at work.
    :raises NotFoundError: there is no such policy.
    """
    # A refusal is tried again. What got no answer in that time still runs, and would only meet its own lock.
    patient = client.options(retry_on_timeout=False, request_timeout=timeout.total_seconds())
    patient.enrich.execute_policy(name=policy, wait_for_completion=True)
