"""Who asks the sandbox for what: read from the sources of the product, and from those of the official client.

The sandbox implements what has a caller, and no more. Routes are compared with the calls of the product's Python;
processors, queries, aggregations, analyses and functions with the names that its bodies use.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import elasticsearch

ROOT = Path(__file__).parents[2]
CLIENTS = ("client", "once", "patient")
"""What variables that hold a client are called; with a namespace, as in `x.indices.get`, any name will do."""
SHIPPED = ("plugins/elastic_ml", "include", "demo", "kibana", "logstash")


class Route(NamedTuple):
    """A method, and a path whose placeholders have no names: `{}`."""

    method: str
    path: str


@cache
def client_routes() -> dict[str, frozenset[Route]]:
    """API → routes, as the installed official client has them: `{"search": {POST /_search, POST /{}/_search}}`."""
    folder = Path(elasticsearch.__file__).parent / "_sync" / "client"
    found: dict[str, frozenset[Route]] = {}
    for path in sorted(folder.glob("*.py")):
        namespace = "" if path.stem == "__init__" else f"{path.stem}."
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                routes = frozenset(_routes_of(node))
                if routes:
                    found[namespace + node.name] = routes
    return found


def _routes_of(method: ast.FunctionDef) -> Iterator[Route]:
    paths: list[str] = []
    for node in ast.walk(method):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__path":
            paths += _template(node.value)
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "perform_request"
        ):
            verb = node.args[0]
            verbs = [verb] if isinstance(verb, ast.Constant) else list(ast.walk(verb))
            for each in verbs:
                if isinstance(each, ast.Constant) and isinstance(each.value, str):
                    yield from (Route(each.value, path) for path in paths)
                elif isinstance(each, ast.Name) and each.id == "__method":
                    yield from (Route(name, path) for path in paths for name in ("PUT", "POST"))


def _calls(node: ast.AST, method: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method


def _template(value: ast.expr) -> list[str]:
    parts = value.values if isinstance(value, ast.JoinedStr) else [value]
    return ["".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)]


@cache
def called() -> dict[str, list[str]]:
    """API → files of the product that call it."""
    known = client_routes()
    found: dict[str, list[str]] = {}
    for path in _files("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (api := _api(node.func, known)):
                files = found.setdefault(api, [])
                name = str(path.relative_to(ROOT))
                if name not in files:
                    files.append(name)
    return dict(sorted(found.items()))


def _api(function: ast.expr, known: dict[str, frozenset[Route]]) -> str | None:
    """`client.indices.get`, `self._client.options(...).search` and the like; None for any other call."""
    names: list[str] = []
    while True:
        if isinstance(function, ast.Attribute):
            names.append(function.attr)
            function = function.value
        elif isinstance(function, ast.Call) and isinstance(function.func, ast.Attribute):
            function = function.func.value if function.func.attr == "options" else function.func
        else:
            break
    if isinstance(function, ast.Name):
        names.append(function.id)
    for length in (2, 1):
        api = ".".join(reversed(names[:length]))
        if api in known and len(names) > length and (length == 2 or names[length].endswith(CLIENTS)):
            return api
    return None


@cache
def called_routes() -> dict[Route, str]:
    """Route → an API of the client, or the file with the path in it, that asks for it."""
    routes = {route: api for api in called() for route in client_routes()[api]}
    for path in _files("*.py"):
        if path.parent.name == "console":
            continue  # requests for a person to send, with methods of their own; tests/console sends all of them
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                (template,) = _template(node)
                if re.fullmatch(r"/_[a-z][\w/{}-]+", template):
                    # A path that ends in a slash is put together with a name elsewhere.
                    template += "{}" if template.endswith("/") else ""
                    routes.setdefault(Route("GET", template), str(path.relative_to(ROOT)))
    return routes


@cache
def words() -> dict[str, frozenset[str]]:
    """What the shipped bodies name: keys of JSON and YAML (also of dictionaries in Python), and called functions."""
    keys: set[str] = set()
    functions: set[str] = set()
    for pattern in ("*.py", "*.j2", "*.yml", "*.json", "*.ndjson", "*.esql", "*.conf", "*.console"):
        for path in _files(pattern):
            text = path.read_text(encoding="utf-8")
            keys.update(re.findall(r"""["']?([A-Za-z_]\w*)["']?\s*:""", text))
            keys.update(re.findall(r"(\w+)=\{", text))
            keys.update(re.findall(r"""type["']?: ["']?(\w+)""", text))
            functions.update(name.upper() for name in re.findall(r"\b([A-Za-z_]\w*)\(", text))
            functions.update(re.findall(r"\b(FROM|ROW|(?<=\| )[A-Z_]{3,})\b", text))
    return {"keys": frozenset(keys), "functions": frozenset(functions)}


def _files(pattern: str) -> Iterator[Path]:
    for folder in SHIPPED:
        yield from sorted((ROOT / folder).rglob(pattern))
