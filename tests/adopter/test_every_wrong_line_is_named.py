"""Whatever key of a project folder is misspelt or holds nonsense: file, line, field and remedy are said."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from elastic_ml.cli.main import main
from elastic_ml.project.check import invalid_files

FREE = (
    "analysis.classification", "source.query", "job.", "datafeed.query", "fields.", "constants.", "reader.path",
    "label.positive_class", "serve.if", "kibana.rules",
)  # fmt: skip
"""What Elasticsearch judges, or what is the user's own word; a misspelling there is no error of ours."""
MEANINGLESS = "{nonsense: [1]}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of file that `init` writes."""
    root = tmp_path_factory.mktemp("written")
    for more in ([], ["--stream", "logs-ping_one.audit-default"]):
        assert main(["init", str(root / "project"), "--name", "shop", "--dags", str(root / "dags"), *more]) == 0
    return root / "project"


def keys(node: yaml.Node, prefix: str = "") -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Dotted path, key and value of every key in a file."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{prefix}{key.value}"
            yield path, key, value
            yield from keys(value, f"{path}.")
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from keys(item, f"{prefix}{number}.")


def replaced(text: str, node: yaml.Node, new: str) -> str:
    ended = "\n" if text[node.end_mark.index - 1 : node.end_mark.index].isspace() else ""  # a block ends with its line
    return text[: node.start_mark.index] + new + ended + text[node.end_mark.index :]


def files(folder: Path) -> list[Path]:
    return [folder / "project.yml", *sorted(folder.glob("*/*.yml"))]


def test_every_kind_of_file_is_tried(folder: Path) -> None:
    assert {path.parent.name for path in files(folder)} == {"project", "models", "anomaly_jobs", "sources"}
    assert sum(1 for path in files(folder) for _ in keys(yaml.compose(path.read_text()))) > 100
    assert invalid_files(folder) == []


@pytest.mark.parametrize("mistake", ["misspelt", "nonsense"])
def test_a_wrong_key_or_value_names_file_line_field_and_remedy(folder: Path, mistake: str) -> None:
    silent, vague = [], []
    for path in files(folder):
        text = path.read_text()
        for place, key, value in keys(yaml.compose(text)):
            if f"{place}.".startswith(FREE):
                continue
            wrong = replaced(text, key, f"{key.value}z") if mistake == "misspelt" else None
            path.write_text(wrong or replaced(text, value, MEANINGLESS))
            try:
                found = [error for error in invalid_files(folder) if Path(error.file) == path]
            finally:
                path.write_text(text)
            if not found:
                silent.append(f"{path.name}: {place}")
                continue
            # Nonsense in a mapping is a key too many, and keys that are missing.
            assert len(found) == 1 or mistake == "nonsense"
            named = f"{place}z" if mistake == "misspelt" else place
            lines = {key.start_mark.line + 1, value.start_mark.line + 1}
            vague += [
                f"{path.name}:{key.start_mark.line + 1}: {place} gives {error}"
                for error in found
                if not (
                    error.line in lines and named in error.field and error.problem and error.remedy[-1:] in {".", "?"}
                )
            ]
    assert silent == []
    assert vague == [], "\n".join(vague)


ODD = ["null", '""', "[]", "-1", "1" + "0" * 400, "2026-01-31", ".nan", "!!set {a}", "'{{ x }}'", "[[{}]]"]


def test_whatever_a_value_is_replaced_by_findings_are_whole(folder: Path) -> None:
    refused = 0
    for path in files(folder):
        text = path.read_text()
        for number, (place, _, value) in enumerate(keys(yaml.compose(text))):
            for written in ODD[number % 10 :: 10]:
                path.write_text(replaced(text, value, written))
                try:
                    found = invalid_files(folder)
                finally:
                    path.write_text(text)
                refused += bool(found)
                for error in found:
                    assert error.line, (place, written, str(error))
                    assert error.field, (place, written, str(error))
                    assert error.problem, (place, written, str(error))
                    assert error.remedy[-1:] in {".", "?"}, (place, written, str(error))
                    assert len(str(error)) < 1_500
    assert refused > 60
