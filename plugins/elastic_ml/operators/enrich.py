"""Executing enrich policies: the snapshot that an enrich processor looks into."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.links.kibana import EnrichPolicyLink
from elastic_ml.operators.base import refuse_empty, sorted_fields
from elastic_ml.operators.remote_job import RemoteJob, RemoteJobOperator

if TYPE_CHECKING:
    from elastic_ml.clients.remote_jobs import JobStatus
    from elastic_ml.lineage import DataLineage


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
        refuse_empty(self.task_id, policy=self.policy)
        return RemoteJob(kind=self.kind, id=self.policy)

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Execute the policy."""
        from elastic_ml.clients.enrich import execute_policy

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
