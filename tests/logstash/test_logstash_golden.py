"""The shipped pipelines make of each golden input what is written down beside it."""

import json
from pathlib import Path

from shipped_pipelines.world import PIPELINES

from elastic_sandbox.logstash import golden
from elastic_sandbox.logstash.__main__ import main

FOLDER = Path(__file__).parent / "golden"


def test_every_golden_event_comes_out_as_written():
    assert golden.run(PIPELINES, FOLDER) == []


def test_every_case_comes_out_somewhere_or_is_meant_to_be_dropped():
    dropped = {"the head of a file is no event"}
    for file in FOLDER.glob("*.yml"):
        for case, written in golden.cases(PIPELINES, file):
            assert bool(written) != (case in dropped), case


def test_what_is_dead_has_a_reason_and_what_arrived():
    for file in FOLDER.glob("*.expected.ndjson"):
        for each in map(json.loads, file.read_text().splitlines()):
            if each["stream"].startswith("logs-ml.dead_letter"):
                assert each["document"]["reason"]
                assert each["document"]["raw"] or each["document"]["rejected"]


def test_a_difference_is_found_and_shown(tmp_path: Path, capsys):
    (tmp_path / "registry.yml").write_text('- {name: one, dataset: ml.registry, line: "what"}\n')
    assert main(["test", str(PIPELINES), "--golden", str(tmp_path)]) == 1
    assert "registry.yml, one:" in capsys.readouterr().out
    assert main(["test", str(PIPELINES), "--golden", str(tmp_path), "--update"]) == 0
    assert main(["test", str(PIPELINES), "--golden", str(tmp_path)]) == 0


def test_lines_of_stdin_go_through(monkeypatch, capsys):
    class Stdin:
        buffer = (b"2026-05-28T10:15:30Z INFO deployed model=fraud version=3\n", b"\xff\n")

    monkeypatch.setattr("sys.stdin", Stdin)
    assert main(["run", str(PIPELINES), "--dataset", "ml.registry"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["document"]["model_name"] == "fraud"
    assert second["stream"] == "logs-ml.dead_letter-default"


def test_nothing_in_the_folder_names_the_use_case():
    for file in PIPELINES.rglob("*"):
        if file.is_file() and file.suffix != ".pyc":
            assert "lendpath" not in file.read_text().lower(), file
