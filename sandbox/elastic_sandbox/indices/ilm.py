"""Index lifecycle management: managed indices walk through the steps of their policy, by the sandbox's clock.

Nothing runs in the background. Before each request the server calls :meth:`IndexLifecycle.tick`, which does what a
cluster would have done by then: at once what a cluster does on a change of its state, and every ten minutes of the
clock (``indices.lifecycle.poll_interval``) what waits for conditions. A clock that jumps over many intervals is polled
as often, but all at the moment it arrived at, as if the cluster had slept; an index that fails then waits for the next.

Checked against Elastic's tests ilm/20_move_to_step.yml to 60_remove_policy_for_index.yml and against the sources of
x-pack ILM: IndexLifecycleRunner (what a poll does, and what a change of state), IndexLifecycleTransition (moves,
errors, retries), RolloverAction and WaitForRolloverReadyStep, UpdateRolloverLifecycleDateStep, DeleteStep,
PhaseCompleteStep.
Not shown, because they are over at once: the branches before ``unfollow`` and ``migrate``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from elastic_sandbox.clock import Poll
from elastic_sandbox.errors import ElasticError, illegal_argument
from elastic_sandbox.http import duration_seconds
from elastic_sandbox.indices.index import Index
from elastic_sandbox.indices.lifecycle import PHASES
from elastic_sandbox.indices.rollover import evaluate, met, rollover

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

Body = dict[str, Any]

POLL_SECONDS = 600.0
_STEPS = {
    "set_priority": ("set_priority",),
    "rollover": ("check-rollover-ready", "attempt-rollover", "wait-for-active-shards",
                 "update-rollover-lifecycle-date", "set-indexing-complete"),
    "migrate": ("migrate", "check-migration"),
    "delete": ("wait-for-shard-history-leases", "check-ts-end-time-passed", "cleanup-snapshot", "delete"),
}  # fmt: skip
# AsyncWaitStep: evaluated by a poll only, one for each poll.
_POLLED = {"check-rollover-ready", "wait-for-shard-history-leases", "check-ts-end-time-passed"}
# Every index that enters one of these is moved to its tier, unless the policy says otherwise (page "Migrate").
_TIERS = {"warm": "data_warm,data_hot", "cold": "data_cold,data_warm,data_hot"}
MAX_SHARD_DOCUMENTS = 200_000_000


class StepKey(NamedTuple):
    """Where in its policy an index is."""

    phase: str
    action: str
    name: str

    def __str__(self) -> str:
        return orjson.dumps(self._asdict()).decode()


NEW = StepKey("new", "complete", "complete")
# TerminalPolicyStep: no index gets there by itself (PhaseCompleteStep.finalStep), but any can be moved there.
COMPLETED = StepKey("completed", "completed", "completed")


class _IndexGoneError(Exception):
    """The step deleted the index."""


@dataclass
class IndexLifecycle:
    """The lifecycle service; where each index is lies in :attr:`Index.lifecycle`."""

    backend: Backend

    def __post_init__(self) -> None:
        self.changed = True
        self._poll = Poll(self.backend.clock, POLL_SECONDS)

    def reset(self) -> None:
        """Start the poll interval anew."""
        self.changed = True
        self._poll.restart()

    @property
    def mode(self) -> str:
        """``RUNNING`` or ``STOPPED``."""
        kept = self.backend.state.get("settings", "ilm")
        return "RUNNING" if kept is None else str(kept["operation_mode"])

    def set_mode(self, mode: str) -> None:
        """Start or stop the service."""
        self.backend.state.put("settings", "ilm", {"operation_mode": mode})
        self.changed = True

    def tick(self) -> None:
        """Do what has become due since the last call."""
        due = self._poll.due()
        if not due and not self.changed:
            return
        with self.backend.lock:
            # A change of state came before the poll.
            turns = [0] * self.changed + [due] * (due > 0)
            self.changed = False
            if self.mode == "RUNNING":
                for polls in turns:
                    for index in self.backend.indices.all():
                        if self.backend.indices.get(index.name) is index:
                            self._run(index, polls=polls)

    def policy_of(self, index: Index) -> str | None:
        """The policy an index is managed by; None also when a data stream lifecycle goes first."""
        name: str | None = index.settings.get("index.lifecycle.name")
        if name is None or index.failure_store or self.backend.indices.stream_lifecycle.manages(index):
            return None
        return name

    # Walking --------------------------------------------------------------------------------------------------------

    def _run(self, index: Index, *, polls: int) -> None:
        name = self.policy_of(index)
        if name is None:
            if index.lifecycle:
                index.lifecycle = {}
                index.save()
            return
        kept = self.backend.state.get("ilm_policy", name)
        before = dict(index.lifecycle)
        try:
            if kept is None:
                index.lifecycle["step_info"] = _cause(illegal_argument(f"policy [{name}] does not exist"))
            else:
                self._walk(index, kept, polls)
        except _IndexGoneError:
            return
        if index.lifecycle != before:
            index.save()

    def _walk(self, index: Index, kept: Body, polls: int) -> None:
        state = index.lifecycle
        if "step" not in state:
            state.clear()
            state["lifecycle_date"] = index.created_ms
            self._enter(index, NEW, kept)
        if state["step"] == "ERROR":
            if not polls:
                return
            polls -= 1
            self._enter_failed(index, kept, retries=(state.get("retries") or 0) + 1)
        resting = current(state)
        while True:
            key = current(state)
            if key.name in _POLLED and not polls:
                return
            if key.name in _POLLED or (key == resting and key.action == "complete"):
                polls -= min(polls, 1)
            try:
                if not self._perform(index, key, kept):
                    return
                following = self._following(state, key, kept)
            except ElasticError as error:
                state |= {
                    "step": "ERROR",
                    "failed_step": key.name,
                    "step_info": _cause(error),
                    "step_time": self._now(),
                }
                return
            if following is None:
                return
            self._enter(index, following, kept)

    def _enter_failed(self, index: Index, kept: Body, *, retries: int | None) -> None:
        """Back to the step that failed, with the policy's present definition of it if there is one."""
        state = index.lifecycle
        key = StepKey(state["phase"], state["action"], state["failed_step"])
        refreshed = key.action in kept["policy"]["phases"].get(key.phase, {}).get("actions", {})
        self._enter(index, key, kept, refreshed=refreshed)
        state["retries"] = retries

    def _enter(self, index: Index, key: StepKey, kept: Body, *, refreshed: bool = False) -> None:
        state, now = index.lifecycle, self._now()
        if state.get("phase") != key.phase or refreshed:
            definition = kept["policy"]["phases"].get(key.phase)
            if state.get("phase") != key.phase:
                state |= {"phase": key.phase, "phase_time": now}
            state |= {"definition": definition, "version": kept["version"], "modified_date": kept["modified_date"]}
        if state.get("action") != key.action or state.get("phase_time") == now:
            state |= {"action": key.action, "action_time": now}
        for name in ("failed_step", "retries", "step_info"):
            state.pop(name, None)
        state |= {"step": key.name, "step_time": now}

    def _following(self, state: Body, key: StepKey, kept: Body) -> StepKey | None:
        phases = kept["policy"]["phases"]
        order = ["new", *PHASES]
        later = [name for name in order[order.index(key.phase) + 1 :] if name in phases]
        if key.action == "complete":
            if not later:
                return None
            return (phase_steps(later[0], phases[later[0]]) or [_end(later[0])])[0]
        steps = phase_steps(key.phase, state["definition"])
        position = steps.index(key) + 1
        return steps[position] if position < len(steps) else _end(key.phase)

    def _perform(self, index: Index, key: StepKey, kept: Body) -> bool:
        """Do one step; False when it has to wait."""
        state = index.lifecycle
        if key == COMPLETED:
            return False
        if key.action == "complete":
            return self._may_leave(index, key.phase, kept)
        action = (state["definition"] or {}).get("actions", {}).get(key.action, {})
        if key.name == "set_priority":
            self._set(index, "index.priority", action.get("priority"))
        elif key.name == "migrate":
            self._set(index, "index.routing.allocation.include._tier_preference", _TIERS[key.phase])
        elif key.name == "check-rollover-ready":
            return self._rollover_ready(index, action)
        elif key.name == "attempt-rollover":
            self._roll(index)
        elif key.name == "update-rollover-lifecycle-date":
            state["lifecycle_date"] = self._rolled_ms(index)
        elif key.name == "set-indexing-complete":
            self._set(index, "index.lifecycle.indexing_complete", "true")
        elif key.name == "delete":
            self._delete(index)
            raise _IndexGoneError
        return True

    def _may_leave(self, index: Index, phase: str, kept: Body) -> bool:
        phases = kept["policy"]["phases"]
        order = ["new", *PHASES]
        later = [name for name in order[order.index(phase) + 1 :] if name in phases]
        if not later:
            return False
        wait = duration_seconds(phases[later[0]]["min_age"].replace("0ms", "0"), "min_age")
        return self._now() - lifecycle_date(index) >= wait * 1000

    def _set(self, index: Index, setting: str, value: Any) -> None:
        if value is None:
            index.settings.pop(setting, None)
        else:
            index.settings[setting] = str(value)

    # Rollover -------------------------------------------------------------------------------------------------------

    def _rollover_ready(self, index: Index, action: Body) -> bool:
        target = self._rollover_target(index)
        if target is None:
            return True
        return met(evaluate(self.backend, index, with_implied(action)))

    def _rollover_target(self, index: Index) -> str | None:
        """The data stream or alias to roll over; None when this index needs none (any more).

        A backing index that is not the write index, and an index said to be complete, skip the rollover. The order of
        the checks is WaitForRolloverReadyStep's.
        """
        stream = index.data_stream
        if stream is not None:
            kept = self.backend.indices.streams.get(stream)
            return stream if kept is not None and kept["indices"][-1] == index.name else None
        alias: str | None = index.settings.get("index.lifecycle.rollover_alias")
        if not alias:
            raise illegal_argument(
                f"setting [index.lifecycle.rollover_alias] for index [{index.name}] is empty or not defined"
            )
        if alias in index.rolled:
            return None
        writes = index.aliases.get(alias, {}).get("is_write_index")
        if index.settings.get("index.lifecycle.indexing_complete") == "true":
            if writes:
                raise _illegal_state(
                    f"index [{index.name}] has [index.lifecycle.indexing_complete] set to [true], but is still the "
                    f"write index for alias [{alias}]"
                )
            return None
        if alias not in index.aliases:
            raise illegal_argument(f"index.lifecycle.rollover_alias [{alias}] does not point to index [{index.name}]")
        if writes is False:
            raise illegal_argument(f"index [{index.name}] is not the write index for alias [{alias}]")
        if writes is None and len(self.backend.indices.alias_targets(alias)) > 1:
            raise illegal_argument(f"rollover target [{alias}] does not point to a write index")
        return alias

    def _roll(self, index: Index) -> None:
        target = self._rollover_target(index)
        if target is not None:
            rollover(self.backend, target, None, {}, dry_run=False, lazy=False)

    def _rolled_ms(self, index: Index) -> int:
        target = index.data_stream or index.settings.get("index.lifecycle.rollover_alias")
        if index.settings.get("index.lifecycle.indexing_complete") == "true":
            return self._now()
        if target not in index.rolled:
            raise _illegal_state(
                f"no rollover info found for [{index.name}] with rollover target [{target}], the index has not yet "
                "rolled over with that target"
            )
        return index.rolled[target]

    def _delete(self, index: Index) -> None:
        indices, stream = self.backend.indices, index.data_stream
        kept = None if stream is None else indices.streams.get(stream)
        if stream is not None and kept is not None and kept["indices"][-1] == index.name:
            if len(kept["indices"]) == 1:
                indices.streams.delete(stream)
                return
            name = index.settings["index.lifecycle.name"]
            raise _illegal_state(
                f"index [{index.name}] is the write index for data stream [{stream}]. stopping execution of lifecycle "
                f"[{name}] as a data stream's write index cannot be deleted. manually rolling over the index will "
                "resume the execution of the policy as the index will not be the data stream's write index anymore"
            )
        indices.delete(index.name)

    def _now(self) -> int:
        return self.backend.clock.now_ms()

    # Requests -------------------------------------------------------------------------------------------------------

    def policy_changed(self, name: str) -> None:
        """Indices in a phase whose steps the new version leaves as they are go on with the new definition."""
        kept = self.backend.state.get("ilm_policy", name)
        assert kept is not None
        for index in self.backend.indices.all():
            state, phases = index.lifecycle, kept["policy"]["phases"]
            new = phases.get(state.get("phase"))
            old = state.get("definition")
            if self.policy_of(index) != name or not old or not new:
                continue
            if phase_steps(state["phase"], old) == phase_steps(state["phase"], new):
                state |= {"definition": new, "version": kept["version"], "modified_date": kept["modified_date"]}
                index.save()
        self.changed = True

    def move(self, name: str, start: Body, target: Body) -> None:
        """Put an index that is on one step on another; the step is then performed at once.

        :raises ElasticError: 400 when it is elsewhere, not managed, or the policy has no such step
        """
        index = self._existing(name)
        policy = self.policy_of(index)
        kept = None if policy is None else self.backend.state.get("ilm_policy", policy)
        if kept is None:
            raise illegal_argument(f"index [{name}] is not associated with an Index Lifecycle Policy")
        wanted = StepKey(target["phase"], target.get("action", ""), target.get("name", ""))
        expected = StepKey(start["phase"], start.get("action", ""), start.get("name", ""))
        here = current(index.lifecycle)
        if here != expected:
            raise illegal_argument(f"index [{name}] is not on current step [{expected}], currently: [{here}]")
        known = policy_steps(kept["policy"]["phases"])
        hits = [key for key in known if all(want in {"", have} for want, have in zip(wanted, key, strict=True))]
        if not hits:
            if "" in wanted:
                raise illegal_argument(
                    f"cannot move index [{name}] with policy [{policy}]: unable to determine concrete step key from "
                    f"target next step key: {wanted}"
                )
            raise illegal_argument(f"step [{wanted}] for index [{name}] with policy [{policy}] does not exist")
        self._enter(index, hits[0], kept, refreshed=True)
        self._run(index, polls=0)
        index.save()

    def retry(self, expression: str) -> None:
        """Put indices back on their failed step; 400 when one of them has none. What needs a poll waits for it."""
        indices = [self._existing(name) for name in expression.split(",")]
        for index in indices:
            if index.lifecycle.get("step") != "ERROR":
                raise illegal_argument(
                    f"cannot retry an action for an index [{index.name}] that has not encountered an error when "
                    "running a Lifecycle Policy"
                )
        for index in indices:
            kept = self.backend.state.get("ilm_policy", self.policy_of(index) or "")
            if kept is not None:
                self._enter_failed(index, kept, retries=index.lifecycle.get("retries"))
                self._run(index, polls=0)
                index.save()

    def _existing(self, name: str) -> Index:
        index = self.backend.indices.get(name)
        if index is None:
            raise illegal_argument(f"index [{name}] does not exist")
        return index

    def remove(self, indices: list[Index]) -> None:
        """Take indices out of lifecycle management, with all ``index.lifecycle`` settings."""
        for index in indices:
            for setting in [name for name in index.settings if name.startswith("index.lifecycle.")]:
                if setting != "index.lifecycle.origination_date" or index.lifecycle:
                    del index.settings[setting]
            index.lifecycle = {}
            index.save()

    def explain(self, index: Index) -> Body:
        """One index as ``_ilm/explain`` shows it."""
        name, state, now = self.policy_of(index), index.lifecycle, self._now()
        if name is None:
            return {"index": index.name, "managed": False}
        shown: Body = {
            "index": index.name,
            "managed": True,
            "index_creation_date_millis": index.created_ms,
            "time_since_index_creation": human_time(now - index.created_ms),
            "policy": name,
        }
        if "lifecycle_date" in state:
            since = lifecycle_date(index)
            shown |= {"lifecycle_date_millis": since, "age": human_time(now - since)}
        for part in ("phase", "action", "step"):
            if part in state:
                shown |= {part: state[part], f"{part}_time_millis": state[f"{part}_time"]}
        if "failed_step" in state:
            shown["failed_step"] = state["failed_step"]
        if "failed_step" in state or "retries" in state:
            shown["is_auto_retryable_error"] = True
        if state.get("retries") is not None:
            shown["failed_step_retry_count"] = state["retries"]
        if "step_info" in state:
            shown["step_info"] = state["step_info"]
        if "phase" in state:
            execution: Body = {"policy": name}
            if state["definition"] is not None:
                execution["phase_definition"] = state["definition"]
            shown["phase_execution"] = execution | {
                "version": state["version"],
                "modified_date_in_millis": _millis(state["modified_date"]),
            }
        return shown | {"skip": False}


def current(state: Body) -> StepKey:
    """The step an index is on."""
    return StepKey(state.get("phase", "new"), state.get("action", "complete"), state.get("step", "complete"))


def phase_steps(phase: str, definition: Body | None) -> list[StepKey]:
    """The steps of one phase, in the order they run."""
    actions = dict((definition or {}).get("actions", {}))
    if phase in _TIERS:
        actions["migrate"] = {}
    ordered = [name for name in PHASES[phase] if name in actions and name in _STEPS]
    return [
        StepKey(phase, action, step)
        for action in ordered
        for step in _STEPS[action]
        if step != "cleanup-snapshot" or actions["delete"].get("delete_searchable_snapshot", True)
    ]


def policy_steps(phases: Body) -> list[StepKey]:
    """All steps of a policy that an index can be moved to."""
    named = [name for name in PHASES if name in phases]
    steps = [NEW]
    for name in named:
        steps += [*phase_steps(name, phases[name]), _end(name)]
    return [*steps, COMPLETED]


def _end(phase: str) -> StepKey:
    """Where an index waits after a phase: for the next one, or for nothing."""
    return StepKey(phase, "complete", "complete")


def _illegal_state(reason: str) -> ElasticError:
    return ElasticError(500, "illegal_state_exception", reason)


def with_implied(conditions: Body) -> Body:
    """The rollover conditions with what Elasticsearch adds: no empty index, and a limit of documents per shard."""
    implied: Body = {"max_primary_shard_docs": MAX_SHARD_DOCUMENTS}
    if not {"min_docs", "min_primary_shard_docs"} & set(conditions):
        implied["min_docs"] = 1
    return {**implied, **conditions}


def lifecycle_date(index: Index) -> int:
    """What ages count from, in epoch milliseconds: the origination date, else the rollover, else the creation."""
    given = int(index.settings.get("index.lifecycle.origination_date", -1))
    return given if given != -1 else int(index.lifecycle.get("lifecycle_date", index.created_ms))


def human_time(milliseconds: int) -> str:
    """``1.5m``, ``2.03d``: two digits of the largest unit, cut off, as TimeValue prints a duration."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if abs(milliseconds) >= size:
            cut = int(milliseconds / size * 100) / 100
            return f"{cut:.2f}".rstrip("0").rstrip(".") + unit
    return f"{milliseconds}ms"


def _millis(iso: str) -> int:
    return int(datetime.fromisoformat(iso).timestamp() * 1000)


def _cause(error: ElasticError) -> Body:
    return {"type": error.type, "reason": error.reason}
