"""Is there enough to learn from, and will the result be worth serving? Asked before anything is built."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import ExceptionRetryPolicy, RetryRule
from airflow.sdk.definitions.retry_policy import RetryAction

from elastic_ml.exceptions import NotReadyError
from elastic_ml.links.kibana import DiscoverLink
from elastic_ml.operators.base import RETRY_POLICY, ElasticBaseOperator, sorted_fields
from elastic_ml.operators.kibana_pages import newest

if TYPE_CHECKING:
    from elastic_ml.lineage import DataLineage

VERDICT_POLICY = ExceptionRetryPolicy(
    [
        RetryRule(
            exception=[f"elastic_ml.exceptions.{name}" for name in ("NotReadyError", "WaitTimeoutError")],
            action=RetryAction.FAIL,
            reason="somebody has to mend what the message names first",
        ),
        *RETRY_POLICY.rules,
    ]
)
"""For tasks whose failure is an answer: asking again would only repeat it later."""


class ReadinessOperator(ElasticBaseOperator):
    """Look at the data a model would learn from and say whether training makes sense.

    Sends `_field_caps`, counts per window, one aggregation over all features, the confirmed verdicts' ids joined to the
    window in batches, and a bounded random sample, and looks for history that is in no stream yet; changes nothing.

    :param project_folder: the project folder.
    :param model: name of the model file.
    :param run: the run's parameters, `training.RUN_TEMPLATE` (templated).
    :return: `{go, no_go, warnings, train, holdout, features}`; `train` and `holdout` hold `documents` and `classes`.
    :raises NotReadyError: at least one no-go; the message holds all of them.
    """

    template_fields: Sequence[str] = sorted_fields("run")
    operator_extra_links = (DiscoverLink(),)
    template_fields_renderers: ClassVar[dict[str, str]] = {"run": "json"}

    def __init__(self, *, project_folder: str, model: str, run: Mapping[str, Any], **kwargs: Any) -> None:
        kwargs.setdefault("retry_policy", VERDICT_POLICY)
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.model = model
        self.run = run

    def pages(self, context: Any) -> Mapping[str, str]:
        """What the model learns from."""
        from elastic_ml.project import load_project

        return {"DiscoverLink": newest(",".join(load_project(self.project_folder).model(self.model).source.index))}

    def lineage(self) -> "DataLineage":
        """Return what the model would learn from."""
        from elastic_ml.lineage import DataLineage
        from elastic_ml.project import load_project

        return DataLineage(tuple(load_project(self.project_folder).model(self.model).source.index))

    def execute(self, context: Any) -> dict[str, Any]:
        """Examine the data, log the table, and fail with every no-go at once."""
        from elastic_ml.training.readiness import examine
        from elastic_ml.training.run import TrainingRun

        run = TrainingRun.of(self.project_folder, self.model, dict(self.run))
        report = examine(self.client, run)
        for sentence in report.warnings:
            self.log.warning("%s", sentence)
        self.log.info("%s\n%s", report.figures, report.table())
        result = report.to_json()
        if report.no_go:
            context["ti"].xcom_push(key="report", value=result)
            raise NotReadyError(
                f"{self.model} cannot be trained for {run.day}: " + " ".join(report.no_go),
                remedy="Nothing was changed; clear this task once the reasons are gone.",
            )
        return result
