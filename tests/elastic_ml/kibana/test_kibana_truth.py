"""The truth table: what each shipped rule opens on, what it does not, and that it recovers.

Runs on the sandbox; on a real stack where ELASTICSEARCH_URL, KIBANA_URL and ELASTIC_API_KEY name one.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from watched.watch import Document, Watch, watching

MODELS = ("abuse", "refunds")


@pytest.fixture
def watch(stack: Any) -> Iterator[Watch]:
    if stack.kibana_url is None:
        pytest.skip("ELASTICSEARCH_URL names a stack and KIBANA_URL no Kibana")
    with watching(stack) as opened:
        yield opened


def predict(model: str = "abuse", count: int = 40, status: str = "success", **more: Any) -> Document:
    fields = {"event_type": "predict", "count": count, "status": status, "latency_ms": 10.0, **more}
    return "predictions", {"model_name": model, "model_version": f"{model}-1", **fields}


def heartbeat(model: str = "abuse", expected: int = 40, **more: Any) -> Document:
    fields = {"event_type": "heartbeat", "expected": expected, "min_expected": 10, "status": "success", **more}
    return "predictions", {"model_name": model, "model_version": f"{model}-1", **fields}


def health(kind: str = "job", status: str = "success", name: str = "one", **more: Any) -> Document:
    return "health", {"event_type": "health", "kind": kind, "name": name, "status": status, **more}


def drift(breached: bool = False, feature: str = "hour", **more: Any) -> Document:
    fields = {"event_type": "drift", "feature": feature, "psi": 0.4 if breached else 0.1, "limit": 0.2, **more}
    return "drift", {"model_name": "abuse", "breached": breached, **fields}


def scored(user: str, score: float, **more: Any) -> Document:
    return "audit", {"event": {"action": "read"}, "user": {"id": user}, "ml": {"abuse": {"score": score}}, **more}


def anomaly(score: float, user: str | None = "u1", **more: Any) -> Document:
    about = {"user": {"id": user}} if user else {"influencers": ["host=a"]}
    fields = {"event_type": "anomaly", "kind": "anomaly", "name": "sign_ins", "state": "open", **about, **more}
    return "alerts", {"record_score": score, **fields}


def deployed(status: str, model: str = "abuse", **more: Any) -> Document:
    fields = {"event_type": "deployed", "status": status, "model_name": model, "model_version": f"{model}-2", **more}
    return "registry", fields


def business(silent: str = "", minutes: int = 40, count: int = 40) -> list[Document]:
    """What a usual while looks like: every five minutes each model speaks, and everything is well."""
    found: list[Document] = []
    for ago in range(1, minutes, 5):
        for model in MODELS:
            found.append(heartbeat(model, count, minutes_ago=ago))
            if model != silent and count:
                found.append(predict(model, count, minutes_ago=ago))
        found += [health(kind, minutes_ago=ago) for kind in ("job", "transform", "stream", "credential")]
        found.append(health("disk", value=61.0, minutes_ago=ago))
    return [*found, drift(), deployed("success"), scored("u1", 0.97), scored("u2", 0.2), anomaly(60.0)]


INCIDENTS: dict[str, tuple[list[Document], dict[str, list[str]]]] = {
    "a deployment fails": ([*business(), deployed("error", "refunds")], {"deploy-failed": ["refunds,refunds-2"]}),
    "8 % of one model's predictions fail": (
        [*business(), predict("refunds", 3, "error", minutes_ago=2), predict("refunds", 4, "error", minutes_ago=6)],
        {"error-rate": ["refunds"]},
    ),
    "P99 is three times the baseline": (
        [*business(), predict("refunds", 40, latency_ms=60.0)],
        {"latency": ["refunds,refunds-1"]},
    ),
    "one model is silent for 40 minutes": (business(silent="refunds"), {"silent-model": ["refunds"]}),
    "nobody looks for 40 minutes": (
        [predict(model, minutes_ago=ago) for ago in range(1, 40, 5) for model in MODELS],
        {"no-heartbeat": ["query matched"]},
    ),
    "a disk is 85 % full": (
        [*business(), health("disk", "error", "node-2", value=85.0)],
        {"node-disk": ["node-2"]},
    ),
    "a job fails": ([*business(), health("job", "error", "sign_ins", minutes_ago=0.5)], {"unwell": ["job,sign_ins"]}),
    "a feature drifts": ([*business(), drift(True, "country")], {"drift": ["abuse,country"]}),
    "a burst of high scores": (
        [*business(), *(scored("mallory", 0.95, minutes_ago=ago) for ago in (2, 9, 31))],
        {"high-scores-abuse": ["mallory"]},
    ),
    "an anomaly of yesterday is found": (
        [*business(), anomaly(91.0, "trent", minutes_ago=1500)],
        {"anomaly": ["sign_ins,trent"]},
    ),
}


def test_each_incident_opens_its_rule_alone_for_the_right_one_at_once_and_recovers(watch: Watch) -> None:
    for model in MODELS:
        watch.baseline(f"{model}@{model}-1", 20.0)
    opened = {}
    for incident, (documents, _) in INCIDENTS.items():
        watch.happens(*documents)
        # What the incident before opened has to be closed by now, or it stands here, too.
        opened[incident] = watch.open_alerts()
        watch.forget()
    watch.happens(*business())
    assert watch.open_alerts() == {}
    assert opened == {incident: alerts for incident, (_, alerts) in INCIDENTS.items()}
    assert {rule for _, alerts in INCIDENTS.values() for rule in alerts} == {
        rule.removeprefix("watched-") for rule in watch.rules
    }
    if watch.stack.sandbox is not None:  # on a real one the past was deleted, and what was told with it
        assert told_of(watch, "refunds,refunds-2") == [
            {"state": "query matched", "status": "error", "severity": "P1", "environment": "test"},
            {"state": "recovered", "status": "success", "severity": "P1", "environment": "test"},
        ]


def told_of(watch: Watch, alert: str) -> list[dict[str, Any]]:
    """What the stream of alerts was told of one alert of the rule `deploy-failed`."""
    watch.elasticsearch.indices.refresh(index=watch.streams["alerts"])
    of_the_rule = [{"term": {"reason": alert}}, {"term": {"name": "Deployment of a model failed"}}]
    found = watch.elasticsearch.search(
        index=watch.streams["alerts"], query={"bool": {"filter": of_the_rule}}, sort="@timestamp"
    )
    words = ("state", "status", "severity", "environment")
    return [{word: hit["_source"][word] for word in words} for hit in found["hits"]["hits"]]


def quiet_things() -> list[Document]:
    """What looks like an incident and is none."""
    return [
        deployed("error", minutes_ago=6),  # told already
        predict("refunds", 10, "error", minutes_ago=11),  # before the window
        predict("refunds", 3, "error"),  # 3 of 83
        predict("new", 40, latency_ms=900.0),  # no baseline yet
        predict("rare", 20, "error"),  # of 20 a share says nothing
        health("job", "error", minutes_ago=9),  # and well since
        drift(True, minutes_ago=1441),  # yesterday, and not today
        scored("u3", 0.99),
        scored("u3", 0.99),  # two are no burst
        anomaly(99.0, state="withdrawn"),
        anomaly(74.0),
    ]


def test_normal_days_quiet_nights_and_what_only_looks_like_an_incident_open_nothing(watch: Watch) -> None:
    watch.baseline("abuse@abuse-1", 20.0)
    seen = {}
    watch.happens(*business(), *quiet_things())
    seen["looks like incidents"] = watch.open_alerts()
    for words, count in (("nothing to score", 0), ("so little that silence says nothing", 1)):
        watch.forget()
        watch.happens(*business(silent="refunds", count=count))
        seen[words] = watch.open_alerts()
    if watch.stack.sandbox is not None:  # a day on a real stack takes a day
        for hour in range(1, 24, 6):
            watch.stack.sandbox.clock.advance(6 * 3600)
            night = not 8 <= hour <= 20
            watch.happens(*business(count=hour % 3 if night else 40, silent="refunds" if night else ""))
            seen[f"{hour} o'clock"] = watch.open_alerts()
    assert seen == {moment: {} for moment in seen}


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_no_rule_opens_at_any_moment_of_a_normal_day(watch: Watch) -> None:
    """Five minutes at a time, as elastic_health, services and sources write them; a night, a morning, a training."""
    if watch.stack.sandbox is None:
        pytest.skip("a day on a real stack takes a day")
    for model in MODELS:
        watch.baseline(f"{model}@{model}-1", 20.0)
    random = Random(7)
    for step in range(288):
        hour = step // 12
        busy = 40 if 8 <= hour <= 18 else random.choice([0, 0, 1, 2])
        happened: list[Document] = [health("disk", value=random.uniform(55, 79))]
        happened += [health(kind) for kind in ("job", "transform", "stream", "credential")]
        for model in MODELS:
            count = max(0, busy + random.randint(-5, 5)) if busy > 2 else busy
            happened.append(heartbeat(model, count))
            if count:
                happened.append(predict(model, count, latency_ms=random.uniform(8, 30)))
            if count > 30 and random.random() < 0.3:
                happened.append(predict(model, 1, "error"))
        if random.random() < 0.05:
            happened.append(scored(f"u{step}", 0.93))
        if step == 30:
            happened += [drift(), drift(feature="country"), anomaly(60.0), deployed("success")]
        watch.happens(*happened)
        assert watch.open_alerts() == {}, f"{hour}:{step % 12 * 5:02}"
        watch.stack.sandbox.clock.advance(300)
