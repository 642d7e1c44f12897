"""A page of all DAGs, from the DAGs themselves: `python -m elastic_ml.stages.pages DAGS_FOLDER PAGE`.

Each stage file is run, and of DAGs that differ by their model or job alone one is shown for all.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

HEAD = """# DAGs

Written by `python -m elastic_ml.stages.pages dags docs/dags.md` from the DAGs as they are built; what stands here
stands in Airflow beside each DAG, too.
"""


def built(folder: Path) -> dict[str, list[DAG]]:
    """Run every stage file of a folder; return file name → its DAGs by id. Files without a DAG are left out."""
    found = {}
    for file in sorted(folder.glob("*.py")):
        dags = [value for value in runpy.run_path(str(file)).values() if isinstance(value, DAG)]
        if dags:
            found[file.name] = sorted(dags, key=lambda dag: dag.dag_id)
    return found


def markdown(files: dict[str, list[DAG]]) -> str:
    """Return the page: a table of contents, then each kind of DAG."""
    kinds = [kind for name in sorted(files) for kind in _kinds(files[name])]
    lines = [HEAD, "| DAG | purpose | runs |", "|---|---|---|"]
    for dags in kinds:
        purpose = _page(dags[0]).partition("\n")[0].partition(": ")[2] or dags[0].description or ""
        names = ", ".join(f"[`{dag.dag_id}`](#{_anchor(dags)})" for dag in dags)
        lines.append(f"| {names} | {purpose} | {_schedules(dags)} |")
    return "\n".join([*lines, *(line for dags in kinds for line in _section(dags)), ""])


def graph(dag: DAG) -> list[str]:
    """Return the DAG's tasks and arrows as a mermaid drawing; sensors lean, what asks a person has six corners."""
    lines = ["```mermaid", "flowchart LR"]
    for task in dag.topological_sort():
        left, right = ("[/", "/]") if "Sensor" in task.task_type else ("{{", "}}") if _asks(task) else ("[", "]")
        lines.append(f'  {task.task_id}{left}"{task.task_id}<br/><small>{task.task_type}</small>"{right}')
    for task in dag.topological_sort():
        lines += [f"  {task.task_id} --> {below}" for below in sorted(task.downstream_task_ids)]
        lines += [f'  {task.task_id} -. asset .-> {_node(asset.name)}[("{asset.name}")]' for asset in task.outlets]
    return [*lines, "```"]


def _asks(task: Any) -> bool:
    return "Approval" in task.task_type


def _node(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def _kinds(dags: Iterable[DAG]) -> Iterator[list[DAG]]:
    """DAGs of one file with the same graph and the same page, but for the name that each is about."""
    groups: dict[Any, list[DAG]] = {}
    for dag in dags:
        edges = tuple((task.task_id, tuple(sorted(task.downstream_task_ids))) for task in dag.topological_sort())
        groups.setdefault((edges, _page(dag)), []).append(dag)
    yield from groups.values()


def _page(dag: DAG) -> str:
    """The DAG's page with `<model>` or `<job>` where it names what it is about."""
    text = dag.doc_md or ""
    for tag in sorted(dag.tags, key=len, reverse=True):
        if dag.dag_id.endswith(f"_{tag}"):
            text = text.replace(tag, "*")
    return text


def _anchor(dags: list[DAG]) -> str:
    return "-".join(_node(dag.dag_id) for dag in dags[:1])


def _section(dags: list[DAG]) -> Iterator[str]:
    first = dags[0]
    yield ""
    yield f'<a id="{_anchor(dags)}"></a>'
    yield ""
    yield f"## {', '.join(f'`{dag.dag_id}`' for dag in dags)}"
    yield ""
    yield (first.doc_md or "").strip()
    yield ""
    yield from graph(first)
    if first.params:
        yield ""
        yield "| param | type | default | description |"
        yield "|---|---|---|---|"
        for name in first.params:
            yield _param(name, first.params.get_param(name))
    yield ""
    owners = ", ".join(sorted({task.owner for dag in dags for task in dag.tasks}))
    yield f"Runs: {_schedules(dags)}. Owner: {owners}. Tags: {', '.join(f'`{tag}`' for tag in sorted(first.tags))}."


def _param(name: str, param: Any) -> str:
    schema = param.schema
    kinds = schema.get("type", "one of " + ", ".join(map(str, schema.get("enum", []))))
    kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
    default = "none" if param.value is None else f"`{param.value}`" if param.value != "" else "empty"
    return f"| `{name}` | {kind} | {default} | {param.description or ''} |"


def _schedules(dags: list[DAG]) -> str:
    """When they run; said of each where they differ."""
    words = [_schedule(dag) for dag in dags]
    if len(set(words)) == 1:
        return words[0]
    return "; ".join(f"`{dag.dag_id}` {word}" for dag, word in zip(dags, words, strict=True))


def _schedule(dag: DAG) -> str:
    """When it runs, in words."""
    timetable: Any = dag.timetable
    parts = []
    for part in (timetable, getattr(timetable, "timetable", None)):
        expression = getattr(part, "expression", None) or getattr(part, "_expression", None)
        if expression:
            parts.append(f"`{expression}` UTC")
    assets = sorted(_assets(getattr(timetable, "asset_condition", None)))
    if assets:
        parts.append("on " + ", ".join(f"`{name}`" for name in assets))
    return " or ".join(dict.fromkeys(parts)) or "by hand"


def _assets(condition: Any) -> set[str]:
    """Names of the assets in a condition of assets, alone or combined."""
    if condition is None:
        return set()
    inner = getattr(condition, "objects", None)
    return {condition.name} if inner is None else {name for part in inner for name in _assets(part)}


def main() -> None:
    """Write the page."""
    if len(sys.argv) != 3:
        raise SystemExit("python -m elastic_ml.stages.pages DAGS_FOLDER PAGE")
    folder, page = map(Path, sys.argv[1:])
    page.write_text(markdown(built(folder)), encoding="utf-8")


if __name__ == "__main__":
    main()
