"""The shipped use case is one user of the product: nothing that others install or run knows its name."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
EVERYBODYS = ("dags", "plugins", "sandbox", "logstash", "kibana/platform")


def naming(folder: Path) -> Iterator[str]:
    """Files below the folder that name the use case, in their path or their text, with the line."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        if re.search("lendpath", path.relative_to(folder).as_posix(), re.IGNORECASE):
            yield str(path)
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            if re.search(rb"lend[ _-]?path", line, re.IGNORECASE):
                yield f"{path}:{number}"


def test_nothing_that_everybody_installs_or_runs_names_it() -> None:
    assert [place for folder in EVERYBODYS for place in naming(ROOT / folder)] == []


def test_a_file_that_names_it_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "stage.py").write_text("# nothing here\n# as in Lend-Path\n")
    (tmp_path / "lendpath.yml").write_text("a: 1\n")
    assert list(naming(tmp_path)) == [f"{tmp_path}/deep/stage.py:2", f"{tmp_path}/lendpath.yml"]


def test_every_folder_that_is_searched_is_there() -> None:
    assert [folder for folder in EVERYBODYS if not any((ROOT / folder).iterdir())] == []
