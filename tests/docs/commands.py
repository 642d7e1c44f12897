"""Command lines of the documentation: run where that needs neither network nor time, else read by its parser."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import re
import runpy
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stdout
from datetime import UTC, datetime, timedelta
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit, urlunsplit

import requests

from docs import dag_runs
from docs.pages import ROOT

RAN = "run in the suite"
RUN = {"init", "check", "roles"}
"""Commands of `python -m elastic_ml` that need no cluster."""
STAGES = re.compile(r"(train|promote|monitor|rollback|anomalies)_[a-z_]+|rescore|export_model|import_model")
PORTS = {9200: "elasticsearch_url", 5601: "kibana_url"}


def run(text: str, folder: Path, sandbox: Callable[[], Any] | None, said: list[str]) -> list[str]:
    """Go through a block of shell; returns for each command `RAN`, or `read: ` and the command.

    :param folder: where its commands run.
    :param sandbox: called when a command asks a server; None: no DAG is run.
    :param said: gets what commands print.
    """
    plain = re.sub(r"<(\w+)>", r"/\1", text)
    subprocess.run(["bash", "-n"], input=plain, text=True, check=True, capture_output=True)
    told = []
    for command in commands(plain, folder):
        program, *arguments = command
        ran = False
        if program == "export":
            for each in arguments:
                _export(each)
        elif program == "make":
            _make(arguments)
        elif program == "airflow":
            ran = _airflow(arguments, folder, sandbox, said)
        elif program == "curl":
            assert sandbox is not None
            ran = _curl(arguments, sandbox())
        elif re.fullmatch(r"(.*/)?python3?", program):
            ran = _python(arguments, folder, said)
        else:
            assert program in {".", "pip"}, f"nothing is known of the program {program!r}: mark the block with a reason"
        told.append(RAN if ran else f"read: {' '.join(command)}")
    return told


def commands(text: str, folder: Path) -> Iterator[list[str]]:
    """The simple commands of a script, with its variables, and the dates that it computes, in them."""
    variables = {"PWD": str(folder)}
    for line in (one for each in text.replace("\\\n", " ").splitlines() for one in _repeated(each)):
        if re.match(r"\w+\(\) \{", line):
            continue
        dated = re.sub(r"\$\(((?:date|day) [^()]*)\)", lambda found: _date(found[1]), line)
        lexer = shlex.shlex(dated, posix=True, punctuation_chars=";&|<>")
        lexer.whitespace_split = True
        command: list[str] = []
        for token in [*lexer, ";"]:
            if set(token) <= set(";&|"):
                if command := _meant(command, variables):
                    yield command
                command = []
            else:
                command.append(re.sub(r"\$(\w+)", lambda found: variables[found[1]], token))


def _repeated(line: str) -> list[str]:
    """A line, or what a loop on one line repeats."""
    loop = re.fullmatch(r"for (\w+) in ([^;]+); do (.+); done", line)
    return [loop[3].replace(f"${loop[1]}", value) for value in loop[2].split()] if loop else [line]


def _date(command: str) -> str:
    """What a reader's shell makes of it; `day 3` is three days ago, by a function that the page defines."""
    found = re.fullmatch(r"day (\d+)|date -u -d '(\d+) days ago' \+%F|date -u -d yesterday \+%F", command)
    assert found, f"write a date as `day 3` or `date -u -d '3 days ago' +%F`, not as {command!r}"
    return (datetime.now(UTC) - timedelta(days=int(found[1] or found[2] or 1))).date().isoformat()


def _meant(command: list[str], variables: dict[str, str]) -> list[str]:
    """A command without redirections and assignments; those are noted."""
    if "<" in command or ">" in command:
        command = command[: min(command.index(mark) for mark in "<>" if mark in command)]
    while command and (found := re.fullmatch(r"([A-Z_]+)=(.*)", command[0], re.DOTALL)):
        variables[found[1]] = found[2]
        command = command[1:]
    return command


def _export(assignment: str) -> None:
    name, _, value = assignment.partition("=")
    if name.startswith("AIRFLOW_CONN_"):
        connection = json.loads(value)
        assert connection["conn_type"] in {"elastic", "kibana"}, connection
        assert connection.keys() <= {"conn_type", "host", "login", "password", "extra"}, connection
    elif found := re.fullmatch(r"AIRFLOW__(\w+?)__(\w+)", name):
        from airflow.configuration import conf

        assert conf.has_option(found[1].lower(), found[2].lower()), f"Airflow has no setting {name}"
    else:
        assert name == "AIRFLOW_HOME" or re.search(rf"\b{name}\b", _settings()), f"nothing reads {name}"


@cache
def _settings() -> str:
    """The places that read variables of the environment by name."""
    files = [ROOT / "Makefile", *(ROOT / "logstash").rglob("*.py"), *(ROOT / "plugins/elastic_ml/cli").glob("*.py")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


@cache
def _makefile() -> str:
    return (ROOT / "Makefile").read_text(encoding="utf-8")


def _make(arguments: list[str]) -> None:
    for argument in arguments:
        name, given, _ = argument.partition("=")
        if given:
            assert re.search(rf"\b{name}\b", _makefile()), f"the Makefile knows no {name}"
        else:
            assert re.search(rf"^{name}:", _makefile(), re.MULTILINE), f"there is no target {name}"


@cache
def _airflow_parser() -> argparse.ArgumentParser:
    from airflow.cli.cli_parser import get_parser

    return get_parser()


@cache
def _dag_ids() -> set[str]:
    return set(re.findall(r'<a id="(\w+)">', (ROOT / "docs" / "dags.md").read_text(encoding="utf-8")))


def _airflow(arguments: list[str], folder: Path, sandbox: Callable[[], Any] | None, said: list[str]) -> bool:
    options = vars(_parsed(lambda given: _airflow_parser().parse_args(given), arguments))
    conf = json.loads(options.get("conf") or "{}")
    dag_id = options.get("dag_id")
    assert dag_id is None or dag_id in _dag_ids() or STAGES.fullmatch(dag_id), f"there is no DAG {dag_id}"
    if sandbox is None or options["subcommand"] != "test" or not (folder / "dags").is_dir():
        return False
    said[:] = dag_runs.run(folder, dag_id, sandbox(), conf)
    return True


def _curl(arguments: list[str], sandbox: Any) -> bool:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-X", default="GET")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d")
    parser.add_argument("url")
    options = parser.parse_args(arguments)
    url = urlsplit(options.url)
    there = urlsplit(getattr(sandbox, PORTS[url.port or 0]))
    headers = dict(each.split(": ", 1) for each in options.H)
    answer = requests.request(
        options.X, urlunsplit(url._replace(netloc=there.netloc)), data=options.d, headers=headers, timeout=30
    )
    missing = answer.status_code == 404 and "index_not_found_exception" in answer.text
    assert answer.ok or missing, f"{answer.status_code}: {answer.text[:500]}"
    return not missing


def _python(arguments: list[str], folder: Path, said: list[str]) -> bool:
    if arguments[:2] == ["-m", "venv"]:
        return False
    if arguments[0] == "-m":
        module, *rest = arguments[1:]
        package = importlib.util.find_spec(module)
        assert package is not None, f"there is no module {module}"
        name = f"{module}.__main__" if package.submodule_search_locations else module
        main = importlib.import_module(name).main
    else:
        path, *rest = arguments
        module, main = path, runpy.run_path(str(ROOT / path))["main"]
    if module == "elastic_ml" and rest[0] in RUN and (folder / rest[1]).exists() != (rest[0] == "init"):
        printed = StringIO()
        with chdir(folder), redirect_stdout(printed):
            code = main(rest)
        assert code == 0, printed.getvalue()
        said[:] = printed.getvalue().splitlines()
        return True
    _parsed(main, rest)
    return False


class _ParsedError(Exception):
    """Ends a program right after it has understood its arguments."""


def _parsed(main: Callable[[list[str]], Any], arguments: list[str]) -> argparse.Namespace:
    """What a program makes of its arguments, by its own parser; the rest of it does not run."""
    understood = argparse.ArgumentParser.parse_args

    def only_parse(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
        raise _ParsedError(understood(self, args, namespace))

    said = StringIO()
    try:
        with mock.patch.object(argparse.ArgumentParser, "parse_args", only_parse), mock.patch("sys.stderr", said):
            main(arguments)
    except _ParsedError as parsed:
        options: argparse.Namespace = parsed.args[0]
        return options
    except SystemExit:
        raise AssertionError(f"{' '.join(arguments)}: {said.getvalue()}") from None
    raise AssertionError(f"{' '.join(arguments)}: the program asked no parser")
