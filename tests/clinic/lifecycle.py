"""The clinic's models in production: promoted and rolled back by the DAGs' own tasks."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from clinic.world import STREAM, Clinic, Result, TaskRunner, clinic_event
from elastic_ml.project import load_project
from elastic_ml.registry.champion_switch import ChampionSwitch
from elastic_ml.registry.events import write_event
from elastic_ml.registry.model_cards import model_behind, set_stage

OLD = "misuse-20260101-abcdef01-1"


@dataclass
class InProduction:
    """A clinic whose models are promoted and rolled back.

    :param old: a second version, made by hand, which every promotion may go to.
    """

    clinic: Clinic
    old: str = field(init=False)
    runs: int = 0

    def __post_init__(self) -> None:
        self.old = self.clinic.another_version(OLD)

    @property
    def new(self) -> str:
        """The version that was really trained."""
        return self.clinic.model_id

    def judged(self, model_id: str, **more: Any) -> None:
        """Say in a model's card that it was judged against the champion of now, and is a candidate."""
        champion = self.clinic.champion()
        doc = {"champion": champion, "compared": champion, "stage": "candidate", **more}
        self.clinic.client.update(index=self.clinic.names.model_cards, id=model_id, doc=doc, refresh=True)

    def waiting(self, model_id: str) -> str:
        """Bring a promotion to where a person has approved it; returns its run."""
        self.judged(model_id)
        self.runs += 1
        run = f"promotion__{self.runs}"
        clinic = self.clinic
        for key in [key for key in clinic.xcoms if key[0] in {"gate", "approve", "switch"}]:
            del clinic.xcoms[key]
        result = clinic.run("promote_misuse", "gate", run_id=run, model_id=model_id)
        assert result.state == "success", result.error
        assert clinic.answer().state == "success"
        return run

    def put(self, model_id: str) -> None:
        """Leave what a promotion would leave, without its tasks."""
        clinic, names = self.clinic, self.clinic.names
        project = load_project(clinic.folder)
        switch = ChampionSwitch(clinic.client, project, project.model("misuse"), model_id)
        before = switch.present()
        switch.apply(before, switch.displaced(before))
        event = {"event_type": "deployed", "model_name": "misuse", "model_version": model_id, "stage": "champion"}
        write_event(clinic.client, names, event_id=f"put-{model_id}", previous_version=before["champion"], **event)
        if before["champion"]:
            set_stage(clinic.client, names, before["champion"], "previous")
        set_stage(clinic.client, names, model_id, "champion")

    def promote(self, model_id: str) -> None:
        """Promote a model through gate, approval and switch."""
        result = self.switch(self.waiting(model_id))
        assert result.state == "success", result.error

    def switch(self, run: str) -> Result:
        """Run the switch of a promotion that was approved."""
        return self.clinic.run("promote_misuse", "switch", run_id=run)

    def rollback(
        self, to: str = "previous", *, run: str = "rollback__1", user: str | None = "cid", reason: str = "flooded"
    ) -> TaskRunner:
        """The task of a rollback."""
        return self.clinic.runner("rollback_misuse", "rollback", run_id=run, user=user, to=to, reason=reason)

    def in_place(self) -> dict[str, Any]:
        """Everything that serving depends on."""
        client, names = self.clinic.client, self.clinic.names
        return {
            "champion": self.clinic.champion(),
            "previous": model_behind(client, names.previous("misuse")),
            "pipeline": client.ingest.get_pipeline().get(names.score_pipeline("misuse")),
        }

    def stage(self, model_id: str) -> str:
        """What the model's card says of it."""
        return str(self.clinic.client.get(index=self.clinic.names.model_cards, id=model_id)["_source"]["stage"])

    def index_event(self, number: int) -> dict[str, Any]:
        """Index one access as it would arrive; returns it as it was indexed."""
        document, _ = clinic_event(number, datetime(2026, 11, 16, 9, tzinfo=UTC), random.Random(number))
        client, event_id = self.clinic.client, document["event"]["id"]
        client.create(index=STREAM, id=event_id, document=document, refresh=True)
        hits = client.search(index=STREAM, query={"term": {"event.id": event_id}})["hits"]["hits"]
        return dict(hits[0]["_source"])

    def history(self) -> list[tuple[str, str, str, str | None, str | None]]:
        """(event type, status, version, stage, user) of every registry event of rollbacks and what they moved."""
        client, names = self.clinic.client, self.clinic.names
        client.indices.refresh(index=names.registry)
        hits = client.search(index=names.registry, sort=[{"@timestamp": "asc"}], size=1000)["hits"]["hits"]
        events = [hit["_source"] for hit in hits]
        return [
            (e["event_type"], e["status"], e["model_version"], e.get("stage"), (e.get("user") or {}).get("name"))
            for e in events
        ]
