"""Taking a project off a cluster: what its `_meta` marks, and never data unless that is asked for by name."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import (
    NotReadyError,
    PartialFailureError,
)
from elastic_ml.links.kibana import IndicesLink, RulesLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.kibana_pages import names_of

if TYPE_CHECKING:
    from elastic_ml.clients.kibana import KibanaClient


class RemoveOperator(ElasticBaseOperator):
    """Delete what this project made on the cluster. Without `apply` it only says what it would delete.

    What is this project's: objects whose `_meta` (anomaly jobs: `custom_settings`) names this package and this
    project; of kinds that have no `_meta`, those with the names that the project renders. Of pipelines that somebody
    else owns (`<type>-<dataset>@custom`), the one processor that `elastic_setup` put there.

    Without `data`: transforms, pipelines, enrich policies, templates, ILM policies. What the streams that stay still
    need is kept and listed: their templates, their policies, and the pipelines through which their events go.
    With `data`, also and first: data streams with all their events, history, user-hours, verdicts, ledger, cards,
    training sets and results, jobs with their results, trained models. Streams with `managed: false` are never deleted.

    In Kibana, always and first, what `kibana_deploy` brought to the connection's space: alert rules (by the tags
    `elastic-ml` and the project's name), dashboards, data views, connectors and tags (by the ids of the asset folders).
    What a person edited stays and is listed, and so does what something else of a person's needs.

    :param project_folder: the project folder.
    :param kibana_conn_id: connection to Kibana; the table says so where there is none (templated).
    :param apply: whether to do it (templated; `true` or `false`).
    :param confirm: the project's name, without which nothing is done (templated).
    :param data: also delete data (templated; `true` or `false`).
    :param delete_edited: also delete what a person edited in Kibana (templated; `true` or `false`).
    :return: `{applied, counts, steps: [{kind, name, action, reason}]}`.
    :raises NotReadyError: `confirm` is not the project's name.
    :raises PartialFailureError: the server refused to delete something.
    """

    template_fields: Sequence[str] = sorted_fields("apply", "confirm", "data", "delete_edited")
    operator_extra_links = (IndicesLink(), RulesLink())

    def __init__(
        self,
        *,
        project_folder: str,
        apply: bool | str = False,
        confirm: str = "",
        data: bool | str = False,
        delete_edited: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.apply = apply
        self.confirm = confirm
        self.data = data
        self.delete_edited = delete_edited

    def pages(self, context: Any) -> Mapping[str, str]:
        """What there is on the cluster, and the project's rules."""
        names = names_of(self.project_folder)
        return {"IndicesLink": names.prefix, "RulesLink": names.name}

    def execute(self, context: Any) -> dict[str, Any]:
        """List everything, then delete it if asked to."""
        from elastic_ml.maintenance.estate import Estate
        from elastic_ml.maintenance.kibana_estate import KibanaEstate
        from elastic_ml.maintenance.steps import counts, table
        from elastic_ml.project import load_project

        project = load_project(self.project_folder)
        apply, data, edited = (str(flag).lower() == "true" for flag in (self.apply, self.data, self.delete_edited))
        if apply and self.confirm != project.name:
            raise NotReadyError(
                f"Nothing was deleted: the param confirm is {self.confirm!r}.",
                remedy=f"To take the project {project.name} off this cluster, write {project.name}.",
            )
        in_kibana = KibanaEstate(self._kibana(), project, conn_id=self.kibana_conn_id, delete_edited=edited)
        estate = Estate(self.client, project, serverless=self.hook.serverless)
        done = []
        for step, do in [
            *((step, in_kibana.do) for step in in_kibana.steps()),
            *((step, estate.do) for step in estate.steps(data=data)),
        ]:
            done.append(do(step) if apply and step.action == "delete" else step)
            self.log.info("%s %s %s: %s", done[-1].action, step.kind, step.name, done[-1].reason)
        self.log.info("%s\n%s", "Done:" if apply else "Would do (apply is off):", table(done))
        refused = {f"{s.kind} {s.name}": s.reason for s in done if s.refused}
        if refused:
            raise PartialFailureError(
                f"{len(refused)} objects were not deleted: {'; '.join(f'{k}: {v}' for k, v in refused.items())}.",
                remedy="Remove what names them, then run this again: what is gone is left alone.",
                failures=refused,
            )
        return {"applied": apply, "counts": counts(done), "steps": [step.as_dict() for step in done]}

    def _kibana(self) -> "KibanaClient | None":
        from airflow.sdk.exceptions import AirflowNotFoundException

        from elastic_ml.hooks.kibana import KibanaHook

        try:
            return KibanaHook(self.kibana_conn_id).client
        except AirflowNotFoundException:
            return None
