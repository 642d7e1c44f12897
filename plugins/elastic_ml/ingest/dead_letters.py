"""Records that became no document, kept where people look: reason, place and the first 32 KiB.

`record` says what `raw` holds: the `raw` record as the reader gave it, or the `document` that the adapter made of it
and that the index refused. A CSV row has the `header` of its file beside it, so that it can be read again by itself.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Literal

from elastic_ml.ingest.encoding import Operation, create_action, encode
from elastic_ml.sources.records import KEPT_BYTES, Rejected, timestamp


def dead_letter(
    rejected: Rejected,
    *,
    source: str,
    partition: str,
    environment: str,
    now: datetime,
    record: Literal["raw", "document"] = "raw",
) -> Operation:
    """The bulk operation that keeps one rejected record.

    Its id is a hash over source, partition, position and content: a second run of the partition finds it there, and two
    equal records at different places stay two.
    """
    data = rejected.data[:KEPT_BYTES]
    position = rejected.position.encode("utf-8", "replace")  # it may hold the name of a file, which is any bytes
    digest = hashlib.sha256(b"\0".join([source.encode(), partition.encode(), position, data]))
    event_id = digest.hexdigest()
    document = {
        "@timestamp": timestamp(now),
        "event": {"id": event_id, "kind": "event"},
        "event_type": "record_rejected",
        "status": "error",
        "environment": environment,
        "message": f"{source} {partition}, {rejected.position}: {rejected.reason}"[:2000],
        "reason": rejected.reason[:1000],
        "source": {"name": source},
        "partition": partition,
        "position": rejected.position,
        "labels": {"partition": f"{source}|{partition}"},
        "record": record,
        "raw": data.decode("utf-8", "replace"),
    }
    if rejected.header:
        document["header"] = rejected.header[:KEPT_BYTES].decode("utf-8", "replace")
    return Operation(event_id, create_action(event_id), encode(document))
