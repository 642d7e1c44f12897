"""What reading, comparing and writing Kibana's assets have in common."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import quote

from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.exceptions import ConflictError, LicenseError, NotFoundError, VersionError

State = Literal["created", "changed", "unchanged", "deleted", "absent", "would create", "differs", "would delete"]
JSON = Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """What became of one object.

    :param kind: ``rule``, ``connector`` or ``data view``.
    :param id: its id.
    :param state: ``created``, ``changed``, ``unchanged``, ``deleted`` or ``absent`` (it was to be deleted and is not
        there); where nothing was to be written ``would create``, ``differs`` or ``would delete``.
    :param detail: what differed, or what was left as it is and why.
    """

    kind: str
    id: str
    state: State
    detail: str = ""

    def as_dict(self) -> dict[str, str]:
        """JSON-able, for an XCom or a table."""
        return asdict(self)


def differences(wanted: Any, actual: Any, path: str = "") -> list[str]:
    """Where two JSON values differ, as ``path: actual → wanted``; lists are compared as a whole."""
    if isinstance(wanted, Mapping) and isinstance(actual, Mapping):
        found = []
        for name in sorted({*wanted, *actual}):
            inner = f"{path}.{name}" if path else name
            found += differences(wanted.get(name), actual.get(name), inner)
        return found
    if wanted == actual:
        return []
    return [f"{path}: {_short(actual)} → {_short(wanted)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 80 else f"{text[:77]}..."


def told(actual: JSON, wanted: JSON) -> dict[str, Any]:
    """What the server tells, without what it fills in for what was not wanted."""
    return {name: value for name, value in actual.items() if name in wanted or value not in (None, False, "", [], {})}


def found_in(client: KibanaClient, base: str, name: str) -> dict[str, Any] | None:
    """An object by its id, None where this space has none."""
    try:
        found: dict[str, Any] = client.request("GET", f"{base}/{quote(name, safe='')}")
    except NotFoundError:
        return None
    return found


def create_in(client: KibanaClient, base: str, kind: str, name: str, body: JSON) -> bool:
    """Create an object; False when it is there now: an answer was lost, or somebody else was faster."""
    try:
        client.request("POST", f"{base}/{quote(name, safe='')}", body=dict(body))
    except ConflictError as error:
        if found_in(client, base, name) is None:
            raise taken_elsewhere(kind, name, error) from None
        return False
    return True


def taken_elsewhere(kind: str, name: str, error: ConflictError) -> ConflictError:
    """The error for an id that only another space can hold."""
    return ConflictError(
        f"Kibana has no {kind} {name} in this space, yet the id is taken: by a {kind} of another space.",
        remedy="Ids are taken in all spaces at once: choose another one, or delete that object where it is.",
        status=error.status,
    )


def delete_from(client: KibanaClient, base: str, kind: str, name: str, *, write: bool = True) -> Change:
    """Delete an object; one that is not there is no error."""
    client.require_space()
    if found_in(client, base, name) is None:
        return Change(kind, name, "absent")
    if not write:
        return Change(kind, name, "would delete")
    # It is gone already where the answer of a first try was lost.
    with contextlib.suppress(NotFoundError):
        client.request("DELETE", f"{base}/{quote(name, safe='')}")
    return Change(kind, name, "deleted")


def check_type(what: str, kind: str, offered: JSON | None) -> None:
    """Raise the error for a type that this Kibana, or its licence, does not have."""
    if offered is None or offered.get("enabled_in_config") is False:
        raise VersionError(
            f"This Kibana does not offer {what} {kind}: its version, its configuration, a Serverless project's flavor "
            "or the rights of this user lack it."
        )
    if not offered.get("enabled_in_license", True):
        raise LicenseError(
            f"The licence does not contain {what} {kind}: it needs {offered.get('minimum_license_required')}.",
            remedy="Leave it out, or get that licence.",
        )
