"""The compose file, its variables and the scripts it runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
FOLDER = ROOT / "docker"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z_]+)[^}]*\}")


def services() -> dict[str, dict[str, Any]]:
    """The services with their merge keys resolved."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def variables_used() -> set[str]:
    """Names in ``${NAME:?...}``; ``$$NAME`` is the container's."""
    return set(_VARIABLE.findall(COMPOSE.read_text()))


def is_job(service: dict[str, Any]) -> bool:
    """Whether a service ends by itself."""
    return service["restart"] == "no"
