"""Run the benchmarks and print their figures: `python -m benchmarks [NAME ...]`."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

# Single Airflow tasks run without a database, as in the tests.
sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests")]

BENCHMARKS = {
    "starting": "how long the sandbox takes to import and start, and the DAG files to parse",
    "sandbox": "streaming_bulk beside an empty endpoint; memory, aggregations and gets on a million documents",
    "esql": "ES|QL of the panels and rules on a day of a million predictions",
    "dashboards": "every panel of the bundle on a day of a million predictions and the scored events behind them",
    "events": "synthetic events per second beside a plain Faker loop over the same fields",
    "ingest": "bulk ingest through the package beside helpers.parallel_bulk: same documents, same server, in turn",
    "backfill": "a backfill beside generating, parsing and bare parallel_bulk of the same events; --days N --data DIR",
    "analytics": "analytics jobs and inference in the sandbox, other requests meanwhile, and AUC beside xgboost tuned",
    "anomaly": "an anomaly job over 90 days of 15-minute buckets and 200 partitions, and requests while it runs",
    "models": "a hundred model files: parse time and serialised size, a task's own cost, one look of elastic_health",
    "logstash": "lines per second through the runner of the Logstash pipelines, by kind of line",
    "gate": "the demo's model for the demo's seed and nine others, through the product's own tasks",
}


def main() -> None:
    """Run what was named, or everything, one after the other."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Ratios side by side in one run; machines differ.",
        epilog="\n".join(f"  {name:10} {text}" for name, text in BENCHMARKS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *BENCHMARKS])
    if sys.argv[1:2] == ["backfill"]:
        # The only one with options of its own: it may take hours.
        importlib.import_module("benchmarks.backfill").run(sys.argv[2:])
        return
    for name in parser.parse_args().names or BENCHMARKS:
        print(f"\n{name}: {BENCHMARKS[name]}", flush=True)
        importlib.import_module(f"benchmarks.{name}").run()


if __name__ == "__main__":
    main()
