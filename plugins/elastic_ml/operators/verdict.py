"""One person's verdict about one event, kept as the source of verdicts would keep it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import IngestError, InvalidRequestError, NotReadyError
from elastic_ml.links.kibana import DiscoverLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.kibana_pages import names_of, newest

if TYPE_CHECKING:
    from elastic_ml.lineage import DataLineage
    from elastic_ml.project.project import Project


class RecordVerdictOperator(ElasticBaseOperator):
    """Append a verdict to the verdict stream, then make it the event's latest in the lookup index.

    The writers are those of the labels source: `_bulk` `create` with the decision's id into the stream, then an
    `external_gte` write with the time of the decision. The decision's id and time are the run's, so a retry, or the
    same run cleared, adds nothing. A later decision about the event, from wherever, replaces an earlier one.

    :param project_folder: the project folder.
    :param event_id: the judged event (templated).
    :param verdict: `none`, `suspicious` or `confirmed` (templated).
    :param decided_by: who decided (templated).
    :param decided_at: ISO time of the decision (templated).
    :param reason: why (templated).
    :return: `{decision_id, event_id, verdict, event_time, user_id, decided_at, decided_by, duplicate}`.
    :raises NotReadyError: no stream holds the event, or nobody says who decided.
    :raises IngestError: the stream or the lookup index is missing or refused it.
    """

    template_fields: Sequence[str] = sorted_fields("decided_at", "decided_by", "event_id", "reason", "verdict")
    operator_extra_links = (DiscoverLink(),)

    def __init__(
        self,
        *,
        project_folder: str,
        event_id: str,
        verdict: str,
        decided_by: str = "{{ dag_run.triggering_user_name or '' }}",
        decided_at: str = "{{ dag_run.run_after.isoformat() }}",
        reason: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.event_id = event_id
        self.verdict = verdict
        self.decided_by = decided_by
        self.decided_at = decided_at
        self.reason = reason

    def pages(self, context: Any) -> Mapping[str, str]:
        """Every decision about the event."""
        names = names_of(self.project_folder)
        return {"DiscoverLink": newest(names.labels_stream, {"verdict.event_id": self.event_id})}

    def lineage(self) -> "DataLineage":
        """Return where events are looked up, the stream of verdicts, and the index of the latest ones."""
        from elastic_ml.lineage import DataLineage

        names = names_of(self.project_folder)
        return DataLineage(tuple(stream.name for stream in names.audit_streams), (names.labels_stream, names.labels))

    def execute(self, context: Any) -> dict[str, Any]:
        """Look the event up, write the verdict, and make it the latest."""
        from elastic_ml.ingest.labels import LatestVerdicts
        from elastic_ml.project import load_project
        from elastic_ml.registry.events import deterministic_id
        from elastic_ml.sources.verdicts import verdict_document

        project = load_project(self.project_folder)
        if not self.decided_by:
            raise NotReadyError(
                "Nobody says who decided: this run was triggered by nobody that Airflow knows.",
                remedy="Trigger it as a user, in the UI or with that user's token.",
            )
        event = self._event(project)
        ti = context["ti"]
        record = {
            "decision_id": deterministic_id("verdict", ti.dag_id, ti.run_id),
            "event_id": event["id"],
            "event_time": event["time"],
            "user_id": event["user"],
            "verdict": self.verdict,
            "decided_at": self.decided_at,
            "decided_by": self.decided_by,
            "reason": self.reason,
        }
        try:
            document = verdict_document(record)
        except ValueError as wrong:
            raise InvalidRequestError(
                f"This is no verdict: {wrong}.", remedy="Trigger it again with another."
            ) from wrong
        outcome = self._append(project, document)
        streams = [stream.name for stream in project.names.audit_streams]
        LatestVerdicts(self.client, project.names.labels, streams).write([document["verdict"]])
        self.log.info(
            "%s is %s, says %s%s.",
            self.event_id,
            self.verdict,
            self.decided_by,
            "; it was recorded before" if outcome == "duplicate" else "",
        )
        return {
            **{name: value for name, value in record.items() if name != "reason"},
            "decided_at": document["@timestamp"],
            "duplicate": outcome == "duplicate",
        }

    def _event(self, project: "Project") -> dict[str, str | None]:
        """Return id, time and user of the judged event.

        :raises NotReadyError: no audit stream holds it, nor history that is still to be sealed; or several do.
        """
        from elastic_ml.clients.documents import dig
        from elastic_ml.ingest.history import unsealed_history
        from elastic_ml.sources.verdicts import judged_user

        streams = [stream.name for stream in project.names.audit_streams]
        unsealed = [index.name for index in unsealed_history(self.client, streams)]
        # In streams of somebody else an event's id need not be its document's.
        either = [{"ids": {"values": [self.event_id]}}, {"term": {"event.id": self.event_id}}]
        hits = self.client.search(
            index=",".join([*streams, *unsealed]),
            query={"bool": {"filter": {"bool": {"should": either}}}},
            source={"includes": ["@timestamp", "event.id", "user.id"]},
            size=10,
            ignore_unavailable=True,
            allow_no_indices=True,
        )["hits"]["hits"]
        found = {
            (
                # Training joins by event.id where there is one.
                dig(hit["_source"], "event.id") or hit["_id"],
                hit["_source"].get("@timestamp"),
                judged_user(dig(hit["_source"], "user.id")),
            ): hit["_index"]
            for hit in hits
        }
        if len(found) == 1:
            ((event_id, time, user),) = found
            return {"id": event_id, "time": time, "user": user}
        if found:
            raise NotReadyError(
                f"Several events have the id {self.event_id}: in {', '.join(sorted(found.values()))}.",
                remedy="A verdict is about one event by its id; these sources must not share ids.",
            )
        raise NotReadyError(
            f"No event {self.event_id} is in {', '.join(streams)}.",
            remedy="Copy the id from the event's `_id` or event.id; if it was not ingested yet, trigger again later.",
        )

    def _append(self, project: "Project", document: dict[str, Any]) -> str:
        from elastic_ml.ingest.bulk import BulkWriter
        from elastic_ml.ingest.encoding import Chunk, Operation, create_action, encode
        from elastic_ml.ingest.stream import AuditStream

        stream = AuditStream(self.client, project.names.labels_stream)
        writer = BulkWriter(self.client, stream, lookup=stream.lookup)
        decision = str(document["event"]["id"])
        operation = Operation(decision, create_action(decision), encode(document))
        # Also in older backing indices, since `create` looks into the newest one only; a search sees what is refreshed.
        stream.refresh()
        result = writer.write(Chunk([operation]), check_ids=True)
        (outcome,) = result.outcomes
        if outcome == "rejected":
            reason = next(iter(result.reasons.values()), f"it lies in {stream.name}::failures")
            raise IngestError(
                f"{stream.name} did not take the verdict on {self.event_id}: {reason}.",
                remedy="Run elastic_setup with mode=verify, then clear this task.",
            )
        return "duplicate" if outcome == "duplicate" else "indexed"
