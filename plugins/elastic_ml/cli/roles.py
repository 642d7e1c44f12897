"""`roles`: what each key must be allowed to do, as Elasticsearch takes it, and a script that makes the keys."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import InvalidRequestError
from elastic_ml.project import load_project
from elastic_ml.project.bodies import MANAGED_BY
from elastic_ml.project.privileges import KEYS, PURPOSES, Key, role_descriptor

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from elastic_ml.cli.output import Output

SCRIPT = "make_keys.sh"


def run_roles(options: argparse.Namespace, output: Output) -> int:
    """Print one role descriptor per key, as Dev Tools requests or as one JSON object, or write them as files."""
    if not re.fullmatch(r"[1-9]\d*[dhm]", options.expiration):
        raise InvalidRequestError(
            f"{options.expiration} is no time that a key is valid for.", remedy="Write a number and d, h or m: 90d."
        )
    if options.role not in {None, *KEYS}:
        raise InvalidRequestError(f"{options.role} is no key of this package.", remedy=f"Write {', '.join(KEYS)}.")
    project = load_project(options.folder)
    chosen: tuple[Key, ...] = (options.role,) if options.role else KEYS
    bodies = {
        key: role_descriptor(project, key, serverless=options.serverless, repair=options.repair, space=options.space)
        for key in chosen
    }
    if options.out is not None:
        written = _write(options.out, project.name, bodies, options.expiration)
        output.result("\n".join(f"written  {path}" for path in written), {"written": [str(path) for path in written]})
        return 0
    text = "\n\n".join(
        f"# {key}: {PURPOSES[key]}\n"
        + _request(project.name, key, body, expiration=options.expiration, as_key=options.serverless or options.keys)
        for key, body in bodies.items()
    )
    output.result(text, {f"{project.name}-{key}": body for key, body in bodies.items()})
    return 0


def _request(project: str, key: Key, body: dict[str, Any], *, expiration: str, as_key: bool) -> str:
    """A Dev Tools request: a role, or a key that has it, which is what there is on Serverless."""
    if as_key:
        return f"POST /_security/api_key\n{json.dumps(_key(project, key, body, expiration), indent=2)}"
    return f"PUT /_security/role/{project}-{key}\n{json.dumps(body, indent=2)}"


def _key(project: str, key: Key, body: dict[str, Any], expiration: str) -> dict[str, Any]:
    """Body of the create API key API: a key that may do what the role says, and no more than whoever makes it."""
    return {
        "name": f"{project}-{key}",
        "expiration": expiration,
        "role_descriptors": {f"{project}-{key}": body},
        "metadata": {"managed_by": MANAGED_BY, "project": project, "role": key},
    }


def _write(folder: Path, project: str, bodies: dict[Key, dict[str, Any]], expiration: str) -> list[Path]:
    """Per key a role and a request for a key, and the script that sends these; no secret is among them."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {}
    for key, body in bodies.items():
        texts[f"{project}-{key}.role.json"] = json.dumps(body, indent=2) + "\n"
        texts[f"{project}-{key}.key.json"] = json.dumps(_key(project, key, body, expiration), indent=2) + "\n"
    texts[SCRIPT] = resources.files("elastic_ml").joinpath("cli", SCRIPT).read_text(encoding="utf-8")
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / SCRIPT).chmod(0o755)
    return [folder / name for name in texts]
