"""The story in which each task has its turn: what happened before it, and what it is asked to do."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from clinic.lifecycle import InProduction
from clinic.operations import TREE
from clinic.world import Clinic, clinic_event
from harness.task_runner import Result, TaskRunner

from elastic_ml.project.bodies import MANAGED_BY
from matrix.world import DAY, FIRST, STARTED, STREAM, World

Params = Mapping[str, Any] | Callable[[World], Mapping[str, Any]]
DAY_OF_TRAINING = f"{STARTED.date()}"
OLD_JOB = "misuse-20250101-0000aaaa"
CARRIED = "misuse-20260301-abcdef03-1"


def nothing(world: World) -> None:
    """Nothing happened."""


@dataclass(frozen=True)
class Step:
    """One turn of one task.

    :param what: told in the table where a task has several turns.
    :param params: of the DAG run.
    :param before: what happened on the cluster since the step before.
    :param each_time: what a copied data directory does not keep.
    :param complete: how the task is brought to its end.
    :param ends: the state it ends in.
    :param aside: the story goes on from before this step.
    :param varies: patterns of what two undisturbed runs differ by as well; see `picture.without`.
    """

    dag: str
    task: str
    what: str = ""
    params: Params = field(default_factory=dict)
    before: Callable[[World], None] = nothing
    each_time: Callable[[World], None] = nothing
    complete: Callable[[TaskRunner], Result] = lambda runner: runner.complete()
    ends: str = "success"
    aside: bool = False
    varies: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As the table has it."""
        return f"{self.dag}/{self.task}" + (f" ({self.what})" if self.what else "")

    def params_in(self, world: World) -> Mapping[str, Any]:
        """The params in the world as it is."""
        return self.params(world) if callable(self.params) else self.params


def _ingest_the_days_before(world: World) -> None:
    for number in range((DAY - FIRST.date()).days):
        day = f"{(FIRST + timedelta(days=number)).date()}"
        result = world.runner("audit_ingest", "ingest", params={"day": day}, run_id=f"manual__{day}").complete()
        assert result.state == "success", result.error


def _older_types(world: World) -> None:
    """A backing index in which a field has another type, as an older template had it."""
    client, name = world.client, "clinic-audit@mappings"
    body = client.cluster.get_component_template(name=name)["component_templates"][0]["component_template"]
    template = {key: value for key, value in body.items() if not key.endswith(("_date", "_date_millis"))}
    types = template["template"]["mappings"]["properties"]["audit"]["properties"]
    for kind, first in (("keyword", 900_000), ("long", 900_100)):
        types["records"] = {"type": kind}
        client.cluster.put_component_template(name=name, body=template)
        client.indices.rollover(alias=STREAM)
        _events(world, first, 20)


def _events(world: World, first: int, number: int, at: datetime | None = None) -> None:
    import random

    generator, operations = random.Random(first), []
    for offset in range(number):
        document, _ = clinic_event(first + offset, (at or STARTED - timedelta(hours=2)), generator)
        operations += [{"create": {"_id": document["event"]["id"]}}, document]
    answer = world.client.bulk(index=STREAM, operations=operations, refresh=True)
    assert not answer["errors"], answer["items"][0]


def _trained(world: World) -> str:
    return str(world.xcoms["train_misuse"]["evaluate", "return_value"]["model_id"])


def _answered(option: str) -> Callable[[TaskRunner], Result]:
    def complete(runner: TaskRunner) -> Result:
        asked = runner.run()
        if asked.state != "awaiting_input":
            return asked
        event = {
            "chosen_options": [option],
            "params_input": {"reason": "figures are fine"},
            "responded_at": STARTED,
            "responded_by_user": {"id": "ana", "name": "ana"},
            "timedout": False,
        }
        return runner._leg(("execute_complete", {"event": event}))

    return complete


def _refused(world: World) -> None:
    """What the run of a candidate that was refused knows."""
    runner = world.runner("promote_misuse", "approve", params={})
    world.keep("promote_misuse", "approve", _answered("Reject")(runner))


def _clinic(world: World) -> Clinic:
    model_id = _trained(world)
    card = world.client.get(index=world.names.model_cards, id=model_id)["_source"]
    return Clinic(world.sandbox, world.folder, world.client, card=dict(card))


def _another_champion(world: World) -> None:
    """A second version took the trained one's place, which is what a rollback goes back to."""
    production = InProduction(_clinic(world))
    production.put(production.old)


def _carried(world: World) -> None:
    _clinic(world).another_version(CARRIED, stage="retired")


def _elsewhere(world: World) -> None:
    """As if this were another environment, which has never heard of the model that was exported."""
    world.client.ml.delete_trained_model(model_id=CARRIED)
    world.client.delete(index=world.names.model_cards, id=CARRIED, refresh=True)


def _drifted(world: World) -> None:
    kept = world.xcoms["monitor_misuse"]["measure", "return_value"]
    world.xcoms["monitor_misuse"]["measure", "return_value"] = {**kept, "drifted": True, "features": ["event.action"]}


def _learnt_before(world: World) -> None:
    for number in range(6, 0, -1):
        day = f"{DAY - timedelta(days=number)}"
        result = world.runner("anomalies_reads", "detect", params={"day": day}, run_id=f"manual__{day}").complete()
        assert result.state == "success", result.error


def _old_key(world: World) -> None:
    """A transform and a datafeed that somebody with another key wrote last."""
    world.sandbox.backend.api_key_id = "old-key"
    world.client.transform.update_transform(transform_id="features-clinic.user_hour", description="of before")
    feed = "datafeed-live"
    world.client.ml.stop_datafeed(datafeed_id=feed, force=True)
    world.client.ml.update_datafeed(datafeed_id=feed, query_delay="61s")
    world.client.ml.start_datafeed(datafeed_id=feed, start=f"{STARTED.date()}")


def _new_key(world: World) -> None:
    world.sandbox.backend.api_key_id = "new-key"


def _with_the_new_key(runner: TaskRunner) -> Result:
    key = base64.b64encode(b"new-key:secret").decode()
    fields = runner.connections["elasticsearch_default"]
    runner.connections["elasticsearch_default"] = {**fields, "extra": f'{{"api_key": "{key}"}}'}
    return runner.complete()


def _leftovers(world: World) -> None:
    """A training of half a year ago that came to nothing, and what its job left."""
    client, names, clock = world.client, world.names, world.sandbox.clock
    now = clock.now()
    meta = {"managed_by": MANAGED_BY, "project": "clinic"}
    clock.freeze(now - timedelta(days=180))
    for index in (names.train_index(OLD_JOB), names.holdout_index(OLD_JOB)):
        client.indices.create(index=index, mappings={"_meta": {**meta, "job_id": OLD_JOB}})
    client.indices.create(index=names.results_index(OLD_JOB))
    client.ml.put_data_frame_analytics(
        id=OLD_JOB,
        source={"index": [STREAM]},
        dest={"index": names.results_index(OLD_JOB)},
        analysis={"classification": {"dependent_variable": "event.action"}},
        meta=meta,
    )
    client.ml.put_trained_model(
        model_id=f"{OLD_JOB}-1",
        tags=[OLD_JOB],
        input={"field_names": ["audit.records"]},
        inference_config={"classification": {"num_top_classes": -1}},
        definition={"trained_model": {"tree": TREE}},
    )
    old = {"@timestamp": f"{now - timedelta(days=180):%Y-%m-%dT%H:%M:%SZ}", "model_name": "misuse", "job_id": OLD_JOB}
    card = {**old, "model_id": f"{OLD_JOB}-1", "stage": "candidate"}
    client.index(index=names.model_cards, id=card["model_id"], document=card, refresh=True)
    clock.freeze(now)


ALERTED = r"^document/(\.internal\.alerts-|\.ds-logs-clinicml\.alerts-)"
TRAIN = {"day": DAY_OF_TRAINING}
LAST = {"day": f"{DAY}"}
STORY: tuple[Step, ...] = (
    Step("elastic_setup", "setup", params={"mode": "apply"}),
    Step("elastic_setup", "repair", params={"repair": STREAM}, before=_older_types, aside=True),
    # Rules that are made run at once, and tell of it in documents of their own.
    Step("kibana_deploy", "deploy", params={"mode": "apply"}, aside=True, varies=(ALERTED,)),
    Step("audit_ingest", "ingest", params=LAST, before=_ingest_the_days_before),
    *(Step("train_misuse", task, params=TRAIN) for task in ("wait_for_data", "readiness", "training_set", "train")),
    Step("train_misuse", "evaluate", params=TRAIN),
    Step("train_misuse", "candidate", params=TRAIN),
    *(Step("train_strange", task, params=TRAIN) for task in ("wait_for_data", "readiness", "training_set", "train")),
    Step("train_strange", "publish", params=TRAIN),
    Step("promote_misuse", "gate", params=lambda world: {"model_id": _trained(world)}),
    Step("promote_misuse", "approve", complete=_answered("Approve")),
    Step("promote_misuse", "record", "refused", before=_refused, aside=True),
    Step("promote_misuse", "switch"),
    Step("promote_misuse", "record"),
    Step(
        "elastic_health", "look", params={"at": f"{STARTED + timedelta(hours=1):%Y-%m-%dT%H:%M:%S+00:00}"},
        before=lambda world: _events(world, 800_000, 30),
        # The disk that this runs on.
        varies=(r"^document/\.ds-logs-clinicml\.health-#value", r"^document/\.ds-logs-clinicml\.health-#message"),
    ),
    Step("monitor_misuse", "wait_for_data", params=LAST),
    Step("monitor_misuse", "measure", params=LAST),
    Step("monitor_misuse", "drift", params=LAST, before=_drifted),
    # The clock stands still, and with it whatever is throttled.
    Step(
        "rescore", "rescore",
        params={"model": "misuse", "window": "3d", "until": DAY_OF_TRAINING, "documents_per_second": -1},
    ),
    Step("record_verdict", "record", params={"event_id": "access-000004", "verdict": "confirmed", "reason": "seen"}),
    Step("export_model", "export", params={"model": "misuse", "model_id": CARRIED}, before=_carried),
    Step("import_model", "import", params={"file": f"{CARRIED}.zip", **TRAIN}, before=_elsewhere),
    Step("import_model", "evaluate", params={"file": f"{CARRIED}.zip", **TRAIN}),
    Step("import_model", "candidate", params={"file": f"{CARRIED}.zip", **TRAIN}),
    Step("rollback_misuse", "rollback", params={"reason": "floods us"}, before=_another_champion),
    Step("rollback_misuse", "rollback", "to none", params={"to": "none"}, aside=True),
    Step("anomalies_reads", "wait_for_data", params=LAST),
    Step("anomalies_reads", "detect", "first of all", params=LAST, aside=True),
    Step("anomalies_reads", "detect", params=LAST, before=_learnt_before),
    Step("anomalies_reads", "alerts", params=LAST),
    Step("anomalies_reads", "forecast", params={**LAST, "forecast": "1d"}),
    Step("anomalies_live", "detect"),
    Step("anomalies_live", "alerts"),
    Step("anomalies_live", "forecast", params={"forecast": "1h"}),
    Step(
        "elastic_rotate_credentials", "rotate", params={"apply": True}, before=_old_key, each_time=_new_key,
        complete=_with_the_new_key,
    ),
    Step("elastic_housekeeping", "housekeeping", params={"apply": True}, before=_leftovers),
    Step("elastic_remove", "remove", "keeps data", params={"apply": True, "confirm": "clinic"}, aside=True),
    Step("elastic_remove", "remove", params={"apply": True, "confirm": "clinic", "data": True}),
)  # fmt: skip
"""Every task of every stage file, in an order in which each finds what it needs."""
