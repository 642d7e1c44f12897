"""What an Oracle audit record says was done: the SQL verb, its object, and whether it takes a privilege to do it."""

from __future__ import annotations

import re

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
_ADMIN_ROLES = frozenset({"SYSDBA", "SYSOPER", "SYSASM", "SYSBACKUP", "SYSDG", "SYSKM", "SYSRAC", "DBA"})


def verb(action: str, number: str) -> str | None:
    """The verb of an action, in capitals: the first word of its SQL, or what its number stands for."""
    if action.strip().isdigit():
        return ACTIONS.get(action.strip())
    word = _WORD.match(_NOISE.sub(" ", action))
    if word:
        return "SELECT" if word[1].upper() == "WITH" else word[1].upper()
    return ACTIONS.get(number.strip())


def sql_object(action: str) -> tuple[str | None, str | None]:
    """Schema and name of the first object that the SQL names, as Oracle stores them (capitals unless quoted)."""
    found = _OBJECT.search(_NOISE.sub(" ", action))
    if not found:
        return None, None
    first, second = (_stored(found[group]) for group in ("first", "second"))
    return (first, second) if second else (None, first)


def privileged(done: str | None, privilege: str, database_user: str) -> bool:
    """Whether it was done as an administrator, or changes objects, users or rights."""
    word = (done or "").split(" ")[0]
    return privilege.upper() in _ADMIN_ROLES or database_user.upper() == "SYS" or word in _ADMIN_VERBS


def _stored(name: str | None) -> str | None:
    if not name:
        return None
    return name[1:-1] if name.startswith('"') else name.upper()
