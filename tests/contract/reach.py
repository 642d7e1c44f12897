"""Which public class of the package reaches which API of Elasticsearch, read from the sources.

A name that a class or function mentions leads to what it stands for, in its own module or where it was imported from;
a class stands for all of its methods. What the frame of all operators does for each kind of work (stats, stop) is not
counted as theirs: it shows up with the trigger, which does the same.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from contract.callers import ROOT, _api, _template, client_routes

PACKAGE = ROOT / "plugins" / "elastic_ml"
FRAMES = {"ElasticBaseOperator", "RemoteJobOperator", "ElasticHook", "job_status", "stop"}
"""Not followed: they do for every kind of work what only one of them is wanted for."""
PUBLIC = re.compile(r"[A-Z]\w*(Operator|Sensor|Trigger|Notifier)")


class Definition(NamedTuple):
    """A class, function or constant at the top of a module."""

    module: str
    name: str


@dataclass
class _Body:
    apis: set[str] = field(default_factory=set)
    mentions: set[Definition] = field(default_factory=set)


@cache
def reached() -> dict[str, list[str]]:
    """API → names of the operators, sensors, triggers and notifiers that reach it, sorted."""
    bodies = _bodies()
    found: dict[str, set[str]] = {}
    for start in bodies:
        if not PUBLIC.fullmatch(start.name) or start.name in FRAMES:
            continue
        seen, todo = {start}, [start]
        while todo:
            body = bodies[todo.pop()]
            for api in body.apis:
                found.setdefault(api, set()).add(start.name)
            following = {d for d in body.mentions - seen if d in bodies and d.name not in FRAMES}
            seen |= following
            todo += following
    return {api: sorted(names) for api, names in sorted(found.items())}


@cache
def _bodies() -> dict[Definition, _Body]:
    found: dict[Definition, _Body] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        here = {name: Definition(module, name) for node in tree.body for name in _names(node)}
        imported = dict(_imports(tree))
        # What a module imports can be imported from it.
        found |= {Definition(module, name): _Body(mentions={of}) for name, of in imported.items()}
        for node in tree.body:
            for name in _names(node):
                found[Definition(module, name)] = _read(node, {**imported, **here})
    return found


def _names(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id


def _imports(tree: ast.AST) -> Iterator[tuple[str, Definition]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("elastic_ml"):
            for alias in node.names:
                yield alias.asname or alias.name, Definition(str(node.module), alias.name)


def _read(node: ast.stmt, known: dict[str, Definition]) -> _Body:
    body = _Body()
    for each in ast.walk(node):
        if isinstance(each, ast.Call) and (api := _api(each.func, client_routes())):
            body.apis.add(api)
        elif isinstance(each, ast.Name) and each.id in known:
            body.mentions.add(known[each.id])
        elif isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id in known:
            # `module.function` of a module that was imported as a whole.
            of = known[each.value.id]
            body.mentions.add(Definition(f"{of.module}.{of.name}", each.attr))
        elif isinstance(each, ast.JoinedStr) or (isinstance(each, ast.Constant) and isinstance(each.value, str)):
            (template,) = _template(each)
            body.apis.update(_by_path().get(template, ()))
    return body


@cache
def _by_path() -> dict[str, set[str]]:
    """Path with nameless placeholders → the APIs that GET it; for requests written as a path."""
    found: dict[str, set[str]] = {}
    for api, routes in client_routes().items():
        for route in routes:
            if route.method == "GET" and route.path.startswith("/_"):
                found.setdefault(route.path, set()).add(api)
    return found
