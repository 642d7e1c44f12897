"""What the best possible judge of single events could reach, from the generating probabilities themselves.

A model sees the fields of an event; this sees the probabilities that drew them and applies Bayes' rule. Its average
precision is the ceiling beside which the demo, the tests and the benchmarks put a model's own figure.
"""

from __future__ import annotations

import numpy as np

from lendpath.behaviour import (
    BATCH,
    BATCH_EVENT_SHARE,
    CAMOUFLAGE,
    DISCOUNTED,
    HONEST,
    HONEST_SHARES,
    KINDS,
    MALICIOUS,
    MALICIOUS_SHARES,
)
from lendpath.events import EventDay


def kind_priors(prevalence: float) -> np.ndarray:
    """Return P(kind) of an event, shape (kinds,), from the mix that `lendpath.events.make_day` draws."""
    camouflage = prevalence * CAMOUFLAGE / (1 - CAMOUFLAGE)
    priors = np.zeros(len(KINDS))
    priors[list(MALICIOUS)] = prevalence * MALICIOUS_SHARES
    priors[list(HONEST)] = (1 - prevalence - camouflage - BATCH_EVENT_SHARE) * HONEST_SHARES
    priors[HONEST[0]] += camouflage
    priors[BATCH] += BATCH_EVENT_SHARE
    return priors


def posterior(day: EventDay, prevalence: float) -> np.ndarray:
    """Return P(malicious | the fields of the event), shape (events,), in [0, 1]."""
    role = day.world.roles[day.person]
    service = day.world.is_service[day.person]
    discounted = np.isin(day.action, DISCOUNTED)
    later = day.position > 1
    logs = np.empty((len(day), len(KINDS)))
    for index, kind in enumerate(KINDS):
        density = (
            np.log(kind.hours[day.local_hour])
            + np.log(kind.action_shares()[role, day.action])
            + _bernoulli(day.failed, kind.failure)
            + np.log(kind.countries[day.country] + 1e-12)
            + np.log(kind.mfa[day.mfa] + 1e-12)
            + _bernoulli(day.new_device, kind.new_device)
            + _bernoulli(day.vpn, kind.vpn)
            + _normal(np.log(day.records + 0.5), *kind.records)
            + np.where(later, _normal(np.log(day.gap_seconds), *kind.gap), 0.0)
            + np.where(discounted, _normal(np.log(np.maximum(day.discount_bps, 1) - 0.5), *kind.discount), 0.0)
            + day.failures * np.log(kind.failures)
            - kind.failures
        )
        # Service accounts do nothing but their batches, and nobody else does those.
        logs[:, index] = np.where((index == BATCH) == service, density, -np.inf)
    logs += np.log(kind_priors(prevalence) + 1e-300)
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    return weights[:, list(MALICIOUS)].sum(axis=1) / weights.sum(axis=1)


def _bernoulli(values: np.ndarray, probability: float) -> np.ndarray:
    return np.log(np.where(values, probability, 1 - probability))


def _normal(values: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    return -0.5 * ((values - mean) / deviation) ** 2 - np.log(deviation)
