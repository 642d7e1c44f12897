"""The generating probabilities: how each kind of session looks in the three audit trails.

Every table here is shared by the generator (`lendpath.sessions`, `lendpath.events`) and by the judge of what is
achievable at best (`lendpath.truth`), and by nothing else: an event never carries its kind. Honest and dishonest kinds
overlap in every field, so that no single one gives the answer away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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
SIGN_IN, SIGN_OUT = 0, 1
DISCOUNTED = tuple(ACTIONS.index(name) for name in ("rate_changed", "fee_waived"))
COUNTRIES = ("US", "CA", "MX", "GB", "DE", "IN", "NL", "BR", "NG", "RO")
MFA = ("push", "totp", "sms", "none")
# Where a session comes from. The corporate VPN and rented servers are what the application flags as `vpn`.
NETWORKS = ("office", "home", "mobile", "corporate_vpn", "abroad", "hosting")
OFFICE, HOME, MOBILE, CORPORATE_VPN, ABROAD, HOSTING = range(len(NETWORKS))
ADMIN_TYPES = ("ROLE_ASSIGNMENT.CREATED", "MEMBER_OF_GROUP.CREATED", "USER.UPDATED", "PASSWORD.RESET", "SECRET.READ")


def shares(weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return weights scaled to sum to 1 along the last axis."""
    array = np.asarray(weights, dtype=float)
    return array / array.sum(axis=-1, keepdims=True)


# What a role does on an ordinary day between signing in and out, in the order of ACTIONS[2:].
_ROUTINE = {
    "loan_officer": (22, 9, 20, 14, 7, 4, 1, 6, 2, 0.1, 0.1, 0.1),
    "processor": (30, 14, 24, 8, 1, 1, 2, 5, 2, 0.1, 0.1, 0.1),
    "underwriter": (28, 10, 14, 24, 4, 1, 0.5, 7, 2, 0.1, 0.1, 0.1),
    "closer": (24, 16, 18, 3, 3, 5, 8, 6, 3, 0.1, 0.1, 0.1),
    "servicing": (20, 6, 12, 2, 1, 5, 32, 7, 3, 0.1, 0.1, 0.1),
    "auditor": (34, 12, 0.5, 10, 0.1, 0.1, 0.1, 22, 9, 0.1, 0.2, 0.1),
    "administrator": (8, 4, 2, 1, 0.2, 0.2, 0.2, 14, 5, 14, 22, 9),
    "dba": (5, 3, 3, 1, 0.1, 0.1, 0.1, 24, 12, 3, 12, 6),
    "batch": (4, 22, 20, 4, 3, 0.1, 22, 12, 14, 0.1, 0.1, 0.2),
}
ROUTINE_ACTIONS = np.stack([np.concatenate([[0.0, 0.0], shares(_ROUTINE[role])]) for role in ROLES])
# The application takes no greater discount, in basis points, counts no more failures, and touches no more records.
LARGEST_DISCOUNT, MOST_FAILURES, MOST_RECORDS = 125, 9, 1000
# Added to the logarithm of the records touched: a report or an export reaches further than a change.
RECORDS_OF_ACTION = np.asarray([0, 0, 0, 0.2, -0.3, 0, -0.5, -0.5, 0, 0.9, 1.4, -0.6, -0.6, -0.6])


@dataclass(frozen=True)
class Statement:
    """One sort of database statement; `{loan}` is a seven-digit loan number."""

    verb: str
    number: int  # Oracle's action number
    schema: str
    table: str
    sql: str


STATEMENTS = (
    Statement("SELECT", 3, "LOS", "LOANS", "select * from LOS.LOANS\nwhere LOAN_ID = {loan}"),
    Statement("SELECT", 3, "LOS", "BORROWERS", "select NAME, SSN, INCOME from LOS.BORROWERS\nwhere LOAN_ID = {loan}"),
    Statement("SELECT", 3, "LOS", "CREDIT_REPORTS", "select * from LOS.CREDIT_REPORTS where LOAN_ID = {loan}"),
    Statement("UPDATE", 6, "LOS", "LOANS", "update LOS.LOANS set STAGE = :1\nwhere LOAN_ID = {loan}"),
    Statement("UPDATE", 6, "LOS", "RATE_LOCKS", "update LOS.RATE_LOCKS set RATE = :1 where LOAN_ID = {loan}"),
    Statement("INSERT", 2, "SERVICING", "PAYMENTS", "insert into SERVICING.PAYMENTS values ({loan}, :1, :2)"),
    Statement("SELECT", 3, "LOS", "BORROWERS", "select NAME, SSN, INCOME from LOS.BORROWERS where LOAN_ID >= {loan}"),
    Statement("SELECT", 3, "LOS", "DOCUMENTS", "select BODY from LOS.DOCUMENTS\nwhere LOAN_ID between {loan} and :1"),
    Statement("EXECUTE", 47, "REPORTING", "PIPELINE", "begin REPORTING.PIPELINE({loan});\n\nend;"),
    Statement("GRANT", 17, "LOS", "LOANS", "grant SELECT, UPDATE on LOS.LOANS to LOS_EDITOR /* {loan} */"),
    Statement("ALTER", 43, "SYS", "USERS", "alter user LOS_REPORT quota unlimited on LOS_DATA /* {loan} */"),
    Statement("SELECT", 3, "SYS", "DBA_ROLE_PRIVS", "select * from SYS.DBA_ROLE_PRIVS /* {loan} */"),
    Statement("DELETE", 7, "LOS", "DOCUMENTS", "delete from LOS.DOCUMENTS where LOAN_ID = {loan}"),
    Statement("LOGON", 100, "", "", "LOGON /* {loan} */"),
)  # fmt: skip
_ROUTINE_STATEMENTS = {
    "loan_officer": (30, 18, 16, 14, 6, 1, 0.3, 1, 4, 0.05, 0.05, 0.05, 0.3, 8),
    "processor": (30, 22, 8, 20, 1, 1, 0.4, 2, 5, 0.05, 0.05, 0.05, 0.6, 8),
    "underwriter": (28, 18, 28, 10, 4, 0.5, 0.3, 1, 5, 0.05, 0.05, 0.05, 0.2, 8),
    "closer": (28, 16, 4, 18, 3, 8, 0.4, 2, 5, 0.05, 0.05, 0.05, 0.4, 8),
    "servicing": (24, 16, 2, 10, 1, 30, 0.5, 1, 6, 0.05, 0.05, 0.05, 0.4, 8),
    "auditor": (24, 14, 10, 0.2, 0.1, 0.1, 3, 7, 22, 0.1, 0.1, 3, 0.1, 8),
    "administrator": (12, 4, 1, 3, 0.2, 0.2, 1.5, 2, 10, 8, 8, 14, 1, 10),
    "dba": (12, 3, 1, 3, 0.3, 0.3, 3, 3, 12, 9, 10, 18, 2, 10),
    "batch": (20, 6, 8, 16, 6, 22, 7, 8, 14, 0.05, 0.05, 0.2, 2, 6),
}
ROUTINE_STATEMENTS = np.stack([shares(_ROUTINE_STATEMENTS[role]) for role in ROLES])
# Mean statements of a routine session, and mean administrative acts in the directory.
ROLE_STATEMENTS = np.asarray([1.5, 2.0, 2.0, 1.5, 2.5, 4.0, 3.0, 9.0, 8.0])
ROLE_ADMIN_ACTS = np.asarray([0.01, 0.01, 0.01, 0.01, 0.02, 0.02, 0.55, 0.15, 0.02])
STATEMENT_SPREAD = 2.0  # shape of the gamma mixed into the Poisson count of statements
ROUTINE_ADMIN = np.stack([
    shares((8, 18, 36, 32, 6) if role == "administrator" else (4, 8, 30, 50, 8)) for role in ROLES
])  # fmt: skip
SYSDBA = np.asarray([0.001] * 6 + [0.06, 0.16, 0.01])  # share of a role's statements that use SYSDBA

_OFFICE = shares([
    0.05, 0.03, 0.02, 0.02, 0.04, 0.15, 0.8, 3, 8, 11, 11.5, 10.5,
    6, 8.5, 10.5, 10.5, 9, 5.5, 2.2, 1.1, 0.7, 0.4, 0.2, 0.1,
])  # fmt: skip
_NIGHT = shares([8, 12, 14, 13, 9, 5, 2, 1, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.7, 1, 1.4, 2, 3, 4, 5, 6])
_EVENING = shares([1, 0.6, 0.4, 0.4, 0.6, 1.2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5, 6, 8, 11, 11, 9, 6, 3, 2])
_LATE = shares([4, 2, 1, 0.7, 1, 3, 7, 3, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 1, 3, 7, 13, 18, 17, 11])
_USUAL_MFA = (60, 20, 12, 8)
_AT_WORK = (72, 12, 3, 12, 0, 1)
_ABROAD = (0, 5, 4, 4, 3, 2, 1, 1, 0.6, 0.8)
_ATTACKERS = (0, 1, 1, 1, 1, 2, 3, 3, 4, 4)
# Rented servers and anonymous exits stand in these countries, whoever uses them.
HOSTING_COUNTRIES = shares((55, 5, 0.5, 10, 10, 1, 14, 0.5, 0.5, 3.5))


@dataclass(frozen=True)
class Kind:
    """One kind of session.

    `records`, `gap` and `discount` are mean and standard deviation of a natural logarithm (records touched, seconds
    since the session's previous event, basis points); probabilities are in [0, 1]; weights are scaled to sum to 1.
    """

    name: str
    hours: np.ndarray  # P(local hour of the first event), shape (24,)
    networks: tuple[float, ...] = _AT_WORK
    harm: float = 0.0  # share of a dishonest session's events that do harm; the rest is what the owner would do
    stranger: bool = False  # somebody else than the account's owner, so that signing in is harm too
    own_hours: bool = True  # the hours are moved by the person's habit
    actions: dict[str, float] = field(default_factory=dict)
    # Share of events that follow `actions`, the rest being the role's routine. Of a dishonest kind: share of the
    # harmful events that look like it in action, records, gap and discount; the rest harms and looks like routine.
    blend: float = 0.0
    failure: float = 0.04
    abroad: tuple[float, ...] = _ABROAD
    mfa: tuple[float, ...] = _USUAL_MFA
    new_device: float = 0.025
    records: tuple[float, float] = (1.0, 1.0)
    gap: tuple[float, float] = (4.0, 1.2)
    discount: tuple[float, float] = (2.3, 1.0)
    failed_sign_ins: float = 0.12  # mean, Poisson
    other_loan: float = 0.35  # P(an event concerns another loan than the one before)
    length: float = 11.0  # mean events between signing in and out, geometric
    signs_out: float = 0.75
    statements: float = 1.0  # factor on the role's mean
    sql: dict[int, float] = field(default_factory=dict)  # index into STATEMENTS: weight, blended like `actions`
    denied: float = 0.015  # P(Oracle refuses a statement)
    admin: float = 0.0  # directory acts added to the role's mean
    admin_types: tuple[float, ...] = (30, 30, 16, 14, 10)  # of the added ones
    lift: float = 0.0  # what PingOne Protect adds to its score beyond what it sees in the session's fields

    @property
    def malicious(self) -> bool:
        """Whether sessions of this kind do harm."""
        return self.harm > 0


_REMOTE = (8, 38, 8, 42, 1, 3)
_PII = {1: 2.0, 2: 2.0, 6: 4.0, 7: 3.0}
KINDS = (
    Kind("routine", _OFFICE),
    Kind("after_hours", _EVENING, _REMOTE, failure=0.05, new_device=0.05, length=9.0, failed_sign_ins=0.2, lift=4),
    Kind("on_call", _NIGHT, (2, 34, 6, 54, 0.5, 3.5), own_hours=False, blend=0.4, failure=0.08, new_device=0.06,
         actions={"permission_changed": 2, "report_run": 2, "loan_updated": 1}, records=(1.3, 1.1), gap=(3.6, 1.2),
         failed_sign_ins=0.3, statements=1.5, sql={9: 2, 10: 3, 11: 3, 6: 1}, denied=0.05, admin=0.15),
    Kind("travel", _EVENING, (3, 1, 18, 24, 46, 8), own_hours=False, failure=0.07, mfa=(40, 25, 25, 10),
         new_device=0.25, records=(0.9, 1.0), gap=(4.2, 1.2), failed_sign_ins=0.4, length=8.0, lift=12),
    Kind("month_end", _EVENING, (52, 16, 2, 27, 0.5, 2.5), blend=0.4, records=(1.6, 1.1), gap=(3.5, 1.1),
         actions={"document_downloaded": 3, "report_run": 3, "export_started": 2, "fee_waived": 0.5,
                  "rate_changed": 0.5}, discount=(2.8, 1.0), other_loan=0.7, length=14.0, statements=1.8,
         sql={6: 2, 7: 3, 8: 3}),
    Kind("handover", 0.7 * _OFFICE + 0.3 * _EVENING, (58, 16, 2, 21, 0.5, 2.5), blend=0.5,
         actions={"document_downloaded": 4, "document_viewed": 2, "report_run": 2, "export_started": 1.2},
         records=(1.6, 1.1), gap=(3.5, 1.1), other_loan=0.7, length=13.0, statements=1.4, sql={1: 1, 6: 1, 7: 2}),
    Kind("nightly_batch", _NIGHT, (99.9, 0, 0, 0.1, 0, 0), own_hours=False, failure=0.02, mfa=(0, 0.1, 0, 99.9),
         new_device=0.004, records=(3.2, 1.1), gap=(0.8, 0.8), failed_sign_ins=0.03, other_loan=0.9, length=38.0,
         signs_out=0.98, denied=0.01),
    Kind("maintenance", 0.8 * _OFFICE + 0.2 * _NIGHT, (58, 1, 1, 36, 1, 3), own_hours=False, blend=0.3,
         actions={"report_run": 3, "document_downloaded": 3, "export_started": 2, "permission_changed": 0.5},
         failure=0.07, mfa=(0, 45, 0, 55), new_device=0.25, records=(2.5, 1.2), gap=(3.0, 1.2), failed_sign_ins=0.5,
         other_loan=0.7, length=13.0, statements=1.2, sql={6: 3, 7: 3, 9: 0.5, 11: 2}, denied=0.06, admin=0.1, lift=12),
    Kind("takeover", 0.2 * _OFFICE + 0.8 * _NIGHT, (6, 8, 14, 20, 18, 34), harm=0.8, stranger=True, own_hours=False,
         blend=0.88, failure=0.24, abroad=_ATTACKERS, mfa=(22, 8, 32, 38), new_device=0.5, records=(2.2, 1.1),
         actions={"document_viewed": 1, "document_downloaded": 3, "credit_report_viewed": 4, "permission_changed": 1.5,
                  "api_key_created": 2, "report_run": 1}, gap=(2.0, 0.95), failed_sign_ins=2.2, other_loan=0.7,
         length=8.0, signs_out=0.3, statements=1.5, sql={1: 3, 2: 3, 6: 3, 11: 1}, denied=0.2, admin=0.15, lift=23),
    Kind("takeover_use", 0.2 * _OFFICE + 0.8 * _NIGHT, (6, 8, 12, 24, 18, 32), harm=0.8, stranger=True,
         own_hours=False, blend=0.88, failure=0.14, abroad=_ATTACKERS, mfa=(26, 10, 30, 34), new_device=0.4,
         actions={"document_downloaded": 4, "credit_report_viewed": 3, "export_started": 3, "report_run": 1},
         records=(3.4, 1.1), gap=(2.1, 0.95), failed_sign_ins=0.8, other_loan=0.75, signs_out=0.35, statements=3.5,
         sql=_PII, denied=0.12, lift=21),
    Kind("privilege_creep", 0.2 * _OFFICE + 0.8 * _LATE, (56, 14, 3, 24, 0.5, 2.5), harm=0.6, blend=0.88,
         failure=0.1, actions={"permission_changed": 5, "user_created": 2, "api_key_created": 3, "report_run": 0.5},
         gap=(2.3, 1.0), statements=2.6, sql={9: 5, 10: 4, 11: 5}, denied=0.2, admin=1.3, lift=2),
    Kind("creep_use", 0.2 * _OFFICE + 0.8 * _LATE, (48, 18, 3, 28, 0.5, 2.5), harm=0.65, blend=0.88,
         actions={"credit_report_viewed": 3, "document_downloaded": 3, "rate_changed": 1, "report_run": 2,
                  "export_started": 3, "permission_changed": 3, "api_key_created": 1}, failure=0.06, records=(3.4, 1.1),
         gap=(2.1, 0.95), other_loan=0.65, statements=3.6, sql={2: 2, 4: 2, 6: 4, 11: 2, 12: 1}, denied=0.1, admin=0.3,
         lift=2),
    Kind("bulk_export", 0.2 * _OFFICE + 0.8 * _LATE, (38, 24, 3, 32, 0.5, 2.5), harm=0.75, blend=0.88,
         actions={"export_started": 4, "document_downloaded": 5, "report_run": 1.5}, new_device=0.07,
         records=(3.8, 1.1), gap=(2.1, 0.95), other_loan=0.75, length=13.0, statements=4.0, sql=_PII,
         denied=0.03, lift=3),
    Kind("rate_insider", 0.2 * _OFFICE + 0.8 * _LATE, (60, 14, 3, 21, 0.5, 1.5), harm=0.65, blend=0.88,
         actions={"rate_changed": 5, "fee_waived": 4, "loan_updated": 0.5}, records=(0.8, 0.9), gap=(4.0, 1.2),
         discount=(4.4, 0.6), other_loan=0.55, length=10.0, statements=3.0, sql={4: 8, 3: 1}, denied=0.03),
    Kind("dormant_account", 0.2 * _OFFICE + 0.8 * _NIGHT, (34, 2, 3, 36, 6, 19), harm=0.75, stranger=True,
         own_hours=False, blend=0.88, failure=0.16, abroad=_ATTACKERS, mfa=(0, 25, 0, 75), new_device=0.4,
         actions={"document_downloaded": 3, "report_run": 1, "export_started": 4, "api_key_created": 1.5,
                  "permission_changed": 1.5}, records=(3.7, 1.1), gap=(2.1, 1.0), failed_sign_ins=0.9, other_loan=0.75,
         length=12.0, signs_out=0.4, statements=1.8, sql={6: 5, 7: 2, 9: 1, 11: 4}, denied=0.18, admin=0.4, lift=20),
)  # fmt: skip
NAMES = tuple(kind.name for kind in KINDS)
ROUTINE, AFTER_HOURS, ON_CALL, TRAVEL, MONTH_END, HANDOVER, BATCH, MAINTENANCE = range(8)
MALICIOUS = np.asarray([kind.malicious for kind in KINDS])
STRANGER = np.asarray([kind.stranger for kind in KINDS])
HARM = np.asarray([kind.harm for kind in KINDS])
BLATANT = np.asarray([kind.blend if kind.malicious else 1.0 for kind in KINDS])


def _blended(special: Sequence[float], blend: float, routine: np.ndarray) -> np.ndarray:
    """Mix what a kind does with what each role does, shape (roles, sorts)."""
    return routine if blend == 0 else blend * shares(np.asarray(special) + 1e-9)[None, :] + (1 - blend) * routine


def _no_session(special: list[float]) -> list[float]:
    return [0.0, 0.0, *special[2:]]


# P(sort | kind, role) of what lies between signing in and out, shape (kinds, roles, sorts).
ACTION_SHARES = np.stack([
    shares(_blended(_no_session([kind.actions.get(name, 0.0) for name in ACTIONS]),
                    1.0 if kind.malicious else kind.blend, ROUTINE_ACTIONS) * (np.arange(len(ACTIONS)) > SIGN_OUT))
    for kind in KINDS
])  # fmt: skip
STATEMENT_SHARES = np.stack([
    _blended([kind.sql.get(i, 0.0) for i in range(len(STATEMENTS))], kind.blend if kind.sql else 0.0,
             ROUTINE_STATEMENTS) for kind in KINDS
])  # fmt: skip
STATEMENT_MEANS = np.outer([kind.statements for kind in KINDS], ROLE_STATEMENTS)
ADMIN_MEANS = np.add.outer([kind.admin for kind in KINDS], ROLE_ADMIN_ACTS)
ADMIN_SHARES = np.stack([
    shares(kind.admin * shares(kind.admin_types)[None, :] + ROLE_ADMIN_ACTS[:, None] * ROUTINE_ADMIN) for kind in KINDS
])  # fmt: skip


def per_kind(name: str) -> np.ndarray:
    """Return one parameter of every kind, shape (kinds, ...)."""
    return np.asarray([getattr(kind, name) for kind in KINDS])


HOURS = per_kind("hours")
NETWORK_SHARES = shares(per_kind("networks"))
ABROAD_COUNTRIES = shares(per_kind("abroad"))
MFA_SHARES = shares(per_kind("mfa"))

# PingOne Protect's score: normal around what it sees, cut to [0, 100]; its level is the score's.
SCORE_BASE, SCORE_DEVIATION = 12.0, 15.0
SCORE_DEVICE, SCORE_ABROAD, SCORE_HOSTING, SCORE_FAILED = 14.0, 13.0, 15.0, 5.0
LEVELS = ("LOW", "MEDIUM", "HIGH")
LEVEL_LIMITS = (40.0, 70.0)


def score_mean(network: np.ndarray, new_device: np.ndarray, failed_sign_ins: np.ndarray) -> np.ndarray:
    """Return the score that Protect gives to what it sees of a session, without its lift."""
    return (
        SCORE_BASE
        + SCORE_DEVICE * new_device
        + SCORE_ABROAD * (network == ABROAD)
        + SCORE_HOSTING * (network == HOSTING)
        + SCORE_FAILED * np.minimum(failed_sign_ins, 4)
    )
