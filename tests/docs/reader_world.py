"""What a reader of the documentation has: a clone, folders of their own, terminals.

The pages are followed as they are written, but for `SUBSTITUTIONS`, and `.venv` of the clone is there already.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import requests

from demo.airflow_server import AirflowServer
from demo.sessions import Sessions, free_port, session_members
from docs.pages import ROOT
from docs.terminal import Terminal

SUBSTITUTIONS = (
    ("make sandbox ", "make sandbox PORT={port} KIBANA_PORT={kibana_port} ", "9200 and 5601 may be taken here"),
    ("http://127.0.0.1:9200", "http://127.0.0.1:{port}", "likewise"),
    ("http://127.0.0.1:5601", "http://127.0.0.1:{kibana_port}", "likewise"),
    ("KIBANA_URL=https://... ELASTIC_API_KEY=...", "KIBANA_URL=http://127.0.0.1:{kibana_port}", "the sandbox's"),
    ("AIRFLOW__CORE__LOAD_EXAMPLES=False", "AIRFLOW__CORE__LOAD_EXAMPLES=False {airflow}",
     "8080 and the ports of its log servers may be taken here, and nobody else is to reach it"),
    ("--port 8090", "--port {receiver_port}", "8090 may be taken here"),
    ("/tmp/audit", "{folder}/audit", "another walk may read there"),
    ("/tmp/shop", "{folder}/shop-data", "likewise"),
    ("pip install ",
     "{uv} pip install -q --compile-bytecode --constraint {clone}/requirements.txt --find-links {clone}/build/dist ",
     "the same from uv's cache, with the versions that this clone was tested with; our package is on no index"),
    ("<clone>", "{clone}", "readers know where theirs is"),
    ("path/to/project/folder", "include", "likewise"),
    ("path/for/scripts", "scripts", "likewise"),
)  # fmt: skip
"""What stands on the page, what is typed instead, and why."""

NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", ".*_cache", ".cache", ".hypothesis", ".ci")
PATIENCE_SECONDS = 600.0
"""For whatever is waited for; a quiet machine takes a tenth of it at most."""
OUTSIDE = ("AIRFLOW", "ELASTIC", "KIBANA", "PYTHON", "VIRTUAL_ENV", "LOGSTASH", "MAKE", "MFLAGS")
"""Variables of whoever runs the tests, which a reader does not have."""


@dataclass
class World:
    """A reader's machine: everything is under one folder, and ends with it."""

    folder: Path
    sessions: Sessions
    ports: dict[str, int]
    terminals: dict[str, Terminal] = field(default_factory=dict)
    walked: set[str] = field(default_factory=set)
    """Pages that were walked to their end."""

    @property
    def clone(self) -> Path:
        """A copy of this checkout."""
        return self.folder / "clone"

    @property
    def elasticsearch(self) -> str:
        """Where `make sandbox` serves."""
        return f"http://127.0.0.1:{self.ports['port']}"

    @property
    def kibana(self) -> str:
        """Where it serves Kibana."""
        return f"http://127.0.0.1:{self.ports['kibana_port']}"

    @cached_property
    def airflow(self) -> AirflowServer:
        """The Airflow of the adopter's repository, once its passwords are made."""
        passwords = self.folder / "repository/.airflow/simple_auth_manager_passwords.json.generated"
        url = f"http://127.0.0.1:{self.ports['airflow_port']}"
        return AirflowServer(url, json.loads(passwords.read_text()), _http=_Patient())

    def here(self, text: str) -> str:
        """What is typed for a page's text: its substitutions."""
        for told, meant, _ in SUBSTITUTIONS:
            text = text.replace(told, meant.format(**self._values))
        return text

    def terminal(self, name: str) -> Terminal:
        """The terminal of that name, opened at the first call in the folder that is the first word of it."""
        if name not in self.terminals:
            folder = self.folder / name.split(maxsplit=1)[0]
            folder.mkdir(exist_ok=True)
            self.terminals[name] = Terminal(self.sessions, name.replace(" ", "-"), folder, self._environment)
        return self.terminals[name]

    def search(self, path: str, **body: Any) -> Any:
        """Ask the sandbox; everything that was indexed is found."""
        requests.post(f"{self.elasticsearch}/_refresh", timeout=30).raise_for_status()
        answer = requests.post(f"{self.elasticsearch}/{path}", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    @property
    def _values(self) -> dict[str, Any]:
        url = f"http://localhost:{self.ports['airflow_port']}"
        settings = {
            "API__PORT": self.ports["airflow_port"],
            "API__BASE_URL": url,
            "API__HOST": "127.0.0.1",
            "LOGGING__WORKER_LOG_SERVER_PORT": self.ports["worker_port"],
            "LOGGING__TRIGGER_LOG_SERVER_PORT": self.ports["trigger_port"],
        }
        airflow = " ".join(f"AIRFLOW__{name}={value}" for name, value in settings.items())
        uv = Path(sys.executable).with_name("uv")
        return {**self.ports, "folder": self.folder, "clone": self.clone, "airflow": airflow, "uv": uv}

    @property
    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OUTSIDE)}
        own = str(Path(sys.executable).parent)
        path = [part for part in kept.get("PATH", "").split(os.pathsep) if part != own]
        # The interpreter of this environment under the name that readers call theirs.
        return {**kept, "PATH": os.pathsep.join([str(self.folder / "bin"), *path]), "PYTHONUNBUFFERED": "1"}


class _Patient(requests.Session):
    """Waits longer for an answer than a tour does: on a busy machine Airflow's first ones take a minute."""

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        return super().request(*arguments, **{**options, "timeout": PATIENCE_SECONDS})


@contextmanager
def reader_world(folder: Path) -> Iterator[World]:
    """Make a machine with a clone on it; end everything that was started on it when the block ends."""
    names = ("port", "kibana_port", "other_port", "other_kibana_port", "third_port", "third_kibana_port")
    ports = {name: free_port() for name in (*names, "airflow_port", "receiver_port")}
    ports |= {name: free_port("0.0.0.0") for name in ("worker_port", "trigger_port")}
    world = World(folder, Sessions(folder / "terminals"), ports)
    (folder / "bin").mkdir()
    base = Path(sys.base_prefix) / "bin" / "python3"
    (folder / "bin" / "python3").symlink_to(base)
    _clone(world.clone, base)
    try:
        yield world
    finally:
        started = [process.pid for process in world.sessions.started.values()]
        world.sessions.stop()
        for terminal in world.terminals.values():
            terminal.close()
        left = [member for session in started for member in session_members(session)]
        assert not left, f"still there after the terminals were closed: {left}"


def _clone(clone: Path, base: Path) -> None:
    """A copy of the checkout whose `.venv` is made already: `make` would spend a minute on it.

    It has the libraries of the environment that runs this, and the packages of the copy. The stamps keep `make` from
    installing anything.
    """
    shutil.copytree(ROOT, clone, ignore=NOT_COPIED, symlinks=True)
    installed = Path(sys.prefix)
    made = clone / ".venv"
    packages = made / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    (made / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    folders = [*(clone / name for name in ("plugins", "include", "sandbox")), installed / packages.relative_to(made)]
    # A line that is a folder goes on the path; the .pth files in there, one of them this checkout's, are not read.
    (packages / "clone.pth").write_text("".join(f"{folder}\n" for folder in folders))
    (made / "bin").mkdir()
    for name in ("python", "python3"):
        (made / "bin" / name).symlink_to(base)
    for program in (installed / "bin").iterdir():
        target = made / "bin" / program.name
        if program.name.startswith(("python", "activate")):
            continue
        text = program.read_bytes()
        if text.startswith(b"#!"):
            target.write_bytes(text.replace(str(installed / "bin").encode(), str(made / "bin").encode()))
            target.chmod(0o755)
        else:
            target.symlink_to(program)
    (made / "bin" / "activate").write_text(f"export VIRTUAL_ENV={made} PATH={made}/bin:$PATH\n")
    for stamp in ("uv", "demo", "dev"):
        (made / f"{stamp}.stamp").touch()


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS, every: float = 0.2) -> Any:
    """The condition's value as soon as it is true; fails, naming what was waited for, when it takes too long."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(every)
    return value
