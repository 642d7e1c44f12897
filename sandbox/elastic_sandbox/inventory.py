"""What the sandbox has, read from its own tables: `python -m elastic_sandbox.inventory` prints it as Markdown.

With the path of a page, the part of it between the two marks is written anew.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

BEGIN, END = "<!-- generated from the code: begin -->", "<!-- generated from the code: end -->"
REFUSED = "Not supported."
"""The docstring of a handler that only refuses, so that the refusal names what it is."""
_FAMILIES = {
    "cluster": "Cluster, tasks, licence",
    "monitoring": "Sizes, disks, keys",
    "privileges": "Privileges",
    "indices": "Indices, templates, data streams, lifecycle",
    "documents": "Documents",
    "search": "Search",
    "reindex": "Reindex, delete by query",
    "ingest": "Ingest",
    "enrich": "Enrich",
    "transform": "Transforms",
    "esql": "ES|QL",
    "ml": "Machine learning",
    "kibana": "Kibana",
}


def routes(*, answered: bool | None = None) -> dict[str, list[tuple[str, str]]]:
    """Path and methods (`GET, POST`) of each API family, in the order of their paths.

    :param answered: only those that do what they say (True), or that always refuse with 501 (False); None for all
    """
    from elastic_sandbox.kibana.routes import routes as kibana_routes
    from elastic_sandbox.server import elasticsearch_router

    found: dict[str, dict[str, list[str]]] = {family: {} for family in _FAMILIES}
    for router in (elasticsearch_router(), kibana_routes):
        for method, path, handler in router.entries:
            if answered is not None and answered == (handler.__doc__ == REFUSED):
                continue
            family = handler.__module__.split(".")[1]
            found[family].setdefault(path, []).append(method)
    return {
        family: [(path, ", ".join(sorted(methods))) for path, methods in sorted(paths.items())]
        for family, paths in found.items()
    }


def parts() -> dict[str, list[str]]:
    """Names of everything that a request body or a query may contain, by kind."""
    from elastic_sandbox.esql.functions import names as esql_functions
    from elastic_sandbox.esql.grammar import COMMANDS as ESQL_COMMANDS
    from elastic_sandbox.indices.field_types import FIELD_TYPES
    from elastic_sandbox.ingest.processors import load_processors, supported
    from elastic_sandbox.ml.analysis_config import ANALYSES
    from elastic_sandbox.ml.anomaly.detectors import FUNCTIONS
    from elastic_sandbox.search.aggregations import AGGREGATIONS
    from elastic_sandbox.search.query_parser import QUERIES
    from elastic_sandbox.transform.config import AGGREGATIONS as TRANSFORM_AGGREGATIONS
    from elastic_sandbox.transform.config import GROUPS

    import_module("elastic_sandbox.ml.inference_processor")  # registers itself
    load_processors()
    return {
        "field types": sorted(FIELD_TYPES),
        "queries": sorted(QUERIES),
        "aggregations": sorted(AGGREGATIONS),
        "ingest processors": supported(),
        "ES|QL commands": sorted(ESQL_COMMANDS),
        "ES|QL functions": sorted(esql_functions()),
        "transform groups": sorted(GROUPS),
        "transform aggregations": sorted(TRANSFORM_AGGREGATIONS),
        "analyses": sorted(ANALYSES),
        "anomaly detector functions": sorted(FUNCTIONS),
    }


def markdown() -> str:
    """The inventory as the text that stands between the marks of a page."""
    lines = ["", "### APIs", ""]
    for family, paths in routes(answered=True).items():
        lines += [f"**{_FAMILIES[family]}**", "", "| path | methods |", "|---|---|"]
        lines += [f"| `{path}` | {methods} |" for path, methods in paths]
        lines.append("")
    refused = [path for paths in routes(answered=False).values() for path, _ in paths]
    lines += [f"Known, and always refused with 501: {_listed(refused)}.", ""]
    lines += ["### What bodies and queries may contain", "", "| kind | names |", "|---|---|"]
    lines += [f"| {kind} | {_listed(names)} |".replace("ES|QL", "ES\\|QL") for kind, names in parts().items()]
    return "\n".join([*lines, ""])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def renewed(page: str) -> str:
    """A page's text with the part between the marks written anew.

    :raises ValueError: the page lacks the marks
    """
    pattern = re.compile(f"({re.escape(BEGIN)}\n).*?({re.escape(END)})", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"the page lacks the lines {BEGIN} and {END}")
    return pattern.sub(lambda found: found[1] + markdown() + found[2], page)


def main() -> None:
    """Print the inventory, or renew the page that is named."""
    if len(sys.argv) == 1:
        print(markdown())  # noqa: T201 (a command's output)
        return
    page = Path(sys.argv[1])
    page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
