"""Every request of the lifecycle, and every answer to it, against Elastic's API specification.

Once on a stack of 9.2, the oldest that is supported, and once on Serverless. The specification is cut down to what the
one and the other offer to everybody, so that an API, a parameter, a property or a value that is newer, private, behind
a feature flag or of the other flavor is as unknown as a typing error.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from harness.specification import specification

from contract.deviations import DEVIATIONS, Problem, deviates, numberless, unexplained
from contract.lifecycle import live
from elastic_sandbox.request_log import KEPT_REQUESTS
from elastic_sandbox.testing import LoggedRequest, serve

FLAVORS: dict[str, dict[str, Any]] = {
    "9.2": {"server": {"version": "9.2.0"}, "offered": {"stack": (9, 2)}},
    "serverless": {"server": {"flavor": "serverless"}, "offered": {"serverless": True}},
}

# What a life that was cut short would not have asked.
MILESTONES = {
    "bulk", "enrich.execute_policy", "indices.put_index_template", "ingest.put_pipeline", "ingest.simulate",
    "ml.put_data_frame_analytics", "ml.start_data_frame_analytics", "ml.evaluate_data_frame", "ml.get_trained_models",
    "ml.put_trained_model_alias", "open_point_in_time", "reindex", "search", "tasks.get",
    "transform.put_transform", "transform.start_transform",
}  # fmt: skip


@dataclass
class Account:
    """What one life asked and got, by API, and what the specification says to it."""

    spec: Any
    number: int
    calls: list[tuple[str, LoggedRequest]]
    unknown: set[str]

    @cached_property
    def in_requests(self) -> dict[Problem, Any]:
        """Problems of request bodies, each with the first example."""
        found: dict[Problem, Any] = {}
        for api, entry, body in self._distinct("body"):
            assert not entry.truncated
            if api == "bulk":
                problems = [problem for line in actions(body) for problem in self.spec.check_bulk_action(line)]
            else:
                problems = self.spec.check_request(api, body)
            for problem in problems:
                found.setdefault((api, numberless(problem)), body)
        return found

    @cached_property
    def in_answers(self) -> dict[Problem, Any]:
        """Problems of answers, each with the first example."""
        found: dict[Problem, Any] = {}
        for api, entry, body in self._distinct("response"):
            assert entry.status is not None
            if entry.method == "HEAD":
                assert body is None
                continue
            if entry.status >= 400 and "error" in body:
                problems = self.spec.check_error(body)
            elif api == "bulk":
                problems = self.spec.check_response(api, {**body, "items": first_of_each(body["items"])})
            else:
                problems = self.spec.check_response(api, body)
            for problem in problems:
                if "filter_path" not in entry.params or "missing required" not in problem:
                    found.setdefault((api, numberless(problem)), body)
        return found

    def _distinct(self, part: str) -> Iterator[tuple[str, LoggedRequest, Any]]:
        """Each (API, body) once: validating takes longer than asking."""
        seen = set()
        for api, entry in self.calls:
            body = getattr(entry, part)
            key = (api, json.dumps(body, sort_keys=True), "filter_path" in entry.params, (entry.status or 0) >= 400)
            if key not in seen:
                seen.add(key)
                yield api, entry, body


def account_of(name: str, directory: Path) -> Account:
    flavor = FLAVORS[name]
    spec = specification(**flavor["offered"])
    with serve(kept_bytes=1 << 26, **flavor["server"]) as sandbox:
        live(sandbox, directory)
        account = Account(spec, len(sandbox.requests), [], set())
        for entry in sandbox.requests:
            call = spec.api_of(entry.method, entry.path)
            if call is None:
                account.unknown.add(f"{entry.method} {entry.path}")
            else:
                account.calls.append((call.api, entry))
    assert account.number < KEPT_REQUESTS, "the log holds no more; earlier requests are lost"
    return account


@pytest.fixture(scope="module")
def on_9_2(tmp_path_factory: pytest.TempPathFactory) -> Account:
    return account_of("9.2", tmp_path_factory.mktemp("life"))


@pytest.fixture(scope="module")
def on_serverless(tmp_path_factory: pytest.TempPathFactory) -> Account:
    return account_of("serverless", tmp_path_factory.mktemp("life"))


@pytest.fixture(params=["on_9_2", "on_serverless"])
def account(request: pytest.FixtureRequest) -> Account:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def first_of_each(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a bulk's answer the first item per action and status."""
    kept: dict[tuple[str, int], dict[str, Any]] = {}
    for item in items:
        ((action, result),) = item.items()
        kept.setdefault((action, result["status"]), item)
    return list(kept.values())


def actions(lines: list[Any]) -> list[Any]:
    """The action lines of a bulk body, the first of each kind."""
    kept: dict[Any, Any] = {}
    position = 0
    while position < len(lines):
        ((action, target),) = lines[position].items()
        kept.setdefault((action, *sorted(target)), lines[position])
        position += 1 if action == "delete" else 2
    return list(kept.values())


def test_every_request_is_an_api_that_everybody_may_call_there(account: Account) -> None:
    assert account.unknown == set()
    asked = {api for api, _ in account.calls}
    assert asked >= MILESTONES, "the lifecycle did not get as far as this test thinks"
    assert account.number > 300


def test_every_parameter_exists_and_has_its_type(account: Account) -> None:
    problems = {
        (api, problem): entry.params
        for api, entry in account.calls
        for problem in account.spec.check_parameters(api, entry.params)
    }
    assert unexplained(problems) == []


def test_every_request_body_is_valid(account: Account) -> None:
    assert unexplained(account.in_requests) == []


def test_every_answer_is_valid(account: Account) -> None:
    assert unexplained(account.in_answers) == []


def test_every_known_deviation_is_still_one(on_9_2: Account, on_serverless: Account) -> None:
    """Those of APIs that no lifecycle calls are met in tests/sandbox."""
    found = {problem for of in (on_9_2, on_serverless) for problem in (*of.in_requests, *of.in_answers)}
    asked = {api for of in (on_9_2, on_serverless) for api, _ in of.calls}
    known = [deviation for deviation in DEVIATIONS if deviation[0] in asked]
    assert [each for each in known if not any(deviates(each, problem) for problem in found)] == []


def test_the_bulk_answers_held_every_outcome(account: Account) -> None:
    """Otherwise the tests above would have looked at nothing but documents that were created."""
    outcomes = {
        (action, result["status"], result.get("failure_store"))
        for api, entry in account.calls
        if api == "bulk"
        for item in entry.response["items"]
        for action, result in item.items()
    }
    assert {("create", 201, None), ("create", 409, None), ("create", 201, "used"), ("index", 201, None)} <= outcomes


# Whether the above could notice anything -----------------------------------------------------------------------------


def test_the_specification_knows_what_9_2_and_serverless_lack() -> None:
    """The tests above mean little unless each kind of absence is read from the schema as what it is."""
    everything, stack, serverless = specification(), specification(stack=(9, 2)), specification(serverless=True)
    newer, private, absent = "esql.put_view", "tasks.list", "ilm.put_lifecycle"
    assert everything.E[newer]["availability"]["stack"]["since"] == "9.4.0"
    assert newer not in stack.E
    assert newer in serverless.E
    assert everything.E[private]["availability"]["serverless"]["visibility"] == "private"
    assert private not in serverless.E
    assert "serverless" not in everything.E[absent]["availability"]
    assert absent not in serverless.E
    assert {private, absent} <= set(stack.E)
    assert {"bulk", "search", "ml.put_data_frame_analytics"} <= set(stack.E) & set(serverless.E)


def test_newer_private_and_misspelt_parts_of_a_request_are_noticed() -> None:
    everything, stack, serverless = specification(), specification(stack=(9, 2)), specification(serverless=True)
    assert everything.check_parameters("bulk", {"wait_for_active_shards": "all", "_slice": "a"}) == []
    assert stack.check_parameters("bulk", {"wait_for_active_shards": "all", "_slice": "a"}) == [
        "?_slice: no such parameter"
    ]
    assert serverless.check_parameters("bulk", {"wait_for_active_shards": "all"}) == [
        "?wait_for_active_shards: no such parameter"
    ]
    assert stack.check_parameters("bulk", {"refresh": "perhaps"}) != []
    assert stack.check_parameters("field_caps", {"fields": "a,b", "filter_path": "fields"}) == []
    grok = {"processors": [{"grok": {"field": "message", "patterns": ["%{IP:ip}"], "validate_only": True}}]}
    assert everything.check_request("ingest.put_pipeline", grok) == []
    assert stack.check_request("ingest.put_pipeline", grok) == [
        "$.processors[0].grok: unknown property 'validate_only'"
    ]
    assert stack.check_bulk_action({"create": {"_id": "1", "versoin": 3}}) != []
    assert stack.check_error({"error": {"type": "a", "reason": "b", "line": 3}, "status": 400}) == []
    assert stack.check_error({"error": {"reason": "b"}, "status": 400}) != []


def test_a_request_line_is_read_as_the_server_reads_it() -> None:
    api = specification().api_of
    assert api("GET", "/")[0] == "info"
    assert api("PUT", "/_bulk")[0] == "bulk"
    assert api("PUT", "/logs-a-b/_bulk")[0] == "bulk"
    assert api("PUT", "/logs-a-b")[0] == "indices.create"
    assert api("GET", "/_ml/data_frame/analytics/_stats")[0] == "ml.get_data_frame_analytics_stats"
    assert api("GET", "/_ml/data_frame/analytics/a")[0] == "ml.get_data_frame_analytics"
    assert api("GET", "/_ml/data_frame/analytics/a/_nothing") is None
    assert api("DELETE", "/_bulk") is None
