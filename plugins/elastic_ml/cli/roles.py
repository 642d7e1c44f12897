"""`roles`: what each connection's key must be allowed to do, as Elasticsearch takes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from elastic_ml.project import load_project
from elastic_ml.project.privileges import PURPOSES, ROLES, role_descriptor

if TYPE_CHECKING:
    import argparse

    from elastic_ml.cli.output import Output


def run_roles(options: argparse.Namespace, output: Output) -> int:
    """Print one role descriptor per connection role, as Dev Tools requests or as one JSON object."""
    project = load_project(options.folder)
    chosen = [options.role] if options.role else ROLES
    descriptors = {role: role_descriptor(project, role, serverless=options.serverless) for role in chosen}
    text = "\n\n".join(
        f"# {role}: {PURPOSES[role]}\n{_request(project.name, role, body, serverless=options.serverless)}"
        for role, body in descriptors.items()
    )
    output.result(text, {f"{project.name}-{role}": body for role, body in descriptors.items()})
    return 0


def _request(project: str, role: str, body: dict[str, Any], *, serverless: bool) -> str:
    """A Dev Tools request: a role, or where roles are not made by this API (Serverless), a key that has it."""
    if not serverless:
        return f"PUT /_security/role/{project}-{role}\n{json.dumps(body, indent=2)}"
    key = {"name": f"{project}-{role}", "role_descriptors": {f"{project}-{role}": body}}
    return f"POST /_security/api_key\n{json.dumps(key, indent=2)}"
