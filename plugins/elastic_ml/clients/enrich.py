"""Executing enrich policies: the snapshot that an enrich processor looks into."""

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

LONGEST_EXECUTION = timedelta(hours=1)


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
