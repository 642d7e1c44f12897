"""audit_ingest: audit events and verdicts of one day into Elasticsearch.

One run per partition (a UTC day of delivery), one task per run: it takes all daily sources of `sources/*.yml` in turn,
events before verdicts, and ends with a table. Sources that deliver by the hour have the DAG `audit_ingest_hourly`,
built only when there is one.

| figure | what it counts |
|---|---|
| read | records that the source delivered |
| indexed | documents that this run added; a count in Elasticsearch has confirmed it |
| duplicate | documents that were there already, by their deterministic id |
| rejected | records in `logs-<prefix>.dead_letter-*` (unreadable) or in the stream's failure store (not indexable) |

**read = indexed + duplicate + rejected, always**, and nothing is ever indexed twice: kill, retry, clear or backfill it
at any moment.

| param | meaning | default |
|---|---|---|
| `day` | UTC day (or hour) to ingest in a run started by hand | the run's partition |
| `replay` | `failures`: read what earlier runs rejected instead of the sources | none |

**Past months** (ended longer ago than `backfill_after`) are loaded beside their stream and sealed into it by the run
that completes the month, with the retention of their own date: until then no search of the stream sees them.

**By hand:** trigger it with the param `day`; for many days use Airflow's backfill. A run that is cleared or backfilled
again reads everything again and counts it as duplicate.

**After a fix** of a mapping, pipeline or adapter: trigger it with `day` and `replay: failures`; what was rejected is
read again from where it was kept, and what is right now leaves the failure store and the dead letters.

**First run:** unpausing it starts yesterday's partition at once. Set `[elastic_ml] start_date` in Airflow's
configuration (`AIRFLOW__ELASTIC_ML__START_DATE=2026-12-01`) to keep it from running before that day; backfill is not
held back by it.

**When it fails:** the last lines of the log name the source, what is wrong and what to do. The other sources are done,
unless Elasticsearch does not answer; a retry takes only those that are not. `... is held by ...`: another run writes
the same partition; wait for it. `does not add up`: run it again, it counts anew. `the field ... is mapped as ...`: the
source and the stream disagree; nothing was written. `cannot become part of`: a past month is loaded and could not be
sealed; its documents are safe. The page docs/ingestion.md has them all.
"""

from __future__ import annotations

import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, CronPartitionTimetable, Param

from elastic_ml.exceptions import ProjectFileError
from elastic_ml.notifications.deadline import deadline
from elastic_ml.operators.ingest import BulkIngestOperator
from elastic_ml.stages.shared import dag_arguments, project_at, wanted

if TYPE_CHECKING:
    from elastic_ml.project import Project
    from elastic_ml.project.source import Source

log = logging.getLogger(__name__)

_SIZES: dict[str, dict[str, Any]] = {
    "day": {"stage": "audit_ingest", "cron": "0 0 * * *", "key_format": "%Y-%m-%d"},
    "hour": {"stage": "audit_ingest_hourly", "cron": "0 * * * *", "key_format": "%Y-%m-%dT%H"},
}
_REPLAY = Param(
    None,
    enum=[None, "failures"],
    description="failures: read what earlier runs of the day rejected (failure store, dead letters), not the sources.",
)


def build(folder: Path | str) -> dict[str, DAG]:
    """The ingest DAGs of the project in `folder`, by id: daily, and hourly when a source says so."""
    project = project_at(folder)
    ids = {size: project.names.dag_id(str(facts["stage"])) for size, facts in _SIZES.items()}
    if not any(wanted(dag_id) for dag_id in ids.values()):
        return {}
    sources = _sources(project)
    dags = {}
    for size, dag_id in ids.items():
        of_size = [source for source in sources if source.partition == size]
        if wanted(dag_id) and (of_size or size == "day"):
            dags[dag_id] = _dag(Path(folder), project, dag_id, size, of_size)
    return dags


def _sources(project: Project) -> list[Source]:
    """The valid source files; an invalid one fails its own turn in the task, not the parse of the DAG."""
    sources = []
    for name in project.sources():
        try:
            sources.append(project.source(name))
        except ProjectFileError as error:
            log.warning("audit_ingest: %s", error)
    return sources


def _dag(folder: Path, project: Project, dag_id: str, size: str, sources: list[Source]) -> DAG:
    facts = _SIZES[size]
    streams = dict.fromkeys(source.stream for source in sources)
    outlets = [Asset(name=name, uri=uri) for name, uri in (project.names.stream_asset(stream) for stream in streams)]
    with DAG(
        dag_id,
        schedule=CronPartitionTimetable(facts["cron"], timezone="UTC", run_offset=-1, key_format=facts["key_format"]),
        **dag_arguments(
            project,
            sys.modules[__name__],
            tags=["ingest"],
            max_active_runs=8,
            # Counted from the queue, where the partitions of a backfill wait for one another.
            deadline=deadline(
                timedelta(hours=24), elastic_conn_id=project.settings.connections.ingest, alerts=project.names.alerts
            ),
            params={"day": _param(size), "replay": _REPLAY},
        ),
    ) as dag:
        BulkIngestOperator(
            task_id="ingest",
            elastic_conn_id=project.settings.connections.ingest,
            kibana_conn_id=project.settings.connections.kibana,
            project_folder=str(folder.resolve()),
            partition="{{ partition_key or params.day }}",
            replay="{{ params.get('replay') or '' }}",
            outlets=outlets,
        )
    return dag


def _param(size: str) -> Param:
    if size == "hour":
        return Param(
            None,
            type=["null", "string"],
            pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}$",
            description="UTC hour to ingest when triggered by hand, as 2026-11-10T13.",
        )
    return Param(
        None,
        type=["null", "string"],
        format="date",
        description="UTC day to ingest when triggered by hand, as 2026-11-10.",
    )
