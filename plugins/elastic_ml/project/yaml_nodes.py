"""Reads one YAML file into nodes and data, and refuses what YAML lets through: loops, repeated keys, false dates.

The nodes know the line of each key, which the data have lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from elastic_ml.exceptions import ProjectFileError

YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader, in C where PyYAML was built with libyaml: ten times faster."""

CONSTRUCTION_ERRORS = (ValueError, ArithmeticError, LookupError, AttributeError, TypeError, RecursionError)
"""What PyYAML lets through when text looks like a date or a number and is none, or when a file nests too deep."""

DEEPEST = 1_000
"""Levels of a file; what people write has less than twenty."""

MOST_REPEATED = 100_000
"""Values that the aliases (`*name`) of a file may repeat, all together; a few lines of them can make billions."""

LONGEST_PROBLEM = 1_000
"""Characters; a sentence may quote what the file says."""

Place = tuple[int | str, ...]


def file_error(file: object, line: int | None, field: str, problem: str, remedy: str) -> ProjectFileError:
    """A ProjectFileError whose problem and remedy read as two sentences."""
    ended = remedy if remedy.endswith(("?", ".")) else f"{remedy}."
    if len(problem) > LONGEST_PROBLEM:
        problem = f"{problem[: LONGEST_PROBLEM // 2]} ... {problem[-LONGEST_PROBLEM // 2 :]}"
    return ProjectFileError(file, line, field, f"{problem.rstrip('.')}.", ended[:1].upper() + ended[1:])


def compose(path: Path) -> tuple[yaml.Node | None, dict[str, Any]]:
    """The root node of a file and its data; None and nothing for an empty file. Raises ProjectFileError."""
    try:
        text = path.read_bytes().decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        remedy = "create it, or check the project folder's path"
        if path.with_suffix(".yaml").exists():
            remedy = f"rename {path.stem}.yaml, which is beside it and is not read"
        raise file_error(path, None, "", "the file does not exist", remedy) from None
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from None
    except OSError as error:
        raise file_error(path, None, "", f"cannot be read: {error}", "store it as a readable text file") from error
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
        if "&" in text:
            _refuse_multiplying_aliases(path, root)
        _refuse_repeated_keys(path, root, "", ())
        return root, loader.construct_document(root)
    except CONSTRUCTION_ERRORS as error:
        raise _unreadable_value(path, root, error) from None
    except yaml.YAMLError as error:
        raise _broken_yaml(path, text, error) from None
    finally:
        loader.dispose()


def not_utf8(path: Path, error: UnicodeDecodeError) -> ProjectFileError:
    """What is said of a file whose bytes, all of them, are no UTF-8; the first wrong one has a line."""
    before = error.object[: error.start].decode("utf-8").replace("\r\n", "\n")
    line = before.count("\n") + 1
    return file_error(
        path,
        line,
        _key_above(before, line),
        f"the byte 0x{error.object[error.start]:02x} is no UTF-8",
        "save the file with the encoding UTF-8",
    )


def _broken_yaml(path: Path, text: str, error: yaml.YAMLError) -> ProjectFileError:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        problem = f"not valid YAML: it holds the control character 0x{ord(text[error.position]):02x}"
        return file_error(path, line, _key_above(text, line), problem, "remove it; an editor may not show it")
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark else 1
    problem = getattr(error, "problem", None) or str(error)
    remedy = "check indentation, quotes and brackets at that line"
    lines = text.splitlines()
    if line <= len(lines) and re.match(r" *\t", lines[line - 1]):
        remedy = "indent with spaces: the line begins with a tab"
    elif "another document" in problem:
        remedy = "remove the line `---`: a file is one document"
    return file_error(path, line if mark else None, _key_above(text, line), f"not valid YAML: {problem}", remedy)


def _key_above(text: str, line: int) -> str:
    """The last key that a line of broken YAML, or one before it, begins with."""
    for written in reversed(text.splitlines()[:line]):
        if found := re.match(r"""[\s-]*(['"]?)([\w.@ -]{1,80})\1\s*:(?:\s|$)""", written):
            return found[2]
    return ""


def _refuse_multiplying_aliases(path: Path, root: yaml.Node) -> None:
    """A value of which each level names the one below several times is built once, and walked billions of times."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        """How many values a node holds when its aliases are written out."""
        known = sizes.get(id(node))
        if known is None:
            sizes[id(node)] = 0  # a value that contains itself is said below
            known = sizes[id(node)] = 1 + sum(size(inner) for _, inner in _inside(node))
        return known

    if size(root) - len(sizes) <= MOST_REPEATED:
        return
    place, node = "", root
    while found := next(((name, inner) for name, inner in _inside(node) if size(inner) > MOST_REPEATED), None):
        place, node = f"{place}.{found[0]}" if place else found[0], found[1]
    raise file_error(
        path,
        node.start_mark.line + 1,
        place,
        f"its aliases (*) repeat more than {MOST_REPEATED:,} values",
        "write out what is meant, without an alias of an alias",
    )


def _inside(node: yaml.Node) -> Iterator[tuple[str, yaml.Node]]:
    """Keys and values of a mapping, items of a list, each with the name of its key or its position."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            yield name, key
            yield name, value
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield str(position), item


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
                    f"{shortened(node.value)} looks like a {what} and is none: {reason}",
                    f"correct it, or quote it if it is meant as text: {shortened(node.value, quote=chr(34))}",
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


def shortened(value: object, *, quote: str = "'") -> str:
    """A value as it may stand in a sentence."""
    try:
        written = value if isinstance(value, str) else repr(value)
    except ValueError:  # Python prints no number of more than 4,300 digits
        return "a number of thousands of digits"
    shown = written if len(written) <= 80 else f"{written[:77]}..."
    return f"{quote}{shown}{quote}" if isinstance(value, str) else shown


def written_part(root: yaml.Node | None, place: Place) -> Place:
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


def line_of(root: yaml.Node | None, place: Place) -> int:
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
