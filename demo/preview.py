"""Every dashboard of the project as a picture: `python -m demo.preview`, or `make preview`.

They are drawn by the sandbox's Kibana from what `make demo` left behind, or else from an empty cluster, with a month of
generated operations events on top (`--as-is`: without them), and photographed by Chromium.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import pi, sin
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from demo.airflow_server import ROOT
from elastic_ml.exceptions import ElasticMLError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.project import Project

DEMO = ROOT / "build" / "demo" / "elastic"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_VERSIONS = {
    "audit_fraud": ("audit_fraud-20261001-1f0a2b3c-1759300000000", "audit_fraud-20261115-9d8e7f6a-1763200000000"),
    "privileged_access": ("privileged_access-20261012-5c4d3e2f-1760200000000",),
}
NO_BROWSER = (
    "No Chromium was found, which takes the pictures: install the package chromium, or name one with CHROMIUM=/path. "
    "`make sandbox` shows the same pages in any browser."
)
_WIDTH = 1440


def main(arguments: list[str] | None = None) -> int:
    """Draw all dashboards; 1 where that cannot be done, with a sentence that says why."""
    parser = argparse.ArgumentParser(prog="python -m demo.preview", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "preview", help="folder of the pictures")
    parser.add_argument("--dark", action="store_true", help="as people see it who prefer dark pages")
    parser.add_argument("--as-is", action="store_true", help="what the demo left, and nothing on top")
    options = parser.parse_args(arguments)
    browser = find_browser()
    if browser is None:
        print(NO_BROWSER, file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        for path in previews(browser, options.out, dark=options.dark, as_is=options.as_is):
            print(path)
    except (ElasticMLError, OSError, requests.RequestException, subprocess.SubprocessError) as failure:
        print(f"The dashboards could not be drawn: {failure}", file=sys.stderr)
        return 1
    return 0


def find_browser() -> str | None:
    """The browser that CHROMIUM names, else the first that is installed."""
    return os.environ.get("CHROMIUM") or next((found for name in BROWSERS if (found := shutil.which(name))), None)


def photograph(browser: str, url: str, picture: Path, *, height: int, dark: bool = False) -> None:
    """Save a page as a PNG.

    :raises SubprocessError: the browser failed, or needed more than a minute.
    """
    with tempfile.TemporaryDirectory() as profile:
        # Without a sandbox of its own only as root, who can have none.
        own = ["--no-sandbox"] if os.geteuid() == 0 else []
        own += ["--blink-settings=preferredColorScheme=0", "--force-dark-mode"] if dark else []
        own += [f"--user-data-dir={profile}", f"--window-size={_WIDTH},{height}", f"--screenshot={picture}"]
        command = [browser, "--headless=new", "--disable-gpu", "--hide-scrollbars", "--no-first-run", *own, url]
        subprocess.run(command, check=True, timeout=60, capture_output=True)
    if not picture.exists():
        raise subprocess.SubprocessError(f"{browser} wrote no picture of {url}")


def previews(browser: str, folder: Path, *, dark: bool = False, as_is: bool = False) -> Iterator[Path]:
    """Serve a sandbox with data, deploy the project's bundle and yield a picture of each dashboard.

    :param as_is: write no events of our own.
    """
    from elastic_ml.clients.elasticsearch import connect
    from elastic_ml.clients.settings import ElasticsearchSettings
    from elastic_ml.kibana_bundle import build_bundle
    from elastic_ml.project import load_project
    from elastic_sandbox.testing import serve

    project = load_project(ROOT / "include")
    bundle = build_bundle(project)
    with tempfile.TemporaryDirectory() as copy, serve(data=_demo_data(Path(copy))) as sandbox:
        client = connect(ElasticsearchSettings(url=sandbox.elasticsearch_url))
        if not as_is:
            fill(client, project, datetime.now(UTC))
        deploy(sandbox.kibana_url, project)
        for one in bundle.objects:
            if one["type"] != "dashboard":
                continue
            url = f"{sandbox.kibana_url}/app/dashboards/view/{one['id']}"
            picture = folder / f"{one['id']}.png"
            photograph(browser, url, picture, height=_height(one), dark=dark)
            yield picture


def _demo_data(copy: Path) -> Path | None:
    """A copy of what the tour left; None where there is nothing, or a sandbox still writes to it."""
    if not (DEMO / "sandbox.duckdb").exists() or (DEMO / "sandbox.duckdb.wal").exists():
        return None
    return Path(shutil.copytree(DEMO, copy / "elastic"))


def _height(dashboard: dict[str, Any]) -> int:
    import json

    panels = json.loads(dashboard["attributes"]["panelsJSON"])
    return 230 + 28 * max(panel["gridData"]["y"] + panel["gridData"]["h"] for panel in panels)


def deploy(kibana_url: str, project: Project) -> None:
    """Deploy the project's dashboards and rules as `make kibana-deploy` does."""
    from elastic_ml.clients.kibana import KibanaClient
    from elastic_ml.clients.settings import KibanaSettings
    from elastic_ml.kibana.deployment import Deployment
    from elastic_ml.kibana_bundle import build_bundle

    with KibanaClient(KibanaSettings(url=kibana_url)) as client:
        Deployment(client, project, build_bundle(project).objects, mode="apply").run().raise_for_state()


def fill(client: Elasticsearch, project: Project, now: datetime) -> None:
    """Set the cluster up and write a month of operations events, with a bad hour, a drift and a failed deployment."""
    from elasticsearch.helpers import bulk

    from elastic_ml.clients.elasticsearch import server_facts
    from elastic_ml.project.setup import run_setup

    run_setup(client, project, server_facts(client), mode="apply")
    names = project.names
    streams = {
        kind: getattr(names, kind) for kind in ("predictions", "health", "drift", "registry", "alerts", "dead_letter")
    }
    documents = (
        {"_op_type": "create", "_index": streams[kind], "_source": one} for kind, one in operations_events(now)
    )
    bulk(client, documents, chunk_size=2000, refresh=True)
    for name, versions in _VERSIONS.items():
        for version in versions:
            key = f"{name}@{version}"
            body = {"model_key": key, "baseline_p99_ms": 24.0}
            client.index(index=names.baselines, id=key, document=body, refresh=True)


def operations_events(now: datetime, seed: int = 3) -> Iterator[tuple[str, dict[str, Any]]]:
    """(stream, event) of a month: predictions and states of two days, the rest of thirty."""
    generator = random.Random(seed)  # noqa: S311 (a picture, no secret)
    for step in range(2 * 288):
        at = now - timedelta(minutes=5 * step + 2)
        for name, versions in _VERSIONS.items():
            about = {"model_name": name, "model_version": versions[0 if step > 300 else -1], "provider": "pipeline"}
            yield from _predictions(at, about, generator, bad=name == "audit_fraud" and 60 <= step <= 72)
        if step % 6 == 0:
            yield from _states(at, step, generator)
    yield from _drift(now, generator)
    for days, name, event, status, who in _REGISTRY:
        yield (
            "registry",
            {
                **_event(now - timedelta(days=days), event, status),
                "model_name": name,
                "model_version": _VERSIONS[name][-1],
                "previous_version": _VERSIONS[name][0],
                "stage": "production",
                "user": {"name": who} if who else None,
                "metrics": {"auc_roc": 0.91, "average_precision": 0.44},
                "reason": "approved" if who else "schedule",
            },
        )
    for hours, severity, name, state in _ALERTS:
        at = now - timedelta(hours=hours)
        noticed = {"event": {"ingested": at.isoformat(), "kind": "alert"}, "severity": severity, "name": name}
        yield "alerts", {**_event(at, "alert"), **noticed, "state": state, "message": f"{name}: audit_fraud"}
    for number in range(40):
        reason = generator.choice(["not JSON", "no timestamp", "unterminated multi-line record"])
        source, at = generator.choice(["ping_one", "oracle"]), now - timedelta(hours=number * generator.uniform(0.5, 4))
        refused = {"source": {"name": source}, "reason": reason, "position": str(number)}
        yield "dead_letter", {**_event(at, "rejected"), **refused}


_REGISTRY = (
    (27, "audit_fraud", "registered", "success", None),
    (26.9, "audit_fraud", "deployed", "success", "ana"),
    (20, "privileged_access", "registered", "success", None),
    (19, "privileged_access", "rejected", "success", "ben"),
    (12, "privileged_access", "deployed", "success", "ana"),
    (6, "audit_fraud", "evaluated", "success", None),
    (5.5, "audit_fraud", "deployed", "error", "ana"),
    (5.2, "audit_fraud", "deployed", "success", "ana"),
    (3, "privileged_access", "rolled_back", "success", "ben"),
)
_ALERTS = (
    (50, "P2", "No predictions", "open"),
    (48, "P2", "No predictions", "recovered"),
    (5, "P1", "More than 5 % of predictions failed", "open"),
)


def _event(at: datetime, kind: str, status: str = "success") -> dict[str, Any]:
    return {"@timestamp": at.isoformat(), "event_type": kind, "status": status, "environment": "production"}


def _predictions(
    at: datetime, about: dict[str, Any], generator: random.Random, *, bad: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    hour = at.hour + at.minute / 60
    count = max(1, int((60 + 50 * sin((hour - 8) * pi / 12)) * generator.uniform(0.8, 1.2)))
    failed = int(count * (0.09 if bad else generator.choice([0, 0, 0, 0.01])))
    latency = max(generator.gauss(13, 2) * (3.4 if bad else 1), 2.0)
    yield "predictions", {**_event(at, "predict"), **about, "count": count - failed, "latency_ms": latency}
    if failed:
        yield "predictions", {**_event(at, "predict", "error"), **about, "count": failed}
    yield "predictions", {**_event(at, "heartbeat"), **about, "expected": count, "min_expected": 5}


def _states(at: datetime, step: int, generator: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    def state(kind: str, name: str, status: str = "success", **more: Any) -> tuple[str, dict[str, Any]]:
        return "health", {**_event(at, "health", status), "kind": kind, "name": name, **more}

    for node, base in (("node-1", 71), ("node-2", 64), ("node-3", 83)):
        value = base - step / 60 + generator.uniform(-0.5, 0.5)
        yield state("disk", node, "error" if value > 80 else "success", value=value, limit=80)
    for stream, size, age in (
        ("lendpath.audit", 4.2e10, 40),
        ("ping_one.audit", 1.1e10, 4000),
        ("oracle", 2.3e10, 190_000),
    ):
        yield state("stream", f"logs-{stream}-lendpath", value=size - step * 1e7, age_seconds=age, state="open")
    yield state("job", "lendpath-failed-logins", state="opened")
    yield state("transform", "features-lendpath.user_hour", state="started")
    yield state("credential", "elasticsearch_default", "error", state="expiring", value=9, limit=14)


def _drift(now: datetime, generator: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    features = {"audit_fraud": ("event.action", "audit.hour", "audit.amount", "_score"),
                "privileged_access": ("events", "failures", "_score")}  # fmt: skip
    for day in range(30):
        at = (now - timedelta(days=day + 1)).replace(hour=0, minute=0, second=0, microsecond=0)
        for name, inputs in features.items():
            about = {**_event(at, "drift"), "model_name": name, "model_version": _VERSIONS[name][-1]}
            for feature in inputs:
                psi = abs(generator.gauss(0.03, 0.02)) + (0.25 if feature == "audit.amount" and day < 6 else 0)
                yield "drift", {**about, "feature": feature, "psi": psi, "limit": 0.2, "breached": psi > 0.2}
            for feature, low, high in (("_coverage", 0.985, 1), ("_precision", 0.4, 0.6)):
                value = generator.uniform(low, high)
                yield "drift", {**about, "feature": feature, "value": value, "limit": 0.3, "breached": False}


if __name__ == "__main__":
    sys.exit(main())
