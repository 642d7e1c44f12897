"""The has privileges API, for whom everything is allowed: roles are not enforced here.

Whoever reaches the sandbox is its superuser, and so is its one key. What is checked is that each privilege exists: by
the security specification (`ClusterPrivilege`, `IndexPrivilege`) and, for the failure store's, which it lacks, by the
documentation page "Elasticsearch privileges".
"""

from __future__ import annotations

from typing import Any, Final

from elastic_sandbox.backend import Backend
from elastic_sandbox.errors import ElasticError, action_request_validation, unsupported
from elastic_sandbox.http import Request, Response, Router

routes = Router()

_CLUSTER: Final = frozenset(
    """
    all cancel_task create_snapshot cross_cluster_replication cross_cluster_search delegate_pki grant_api_key manage
    manage_api_key manage_autoscaling manage_ccr manage_data_stream_global_retention manage_enrich manage_esql
    manage_ilm manage_index_templates manage_inference manage_ingest_pipelines manage_logstash_pipelines manage_ml
    manage_own_api_key manage_pipeline manage_saml manage_security manage_service_account manage_slm manage_token
    manage_transform manage_user_profile manage_watcher monitor monitor_enrich monitor_esql monitor_inference
    monitor_ml monitor_snapshot monitor_stats monitor_text_structure monitor_transform monitor_watcher none read_ccr
    read_ilm read_pipeline read_security read_slm transport_client
    """.split()  # noqa: SIM905 - a paragraph of names
)
_INDEX: Final = frozenset(
    """
    all auto_configure create create_doc create_index cross_cluster_replication cross_cluster_replication_internal
    delete delete_index index maintenance manage manage_data_stream_lifecycle manage_failure_store
    manage_follow_index manage_ilm manage_leader_index monitor none read read_cross_cluster read_failure_store
    view_index_metadata write
    """.split()  # noqa: SIM905 - a paragraph of names
)


@routes.route("POST", "/_security/user/_has_privileges")
@routes.route("GET", "/_security/user/_has_privileges")
def has_privileges(backend: Backend, request: Request) -> Response:
    """Whether the caller has the privileges it names: a superuser has every one there is."""
    request.allow()
    body = request.object()
    if body.get("application"):
        raise unsupported("application privileges")
    cluster, index = _names(body.get("cluster", [])), body.get("index", [])
    if not isinstance(index, list) or not all(isinstance(check, dict) for check in index):
        raise _malformed("index")
    if not cluster and not index:
        raise action_request_validation(["must specify at least one privilege"])
    _must_be_known(cluster, _CLUSTER, "cluster")
    granted: dict[str, dict[str, bool]] = {}
    for check in index:
        privileges = _names(check.get("privileges"))
        _must_be_known(privileges, _INDEX, "index")
        for name in _names(check.get("names")):
            granted.setdefault(name, {}).update(dict.fromkeys(privileges, True))
    return {
        "username": "elastic",
        "has_all_requested": True,
        "cluster": dict.fromkeys(cluster, True),
        "index": granted,
        "application": {},
    }


def _names(written: Any) -> list[str]:
    names = [written] if isinstance(written, str) else written
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _malformed("names")
    return names


def _malformed(field: str) -> ElasticError:
    # RoleDescriptor.parsePrivilegesToCheck raises an ElasticsearchParseException, whose words differ from case to case.
    return ElasticError(400, "parse_exception", f"failed to parse privileges check: field [{field}] is malformed")


def _must_be_known(asked: list[str], known: frozenset[str], kind: str) -> None:
    for name in asked:
        if name not in known:
            raise unsupported(f"the {kind} privilege [{name}]")
