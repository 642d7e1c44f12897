"""One worker of test_chaos_ingest_faults.py: ingests one partition in a process of its own, which may be killed.

    python ingest_worker.py URL PROJECT_FOLDER SOURCE PARTITION OWNER

Prints `writing` before the first bulk request, and the four figures as JSON at the end.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

from elastic_ml.clients.elasticsearch import connect
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.ingest.encoding import ChunkSize
from elastic_ml.ingest.partition import PartitionIngest
from elastic_ml.project import load_project
from elastic_ml.sources.partition import Partition


def main(url: str, folder: str, source: str, partition: str, owner: str) -> None:
    """Run one attempt."""
    project = load_project(Path(folder))
    attempt = PartitionIngest(
        connect(ElasticsearchSettings(url=url, http_compress=False)),
        project,
        project.source(source),
        Partition.parse(partition),
        owner=owner,
        backoff_seconds=0.02,
        # Many small requests, so that one in twenty is a number worth speaking of.
        size=ChunkSize(documents=50, most=50),
        lease_ttl=timedelta(seconds=5),
        wait_for_lease=timedelta(seconds=60),
    )
    print("writing", flush=True)
    print(json.dumps(attempt.run()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
