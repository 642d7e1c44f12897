"""ILM policies: validated, versioned, kept. Indices walk through them in ilm.py."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import illegal_argument, resource_not_found, unsupported, x_content_parse
from elastic_sandbox.http import duration_seconds
from elastic_sandbox.indices import builtin
from elastic_sandbox.indices.names import matches
from elastic_sandbox.indices.rollover import check_conditions
from elastic_sandbox.shapes import EACH, check_shape

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

Body = dict[str, Any]

# TimeseriesLifecycleType: which action may stand in which phase, in the order they run.
PHASES: dict[str, list[str]] = {
    "hot": ["set_priority", "unfollow", "rollover", "readonly", "downsample", "shrink", "forcemerge",
            "searchable_snapshot"],
    "warm": ["set_priority", "unfollow", "readonly", "downsample", "allocate", "migrate", "shrink", "forcemerge"],
    "cold": ["set_priority", "unfollow", "readonly", "downsample", "searchable_snapshot", "allocate", "migrate",
             "freeze"],
    "frozen": ["unfollow", "searchable_snapshot"],
    "delete": ["wait_for_snapshot", "delete"],
}  # fmt: skip
_NEED_ROLLOVER = ["readonly", "downsample", "shrink", "forcemerge", "searchable_snapshot"]
_ACTION_KEYS: dict[str, set[str]] = {
    "set_priority": {"priority"},
    "unfollow": set(),
    "rollover": {
        "max_age", "max_docs", "max_size", "max_primary_shard_size", "max_primary_shard_docs", "min_age", "min_docs",
        "min_size", "min_primary_shard_size", "min_primary_shard_docs",
    },
    "readonly": set(),
    "downsample": {"fixed_interval", "wait_timeout", "force_merge_index", "sampling_method"},
    "shrink": {"number_of_shards", "max_primary_shard_size", "allow_write_after_shrink"},
    "forcemerge": {"max_num_segments", "index_codec"},
    "searchable_snapshot": {"snapshot_repository", "force_merge_index", "total_shards_per_node", "replicate_for"},
    "allocate": {"number_of_replicas", "include", "exclude", "require", "total_shards_per_node"},
    "migrate": {"enabled"},
    "freeze": set(),
    "wait_for_snapshot": {"policy"},
    "delete": {"delete_searchable_snapshot"},
}  # fmt: skip


# Actions the sandbox can perform; a policy with another one is refused when it is put.
_PERFORMED = ("set_priority", "rollover", "delete")


class LifecyclePolicies:
    """ILM policies of a cluster."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def install_builtin(self) -> None:
        """Write the policies a fresh cluster has."""
        for name, policy in builtin.ILM_POLICIES.items():
            if self._backend.state.get("ilm_policy", name) is None:
                self.put(name, {"policy": policy})

    def put(self, name: str, body: Body) -> list[str]:
        """Create or replace a policy; the same body again leaves its version. Returns the phases that use ``max_size``.

        :raises ElasticError: 400 for unknown phases, actions or keys.
        """
        if set(body) != {"policy"}:
            unknown = sorted(set(body) - {"policy"})
            raise x_content_parse(
                f"[1:1] [put_lifecycle_request] unknown field [{unknown[0]}]" if unknown else "Required [policy]"
            )
        _check_name(name)
        policy = _normalised(body["policy"])
        deprecated = [phase for phase, body in policy["phases"].items()
                      if "max_size" in body["actions"].get("rollover", {})]  # fmt: skip
        kept = self._backend.state.get("ilm_policy", name)
        if kept is not None and kept["policy"] == policy:
            return deprecated
        self._backend.state.put(
            "ilm_policy",
            name,
            {
                "version": 1 if kept is None else kept["version"] + 1,
                "modified_date": self._backend.clock.now_iso(),
                "policy": policy,
            },
        )
        if kept is not None:
            self._backend.indices.ilm.policy_changed(name)
        return deprecated

    def get(self, expression: str | None) -> Body:
        """``{name: {version, modified_date, policy, in_use_by}}``; a plain name that is missing is 404."""
        answer: Body = {}
        pieces = (expression or "*").split(",")
        if len(pieces) > 1 and any("*" in piece for piece in pieces):
            raise illegal_argument(
                "wildcard only supports a single value, please use comma-separated values or a single wildcard value"
            )
        for piece in pieces:
            hits = [item for item in self._backend.state.items("ilm_policy") if matches(piece, item[0])]
            if not hits and "*" not in piece:
                raise resource_not_found(f"Lifecycle policy not found: {piece}")
            for name, kept in hits:
                answer[name] = {**kept, "in_use_by": self.in_use_by(name)}
        return answer

    def delete(self, name: str) -> None:
        """Delete a policy that no index uses."""
        if self._backend.state.get("ilm_policy", name) is None:
            raise resource_not_found(f"Lifecycle policy not found: {name}")
        users = self.in_use_by(name)["indices"]
        if users:
            raise illegal_argument(
                f"Cannot delete policy [{name}]. It is in use by one or more indices: [{', '.join(users)}]"
            )
        self._backend.state.delete("ilm_policy", name)

    def in_use_by(self, name: str) -> dict[str, list[str]]:
        """Indices, data streams and composable templates that name the policy."""
        indices = self._backend.indices
        return {
            "indices": sorted(
                index.name for index in indices.all() if index.settings.get("index.lifecycle.name") == name
            ),
            "data_streams": sorted(
                stream for stream in self._backend.state.names("data_stream") if indices.streams.policy(stream) == name
            ),
            "composable_templates": sorted(
                template_name
                for template_name, template in self._backend.state.items("index_template")
                if indices.templates.compose(template).settings.get("index.lifecycle.name") == name
            ),
        }


def _check_name(name: str) -> None:
    """The words are those of LifecyclePolicy.validatePolicyName."""
    size = len(name.encode())
    problems = {
        "must not contain ','": "," in name,
        "must not contain spaces": " " in name,
        "must not start with '_'": name.startswith("_"),
        f"name is too long, ({size} > 255)": size > 255,
    }
    for problem, found in problems.items():
        if found:
            raise illegal_argument(f"invalid policy name [{name}]: {problem}")


def _normalised(policy: Any) -> Body:
    if not isinstance(policy, dict) or not isinstance(policy.get("phases"), dict):
        raise x_content_parse("[1:1] [lifecycle_policy] failed to parse: Required [phases]")
    for key in policy:
        if key not in {"phases", "_meta", "deprecated"}:
            raise x_content_parse(f"[1:1] [lifecycle_policy] unknown field [{key}]")
    kept = {key: deepcopy(value) for key, value in policy.items() if key != "phases"}
    kept["phases"] = {}
    phase_shape = {"min_age": (str, None), "actions": (EACH(dict), None)}
    check_shape("lifecycle_policy", policy["phases"], EACH((phase_shape, None)))
    for name, phase in policy["phases"].items():
        if name not in PHASES:
            raise illegal_argument(f"Timeseries lifecycle does not support phase [{name}]")
        kept["phases"][name] = _phase(name, phase or {})
    _check_order(kept["phases"])
    for phase in kept["phases"].values():
        for action in phase["actions"]:
            if action not in _PERFORMED:
                raise unsupported(f"ILM action [{action}]")
    return kept


def _phase(name: str, phase: Body) -> Body:
    for key in phase:
        if key not in {"min_age", "actions"}:
            raise x_content_parse(f"[1:1] [phase] unknown field [{key}]")
    age = _shown_age(phase.get("min_age") or "0ms")
    actions = phase.get("actions") or {}
    for action, body in actions.items():
        if action not in _ACTION_KEYS:
            raise x_content_parse(f"[1:1] unknown field [{action}]")
        if action not in PHASES[name]:
            raise illegal_argument(f"invalid action [{action}] defined in phase [{name}]")
        strange = sorted(set(body) - _ACTION_KEYS[action])
        if strange:
            raise x_content_parse(f"[1:1] [{action}] unknown field [{strange[0]}]")
    if name == "hot" and "rollover" not in actions:
        needing = [action for action in _NEED_ROLLOVER if action in actions]
        if needing:
            raise illegal_argument(
                f"the [{', '.join(needing)}] action(s) may not be used in the [hot] phase without an accompanying "
                "[rollover] action"
            )
    if "rollover" in actions:
        if not any(key.startswith("max_") for key in actions["rollover"]):
            raise illegal_argument("At least one max_* rollover condition must be set.")
        check_conditions(actions["rollover"])
    priority = actions.get("set_priority", {"priority": 0}).get("priority", -1)
    if priority is not None and (not isinstance(priority, int) or priority < 0):
        raise illegal_argument("[priority] must be 0 or greater")
    if name == "frozen" and "searchable_snapshot" not in actions:
        raise illegal_argument(
            "policy specifies the [frozen] phase without a corresponding [searchable_snapshot] action, but a "
            "searchable snapshot action is required in the frozen phase"
        )
    shown = {action: _with_defaults(action, body) for action, body in actions.items()}
    return {"min_age": age, "actions": shown}


def _with_defaults(action: str, body: Body) -> Body:
    if action == "delete":
        return {"delete_searchable_snapshot": True, **body}
    return deepcopy(body)


def _shown_age(age: str) -> str:
    return "0ms" if duration_seconds(age, "min_age") == 0 else age


def _check_order(phases: Body) -> None:
    previous_name, previous_age = "", -1.0
    for name in ("warm", "cold", "frozen", "delete"):
        if name not in phases or phases[name]["min_age"] == "0ms":
            continue
        age = duration_seconds(phases[name]["min_age"], "min_age")
        if age < previous_age:
            raise illegal_argument(
                f"Your policy is configured to run the {name} phase (min_age: {phases[name]['min_age']}) before the "
                f"{previous_name} phase (min_age: {phases[previous_name]['min_age']}). You should change the phase "
                "timing so that the phases will execute in the order of hot, warm, then cold."
            )
        previous_name, previous_age = name, age
