"""Pipelines: conditions, failure handling, calls between pipelines, counters, batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from elastic_sandbox.backend import Backend
from elastic_sandbox.errors import ElasticError
from elastic_sandbox.ingest import IngestDocument, Outcome
from elastic_sandbox.ingest.processors import register


@pytest.fixture(scope="module")
def _backend() -> Iterator[Backend]:
    backend = Backend()
    yield backend
    backend.close()


@pytest.fixture
def backend(_backend: Backend) -> Backend:
    _backend.reset()
    return _backend


def run(backend: Backend, pipelines: list[str], *sources: dict[str, Any]) -> list[Outcome]:
    return backend.ingest.run([IngestDocument(source, {"_index": "i", "_id": None}) for source in sources], pipelines)


def put(backend: Backend, name: str, *processors: dict[str, Any], **more: Any) -> None:
    backend.ingest.put(name, {"processors": list(processors), **more})


def test_a_condition_decides_per_document(backend: Backend) -> None:
    condition = {"source": "ctx.n >= params.least", "params": {"least": 2}}
    put(backend, "p", {"set": {"field": "hit", "value": True, "if": condition}})
    outcomes = run(backend, ["p"], {"n": 1}, {"n": 2}, {"n": 3})
    assert [outcome.document.source.get("hit") for outcome in outcomes] == [None, True, True]


def test_a_failed_condition_is_not_covered_by_the_processor_s_own_failure_handling(backend: Backend) -> None:
    handled = {"ignore_failure": True, "on_failure": [{"set": {"field": "never", "value": 1}}]}
    put(backend, "p", {"set": {"field": "a", "value": 1, "if": "ctx.x.y == 1", "tag": "t", **handled}})
    outcome = run(backend, ["p"], {})[0]
    assert outcome.state == "failed"
    assert outcome.error is not None
    assert outcome.error.type == "script_exception"
    assert (outcome.pipeline, outcome.processor_type, outcome.processor_tag) == ("p", "conditional", "t")


def test_a_condition_cannot_change_the_document(backend: Backend) -> None:
    put(backend, "p", {"set": {"field": "a", "value": 1, "if": "ctx.b = 1; return true"}})
    outcome = run(backend, ["p"], {})[0]
    assert outcome.error is not None
    assert outcome.error.reason == "Mutating ingest documents in conditionals is not supported"


def test_ignore_failure_goes_on_with_the_next_processor(backend: Backend) -> None:
    put(
        backend,
        "p",
        {"rename": {"field": "x", "target_field": "y", "ignore_failure": True}},
        {"set": {"field": "z", "value": 1}},
    )
    assert run(backend, ["p"], {})[0].document.source == {"z": 1}


def test_on_failure_of_a_processor_sees_what_failed_and_the_pipeline_goes_on(backend: Backend) -> None:
    text = "{{{_ingest.on_failure_message}}}|{{_ingest.on_failure_processor_type}}"
    text += "|{{_ingest.on_failure_processor_tag}}|{{_ingest.on_failure_pipeline}}"
    handler = [{"set": {"field": "error", "value": text}}]
    put(
        backend,
        "p",
        {"convert": {"field": "n", "type": "long", "tag": "to-long", "on_failure": handler}},
        {"set": {"field": "z", "value": 1}},
    )
    outcomes = run(backend, ["p"], {"n": "x"}, {"n": "1"})
    assert outcomes[0].document.source == {"n": "x", "error": 'For input string: "x"|convert|to-long|p', "z": 1}
    assert outcomes[1].document.source == {"n": 1, "z": 1}
    assert set(outcomes[0].document.ingest) == {"timestamp"}


def test_on_failure_of_a_pipeline_ends_the_pipeline_and_keeps_the_document(backend: Backend) -> None:
    put(
        backend,
        "p",
        {"fail": {"message": "no"}},
        {"set": {"field": "late", "value": 1}},
        on_failure=[{"set": {"field": "error", "value": "{{_ingest.on_failure_message}}"}}],
    )
    outcome = run(backend, ["p"], {})[0]
    assert outcome.state == "kept"
    assert outcome.document.source == {"error": "no"}


def test_a_failing_handler_fails_the_document(backend: Backend) -> None:
    put(backend, "p", {"fail": {"message": "first"}}, on_failure=[{"fail": {"message": "second"}}])
    outcome = run(backend, ["p"], {})[0]
    assert outcome.error is not None
    assert outcome.error.reason == "second"


def test_failed_and_dropped_documents_leave_the_batch_and_the_others_go_on(backend: Backend) -> None:
    put(
        backend,
        "p",
        {"drop": {"if": "ctx.n == 1"}},
        {"fail": {"message": "n is {{n}}", "if": "ctx.n == 2"}},
        {"set": {"field": "done", "value": True}},
    )
    outcomes = run(backend, ["p"], {"n": 0}, {"n": 1}, {"n": 2}, {"n": 3})
    assert [outcome.state for outcome in outcomes] == ["kept", "dropped", "failed", "kept"]
    assert outcomes[3].document.source == {"n": 3, "done": True}
    assert outcomes[2].error is not None
    assert (outcomes[2].error.type, outcomes[2].error.reason) == ("fail_processor_exception", "n is 2")


def test_default_and_final_pipeline_run_in_order_and_a_failure_ends_both(backend: Backend) -> None:
    put(backend, "first", {"set": {"field": "a", "value": "1"}}, {"fail": {"message": "x", "if": "ctx.bad == true"}})
    put(backend, "last", {"set": {"field": "a", "value": "{{a}}2"}})
    outcomes = run(backend, ["first", "_none", "last"], {}, {"bad": True})
    assert outcomes[0].document.source == {"a": "12"}
    assert outcomes[1].state == "failed"
    assert outcomes[1].document.source["a"] == "1"


def test_a_pipeline_that_is_not_there_fails_the_documents(backend: Backend) -> None:
    outcome = run(backend, ["nope"], {})[0]
    assert outcome.error is not None
    assert (outcome.error.status, outcome.error.reason) == (400, "pipeline with id [nope] does not exist")


def test_a_called_pipeline_may_be_named_by_the_document_and_may_be_missing(backend: Backend) -> None:
    put(backend, "of-a", {"set": {"field": "by", "value": "a"}})
    put(backend, "p", {"pipeline": {"name": "of-{{kind}}", "ignore_missing_pipeline": True}})
    outcomes = run(backend, ["p"], {"kind": "a"}, {"kind": "b"})
    assert [outcome.document.source.get("by") for outcome in outcomes] == ["a", None]


def test_a_failure_in_a_called_pipeline_names_the_way_to_it(backend: Backend) -> None:
    put(backend, "inner", {"fail": {"message": "deep", "tag": "bottom"}})
    put(backend, "outer", {"pipeline": {"name": "inner"}})
    outcome = run(backend, ["outer"], {})[0]
    assert (outcome.pipeline, outcome.processor_type, outcome.processor_tag) == ("inner", "fail", "bottom")
    assert outcome.pipeline_trace == ("outer", "inner")


def test_a_pipeline_that_calls_itself_is_refused_when_it_runs(backend: Backend) -> None:
    put(backend, "a", {"pipeline": {"name": "b"}})
    put(backend, "b", {"pipeline": {"name": "a"}})
    outcome = run(backend, ["a"], {})[0]
    assert outcome.error is not None
    assert outcome.error.reason == "Cycle detected for pipeline: a"


def test_what_only_the_sandbox_lacks_is_never_swallowed_by_failure_handling(backend: Backend) -> None:
    put(backend, "p", {"script": {"source": "ctx.x = ctx.a * ctx.a", "ignore_failure": True}})
    with pytest.raises(ElasticError) as caught:
        run(backend, ["p"], {"a": 100_000})
    assert caught.value.status == 501


def test_counters_follow_each_pipeline_and_processor(backend: Backend) -> None:
    put(backend, "inner", {"fail": {"message": "x", "tag": "stop", "if": "ctx.n == 1"}})
    put(
        backend,
        "outer",
        {"set": {"field": "a", "value": 1, "if": "ctx.n > 0"}},
        {"pipeline": {"name": "inner", "tag": "call", "ignore_failure": True}},
    )
    run(backend, ["outer"], {"n": 0}, {"n": 1}, {"n": 2})
    stats = backend.ingest.stats(["outer", "inner"])
    outer, inner = stats["pipelines"]["outer"], stats["pipelines"]["inner"]
    assert (outer["count"], outer["failed"]) == (3, 0)
    assert (inner["count"], inner["failed"]) == (3, 1)
    assert outer["processors"][0]["set"]["type"] == "conditional"
    assert outer["processors"][0]["set"]["stats"]["count"] == 2
    called = outer["processors"][1]["pipeline:inner:call"]
    assert called["type"] == "pipeline"
    assert (called["stats"]["count"], called["stats"]["failed"], called["stats"]["current"]) == (3, 1, 0)
    assert inner["processors"][0]["fail:stop"]["stats"]["count"] == 1
    assert outer["ingested_as_first_pipeline_in_bytes"] == len(b'{"n":0}') * 3
    assert inner["ingested_as_first_pipeline_in_bytes"] == 0
    assert stats["total"]["count"] == 3


def test_counters_are_named_as_the_server_names_them(backend: Backend) -> None:
    """After Elasticsearch's 300_stats: an `if` together with failure handling hides the processor's own name."""
    one = {"field": "a", "value": 1}
    put(
        backend,
        "p",
        {"set": {**one, "tag": "set-a"}},
        {"set": {**one, "tag": "set-b", "if": "false"}},
        {"set": {**one, "tag": "set-c", "ignore_failure": True}},
        {"set": {**one, "tag": "set-d", "if": "true", "ignore_failure": True}},
        {"set": {**one, "if": "true", "on_failure": [{"set": {**one, "tag": "handler"}}]}},
    )
    processors = backend.ingest.stats(["p"])["pipelines"]["p"]["processors"]
    assert [(name, entry["type"]) for processor in processors for name, entry in processor.items()] == [
        ("set:set-a", "set"),
        ("set:set-b", "conditional"),
        ("set:set-c", "set"),
        ("compound:CompoundProcessor-set-d", "conditional"),
        ("compound:CompoundProcessor-null-handler", "conditional"),
    ]


def test_a_script_that_makes_the_document_contain_itself_fails_it(backend: Backend) -> None:
    put(backend, "p", {"script": {"source": "ctx.foo = ctx"}})
    put(backend, "q", {"script": {"source": "ctx.a = [:]; ctx.a.b = ctx.a"}})
    for name in ("p", "q"):
        outcome = run(backend, [name], {"x": 1})[0]
        assert outcome.error is not None
        assert outcome.error.reason == f"Failed to generate the source document for ingest pipeline [{name}]"


def test_counters_survive_a_pipeline_that_is_put_again(backend: Backend) -> None:
    put(backend, "p", {"set": {"field": "a", "value": 1}})
    run(backend, ["p"], {})
    put(backend, "p", {"set": {"field": "a", "value": 2}})
    assert run(backend, ["p"], {})[0].document.source == {"a": 2}
    assert backend.ingest.stats()["pipelines"]["p"]["processors"][0]["set"]["stats"]["count"] == 2


def test_a_registered_processor_gets_the_documents_of_a_batch_at_once(backend: Backend) -> None:
    sizes = []

    class Batched:
        type = "batched_for_test"

        def execute(self, documents: list[IngestDocument]) -> list[Any]:
            sizes.append(len(documents))
            return [None] * len(documents)

    register("batched_for_test", lambda _backend, _config: Batched())
    put(backend, "inner", {"batched_for_test": {"if": "ctx.n != 1"}})
    put(backend, "outer", {"pipeline": {"name": "inner"}})
    run(backend, ["outer"], {"n": 0}, {"n": 1}, {"n": 2})
    assert sizes == [2]


def test_pipelines_of_a_data_directory_are_there_after_a_restart(tmp_path: Any) -> None:
    first = Backend(tmp_path)
    put(first, "p", {"set": {"field": "a", "value": 1}})
    first.close()
    second = Backend(tmp_path)
    assert run(second, ["p"], {})[0].document.source == {"a": 1}
    second.close()
