"""The operator that brings one partition of a project's sources into Elasticsearch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from elastic_ml.exceptions import (
    ConnectionSettingsError,
    DiskFullError,
    ElasticMLError,
    LicenseError,
    PartialFailureError,
    ProjectFileError,
    SecurityError,
    UnavailableError,
)
from elastic_ml.links.kibana import DashboardLink, DiscoverLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.kibana_pages import data_dashboard, names_of, partitions

if TYPE_CHECKING:
    from elastic_ml.ingest.partition import PartitionIngest
    from elastic_ml.lineage import DataLineage
    from elastic_ml.project import Project
    from elastic_ml.project.source import Source
    from elastic_ml.sources.partition import Partition

_DONE = "ingested_sources"
_ONLY_A_PERSON_CAN_MEND = (ConnectionSettingsError, DiskFullError, LicenseError, ProjectFileError, SecurityError)


class BulkIngestOperator(ElasticBaseOperator):
    """Read one partition of every source of a project and write it to the sources' data streams.

    Sources are taken in turn, events before verdicts, each read as a stream and sent with ``_bulk`` ``create`` and
    deterministic ids. A failing source does not stop the others; the task then fails naming it, and a retry of the same
    run takes only the sources that are not done. A cleared, backfilled or new run reads everything again: what is there
    counts as duplicate. One writer per source and partition, by a lease in the project's ledger.

    Returns ``{source: {"stream", "read", "indexed", "duplicate", "rejected"}}``, where read is the sum of the other
    three and a count in Elasticsearch has confirmed ``indexed``. A source with a name table also has ``unresolved``:
    records whose person it does not hold, which are in ``read`` and in one of the other three, too. Each outlet gets
    that as ``extra``, and the partition as its key.

    :param project_folder: folder with ``project.yml`` and ``sources/`` (templated).
    :param partition: UTC day ``2026-11-10`` or hour ``2026-11-10T13`` (templated); takes the sources of that size.
    :param sources: names of the sources to take, all of them by default (templated).
    :param replay: `failures` to read what earlier runs of the partition rejected (failure store and dead letters)
        instead of the sources, after a fix; None or an empty text for an ordinary run (templated).
    :param elastic_conn_id: connection to write with (templated).
    :raises PartialFailureError: some source failed; its ``failures`` say why, by source.
    :raises UnavailableError: the cluster does not answer any more; then no other source is tried.
    :raises AirflowFailException: another try cannot help: a full disk, a missing privilege, an invalid project file.
    """

    template_fields: Sequence[str] = sorted_fields("partition", "project_folder", "replay", "sources")
    template_fields_renderers = {"sources": "json"}  # noqa: RUF012 - the shape Airflow reads
    operator_extra_links = (DashboardLink(), DiscoverLink())

    def __init__(
        self,
        *,
        project_folder: str,
        partition: str = "{{ partition_key or params.day }}",
        sources: list[str] | None = None,
        replay: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.partition = partition
        self.sources = sources
        self.replay = replay
        self._running: PartitionIngest | None = None
        self._written: tuple[str, ...] = ()
        self._supervisor = 0
        self._killed = False

    def pages(self, context: Any) -> Mapping[str, str]:
        """The dashboard of what comes in, and the ledger."""
        names = names_of(self.project_folder)
        return {"DashboardLink": data_dashboard(names), "DiscoverLink": partitions(names)}

    def execute(self, context: Any) -> dict[str, dict[str, Any]]:
        """Take the sources in turn; see the class."""
        from elastic_ml.project import load_project
        from elastic_ml.sources.partition import Partition

        self._supervisor = os.getppid()
        project = load_project(self.project_folder)
        partition = self._partition(Partition, context)
        if self.replay not in {None, "", "failures"}:
            raise AirflowFailException(f"replay is {self.replay!r}. Write `failures`, or nothing for an ordinary run.")
        store = context.get("task_state_store")
        done: dict[str, dict[str, Any]] = dict((store.get(_DONE) if store is not None else None) or {})
        failures: dict[str, ElasticMLError] = {}
        for source in self._sources(project, partition, failures):
            if source.name in done:
                self.log.info("%s: done by an earlier try of this run", source.name)
                continue
            if self._killed:
                # Airflow's handler of SIGTERM returns here, and SIGKILL would leave the next source's lease behind.
                from elastic_ml.ingest.bulk import StoppedError

                failures[source.name] = StoppedError(f"{source.name} was not begun: the task was killed.")
                break
            try:
                done[source.name] = self._ingest(context, project, source, partition)
            except ElasticMLError as error:
                failures[source.name] = error
                if isinstance(error, UnavailableError) and not self._answers():
                    raise self._unreachable(error, partition, done) from error
                self.log.error("%s: %s", source.name, error)
                if isinstance(error, DiskFullError):
                    break
            else:
                if store is not None:
                    store.set(_DONE, done)
        self.log.info("%s", table(partition.key, done, failures))
        self._raise_for(failures, partition, done)
        streams = dict.fromkeys(figures["stream"] for figures in done.values())
        # The latest verdict per event goes there beside the stream of verdicts.
        self._written = (*streams, project.names.labels) if project.names.labels_stream in streams else tuple(streams)
        for outlet in self.outlets or []:
            event = context["outlet_events"][outlet]
            event.extra = {"partition": partition.key, "sources": done}
            event.add_partitions(partition.key)
        return done

    def lineage(self) -> DataLineage:
        """Return the streams that were written to; what it read is no data of the cluster."""
        from elastic_ml.lineage import DataLineage

        return DataLineage(writes=self._written)

    def on_kill(self) -> None:
        """Stop sending, begin nothing else, and give the lease up: the next run need not wait for its expiry."""
        self._killed = True
        if self._running is not None:
            self._running.stop("the task was killed")

    def _answers(self) -> bool:
        """Whether the cluster answers at all; a source of its own may be what is unavailable."""
        try:
            self.client.options(max_retries=0).info()
        except UnavailableError:
            return False
        return True

    def _unreachable(
        self, error: UnavailableError, partition: Partition, done: dict[str, dict[str, Any]]
    ) -> UnavailableError:
        """Nobody tries the other sources against a cluster that is gone."""
        return UnavailableError(
            f"Ingesting {partition.key} stopped, as Elasticsearch does not answer. {error.message}",
            status=error.status,
            remedy=f"{error.remedy} A retry goes on: {', '.join(done) or 'no source'} done.",
        )

    def _partition(self, kind: type[Partition], context: Any) -> Partition:
        mistyped = _unknown_keys(context)
        try:
            partition = kind.parse(self.partition)
        except ElasticMLError as error:
            # The next try would render the same.
            raise AirflowFailException(f"{mistyped} {error}".strip()) from error
        if mistyped:
            self.log.warning("%s It changes nothing.", mistyped)
        return partition

    def _sources(self, project: Project, partition: Partition, failures: dict[str, ElasticMLError]) -> list[Source]:
        from elastic_ml.ingest.partition import starts_later

        names = project.sources()
        unknown = sorted(set(self.sources or []) - set(names))
        if unknown:
            raise AirflowFailException(
                f"The project {project.folder} has no source {', '.join(unknown)}; it has {', '.join(names) or 'none'}."
            )
        taken = []
        for name in names:
            if self.sources and name not in self.sources:
                continue
            try:
                source = project.source(name)
            except ProjectFileError as error:
                self.log.error("%s: %s", name, error)
                failures[name] = error
                continue
            if source.partition != partition.size:
                continue
            if starts_later(source, partition):
                self.log.info("%s: starts on %s, nothing to read", name, source.start_date)
                continue
            taken.append(source)
        # Verdicts look their events up, so the events come first.
        return sorted(taken, key=lambda source: source.kind == "labels")

    def _ingest(self, context: Any, project: Project, source: Source, partition: Partition) -> dict[str, Any]:
        from elastic_ml.ingest.partition import PartitionIngest
        from elastic_ml.ingest.replay import FailureReplay

        ti = context["ti"]
        kind = FailureReplay if self.replay else PartitionIngest
        self._running = kind(
            self.client,
            project,
            source,
            partition,
            owner=f"{ti.dag_id}/{ti.run_id}/{ti.task_id}",
            # An orphan is adopted: its parent is another process than before.
            abandoned=lambda: os.getppid() != self._supervisor,
        )
        try:
            return {"stream": source.stream, **self._running.run()}
        finally:
            self._running = None

    def _raise_for(
        self, failures: dict[str, ElasticMLError], partition: Partition, done: dict[str, dict[str, Any]]
    ) -> None:
        if not failures:
            return
        first = next(iter(failures.values()))
        sentence = "; ".join(f"{name}: {error}" for name, error in failures.items())
        message = f"Ingesting {partition.key} failed for {len(failures)} of the sources. {sentence}"
        if all(isinstance(error, _ONLY_A_PERSON_CAN_MEND) for error in failures.values()):
            raise AirflowFailException(message) from first
        raise PartialFailureError(
            message,
            remedy=f"Done: {', '.join(done)}; a retry takes only the others."
            if done
            else "No source is done; a retry takes them all.",
            failures={name: str(error) for name, error in failures.items()},
        ) from first


def _unknown_keys(context: Any) -> str:
    """What the run was triggered with and its DAG does not declare, as a sentence; Airflow takes it in silence."""
    dag, run = context.get("dag"), context.get("dag_run")
    known = sorted(getattr(dag, "params", None) or {})
    unknown = sorted(set(getattr(run, "conf", None) or {}) - set(known))
    if not known or not unknown:
        return ""
    many = "s" if len(unknown) > 1 else ""
    return f"The run's conf has the unknown key{many} {', '.join(unknown)}; known: {', '.join(known)}."


def table(partition: str, done: dict[str, dict[str, Any]], failures: dict[str, ElasticMLError]) -> str:
    """The figures of one partition as aligned text, one line per source."""
    columns: tuple[str, ...] = ("read", "indexed", "duplicate", "rejected")
    if any("unresolved" in figures for figures in done.values()):
        columns = (*columns, "unresolved")
    rows: list[tuple[str, ...]] = [("source", "stream", *columns)]
    rows += [
        (name, str(figures["stream"]), *(f"{figures[c]:,}" if c in figures else "" for c in columns))
        for name, figures in done.items()
    ]
    rows += [(name, "failed", *[""] * len(columns)) for name in failures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([f"Partition {partition}", *lines])
