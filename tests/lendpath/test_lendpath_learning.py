"""What can be learned from LendPath's data: time, sequence and the other trails each help, and nothing is perfect."""

from __future__ import annotations

from datetime import date
from functools import cache

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from lendpath.behaviour import ACTIONS, CORPORATE_VPN, COUNTRIES, HOSTING, MFA, STATEMENTS
from lendpath.events import FAILED, PING_TYPES, Block, blocks
from lendpath.people import ROLES
from lendpath.scenarios import Parameters
from lendpath.truth import TRAILS, posterior, session_posterior
from lendpath.verdicts import decide

PARAMETERS = Parameters(seed=11)
FIRST, EARLIER, LATER = date(2026, 3, 2).toordinal(), 28, 10


def one_hot(values: np.ndarray, names: tuple) -> np.ndarray:
    return np.eye(len(names), dtype=np.float32)[values]


def per_session(block: Block, trail: str, values: np.ndarray) -> np.ndarray:
    return np.bincount(getattr(block, trail).session, weights=values, minlength=len(block.sessions))


def groups(block: Block) -> dict[str, np.ndarray]:
    """The features of each event of the internal trail, by what they need to be known."""
    e, s = block.internal, block.sessions
    session = e.session
    hour = e.time_ms / 3_600_000 + s.offset[session]
    before = np.where(e.position > 1, np.roll(e.action, 1), len(ACTIONS))
    columns = {
        "fields": (
            one_hot(e.action, ACTIONS), one_hot(s.country[session], COUNTRIES), one_hot(s.mfa[session], MFA),
            one_hot(s.role[session], ROLES), e.failed, s.new_device[session], e.records, e.discount,
            np.isin(s.network[session], (CORPORATE_VPN, HOSTING)),
        ),
        "time": (hour // 1 % 24, hour // 24 % 7),
        "sequence": (e.position, e.gap, e.failures, e.other_loan, one_hot(before, (*ACTIONS, "none"))),
        "other trails": (
            s.score[session], per_session(block, "ping_one", block.ping_one.type == FAILED)[session],
            s.admin_acts[session], s.statements[session], per_session(block, "oracle", block.oracle.code > 0)[session],
            *(per_session(block, "oracle", block.oracle.statement == n)[session] for n in range(len(STATEMENTS))),
        ),
    }  # fmt: skip
    return {
        name: np.hstack([np.asarray(part, dtype=np.float32).reshape(len(e), -1) for part in parts])
        for name, parts in columns.items()
    }


@cache
def days() -> tuple[list[Block], list[Block]]:
    made = [[block for day in range(*span) for block in blocks(PARAMETERS, day)] for span in SPANS]
    return made[0], made[1]


SPANS = ((FIRST, FIRST + EARLIER), (FIRST + EARLIER, FIRST + EARLIER + LATER))


@cache
def event_features() -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], np.ndarray, np.ndarray]:
    made = [[groups(block) for block in part] for part in days()]
    found = {name: tuple(np.vstack([g[name] for g in part]) for part in made) for name in made[0][0]}
    labels = [np.concatenate([decide(b).confirmed(len(b.internal)) for b in part]) for part in days()]
    return found, *labels


def learned(earlier: np.ndarray, labels: np.ndarray, later: np.ndarray) -> np.ndarray:
    import xgboost

    # Every fourth negative is enough to rank by, and four times as quick.
    kept = labels | (np.arange(len(labels)) % 4 == 0)
    model = xgboost.XGBClassifier(n_estimators=45, max_depth=5, learning_rate=0.2, max_bin=64, n_jobs=1, random_state=1)
    return model.fit(earlier[kept], labels[kept]).predict_proba(later)[:, 1]


@cache
def score_of_events(*names: str) -> np.ndarray:
    features, labels, _ = event_features()
    return learned(
        *(np.hstack([features[name][0] for name in names]), labels), np.hstack([features[name][1] for name in names])
    )


def precision(*names: str) -> float:
    return float(average_precision_score(event_features()[2], score_of_events(*names)))


EVENT = ("fields", "time", "sequence")


def test_a_good_model_of_single_events_is_neither_perfect_nor_poor():
    labels = event_features()[2]
    assert 0.80 < roc_auc_score(labels, score_of_events(*EVENT)) < 0.97
    assert precision(*EVENT) > 0.4


def test_the_hour_of_day_adds_average_precision():
    assert precision(*EVENT) > precision("fields", "sequence") + 0.01


def test_the_sequence_adds_average_precision():
    assert precision(*EVENT) > precision("fields", "time") + 0.01


def test_the_other_trails_add_average_precision():
    assert precision(*EVENT, "other trails") > precision(*EVENT) + 0.01


def user_hours(part: list[Block]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Counts per person and UTC hour in each trail, and whether anything in any trail did harm."""
    keys, counted = {}, {}
    sizes = {"internal": len(ACTIONS) + 6, "ping_one": len(PING_TYPES) + 1, "oracle": len(STATEMENTS) + 2}
    harm = []
    for trail in TRAILS:
        rows, key = [], []
        for block in part:
            events, s = getattr(block, trail), block.sessions
            session = events.session
            key.append(s.person[session].astype(np.int64) * 10**7 + events.time_ms // 3_600_000 % 10**7)
            harm.append(np.stack([key[-1], events.harm]))
            if trail == "internal":
                extra = (s.new_device[session], s.country[session] > 0, np.log1p(events.records), events.discount,
                         events.gap < 80, events.failed)  # fmt: skip
                what = one_hot(events.action, ACTIONS)
            elif trail == "ping_one":
                extra, what = ((events.type == 3) * s.score[session],), one_hot(events.type, PING_TYPES)
            else:
                extra, what = (events.code > 0, events.sysdba), one_hot(events.statement, STATEMENTS)
            rows.append(np.hstack([what, *(np.asarray(column, dtype=np.float32)[:, None] for column in extra)]))
        keys[trail], counted[trail] = np.concatenate(key), np.vstack(rows)
    every, place = np.unique(np.concatenate(list(keys.values())), return_inverse=True)
    tables, at = {}, 0
    for trail in TRAILS:
        size = len(keys[trail])
        tables[trail] = np.zeros((len(every), sizes[trail]), dtype=np.float32)
        np.add.at(tables[trail], place[at : at + size], counted[trail])
        at += size
    label = np.zeros(len(every), dtype=bool)
    pairs = np.concatenate(harm, axis=1)
    label[np.searchsorted(every, pairs[0][pairs[1] > 0])] = True
    return tables, label


def test_one_trail_alone_tells_less_than_three_together():
    (earlier, labels), (later, truth) = (user_hours(part) for part in days())
    found = {
        names: average_precision_score(
            truth, learned(np.hstack([earlier[n] for n in names]), labels, np.hstack([later[n] for n in names]))
        )
        for names in ((TRAILS[0],), (TRAILS[1],), (TRAILS[2],), TRAILS)
    }
    together = found.pop(TRAILS)
    assert max(found.values()) < together - 0.02, found


def test_no_model_beats_the_best_achievable():
    labels = event_features()[2]
    best = np.concatenate([posterior(block) for block in days()[1]])
    assert precision(*EVENT) < average_precision_score(labels, best) + 0.02
    everything = np.concatenate([session_posterior(block)[1] for block in days()[1]])
    assert precision(*EVENT, "other trails") < average_precision_score(labels, everything)


def test_the_best_achievable_of_a_session_grows_with_every_trail():
    truth = np.concatenate([np.bincount(b.internal.session, b.internal.harm, len(b.sessions)) > 0 for b in days()[1]])
    found = [
        average_precision_score(truth, np.concatenate([session_posterior(b, trails)[0] for b in days()[1]]))
        for trails in (("oracle",), ("ping_one",), ("internal",), TRAILS)
    ]
    assert max(found[:3]) < found[3] - 0.01


@pytest.mark.parametrize("scope", ["event", "session"])
def test_the_probabilities_mean_what_they_say(scope):
    truth = np.concatenate([b.internal.harm for b in days()[1]])
    said = np.concatenate([posterior(b) if scope == "event" else session_posterior(b)[1] for b in days()[1]])
    assert said.sum() == pytest.approx(truth.sum(), rel=0.35)
    for low, high in ((0.0, 0.05), (0.2, 0.6), (0.6, 1.0)):
        chosen = (said >= low) & (said < high)
        assert truth[chosen].mean() == pytest.approx(said[chosen].mean(), abs=0.15)
