"""The scripts for Dev Tools: current, readable by Console, and right, line by line, on a cluster that is empty."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from console import syntax
from elastic_ml.console.__main__ import main
from elastic_ml.console.example import DAY, Example
from elastic_ml.console.script import Request, written
from elastic_ml.console.scripts import scripts
from elastic_ml.project import load_project
from elastic_ml.stages.pages import built
from elastic_sandbox.testing import Sandbox

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "platform": (ROOT / "kibana" / "platform" / "console", ROOT / "kibana" / "platform" / "console"),
    "lendpath": (ROOT / "include", ROOT / "kibana" / "lendpath" / "console"),
}
FILES = sorted(path for _, folder in FOLDERS.values() for path in folder.glob("*.console"))


# What stands there ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOLDERS)
def test_the_scripts_are_current(name: str) -> None:
    project, folder = FOLDERS[name]
    made = {script.name: script.text() for script in scripts(Example.of(load_project(project), folder))}
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.console")}
    assert there == made, f"python -m elastic_ml.console {project.relative_to(ROOT)} {folder.relative_to(ROOT)}"


def test_every_dag_has_a_script() -> None:
    dags = {dag.dag_id for dags in built(ROOT / "dags").values() for dag in dags}
    written_for = {path.stem.partition("-")[2] for path in FOLDERS["lendpath"][1].glob("*.console")}
    assert written_for == dags - {"audit_ingest_hourly"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_a_script_says_what_it_is_and_console_can_read_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    head = text.split("\n\n")[0]
    assert all(word in head for word in ("by hand.", "# When: ", "# Look at: ", "# The DAG: "))
    assert all(len(line) <= 118 for line in text.splitlines() if line.startswith("#"))
    found = list(syntax.requests(text))
    assert bool(found) != ("no counterpart by hand" in head or "Too long for a script" in " ".join(head.split()))
    for one in found:
        body = syntax.filled(one.body, {"model_id": "m"})
        for part in body.splitlines() if one.ndjson else [body] if body else []:
            assert isinstance(syntax.parsed(part), dict), f"line {one.line}"
    assert not re.search("lendpath", text, re.IGNORECASE) or path.parts[-3] == "lendpath"


def test_a_body_reads_as_it_was_written() -> None:
    body = {"a": 'say "x"', "script": 'if (a) {\n  return "b\\d";\n}', "list": [1, None, True, {"deep": ["ü" * 200]}]}
    assert syntax.parsed(written(body)) == body
    assert '"""if (a) {\n' in written(body)
    text = Request("POST", "/_bulk", [{"create": {}}, {"a": 1}], why="Two lines.").text()
    (one,) = syntax.requests(text)
    assert (one.said, one.body, one.ndjson) == ("Two lines.", '{"create": {}}\n{"a": 1}', True)


def test_the_command_writes_a_folder_and_deletes_what_is_gone(tmp_path: Path, capsys: Any) -> None:
    project = FOLDERS["platform"][0]
    (tmp_path / "50-anomalies_gone.console").write_text("# old\n")
    (tmp_path / "mine.txt").write_text("stays")
    assert main([str(project), str(tmp_path)]) == 0
    assert "mine.txt" in {path.name for path in tmp_path.iterdir()}
    assert not list(tmp_path.glob("*gone*"))
    (tmp_path / "sample.ndjson").write_text("{}\n")
    assert main([str(project), str(tmp_path)]) == 1
    assert "sample.ndjson:1: the line is no sample" in capsys.readouterr().err


def test_features_whose_type_nobody_knows_are_named_with_the_line_to_add(tmp_path: Path, capsys: Any) -> None:
    project, samples = FOLDERS["lendpath"][0], tmp_path / "sample.ndjson"
    written: list[str] = []
    for _ in range(len(list((project / "models").glob("*.yml")))):
        if main([str(project), str(tmp_path)]) == 0:
            break
        said = capsys.readouterr().err
        assert "features: nothing says of which type audit." in said
        assert "Add a line to sample.ndjson in the folder of the scripts" in said
        written.append(said[said.index('{"stream"') : said.rindex("}") + 1].replace('"..."', "1"))
        samples.write_text("\n".join(written))
    assert written
    assert list(tmp_path.glob("*.console"))
    verdict = next(path for path in tmp_path.glob("*.console") if "record_verdict" in path.name).read_text()
    assert '"user_id": "u1"' in verdict or '"user": {' in verdict


@pytest.mark.parametrize(
    "line", ["[]", '{"stream": "a", "document": {"audit": {"role": "x"}}}', '{"document": {}}', "{"]
)
def test_a_line_that_is_no_sample_is_told_its_shape(tmp_path: Path, capsys: Any, line: str) -> None:
    (tmp_path / "sample.ndjson").write_text(f"{line}\n")
    assert main([str(FOLDERS["lendpath"][0]), str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "sample.ndjson:1: the line is no sample" in said
    assert 'Write {"stream": "logs-...", "document": {"@timestamp": ' in said
    assert '"event": {"id": ' in said


def test_samples_that_are_no_utf_8_are_a_sentence(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "sample.ndjson").write_bytes(b"caf\xe9\n")
    assert main([str(FOLDERS["lendpath"][0]), str(tmp_path)]) == 1
    assert "sample.ndjson: cannot be read" in capsys.readouterr().err


# What it does --------------------------------------------------------------------------------------------------------


class Console:
    """Dev Tools of a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.variables: dict[str, str] = {}
        self.http = httpx.Client(headers={"kbn-xsrf": "console"}, timeout=60)
        self.answers: list[tuple[str, Any]] = []

    def send(self, method: str, path: str, body: Any) -> Any:
        base = self.sandbox.kibana_url if path.startswith("kbn:") else self.sandbox.elasticsearch_url
        arguments: dict[str, Any] = {} if body is None else {"json": body}
        if isinstance(body, list):
            lines = "".join(f"{json.dumps(line)}\n" for line in body)
            arguments = {"content": lines, "headers": {"content-type": "application/x-ndjson"}}
        answer = self.http.request(method, base + path.removeprefix("kbn:"), **arguments)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text[:600]}"
        is_json = answer.content and "json" in answer.headers.get("content-type", "")
        found = answer.json() if is_json else answer.text
        if isinstance(found, dict):
            assert not found.get("errors"), found
            assert not found.get("failures"), found
        self.answers.append((f"{method} {path}", found))
        if method == "GET" and "_stats" in path:
            time.sleep(0.05)
        return found

    def run(self, path: Path) -> None:
        try:
            count = syntax.run(path.read_text(encoding="utf-8"), self.send, self.variables)
        except Exception as error:
            raise AssertionError(f"{path.name} after {len(self.answers)} requests: {error}") from error
        assert count or "nothing to send" in path.read_text() or "Too long" in path.read_text()

    def last(self, ending: str) -> Any:
        return next(found for asked, found in reversed(self.answers) if ending in asked)


@pytest.fixture
def console(sandbox: Sandbox) -> Iterator[Console]:
    sandbox.backend.kibana.scheduler.by_hand = True
    made = Console(sandbox)
    with made.http:
        yield made


def left_over(console: Console) -> dict[str, Any]:
    get = lambda path: console.http.get(console.sandbox.elasticsearch_url + path).json()  # noqa: E731
    return {
        "streams": get("/_data_stream")["data_streams"],
        "pipelines": get("/_ingest/pipeline"),
        "templates": [one["name"] for one in get("/_index_template")["index_templates"] if one["name"] != "logs"],
    }


def test_the_platforms_scripts_run_in_their_order_on_an_empty_cluster(console: Console) -> None:
    for path in sorted(FOLDERS["platform"][1].glob("*.console")):
        console.run(path)
    assert left_over(console) == {"streams": [], "pipelines": {}, "templates": []}


@pytest.mark.long
def test_lendpaths_scripts_run_in_their_order_on_an_empty_cluster(console: Console) -> None:
    for path in sorted(FOLDERS["lendpath"][1].glob("*.console")):
        if path.name.startswith("10-"):
            seed(console)
        console.run(path)
        if "-promote_" in path.name:
            simulated = console.last("_simulate")["docs"]
            model = path.stem.partition("promote_")[2]
            scored = [doc["doc"]["_source"]["ml"][model] for doc in simulated]
            assert [one for one in scored if "score" not in one or "error" in one] == []
        if "-train_" in path.name and "outliers" not in path.name:
            evaluated = console.last("_evaluate")
            figures = evaluated.get("classification", {}).get("auc_roc") or evaluated["regression"]["r_squared"]
            assert figures["value"] > 0.8, path.name
    assert left_over(console)["streams"] == []


def seed(console: Console) -> None:
    """What the trainings learn from: events, user-hours and verdicts of the example's windows, easy to tell apart."""
    chance = random.Random(3)
    example = Example.of(load_project(FOLDERS["lendpath"][0]), FOLDERS["lendpath"][1])
    stream, pattern = example.samples[0]
    names = example.project.names
    lines: list[dict[str, Any]] = []
    end = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
    for number in range(400):
        harm = number % 4 == 0
        # The outliers' window ends with the day itself, all others two weeks before it.
        moment = end - timedelta(days=1 + number * 100 / 400, minutes=chance.randint(0, 600))
        event = json.loads(json.dumps(pattern))
        event["@timestamp"] = moment.isoformat()
        event["event"]["id"] = f"seed-{number}"
        records = chance.randint(50, 90) if harm else chance.randint(1, 40)
        event["audit"] |= {"records": records, "vpn": harm, "session_event": chance.randint(1, 30)}
        event["session"] = {"id": f"s{number}", "duration": 60.0 * event["audit"]["session_event"] + chance.random()}
        lines += [{"create": {"_index": stream, "_id": f"seed-{number}"}}, event]
        hour = f"u{number}|{moment:%Y-%m-%dT%H}"
        features = {
            "@timestamp": moment.replace(minute=0, second=0, microsecond=0).isoformat(),
            "user": {"id": f"u{number}"}, "user_hour": hour, "event": {"dataset": "lendpath.user_hour"},
        }  # fmt: skip
        for name in example.types(example.project.model("privileged_access")):
            *parents, last = name.split(".")
            inner = features
            for parent in parents:
                inner = inner.setdefault(parent, {})
            inner[last] = bool(number % 2) if last.startswith("has_") else chance.randint(0, 5) + (40 if harm else 0)
        lines += [{"index": {"_index": names.features, "_id": hour}}, features]
        verdict, rank = ("confirmed", 2) if harm else ("suspicious", 1) if number % 4 == 1 else ("none", 0)
        lines += [
            {"index": {"_index": names.labels, "_id": f"seed-{number}"}},
            {"event": {"id": f"seed-{number}"}, "user_hour": hour, "verdict": verdict, "rank": rank,
             "decided_at": (moment + timedelta(days=2)).isoformat()},
        ]  # fmt: skip
    console.send("POST", "/_bulk?refresh=true", lines)
