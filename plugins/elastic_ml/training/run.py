"""One training run of one model: its windows, its job id, its names.

Everything here follows from the project folder and the run's parameters, so a retry, a re-run and the next task come
to the same answers without asking anybody.
"""

from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from elastic_ml import __version__
from elastic_ml.exceptions import ProjectFileError
from elastic_ml.project import load_project
from elastic_ml.project.bodies import MANAGED_BY, body_hash
from elastic_ml.project.durations import parse_duration, print_duration

if TYPE_CHECKING:
    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project

WORDS = {"scheduled": "schedule", "backfill": "schedule", "asset_triggered": "drift"}


class RunParameters(NamedTuple):
    """What makes one training of one model.

    :param day: the day the model is trained for; the newest data used lies `label_delay` before it.
    :param word: why: `schedule`, `drift` or `manual`; part of the job id, so drift may retrain a day the schedule
        trained.
    :param requested_by: who started it, as Airflow knows it, or as a service says in the parameter; None for a machine.
    """

    project: "Project"
    model: "Model"
    day: date
    label_delay: timedelta
    train_window: timedelta
    holdout_window: timedelta
    word: str
    requested_by: str | None = None
    triggered_by: str | None = None
    started_as: str = ""
    """Id of the job where it is known: an earlier release, or a model file changed since, would give it another."""


class TrainingRun(RunParameters):
    """One training of one model: what follows from its parameters."""

    @classmethod
    def of(cls, folder: str, model: str, rendered: dict[str, Any]) -> Self:
        """Read the project and the run's rendered parameters (`RUN_TEMPLATE`).

        :raises ProjectFileError: a file of the project is wrong, or a parameter is no day or duration.
        """
        project = load_project(Path(folder))
        definition = project.model(model)
        windows = definition.windows
        # Outlier detection scores its own rows up to the day: no verdict to wait for, nothing to hold out.
        delay = definition.label_delay if definition.supervised else timedelta(0)
        holdout = windows.holdout if windows and definition.supervised else timedelta(0)
        if windows is None:
            raise ProjectFileError(
                Path(folder) / "models" / f"{model}.yml",
                None,
                "windows",
                "this analysis has no training window and is not trained by this stage",
                "add windows: {train: 90d, holdout: 14d}",
            )

        def given(name: str, default: timedelta) -> timedelta:
            return _duration(name, rendered[name]) if rendered.get(name) else default

        return cls(
            project=project,
            model=definition,
            day=read_day(str(rendered["day"])),
            label_delay=given("label_delay", delay),
            train_window=given("train_window", windows.train),
            holdout_window=given("holdout_window", holdout),
            # An enumeration renders as `DagRunType.ASSET_TRIGGERED`.
            word=WORDS.get(str(rendered.get("run_type", "")).rpartition(".")[2].lower(), "manual"),
            requested_by=rendered.get("requested_by") or rendered.get("triggered_by") or None,
            triggered_by=rendered.get("triggered_by") or None,
            started_as=str(rendered.get("job_id") or ""),
        )

    @property
    def holdout_end(self) -> datetime:
        """End of the holdout, exclusive: verdicts on later events may still be missing."""
        return datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC) - self.label_delay

    @property
    def holdout_start(self) -> datetime:
        """Start of the holdout; the training window ends here."""
        return self.holdout_end - self.holdout_window

    @property
    def train_start(self) -> datetime:
        """Start of the training window."""
        return self.holdout_start - self.train_window

    @property
    def windows(self) -> dict[str, str]:
        """The windows as written in cards and bodies; ends are exclusive."""
        return {
            "train_start": _iso(self.train_start),
            "train_end": _iso(self.holdout_start),
            "holdout_start": _iso(self.holdout_start),
            "holdout_end": _iso(self.holdout_end),
            "label_delay": print_duration(self.label_delay),
        }

    @cached_property
    def job_id(self) -> str:
        """Id of the analytics job: the same day, windows, query, label, body and trigger word give the same job."""
        if self.started_as:
            return self.started_as
        body = self.analytics_body(train_index="-", results_index="-", about={})
        identity = {
            "body": {key: body[key] for key in ("analysis", "analyzed_fields")},
            "windows": self.windows,
            "query": self.model.source.query,
            "label": self.model.label.model_dump() if self.model.label else None,
            "word": self.word,
        }
        return self.project.names.job_id(self.model.name, self.day, body_hash(identity))

    @property
    def train_index(self) -> str:
        """Index of the training set."""
        return self.project.names.train_index(self.job_id)

    @property
    def holdout_index(self) -> str:
        """Index of the holdout."""
        return self.project.names.holdout_index(self.job_id)

    @property
    def results_index(self) -> str:
        """Destination of the analytics job."""
        return self.project.names.results_index(self.job_id)

    @property
    def label_pipeline(self) -> str:
        """The pipeline that sets the label of a row; made by `elastic_setup`."""
        return self.project.names.label_pipeline(self.model.name)

    @property
    def label_type(self) -> str:
        """Mapping type of the label in training set and holdout."""
        return "keyword" if self.model.kind == "classification" else "double"

    @property
    def label_sources(self) -> list[str]:
        """Fields of the source that `label_pipeline` reads."""
        label = self.model.label
        if label is None:
            return []
        if label.verdicts == "by_user_hour":
            return ["user_hour"]
        return [label.field] if label.field else ["event.id"]

    @property
    def about(self) -> dict[str, Any]:
        """`_meta` of everything this run makes, without what differs between two tries."""
        return {
            "managed_by": MANAGED_BY,
            "project": self.project.name,
            "version": __version__,
            "model": self.model.name,
            "job_id": self.job_id,
            "day": self.day.isoformat(),
        }

    def query(self, start: datetime, end: datetime) -> dict[str, Any]:
        """The model's query within [start, end)."""
        return self.project.templates.render(
            "model/window_query.json.j2", model=self.model, start=_iso(start), end=_iso(end)
        )

    def analytics_body(self, *, train_index: str, results_index: str, about: dict[str, Any]) -> dict[str, Any]:
        """The body of the data frame analytics job."""
        return self.project.templates.render(
            "model/analytics.json.j2",
            model=self.model,
            window=self.windows,
            train_index=train_index,
            results_index=results_index,
            about=about,
        )


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_day(text: str) -> date:
    """Read the param `day`.

    :raises ProjectFileError: it is no day.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ProjectFileError(
            "parameters of the run", None, "day", f"{text!r} is no day", "write it as 2026-11-21"
        ) from None


def _duration(name: str, text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ProjectFileError("parameters of the run", None, name, str(error), "write it as 14d or 90m") from None
