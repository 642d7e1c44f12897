"""Names of features: each one field of the source, that a training set can hold beside what is put there anyway."""

from __future__ import annotations

from elastic_ml.project.yaml_files import InvalidValueError

RESULTS = "ml"
"""The field below which analytics writes its results; it refuses a source that has one of that name."""

METADATA = ("_id", "_ignored", "_index", "_routing", "_seq_no", "_source", "_version")
"""Fields that a document has beside its own; analytics takes none of them."""


def check_features(features: list[str]) -> None:
    """Refuse what a training would refuse; raises InvalidValueError with the feature's place in the list."""
    known: set[str] = set()
    for position, feature in enumerate(features):
        if problem := _problem(feature):
            raise InvalidValueError(*problem, position)
        if feature in known:
            raise InvalidValueError(f"{feature} is listed twice", "keep one of the two lines", position)
        known.add(feature)
    for position, feature in enumerate(features):
        parents = feature.split(".")
        for depth in range(1, len(parents)):
            if (parent := ".".join(parents[:depth])) in known:
                raise InvalidValueError(
                    f"{feature} is inside {parent}, and an index holds a value or an object there, not both",
                    "keep one of the two lines",
                    position,
                )


def _problem(feature: str) -> tuple[str, str] | None:
    """What is wrong with a name, and what to do."""
    if not feature.strip():
        return "the feature has no name", "write the name of a field, or remove the line"
    if "*" in feature:
        return f"{feature} is a pattern, and a model needs to know each field", "write the fields out, one by one"
    if not all(part.strip() for part in feature.split(".")):
        return f"{feature!r} can be no field's name: it begins or ends in a dot, or has two in a row", "correct it"
    if feature in METADATA:
        return f"{feature} is no field that can be learned from", "remove it, or index a field made from it"
    if feature == "@timestamp":
        return "a date cannot be learned from", "use a number made from it, such as audit.hour"
    if feature == RESULTS or feature.startswith(f"{RESULTS}."):
        return f"analytics writes its results below {RESULTS}", "index the feature under another name"
    return None
