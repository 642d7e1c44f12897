"""Which connection asks Elasticsearch and Kibana for what: every task of every DAG, with a key per connection role.

PYTHONPATH=tests python -m rights.recording      # walks the story of tests/matrix (minutes), writes calls.json

The sandbox lets every key do everything, so that nothing fails here; the calls are judged against the roles in
tests/elastic_ml/rights.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import yaml
from harness.specification import specification

from rights.targets import Target, targets_of

if TYPE_CHECKING:
    from elastic_sandbox.testing import LoggedRequest

CALLS = Path(__file__).parent / "calls.json"
RARE = Path(__file__).parent / "rare.yml"
CONNECTIONS = {"setup": "es_setup", "ingest": "es_ingest", "learn": "es_learn", "read": "es_read"}
KIBANA = "kibana"


class Call(NamedTuple):
    """One kind of request: with whose key, of which task, for which API, and what it touches."""

    role: str
    task: str
    api: str
    targets: tuple[Target, ...]


def key_of(role: str) -> str:
    """The encoded API key of a role's connection: it says the role."""
    return base64.b64encode(f"{role}:secret".encode()).decode()


def role_of(entry: LoggedRequest) -> str | None:
    """The role whose key a request carries."""
    kind, _, key = entry.headers.get("authorization", "").partition(" ")
    return base64.b64decode(key).decode().partition(":")[0] if kind.lower() == "apikey" else None


def connections(elasticsearch_url: str, kibana_url: str) -> dict[str, dict[str, Any]]:
    """Airflow connections by id, each with the key of its role."""
    found: dict[str, dict[str, Any]] = {
        conn_id: {"conn_type": "elastic", "host": elasticsearch_url, "extra": json.dumps({"api_key": key_of(role)})}
        for role, conn_id in CONNECTIONS.items()
    }
    kibana = {"conn_type": "kibana", "host": kibana_url, "extra": json.dumps({"api_key": key_of(KIBANA)})}
    return {**found, "kibana_default": kibana}


def calls_of(entries: Iterable[LoggedRequest], task: str = "") -> Iterator[Call]:
    """The requests to Elasticsearch that carried the key of a role, as calls of APIs.

    :param task: of requests that do not say theirs.
    """
    spec = specification()
    for entry in entries:
        if role := role_of(entry):
            found = spec.api_of(entry.method, entry.path)
            assert found is not None, f"{entry.method} {entry.path} is no API"
            yield Call(role, _task_of(entry) or task, found.api, targets_of(found, entry))


def kibana_calls_of(entries: Iterable[LoggedRequest], task: str = "") -> Iterator[Call]:
    """The requests to Kibana that carried the key of its connection: method and path without ids for an API."""
    for entry in entries:
        if role_of(entry) == KIBANA:
            yield Call(KIBANA, _task_of(entry) or task, f"{entry.method} {_without_ids(entry.path)}", ())


def _task_of(entry: LoggedRequest) -> str:
    """Every request of an operator says `dag/run/task`; a reindex says which one it is, a hook alone nothing."""
    said = entry.headers.get("x-opaque-id", "").split("/")
    return f"{said[0]}/{said[-1]}" if len(said) > 2 else ""


def _without_ids(path: str) -> str:
    path = re.sub(r"^/s/[^/]+", "", path)
    return re.sub(r"/(rule|connector|data_view|space)/(?!_)[^/]+", r"/\1/{id}", path)


def walked(folder: Path, progress: Callable[[str], None] = lambda step: None) -> Iterator[Call]:
    """The calls of the whole story of tests/matrix, each step from where the one before it ended."""
    from matrix.story import STORY
    from matrix.walk import beginning
    from matrix.world import Checkpoint, World, opened

    here = beginning(folder / "begin")
    project = here.home / "include" / "project.yml"
    project.write_text(f"{project.read_text()}connections: {json.dumps(CONNECTIONS)}\n")
    with mock.patch.object(World, "runner", _with_keys(World.runner)):
        for number, step in enumerate(STORY):
            progress(step.name)
            with opened(here, folder / "work") as world:
                step.before(world)
                step.each_time(world)
                runner = world.runner(step.dag, step.task, params=step.params_in(world))
                # This one would put the new key into the one connection that the story knows.
                rotates = step.dag == "elastic_rotate_credentials"
                result = runner.complete() if rotates else step.complete(runner)
                assert result.state == step.ends, (step.name, result.state, result.error)
                assert len(world.sandbox.requests) < 2000, f"{step.name}: the log holds no more, requests are lost"
                yield from calls_of(world.sandbox.requests, f"{step.dag}/{step.task}")
                yield from kibana_calls_of(world.sandbox.kibana_requests, f"{step.dag}/{step.task}")
                world.keep(step.dag, step.task, result)
                after = Checkpoint(folder / f"{number}", world.xcoms, world.sandbox.clock.now())
                world.keep_at = None if step.aside else after.home
            if not step.aside:
                shutil.rmtree(here.home)
                here = after


def _with_keys(of: Callable[..., Any]) -> Callable[..., Any]:
    def runner(world: Any, *args: Any, **more: Any) -> Any:
        made = of(world, *args, **more)
        made.connections = connections(world.sandbox.elasticsearch_url, world.sandbox.kibana_url)
        return made

    return runner


def read() -> list[Call]:
    """The calls as they were recorded."""
    return _calls(json.loads(CALLS.read_text(encoding="utf-8")))


def declared() -> list[Call]:
    """The calls of rare.yml, with the occasion for a task."""
    return _calls(yaml.safe_load(RARE.read_text(encoding="utf-8")))


def _calls(rows: Any) -> list[Call]:
    return [
        Call(role, task, api, tuple(Target(*target.split(" ", 1)) for target in targets))
        for role, tasks in rows.items()
        for task, apis in tasks.items()
        for api, variants in apis.items()
        for targets in variants
    ]


def written(calls: Iterable[Call]) -> str:
    """The calls as JSON: role → task → API → the targets of each kind of request."""
    rows: dict[str, Any] = {}
    for call in sorted(set(calls)):
        variants = rows.setdefault(call.role, {}).setdefault(call.task, {}).setdefault(call.api, [])
        variants.append([" ".join(target) for target in call.targets])
    whole = json.dumps(rows, indent=1)
    # An API a line: its targets are read across, and a change shows as one line.
    return re.sub(r"\[[^{}]*?\]\n? *(?=,\n +\"|\n +\})", lambda found: " ".join(found[0].split()), whole) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        CALLS.write_text(written(walked(Path(home), lambda step: print(step, file=sys.stderr, flush=True))))
