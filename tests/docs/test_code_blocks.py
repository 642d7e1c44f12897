"""Every code block of the documentation is run, or loaded by what would load it; none passes in silence.

The blocks of a page share a folder, names and a sandbox, in the order in which a reader types them. What would take an
Airflow, an environment or a minute is only read here, and run by the long walk (`walk.py`); for what runs nowhere
`elsewhere.py` or a comment on the page (`pages.py` says how) gives the reason. What was done with how many stands in
build/code-blocks.txt afterwards.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from clinic.world import short_waits

from docs import commands
from docs.commands import RAN
from docs.elsewhere import ELSEWHERE, Job, elsewhere
from docs.pages import ROOT, Block, blocks, pages
from docs.reader import LATER, LOADED, Reader
from docs.reader_world import SUBSTITUTIONS
from docs.walk import WALK, zip_steps

WITH_BLOCKS = {str(page.relative_to(ROOT)): found for page in pages() if (found := blocks(page))}
LONG = [name for name, found in WITH_BLOCKS.items() if any(block.marker == "long" for block in found)]
TOLD: Counter[str] = Counter()
KINDS = (RAN, LATER, "run by CI", LOADED, "not run")
"""How what is told of a block begins."""


@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_every_block_of_a_page_does_what_it_says(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    _follow(page, Reader(tmp_path, request.getfixturevalue, patient=False))


@pytest.mark.long
@pytest.mark.parametrize("page", LONG)
def test_every_block_of_a_page_does_what_it_says_to_the_end(
    page: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    _follow(page, Reader(tmp_path, request.getfixturevalue, patient=True))


def _follow(page: str, reader: Reader) -> None:
    with short_waits():
        for block in WITH_BLOCKS[page]:
            try:
                TOLD.update(settled(block, done) for done in reader.follow(block))
            except (Exception, SystemExit) as error:
                raise AssertionError(f"{block}: {error}") from error
        reader.finish()


def settled(block: Block, done: str) -> str:
    """What is told of a command that was only read here: who runs it, or why nobody does.

    :raises AssertionError: neither is known.
    """
    if not done.startswith("read: "):
        return done
    command = done.removeprefix("read: ")
    if where := elsewhere(command):
        return str(where)
    page = str(block.page.relative_to(ROOT))
    walked = page in WALK and block in {each for each, _ in zip_steps(page)}
    assert walked, f"nothing runs {command!r}: it needs a step in tests/docs/walk.py, or a reason in elsewhere.py"
    return f"{LATER}: typed by the long walk"


WRONG = [
    ("", "x"),
    ("cobol", "STOP RUN."),
    ("shell", "make nothing-of-the-kind"),
    ("shell", "make demo NO_SUCH_VARIABLE=1"),
    ("shell", "python -m elastic_ml chek include"),
    ("shell", "python -m elastic_ml init --nome shop"),
    ("shell", "airflow dags triger elastic_setup"),
    ("shell", "airflow dags trigger no_such_dag"),
    ("shell", "airflow dags trigger elastic_setup --conf '{mode: apply}'"),
    ("shell", "export AIRFLOW__CORE__NO_SUCH_SETTING=1"),
    ("shell", "curl -s http://127.0.0.1:9200/_no_such_api"),
    ("shell", "frobnicate --all"),
    ("shell", "if true; then"),
    ("yaml", "monitor: {psi_limt: 0.2}"),
    ("json", "{'single': 'quotes'}"),
    ("esql", "FROM x | WHEER y"),
    ("console", "GET _no_such_api"),
    ("conf", "filter { mutate {"),
    ("text", "anything"),
    ("python", "import no_such_module"),
]


@pytest.mark.parametrize(("language", "text"), WRONG)
def test_a_wrong_block_is_found(language: str, text: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (tmp_path / "dags").mkdir()  # nothing has to be set up for a reader who has DAGs
    reader = Reader(tmp_path, request.getfixturevalue, patient=False)
    with pytest.raises((Exception, SystemExit)):
        list(reader.follow(Block(ROOT / "docs" / "index.md", 1, language, text, "")))


@pytest.mark.parametrize(("page", "text"), [("index", "airflow dags list"), ("adopting", "make wheel ARGS=1")])
def test_a_command_that_is_run_nowhere_and_has_no_reason_is_found(page: str, text: str) -> None:
    block = Block(ROOT / "docs" / f"{page}.md", 1, "shell", text, "")
    with pytest.raises(AssertionError, match="nothing runs"):
        settled(block, f"read: {text}")


def test_what_stands_for_commands_that_are_run_elsewhere_is_true(tmp_path: Path) -> None:
    shell = [block for found in WITH_BLOCKS.values() for block in found if block.language in {"shell", "bash"}]
    typed = {" ".join(each) for block in shell if not block.marker for each in commands.commands(block.text, tmp_path)}
    for known, where in ELSEWHERE.items():
        found = [command for command in typed if re.fullmatch(known, command)]
        assert found, f"no page has a command {known!r}"
        if isinstance(where, Job):
            missing = [command for command in found if not where.runs(" ".join(command.split(" ")[:2]))]
            assert missing == [], f"no step of the job {where.job} of {where.workflow}.yml runs this"


def test_the_walk_and_the_tests_that_take_long_are_run_every_night() -> None:
    assert Job("nightly", "chaos").runs("make chaos")
    assert re.search(r'^chaos:.*\n\t.*-m "chaos or long"', (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", WALK)
def test_the_walk_has_a_step_for_each_block_of_its_pages(page: str) -> None:
    assert [step for _, step in zip_steps(page) if step]


def test_what_the_walk_types_otherwise_stands_on_its_pages() -> None:
    text = "\n".join(block.text for page in WALK for block, _ in zip_steps(page))
    assert [told for told, _, _ in SUBSTITUTIONS if told not in text] == []


def test_every_target_of_make_that_a_page_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {found for page in pages() for found in re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8"))}
    assert named - targets == set()
    assert len(named) > 10


def test_what_was_done_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{TOLD.total():4} code blocks and commands"]
    for kind in KINDS:
        told = {what: count for what, count in sorted(TOLD.items()) if what.startswith(kind)}
        lines += [f"{sum(told.values()):4} {kind}", *(f"     {count:4} {what}" for what, count in told.items())]
    table = "\n".join(lines)
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "code-blocks.txt").write_text(table + "\n", encoding="utf-8")
    with capsys.disabled():
        print(f"\nThe documentation:\n{table}")
    assert [what for what in TOLD if not what.startswith(KINDS)] == []
    assert all(len(what.removeprefix("not run: ")) > 10 for what in TOLD if what.startswith("not run"))
