"""The rows of an analysis: read from documents, typed by the selected fields, split into training and the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elastic_sandbox.ml.encodings import number_of, text_of
from elastic_sandbox.ml.field_selection import Selection
from elastic_sandbox.ml.inference import reader

Integers = NDArray[np.int64]


@dataclass
class Rows:
    """Rows in the order of their ids, columns by feature name."""

    ids: list[str] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    targets: list[Any] = field(default_factory=list)
    """The dependent variable, text of a class or a number; None where the document has none."""
    skipped: int = 0
    """Documents left out because an analysed field holds several values, or none where all are needed."""

    def release(self) -> None:
        """Let go of the values, column by column: freed at once they keep the interpreter for tens of milliseconds."""
        for column in self.columns.values():
            column.clear()


def load_rows(documents: Iterable[tuple[str, dict[str, Any]]], selection: Selection) -> Rows:
    """Rows from (id, source) pairs.

    A document with several values in any analysed field is skipped; a single-element array counts as its element.
    Outlier detection skips a document with a missing value, too.
    Sorted by id, so that the same documents make the same rows in whatever order they were indexed.
    """
    label = selection.dependent_variable
    fields = [*selection.features, *([] if label is None else [label])]
    readers = [reader(selection.source_path(name)) for name in fields]
    textual = [name in selection.categorical for name in selection.features]
    textual.append(selection.kind == "classification")
    loaded: list[tuple[str, list[Any]]] = []
    skipped = 0
    for doc_id, source in documents:
        values = _row(source, readers, textual)
        if values is None or (label is None and None in values):
            skipped += 1
        else:
            loaded.append((doc_id, values))
    loaded.sort(key=lambda row: row[0])
    rows = Rows([doc_id for doc_id, _ in loaded], skipped=skipped)
    for position, name in enumerate(selection.features):
        rows.columns[name] = [values[position] for _, values in loaded]
    rows.targets = [values[-1] if label is not None else None for _, values in loaded]
    return rows


def _row(source: dict[str, Any], readers: Sequence[Any], textual: Sequence[bool]) -> list[Any] | None:
    values = []
    for read, is_text in zip(readers, textual, strict=False):
        value = read(source)
        if type(value) is list:
            if len(value) > 1:
                return None
            value = value[0] if value else None
        if value is not None:
            if is_text:
                value = text_of(value) if not isinstance(value, dict) else None
            else:
                number = number_of(value)
                value = None if number != number else number  # noqa: PLR0124  (NaN)
        values.append(value)
    return values


def class_labels(labels: Sequence[str | None], field_type: str) -> list[str]:
    """The classes in the order of the definition: false before true, numbers by size, names by alphabet."""
    present = {label for label in labels if label is not None}
    if field_type == "number":
        return sorted(present, key=float)
    return sorted(present)


def choose_training_rows(classes: Integers, percent: float, seed: int) -> NDArray[np.bool_]:
    """Which labelled rows to train on: the percentage of each class, drawn from the seed; at least one of each.

    classes: (rows,) class index (0 for every number of a regression), -1 where the row has no label.
    """
    chosen = classes >= 0
    if percent >= 100:
        return chosen
    generator = np.random.default_rng(seed % (2**63))
    chosen = np.zeros(len(classes), dtype=np.bool_)
    for index in range(int(classes.max(initial=-1)) + 1):
        rows = np.flatnonzero(classes == index)
        wanted = max(1, round(len(rows) * percent / 100))
        chosen[generator.permutation(rows)[:wanted]] = True
    return chosen
