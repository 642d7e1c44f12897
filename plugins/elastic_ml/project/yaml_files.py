"""Reads one YAML file into one pydantic model, and turns every problem into an error that names the line.

pydantic knows the place of a problem as a path of keys; the composed YAML nodes know the line of each key.
Joining both gives `models/audit_fraud.yml:7: gate.auc: unknown key; did you mean auc_roc?`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from elastic_ml.exceptions import ProjectFileError

YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader, in C where PyYAML was built with libyaml: ten times faster."""

CONSTRUCTION_ERRORS = (ValueError, ArithmeticError, LookupError, AttributeError, TypeError, RecursionError)
"""What PyYAML lets through when text looks like a date or a number and is none, or when a file nests too deep."""

DEEPEST = 1_000
"""Levels of a file; what people write has less than twenty."""

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

    Raises ProjectFileError for a missing file, broken YAML, a repeated or unknown key and an invalid value; what else
    is wrong with the file's keys and values is in the error's `also`.
    """
    root, data = _compose(path)
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


def file_error(file: object, line: int | None, field: str, problem: str, remedy: str) -> ProjectFileError:
    """A ProjectFileError whose problem and remedy read as two sentences."""
    ended = remedy if remedy.endswith(("?", ".")) else f"{remedy}."
    return ProjectFileError(file, line, field, f"{problem.rstrip('.')}.", ended[:1].upper() + ended[1:])


def _compose(path: Path) -> tuple[yaml.Node | None, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        remedy = "create it, or check the project folder's path"
        if path.with_suffix(".yaml").exists():
            remedy = f"rename {path.stem}.yaml, which is beside it and is not read"
        raise file_error(path, None, "", "the file does not exist", remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        raise file_error(
            path, None, "", f"cannot be read: {error}", "store it as a readable UTF-8 text file"
        ) from error
    if _nests_too_deep(text):
        raise _too_deep(path)
    loader = YAML_LOADER(text)
    root = None
    try:
        root = loader.get_single_node()
        if root is None:
            return None, {}
        if not isinstance(root, yaml.MappingNode):
            raise file_error(path, 1, "", "the file is not a mapping", "start it with `key: value` lines")
        _refuse_repeated_keys(path, root, "", ())
        return root, loader.construct_document(root)
    except CONSTRUCTION_ERRORS as error:
        raise _unreadable_value(path, root, error) from None
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


def _refuse_repeated_keys(path: Path, node: yaml.Node, prefix: str, above: tuple[yaml.Node, ...]) -> None:
    """YAML parsers keep the last of two equal keys without a word; a gate written twice must not pass so.

    Nor may a value hold itself, by an anchor: whoever walks it would never come to an end.
    """
    if any(node is one for one in above):
        raise file_error(
            path,
            node.start_mark.line + 1,
            prefix,
            "the value contains itself, by an anchor (&) and its alias (*)",
            "write the value out instead of the alias",
        )
    above = (*above, node)
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            _refuse_repeated_keys(path, item, f"{prefix}.{position}" if prefix else str(position), above)
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
            _refuse_repeated_keys(path, value, field, above)


def _unreadable_value(path: Path, root: yaml.Node | None, error: Exception) -> ProjectFileError:
    """The value that PyYAML takes for a date or a number and fails on; it names neither line nor key."""
    try:
        for field, node in _scalars(root, ""):
            loader = YAML_LOADER("")
            try:
                loader.construct_object(node)
            except CONSTRUCTION_ERRORS as reason:
                kind = node.tag.rpartition(":")[2]
                what = {"timestamp": "date", "int": "number", "float": "number"}.get(kind, kind)
                return file_error(
                    path,
                    node.start_mark.line + 1,
                    field,
                    f"{_shortened(node.value)} looks like a {what} and is none: {reason}",
                    f"correct it, or quote it if it is meant as text: {_shortened(node.value, quote=chr(34))}",
                )
            finally:
                loader.dispose()
    except RecursionError:
        pass  # said below
    if isinstance(error, RecursionError):
        return _too_deep(path)
    return file_error(path, 1, "", f"the file cannot be read: {error}", "check its values, dates and numbers first")


def _too_deep(path: Path) -> ProjectFileError:
    return file_error(path, 1, "", "the file nests too deep to be read", "check its brackets and aliases")


def _nests_too_deep(text: str) -> bool:
    """Whether composing the text could end the process: libyaml's loader recurses in C, without a limit."""
    possible = text.count("[") + text.count("{") + max(map(len, text.splitlines()), default=0)
    if possible < DEEPEST:
        return False
    depth = 0
    try:
        for event in yaml.parse(text, Loader=YAML_LOADER):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > DEEPEST:
                return True
    except yaml.YAMLError:
        return False  # composing it says where
    return False


def _scalars(node: yaml.Node | None, prefix: str) -> Iterator[tuple[str, yaml.Node]]:
    """Every key and value that is no mapping or list, with the dotted name of its key."""
    if isinstance(node, yaml.ScalarNode):
        yield prefix, node
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield from _scalars(item, f"{prefix}.{position}" if prefix else str(position))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            field = f"{prefix}.{key.value}" if prefix else str(key.value)
            yield from _scalars(key, field)
            yield from _scalars(value, field)


def _shortened(value: object, *, quote: str = "'") -> str:
    """A value as it may stand in a sentence."""
    try:
        written = value if isinstance(value, str) else repr(value)
    except ValueError:  # Python prints no number of more than 4,300 digits
        return "a number of thousands of digits"
    shown = written if len(written) <= 80 else f"{written[:77]}..."
    return f"{quote}{shown}{quote}" if isinstance(value, str) else shown


def _problems(shape: type[BaseModel], root: yaml.Node | None, invalid: ValidationError) -> list[ErrorDetails]:
    """What is wrong with a file, once per place: what is unknown first, then by line.

    A misspelt key is both unknown and missing, and the misspelling is what helps; a value that fits none of several
    types is one mistake.
    """
    errors = sorted(
        invalid.errors(include_url=False),
        key=lambda error: (error["type"] != "extra_forbidden", _line_of(root, error["loc"])),
    )
    misspelt = {
        (*error["loc"][:-1], _near(shape, error["loc"])) for error in errors if error["type"] == "extra_forbidden"
    }
    found: dict[Place, ErrorDetails] = {}
    for error in errors:
        place = error["loc"]
        if error["type"] == "missing" and place in misspelt:
            continue
        found.setdefault(place if error["type"] == "missing" else _written(root, place), error)
    return list(found.values())


def _near(shape: type[BaseModel], place: Place) -> str | None:
    """The known key that an unknown one resembles most."""
    near = difflib.get_close_matches(str(place[-1]), _keys_at(shape, place[:-1]), n=1, cutoff=0.5)
    return near[0] if near else None


def _written(root: yaml.Node | None, place: Place) -> Place:
    """As much of `place` as is written in the file; pydantic adds the type it tried, of several."""
    node = root
    for depth, step in enumerate(place):
        if isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == str(step)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        else:
            node = None
        if node is None:
            return place[:depth]
    return place


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
        near = _near(shape, place)
        remedy = f"did you mean {near}?" if near else f"known keys here: {', '.join(_keys_at(shape, place[:-1]))}"
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
    remedy = f"correct the value {_shortened(written)}"
    if error["type"] == "string_type" and isinstance(written, bool | int | float | date):
        shown = str(written) if isinstance(written, date) else _shortened(written).lower()
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
