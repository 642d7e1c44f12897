"""Adding a source and adding a model name every key of their files; test_code_blocks.py follows their steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import BaseModel

from docs.pages import ROOT
from elastic_ml.project.model import Model
from elastic_ml.project.source import Source


def keys(shape: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The keys of a file, dotted, without the name that the file's name gives."""
    for name, field in shape.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        inner = next((one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)), None)
        if name == "gate":
            yield name  # its metrics stand in the text
        elif inner is not None:
            yield from keys(inner, f"{field.alias or name}.")
        elif not field.exclude:
            yield f"{prefix}{field.alias or name}"


@pytest.mark.parametrize(("page", "shape"), [("adding-a-source", Source), ("adding-a-model", Model)])
def test_every_key_is_explained_once(page: str, shape: type[BaseModel]) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    table = text.partition("## Every key")[2].partition("\n## ")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    explained = [key for cell in first for key in re.findall(r"`([\w.]+)`", cell)]
    assert sorted(explained) == sorted(keys(shape))
