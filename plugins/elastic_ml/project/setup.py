"""Plans, verifies or applies everything a project needs in Elasticsearch. Needs a client, no Airflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import NotReadyError
from elastic_ml.project.desired_state import desired_objects, desired_transform
from elastic_ml.project.feature_setup import FeatureSetup
from elastic_ml.project.reconcile import DRIFT, Mode, Row, counts, downgrades, reconcile, table
from elastic_ml.project.streams import StreamSetup
from elastic_ml.project.unmanaged_streams import UnmanagedStreams

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.clients.elasticsearch import ServerFacts
    from elastic_ml.project.project import Project


@dataclass
class SetupReport:
    """What setup found or did: one row per object, notes to know, problems that only a person can mend."""

    mode: Mode
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def drift(self) -> list[Row]:
        """Rows that are not as the project wants them."""
        return [row for row in self.rows if row.state in DRIFT]

    def counts(self) -> dict[str, int]:
        """Rows per state."""
        return counts(self.rows)

    def table(self) -> str:
        """Aligned text, notes and problems below it."""
        return "\n".join(
            [table(self.rows), *(f"Note: {n}" for n in self.notes), *(f"Problem: {p}" for p in self.problems)]
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, for an XCom."""
        return {
            "mode": self.mode,
            "counts": self.counts(),
            "rows": [row.as_dict() for row in self.rows],
            "notes": self.notes,
            "problems": self.problems,
        }

    def raise_for_state(self) -> None:
        """Raise NotReadyError where the mode demands that nothing is left to do.

        `verify` raises on any drift and problem, `apply` on problems, `plan` never.
        """
        if self.mode == "verify" and self.drift:
            named = ", ".join(f"{row.kind} {row.name} ({row.state})" for row in self.drift[:8])
            rest = f" and {len(self.drift) - 8} more" if len(self.drift) > 8 else ""
            raise NotReadyError(
                f"{len(self.drift)} objects are not as the project wants them: {named}{rest}.",
                remedy="Run elastic_setup with mode=plan to see each difference and with mode=apply to write them.",
            )
        if self.mode != "plan" and self.problems:
            raise NotReadyError(
                " ".join(self.problems), remedy="Then run elastic_setup again; it continues where it is."
            )


def run_setup(
    client: Elasticsearch,
    project: Project,
    facts: ServerFacts,
    *,
    mode: Mode = "plan",
    overwrite_edited: bool = False,
) -> SetupReport:
    """Bring a cluster to what the project wants (`apply`), or only say what differs (`plan`, `verify`).

    Sends GETs, and writes in `apply` only. Safe to repeat and to interrupt: every object is compared before it is
    written. `apply` writes nothing to a cluster that a newer release has set up, and says so among the problems.
    Raises ProjectFileError before anything is sent when a model file or a template is invalid; call `raise_for_state`
    on the report after showing it.
    """
    objects = desired_objects(project, serverless=facts.serverless)
    report = SetupReport(mode, notes=_notes(facts))
    if mode == "apply" and (transform := desired_transform(project)):
        # It is written last; a newer release's stops everything before it as well.
        report.problems += downgrades(reconcile(client, [transform], mode="plan"))
    allowed: Mode = "plan" if report.problems else mode
    report.rows += reconcile(client, objects, mode=allowed, overwrite_edited=overwrite_edited)
    if mode == "apply":
        report.problems += downgrades(report.rows)
    if report.problems:
        mode = "plan"
    streams = StreamSetup(client, project, mode, serverless=facts.serverless)
    report.rows += streams.run()
    unmanaged = UnmanagedStreams(client, project, mode)
    report.rows += unmanaged.run()
    features = FeatureSetup(client, project, mode, overwrite_edited=overwrite_edited)
    report.rows += features.run()
    report.problems += [
        f"{row.kind} {row.name}: {row.detail}. Nothing was written to it."
        for row in report.rows
        if row.state == "conflict" and row.kind in {"index", "enrich policy"}
    ] + [*streams.problems, *unmanaged.problems, *features.problems]
    report.notes += (
        streams.notes
        + unmanaged.notes
        + [
            f"{row.kind} {row.name} was left as it is: {row.detail}. To take it back, run with overwrite_edited=true."
            for row in report.rows
            if row.state == "edited by hand"
        ]
    )
    return report


def _notes(facts: ServerFacts) -> list[str]:
    if facts.ml_available:
        return []
    why = "this Serverless project type" if facts.serverless else f"the licence ({facts.license or 'unknown'})"
    return [
        f"Machine learning does not answer with {why}: streams, pipelines and ingestion work; training, promotion, "
        "scoring and anomaly jobs will not until a trial, Platinum or Enterprise licence is active."
    ]
