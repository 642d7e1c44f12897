"""Putting away what trainings leave behind: jobs, models and indices that nothing uses any more."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import ProjectFileError
from elastic_ml.links.kibana import DiscoverLink, IndicesLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.kibana_pages import names_of, newest

if TYPE_CHECKING:
    pass

OVER = frozenset({"success", "failed"})
"""States of an Airflow run in which nothing waits for its remote work any more."""


class HousekeepingOperator(ElasticBaseOperator):
    """Delete what is old and unused; stop what runs for nobody. Without `apply` it only says what it would do.

    Goes, once it is older than `keep`: everything of a training whose model is in no use (the analytics job, its
    trained model, training set, holdout and results, and pipelines that a crash left), indices of rescored history and
    of outlier results that their alias has left, replaced versions of anomaly jobs, model snapshots beyond the job
    file's `replay_days`, expired forecasts and results.

    Never: a model with any alias (the champion and the previous one have theirs), one that a pipeline names, what
    belongs to such a model, a model younger than `keep`, an index behind an alias, anything not marked as this
    project's.

    Stopped: analytics jobs and datafeeds of partitions whose Airflow run is over.

    :param project_folder: the project folder.
    :param keep: how long unused things stay, such as `90d` (templated).
    :param apply: whether to do it (templated; `true` or `false`).
    :return: `{applied, counts, steps: [{kind, name, action, reason}]}`, steps that keep something left out.
    """

    template_fields: Sequence[str] = sorted_fields("apply", "keep")
    operator_extra_links = (IndicesLink(), DiscoverLink())

    def __init__(self, *, project_folder: str, keep: str = "90d", apply: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.keep = keep
        self.apply = apply

    def pages(self, context: Any) -> Mapping[str, str]:
        """What there is, and which models were deleted."""
        names = names_of(self.project_folder)
        return {"IndicesLink": names.prefix, "DiscoverLink": newest(names.registry, {"event_type": "deleted"})}

    def execute(self, context: Any) -> dict[str, Any]:
        """Look at everything, log the table, then do it if asked to."""
        from elastic_ml.maintenance.house import House
        from elastic_ml.maintenance.steps import counts, table
        from elastic_ml.project import load_project
        from elastic_ml.project.durations import parse_duration

        project = load_project(self.project_folder)
        try:
            keep = parse_duration(self.keep)
        except ValueError as error:
            raise ProjectFileError("parameters of the run", None, "keep", str(error), "write it as 90d") from None
        apply = str(self.apply).lower() == "true"
        house = House(self.client, project, datetime.now(UTC) - keep, serverless=self.hook.serverless)
        run_is_over = _run_is_over(context["ti"])
        done = []
        for step in [*house.idle_runs(run_is_over), *house.outdated()]:
            done.append(house.do(step) if apply and step.action != "keep" else step)
            self.log.info("%s %s %s: %s", done[-1].action, step.kind, step.name, done[-1].reason)
        if apply:
            house.register_deletions()
        shown = [step for step in done if step.action != "keep"] if not apply else done
        self.log.info("%s\n%s", "Done:" if apply else "Would do (apply is off):", table(shown))
        return {"applied": apply, "counts": counts(done), "steps": [step.as_dict() for step in shown]}


def _run_is_over(ti: Any) -> Callable[[str, str], bool]:
    """Ask Airflow once per run whether it is over; a run that Airflow does not know was deleted."""
    known: dict[tuple[str, str], bool] = {}

    def ask(dag_id: str, run_id: str) -> bool:
        if (dag_id, run_id) not in known:
            known[dag_id, run_id] = run_state(ti, dag_id, run_id) in OVER | {None}
        return known[dag_id, run_id]

    return ask


def run_state(ti: Any, dag_id: str, run_id: str) -> str | None:
    """Return the state of an Airflow run, None when there is no such run."""
    from airflow.sdk.exceptions import AirflowRuntimeError

    try:
        return str(ti.get_dagrun_state(dag_id, run_id))
    except AirflowRuntimeError as error:
        if "404" in str(error) or "not found" in str(error).lower():
            return None
        raise
