"""The JSON Schemas agree with what load_project accepts."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from elastic_ml.project.schemas import json_schemas

WEBSHOP = Path(__file__).parent / "webshop"
INCLUDE = Path(__file__).parents[3] / "include"
FILES = [
    (kind, path)
    for folder in (WEBSHOP, INCLUDE)
    for kind, pattern in (("project", "project.yml"), ("model", "models/*.yml"), ("source", "sources/*.yml"))
    for path in sorted(folder.glob(pattern))
]


def problems(kind: str, body: Any) -> list[str]:
    schema = json_schemas()[kind]
    Draft202012Validator.check_schema(schema)
    return [error.message for error in Draft202012Validator(schema).iter_errors(body)]


def body_of(path: Path) -> Any:
    # JSON has no dates: an editor sees start_date as text.
    return (
        yaml.load(path.read_text(), Loader=yaml.BaseLoader)
        if path.parent.name == "sources"
        else yaml.safe_load(path.read_text())
    )


@pytest.mark.parametrize(("kind", "path"), FILES, ids=[f"{p.parent.name}/{p.name}" for _, p in FILES])
def test_every_valid_file_passes_its_schema(kind: str, path: Path):
    body = body_of(path)
    if kind == "source":
        body["reader"].pop("options", None)  # BaseLoader makes text of numbers
    assert problems(kind, body) == []


def test_an_unknown_key_and_a_wrong_duration_fail_the_schema():
    body = yaml.safe_load((WEBSHOP / "models" / "refund_abuse.yml").read_text())
    assert problems("model", {**body, "gates": {}})
    assert problems("model", {**body, "label_delay": "two weeks"})


def test_defaults_are_written_as_people_write_them():
    model = json_schemas()["model"]["properties"]
    assert model["label_delay"]["default"] == "14d"
    assert "name" not in model
