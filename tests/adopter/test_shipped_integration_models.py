"""The model files that `init` writes for Elastic's PingOne and Oracle integrations, on documents of those integrations.

The documents are Elastic's own expected ones, with the fields varied that differ from event to event.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from clinic.world import short_waits

from adopter.bank import Adopter, drawn, moments
from adopter.integration import THEIRS, agents_fields, install, write
from elastic_ml.cli.main import main
from elastic_ml.clients.documents import dig
from elastic_ml.clients.elasticsearch import connect
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.project import load_project
from elastic_ml.project.clock import CLOCK_TYPES
from elastic_sandbox.testing import serve

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
QUICK = {
    "max_trees": 20, "eta": 0.3, "lambda": 1, "gamma": 0, "feature_bag_fraction": 0.9, "soft_tree_depth_limit": 5,
    "downsample_factor": 0.8,
}  # fmt: skip
"""Hyperparameters, so that none is searched for; the files leave that to Elasticsearch."""


@dataclass(frozen=True)
class Shipped:
    """One integration, its sample file, and how its documents differ from each other."""

    dataset: str
    model: str
    sample: str
    vary: Callable[[dict[str, Any], random.Random, datetime], float]

    @property
    def stream(self) -> str:
        return f"logs-{self.dataset}-default"

    @property
    def samples(self) -> list[dict[str, Any]]:
        file = SAMPLES / self.sample
        if not file.exists():
            pytest.skip(f"{file} is absent: Elastic's sample documents are not part of this repository")
        found = json.loads(file.read_text())
        return found if isinstance(found, list) else [found]

    def event(self, number: int, moment: datetime) -> tuple[dict[str, Any], bool]:
        """A sample made another event, and whether it did harm."""
        chance = random.Random(number)
        document: dict[str, Any] = copy.deepcopy(self.samples[number % len(self.samples)])
        document |= {"@timestamp": moment.isoformat(), **agents_fields(self.dataset)}
        document["event"].pop("dataset", None)
        if "id" in document["event"]:
            document["event"]["id"] = f"activity-{number}"
        return document, drawn(chance, self.vary(document, chance, moment))


def _ping_one(document: dict[str, Any], chance: random.Random, moment: datetime) -> float:
    document["event"]["action"] = chance.choice(["user.access_allowed", "role_assignment.created", "user.updated"])
    document["event"]["outcome"] = chance.choice(["success", "success", "failure"])
    document["client"]["user"]["name"] = chance.choice(["PingOne Admin Console", "Portal"])
    granted = document["event"]["action"] == "role_assignment.created"
    return -4.6 + 4.0 * granted + 1.2 * (document["event"]["outcome"] == "failure") + 3.0 * (moment.hour >= 20)


def _oracle(document: dict[str, Any], chance: random.Random, moment: datetime) -> float:
    audit = document["oracle"]["database_audit"]
    audit["action_number"] = chance.choice(["3", "3", "100", "17"])
    audit["status"] = chance.choice(["0", "0", "0", "1017"])
    audit["length"] = chance.randrange(200, 900)
    document["user"]["roles"] = [chance.choice(["NONE", "NONE", "SYSDBA"])]
    document["server"]["user"]["name"] = chance.choice(["/", "APP", "BATCH"])
    # The database's own clock, by event.timezone of the sample: four hours behind UTC.
    night = (moment - timedelta(hours=4)).hour < 5
    return -4.2 + 2.6 * (document["user"]["roles"] == ["SYSDBA"]) + 2.0 * (audit["action_number"] == "17") + 2.2 * night


SHIPPED = [
    Shipped("ping_one.audit", "identity_misuse", "pingone/expected_ecs_sample_event.json", _ping_one),
    Shipped("oracle.database_audit", "database_misuse", "oracle/expected_ecs_first3.json", _oracle),
]


@dataclass
class Served:
    """An adopter whose model of one integration is in production, from the files that `init` wrote."""

    shipped: Shipped
    adopter: Adopter
    card: dict[str, Any]
    ids: list[str]


@pytest.fixture(
    scope="module",
    # What differs for PingOne, test_adopter_chain.py has in `make test`, too.
    params=[pytest.param(SHIPPED[0], marks=pytest.mark.long), SHIPPED[1]],
    ids=[shipped.dataset for shipped in SHIPPED],
)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    shipped: Shipped = request.param
    folder = tmp_path_factory.mktemp(shipped.model)
    project = folder / "project"
    assert main(["init", str(project), "--name", "bank", "--stream", shipped.stream, "--dags", str(folder)]) == 0
    file = project / "models" / f"{shipped.model}.yml"
    written = yaml.safe_load(file.read_text())
    written["analysis"]["classification"] |= QUICK
    file.write_text(yaml.safe_dump(written))
    with serve() as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client, short_waits():
        install(client, shipped.dataset)
        events = [shipped.event(number, moment) for number, moment in enumerate(moments(75))]
        ids = write(client, shipped.stream, [event for event, _ in events])
        adopter = Adopter(sandbox.elasticsearch_url, folder, client)
        adopter.set_up()
        adopter.judge(
            {
                event["event"].get("id", made): event
                for made, (event, harmful) in zip(ids, events, strict=True)
                if harmful
            }
        )
        card = adopter.train(shipped.model)
        adopter.promote(shipped.model, card["model_id"])
        yield Served(shipped, adopter, card, ids)


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda shipped: shipped.dataset)
def test_every_feature_is_in_elastic_s_own_documents(shipped: Shipped, tmp_path: Path) -> None:
    project = tmp_path / "project"
    main(["init", str(project), "--name", "bank", "--stream", shipped.stream, "--dags", str(tmp_path)])
    model = load_project(project).model(shipped.model)
    absent = [name for name in model.features if all(dig(one, name) is None for one in shipped.samples)]
    assert set(absent) <= set(CLOCK_TYPES)


def test_what_is_written_passes_readiness_learns_and_is_promoted(served: Served) -> None:
    assert 0.75 < served.card["metrics"]["challenger"]["auc_roc"]["value"] < 1
    assert "audit.hour" in {item["feature"] for item in served.card["importance"][:4]}
    state = served.adopter.client.ml.get_trained_models(model_id=f"{served.shipped.model}_champion")
    assert state["trained_model_configs"][0]["model_id"] == served.card["model_id"]


def test_a_new_document_of_the_integration_is_scored(served: Served) -> None:
    event, _ = served.shipped.event(5001, datetime.fromisoformat("2026-11-20T22:30:00+00:00"))
    [made] = write(served.adopter.client, served.shipped.stream, [copy.deepcopy(event)])
    hits = served.adopter.client.search(index=served.shipped.stream, query={"ids": {"values": [made]}})["hits"]["hits"]
    stored = hits[0]["_source"]
    assert 0 <= stored["ml"][served.shipped.model]["score"] <= 1
    assert "error" not in stored["ml"][served.shipped.model]
    added = {"ml", "organization"}
    assert {key: value for key, value in stored.items() if key not in added | {"ecs", "event"}} == {
        key: value for key, value in event.items() if key not in {"ecs", "event"}
    }, "the event is as the integration made it"
    custom = f"logs-{served.shipped.dataset}@custom"
    assert served.adopter.client.ingest.get_pipeline(id=custom)[custom]["processors"][0] == THEIRS


def test_the_highest_scores_of_a_day_are_held_against_the_verdicts_on_them(served: Served) -> None:
    """Verdicts name event.id where the integration gives one, else the document's id."""
    day = datetime.fromisoformat("2026-11-16T00:00:00+00:00")
    events = [served.shipped.event(6000 + n, day + timedelta(minutes=10 * n)) for n in range(60)]
    ids = write(served.adopter.client, served.shipped.stream, [event for event, _ in events])
    judged = {event["event"].get("id", made): event for made, (event, _) in zip(ids, events, strict=True)}
    served.adopter.judge(judged)
    measured = served.adopter.run("monitor", f"monitor_{served.shipped.model}", "measure", day="2026-11-30").value
    [precision] = [finding for finding in measured["findings"] if finding["feature"] == "_precision"]
    assert precision["value"] == 1.0, "all that day's events were confirmed"
    assert "50 highest scores" in precision["note"]
