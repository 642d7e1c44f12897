"""`python -m elastic_ml.kibana deploy PROJECT_FOLDER [--mode apply]`: what the DAG `kibana_deploy` does, from a shell.

The Kibana is the one that KIBANA_URL names; KIBANA_SPACE, ELASTIC_API_KEY and ELASTIC_CA_CERTS as far as it needs them.
"""

from __future__ import annotations

import argparse
import os
import sys

from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.clients.settings import KibanaSettings
from elastic_ml.exceptions import ConnectionSettingsError, ElasticMLError


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 when something was refused or Kibana could not be asked."""
    parser = argparse.ArgumentParser(prog="python -m elastic_ml.kibana", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    deploy = commands.add_parser("deploy", help="bring dashboards, rules and connectors to Kibana")
    deploy.add_argument("folder", help="the folder of project.yml")
    deploy.add_argument("--mode", choices=("plan", "apply"), default="plan", help="plan writes nothing (default)")
    deploy.add_argument("--url", help="default: KIBANA_URL")
    deploy.add_argument("--space", help="default: KIBANA_SPACE, else the default space")
    for name, what in CHOICES.items():
        deploy.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=what)
    options = parser.parse_args(arguments)
    try:
        return _deploy(options)
    except ElasticMLError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command line
        return 1


CHOICES = {
    "overwrite_edited": "also replace what was edited by hand in Kibana",
    "enforce_enabled": "also switch on rules that were switched off",
    "delete_retired": "also delete rules that no asset folder has any more",
}


def _deploy(options: argparse.Namespace) -> int:
    from elastic_ml.kibana.deployment import Choices, Deployment
    from elastic_ml.kibana_bundle import build_bundle
    from elastic_ml.project import load_project

    project = load_project(options.folder)
    bundle = build_bundle(project)
    with KibanaClient(_settings(options)) as client:
        choices = Choices(**{name: getattr(options, name) for name in CHOICES})
        deployment = Deployment(client, project, bundle.objects, mode=options.mode, choices=choices)
        try:
            deployment.run()
        finally:
            report = deployment.report
            counted = ", ".join(f"{number} {state}" for state, number in report.counts().items())
            print(f"{report.table()}\n{report.mode} in space {report.space}: {counted}")  # noqa: T201
        report.raise_for_state()
    return 0


def _settings(options: argparse.Namespace) -> KibanaSettings:
    url = options.url or os.environ.get("KIBANA_URL")
    if not url:
        raise ConnectionSettingsError(
            "No Kibana was named.",
            remedy="Set KIBANA_URL (and ELASTIC_API_KEY), or start one here with `make sandbox`.",
        )
    return KibanaSettings(
        url=url,
        space=options.space or os.environ.get("KIBANA_SPACE") or "",
        api_key=os.environ.get("ELASTIC_API_KEY") or None,
        ca_certs=os.environ.get("ELASTIC_CA_CERTS") or None,
    )


if __name__ == "__main__":
    sys.exit(main())
