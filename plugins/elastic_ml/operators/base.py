"""What every operator of the package has in common."""

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, ExceptionRetryPolicy, RetryRule, get_current_context
from airflow.sdk.definitions.retry_policy import RetryAction

from elastic_ml.exceptions import InvalidRequestError
from elastic_ml.links.kibana import store_links

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.hooks.elastic import ElasticHook
    from elastic_ml.lineage import DataLineage
    from elastic_ml.links.kibana import KibanaLink

_ERRORS = "elastic_ml.exceptions"

RETRY_POLICY = ExceptionRetryPolicy(
    [
        # The first rule that matches wins; AlreadyExistsError and the like are subclasses and follow their parent.
        RetryRule(
            exception=f"{_ERRORS}.UnavailableError",
            action=RetryAction.RETRY,
            reason="the cluster could not answer",
        ),
        RetryRule(
            exception=f"{_ERRORS}.LockHeldError",
            action=RetryAction.RETRY,
            reason="somebody else holds the lock",
        ),
        *(
            RetryRule(exception=f"{_ERRORS}.{name}", action=RetryAction.FAIL, reason=reason)
            for name, reason in {
                "ConnectionSettingsError": "the connection has to be corrected first",
                "SecurityError": "a privilege or a key has to be corrected first",
                "LicenseError": "the licence does not contain the feature",
                "VersionError": "the server does not have the API",
                "DiskFullError": "the disk has to be freed first",
                "InvalidRequestError": "the same request would be refused again",
                "NotFoundError": "what the task needs has to be there first",
                "ProjectFileError": "a file of the project has to be corrected first",
                "GateError": "the model did not pass its gate",
                "SupersededError": "a newer candidate took over",
            }.items()
        ),
    ]
)
"""Which of the package's errors another try can mend. Names only classes of ``elastic_ml.exceptions``: Airflow imports
what the rules name at parse time, and the client must not be imported there."""


def sorted_fields(*fields: str) -> tuple[str, ...]:
    """Return template fields sorted, with the connection ids that every operator templates."""
    return tuple(sorted({"elastic_conn_id", "kibana_conn_id", *fields}))


def check_times(
    *, poll_interval: float | None, timeout: timedelta | None, defer_after: float | None = None, look_once: bool = False
) -> None:
    """Refuse, where a DAG is parsed, times that would only fail a task once its remote work runs.

    :param look_once: whether a timeout of 0 means something: to look and not to wait.
    :raises ValueError: no number of seconds, no timedelta, or one below what makes sense.
    """
    for name, value in {"poll_interval": poll_interval, "defer_after": defer_after}.items():
        if value is None:
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or value < 0 or (value == 0 and name == "poll_interval"):
            raise ValueError(f"{name} is {value!r}: write a number of seconds above 0")
    if timeout is None:
        return
    if not isinstance(timeout, timedelta) or timeout < timedelta(0) or not (timeout or look_once):
        raise ValueError(f"timeout is {timeout!r}: write a timedelta, such as timedelta(hours=2)")


def refuse_empty(task_id: str, **ids: object) -> None:
    """Refuse ids that are empty once their templates are rendered.

    :raises InvalidRequestError: an id is no text, or has nothing in it.
    """
    for name, value in ids.items():
        if not isinstance(value, str) or not value.strip():
            raise InvalidRequestError(
                f"{name} of task {task_id} is {value!r}.",
                remedy="Does the template or the task that gives it find its value?",
            )


class ElasticBaseOperator(BaseOperator):
    """Base of the operators that talk to Elasticsearch.

    :param elastic_conn_id: connection to the cluster (templated).
    :param kibana_conn_id: connection to Kibana, for the links; may be absent (templated).
    """

    template_fields: Sequence[str] = sorted_fields()
    operator_extra_links: Sequence["KibanaLink"] = ()
    ui_color = "#00BFB3"
    ui_fgcolor = "#fff"
    deferrable = False

    def __init__(
        self,
        *,
        elastic_conn_id: str = "elasticsearch_default",
        kibana_conn_id: str = "kibana_default",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retry_policy", RETRY_POLICY)
        super().__init__(**kwargs)
        self.elastic_conn_id = elastic_conn_id
        self.kibana_conn_id = kibana_conn_id
        self.kibana_links: dict[str, str] | None = None

    def pre_execute(self, context: Any) -> None:
        """Store the links before the work begins: Airflow itself would only do it when the task ends."""
        try:
            store_links(self, context, lambda: self.pages(context))
        except Exception as error:
            # A link is a convenience. What is wrong with a file or a result of another task, the work itself will say.
            self.log.warning("No links to Kibana: %s", error)

    def pages(self, context: Any) -> Mapping[str, str]:
        """Return the object that each link shows, by the link's class name; sends nothing."""
        return {}

    @cached_property
    def hook(self) -> "ElasticHook":
        """The hook of :attr:`elastic_conn_id`; its requests carry ``dag/run/task`` as ``X-Opaque-Id``."""
        from elastic_ml.hooks.elastic import ElasticHook

        return ElasticHook(self.elastic_conn_id, opaque_id=self._opaque_id())

    @property
    def client(self) -> "Elasticsearch":
        """The official client, raising the errors of :mod:`elastic_ml.exceptions`."""
        return self.hook.client

    def lineage(self) -> "DataLineage | None":
        """Return what the task read and wrote, once it has; None where that is nobody's data."""
        return None

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return inputs and outputs; OpenLineage's provider calls it, where it is installed."""
        found = self.lineage()
        if found is None:
            return None
        from elastic_ml.lineage import openlineage_facets

        return openlineage_facets(self.hook.settings.address, found)

    def labels(self, context: Any) -> dict[str, str]:
        """Return what remote objects carry so that their origin can be found: dag, task and run."""
        ti = context["ti"]
        return {"airflow_dag": ti.dag_id, "airflow_task": ti.task_id, "airflow_run": ti.run_id}

    def _may_defer(self) -> bool:
        if not self.deferrable:
            return False
        if self.hook.settings.ssl_assert_fingerprint:
            self.log.warning(
                "The connection pins a fingerprint, which the triggerer cannot check: waiting in the worker."
            )
            return False
        return True

    def _opaque_id(self) -> str | None:
        try:
            ti = get_current_context()["ti"]
        except RuntimeError:
            # Outside a task (a test, a shell) there is nothing to say.
            return None
        return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}"
