"""What each key must be allowed to do, rendered for one project: those of the connection roles, Logstash's, Kibana's.

Index and cluster privileges are those of Elasticsearch's documentation ("Elasticsearch privileges"). Each grant is
there for a call that was recorded or is declared (tests/rights, docs/reference/privileges.md); a grant without one
fails a test, and so does a call without one. The reasons stand beside each entry, since a security team asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Callable

    from elastic_ml.project.project import Project

Role = Literal["setup", "ingest", "learn", "read"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""Roles of Airflow's connections to Elasticsearch, as `project.yml` names them."""
Key = Literal["setup", "ingest", "learn", "read", "kibana", "logstash"]
KEYS: Final[tuple[Key, ...]] = get_args(Key)
"""Everybody who needs a key: the roles, Airflow's connection to Kibana, and Logstash."""
PURPOSES: Final[dict[Key, str]] = {
    "setup": "elastic_setup, elastic_rotate_credentials, elastic_remove",
    "ingest": "audit_ingest, record_verdict",
    "learn": "train, promote, rollback, monitor, anomalies, rescore, exchange, health, housekeeping",
    "read": "dashboards, and whoever only looks, also by plan and verify",
    "kibana": "kibana_deploy, elastic_rotate_credentials, elastic_remove; the rules it writes run with its rights",
    "logstash": "the shipped Logstash pipelines",
}
KIBANA_FEATURES: Final[dict[str, str]] = {
    "stackAlerts": "rules",
    "actions": "connectors",
    "savedObjectsManagement": "import and export of the bundle",
    "dashboard_v2": "dashboards",
    "indexPatterns": "data views",
    "savedObjectsTagging": "tags",
    "ml": "anomaly jobs and models shown in the space",
}
"""Kibana features of which the key of `kibana` needs `all`, and what for."""


def role_descriptor(
    project: Project, key: Key, *, serverless: bool = False, repair: bool = False, space: str = "default"
) -> dict[str, Any]:
    """Body of `PUT /_security/role/<name>`, and as well one of `role_descriptors` of an API key.

    :param serverless: leave out what a Serverless project does not know (`manage_ilm`, `read_ilm`).
    :param repair: for `setup`: also what `elastic_setup` with `repair` needs, which rewrites backing indices.
    :param space: for `kibana`: the space that the project's assets live in.
    """
    cluster, indices = _GRANTS[key](project)
    if serverless:
        cluster = [privilege for privilege in cluster if privilege not in {"manage_ilm", "read_ilm"}]
    if repair and key == "setup":
        cluster = [*cluster, "cancel_task"]  # stopping its reindex
        indices = [
            *indices,
            ([f"repaired-*-{name}-*" for name in _managed(project)], ["all"]),
            # Taken out of its stream, a backing index is no longer covered by the stream's privileges.
            ([f".ds-{name}-*" for name in _managed(project)], ["delete_index"]),
        ]
    body: dict[str, Any] = {
        "description": f"airflow-provider-elastic-ml, project {project.name}, {key}: {PURPOSES[key]}",
        "cluster": cluster,
        "indices": [{"names": sorted(names), "privileges": privileges} for names, privileges in indices if names],
    }
    if key == "kibana":
        features = [f"feature_{feature}.all" for feature in KIBANA_FEATURES]
        body["applications"] = [
            {"application": "kibana-.kibana", "privileges": features, "resources": [f"space:{space}"]}
        ]
    return body


Grants = tuple[list[str], list[tuple[list[str], list[str]]]]


def _managed(project: Project) -> list[str]:
    return [stream.name for stream in project.names.audit_streams if stream.managed]


def _streams(project: Project) -> list[str]:
    """Managed audit streams and the verdicts: the ones whose settings are the project's own."""
    return [*_managed(project), project.names.labels_stream]


def _read_streams(project: Project) -> list[str]:
    """Everything that models and datafeeds learn from."""
    names = project.names
    sources = {stream.name for stream in names.audit_streams} | {names.labels_stream}
    sources |= {index for model in project.models() for index in project.model(model).source.index}
    sources |= {index for job in project.anomaly_jobs() for index in project.anomaly_job(job).datafeed.indices}
    return sorted(sources - set(names.operations_streams))


def _features(project: Project) -> list[str]:
    return [project.names.features] if project.names.features else []


def _history(streams: list[str]) -> list[str]:
    return [f"history-{name}-*" for name in streams]


def _aliases(project: Project) -> list[str]:
    """Index aliases, which the privileges on their indices do not cover."""
    names, models = project.names, [project.model(name) for name in project.models()]
    return [names.scores_alias(m.name) if m.supervised else names.results_alias(m.name) for m in models]


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
            ([*_managed(project), f"{names.prefix}-*"], ["manage", "read"]),
            ([names.labels_stream, *names.operations_streams], ["manage"]),
            (_unmanaged(project), ["read", "view_index_metadata"]),
            (_features(project), ["manage", "read", "index"]),
            (_history(_streams(project)), ["manage"]),  # elastic_remove with data
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
            (_history(_streams(project)), ["all"]),
            (_features(project), ["create_index", "read", "index"]),
            ([names.dead_letter], ["create_doc", "delete", "read", "maintenance"]),
            ([names.ledger, names.labels], ["read", "write", "maintenance", "view_index_metadata"]),
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
            (
                [*_read_streams(project), *_history(_managed(project)), *_features(project)],
                ["read", "view_index_metadata"],
            ),
            (logs, ["create_doc", "read", "maintenance"]),
            ([names.dead_letter], ["read"]),
            ([names.alerts], ["write", "read", "maintenance"]),  # an alert that changes is updated
            # health: sizes, which are left out of the answer where the privilege is missing
            (
                [*(stream.name for stream in names.audit_streams), names.labels_stream, *names.operations_streams],
                ["monitor"],
            ),
            ([".ml-anomalies-*"], ["read"]),
            (made, ["all"]),  # housekeeping deletes them
            (_aliases(project), ["manage"]),  # moved to what was made last
            ([names.labels], ["read", "maintenance"]),
            (
                [names.ledger, names.model_cards, names.baselines],
                ["read", "write", "maintenance", "view_index_metadata"],
            ),
        ],
    )


def _read(project: Project) -> Grants:
    names = project.names
    return (
        ["monitor", "read_ilm", "read_pipeline", "monitor_enrich"],  # all but the first for `verify`
        [
            (
                [
                    *_read_streams(project),
                    *_features(project),
                    *names.operations_streams,
                    f"{names.prefix}-*",
                    *_aliases(project),
                    ".ml-anomalies-*",
                ],
                ["read", "view_index_metadata"],
            )
        ],
    )


def _kibana(project: Project) -> Grants:
    names = project.names
    return (
        [],
        [
            # A rule and its connectors run with the rights of whoever wrote it last.
            (
                [*_read_streams(project), *_features(project), *names.operations_streams, names.baselines],
                ["read", "view_index_metadata"],
            ),
            ([names.alerts], ["create_doc"]),  # the connector that keeps alerts
        ],
    )


def _logstash(project: Project) -> Grants:
    names = project.names
    audit = [stream.name for stream in names.audit_streams]
    return ["monitor"], [
        ([*audit, names.predictions, names.registry, names.dead_letter], ["auto_configure", "create_doc"])
    ]


_GRANTS: Final[dict[Key, Callable[[Project], Grants]]] = {
    "setup": _setup,
    "ingest": _ingest,
    "learn": _learn,
    "read": _read,
    "kibana": _kibana,
    "logstash": _logstash,
}
