"""After an API key was replaced: making everything that runs with the old one run with the new one."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import PartialFailureError
from elastic_ml.links.kibana import RulesLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.kibana_pages import names_of

if TYPE_CHECKING:
    from elastic_ml.clients.kibana import KibanaClient


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
        from elastic_ml.maintenance.credentials import (
            OLD,
            Halted,
            datafeeds_of,
            presented,
            rotated,
            rotated_rules,
            transforms_of,
            update_transform,
        )
        from elastic_ml.maintenance.steps import counts, table
        from elastic_ml.project import load_project

        project = load_project(self.project_folder)
        apply = str(self.apply).lower() == "true"
        asker = presented(self.client)
        feeder, feeds_as = self.client, asker
        if self.datafeeds_conn_id not in {None, self.elastic_conn_id}:
            feeder = ElasticHook(self.datafeeds_conn_id, opaque_id=self._opaque_id()).client
            feeds_as = presented(feeder)
        halted = Halted(feeder, context["task_state_store"])
        if apply:
            halted.resume()
        transforms, datafeeds = transforms_of(self.client, project), datafeeds_of(feeder, project)
        kibana = self._kibana()
        steps = [
            *rotated(self.client, "transform", transforms, asker, apply and update_transform),
            *rotated(feeder, "datafeed", datafeeds, feeds_as, apply and halted.update),
            *(rotated_rules(kibana, project, apply=apply) if kibana else []),
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

    def _kibana(self) -> "KibanaClient | None":
        from airflow.sdk.exceptions import AirflowNotFoundException

        from elastic_ml.hooks.kibana import KibanaHook

        try:
            return KibanaHook(self.kibana_conn_id).client
        except AirflowNotFoundException:
            self.log.info("There is no connection %s: no rules are looked at.", self.kibana_conn_id)
            return None
