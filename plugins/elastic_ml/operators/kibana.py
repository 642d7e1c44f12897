"""Kibana's assets as tasks: saved objects, rules, connectors, data views, and its list of machine-learning jobs.

Every operator compares before it writes, so that running it twice changes nothing; a request and its answer are all
there is to wait for.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.sdk import BaseOperator, literal
from airflow.sdk.exceptions import AirflowSkipException

from elastic_ml.exceptions import ElasticMLError, InvalidRequestError, LicenseError, VersionError
from elastic_ml.links.kibana import DashboardLink, DataViewLink, RuleLink, store_links
from elastic_ml.operators.base import RETRY_POLICY, refuse_empty

if TYPE_CHECKING:
    from elastic_ml.clients.kibana import Existing, KibanaClient
    from elastic_ml.clients.kibana_assets import Change
    from elastic_ml.hooks.kibana import KibanaHook
    from elastic_ml.links.kibana import KibanaLink

WhenUnavailable = Literal["fail", "skip"]
Wanted = Literal["present", "absent"]


def kibana_fields(*fields: str) -> tuple[str, ...]:
    """Return template fields sorted, with the connection and the space that every operator templates."""
    return tuple(sorted({"kibana_conn_id", "space", *fields}))


class KibanaBaseOperator(BaseOperator):
    """Base of the operators that talk to Kibana.

    :param kibana_conn_id: connection to Kibana (templated).
    :param space: id of the space to work in, instead of the connection's (templated). It has to exist.
    :param when_unavailable: what a task does when this Kibana lacks what it needs (licence, version, flavor): ``fail``,
        or ``skip`` with the sentence that says why.
    """

    template_fields: Sequence[str] = kibana_fields()
    ui_color = "#00BFB3"
    ui_fgcolor = "#fff"
    operator_extra_links: Sequence["KibanaLink"] = ()

    def __init__(
        self,
        *,
        kibana_conn_id: str = "kibana_default",
        space: str | None = None,
        when_unavailable: WhenUnavailable = "fail",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retry_policy", RETRY_POLICY)
        super().__init__(**kwargs)
        if when_unavailable not in {"fail", "skip"}:
            raise ValueError(f"when_unavailable is {when_unavailable!r}; choose fail or skip")
        self.kibana_conn_id = kibana_conn_id
        self.space = space
        self.when_unavailable = when_unavailable
        self.kibana_links: dict[str, str] | None = None

    @cached_property
    def hook(self) -> "KibanaHook":
        """The hook of :attr:`kibana_conn_id`, in :attr:`space`."""
        from elastic_ml.hooks.kibana import KibanaHook

        return KibanaHook(self.kibana_conn_id, space=self.space)

    @property
    def client(self) -> "KibanaClient":
        """A client of Kibana."""
        return self.hook.client

    def pre_execute(self, context: Any) -> None:
        """Store the links before the work begins."""
        store_links(self, context, self.link_names)

    def execute(self, context: Any) -> Any:
        """Do the work; what this Kibana lacks fails the task or skips it."""
        try:
            with self.client:
                return self.work(context)
        except (LicenseError, VersionError) as error:
            if self.when_unavailable == "skip":
                raise AirflowSkipException(str(error)) from error
            raise

    def work(self, context: Any) -> Any:
        """Do what the operator is for, and return its XCom."""
        raise NotImplementedError

    def link_names(self) -> Mapping[str, str]:
        """Return the object that each link shows, by the link's class name."""
        return {}

    def told(self, change: "Change") -> dict[str, str]:
        """Log what became of an object and return it."""
        detail = f" ({change.detail})" if change.detail else ""
        self.log.info("%s %s: %s%s", change.kind, change.id, change.state, detail)
        return change.as_dict()


class KibanaImportOperator(KibanaBaseOperator):
    """Import saved objects: dashboards, tags and the like.

    Kibana answers 200 for an import that failed in part, and writes nothing of the file while one object is in
    conflict or refers to something that is not there: that fails the task with a sentence per object.

    ::

        KibanaImportOperator(task_id="dashboards", bundle="/opt/airflow/include/dashboards.ndjson")

    :param bundle: path of an NDJSON file, or the saved objects themselves (templated).
    :param existing: what happens to objects that are there: ``replace`` them, ``keep`` them as they are and import only
        the rest, or ``fail``.
    :param kwargs: see :class:`KibanaBaseOperator`.
    :return: ``{"imported", "overwritten", "kept", "renamed"}``: counts, the names of objects that were left alone, and
        new ids of objects whose id another space holds.
    :raises PartialFailureError: objects were refused; each is named with its reason.
    """

    template_fields: Sequence[str] = kibana_fields("bundle")
    template_fields_renderers: ClassVar[dict[str, str]] = {"bundle": "json"}
    operator_extra_links = (DashboardLink(),)

    def __init__(
        self, *, bundle: str | Sequence[Mapping[str, Any]], existing: "Existing" = "replace", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if existing not in {"replace", "keep", "fail"}:
            raise ValueError(f"existing is {existing!r}; choose replace, keep or fail")
        self.bundle = bundle
        self.existing = existing

    @cached_property
    def lines(self) -> list[bytes]:
        """The objects as lines of NDJSON."""
        if not isinstance(self.bundle, str):
            return [json.dumps(one, sort_keys=True).encode() for one in self.bundle]
        try:
            content = Path(self.bundle).read_bytes()
        except OSError as error:
            raise InvalidRequestError(
                f"The bundle {self.bundle} cannot be read: {error.strerror}.",
                remedy="Give the path of an NDJSON file as a worker sees it.",
            ) from None
        return [line for line in content.splitlines() if line.strip()]

    def link_names(self) -> Mapping[str, str]:
        """Return the first dashboard of the bundle."""
        for line in self.lines:
            try:
                one = json.loads(line)
            except json.JSONDecodeError as error:
                raise InvalidRequestError(f"A line of the bundle is no JSON: {error}.") from None
            if isinstance(one, dict) and one.get("type") == "dashboard":
                return {"DashboardLink": str(one.get("id", ""))}
        return {}

    def work(self, context: Any) -> dict[str, Any]:
        """Import, and say what was done."""
        self.client.require_space()
        result = self.client.import_saved_objects(b"\n".join(self.lines), existing=self.existing)
        for kind, name, overwritten in result.objects:
            self.log.info("%s %s: %s", kind, name, "replaced" if overwritten else "created")
        for name in result.kept:
            self.log.info("%s: kept as it is", name)
        for name, new in result.renamed.items():
            self.log.warning("%s: another space holds this id, so Kibana made it %s", name, new)
        return {
            "imported": result.imported,
            "overwritten": sum(overwritten for _, _, overwritten in result.objects),
            "kept": result.kept,
            "renamed": result.renamed,
        }


class KibanaRuleOperator(KibanaBaseOperator):
    """Bring an alerting rule to a wanted state, and leave alone whether it is switched on.

    A rule that does not exist is created as the body says. One that exists is compared, and updated where it differs;
    a person who switched it off, or muted it, finds it so afterwards.

    ::

        KibanaRuleOperator(task_id="errors", rule_id="shop-errors", rule={
            "name": "Errors", "consumer": "stackAlerts", "rule_type_id": ".es-query", "schedule": {"interval": "5m"},
            "params": {"searchType": "esqlQuery",
                       "esqlQuery": {"esql": "FROM logs-* | STATS n = COUNT(*) | WHERE n > 9"},
                       "timeField": "@timestamp", "timeWindowSize": 5, "timeWindowUnit": "m", "size": 0,
                       "threshold": [0], "thresholdComparator": ">"}})

    :param rule_id: its id, taken in all spaces at once (templated).
    :param rule: the body of Kibana's API to create a rule (templated, except its ``actions``, whose ``{{...}}`` are
        Kibana's own).
    :param enforce_enabled: also switch an existing rule on or off, as ``enabled`` of the body says.
    :param state: ``absent`` deletes the rule; its alert documents stay.
    :param kwargs: see :class:`KibanaBaseOperator`.
    :return: ``{"kind", "id", "state", "detail"}``.
    :raises ConflictError: the id belongs to a rule of another type, or to one in another space.
    :raises LicenseError: the licence does not contain this type of rule.
    :raises NotFoundError: a connector of its actions does not exist.
    :raises VersionError: this Kibana does not offer this type of rule, or a part of the body.
    """

    template_fields: Sequence[str] = kibana_fields("rule", "rule_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"rule": "json"}
    operator_extra_links = (RuleLink(),)

    def __init__(
        self,
        *,
        rule_id: str,
        rule: Mapping[str, Any] | None = None,
        enforce_enabled: bool = False,
        state: Wanted = "present",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_state(state, rule, "rule")
        self.rule_id = rule_id
        # The result of another task is no mapping yet, and is never taken for a template.
        has_actions = isinstance(rule, Mapping) and "actions" in rule
        self.rule = {**rule, "actions": literal(rule["actions"])} if rule and has_actions else rule
        self.enforce_enabled = enforce_enabled
        self.state = state

    def link_names(self) -> Mapping[str, str]:
        """Return the rule."""
        return {"RuleLink": self.rule_id}

    def work(self, context: Any) -> dict[str, str]:
        """Compare, and write what differs."""
        from elastic_ml.clients.kibana_assets import delete_rule, upsert_rule

        # Without an id Kibana makes another one at every run.
        refuse_empty(self.task_id, rule_id=self.rule_id)
        if self.state == "absent":
            return self.told(delete_rule(self.client, self.rule_id))
        return self.told(upsert_rule(self.client, self.rule_id, self.rule or {}, enforce_enabled=self.enforce_enabled))


class KibanaConnectorOperator(KibanaBaseOperator):
    """Bring a connector to a wanted state.

    ::

        KibanaConnectorOperator(
            task_id="alert_index", connector_id="3c9f0c5e-8f5b-4a39-9d58-0a1d0f3f7b11",
            connector={"name": "Alerts", "connector_type_id": ".index",
                       "config": {"index": "logs-shop.alerts-default", "executionTimeField": "@timestamp"}})

    :param connector_id: a UUID, taken in all spaces at once (templated).
    :param connector: ``name``, ``connector_type_id`` and ``config`` (templated).
    :param secrets_conn_id: Airflow connection whose extra holds the connector's secrets, such as ``webhookUrl``
        (templated). Kibana never tells secrets: they are sent when the connector is created or something else of it
        changes.
    :param rotate_secrets: send the secrets in any case.
    :param state: ``absent`` deletes the connector, unless a rule notifies it.
    :param kwargs: see :class:`KibanaBaseOperator`.
    :return: ``{"kind", "id", "state", "detail"}``.
    :raises ConflictError: the id belongs to a connector of another type, or to one in another space.
    :raises LicenseError: the licence does not contain the type.
    :raises VersionError: this Kibana does not offer the type.
    """

    template_fields: Sequence[str] = kibana_fields("connector", "connector_id", "secrets_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"connector": "json"}

    def __init__(
        self,
        *,
        connector_id: str,
        connector: Mapping[str, Any] | None = None,
        secrets_conn_id: str | None = None,
        rotate_secrets: bool = False,
        state: Wanted = "present",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_state(state, connector, "connector")
        self.connector_id = connector_id
        self.connector = connector
        self.secrets_conn_id = secrets_conn_id
        self.rotate_secrets = rotate_secrets
        self.state = state

    def work(self, context: Any) -> dict[str, str]:
        """Compare, and write what differs."""
        from elastic_ml.clients.kibana_assets import delete_connector, upsert_connector

        refuse_empty(self.task_id, connector_id=self.connector_id)
        if self.state == "absent":
            return self.told(delete_connector(self.client, self.connector_id))
        secrets = self.hook.get_connection(self.secrets_conn_id).extra_dejson if self.secrets_conn_id else None
        return self.told(
            upsert_connector(
                self.client,
                self.connector_id,
                self.connector or {},
                secrets=secrets,
                rotate_secrets=self.rotate_secrets,
            )
        )


class KibanaDataViewOperator(KibanaBaseOperator):
    """Bring a data view to a wanted state; which one is the default is never changed.

    :param data_view_id: its id, taken in all spaces at once (templated).
    :param data_view: ``title`` (the index pattern), ``name``, ``timeFieldName``, ``allowNoIndex`` and what else
        Kibana's API takes (templated).
    :param state: ``absent`` deletes the data view.
    :param kwargs: see :class:`KibanaBaseOperator`.
    :return: ``{"kind", "id", "state", "detail"}``.
    :raises ConflictError: another data view has that name, or one in another space has that id.
    """

    template_fields: Sequence[str] = kibana_fields("data_view", "data_view_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"data_view": "json"}
    operator_extra_links = (DataViewLink(),)

    def __init__(
        self,
        *,
        data_view_id: str,
        data_view: Mapping[str, Any] | None = None,
        state: Wanted = "present",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_state(state, data_view, "data_view")
        self.data_view_id = data_view_id
        self.data_view = data_view
        self.state = state

    def link_names(self) -> Mapping[str, str]:
        """Return the data view."""
        return {"DataViewLink": self.data_view_id}

    def work(self, context: Any) -> dict[str, str]:
        """Compare, and write what differs."""
        from elastic_ml.clients.kibana_assets import delete_data_view, upsert_data_view

        refuse_empty(self.task_id, data_view_id=self.data_view_id)
        if self.state == "absent":
            return self.told(delete_data_view(self.client, self.data_view_id))
        return self.told(upsert_data_view(self.client, self.data_view_id, self.data_view or {}))


class KibanaMlSyncOperator(KibanaBaseOperator):
    """Show jobs and models that were made through Elasticsearch in Kibana's machine-learning pages.

    Kibana does so itself every hour: a sync that fails is logged, and fails the task only with ``strict``.

    :param strict: fail the task when the sync fails.
    :param kwargs: see :class:`KibanaBaseOperator`.
    :return: ``{"added", "removed"}``, or None where it failed.
    """

    def __init__(self, *, strict: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.strict = strict

    def work(self, context: Any) -> dict[str, int] | None:
        """Sync."""
        from elastic_ml.clients.kibana_assets import sync_ml

        try:
            counted = sync_ml(self.client)
        except ElasticMLError as error:
            if self.strict:
                raise
            self.log.warning("Kibana's machine-learning pages were not synced; Kibana will do it itself: %s", error)
            return None
        self.log.info("machine-learning pages: %s objects added, %s removed", counted["added"], counted["removed"])
        return counted


def _check_state(state: str, body: Mapping[str, Any] | None, name: str) -> None:
    if state not in {"present", "absent"}:
        raise ValueError(f"state is {state!r}; choose present or absent")
    if state == "present" and not body:
        raise ValueError(f"{name} is needed, unless state is absent")
