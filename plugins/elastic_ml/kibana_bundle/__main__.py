"""`python -m elastic_ml.kibana_bundle PROJECT_FOLDER`: one file for Kibana's *Saved Objects, Import*, and its table.

Kibana 9.2 to 9.5 import it, by hand or by the DAG kibana_deploy; importing it again changes nothing. Needs no network.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from elastic_ml.exceptions import ElasticMLError
from elastic_ml.kibana_bundle.bundle import Bundle, build_bundle


def main(arguments: list[str] | None = None) -> int:
    """Write the bundle; 1 when a file is wrong, each problem with file, line, field and remedy."""
    parser = argparse.ArgumentParser(prog="python -m elastic_ml.kibana_bundle", description=__doc__)
    parser.add_argument("folder", help="the folder of project.yml")
    parser.add_argument("--out", type=Path, default=Path("build/kibana"), help="default: build/kibana")
    parser.add_argument("--airflow-url", help="where Airflow's pages are; default: kibana.airflow of project.yml")
    parser.add_argument("--check", action="store_true", help="only say what is wrong, write nothing")
    options = parser.parse_args(arguments)
    try:
        from elastic_ml.project import load_project

        bundle = build_bundle(load_project(options.folder), airflow_url=options.airflow_url)
    except ElasticMLError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command line
        return 1
    print(table(bundle))  # noqa: T201
    if not options.check:
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / f"{bundle.name}.ndjson"
        path.write_bytes(bundle.ndjson)
        print(f"{path}: {len(bundle.objects)} objects, {len(bundle.ndjson):,} bytes")  # noqa: T201
    return 0


def table(bundle: Bundle) -> str:
    """One line per object: what it is, its id, its title, and how many panels it has."""
    panels = {asset.name: len(asset.content.panels) for asset in bundle.assets.dashboards}
    rows = [("kind", "id", "title", "panels")]
    for one in bundle.objects:
        kind = str({"index-pattern": "data view"}.get(one["type"], one["type"]))
        title = one["attributes"].get("name") or one["attributes"]["title"]
        count = panels.get(one["id"].partition("-")[2]) if kind == "dashboard" else None
        rows.append((kind, one["id"], title, "" if count is None else str(count)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


if __name__ == "__main__":
    sys.exit(main())
