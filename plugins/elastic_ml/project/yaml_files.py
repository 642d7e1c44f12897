"""Reads one YAML file into one pydantic model, and turns every problem into an error that names the line.

pydantic knows the place of a problem as a path of keys; the composed YAML nodes know the line of each key.
Joining both gives `models/audit_fraud.yml:7: gate.auc: unknown key; did you mean auc_roc?`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from elastic_ml.exceptions import ProjectFileError

YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader, in C where PyYAML was built with libyaml: ten times faster."""

Place = tuple[int | str, ...]


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

    Raises ProjectFileError for a missing file, broken YAML, a repeated or unknown key and an invalid value.
    """
    root, data = _compose(path)
    if prepare is not None:
        data = prepare(data)
    try:
        return shape.model_validate({**data, **(defaults or {})})
    except ValidationError as invalid:
        # A misspelt key is both unknown and missing; the misspelling is what helps.
        problem = min(
            invalid.errors(include_url=False),
            key=lambda error: (error["type"] != "extra_forbidden", _line_of(root, error["loc"])),
        )
        raise _as_file_error(path, shape, root, problem) from None


def file_error(file: object, line: int | None, field: str, problem: str, remedy: str) -> ProjectFileError:
    """A ProjectFileError whose problem and remedy read as two sentences."""
    ended = remedy if remedy.endswith(("?", ".")) else f"{remedy}."
    return ProjectFileError(file, line, field, f"{problem.rstrip('.')}.", ended[:1].upper() + ended[1:])


def _compose(path: Path) -> tuple[yaml.Node | None, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise file_error(
            path, None, "", "the file does not exist", "create it, or check the project folder's path"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise file_error(
            path, None, "", f"cannot be read: {error}", "store it as a readable UTF-8 text file"
        ) from error
    loader = YAML_LOADER(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None, {}
        if not isinstance(root, yaml.MappingNode):
            raise file_error(path, 1, "", "the file is not a mapping", "start it with `key: value` lines")
        _refuse_repeated_keys(path, root, "")
        return root, loader.construct_document(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise file_error(
            path,
            mark.line + 1 if mark else None,
            "",
            f"not valid YAML: {getattr(error, 'problem', None) or error}",
            "check indentation, quotes and brackets at that line",
        ) from None
    finally:
        loader.dispose()


def _refuse_repeated_keys(path: Path, node: yaml.Node, prefix: str) -> None:
    """YAML parsers keep the last of two equal keys without a word; a gate written twice must not pass so."""
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            _refuse_repeated_keys(path, item, f"{prefix}.{position}" if prefix else str(position))
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name = str(key.value)
            field = f"{prefix}.{name}" if prefix else name
            line = key.start_mark.line + 1
            if name in seen:
                raise file_error(
                    path, line, field, f"the key is repeated (first in line {seen[name]})", "keep one of them"
                )
            seen[name] = line
            _refuse_repeated_keys(path, value, field)


def _line_of(root: yaml.Node | None, place: Place) -> int:
    """Line (from 1) of the key or item at `place`; of the nearest enclosing one when it is not written."""
    line, node = 1, root
    for step in place:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(step)), None)
            if found is None:
                return line
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def _as_file_error(path: Path, shape: type[BaseModel], root: yaml.Node | None, error: ErrorDetails) -> ProjectFileError:
    place = error["loc"]
    field = ".".join(str(step) for step in place)
    line = _line_of(root, place)
    if error["type"] == "extra_forbidden":
        known = _keys_at(shape, place[:-1])
        near = difflib.get_close_matches(str(place[-1]), known, n=1, cutoff=0.5)
        remedy = f"did you mean {near[0]}?" if near else f"known keys here: {', '.join(known)}"
        return file_error(path, line, field, "unknown key", remedy)
    if error["type"] == "missing":
        return file_error(path, line, field, "the key is missing", f"add {place[-1]}")
    if error["type"] in {"value_error", "assertion_error"}:
        reason: Any = error.get("ctx", {}).get("error")
        if isinstance(reason, InvalidValueError):
            return file_error(
                path, _line_of(root, (*place, *reason.place)), reason.field(field), str(reason), reason.remedy
            )
        return file_error(path, line, field, str(reason), "correct the value")
    written = error.get("input")
    remedy = f"correct the value {written!r}"
    if error["type"] == "string_type" and isinstance(written, bool | int | float):
        remedy = f'quote it: "{str(written).lower()}" (YAML reads it as {type(written).__name__} otherwise)'
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
    root, _ = _compose(path)
    return _line_of(root, place)
