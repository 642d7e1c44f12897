"""What an Oracle audit record says was done: the SQL verb, its object, and whether it takes a privilege to do it."""

from __future__ import annotations

import re
from functools import lru_cache

# AUDIT_ACTIONS of the Oracle Database Reference; what the object audit shape writes as ACTION.
ACTIONS = {
    "1": "CREATE TABLE",
    "2": "INSERT",
    "3": "SELECT",
    "6": "UPDATE",
    "7": "DELETE",
    "12": "DROP TABLE",
    "15": "ALTER TABLE",
    "17": "GRANT",
    "18": "REVOKE",
    "26": "LOCK",
    "42": "ALTER SESSION",
    "43": "ALTER USER",
    "44": "COMMIT",
    "45": "ROLLBACK",
    "47": "EXECUTE",
    "49": "ALTER SYSTEM",
    "51": "CREATE USER",
    "53": "DROP USER",
    "85": "TRUNCATE",
    "100": "LOGON",
    "101": "LOGOFF",
    "102": "LOGOFF",
    "103": "SESSION REC",
    "104": "AUDIT",
    "105": "NOAUDIT",
    "108": "GRANT",
    "109": "REVOKE",
    "114": "GRANT",
    "115": "REVOKE",
}

_NOISE = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
_WORD = re.compile(r"[\s(]*([A-Za-z]+)")
_NAME = r'(?:"[^"]+"|[\w$#]+)'
_OBJECT = re.compile(
    r"\b(?:FROM|INTO|UPDATE|JOIN|TABLE|VIEW|INDEX|USER|ROLE|SEQUENCE|PROCEDURE|FUNCTION|PACKAGE(?:\s+BODY)?|TRIGGER|ON)\s+"
    rf"(?:ONLY\s*\(\s*)?(?P<first>{_NAME})(?:\s*\.\s*(?P<second>{_NAME}))?",
    re.IGNORECASE,
)
_ADMIN_VERBS = frozenset(
    {"GRANT", "REVOKE", "DROP", "ALTER", "CREATE", "TRUNCATE", "AUDIT", "NOAUDIT", "STARTUP", "SHUTDOWN"}
)
# A privilege of one of these words is an administrator's; ANY as in SELECT ANY TABLE reaches into every schema.
_ADMIN_WORDS = frozenset({
    "SYSDBA", "SYSOPER", "SYSASM", "SYSBACKUP", "SYSDG", "SYSKM", "SYSRAC", "DBA", "ANY", "EXEMPT", "BECOME",
})  # fmt: skip
_NO_VERB = frozenset({"SESSION REC"})  # names of actions whose first word says nothing
_WORDS = re.compile(r"[^\s,]+")
LONGEST_CACHED = 1_000
"""Characters of SQL up to which an answer is remembered: audit trails repeat statements, and memory stays bounded."""


def verb(sql: str, number: str, name: str = "") -> str | None:
    """The verb of an action, one word in capitals: of its SQL, of its name, or of what its number stands for.

    :param sql: the statement, empty where the audit kept none.
    :param number: Oracle's number of the action.
    :param name: Oracle's name of the action, as in ACTION_NAME.
    """
    if sql:
        word = (_remembered_verb if len(sql) <= LONGEST_CACHED else _verb_of)(sql)
        if word:
            return word
    named = name or ACTIONS.get(number.strip())
    if not named:
        return None
    return named if named in _NO_VERB else named.split(" ", 1)[0].upper()


def sql_object(sql: str) -> tuple[str | None, str | None]:
    """Schema and name of the first object that the SQL names, as Oracle stores them (capitals unless quoted)."""
    return (_remembered_object if len(sql) <= LONGEST_CACHED else _object_of)(sql)


@lru_cache(maxsize=4096)
def is_privileged(done: str | None, privilege: str, database_user: str) -> bool:
    """Whether it was done as an administrator, or changes objects, users or rights."""
    return (
        done in _ADMIN_VERBS
        or database_user.upper() == "SYS"
        or not _ADMIN_WORDS.isdisjoint(_WORDS.findall(privilege.upper()))
    )


def _without_comments(sql: str) -> str:
    return _NOISE.sub(" ", sql) if "--" in sql or "/*" in sql else sql


def _verb_of(sql: str) -> str | None:
    word = _WORD.match(_without_comments(sql))
    if word is None:
        return None
    return "SELECT" if word[1].upper() == "WITH" else word[1].upper()


def _object_of(sql: str) -> tuple[str | None, str | None]:
    found = _OBJECT.search(_without_comments(sql))
    if not found:
        return None, None
    first, second = (_stored(found[group]) for group in ("first", "second"))
    return (first, second) if second else (None, first)


_remembered_verb = lru_cache(maxsize=4096)(_verb_of)
_remembered_object = lru_cache(maxsize=4096)(_object_of)


def _stored(name: str | None) -> str | None:
    if not name:
        return None
    return name[1:-1] if name.startswith('"') else name.upper()
