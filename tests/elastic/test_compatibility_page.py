"""docs/compatibility.md says what is relied on, which test holds it, and where it was seen; nothing more."""

from __future__ import annotations

import ast
import json
from datetime import date
from pathlib import Path

import pytest
from elastic import seen

from tests.compatibility import NOT_YET, PAGE, REPLAY, ROOT, STACK_UP, behaviours, on_a_real_stack, page

EVERYTHING = [behaviour for found in behaviours().values() for behaviour in found]
OURS = sorted(Path(__file__).parent.glob("test_behaviour_*.py"))


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_the_page_is_what_would_be_written_now():
    assert PAGE.read_text() == page(seen.read()), "run `make compatibility`"


@pytest.mark.parametrize("behaviour", EVERYTHING, ids=lambda one: one["what"][:50])
def test_every_test_that_is_named_exists(behaviour: dict):
    for file, names in behaviour["tests"].items():
        if file != REPLAY:
            there = names_in(ROOT / "tests" / file)
            assert there if names == "all" else set(names) <= there, file


def test_every_behaviour_test_is_named():
    named = {name for behaviour in EVERYTHING for name in on_a_real_stack(behaviour)} - {REPLAY}
    there = {f"tests/elastic/{file.name}::{name}" for file in OURS for name in names_in(file)}
    assert named == there


def test_every_behaviour_test_can_run_on_a_real_stack():
    """A handle on the sandbox would make it pass here alone."""
    for file in OURS:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert not {"sandbox", "elasticsearch"} & {argument.arg for argument in node.args.args}, node.name


def test_what_was_not_seen_says_so_and_what_was_names_the_version(tmp_path: Path):
    nothing = page({})
    assert nothing.count(NOT_YET) > len(EVERYTHING)
    assert "None of the three has run yet" in nothing

    note = tmp_path / "seen.json"
    tests = [name for behaviour in EVERYTHING[:1] for name in on_a_real_stack(behaviour)]
    seen.add("9.2.8", tests, [], note, date(2026, 1, 1))
    [first] = [line for line in page(seen.read(note)).splitlines() if line.startswith("| `create` is the only")]
    assert first.endswith("| 9.2.8 |")
    seen.add("9.2.8", [], tests[:1], note)
    [first] = [line for line in page(seen.read(note)).splitlines() if line.startswith("| `create` is the only")]
    assert first.endswith(f"| {NOT_YET} |")


def test_a_stack_that_only_took_the_tests_is_no_proof_of_the_compose_file(tmp_path: Path):
    note = tmp_path / "seen.json"
    seen.add("9.5.1", ["tests/elastic/test_behaviour_streams.py::test_x"], [], note)
    assert "| Elasticsearch, self-managed | 9.2 to 9.5 | 9.5.1 |" in page(seen.read(note))
    assert f"| `docker-compose.yml` | | {NOT_YET};" in page(seen.read(note))
    seen.add("9.5.1", [STACK_UP], [], note)
    assert "| `docker-compose.yml` | | 9.5.1;" in page(seen.read(note))


def test_a_run_keeps_what_it_did_not_try(tmp_path: Path):
    note = tmp_path / "seen.json"
    seen.add("9.5.1", ["a", "b"], ["c"], note, date(2026, 1, 1))
    seen.add("9.5.1", ["c"], ["a"], note, date(2026, 1, 2))
    seen.add("serverless", ["a"], [], note, date(2026, 1, 2))
    assert json.loads(note.read_text()) == {
        "9.5.1": {"date": "2026-01-02", "passed": ["b", "c"], "failed": ["a"]},
        "serverless": {"date": "2026-01-02", "passed": ["a"], "failed": []},
    }
    assert seen.versions(["a"], seen.read(note)) == ["serverless"]
    assert seen.versions([], seen.read(note)) == []


def test_a_test_that_fails_in_setup_or_teardown_does_not_pass(tmp_path: Path):
    note = tmp_path / "seen.json"
    seen.add("9.5.1", ["a"], ["a"], note)
    assert seen.read(note)["9.5.1"]["passed"] == []
