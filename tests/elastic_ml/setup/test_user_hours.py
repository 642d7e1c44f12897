"""What user-hours say: as events come, late ones included, and month by month."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.exceptions import JobFailedError, WaitTimeoutError
from elastic_ml.ingest.labels import LatestVerdicts
from elastic_ml.project import Project, load_project
from elastic_ml.project.desired_state import desired_objects
from elastic_ml.project.features import month_transform, run_month
from elastic_ml.project.setup import run_setup
from elastic_sandbox.testing import Sandbox, serve

WEBSHOP = Path(__file__).parents[1] / "project" / "webshop"
STREAM, ELSEWHERE = "logs-shop.audit-eu", "logs-auth0.logs-prod"
INDEX = "features-shop.user_hour"
PREPARE = f"{INDEX}@prepare"
HOURLY = """
owner: fraud
source: {index: [features-shop.user_hour]}
label: {verdicts: by_user_hour, positive_class: confirmed}
windows: {train: 60d, holdout: 7d}
features: [events, failures]
analysis: {classification: {}}
serve: {pipeline: "features-shop.user_hour@score", if: "ctx.events > 1"}
"""


@dataclass
class Shop:
    """A cluster that a shop was set up on; its tests keep apart by their users and months."""

    sandbox: Sandbox
    client: Any
    project: Project

    def events(self, user: str, *times: str, **more: Any) -> None:
        lines: list[dict[str, Any]] = []
        for moment in times:
            event = {"id": f"{user}-{moment}", "dataset": "shop.audit", **more.pop("event", {})}
            lines += [{"create": {}}, {"@timestamp": moment, "user": {"id": user}, "event": event, **more}]
        answer = self.client.bulk(index=STREAM, operations=lines, refresh=True)
        assert not answer["errors"], answer

    def month(self, month: str, **options: Any) -> int | None:
        return run_month(self.client, self.project, month, **{"poll_seconds": 0.02, **options})

    def user_hours(self, user: str) -> dict[str, dict[str, Any]]:
        self.client.indices.refresh(index=INDEX)
        hits = self.client.search(index=INDEX, size=1000, version=True, query={"term": {"user.id": user}})["hits"][
            "hits"
        ]
        return {hit["_source"]["user_hour"]: {**hit["_source"], "version": hit["_version"]} for hit in hits}

    def transforms(self) -> list[str]:
        return [t["id"] for t in self.client.transform.get_transform()["transforms"]]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = Path(shutil.copytree(WEBSHOP, tmp_path_factory.mktemp("shop") / "webshop"))
    with (folder / "project.yml").open("a") as written:
        written.write("features: {dataset: shop.user_hour, frequency: 1h, sync_delay: 30s}\n")
    (folder / "models" / "hourly.yml").write_text(HOURLY)
    # The package's own pivot, and two numbers that not every hour has.
    own = folder / "templates" / "transforms" / "user_hour.yml.j2"
    own.parent.mkdir(parents=True)
    shipped = load_project(folder).templates.names()
    assert "transforms/user_hour.yml.j2" in shipped
    text = (
        Path(run_month.__code__.co_filename).parents[1] / "templates" / "transforms" / "user_hour.yml.j2"
    ).read_text()
    more = "    average: {avg: {field: audit.records}}\n    most: {max: {field: audit.records}}\n"
    own.write_text(text + more)
    with serve() as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        client.index(index=ELSEWHERE, document={"@timestamp": "2020-01-01T00:00:00Z"}, op_type="create")
        project = load_project(folder)
        run_setup(client, project, server_facts(client), mode="apply").raise_for_state()
        yield Shop(sandbox, client, project)


@pytest.fixture
def failing(shop: Shop) -> Iterator[Callable[[], None]]:
    """Documents fail with status 500, which a transform tries again for about a second; call it to mend that."""
    prepare = next(wanted for wanted in desired_objects(shop.project) if wanted.name == PREPARE)

    def mend() -> None:
        shop.client.ingest.put_pipeline(id=PREPARE, body=prepare.body)

    shop.client.ingest.put_pipeline(id=PREPARE, processors=[{"fail": {"message": "not today"}}])
    yield mend
    mend()


def until(ready: Callable[[], bool]) -> None:
    for _ in range(500):
        if ready():
            return
        time.sleep(0.02)
    raise AssertionError("it never came to that")


def test_an_hour_is_written_when_its_events_came_and_again_when_a_late_one_does(shop: Shop):
    shop.events("ana", "2024-05-01T10:05:00Z", "2024-05-01T10:50:00Z", event={"outcome": "failure"})
    shop.events("unresolved:oracle:SCOTT", "2024-05-01T10:30:00Z")
    shop.sandbox.clock.advance(3700)
    until(lambda: set(shop.user_hours("ana")) == {"ana|2024-05-01T10"})
    found = shop.user_hours("ana")["ana|2024-05-01T10"]
    assert (found["events"], found["failures"], found["hour"], found["weekday"]) == (2, 1, 10, 3)
    assert (found["has_shop_audit"], found["has_auth0_logs"], found["auth0_logs"]["events"]) == (True, False, 0)
    assert found["event"]["ingested"]
    assert shop.user_hours("unresolved:oracle:SCOTT") == {}
    shop.events("ana", "2024-05-01T10:59:59Z")
    shop.sandbox.clock.advance(3700)
    until(lambda: shop.user_hours("ana")["ana|2024-05-01T10"]["events"] == 3)


def test_what_an_hour_lacks_is_zero(shop: Shop):
    shop.events("lacking", "2020-01-01T10:05:00Z")
    shop.month("2020.01")
    found = shop.user_hours("lacking")["lacking|2020-01-01T10"]
    assert (found["average"], found["most"], found["events"]) == (0, 0, 1)


def test_the_key_is_the_one_that_verdicts_are_kept_under(shop: Shop):
    user, moment = "o'hara & <sons>", "2020-02-01T23:59:59.999+02:00"
    shop.events(user, moment)
    event_id, labels = f"{user}-{moment}", shop.project.names.labels
    verdict = {"event_id": event_id, "decision": "confirmed", "decided_at": "2020-02-03T00:00:00Z"}
    LatestVerdicts(shop.client, labels, [STREAM]).write([verdict])
    shop.month("2020.02")
    judged = shop.client.get(index=labels, id=event_id)["_source"]["user_hour"]
    assert list(shop.user_hours(user)) == [judged] == [f"{user}|2020-02-01T21"]


def test_a_promoted_model_scores_the_user_hours_that_it_is_for(shop: Shop):
    shop.events("scored", "2020-03-01T10:05:00Z", "2020-03-01T10:06:00Z", "2020-03-02T10:05:00Z")
    shop.month("2020.03")
    assert not any("ml" in hour for hour in shop.user_hours("scored").values())
    shop.client.ingest.put_pipeline(id="hourly@score", processors=[{"set": {"field": "ml.hourly.score", "value": 0.5}}])
    shop.month("2020.03")
    scores = {key: hour.get("ml") for key, hour in shop.user_hours("scored").items()}
    assert scores == {"scored|2020-03-01T10": {"hourly": {"score": 0.5}}, "scored|2020-03-02T10": None}
    mapped = shop.client.indices.get_mapping(index=INDEX)[INDEX]["mappings"]["properties"]["ml"]["properties"]
    assert mapped["hourly"]["properties"]["score"] == {"type": "float"}


def test_a_month_holds_its_events_and_no_others_and_its_transform_is_gone(shop: Shop):
    bounds = ["2020-03-31T23:59:59.999Z", "2020-04-01T00:00:00Z", "2020-04-30T23:59:59.999Z", "2020-05-01T00:00:00Z"]
    shop.events("bounds", *bounds)
    for _ in range(2):
        assert shop.month("2020.04") == 2
        assert set(shop.user_hours("bounds")) == {"bounds|2020-04-01T00", "bounds|2020-04-30T23"}
    assert shop.transforms() == [INDEX]


def test_a_month_and_the_continuous_transform_write_the_same_documents(shop: Shop):
    shop.events("same", "2020-06-01T10:05:00Z")
    shop.sandbox.clock.advance(3700)
    until(lambda: len(shop.user_hours("same")) == 1)
    [first] = shop.user_hours("same").values()
    shop.month("2020.06")
    [second] = shop.user_hours("same").values()
    assert second.pop("version") == first.pop("version") + 1
    assert {**second, "event": None} == {**first, "event": None}


def test_what_an_interrupted_run_left_behind_is_replaced(shop: Shop):
    shop.events("left", "2020-07-01T10:05:00Z")
    name = shop.project.names.month_transform("2020.07")
    shop.client.transform.put_transform(transform_id=name, body=month_transform(shop.project, "2019.01"))
    assert shop.month("2020.07") == 1
    assert shop.transforms() == [INDEX]


def test_a_failing_month_says_why_and_leaves_nothing(shop: Shop, failing: Callable[[], None]):
    shop.events("failing", "2020-08-01T10:05:00Z")
    with pytest.raises(JobFailedError, match="not today"):
        shop.month("2020.08")
    assert shop.transforms() == [INDEX]


def test_a_stop_or_a_timeout_ends_the_wait_and_the_transform(shop: Shop, failing: Callable[[], None]):
    shop.events("stopped", "2020-09-01T10:05:00Z")
    stop = threading.Event()
    stop.set()
    for options in ({"stop": stop}, {"timeout": timedelta(0)}):
        with pytest.raises(WaitTimeoutError, match="was stopped"):
            shop.month("2020.09", **options)
    assert shop.transforms() == [INDEX]


def test_a_second_run_over_the_same_month_takes_over(shop: Shop, failing: Callable[[], None]):
    shop.events("twice", "2020-10-01T10:05:00Z")
    results: list[int | None] = []
    first = threading.Thread(target=lambda: results.append(shop.month("2020.10")))
    first.start()
    name = shop.project.names.month_transform("2020.10")
    until(lambda: shop.client.transform.get_transform_stats(transform_id=name)["count"] == 1)
    failing()
    assert shop.month("2020.10") == 1
    first.join(10)
    assert results in ([None], [1])
    assert set(shop.user_hours("twice")) == {"twice|2020-10-01T10"}
    assert shop.transforms() == [INDEX]


def test_a_project_without_user_hours_has_no_months(shop: Shop):
    assert run_month(shop.client, load_project(WEBSHOP), "2024.05") is None


def test_a_month_is_written_as_yyyy_mm(shop: Shop):
    with pytest.raises(ValueError, match=r"write yyyy\.MM"):
        month_transform(shop.project, "2024-05")
