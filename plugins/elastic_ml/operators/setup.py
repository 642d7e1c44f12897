"""The operator that sets Elasticsearch up for a project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from elastic_ml.exceptions import NotReadyError
from elastic_ml.links.kibana import IndicesLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.kibana_pages import names_of

if TYPE_CHECKING:
    from elastic_ml.project.reconcile import Mode


class ElasticSetupOperator(ElasticBaseOperator):
    """Create and update everything a project needs in Elasticsearch: compared before written, safe to repeat.

    ILM policies (data stream lifecycle on Serverless), own indices, enrich policies, ingest pipelines, component and
    index templates, data streams with failure store, the transform of the user-hours. Logs an aligned table and
    returns it: ``{"mode", "counts", "rows": [{"kind", "name", "state", "detail"}], "notes", "problems"}``.

    :param project_folder: folder with ``project.yml`` (templated).
    :param mode: ``plan`` prints the differences, ``verify`` fails on any and only reads, ``apply`` writes (templated).
    :param overwrite_edited: also overwrite objects that somebody edited by hand (templated; ``true`` or ``false``).
    :raises AirflowFailException: ``verify`` found drift, or something only a person can mend: another template wins,
        a mapping conflicts. The sentence names it and the remedy.
    :raises ProjectFileError: a model file or a template is invalid; nothing was sent.
    :raises VersionError: Elasticsearch is older than 9.2.
    """

    template_fields: Sequence[str] = sorted_fields("mode", "overwrite_edited", "project_folder")
    operator_extra_links = (IndicesLink(),)

    def __init__(
        self,
        *,
        project_folder: str,
        mode: str = "plan",
        overwrite_edited: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.mode = mode
        self.overwrite_edited = overwrite_edited

    def pages(self, context: Any) -> Mapping[str, str]:
        """The package's own indices."""
        return {"IndicesLink": names_of(self.project_folder).prefix}

    def execute(self, context: Any) -> dict[str, Any]:
        """Run setup in the chosen mode; the table is logged before anything is raised."""
        from elastic_ml.project import load_project
        from elastic_ml.project.setup import run_setup

        mode = self._checked_mode()
        project = load_project(self.project_folder)
        facts = self.hook.facts
        self.log.info(
            "%s of project %s on %s, Elasticsearch %s, flavor %s, licence %s",
            mode,
            project.name,
            facts.cluster_name,
            ".".join(map(str, facts.version)),
            facts.flavor,
            facts.license or "unknown",
        )
        report = run_setup(
            self.client, project, facts, mode=mode, overwrite_edited=str(self.overwrite_edited).lower() == "true"
        )
        for note in report.notes:
            self.log.warning("%s", note)
        self.log.info("%s\n%s", report.counts(), report.table())
        try:
            report.raise_for_state()
        except NotReadyError as error:
            # Another try would find the same: a person has to act first.
            raise AirflowFailException(str(error)) from error
        return report.as_dict()

    def _checked_mode(self) -> Mode:
        if self.mode not in {"plan", "verify", "apply"}:
            raise ValueError(f"mode is {self.mode!r}; choose plan, verify or apply")
        return self.mode  # type: ignore[return-value]
