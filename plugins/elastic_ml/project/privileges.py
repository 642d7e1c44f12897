"""What the key of each connection role must be allowed to do, rendered for one project.

Index and cluster privileges are those of Elasticsearch's documentation ("Elasticsearch privileges"). The specification
names privileges for some endpoints only, and none for bulk, enrich, pipelines and aliases; those follow that page. The
reasons stand beside each entry, since a security team asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, get_args

if TYPE_CHECKING:
    from elastic_ml.project.project import Project

Role = Literal["setup", "ingest", "learn", "read"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
PURPOSES: Final[dict[Role, str]] = {
    "setup": "elastic_setup, elastic_rotate_credentials, elastic_remove",
    "ingest": "audit_ingest, record_verdict",
    "learn": "train, promote, rollback, monitor, anomalies, rescore, exchange, health, housekeeping",
    "read": "dashboards, and whoever only looks; plan and verify need setup's",
}


def role_descriptor(project: Project, role: Role, *, serverless: bool = False) -> dict[str, Any]:
    """Body of `PUT /_security/role/<name>`, and as well one of `role_descriptors` of an API key.

    :param serverless: leave out what a Serverless project does not know (`manage_ilm`).
    """
    cluster, indices = _GRANTS[role](project)
    if serverless:
        cluster = [privilege for privilege in cluster if privilege != "manage_ilm"]
    return {
        "description": f"airflow-provider-elastic-ml, project {project.name}, role {role}: {PURPOSES[role]}",
        "cluster": cluster,
        "indices": [{"names": sorted(names), "privileges": privileges} for names, privileges in indices if names],
    }


Grants = tuple[list[str], list[tuple[list[str], list[str]]]]


def _streams(project: Project) -> list[str]:
    """Managed audit streams and the verdicts: the ones whose settings are the project's own."""
    names = project.names
    return [*(stream.name for stream in names.audit_streams if stream.managed), names.labels_stream]


def _read_streams(project: Project) -> list[str]:
    """Everything that models and datafeeds learn from."""
    names = project.names
    sources = {stream.name for stream in names.audit_streams} | {names.labels_stream}
    sources |= {index for model in project.models() for index in project.model(model).source.index}
    sources |= {index for job in project.anomaly_jobs() for index in project.anomaly_job(job).datafeed.indices}
    return sorted(sources - set(names.operations_streams))


def _features(project: Project) -> list[str]:
    return [project.names.features] if project.names.features else []


def _history(project: Project) -> list[str]:
    return [f"history-{stream.name}-*" for stream in project.names.audit_streams if stream.managed]


def _setup(project: Project) -> Grants:
    names = project.names
    return (
        [
            "monitor",
            "manage_ilm",
            "manage_index_templates",
            "manage_ingest_pipelines",
            "manage_enrich",
            "manage_transform",
            "manage_ml",  # elastic_remove, and datafeeds' keys at a rotation
        ],
        [
            # A transform and an enrich policy read with the rights of who wrote and executed them.
            ([*_streams(project), *names.operations_streams, f"{names.prefix}-*"], ["manage", "read"]),
            (_unmanaged(project), ["read", "view_index_metadata"]),
            (_features(project), ["manage", "read", "index"]),
            (_history(project), ["manage"]),  # elastic_remove with data
            ([names.alerts], ["create_doc"]),  # a missed deadline
        ],
    )


def _unmanaged(project: Project) -> list[str]:
    return [stream.name for stream in project.names.audit_streams if not stream.managed]


def _ingest(project: Project) -> Grants:
    names = project.names
    return (
        [
            "monitor",
            "manage_index_templates",  # history takes over what its stream's template would give it
            "manage_transform",  # user-hours of a sealed month
        ],
        [
            (
                _streams(project),
                # delete: copies after a rollover; manage: sealing a month; the failure store: counts and replays
                ["create_doc", "delete", "read", "read_failure_store", "manage_failure_store", "manage"],
            ),
            (_history(project), ["all"]),
            (_features(project), ["read", "index"]),
            ([names.dead_letter], ["create_doc", "delete", "read", "maintenance"]),
            ([names.ledger, names.labels], ["read", "write", "maintenance"]),
            ([names.alerts], ["create_doc"]),
        ],
    )


def _learn(project: Project) -> Grants:
    names = project.names
    made = [f"{names.prefix}-{what}-*" for what in ("train", "holdout", "results", "scores")]
    logs = [stream for stream in names.operations_streams if stream not in {names.alerts, names.dead_letter}]
    return (
        [
            "monitor",
            "cancel_task",  # stopping a reindex
            "manage_ml",
            "manage_enrich",
            "manage_ingest_pipelines",
            "monitor_transform",
        ],
        [
            ([*_read_streams(project), *_history(project), *_features(project)], ["read", "view_index_metadata"]),
            (logs, ["create_doc", "read", "maintenance"]),
            ([names.dead_letter], ["read"]),
            ([names.alerts], ["create_doc", "write", "read", "maintenance"]),  # an alert that changes is updated
            ([".ml-anomalies-*"], ["read"]),
            (made, ["all"]),  # their aliases are moved, housekeeping deletes them
            ([names.ledger, names.labels, names.model_cards, names.baselines], ["read", "write", "maintenance"]),
        ],
    )


def _read(project: Project) -> Grants:
    names = project.names
    return (
        ["monitor"],
        [
            (
                [
                    *_read_streams(project),
                    *_features(project),
                    *names.operations_streams,
                    f"{names.prefix}-*",
                    ".ml-anomalies-*",
                ],
                ["read", "view_index_metadata"],
            )
        ],
    )


_GRANTS: Final = {"setup": _setup, "ingest": _ingest, "learn": _learn, "read": _read}
