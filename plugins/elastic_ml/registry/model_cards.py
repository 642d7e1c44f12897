"""What the cluster knows of a model: its card, the model behind an alias, and its scored holdout."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from elastic_ml.clients.documents import dig, scan
from elastic_ml.evaluation.correction import positive_score
from elastic_ml.evaluation.model_card import Holdout
from elastic_ml.exceptions import NotFoundError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.names import Names
    from elastic_ml.training.run import TrainingRun

INPUT_ROWS = 100_000
"""Rows whose inputs enter the drift histograms; scores and labels are always read of all rows."""


def read_card(client: "Elasticsearch", names: "Names", model_id: str) -> dict[str, Any] | None:
    """Return a model's card, None when it has none."""
    try:
        return dict(client.get(index=names.model_cards, id=model_id)["_source"])
    except NotFoundError:
        return None


def set_stage(client: "Elasticsearch", names: "Names", model_id: str, stage: str) -> None:
    """Write a model's stage into its card: candidate, champion, previous or retired."""
    try:
        client.update(index=names.model_cards, id=model_id, doc={"stage": stage}, refresh=True)
    except NotFoundError:
        # A champion from before the cards has none.
        return


def model_behind(client: "Elasticsearch", alias: str) -> str | None:
    """Return the trained model that a model alias points to, None when the alias does not exist.

    Elasticsearch has no API that lists model aliases: a model is asked for by its alias.
    """
    try:
        found = client.ml.get_trained_models(model_id=alias)["trained_model_configs"]
    except NotFoundError:
        return None
    return str(found[0]["model_id"]) if found else None


def read_holdout(
    client: "Elasticsearch",
    run: "TrainingRun",
    rows: int,
    *,
    kept: Mapping[str, float],
    kept_by_champion: Mapping[str, float],
    compared: bool,
) -> "Holdout":
    """Read the scored holdout: labels, days, corrected scores of both models, inputs of a bounded number of rows."""
    import numpy as np

    positive = str(run.model.label.positive_class) if run.model.label else ""
    is_classification = run.model.kind == "classification"

    def score(source: Mapping[str, Any], scorer: str, shares: Mapping[str, float]) -> float:
        scored = dig(source, f"ml.{scorer}") or {}
        if is_classification:
            return positive_score(scored.get("top_classes") or [], positive, shares)
        return float(scored["prediction"])

    labels: list[Any] = []
    days: list[str] = []
    ours: list[float] = []
    theirs: list[float] = []
    inputs: dict[str, list[Any]] = {feature: [] for feature in run.model.features}
    every = -(-rows // INPUT_ROWS)
    for number, hit in enumerate(scan(client, run.holdout_index, {"match_all": {}}, True)):
        source = hit["_source"]
        label = source["label"]
        labels.append(str(label).lower() == positive.lower() if is_classification else float(label))
        days.append(str(source["@timestamp"])[:10])
        ours.append(score(source, "challenger", kept))
        if compared:
            theirs.append(score(source, "champion", kept_by_champion))
        if number % every == 0:
            for feature, values in inputs.items():
                values.append(dig(source, feature))
    return Holdout(
        labels=np.array(labels),
        days=days,
        challenger=np.array(ours),
        champion=np.array(theirs) if compared else None,
        inputs=inputs,
    )
