"""The generating probabilities: how each kind of behaviour looks in the audit trail.

Every table here is shared by the generator (`lendpath.events`) and by the judge of what is achievable at best
(`lendpath.truth`), and by nothing else: an event never carries its kind. Honest and dishonest kinds overlap in every
field, so that no single one gives the answer away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lendpath.people import ROLES

ACTIONS = (
    "sign_in",
    "sign_out",
    "document_viewed",
    "document_downloaded",
    "loan_updated",
    "credit_report_viewed",
    "rate_changed",
    "fee_waived",
    "payment_posted",
    "report_run",
    "export_started",
    "user_created",
    "permission_changed",
    "api_key_created",
)
COUNTRIES = ("US", "CA", "MX", "GB", "DE", "IN", "NL", "BR", "NG", "RO")
MFA = ("push", "totp", "sms", "none")

# What a role does on an ordinary day; one weight per action, normalised below.
_ROUTINE = {
    "loan_officer": (8, 5, 22, 9, 20, 14, 7, 4, 1, 6, 2, 0.1, 0.1, 0.1),
    "processor": (8, 5, 30, 14, 24, 8, 1, 1, 2, 5, 2, 0.1, 0.1, 0.1),
    "underwriter": (8, 5, 28, 10, 14, 24, 4, 1, 0.5, 7, 2, 0.1, 0.1, 0.1),
    "closer": (8, 5, 24, 16, 18, 3, 3, 5, 8, 6, 3, 0.1, 0.1, 0.1),
    "servicing": (8, 5, 20, 6, 12, 2, 1, 5, 32, 7, 3, 0.1, 0.1, 0.1),
    "auditor": (8, 5, 34, 12, 0.5, 10, 0.1, 0.1, 0.1, 22, 9, 0.1, 0.2, 0.1),
    "administrator": (10, 6, 8, 4, 2, 1, 0.2, 0.2, 0.2, 14, 5, 14, 22, 9),
    "batch": (3, 3, 4, 22, 20, 4, 3, 0.1, 22, 12, 14, 0.1, 0.1, 0.2),
}


def _shares(weights: tuple[float, ...] | list[float]) -> np.ndarray:
    array = np.asarray(weights, dtype=float)
    return array / array.sum()


ROUTINE_ACTIONS = np.stack([_shares(_ROUTINE[role]) for role in ROLES])

_OFFICE = _shares([
    0.05, 0.03, 0.02, 0.02, 0.04, 0.15, 0.8, 3, 8, 11, 11.5, 10.5,
    7, 9, 10.5, 10.5, 9, 5.5, 2.2, 1.1, 0.7, 0.4, 0.2, 0.1,
])  # fmt: skip
_NIGHT = _shares([8, 12, 14, 13, 9, 5, 2, 1, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.7, 1, 1.4, 2, 3, 4, 5, 6])
_EVENING = _shares([1, 0.6, 0.4, 0.4, 0.6, 1.2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5, 6, 8, 11, 11, 9, 6, 3, 2])
_ANY = np.full(24, 1 / 24)


@dataclass(frozen=True)
class Kind:
    """One kind of behaviour.

    Probabilities are in [0, 1]; `records` and `gap` are the mean and standard deviation of a natural logarithm
    (records touched, seconds since the previous event of the session), `discount` likewise of basis points.
    """

    name: str
    malicious: bool
    hours: np.ndarray
    actions: dict[str, float]
    blend: float  # share of events that follow `actions`; the rest is the role's routine
    failure: float
    countries: np.ndarray
    mfa: np.ndarray
    new_device: float
    vpn: float
    records: tuple[float, float]
    gap: tuple[float, float]
    discount: tuple[float, float]
    failures: float  # mean of failed attempts in the hour before, Poisson

    def action_shares(self) -> np.ndarray:
        """Return P(action | this kind, role), shape (roles, actions)."""
        special = _shares([self.actions.get(action, 0.0) + 1e-9 for action in ACTIONS])
        return self.blend * special[None, :] + (1 - self.blend) * ROUTINE_ACTIONS


def _countries(home: float, **others: float) -> np.ndarray:
    rest = _shares([others.get(code.lower(), 1.0) for code in COUNTRIES[1:]]) * (1 - home)
    return np.concatenate([[home], rest])


_MFA_USUAL = _shares([60, 20, 12, 8])
_DESK = _countries(0.985, ca=3, mx=3, gb=2)

KINDS = (
    Kind("routine", False, _OFFICE, {}, 0.0, 0.04, _DESK, _MFA_USUAL, 0.03, 0.12,
         (1.0, 1.0), (4.0, 1.2), (2.2, 0.8), 0.15),
    Kind("on_call", False, _NIGHT, {"permission_changed": 2, "report_run": 2, "loan_updated": 1}, 0.4, 0.08,
         _DESK, _MFA_USUAL, 0.06, 0.55, (1.3, 1.1), (3.6, 1.2), (2.2, 0.8), 0.3),
    Kind("travel", False, _EVENING, {}, 0.0, 0.07, _countries(0.12, ca=5, mx=4, gb=4, de=2, ind=2),
         _shares([40, 25, 25, 10]), 0.28, 0.6, (0.9, 1.0), (4.2, 1.2), (2.2, 0.8), 0.4),
    Kind("quarter_end", False, _EVENING, {"document_downloaded": 2, "report_run": 3, "export_started": 2}, 0.5,
         0.04, _DESK, _MFA_USUAL, 0.03, 0.2, (2.7, 1.1), (3.2, 1.1), (2.3, 0.8), 0.15),
    Kind("nightly_batch", False, _NIGHT, {}, 0.0, 0.02, _countries(0.9999), _shares([0, 0, 0, 1]), 0.004, 0.002,
         (3.6, 1.0), (0.6, 0.7), (2.2, 0.8), 0.05),
    Kind("account_takeover", True, 0.45 * _OFFICE + 0.55 * _ANY,
         {"sign_in": 4, "document_downloaded": 3, "credit_report_viewed": 4, "permission_changed": 1.5,
          "api_key_created": 1.5, "export_started": 1}, 0.6, 0.24,
         _countries(0.52, ng=4, ro=4, nl=3, br=3, ind=2), _shares([24, 8, 32, 36]), 0.5, 0.5,
         (2.0, 1.1), (2.6, 1.1), (2.2, 0.8), 1.5),
    Kind("rate_insider", True, 0.5 * _OFFICE + 0.5 * _EVENING,
         {"rate_changed": 5, "fee_waived": 4, "loan_updated": 1}, 0.82, 0.03, _DESK, _MFA_USUAL, 0.05, 0.16,
         (0.8, 0.9), (4.3, 1.2), (4.1, 0.7), 0.2),
    Kind("bulk_export", True, 0.45 * _OFFICE + 0.55 * _EVENING,
         {"export_started": 4, "document_downloaded": 5, "report_run": 2}, 0.8, 0.05, _DESK, _MFA_USUAL, 0.08, 0.3,
         (4.3, 1.0), (2.2, 1.0), (2.2, 0.8), 0.2),
)  # fmt: skip

HONEST = tuple(i for i, kind in enumerate(KINDS) if not kind.malicious)
MALICIOUS = tuple(i for i, kind in enumerate(KINDS) if kind.malicious)
# How often each honest kind is met in a session of an employee; service accounts only run batches.
HONEST_SHARES = _shares([0.90, 0.03, 0.035, 0.035, 0.0])
MALICIOUS_SHARES = _shares([0.40, 0.28, 0.32])
BATCH = next(i for i, kind in enumerate(KINDS) if kind.name == "nightly_batch")
BATCH_EVENT_SHARE = 0.06
# An attacker also does what the account's owner would do: this share of a malicious session is honest routine.
CAMOUFLAGE = 0.25
DISCOUNTED = tuple(ACTIONS.index(name) for name in ("rate_changed", "fee_waived"))
