"""A task that failed says so where people look: as an alert document, through a Kibana connector, or both."""

from collections.abc import Mapping, Sequence
from copy import copy
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseNotifier

from elastic_ml.exceptions import ConflictError, ElasticMLError, PartialFailureError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

LONGEST_MESSAGE = 2000
"""Characters of a message that are kept."""
MESSAGE = (
    "{% if ti is defined %}Task {{ ti.dag_id }}.{{ ti.task_id }} of run {{ ti.run_id }}{% else %}A run{% endif %}"
    " failed: {{ exception or reason or 'no reason given' }}"
)


class ElasticFailureNotifier(BaseNotifier):
    """Write an alert document, and execute a Kibana connector, when a task failed for good.

    ::

        ReindexOperator(
            task_id="copy", ...,
            on_failure_callback=ElasticFailureNotifier(
                connector_id="ops-slack", connector_params={"message": "{{ ti.task_id }}: {{ exception }}"}
            ),
        )

    The document goes where the package's other alerts are, so that the dashboard "Model operations" shows it; its id is
    made of dag, run, task and try, so that a second call adds nothing. What Airflow masks in logs is masked here too.

    :param alerts: data stream of the alerts; None writes no document (templated).
    :param elastic_conn_id: connection that writes the document (templated).
    :param severity: ``low``, ``medium``, ``high`` or ``critical``.
    :param message: the sentence (templated); ``exception`` and everything of a task's context may be used.
    :param connector_id: id of a Kibana connector; None executes none (templated).
    :param connector_params: its parameters, as its type takes them (templated): ``{"message"}`` for Slack,
        ``{"to", "subject", "message"}`` for e-mail. By default ``{"message": <the message>}``.
    :param kibana_conn_id: connection to Kibana (templated).
    :raises PartialFailureError: one of document and connector failed; the other one was done all the same.
    """

    template_fields: Sequence[str] = (
        "alerts",
        "connector_id",
        "connector_params",
        "elastic_conn_id",
        "kibana_conn_id",
        "message",
    )

    def __init__(
        self,
        *,
        alerts: str | None = "logs-ml.alerts-default",
        elastic_conn_id: str = "elasticsearch_default",
        severity: Literal["low", "medium", "high", "critical"] = "high",
        message: str = MESSAGE,
        connector_id: str | None = None,
        connector_params: Mapping[str, Any] | None = None,
        kibana_conn_id: str = "kibana_default",
    ) -> None:
        super().__init__()
        if alerts is None and connector_id is None:
            raise ValueError("Neither alerts nor connector_id is set: nobody would hear of a failure.")
        self.alerts = alerts
        self.elastic_conn_id = elastic_conn_id
        self.severity = severity
        self.message = message
        self.connector_id = connector_id
        self.connector_params = None if connector_params is None else dict(connector_params)
        self.kibana_conn_id = kibana_conn_id

    def __call__(self, *args: Any) -> None:
        """Tell it, with a copy of this notifier.

        Airflow renders templates in place, and for good: one notifier in ``default_args`` serves many tasks and runs,
        and each would be told the words of the first one that failed.
        """
        super(ElasticFailureNotifier, copy(self)).__call__(*args)

    def notify(self, context: Any) -> None:
        """Do both, and say afterwards what failed."""
        from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError
        from airflow.sdk.log import redact

        message = str(redact(self.message))[:LONGEST_MESSAGE]
        failures: dict[str, str] = {}
        for name, step in {"alert document": self._write, "connector": self._execute}.items():
            try:
                step(context, message)
            except (ElasticMLError, AirflowException, AirflowRuntimeError) as error:
                failures[name] = str(error)
        if failures:
            told = "; ".join(f"{name}: {why}" for name, why in failures.items())
            raise PartialFailureError(f"A failure could not be told everywhere: {told}", failures=failures)

    def _write(self, context: Any, message: str) -> None:
        if self.alerts is None:
            return
        from elastic_ml.hooks.elastic import ElasticHook

        self._create(ElasticHook(self.elastic_conn_id, opaque_id="elastic-ml-failure").client, context, message)

    def _create(self, client: "Elasticsearch", context: Any, message: str) -> None:
        where = _where(context)
        identity = sha256("|".join(("task_failed", *where.values())).encode()).hexdigest()[:32]
        document = {
            "@timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": {"id": identity, "kind": "alert"},
            "event_type": "task_failed",
            "status": "error",
            "kind": "rule",
            "name": where["airflow_dag"],
            "severity": self.severity,
            "labels": where,
            "message": message,
        }
        try:
            client.create(index=str(self.alerts), id=identity, document=document, require_data_stream=True)
        except ConflictError:
            self.log.info("This failure was written before.")

    def _execute(self, context: Any, message: str) -> None:
        if self.connector_id is None:
            return
        from airflow.sdk.log import redact

        from elastic_ml.clients.kibana_assets import execute_connector
        from elastic_ml.hooks.kibana import KibanaHook

        params: Any = {"message": message} if self.connector_params is None else redact(self.connector_params)
        with KibanaHook(self.kibana_conn_id).client as client:
            execute_connector(client, self.connector_id, params)


def _where(context: Any) -> dict[str, str]:
    """Which try of which task of which run; a DAG's own callback has no task."""
    ti, run = context.get("ti"), context.get("dag_run")
    of = ti if ti is not None else run
    return {
        "airflow_dag": str(getattr(of, "dag_id", "")),
        "airflow_run": str(getattr(of, "run_id", "")),
        "airflow_task": str(getattr(ti, "task_id", "")),
        "airflow_map_index": str(getattr(ti, "map_index", "")),
        "airflow_try": str(getattr(ti, "try_number", "")),
    }
