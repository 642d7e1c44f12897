"""The run of a model that learned on another cluster."""

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import NotReadyError
from elastic_ml.project.bodies import body_hash
from elastic_ml.training.run import TrainingRun

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

ORIGIN = "elastic_ml_origin"
"""Key in a trained model's metadata: where it was trained, on what, and with which kept shares."""


class ImportedRun(TrainingRun):
    """The run of a model that learned elsewhere: its training window is what it brings, the holdout is local.

    :param origin: see `ORIGIN`.
    :param model_id: the trained model.
    """

    origin: Mapping[str, Any]
    model_id: str

    @property
    def holdout_start(self) -> datetime:
        """Start of the local holdout, and never before the model's own training ended: it may have seen these events.

        :raises NotReadyError: nothing of the holdout is left.
        """
        own = self.holdout_end - self.holdout_window
        learned_until = datetime.fromisoformat(self.origin["card"]["windows"]["train_end"])
        if learned_until >= self.holdout_end:
            raise NotReadyError(
                f"{self.model_id} learned from events until {learned_until:%Y-%m-%d}, and the holdout for {self.day} "
                f"ends on {self.holdout_end:%Y-%m-%d}: nothing is left to judge it on.",
                remedy="Import it for a later day: param day.",
            )
        return max(own, learned_until)

    @property
    def train_start(self) -> datetime:
        """Start of the training window, elsewhere."""
        return datetime.fromisoformat(self.origin["card"]["windows"]["train_start"])

    @property
    def windows(self) -> dict[str, str]:
        """The windows as written in the card."""
        theirs = self.origin["card"]["windows"]
        return {**super().windows, "train_start": theirs["train_start"], "train_end": theirs["train_end"]}

    @cached_property
    def job_id(self) -> str:
        """Names the holdout and is the candidate's key; not the id of the job, which may run in this cluster too."""
        digest = body_hash({"imported": self.model_id, "windows": self.windows})
        return self.project.names.job_id(self.model.name, self.day, digest)


def origin_of(client: "Elasticsearch", model_id: str) -> dict[str, Any] | None:
    """Return where a trained model was imported from, None when it was made in this cluster."""
    config = client.ml.get_trained_models(model_id=model_id)["trained_model_configs"][0]
    return (config.get("metadata") or {}).get(ORIGIN)
