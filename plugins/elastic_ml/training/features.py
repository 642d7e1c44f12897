"""A model's features on the cluster: their mapping types, and which of them are joined where they are lists."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from elastic_ml.project.clock import CLOCK_TYPES, clock_features

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project

NUMERIC_TYPES = frozenset(
    {"long", "integer", "short", "byte", "double", "float", "half_float", "scaled_float", "unsigned_long"}
)
# Analytics would take `text` too, but nothing can count its values before.
CATEGORY_TYPES = frozenset({"keyword", "constant_keyword", "boolean", "ip"})


def feature_types(
    client: "Elasticsearch", project: "Project", model: "Model", no_go: list[str] | None = None
) -> dict[str, str]:
    """Return the mapping type of each feature in the training set, copied from the sources.

    `constant_keyword` becomes `keyword`: the training set may join several streams. A feature that is unmapped, mapped
    in two ways, or of a type that cannot be learned from is left out. Time features that the model's own pipelines
    compute are in no source; their types are known.

    :param no_go: gets a sentence for each feature that is left out.
    """
    caps_of, computed = model.source.index, clock_features(project, model)
    caps = client.field_caps(index=caps_of, fields=model.features)["fields"]
    types: dict[str, str] = {}
    for feature in model.features:
        if feature in computed:
            types[feature] = CLOCK_TYPES[feature]
            continue
        found = {
            "keyword" if name == "constant_keyword" else name: entry
            for name, entry in caps.get(feature, {}).items()
            if name != "unmapped"
        }
        problem = None
        if not found:
            problem = f"The feature {feature} is not mapped in {', '.join(caps_of)}: correct its name, or map it."
        elif len(found) > 1 and not set(found) <= NUMERIC_TYPES:
            where = "; ".join(
                f"{name} in {', '.join(entry.get('indices', ['?']))}" for name, entry in sorted(found.items())
            )
            problem = f"The feature {feature} is mapped in two ways ({where}): repair the mapping, or leave it out."
        elif not set(found) <= NUMERIC_TYPES | CATEGORY_TYPES:
            problem = (
                f"The feature {feature} has the type {', '.join(found)}, which cannot be learned from: leave it out, "
                "or index a keyword or number made from it."
            )
        if problem is None:
            types[feature] = next(iter(found)) if len(found) == 1 else "double"
        elif no_go is not None:
            no_go.append(problem)
    return types


def joined_features(types: Mapping[str, str]) -> list[str]:
    """Return the features whose lists become one text, `a,b`: in training, on the holdout and when scoring alike.

    Analytics skips a row with a list, and a model would take the list `[login]` for another category than `login`.

    :param types: see `feature_types`.
    """
    return [feature for feature, type_ in types.items() if type_ == "keyword" and painless_path(feature)]


def painless_path(feature: str) -> str | None:
    """Return how Painless reads the feature of an event, None where its name cannot be written there."""
    parts = feature.split(".")
    return f"ctx.{'?.'.join(parts)}" if all(part.isidentifier() for part in parts) else None
