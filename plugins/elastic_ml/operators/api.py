"""Any method of the official client as a task: what the operators of this package leave out is reached by this one."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar

from elastic_ml.exceptions import ElasticMLError, InvalidRequestError, PartialFailureError, UnavailableError
from elastic_ml.links.kibana import ConsoleLink
from elastic_ml.operators.base import sorted_fields
from elastic_ml.operators.remote_job import TASK, RemoteJob, RemoteJobOperator, attach_or_start

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.clients.remote_jobs import JobStatus
    from elastic_ml.lineage import DataLineage

REQUEST = "request"
MENTIONED = 5
_SECRETS = frozenset({
    "security.change_password", "security.create_api_key", "security.create_cross_cluster_api_key",
    "security.create_service_token", "security.get_token", "security.grant_api_key", "security.oidc_authenticate",
    "security.put_user", "security.saml_authenticate",
})  # fmt: skip
"""Methods that take or give a secret: arguments are kept in the task's state, answers in its XCom."""
_NO_API = frozenset({"close", "options", "perform_request"})


class ElasticsearchApiOperator(RemoteJobOperator):
    """Call one method of the official Elasticsearch client and return the server's answer.

    ::

        ElasticsearchApiOperator(
            task_id="close_for_the_holidays",
            api="ml.post_calendar_events",
            arguments={"calendar_id": "branches", "events": "{{ params.events }}"},
        )

    Where the server answers with a task (``wait_for_completion: False`` of a reindex, a forced merge, an update or
    delete by query), the operator waits for that task without a worker slot, stops it when it is killed, and returns
    what the task returned. A lost answer is not sent again blindly: the task is looked for by its ``X-Opaque-Id``.

    Any other request is answered at once. A try after a crash sends it again, so choose methods that may be called
    twice (``put_*``, ``delete_*`` with ``ignore_status=[404]``), or set ``retries=0``.

    :param api: name of the client's method, with its namespace: ``ml.put_calendar``, ``indices.forcemerge``,
        ``search`` (templated).
    :param arguments: its keyword arguments (templated). With ``render_template_as_native_obj`` of the DAG, templates
        give lists and numbers; without it, text.
    :param ignore_status: HTTP statuses that are no error, such as 404 of a deletion. The answer is then the server's
        error body. They count for the items of a bulk request, too.
    :param kwargs: see :class:`~elastic_ml.operators.remote_job.RemoteJobOperator`.
    :return: the answer's body, which has to be JSON: a method that answers with text returns ``{"text": ...}``.
    :raises InvalidRequestError: the client has no such method or it does not take these arguments; the message names
        the nearest one. Also a method that takes or gives a secret: it would be kept where everybody reads it.
    :raises PartialFailureError: items of a bulk request were refused.
    :raises JobFailedError: the server's task failed; its reason is in the message.
    """

    template_fields: Sequence[str] = sorted_fields("api", "arguments")
    template_fields_renderers: ClassVar[dict[str, str]] = {"arguments": "json"}
    operator_extra_links = (ConsoleLink(),)
    kind = REQUEST

    def __init__(
        self,
        *,
        api: str,
        arguments: Mapping[str, Any] | None = None,
        ignore_status: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.api = api
        # As it is: a template, or another task's result, becomes an object only when it is rendered.
        self.arguments = {} if arguments is None else arguments
        self.ignore_status = tuple(ignore_status)
        self._answer: Any = None

    def lineage(self) -> "DataLineage | None":
        """Return source and destination, where the method's arguments name them."""
        from elastic_ml.lineage import lineage_of_spec

        return lineage_of_spec(self.arguments)

    def prepare(self, context: Any) -> RemoteJob:
        """Return what will be called; nothing is sent."""
        method_of(self.client, self.api)
        if self.api in _SECRETS:
            raise InvalidRequestError(
                f"{self.api} takes or gives a secret, which would be kept in the state or XCom of task {self.task_id}.",
                remedy="Call it through ElasticHook in a task of your own that keeps the secret where secrets belong.",
            )
        arguments = self._json_arguments()
        starts_task = arguments.get("wait_for_completion") in (False, "false")
        opaque_id = f"{context['ti'].dag_id}/{context['ti'].run_id}/{context['ti'].task_id}/{self.api}"
        spec = {"api": self.api, "arguments": arguments, "opaque_id": opaque_id}
        return RemoteJob(kind=TASK if starts_task else REQUEST, id="" if starts_task else self.api, spec=spec)

    def _json_arguments(self) -> dict[str, Any]:
        if not isinstance(self.arguments, Mapping):
            raise InvalidRequestError(
                f"The arguments of task {self.task_id} are a {type(self.arguments).__name__}, not an object.",
                remedy="One template for all of them needs render_template_as_native_obj=True of the DAG.",
            )
        try:
            # They are kept as JSON, for a try after a crash; times are written as the client would write them.
            kept = json.loads(json.dumps(dict(self.arguments), default=_iso))
        except (TypeError, ValueError) as error:
            raise InvalidRequestError(
                f"The arguments of task {self.task_id} are no JSON: {error}.", remedy="Write lists, texts and numbers."
            ) from None
        return dict(kept)

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Call the method, unless it started a task before that still runs or is done."""
        if job.kind == TASK:
            return self._task(job)
        client = self.client.options(ignore_status=self.ignore_status) if self.ignore_status else self.client
        self._answer = _json(call(client, job.spec["api"], job.spec["arguments"]))
        return job

    def finish(self, context: Any, job: RemoteJob, status: "JobStatus") -> Any:
        """Return the answer, or what the task returned."""
        if job.kind == REQUEST:
            self._refuse_partial(self._answer)
            return self._answer
        return status.raw.get("response", dict(status.raw))

    def _refuse_partial(self, answer: Any) -> None:
        """Fail where a bulk request was answered with 200 and left items undone."""
        if not isinstance(answer, Mapping) or answer.get("errors") is not True:
            return
        failures: dict[str, str] = {}
        for position, item in enumerate(answer.get("items") or ()):
            [(action, result)] = item.items()
            if (error := result.get("error")) and result.get("status") not in self.ignore_status:
                name = f"item {position}, {action} of {result.get('_id')} in {result.get('_index')}"
                failures[name] = f"{error.get('type')}: {error.get('reason')}"
        if failures:
            first = "; ".join(f"{name}: {why}" for name, why in list(failures.items())[:MENTIONED])
            raise PartialFailureError(
                f"{self.api} left {len(failures)} items undone: {first}{' ...' if len(failures) > MENTIONED else ''}",
                remedy="The other items were done. Mend the reasons, then clear this task; statuses that are no error "
                "to you go into ignore_status.",
                failures=failures,
            )

    def link_names(self, job: RemoteJob) -> Mapping[str, str]:
        """Return the method."""
        return {"ConsoleLink": str(job.spec["api"])}

    def _task(self, job: RemoteJob) -> RemoteJob:
        from elastic_ml.clients.remote_jobs import find_task

        opaque_id = str(job.spec["opaque_id"])
        listed = not self.hook.serverless

        def find() -> str | None:
            return find_task(self.client, opaque_id, actions="*") if listed else None

        def start() -> str:
            # Sent once: a second copy after a lost answer would be a second task.
            once = self.client.options(max_retries=0, opaque_id=opaque_id)
            try:
                answer = call(once, job.spec["api"], job.spec["arguments"])
            except UnavailableError:
                if (found := find()) is None:
                    raise
                return found
            if not isinstance(answer, Mapping) or "task" not in answer:
                raise ElasticMLError(
                    f"{job.spec['api']} answered without a task although wait_for_completion is false: {answer!r}",
                    remedy="Leave wait_for_completion out: this method answers when it is done.",
                )
            return str(answer["task"])

        return attach_or_start(self.client, job, start, find)


def method_of(client: "Elasticsearch", api: str) -> Callable[..., Any]:
    """Return a client's method by its name.

    :raises InvalidRequestError: there is none; the nearest name is in the message.
    """
    *namespace, name = api.split(".")
    owner: Any = client
    for part in namespace:
        owner = getattr(owner, part, None) if not part.startswith("_") else None
    method = None if name.startswith("_") else getattr(owner, name, None)
    if callable(method) and len(namespace) <= 1 and name not in _NO_API:
        return method
    import difflib  # a millisecond that only a misspelling is worth

    near = difflib.get_close_matches(api, apis(client), n=1)
    raise InvalidRequestError(
        f"The Elasticsearch client has no method {api!r}.",
        remedy=f"Did you mean {near[0]!r}?" if near else "Write it as namespace.method, such as ml.put_calendar.",
    )


def apis(client: "Elasticsearch") -> list[str]:
    """Return the names of all methods of a client that call an API: ``search``, ``ml.put_job``."""
    found = set(_methods(type(client)))
    for name, value in vars(client).items():
        # A namespace is a client of its own; the class they share has no public name.
        if not name.startswith("_") and hasattr(value, "perform_request"):
            found.update(f"{name}.{method}" for method in _methods(type(value)))
    return sorted(found)


def _methods(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_") and name not in _NO_API and _is_method(kind, name)]


def _is_method(kind: type, name: str) -> bool:
    return callable(inspect.getattr_static(kind, name))


def call(client: "Elasticsearch", api: str, arguments: Mapping[str, Any]) -> Any:
    """Call a client's method by name and return the body of its answer.

    :raises InvalidRequestError: no such method, or arguments that it does not take.
    """
    method = method_of(client, api)
    try:
        answer = method(**arguments)
    except (TypeError, ValueError) as error:
        # What the client itself refuses: an unknown keyword, an empty path part.
        raise InvalidRequestError(
            f"{api} does not take these arguments: {error}.", remedy="See the method in the client's documentation."
        ) from error
    return getattr(answer, "body", answer)


def _iso(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _json(body: Any) -> Any:
    if isinstance(body, bool):
        return body
    if isinstance(body, str | bytes):
        return {"text": body.decode(errors="replace") if isinstance(body, bytes) else body}
    return json.loads(json.dumps(body, default=str))
