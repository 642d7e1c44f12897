"""The command line: arguments, dispatch, exit codes.

| code | meaning |
|---|---|
| 0 | done, and nothing is wrong |
| 1 | something is wrong with what was looked at: an invalid file, a difference, a failed check; the output names it |
| 2 | the command could not do its work: wrong arguments, a server that cannot be reached |
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from elastic_ml import __version__
from elastic_ml.cli.output import Output
from elastic_ml.exceptions import ElasticMLError, PartialFailureError, ProjectFileError

WRONG = 1
UNABLE = 2

Command = Callable[..., argparse.ArgumentParser]
"""Makes one command's parser: its name, one line about it, and more about it."""

_CONNECTING = """
connecting:
  --url or ELASTICSEARCH_URL says where; ELASTIC_API_KEY is the encoded API key and ELASTIC_CA_CERTS the path of the CA
  certificate. Without a URL, Airflow's connection is used (--connection, or the one that project.yml names).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    :param arguments: what was typed after `python -m elastic_ml`; by default the process's own.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    output = Output(json=options.json)
    try:
        return options.run(options, output)
    except (ProjectFileError, PartialFailureError) as error:
        output.failure(str(error))
        return WRONG
    except ElasticMLError as error:
        output.failure(str(error))
        return UNABLE
    except ModuleNotFoundError as error:
        output.failure(f"{error}. What else is missing: python -m elastic_ml doctor.")
        return UNABLE
    except OSError as error:
        output.failure(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))
        return UNABLE
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)  # noqa: T201 - a command line
        return 130


def _of(module: str, function: str) -> Callable[[argparse.Namespace, Output], int]:
    """A command that is imported when it runs: doctor has to speak where a library is missing."""

    def run(options: argparse.Namespace, output: Output) -> int:
        result: int = getattr(import_module(f"elastic_ml.cli.{module}"), function)(options, output)
        return result

    return run


def _parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m elastic_ml",
        formatter_class=shape,
        description="The Elastic machine-learning lifecycle from a project folder of YAML.",
        epilog="""first steps:
  python -m elastic_ml init include --name shop      a project folder and DAG files to start from
  python -m elastic_ml check include                 is every file right? no network, for CI
  python -m elastic_ml doctor include                is everything in place around it?
  python -m elastic_ml plan include                  what would elastic_setup write?

exit codes: 0 nothing is wrong; 1 something is, and the output names it; 2 the command could not do its work.
""",
    )
    parser.add_argument("--version", action="version", version=f"airflow-provider-elastic-ml {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, summary: str, details: str = "") -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.\n{details}", formatter_class=shape
        )
        made.add_argument("--json", action="store_true", help="one JSON object instead of text")
        return made

    _add_init(command)
    _add_check(command)
    _add_setup(command)
    _add_roles(command)
    _add_doctor(command)
    return parser


def _add_init(command: Command) -> None:
    init = command(
        "init",
        "write a project folder and DAG files to start from",
        """
Files that exist are kept as they are, so it may be run again. What it writes passes `check` as it is.

examples:
  python -m elastic_ml init include --name shop
      a stream logs-shop.audit-default that this project keeps, fed from files
  python -m elastic_ml init include --name bank --stream logs-ping_one.audit-default --dags dags/ml
      an existing stream whose template and lifecycle belong to somebody else: only scoring is hooked into it
""",
    )
    init.add_argument("folder", metavar="DIR", type=Path, help="the project folder to make, such as include")
    init.add_argument("--name", help="of templates, policies and pipelines; default: the folder's name")
    init.add_argument(
        "--stream",
        action="append",
        default=[],
        metavar="TYPE-DATASET-NAMESPACE",
        help="a data stream that exists already and stays as it is; may be given several times",
    )
    init.add_argument("--namespace", help="last part of the audit streams' names; default: the stream's, or default")
    init.add_argument(
        "--dags", type=Path, default=Path("dags"), metavar="DIR", help="where the DAG files go; default: dags"
    )
    init.set_defaults(run=_of("scaffold", "run_init"))


def _add_check(command: Command) -> None:
    check = command(
        "check",
        "read every file of a project folder and render every body, without network",
        """
Each finding names file, line, field and remedy. Exit code 1 when there is one; warnings do not count.

examples:
  python -m elastic_ml check include            for a person
  python -m elastic_ml check include --json     for a program: one object per finding
""",
    )
    check.add_argument("folder", metavar="DIR", type=Path, help="the project folder")
    check.set_defaults(run=_of("check", "run_check"))


def _add_setup(command: Command) -> None:
    from elastic_ml.cli.connecting import add_connection

    for name, summary in (
        ("plan", "show what elastic_setup would write to a cluster; writes nothing"),
        ("verify", "fail when a cluster differs from what the project wants; writes nothing"),
    ):
        examples = f"""
examples:
  python -m elastic_ml {name} include                                      by Airflow's connection
  python -m elastic_ml {name} include --url https://elastic.example:9200   with ELASTIC_API_KEY in the environment
"""
        setup = command(name, summary, _CONNECTING + examples)
        setup.add_argument("folder", metavar="DIR", type=Path, help="the project folder")
        add_connection(setup)
        setup.set_defaults(run=_of("setup", f"run_{name}"))


def _add_roles(command: Command) -> None:
    roles = command(
        "roles",
        "print what each key must be allowed to do, ready for Elasticsearch, or write it as files",
        """
Six keys: the connection roles setup, ingest, learn and read, Airflow's connection to Kibana, and Logstash. Each is the
body of `PUT /_security/role/<name>`, and as well one entry of `role_descriptors` in `POST /_security/api_key`, which is
what a Serverless project has. Nothing is sent, and no secret is printed.

examples:
  python -m elastic_ml roles include --role learn          one role, for Dev Tools
  python -m elastic_ml roles include --keys                keys instead of roles, for Dev Tools
  python -m elastic_ml roles include --out rights          role files, and make_keys.sh, for whoever makes keys
""",
    )
    roles.add_argument("folder", metavar="DIR", type=Path, help="the project folder")
    roles.add_argument("--role", metavar="KEY", help="only this one, such as learn")
    roles.add_argument("--out", type=Path, metavar="DIR", help="write role files and make_keys.sh there")
    roles.add_argument("--keys", action="store_true", help="print requests for API keys instead of roles")
    roles.add_argument("--expiration", default="90d", help="how long keys are valid; default: 90d")
    roles.add_argument("--space", default="default", help="the Kibana space of the kibana key; default: default")
    roles.add_argument("--repair", action="store_true", help="setup may also run elastic_setup with repair")
    roles.add_argument("--serverless", action="store_true", help="for a Serverless project")
    roles.set_defaults(run=_of("roles", "run_roles"))


def _add_doctor(command: Command) -> None:
    from elastic_ml.cli.connecting import add_connection

    doctor = command(
        "doctor",
        "look at the installation, the project folder, and each connection with its rights",
        "\nOne line per check, with the remedy where something is wrong. Writes nothing. Kibana is always asked as\n"
        "project.yml's Airflow connection says.\n"
        + _CONNECTING
        + """
examples:
  python -m elastic_ml doctor                                          only what is installed
  python -m elastic_ml doctor include                                  by the connections that project.yml names
  python -m elastic_ml doctor include --url https://elastic.example:9200
""",
    )
    doctor.add_argument(
        "folder", metavar="DIR", type=Path, nargs="?", help="the project folder; without it, only what is installed"
    )
    add_connection(doctor)
    doctor.set_defaults(run=_of("doctor", "run_doctor"))
