"""No field of the raw records separates harm from honest work, and no value is shown by attackers alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import orjson
import pytest
from sklearn.metrics import roc_auc_score

from lendpath import raw_internal, raw_oracle, raw_ping_one
from lendpath.behaviour import KINDS
from lendpath.events import Block, blocks
from lendpath.scenarios import SCENARIOS, Parameters

PARAMETERS = Parameters(seed=11)
FIRST, EARLIER, LATER = date(2026, 8, 17).toordinal(), 10, 5
HIGHEST_AUC = 0.95
_AUDIT_VALUE = re.compile(rb"([A-Z][A-Z ]*?) ?:\[\d+\] '(.*?)'(?=\n[A-Z ]+:\[|\nACTION NUMBER|$)", re.DOTALL)


def collect_leaves(value: dict[str, Any] | list[Any], path: str, found: dict[str, Any]) -> None:
    """Put every scalar of a JSON value into ``found``, by its path."""
    for name, inner in value.items() if type(value) is dict else enumerate(value):
        if type(inner) is dict or type(inner) is list:
            collect_leaves(inner, f"{path}.{name}", found)
        else:
            found[f"{path}.{name}"] = inner


def json_fields(record: bytes) -> dict[str, Any]:
    found = {"(length)": len(record)}
    collect_leaves(orjson.loads(record), "", found)
    return found


def audit_fields(record: bytes) -> dict[str, Any]:
    values = {key.decode(): value.decode() for key, value in _AUDIT_VALUE.findall(record)}
    moment = record.split(b"\n", 1)[0].decode()
    sql = {f"(word {n})": word for n, word in enumerate(values["ACTION"].split()[:9])}
    clock = {"(weekday)": moment[:3], "(day)": moment[4:10], "(hour)": moment[11:13], "(second)": moment[17:19]}
    return {**values, **sql, **clock, "(length)": len(record)}


TRAILS: dict[str, tuple[Callable[[Block, np.ndarray], list[bytes]], Callable[[bytes], dict[str, Any]]]] = {
    "internal": (raw_internal.records, json_fields),
    "ping_one": (raw_ping_one.records, json_fields),
    "oracle": (raw_oracle.records, audit_fields),
    "oracle rows": (raw_oracle.unified_rows, json_fields),
}


@cache
def table(trail: str) -> tuple[dict[str, list[Any]], np.ndarray, int]:
    """The columns of all fields of the raw records, whether each record is of harm, and how many are earlier ones."""
    render, fields = TRAILS[trail]
    rows: list[dict[str, Any]] = []
    harm: list[np.ndarray] = []
    earlier = 0
    for day in range(FIRST, FIRST + EARLIER + LATER):
        for block in blocks(PARAMETERS, day):
            events = getattr(block, trail.partition(" ")[0])
            rows += [fields(record) for record in render(block, np.arange(len(events)))]
            harm.append(events.harm)
        if day == FIRST + EARLIER - 1:
            earlier = len(rows)
    names = sorted({name for row in rows for name in row})
    return {name: [row.get(name) for row in rows] for name in names}, np.concatenate(harm), earlier


def readings(values: list[Any], harm: np.ndarray, earlier: int) -> Iterator[tuple[str, np.ndarray]]:
    """Ways to make a score of one field, for the later records: nothing is judged on what it was learned from."""
    later = values[earlier:]
    if all(value is None or isinstance(value, bool | int | float) for value in later):
        yield "value", np.asarray([-1.0 if value is None else float(value) for value in later])
    texts = [str(value) for value in later]
    yield "length", np.asarray([len(text) for text in texts])
    ranks = {text: rank for rank, text in enumerate(sorted(set(texts)))}
    yield "alphabet", np.asarray([ranks[text] for text in texts])
    seen: dict[Any, list[int]] = {}
    for value, bad in zip(values[:earlier], harm[:earlier].tolist(), strict=True):
        counts = seen.setdefault(value, [0, 0])
        counts[0] += 1
        counts[1] += bad
    prior = float(harm[:earlier].mean())
    rates = {value: (bad + prior) / (count + 1) for value, (count, bad) in seen.items()}
    yield "history", np.asarray([rates.get(value, prior) for value in later])


@pytest.mark.parametrize("trail", list(TRAILS))
def test_no_single_field_of_the_raw_records_separates_harm_from_honest_work(trail):
    columns, harm, earlier = table(trail)
    found = {}
    for name, values in columns.items():
        for reading, score in readings(values, harm, earlier):
            auc = roc_auc_score(harm[earlier:], score)
            found[f"{name} by {reading}"] = max(auc, 1 - auc)
    assert len(columns) > 15
    assert {name: auc for name, auc in found.items() if auc > HIGHEST_AUC} == {}


@pytest.mark.parametrize("trail", list(TRAILS))
def test_every_value_an_attacker_shows_some_honest_person_shows_too(trail):
    columns, harm, _ = table(trail)
    alone = {}
    for name, values in columns.items():
        if name.startswith("("):
            continue  # a length or a word of a text: not a value of its own
        bad = {value for value, is_bad in zip(values, harm, strict=True) if is_bad}
        good = {value for value, is_bad in zip(values, harm, strict=True) if not is_bad}
        # Identities (ids, times, amounts, SQL with a loan's number) are many; a category repeats itself.
        if len(good) <= 100 and bad - good:
            alone[name] = bad - good
        numeric = all(isinstance(value, int | float) for value in bad | good)
        if numeric and not min(good) <= min(bad) <= max(bad) <= max(good):
            alone[name] = {min(bad), max(bad)}
    assert alone == {}


@pytest.mark.parametrize("trail", list(TRAILS))
def test_no_record_names_its_kind_its_scenario_or_a_verdict(trail):
    render, _ = TRAILS[trail]
    text = b"\n".join(line for block in blocks(PARAMETERS, FIRST) for line in render(block, np.arange(500))).lower()
    words = [kind.name for kind in KINDS if kind.name not in {"routine", "travel"}]
    words += [scenario.name for scenario in SCENARIOS] + ["malicious", "verdict", "confirmed", "suspicious", "harm"]
    assert [word for word in words if re.search(rf"\b{word}\b".encode(), text)] == []
