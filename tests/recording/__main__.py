"""Record the lifecycle's answers of a real stack: `python -m recording` (`make record`).

ELASTICSEARCH_URL names the stack, ELASTIC_API_KEY the key, ELASTIC_CA_CERTS its authority. Take a cluster that may be
thrown away: the clinic of the tests is set up on it, trained, promoted and left there.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import requests
from contract.lifecycle import live

from recording.exchanges import FOLDER, condensed, write
from recording.recorder import recording


def main() -> None:
    """Run the lifecycle through the recorder and write ``recordings/<version>.ndjson.gz``."""
    url = os.environ.get("ELASTICSEARCH_URL")
    if not url:
        sys.exit("ELASTICSEARCH_URL names no stack: ELASTICSEARCH_URL=https://... ELASTIC_API_KEY=... make record")
    with (
        recording(url, os.environ.get("ELASTIC_API_KEY"), os.environ.get("ELASTIC_CA_CERTS")) as recorder,
        tempfile.TemporaryDirectory() as directory,
    ):
        try:
            about = requests.get(recorder.elasticsearch_url, timeout=30).json()
        except (requests.RequestException, ValueError) as error:
            sys.exit(f"{url} did not answer as Elasticsearch does: {error}")
        if "version" not in about:
            sys.exit(f"{url} refused: {about}")
        if about["cluster_name"] == "elastic-sandbox":
            sys.exit(f"{url} is a sandbox: only a real stack has something to tell")
        flavor = about["version"].get("build_flavor", "default")
        name = "serverless" if flavor == "serverless" else about["version"]["number"]
        print(f"Recording the lifecycle on {name}; some minutes ...", flush=True)
        live(recorder, Path(directory))
    path = FOLDER / f"{name}.ndjson.gz"
    print(f"{write(path, condensed(recorder.exchanges))} exchanges in {path.relative_to(FOLDER.parents[1])}")


if __name__ == "__main__":
    main()
