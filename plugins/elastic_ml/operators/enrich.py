"""Executing enrich policies: the snapshot that an enrich processor looks into."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.links.kibana import EnrichPolicyLink
from elastic_ml.operators.base import sorted_fields
from elastic_ml.operators.remote_job import RemoteJob, RemoteJobOperator, attach_or_start

if TYPE_CHECKING:
    from elastic_ml.hooks.remote_jobs import JobStatus


class ExecuteEnrichPolicyOperator(RemoteJobOperator):
    """Execute an enrich policy and wait until its new snapshot is in place.

    Policies are executed one at a time: while another execution is at work, the task waits for its turn, since that
    execution may have begun before the data that this one is for. On Serverless, where tasks cannot be followed, the
    execution is one synchronous request.

    :param policy: name of the policy (templated).
    :return: ``{"policy": name}``.
    :raises NotFoundError: there is no such policy.
    :raises JobFailedError: the execution failed, in the server's words.
    """

    template_fields: Sequence[str] = sorted_fields("kibana_conn_id", "policy")
    operator_extra_links = (EnrichPolicyLink(),)
    kind = "task"

    def __init__(self, *, policy: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.policy = policy

    def execute(self, context: Any) -> Any:
        """Execute the policy."""
        if self.hook.serverless:
            execute_policy(self.client, self.policy)
            return {"policy": self.policy}
        return super().execute(context)

    def prepare(self, context: Any) -> RemoteJob:
        """Return the policy; nothing is sent."""
        return enrich_job(self.policy)

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Start the execution unless this task's own runs or is done."""
        return submit_enrich(self.client, job)

    def finish(self, context: Any, job: RemoteJob, status: "JobStatus") -> dict[str, Any]:
        """Return the policy's name."""
        return {"policy": str(job.spec["policy"])}

    def link_names(self, job: RemoteJob) -> Mapping[str, str]:
        """Return the policy."""
        return {"EnrichPolicyLink": str(job.spec["policy"])}


def enrich_job(policy: str) -> RemoteJob:
    """Return an execution as remote work, for operators with several steps."""
    return RemoteJob(kind="task", id="", spec={"policy": policy})


def submit_enrich(client: Any, job: RemoteJob) -> RemoteJob:
    """Start what :func:`enrich_job` described unless it runs or is done.

    :raises LockHeldError: another execution is at work; :class:`RemoteJobOperator` waits for it.
    """
    from elastic_ml.hooks.remote_jobs import start_enrich

    return attach_or_start(client, job, start=lambda: start_enrich(client, job.spec["policy"]))


def execute_policy(client: Any, policy: str, *, timeout: float = 3600.0) -> None:
    """Execute a policy in one synchronous request, for small policies and for Serverless.

    :param timeout: seconds to wait for the answer.
    :raises LockHeldError: another execution is at work.
    """
    client.options(max_retries=0, request_timeout=timeout).enrich.execute_policy(name=policy, wait_for_completion=True)
