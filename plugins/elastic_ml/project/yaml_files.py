"""Reads one YAML file into one pydantic model, and turns every problem into an error that names the line.

pydantic knows the place of a problem as a path of keys; the composed YAML nodes know the line of each key.
Joining both gives `models/audit_fraud.yml:7: gate.auc: unknown key; did you mean auc_roc?`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from datetime import date
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from elastic_ml.exceptions import ProjectFileError
from elastic_ml.project.yaml_nodes import Place, compose, file_error, line_of, shortened, written_part

__all__ = ["Body", "FileModel", "InvalidValueError", "file_error", "line_of_key", "read_file"]


class FileModel(BaseModel):
    """Base of everything users write: no unknown key, no silent conversion, immutable once read.

    Building a validator costs milliseconds, so it is deferred until a file of that kind is read.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True, populate_by_name=False)


AnyFileModel = TypeVar("AnyFileModel", bound=FileModel)


def read_file(
    path: Path,
    shape: type[AnyFileModel],
    *,
    defaults: dict[str, Any] | None = None,
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> AnyFileModel:
    """Read `path` as `shape`; `defaults` are values from elsewhere, such as the name of the file.

    `prepare` changes what the file says before it is checked, as rendering the templates in its texts does.

    Raises ProjectFileError for a missing file, broken YAML, a repeated or unknown key and an invalid value; what else
    is wrong with the file's keys and values is in the error's `also`.
    """
    root, data = compose(path)
    if prepare is not None:
        data = prepare(data)
    try:
        return shape.model_validate({**data, **(defaults or {})})
    except ValidationError as invalid:
        first, *others = _problems(shape, root, invalid)
        found = _as_file_error(path, shape, root, first)
        found.also = tuple(_as_file_error(path, shape, root, other) for other in others)
        raise found from None
    except (ArithmeticError, RecursionError) as error:
        raise file_error(path, 1, "", f"a value is out of range: {error}", "correct dates and numbers") from None


def _problems(shape: type[BaseModel], root: yaml.Node | None, invalid: ValidationError) -> list[ErrorDetails]:
    """What is wrong with a file, once per place: what is unknown first, then by line.

    A misspelt key is both unknown and missing, and the misspelling is what helps; a value that fits none of several
    types is one mistake.
    """
    errors = sorted(
        invalid.errors(include_url=False),
        key=lambda error: (error["type"] != "extra_forbidden", line_of(root, error["loc"])),
    )
    misspelt = {
        (*error["loc"][:-1], _near(shape, error["loc"])) for error in errors if error["type"] == "extra_forbidden"
    }
    found: dict[Place, ErrorDetails] = {}
    for error in errors:
        place = error["loc"]
        if error["type"] == "missing" and place in misspelt:
            continue
        found.setdefault(place if error["type"] == "missing" else written_part(root, place), error)
    return list(found.values())


def _near(shape: type[BaseModel], place: Place) -> str | None:
    """The known key that an unknown one resembles most."""
    near = difflib.get_close_matches(str(place[-1]), _keys_at(shape, place[:-1]), n=1, cutoff=0.5)
    return near[0] if near else None


def _as_file_error(path: Path, shape: type[BaseModel], root: yaml.Node | None, error: ErrorDetails) -> ProjectFileError:
    place = error["loc"]
    field = ".".join(str(step) for step in place)
    line = line_of(root, place)
    if error["type"] == "extra_forbidden":
        near = _near(shape, place)
        remedy = f"did you mean {near}?" if near else f"known keys here: {', '.join(_keys_at(shape, place[:-1]))}"
        return file_error(path, line, field, "unknown key", remedy)
    if error["type"] == "missing":
        return file_error(path, line, field, "the key is missing", f"add {place[-1]}")
    if error["type"] in {"value_error", "assertion_error"}:
        reason: Any = error.get("ctx", {}).get("error")
        if isinstance(reason, InvalidValueError):
            return file_error(
                path, line_of(root, (*place, *reason.place)), reason.field(field), str(reason), reason.remedy
            )
        return file_error(path, line, field, str(reason), "correct the value")
    written = error.get("input")
    remedy = f"correct the value {shortened(written)}"
    if error["type"] == "string_type" and isinstance(written, bool | int | float | date):
        shown = str(written) if isinstance(written, date) else shortened(written).lower()
        remedy = f'quote it: "{shown}" (YAML reads it as {type(written).__name__} otherwise)'
    return file_error(path, line, field, error["msg"], remedy)


class InvalidValueError(ValueError):
    """What a validator found, with the remedy; `place` is the key to blame below the validated object."""

    def __init__(self, problem: str, remedy: str, *place: int | str) -> None:
        super().__init__(problem)
        self.remedy = remedy
        self.place = place

    def field(self, parent: str) -> str:
        """Dotted name of the key to blame."""
        return ".".join([*([parent] if parent else []), *(str(step) for step in self.place)])


def _only_json(value: Any, *place: int | str) -> Any:
    """The value, if Elasticsearch can be sent it as it is; YAML also reads dates, sets, binaries and `.nan`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(key, bool) or not isinstance(key, str | int | float):
                name = {None: "null", True: "true", False: "false"}.get(key, str(key))
                raise InvalidValueError(
                    f"YAML reads the key {name} as {type(key).__name__}", f'quote it: "{name}"', *place, str(key)
                )
            _only_json(inner, *place, str(key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            _only_json(inner, *place, position)
    elif isinstance(value, date):
        raise InvalidValueError(f"YAML reads {value} as a date, which JSON has not", f'quote it: "{value}"', *place)
    elif not isinstance(value, str | int | float | None) or (isinstance(value, float) and not isfinite(value)):
        raise InvalidValueError(
            f"{shortened(value)} cannot be sent as JSON", "write a text, a number, true, false, a list or keys", *place
        )
    return value


Body = Annotated[dict[str, Any], AfterValidator(_only_json)]
"""What is sent to Elasticsearch in its own words."""


def _keys_at(shape: type[BaseModel], place: Place) -> list[str]:
    """Keys (as written in YAML) that the model at `place` accepts."""
    current: type[BaseModel] = shape
    for step in place:
        if isinstance(step, int):
            continue
        field = next((f for name, f in current.model_fields.items() if (f.alias or name) == step), None)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            break
        current = inner
    return [field.alias or name for name, field in current.model_fields.items() if not field.exclude]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def line_of_key(path: Path, *place: int | str) -> int:
    """Line of a key in a file that was read already, for problems found across files."""
    root, _ = compose(path)
    return line_of(root, place)
