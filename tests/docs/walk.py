"""Which pages the long walk follows, step by step: every block of shell that the suite does not run."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import requests

from docs import adopting_walk
from docs.adopting_walk import day
from docs.pages import ROOT, Block, blocks
from docs.reader_world import World, wait_until
from docs.steps import Sees, Step, Walk


def prints(**said: str) -> Sees:
    """A check: a command with the word in it prints what matches; ``__`` in a word is a blank."""

    def sees(world: World, line: str, shown: str) -> None:
        for word, pattern in said.items():
            if word.replace("__", " ") in line:
                assert re.search(pattern, shown, re.MULTILINE), f"{line!r} does not print {pattern!r}: {shown[-3000:]}"

    return sees


def types(where: str, text: str) -> Callable[[World], None]:
    """What a page takes for granted, typed before a block."""

    def before(world: World) -> None:
        for line in text.splitlines():
            world.terminal(where).type(world.here(line))

    return before


def data_is_made(world: World, line: str, said: str) -> None:
    if "generate" in line:
        made = [path.name for path in (world.clone / "build/data").iterdir()]
        assert sorted(made) == ["internal_audit", "oracle_audit", "ping_one", "verdicts"]
        assert all(len(list((world.clone / "build/data" / source).iterdir())) >= 30 for source in made)
    if "names" in line:
        shipped = (ROOT / "include" / "names.csv").read_text()
        assert (world.clone / "include/names.csv").read_text() == shipped, "the shipped table is what the page makes"
    if "card" in line:
        for name in re.findall(r"\(images/(data-\w+\.svg)\)", (ROOT / "docs" / "data.md").read_text()):
            assert (world.clone / "docs/images" / name).stat().st_size > 5_000


def bundle_is_there(world: World, line: str, said: str) -> None:
    folder = world.clone / "build/kibana" if line.startswith("make") else world.folder / "repository"
    [bundle] = folder.glob("*.ndjson")
    kinds = [json.loads(one).get("type") for one in bundle.read_text().splitlines()]
    assert "dashboard" in kinds
    assert str(bundle.name) in said, "it prints what is in it"


def kibana_has_it(world: World, line: str, said: str) -> None:
    url = f"{world.kibana}/api/saved_objects/_export"
    answer = requests.post(url, json={"type": "dashboard"}, headers={"kbn-xsrf": "walk"}, timeout=60)
    answer.raise_for_status()
    assert "Model operations" in answer.text
    assert re.search(r"^dashboard +\S+ +(created|unchanged|changed|left)", said, re.MULTILINE), said


def samples_lie_beside(world: World) -> None:
    """The documents of which the page says that types of `audit.*` are read from them."""
    hits = world.search("logs-shop.audit-default/_search", size=100)["hits"]["hits"]
    scripts = world.folder / "repository/scripts"
    scripts.mkdir()
    lines = [json.dumps({"stream": "logs-shop.audit-default", "document": hit["_source"]}) for hit in hits]
    (scripts / "sample.ndjson").write_text("\n".join(lines))


def scripts_are_written(world: World, line: str, said: str) -> None:
    scripts = [path for path in (world.folder / "repository/scripts").rglob("*") if path.is_file()]
    assert any("promote" in path.name for path in scripts), scripts


def certificate(world: World) -> None:
    """The receiver's certificate, and the authority that Logstash's would be checked with."""
    terminal = world.terminal("clone receiver")
    terminal.type(". .venv/bin/activate")
    terminal.type(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
        " -keyout receiver.key -out receiver.crt 2>/dev/null && cp receiver.crt ca.crt"
    )


def receiver_refuses(world: World, line: str, said: str) -> None:
    if "webhook_receiver" not in line:
        return
    terminal = world.terminal("clone receiver")
    context = ssl.create_default_context(cafile=str(world.clone / "receiver.crt"))
    url = f"https://127.0.0.1:{world.ports['receiver_port']}/"

    def status() -> int:
        terminal.stays()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, b"{}"), timeout=5, context=context) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code
        except urllib.error.URLError:
            return 0

    assert wait_until(status, "the receiver to listen") == 401, "what nobody signed is refused"


def log_lines(world: World) -> None:
    """The lines that the page shows as of the common kind, in the file that its commands read."""
    world.terminal("clone logstash").type(". .venv/bin/activate")
    page = (ROOT / "docs" / "logstash.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"<!-- lines: ml.registry -->\n```text\n(.*?)```", page, re.DOTALL)
    (world.clone / "lines.log").write_text(shown)


def logstash_understands(world: World, line: str, said: str) -> None:
    if line.startswith("make"):
        assert "all golden events come out as written" in said
    elif " lint " in line:
        assert "nothing to mend" in said
    elif "--elasticsearch" in line:
        query = {"term": {"model_name": "fraud"}}
        found = world.search("logs-ml.registry-default/_search", query=query)["hits"]["hits"]
        assert [hit["_source"]["event_type"] for hit in found] == ["transitioned"]
    else:
        documents = [json.loads(each) for each in said.splitlines() if each.startswith("{")]
        assert [one["document"]["event_type"] for one in documents] == ["transitioned", "predict"]


def own_cluster(world: World, which: str) -> str:
    """A sandbox for a page alone: projects with the same prefix share no cluster; returns the line that names it."""
    port, kibana_port = world.ports[f"{which}_port"], world.ports[f"{which}_kibana_port"]
    terminal = world.terminal(f"clone {which}")
    terminal.begin(f"make sandbox PORT={port} KIBANA_PORT={kibana_port}")
    wait_until(lambda: f"{port}" in terminal.shown(), "the sandbox to say where it is")
    url = f"http://127.0.0.1:{port}"
    return f"""export AIRFLOW_CONN_ELASTICSEARCH_DEFAULT='{{"conn_type": "elastic", "host": "{url}"}}'"""


def lendpath_airflow(world: World) -> None:
    """In a clone: an Airflow whose database is there, and the connections."""
    cluster = own_cluster(world, "third")
    terminal = world.terminal("clone lendpath")
    terminal.type(". .venv/bin/activate")
    terminal.type(
        "export AIRFLOW_HOME=$PWD/.airflow AIRFLOW__CORE__DAGS_FOLDER=$PWD/dags AIRFLOW__CORE__LOAD_EXAMPLES=False"
    )
    terminal.type(cluster)
    terminal.type("airflow db migrate")


def day_is_told(world: World, line: str, said: str) -> None:
    if "audit_ingest" in line:
        assert re.search(r"source +stream +read +indexed +duplicate +rejected", said), said[-3000:]
        assert re.search(r"internal_audit +logs-lendpath.audit-lendpath +[1-9][0-9,]* ", said), said[-3000:]


def shop_airflow(world: World) -> None:
    """Airflow as docs/adopting.md sets it up, in a folder of its own."""
    terminal = world.terminal("shop")
    terminal.type(". ../repository/.venv/bin/activate")
    terminal.type(". ../repository/env.sh")
    terminal.type(own_cluster(world, "other"))
    terminal.type("airflow db migrate")


def source_is_added(world: World) -> None:
    """The page's source in the repository whose Airflow has a scheduler; what that had before has no January."""
    sources = world.folder / "repository/include/sources"
    shutil.copy(world.folder / "shop/include/sources/refunds.yml", sources)
    audit = sources / "audit.yml"
    audit.write_text(audit.read_text().replace("start_date: 2026-01-01", f"start_date: {day(19)}"))


def refunds_are_told(world: World, line: str, said: str) -> None:
    """The page's own table, then its second one."""
    if "audit_ingest" not in line:
        return
    page = (ROOT / "docs" / "adding-a-source.md").read_text(encoding="utf-8")
    tables = re.findall(r"<!-- printed -->\n```text\n(.*?)```", page, re.DOTALL)
    # The second time the day is read, the log lies behind that of the first in the terminal.
    again = world.terminal("shop").shown().count("refunds   logs-shop.audit-default") - 1
    for row in tables[again].splitlines():
        assert row in said, f"{row!r} is not in what it prints: {said[-3000:]}"


def months_are_sealed(world: World, line: str, said: str) -> None:
    if "backfill" not in line:
        return

    def over() -> bool:
        runs = [run for run in world.airflow.runs("audit_ingest") if str(run["partition_key"]).startswith("2026-01-")]
        assert not [run for run in runs if run["state"] == "failed"]
        return len(runs) == 31 and all(run["state"] == "success" for run in runs)

    wait_until(over, "the 31 days of January to be loaded")
    found = world.search("logs-shop.audit-default/_search", query={"term": {"event.action": "refund"}})["hits"]["hits"]
    assert sorted(hit["_id"] for hit in found) == ["r-1001", "r-1002"], "nothing is ever in the stream twice"


def zip_steps(page: str) -> Iterator[tuple[Block, Step | None]]:
    """The blocks of a page that the walk takes, with their steps; without one, where they are files that it shows.

    :raises AssertionError: a block has no step, or a step no block.
    """
    walk = WALK[page]
    left = list(walk.steps)
    for block in blocks(ROOT / page):
        if block.marker == "not run":
            continue
        if block.language == "shell":
            assert left, f"{block}: the walk of this page has no step for it; add one to {Path(__file__).name}"
            step = left.pop(0)
            assert block.text.startswith(step.starts), f"{block} is not the block of the step {step.starts!r}"
            yield block, step
        elif walk.files and block.file and block.language in {"yaml", "json"}:
            yield block, None
    assert not left, f"{page} has no block for the step {left[0].starts!r}"


WALK: dict[str, Walk] = {
    "docs/adopting.md": adopting_walk.WALK,
    "README.md": Walk(
        (
            Step("make demo", "clone pages", prints(docs="No issues found|Build finished")),
            Step(
                "python -m elastic_ml init",
                "readme",
                prints(check="include is right", doctor="All [0-9]+ checks passed"),
                before=types("readme", ". ../repository/.venv/bin/activate\n. ../repository/env.sh"),
            ),
            Step("make demo ELASTICSEARCH_URL", "clone pages"),
        )
    ),
    "CONTRIBUTING.md": Walk((Step("make test", "clone pages", prints(help=r"^ +demo +Run the whole lifecycle")),)),
    "docs/command-line.md": Walk(
        (
            Step(
                "pip install",
                "repository pages",
                prints(check="include is right", verify="Project shop on"),
                before=types("repository pages", ". .venv/bin/activate\n. env.sh"),
            ),
        )
    ),
    "docs/connections.md": Walk(
        (
            Step("export AIRFLOW_CONN", "repository pages"),
            Step("python -m elastic_ml roles", "repository pages", prints(doctor="All [0-9]+ checks passed")),
        )
    ),
    "docs/dashboards.md": Walk(
        (
            Step("make kibana-bundle", "clone pages", bundle_is_there),
            Step("python -m elastic_ml.kibana_bundle", "repository pages", bundle_is_there),
        )
    ),
    "docs/data.md": Walk(
        (
            Step(
                "python -m lendpath generate",
                "clone data",
                data_is_made,
                before=types("clone data", ". .venv/bin/activate"),
            ),
        )
    ),
    "docs/kibana.md": Walk(
        (
            Step("make kibana-deploy", ("clone pages", "repository pages"), kibana_has_it),
            Step("python -m elastic_ml.console", "repository pages", scripts_are_written, before=samples_lie_beside),
        )
    ),
    "docs/logstash.md": Walk(
        (
            Step(
                "export MLFLOW_WEBHOOK_SECRET",
                "clone receiver",
                receiver_refuses,
                before=certificate,
                stays="webhook_receiver.py",
            ),
            Step("make logstash-test", "clone logstash", logstash_understands, before=log_lines),
        )
    ),
    "docs/project-folder.md": Walk(
        (Step("airflow dags test", "clone lendpath", day_is_told, before=lendpath_airflow),)
    ),
    "docs/adding-a-source.md": Walk(
        (
            Step("python -m elastic_ml init", "shop", before=shop_airflow),
            Step("python -m elastic_ml check", "shop", prints(check="include is right")),
            Step("airflow dags test elastic_setup", "shop", refunds_are_told),
            Step("airflow dags test audit_ingest", "shop", refunds_are_told),
            Step("airflow backfill create", "repository second", months_are_sealed, before=source_is_added),
        ),
        files="shop",
    ),
}
"""In the order in which they are walked: the other pages find what the first has set up."""
