"""One detector at work: its series, its model, and the surprises worth a record.

Splits: `partition` and `by` make series of their own; `over` makes the persons of a population, compared with their
peers in the same partition (and by value).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from elastic_sandbox.ml.anomaly.columns import Floats, Ints, are_given, as_numbers, as_text, as_texts, grouped
from elastic_sandbox.ml.anomaly.detectors import FUNCTIONS, rule_applies
from elastic_sandbox.ml.anomaly.metric import MetricModel
from elastic_sandbox.ml.anomaly.model import CountModel, Judged
from elastic_sandbox.ml.anomaly.rare import RareModel
from elastic_sandbox.ml.anomaly.tails import Tail

if TYPE_CHECKING:
    from elastic_sandbox.ml.anomaly.analysis import Records

WORTH_A_RECORD: Final = -0.5
"""`y` from which a surprise becomes a record: about three a week."""
_INFLUENCE: Final = 0.5
"""Share of a value in a bucket from which it is an influencer."""
_DENSE: Final = 0.9
_ADDING_UP: Final = frozenset({"count", "distinct_count", "sum"})
"""Features that grow while their bucket lasts; the others stand as they are (model_t::requiresInterimResultAdjustment).
"""


@dataclass
class Finding:
    """A surprise of one value of a detector in one bucket."""

    detector_index: int
    y: float
    probability: float
    actual: float
    typical: float
    lower: float
    upper: float
    multi: float
    values: dict[str, str]
    """`by_field_value`, `over_field_value`, `partition_field_value`, where there are such fields."""
    influencers: dict[str, list[str]]


@dataclass
class Prepared:
    """A batch of records as a detector sees it: (bucket, series, person) cells with the value of each."""

    edges: Ints
    """Where the cells of each bucket begin, one more than buckets."""
    series: Ints
    persons: Ints
    values: Floats
    counts: Floats
    active: Ints
    """How many series there are from each bucket on."""
    records: Records | None
    """What the batch was made of, if influencers are asked for; ``rows`` are the indices of those that count."""
    rows: Ints
    row_edges: Ints
    row_series: Ints
    row_persons: Ints
    row_values: Floats | None


class Detection:
    """State of one detector; see `Analysis` for how it is fed."""

    def __init__(self, detector: dict[str, Any], span: int, influencers: list[str]) -> None:
        self.function = FUNCTIONS[detector["function"]]
        self.index: int = detector["detector_index"]
        self.rules: list[dict[str, Any]] = detector.get("custom_rules", [])
        self.use_null = bool(detector.get("use_null"))
        self.field: str | None = detector.get("field_name")
        self.splits = {kind: detector.get(f"{kind}_field_name") for kind in ("partition", "by", "over")}
        self.fields = [name for name in (self.field, *self.splits.values()) if name is not None]
        self.influencers = influencers
        self.population = self.splits["over"] is not None
        self.tail = Tail()
        self._codes: dict[str, dict[str, int]] = {kind: {} for kind in self.splits}
        self._series: dict[tuple[int, int], int] = {}
        self._names: list[tuple[int, int]] = []
        feature = self.function.feature
        self.model: CountModel | MetricModel | RareModel
        if feature == "rare":
            self.model = RareModel(span)
        elif feature in {"count", "distinct_count"} and not self.population:
            self.model = CountModel(self.function.side, span)
        else:
            self.model = MetricModel(self.function.side, span, by_count=feature == "mean")
        self._dense = np.zeros((2, 0))

    # From records to cells ------------------------------------------------------------------------------------------

    def prepare(self, records: Records | None, edges: Ints, buckets: int) -> Prepared:
        """Group a batch's records; ``edges`` tells where each bucket's begin."""
        empty = np.zeros(0, dtype=np.int64)
        if records is None:
            zeros = np.zeros(buckets + 1, dtype=np.int64)
            active = np.full(buckets, len(self._names))
            return Prepared(
                zeros, empty, empty, np.zeros(0), np.zeros(0), active, None, empty, zeros, empty, empty, None
            )
        size = len(records.times)
        keep = np.ones(size, dtype=bool)
        numbers: Floats | None = None
        raw = None if self.field is None else records.fields[self.field]
        if raw is not None and self.function.feature != "distinct_count":
            numbers = as_numbers(raw)
            keep &= np.isfinite(numbers)
        elif raw is not None:
            keep &= are_given(raw)
        names: dict[str, list[str | None] | None] = {}
        for kind, name in self.splits.items():
            names[kind] = None if name is None else as_texts(records.fields[name])
            if name is not None and not self.use_null:
                keep &= are_given(names[kind] or [])
        rows = np.flatnonzero(keep)
        bucket = np.searchsorted(edges, rows, side="right") - 1
        codes = {kind: self._encode(kind, texts, rows, bucket) for kind, texts in names.items()}
        before = len(self._names)
        series, first_seen = self._assign(codes["partition"], codes["by"], bucket)
        persons = codes["over"]
        weights = np.ones(len(rows)) if records.counts is None else records.counts[rows]
        values = None if numbers is None else numbers[rows]
        members = self._members(raw, rows) if self.function.feature == "distinct_count" else None
        cells = self._cells(bucket, series, persons, weights, values, members)
        numbered = np.arange(buckets + 1)
        return Prepared(
            np.searchsorted(cells[0], numbered), *cells[1:],
            before + np.searchsorted(first_seen, numbered[:-1], side="right"), records if self.influencers else None,
            rows, np.searchsorted(bucket, numbered), series, persons, values,
        )  # fmt: skip

    def _encode(self, kind: str, texts: list[str | None] | None, rows: Ints, bucket: Ints) -> Ints:
        if texts is None:
            return np.zeros(len(rows), dtype=np.int64)
        known = self._codes[kind]
        chosen = (
            [texts[row] or "" for row in rows.tolist()] if len(rows) < len(texts) else [text or "" for text in texts]
        )
        unknown: dict[str, int] = {}
        for text, at in zip(chosen, bucket.tolist(), strict=True):
            if text not in known and text not in unknown:
                unknown[text] = at
        # By bucket, then by name: a code does not depend on how the input was cut.
        for text, _ in sorted(unknown.items(), key=lambda item: (item[1], item[0])):
            known[text] = len(known)
        return np.array([known[text] for text in chosen], dtype=np.int64)

    def _assign(self, partition: Ints, by: Ints, bucket: Ints) -> tuple[Ints, Ints]:
        """(the series of each row, the buckets in which new series begin); numbered by bucket, then by codes."""
        if not len(partition):
            return partition, partition
        wide = int(by.max()) + 1
        pairs, first, inverse = np.unique(partition * wide + by, return_index=True, return_inverse=True)
        keys = [divmod(pair, wide) for pair in pairs.tolist()]
        when = bucket[first]
        begins = []
        for number in np.argsort(when, kind="stable").tolist():
            if keys[number] not in self._series:
                self._series[keys[number]] = len(self._names)
                self._names.append(keys[number])
                begins.append(int(when[number]))
        return np.array([self._series[key] for key in keys], dtype=np.int64)[inverse], np.array(begins, dtype=np.int64)

    @staticmethod
    def _members(raw: list[Any] | None, rows: Ints) -> Ints:
        assert raw is not None
        codes: dict[str, int] = {}
        return np.array([codes.setdefault(str(raw[row]), len(codes)) for row in rows.tolist()], dtype=np.int64)

    def _cells(
        self, bucket: Ints, series: Ints, persons: Ints, weights: Floats, values: Floats | None, members: Ints | None
    ) -> tuple[Ints, Ints, Ints, Floats, Floats]:
        """(bucket, series, person, value, event count) of every cell, by bucket, series and person."""
        if not len(bucket):
            empty = np.zeros(0, dtype=np.int64)
            return empty, empty, empty, np.zeros(0), np.zeros(0)
        people, wide = int(persons.max()) + 1, int(series.max()) + 1
        key = (bucket * wide + series) * people + persons
        unique, cell = grouped(key)
        count: Floats = np.bincount(cell, weights, minlength=len(unique)).astype(np.float64)
        feature = self.function.feature
        result: Floats
        if feature == "distinct_count":
            assert members is not None
            pairs = np.unique(cell * (int(members.max()) + 1) + members)
            result = np.bincount(pairs // (int(members.max()) + 1), minlength=len(unique)).astype(float)
        elif values is None:
            result = count
        elif feature in {"min", "max"}:
            result = np.full(len(unique), np.inf if feature == "min" else -np.inf)
            (np.minimum if feature == "min" else np.maximum).at(result, cell, values)
        else:
            # A pre-summarized record holds the mean of its events, or (sum) their sum.
            weighted = values * (weights if feature == "mean" else 1.0)
            result = np.bincount(cell, weighted, minlength=len(unique)).astype(np.float64)
            if feature == "mean":
                result = result / np.maximum(count, 1e-12)
        return unique // (wide * people), unique // people % wide, unique % people, result, count

    # From cells to findings -----------------------------------------------------------------------------------------

    def step(
        self, given: Prepared, number: int, start: int, filters: dict[str, frozenset[str]], *, learn: bool,
        share: float = 1.0,
    ) -> list[Finding]:  # fmt: skip
        """Judge the batch's bucket ``number``, which begins at ``start``, and learn from it.

        :param share: how much of the bucket has passed, below 1 for interim results
        """
        cells = slice(int(given.edges[number]), int(given.edges[number + 1]))
        series, persons = given.series[cells], given.persons[cells]
        values, counts = given.values[cells], given.counts[cells]
        active = int(given.active[number])
        slot = (start // 3_600_000 + 72) % 168  # 1970-01-01 was a Thursday; the week begins on Monday
        if isinstance(self.model, CountModel):
            full = np.zeros(active)
            full[series] = values
            series, persons, values = np.arange(active), np.zeros(active, dtype=np.int64), full
        elif self.function.null_is_zero and not self.population and isinstance(self.model, MetricModel):
            series, values, counts = self._with_zeros(active, series, values, counts)
            persons = np.zeros(len(series), dtype=np.int64)
        if not len(series):
            return []
        skipped, learnt = self._rules(series, persons, values, start, filters, slot)
        whole = values if share >= 1 else self._whole(series, values, counts, active, slot, share)
        judged = self._judge(series, whole, counts, learnt & learn, active, slot)
        surprise = np.where(skipped, 0.0, judged.surprise)
        y = self.tail.rarity(surprise)
        if learn:
            calm = True if isinstance(self.model, RareModel) else self.model.calm(series)
            self.tail.add(surprise[~skipped & learnt & calm])
        found = [
            self._finding(given, number, judged, float(y[i]), int(series[i]), int(persons[i]), float(values[i]), i)
            for i in np.flatnonzero(y >= WORTH_A_RECORD).tolist()
        ]
        return [finding for finding in found if not self._refused(finding, start, filters)] if self.rules else found

    def _with_zeros(self, active: int, series: Ints, values: Floats, counts: Floats) -> tuple[Ints, Floats, Floats]:
        """For sums: a bucket without data is 0 for a series that has data nearly always, and nothing for others."""
        self._dense = np.pad(self._dense, ((0, 0), (0, active - self._dense.shape[1])))
        present = np.zeros(active, dtype=bool)
        present[series] = True
        usual = (self._dense[1] >= 96) & (self._dense[0] >= _DENSE * self._dense[1])
        self._dense *= 0.999
        self._dense += np.stack([present, np.ones(active)])
        gaps = np.flatnonzero(usual & ~present)
        zeros = np.zeros(len(gaps))
        return np.concatenate([series, gaps]), np.concatenate([values, zeros]), np.concatenate([counts, zeros])

    def _whole(self, series: Ints, values: Floats, counts: Floats, active: int, slot: int, share: float) -> Floats:
        """What to judge a part of a bucket by: counts and sums get what is typical of the rest, up to what is typical.

        So a bucket that has only begun is not low; what is high already stays as it is. It is the correction of
        ml-cpp's CInterimBucketCorrector, which estimates the share by event counts where this takes time.
        """
        if self.function.feature not in _ADDING_UP:
            return values
        trial = copy.copy(self)
        trial.model = copy.deepcopy(self.model)
        typical = trial._judge(series, values, counts, np.zeros(len(series), dtype=bool), active, slot).typical
        gap = typical - values
        return values + np.clip((1 - share) * typical, np.minimum(0, gap), np.maximum(0, gap))

    def _judge(
        self, series: Ints, values: Floats, counts: Floats, learn: NDArray[np.bool_], active: int, slot: int
    ) -> Judged:
        model = self.model
        if isinstance(model, RareModel):
            pairs = np.array([self._names[one] for one in series.tolist()])
            # As far as this bucket: what the batch has later would make results depend on the cut of the input.
            model.grow(int(pairs[:, 0].max()) + 1, int(pairs[:, 1].max()) + 1)
            surprise, probability = model.step(pairs[:, 0], pairs[:, 1], learn)
            zeros = np.zeros(len(series))
            return Judged(surprise, probability, zeros, probability, zeros - 5)
        model.grow(active)
        model.enter(slot)
        if isinstance(model, CountModel):
            return model.step(values, learn)
        return model.step(series, values, counts, learn)

    def _finding(
        self, given: Prepared, number: int, judged: Judged, y: float, series: int, person: int, actual: float, at: int
    ) -> Finding:
        rare = self.function.feature == "rare"
        return Finding(
            self.index, y, float(10.0 ** -judged.surprise[at]), 1.0 if rare else actual, float(judged.typical[at]),
            float(judged.lower[at]), float(judged.upper[at]), float(judged.multi[at]), self._values(series, person),
            self._influencers(given, number, series, person),
        )  # fmt: skip

    def _values(self, series: int, person: int) -> dict[str, str]:
        partition, by = self._names[series]
        codes = {"partition": partition, "by": by, "over": person}
        return {
            f"{kind}_field_value": self._name(kind, codes[kind])
            for kind, name in self.splits.items()
            if name is not None
        }

    def _name(self, kind: str, code: int) -> str:
        names = self._decoded.get(kind, [])
        if code >= len(names):
            names = self._decoded[kind] = list(self._codes[kind])
        return names[code]

    @property
    def _decoded(self) -> dict[str, list[str]]:
        return self.__dict__.setdefault("_lists", {})

    def _influencers(self, given: Prepared, number: int, series: int, person: int) -> dict[str, list[str]]:
        """The influencer values that account for at least half of the finding."""
        if not self.influencers or given.records is None:
            return {}
        rows = np.arange(given.row_edges[number], given.row_edges[number + 1])
        rows = rows[(given.row_series[rows] == series) & (given.row_persons[rows] == person)]
        records = given.rows[rows]
        weights = np.ones(len(rows)) if given.records.counts is None else given.records.counts[records]
        if given.row_values is not None and self.function.feature == "sum":
            weights = np.abs(given.row_values[rows])
        elif given.row_values is not None and self.function.feature in {"min", "max"}:
            best = given.row_values[rows]
            weights = (best == (best.min() if self.function.feature == "min" else best.max())).astype(float)
        total = float(weights.sum()) or 1.0
        found: dict[str, list[str]] = {}
        for name in self.influencers:
            shares: dict[str, float] = {}
            for row, weight in zip(records.tolist(), weights.tolist(), strict=True):
                value = given.records.fields[name][row]
                for item in value if isinstance(value, list) else [value]:
                    if item is not None:
                        shares[as_text(item) or ""] = shares.get(as_text(item) or "", 0.0) + weight
            strong = sorted(value for value, share in shares.items() if share >= _INFLUENCE * total)
            if strong:
                found[name] = strong
        return found

    # Custom rules ---------------------------------------------------------------------------------------------------

    def _rules(
        self, series: Ints, persons: Ints, values: Floats, start: int, filters: dict[str, frozenset[str]], slot: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(results to skip, values to learn from), by the rules that can be told before the model has judged."""
        skipped, learnt = np.zeros(len(series), dtype=bool), np.ones(len(series), dtype=bool)
        del slot
        for rule in self.rules:
            if any(c["applies_to"] in {"typical", "diff_from_typical"} for c in rule.get("conditions", [])):
                continue
            for i, (one, person) in enumerate(zip(series.tolist(), persons.tolist(), strict=True)):
                numbers = {"actual": float(values[i]), "time": start / 1000}
                if rule_applies(rule, self._by_name(self._values(one, person)), filters, numbers):
                    skipped[i] |= "skip_result" in rule["actions"]
                    learnt[i] &= "skip_model_update" not in rule["actions"]
        return skipped, learnt

    def _refused(self, finding: Finding, start: int, filters: dict[str, frozenset[str]]) -> bool:
        """Whether a rule on the typical value, which only the model knows, skips a finding."""
        numbers = {
            "actual": finding.actual,
            "typical": finding.typical,
            "diff_from_typical": abs(finding.actual - finding.typical),
            "time": start / 1000,
        }
        values = self._by_name(finding.values)
        return any(
            "skip_result" in rule["actions"] and rule_applies(rule, values, filters, numbers) for rule in self.rules
        )

    def _by_name(self, values: dict[str, str]) -> dict[str, str]:
        return {str(self.splits[kind]): values[f"{kind}_field_value"] for kind, name in self.splits.items() if name}

    # Keeping --------------------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """Arrays and names to keep."""
        return {
            "codes": {kind: list(codes) for kind, codes in self._codes.items()},
            "series": [list(pair) for pair in self._names],
            "model": self.model.to_state(),
            "tail": self.tail.to_state(),
            "dense": self._dense,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `to_state`."""
        self._codes = {kind: {name: code for code, name in enumerate(names)} for kind, names in state["codes"].items()}
        self._names = [(pair[0], pair[1]) for pair in state["series"]]
        self._series = {pair: number for number, pair in enumerate(self._names)}
        self.model.restore(state["model"])
        self.tail = Tail.from_state(state["tail"])
        self._dense = np.array(state["dense"], dtype=np.float64)

    @property
    def sizes(self) -> dict[str, int]:
        """How many by, over and partition values there are."""
        return {kind: len(self._codes[kind]) for kind in ("by", "over", "partition")}

    def series_values(self, series: int) -> dict[str, str]:
        """The by and partition values of a series."""
        return self._values(series, 0)
