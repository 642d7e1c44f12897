"""The operator that brings a project's dashboards, rules and connectors to Kibana."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from elastic_ml.exceptions import PartialFailureError
from elastic_ml.links.kibana import DashboardLink, RulesLink
from elastic_ml.operators.kibana import KibanaBaseOperator, kibana_fields

if TYPE_CHECKING:
    from elastic_ml.kibana_bundle import Bundle
    from elastic_ml.project.project import Project


class KibanaDeployOperator(KibanaBaseOperator):
    """Bring everything of a project's asset folders to Kibana: compared before written, safe to repeat.

    Data views, dashboards and tags by one import; connectors; rules, which then tell the connectors that are there; the
    sync of machine-learning objects. Logs one table and returns it:
    ``{"mode", "space", "counts", "rows": [{"kind", "name", "state", "detail"}]}``.

    :param project_folder: folder with ``project.yml``, whose ``kibana.folders`` list the assets (templated).
    :param mode: ``plan`` says what differs and writes nothing, ``apply`` writes (templated).
    :param overwrite_edited: also replace dashboards, data views and tags that a person edited (templated).
    :param enforce_enabled: also switch on rules that a person switched off (templated).
    :param delete_retired: also delete rules of this project that its folders no longer have (templated).
    :param kwargs: see :class:`KibanaBaseOperator`.
    :raises AirflowFailException: Kibana refused objects; the sentence names each with its reason. The others are done.
    :raises ProjectFileError: a file of an asset folder is wrong; nothing was sent.
    :raises VersionError: Kibana is older than 9.2.
    """

    template_fields: Sequence[str] = kibana_fields(
        "delete_retired", "enforce_enabled", "mode", "overwrite_edited", "project_folder"
    )
    operator_extra_links = (DashboardLink(), RulesLink())

    def __init__(
        self,
        *,
        project_folder: str,
        mode: str = "plan",
        overwrite_edited: bool | str = False,
        enforce_enabled: bool | str = False,
        delete_retired: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.mode = mode
        self.overwrite_edited = overwrite_edited
        self.enforce_enabled = enforce_enabled
        self.delete_retired = delete_retired

    @cached_property
    def project(self) -> Project:
        """The project of :attr:`project_folder`."""
        from elastic_ml.project import load_project

        return load_project(self.project_folder)

    @cached_property
    def bundle(self) -> Bundle:
        """What Kibana is to import; a file that is wrong is no case for another try."""
        from elastic_ml.kibana_bundle import build_bundle

        try:
            return build_bundle(self.project)
        except PartialFailureError as error:
            raise AirflowFailException(str(error)) from error

    def link_names(self) -> Mapping[str, str]:
        """Return the first dashboard, and the tag of the project's rules."""
        dashboards = [str(one["id"]) for one in self.bundle.objects if one["type"] == "dashboard"]
        return {"RulesLink": self.project.name, **({"DashboardLink": dashboards[0]} if dashboards else {})}

    def work(self, context: Any) -> dict[str, Any]:
        """Compare, write in ``apply``; the table is logged before anything is raised."""
        from elastic_ml.kibana.deployment import Choices, Deployment

        if self.mode not in {"plan", "apply"}:
            raise ValueError(f"mode is {self.mode!r}; choose plan or apply")
        deployment = Deployment(
            self.client,
            self.project,
            self.bundle.objects,
            mode=self.mode,  # type: ignore[arg-type]
            choices=Choices(
                overwrite_edited=_asked(self.overwrite_edited),
                enforce_enabled=_asked(self.enforce_enabled),
                delete_retired=_asked(self.delete_retired),
            ),
        )
        try:
            report = deployment.run()
        finally:
            found = deployment.report
            self.log.info("%s in space %s: %s\n%s", found.mode, found.space, found.counts(), found.table())
        try:
            report.raise_for_state()
        except PartialFailureError as error:
            # Another try would be refused alike: a person has to act first.
            raise AirflowFailException(str(error)) from error
        return report.as_dict()


def _asked(value: bool | str) -> bool:
    return str(value).lower() == "true"
