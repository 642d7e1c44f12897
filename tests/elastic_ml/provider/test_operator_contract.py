"""Walks every operator, sensor and trigger of the package and holds it to the operator contract.

What is behaviour is proved elsewhere, for all classes alike: `harness.task_runner` fails every test in which an
operator of remote work creates or starts something before its id is stored; `operators/test_remote_job_operator.py` and
`triggers/test_remote_job_trigger.py` kill what they inherit. This file proves that each class does inherit it.
"""

import inspect
import json
import re
import time
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import BaseNotifier, BaseOperator, BaseOperatorLink
from airflow.sdk.module_loading import import_string
from airflow.sdk.serde import deserialize, serialize
from airflow.triggers.base import BaseTrigger
from contract.reach import PUBLIC, reached
from harness.provider_classes import BASES, classes

import elastic_ml
from elastic_ml.clients import job_status
from elastic_ml.get_provider_info import get_provider_info
from elastic_ml.links.kibana import KibanaLink
from elastic_ml.operators.kibana import KibanaBaseOperator
from elastic_ml.operators.remote_job import RemoteJobOperator
from elastic_ml.stages.pages import built
from elastic_ml.triggers.remote_job import RemoteJobTrigger

ROOT = Path(elastic_ml.__path__[0])
TEAL = "#00BFB3"


OPERATORS = classes(BaseOperator)
REMOTE = [c for c in OPERATORS if issubclass(c, RemoteJobOperator) and c is not RemoteJobOperator]
LINKED = [c for c in OPERATORS if c not in REMOTE and c is not RemoteJobOperator and c.operator_extra_links]
TRIGGERS = classes(BaseTrigger)
each_operator = pytest.mark.parametrize("cls", OPERATORS, ids=lambda c: c.__name__)
each_remote = pytest.mark.parametrize("cls", REMOTE, ids=lambda c: c.__name__)
each_trigger = pytest.mark.parametrize("cls", TRIGGERS, ids=lambda c: c.__name__)


def ours(cls: type) -> list[type]:
    """The class and its bases that are ours."""
    return [c for c in cls.__mro__ if c.__module__.startswith("elastic_ml.")]


def parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Named constructor parameters of the class and of its bases that are ours, the nearest definition of each."""
    found: dict[str, inspect.Parameter] = {}
    for base in ours(cls):
        if "__init__" in vars(base):
            for name, parameter in inspect.signature(base.__init__).parameters.items():
                if name != "self" and parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}:
                    found.setdefault(name, parameter)
    return found


def undocumented(cls: type) -> list[str]:
    pages = "\n".join(base.__doc__ or "" for base in ours(cls))
    return [name for name in parameters(cls) if not re.search(rf":param {name}:", pages)]


# Every operator and sensor --------------------------------------------------------------------------------------------


def test_the_walk_finds_the_operators():
    assert {"ReindexOperator", "TrainModelOperator", "EsqlThresholdSensor"} <= {c.__name__ for c in OPERATORS}
    assert len(REMOTE) > 5
    assert RemoteJobTrigger in TRIGGERS
    assert {c.__name__ for c in OPERATORS} >= BASES, "a base that is gone"


def test_no_operator_hides_from_the_walk():
    """By its name, since what reaches which API is read from names; by an underscore; or in a DAG that ships."""
    assert [c.__name__ for c in OPERATORS if not PUBLIC.fullmatch(c.__name__)] == []
    hidden = set(classes(BaseOperator, private=True)) - set(OPERATORS)
    assert [c.__name__ for c in hidden if not any(issubclass(o, c) for o in OPERATORS)] == []
    shipped = {type(task) for dags in built(ROOT.parents[1] / "dags").values() for dag in dags for task in dag.tasks}
    ours_shipped = {c for c in shipped if c.__module__.startswith("elastic_ml.")}
    assert len(ours_shipped) > 25
    assert {c.__name__ for c in ours_shipped - set(OPERATORS)} == set()


def test_nobody_waits_outside_of_the_frames():
    """An operator that slept, deferred or asked by hand for a start would be neither deferrable nor durable."""
    frames = {"operators/remote_job.py", "sensors/look.py"}
    waits = re.compile(r"\btime\.sleep\(|\.defer\(|TaskDeferred")
    by_hand = re.compile(r"perform_request\(\s*\"(?!GET)")
    rooms = [path for room in ("operators", "sensors", "stages") for path in (ROOT / room).rglob("*.py")]
    sources = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in rooms}
    assert {name for name, text in sources.items() if waits.search(text)} == frames
    assert [str(p) for p in ROOT.rglob("*.py") if by_hand.search(p.read_text(encoding="utf-8"))] == []


@each_operator
def test_every_parameter_is_documented_and_typed(cls: type):
    assert inspect.getdoc(cls), "a class docstring is the page that users read"
    assert undocumented(cls) == []
    assert [name for name, p in parameters(cls).items() if p.annotation is p.empty] == []


@each_operator
def test_what_it_does_is_typed(cls: type):
    for base in ours(cls):
        for name, member in vars(base).items():
            if inspect.isfunction(member) and not name.startswith("_"):
                assert "return" in member.__annotations__, f"{base.__name__}.{name}"


@each_operator
def test_template_fields_are_sorted_and_hold_the_connection(cls: type):
    fields, known = list(cls.template_fields), parameters(cls)
    assert fields == sorted(fields)
    connections = {name for name in known if name.endswith("_conn_id")}
    assert connections <= set(fields), "a connection id differs between environments: template it"


@each_operator
def test_objects_are_rendered_as_json(cls: type):
    """A field whose annotation has a mapping in it is shown as JSON in the UI."""
    mapping = re.compile(r"\b(Mapping|dict|Body)\b")
    known = parameters(cls)
    objects = [f for f in cls.template_fields if f in known and mapping.search(str(known[f].annotation))]
    assert [field for field in objects if field not in cls.template_fields_renderers] == []


@each_operator
def test_it_is_elastics_teal(cls: type):
    assert cls.ui_color == TEAL


@each_operator
def test_it_retries_only_what_another_try_can_mend(cls: type):
    """By the package's policy, which a constructor of ours sets unless a DAG says otherwise."""
    if "elastic_conn_id" not in parameters(cls) and not issubclass(cls, KibanaBaseOperator):
        pytest.skip("sends nothing to a server")
    assert "RETRY_POLICY" in "".join(inspect.getsource(c.__init__) for c in ours(cls) if "__init__" in vars(c))


# Operators that start remote work -------------------------------------------------------------------------------------

STARTS = {
    "enrich.execute_policy", "ml.forecast", "ml.open_job", "ml.reset_job", "ml.revert_model_snapshot",
    "ml.start_data_frame_analytics", "ml.start_datafeed", "ml.upgrade_job_snapshot", "reindex",
    "transform.start_transform", "update_by_query", "delete_by_query",
}  # fmt: skip
NO_WAIT = {
    "ApplyObjectsOperator": "starts continuous transforms, which never end",
    "ElasticSetupOperator": "starts the continuous transform of the user-hours, which never ends",
    "RotateCredentialsOperator": "starts again what it stopped to give it the new key, and what never ends",
    "BulkIngestOperator": "its own on_kill ends the writers and, through their stop event, the transform they wait for",
}
"""Operators that start something and wait for nothing, or stop what they wait for in their own way."""


STARTING = re.compile(
    r"(^|\.)(start|open|execute|reset|revert|upgrade|forecast|reindex|forcemerge|update_by_query|delete_by_query)"
)
STARTS_NOTHING = {"open_point_in_time": "a view that ends by itself"}


def test_every_call_that_starts_something_is_known_as_such():
    called = {api for api in reached() if STARTING.search(api)}
    assert called - STARTS == STARTS_NOTHING.keys(), "does it go on after its answer? Then it is one of STARTS"


def test_whatever_starts_remote_work_stands_on_the_frame():
    """By the calls that are reachable from each class, so that a new operator cannot forget it."""
    starting = {name for api in STARTS for name in reached().get(api, ())}
    known = {c.__name__: c for c in OPERATORS}
    without = [n for n in starting if n in known and not issubclass(known[n], RemoteJobOperator) and n not in NO_WAIT]
    assert sorted(without) == [], "make it a RemoteJobOperator: durable, deferrable, stopped when it is killed"
    assert NO_WAIT.keys() <= starting, "an exception that nobody needs"


@each_remote
def test_it_is_deferrable_and_durable_by_the_frame(cls: type):
    """Nothing of the frame is replaced; an `execute` of its own may only come before the frame's."""
    for name in ("resume", "_drive", "_store", "_wait"):
        assert getattr(cls, name) is getattr(RemoteJobOperator, name), f"{name} is the frame's business"
    for base in ours(cls)[: ours(cls).index(RemoteJobOperator)]:
        for name in ("execute", "on_kill"):
            if name in vars(base):
                assert f"super().{name}(" in inspect.getsource(vars(base)[name]), f"{base.__name__}.{name}"
    assert {"deferrable", "poll_interval", "timeout", "cancel_on_kill"} <= set(parameters(cls))


@each_remote
def test_it_says_what_it_is_called_how_it_starts_and_what_it_leaves(cls: type):
    for name in ("prepare", "submit", "finish"):
        assert getattr(cls, name) is not getattr(RemoteJobOperator, name), name


@each_remote
def test_a_kill_stops_it_on_both_paths(cls: type):
    """A kind that the triggerer can wait for is one that it, and the worker, can stop."""
    assert cls.kind in {*job_status.KINDS, job_status.REQUEST}, cls.kind
    assert cls.on_kill
    assert RemoteJobTrigger.on_kill is not BaseTrigger.on_kill


@each_remote
def test_it_has_a_link_that_is_stored_before_it_waits(cls: type):
    assert cls.operator_extra_links, "which page of Kibana shows what it works on?"
    assert cls.link_names is not RemoteJobOperator.link_names, "the link would stay empty"
    assert all(isinstance(link, KibanaLink) for link in cls.operator_extra_links)
    named = inspect.getsource(cls.link_names)
    assert [type(link).__name__ for link in cls.operator_extra_links if f'"{type(link).__name__}"' not in named] == []


@pytest.mark.parametrize("cls", LINKED, ids=lambda c: c.__name__)
def test_its_links_are_stored_before_it_works(cls: type):
    assert cls.pre_execute is not BaseOperator.pre_execute
    assert all(isinstance(link, KibanaLink) for link in cls.operator_extra_links)
    assert {"kibana_conn_id"} <= set(cls.template_fields)


def test_every_kind_of_work_that_can_be_waited_for_can_be_stopped():
    from elastic_ml.clients import remote_jobs

    named = {name for name, value in vars(job_status).items() if value in job_status.KINDS and name.isupper()}
    waits_only = {"UPGRADE_MODE", "PAUSE"}
    for function in (remote_jobs.stop, remote_jobs.stop_async):
        source = inspect.getsource(function)
        assert [name for name in named - waits_only if not re.search(rf"\b{name}\b", source)] == [], function.__name__


def test_every_link_is_registered():
    listed = set(get_provider_info()["extra-links"])
    links = {f"{c.__module__}.{c.__name__}" for c in classes(BaseOperatorLink) if c is not KibanaLink}
    assert links == listed


def test_every_notifier_is_registered():
    listed = set(get_provider_info().get("notifications", []))
    assert {f"{c.__module__}.{c.__name__}" for c in classes(BaseNotifier)} == listed


# Triggers -------------------------------------------------------------------------------------------------------------

KNOWN = {
    "kind": "task",
    "comparison": "at_least",
    "deadline": time.time() + 3600,
    "requests": [["count", {"index": "x"}]],
}
"""Arguments whose type alone does not say what they may be."""


def some_arguments(cls: type) -> dict[str, Any]:
    """Arguments that a trigger accepts, by the types of its parameters."""
    hints = typing.get_type_hints(cls.__init__)
    return {name: KNOWN.get(name, some_value(hints[name])) for name in parameters(cls)}


def some_value(hint: Any) -> Any:
    if typing.get_origin(hint) is not None and type(None) in typing.get_args(hint):
        hint = next(of for of in typing.get_args(hint) if of is not type(None))
    origin = typing.get_origin(hint) or hint
    if origin is typing.Literal:
        return typing.get_args(hint)[0]
    for kind, value in ((bool, True), (int, 3), (float, 2.5), (str, "text")):
        if origin is kind:
            return value
    return {"a": 1} if "Mapping" in str(origin) or origin is dict else ["text"]


@each_trigger
def test_a_trigger_survives_the_way_into_the_triggerer(cls: type):
    """It is serialised after the work was started: what fails there leaves work that nobody watches."""
    one = cls(**some_arguments(cls))
    path, kwargs = one.serialize()
    json.dumps(kwargs)
    again = import_string(path)(**deserialize(serialize(kwargs)))
    assert type(again) is cls
    assert again.serialize() == one.serialize()
    assert set(kwargs) == set(parameters(cls)), "an argument that is not serialised is lost"


@each_trigger
def test_a_trigger_is_documented_and_typed(cls: type):
    assert undocumented(cls) == []
    assert [name for name, p in parameters(cls).items() if p.annotation is p.empty] == []


@each_trigger
def test_a_trigger_never_blocks_the_loop_by_its_own_words(cls: type):
    """No sleep and no synchronous client; `test_waits.py` measures it for each kind."""
    source = inspect.getsource(cls)
    assert not re.search(r"time\.sleep\(|\.hook\.client|requests\.", source)


def test_the_names_of_the_walk_are_unique() -> None:
    def names() -> Iterator[str]:
        yield from (c.__name__ for c in [*OPERATORS, *TRIGGERS])

    assert len(set(names())) == len(list(names()))
