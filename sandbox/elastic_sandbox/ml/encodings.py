"""The preprocessors of an Elastic model definition, fitted on training columns and applied to any columns.

Three kinds turn a categorical field into numbers, as ml-cpp's do: `one_hot_encoding` for its frequent values,
`frequency_encoding` and `target_mean_encoding` for fields with many. A missing value makes no column at all in
Elasticsearch, so every encoded column is NaN there and the trees' default direction decides.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from elastic_sandbox.errors import unsupported
from elastic_sandbox.ml.strict import bad_request, parse_strict

Floats = NDArray[np.float64]
ONE_HOT_ALL: Final = 16
"""Up to so many distinct values all get a column of their own."""
ONE_HOT_FREQUENT: Final = 8
"""Of fields with more values, so many most frequent ones do."""
SMOOTHING_ROWS: Final = 20.0
"""A category's target mean is pulled to the overall mean as if it had so many more average rows."""


class Preprocessor(Protocol):
    """One preprocessor: reads one field, makes named numeric columns."""

    field: str

    def apply(self, column: list[Any]) -> dict[str, Floats]:
        """The columns made from raw values."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The definition's JSON."""
        ...

    @property
    def size_bytes(self) -> int:
        """Approximate memory."""
        ...

    @property
    def outputs(self) -> list[str]:
        """The names of the columns it makes."""
        ...


def text_of(value: Any) -> str | None:
    """A JSON value as Java's toString writes it; None for null."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def number_of(value: Any) -> float:
    """A JSON value as the number a tree compares; NaN when it is none (Elasticsearch treats it as missing)."""
    if isinstance(value, bool):
        return 1.0 if value else 0.0
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        if value in {"true", "false"}:
            return 1.0 if value == "true" else 0.0
        try:
            return float(value)
        except ValueError:
            return float("nan")
    return float("nan")


def numeric_column(column: list[Any]) -> Floats:
    """A raw column as floats, NaN = missing."""
    return np.fromiter(
        (value if type(value) is float else number_of(value) for value in column), dtype=np.float64, count=len(column)
    )


@dataclass
class OneHot:
    """`one_hot_encoding`: one 0/1 column per listed value."""

    field: str
    hot_map: dict[str, str]

    def apply(self, column: list[Any]) -> dict[str, Floats]:
        """A column per value of the hot map."""
        index = {value: position for position, value in enumerate(self.hot_map)}
        codes = np.fromiter(
            (
                -2 if value is None else index.get(value if type(value) is str else text_of(value) or "", -1)
                for value in column
            ),
            dtype=np.int64,
            count=len(column),
        )
        missing = codes == -2
        columns = {}
        for position, name in enumerate(self.hot_map.values()):
            hot = (codes == position).astype(np.float64)
            hot[missing] = np.nan
            columns[name] = hot
        return columns

    def to_json(self) -> dict[str, Any]:
        """The definition's JSON."""
        return {"one_hot_encoding": {"field": self.field, "hot_map": dict(self.hot_map), "custom": False}}

    @property
    def size_bytes(self) -> int:
        """Approximate memory."""
        return sum(len(value) + len(name) + 64 for value, name in self.hot_map.items())

    @property
    def outputs(self) -> list[str]:
        """The names of the columns it makes."""
        return list(self.hot_map.values())


@dataclass
class Lookup:
    """`frequency_encoding` and `target_mean_encoding`: a number per value, a default for the others."""

    kind: str
    field: str
    feature_name: str
    mapping: dict[str, float]
    default: float

    def apply(self, column: list[Any]) -> dict[str, Floats]:
        """The one column of looked-up numbers."""
        mapping, default, nan = self.mapping, self.default, float("nan")
        numbers = np.fromiter(
            (
                nan if value is None else mapping.get(value if type(value) is str else text_of(value) or "", default)
                for value in column
            ),
            dtype=np.float64,
            count=len(column),
        )
        return {self.feature_name: numbers}

    def to_json(self) -> dict[str, Any]:
        """The definition's JSON."""
        inner: dict[str, Any] = {"field": self.field, "feature_name": self.feature_name}
        if self.kind == "frequency_encoding":
            inner["frequency_map"] = dict(self.mapping)
        else:
            inner |= {"target_map": dict(self.mapping), "default_value": self.default}
        return {self.kind: inner | {"custom": False}}

    @property
    def size_bytes(self) -> int:
        """Approximate memory."""
        return sum(len(value) + 72 for value in self.mapping)

    @property
    def outputs(self) -> list[str]:
        """The names of the columns it makes."""
        return [self.feature_name]


def parse_preprocessors(body: list[Any]) -> list[Preprocessor]:
    """Preprocessors from a definition; 501 for kinds that are not evaluated here."""
    result: list[Preprocessor] = []
    for item in body:
        if not isinstance(item, dict) or len(item) != 1:
            raise bad_request("[preprocessors] entries must have exactly one preprocessor each")
        kind, inner = next(iter(item.items()))
        if kind == "one_hot_encoding":
            parse_strict(kind, inner, {"field": str, "hot_map": dict, "custom": bool})
            _require(kind, inner, "field", "hot_map")
            result.append(OneHot(inner["field"], {str(k): str(v) for k, v in inner["hot_map"].items()}))
        elif kind == "frequency_encoding":
            parse_strict(kind, inner, {"field": str, "feature_name": str, "frequency_map": dict, "custom": bool})
            _require(kind, inner, "field", "feature_name", "frequency_map")
            result.append(Lookup(kind, inner["field"], inner["feature_name"], _floats(inner["frequency_map"]), 0.0))
        elif kind == "target_mean_encoding":
            known = {"field": str, "feature_name": str, "target_map": dict, "default_value": float, "custom": bool}
            parse_strict(kind, inner, known)
            _require(kind, inner, "field", "feature_name", "target_map", "default_value")
            default = float(inner["default_value"])
            result.append(Lookup(kind, inner["field"], inner["feature_name"], _floats(inner["target_map"]), default))
        else:
            raise unsupported(
                f"preprocessor [{kind}] (one_hot_encoding, frequency_encoding and target_mean_encoding are evaluated)"
            )
    return result


def _require(kind: str, inner: dict[str, Any], *names: str) -> None:
    for name in names:
        if inner.get(name) is None:
            raise bad_request(f"[{name}] must not be null. (preprocessor [{kind}])")


def _floats(mapping: dict[str, Any]) -> dict[str, float]:
    return {str(key): float(value) for key, value in mapping.items()}


def fit_preprocessors(
    columns: dict[str, list[Any]], categorical: list[str], targets: dict[str, Floats]
) -> list[Preprocessor]:
    """Preprocessors for the categorical columns of the training rows.

    columns: raw columns of the training rows; targets: what is learned (`Target.columns`), of the same rows.
    """
    fitted: list[Preprocessor] = []
    for field in categorical:
        texts = [text_of(value) for value in columns[field]]
        counts = Counter(text for text in texts if text is not None)
        ranked = sorted(counts, key=lambda text: (-counts[text], text))
        few = len(ranked) <= ONE_HOT_ALL
        hot = ranked if few else ranked[:ONE_HOT_FREQUENT]
        if hot:
            fitted.append(OneHot(field, {value: f"{field}_{value}" for value in hot}))
        if few:
            continue
        total = sum(counts.values())
        frequencies = {value: counts[value] / total for value in ranked}
        fitted.append(Lookup("frequency_encoding", field, f"{field}_frequency", frequencies, 0.0))
        fitted.extend(target_means(field, texts, targets))
    return fitted


def target_means(field: str, texts: list[str | None], targets: dict[str, Floats]) -> list[Lookup]:
    """Smoothed mean of each target among the rows of each value."""
    present = np.fromiter((text is not None for text in texts), dtype=np.bool_, count=len(texts))
    values, inverse = np.unique([text or "" for text in texts], return_inverse=True)
    counts = np.bincount(inverse[present], minlength=len(values)).astype(np.float64)
    encodings = []
    for suffix, target in targets.items():
        overall = float(target[present].mean()) if present.any() else 0.0
        sums = np.bincount(inverse[present], weights=target[present], minlength=len(values))
        means = (sums + SMOOTHING_ROWS * overall) / (counts + SMOOTHING_ROWS)
        mapping = {
            str(value): float(mean) for value, mean, count in zip(values, means, counts, strict=True) if count > 0
        }
        encodings.append(Lookup("target_mean_encoding", field, f"{field}_targetmean{suffix}", mapping, overall))
    return encodings


def original_fields(preprocessors: list[Preprocessor]) -> dict[str, str]:
    """Column name → the field it was made from."""
    return {output: p.field for p in preprocessors for output in p.outputs}
