"""PingOne activities as its API returns them: one JSON object per activity."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from lendpath.behaviour import ADMIN_TYPES, LEVEL_LIMITS, LEVELS
from lendpath.events import FAILED, PING_TYPES, RISK, Block
from lendpath.people import BATCH_ROLE, PEOPLE, directory
from lendpath.rendering import city, compact, country, dotted, fragments, hexadecimal, iso_times, per_session, pick
from lendpath.sessions import Sessions

_ENVIRONMENT = "7f4d2c1e-90ab-4c3d-8e5f-112233445566"
_ROOT = f"https://api.pingone.com/v1/environments/{_ENVIRONMENT}"
_TEXTS = {
    "PASSWORD.CHECK_FAILED": ("Password Check Failed", "Invalid password provided"),
    "PASSWORD.CHECK_SUCCEEDED": ("Password Check Succeeded", "Passed password check"),
    "OTP.CHECK_SUCCESS": ("OTP Check Success", "Passed one-time password check"),
    "RISK_EVALUATION.CREATED": ("Risk Evaluation Created", "Created Risk Evaluation"),
    "SESSION.CREATED": ("Session Created", "Created session"),
    "SESSION.DELETED": ("Session Deleted", "Deleted session"),
    "ROLE_ASSIGNMENT.CREATED": ("Role Assignment Created", "Created role assignment scoped for ENVIRONMENT"),
    "MEMBER_OF_GROUP.CREATED": ("Member Of Group Created", "Added user to group"),
    "USER.UPDATED": ("User Updated", "Updated user"),
    "PASSWORD.RESET": ("Password Reset", "Reset password"),
    "SECRET.READ": ("Secret Read", "Read client secret"),
}
_RESOURCES = {
    "RISK_EVALUATION.CREATED": "RISK_EVALUATION", "SESSION.CREATED": "SESSION", "SESSION.DELETED": "SESSION",
    "ROLE_ASSIGNMENT.CREATED": "ROLE_ASSIGNMENT", "MEMBER_OF_GROUP.CREATED": "GROUP", "SECRET.READ": "SECRET",
}  # fmt: skip
_ADVICE = {"LOW": "NONE", "MEDIUM": "MFA", "HIGH": "BOT_MITIGATION"}


def _action(name: str) -> bytes:
    description, result = _TEXTS[name]
    status = "FAILED" if name == PING_TYPES[FAILED] else "SUCCESS"
    action = compact({"type": name, "description": description})
    tags = ',"tags":["adminIdentityEvent"]' if name in ADMIN_TYPES else ""
    # The risk evaluation's result goes on with level and score, so the object stays open.
    return f',"action":{action}{tags},"result":{compact({"status": status, "description": result})[:-1]}'.encode()


_ACTIONS = fragments([_action(name) for name in PING_TYPES])


def event_ids(block: Block, chosen: np.ndarray) -> list[str]:
    """Return the ids of the chosen activities."""
    return hexadecimal(block.ping_one.ids, chosen, dashed=True)


def records(block: Block, chosen: np.ndarray) -> list[bytes]:
    """Return the chosen activities of a block as NDJSON lines without line ends."""
    events = block.ping_one
    session, kind = events.session[chosen], events.type[chosen].astype(np.int64)
    actors = per_session(block.sessions, session, _actors(block))
    verdicts = per_session(block.sessions, session[kind == RISK], _evaluation(block))
    minutes, seconds = iso_times(events.time_ms[chosen])
    ids = [text.encode() for text in event_ids(block, chosen)]
    closed = pick(verdicts, session)
    for i in np.flatnonzero(kind != RISK).tolist():
        closed[i] = b"}"
    columns = (
        [_HREF + text + b'"}},"id":"' + text + b'","recordedAt":"' for text in ids],
        minutes,
        seconds,
        [b'","createdAt":"' + text for text in minutes],
        seconds,
        pick(actors, session),
        pick(_ACTIONS, kind),
        closed,
        pick(_targets(), kind * PEOPLE + events.target[chosen]),
    )
    return list(map(b"".join, zip(*columns, strict=True)))


_HREF = f'{{"_links":{{"self":{{"href":"{_ROOT}/activities/'.encode()


def _user(person: int) -> dict[str, object]:
    people = directory()
    return {
        "id": people.ping_ids[person],
        "name": people.emails[person],
        "environment": {"id": _ENVIRONMENT},
        "population": {"id": "3c9a5be0-51d7-4a6e-9b6f-0a1b2c3d4e5f"},
        "href": f"{_ROOT}/users/{people.ping_ids[person]}",
        "type": "USER",
    }


@lru_cache(maxsize=1)
def _targets() -> np.ndarray:
    """Return the end of an activity for every type and every person acted upon."""
    people = directory()
    texts = []
    for name in PING_TYPES:
        kind = _RESOURCES.get(name)
        for person in range(PEOPLE):
            target = people.ping_ids[person]
            if kind is None:
                resources = [_user(person)]
            else:
                resource = {"type": kind, "id": target, "name": people.emails[person]}
                resources = [resource | {"environment": {"id": _ENVIRONMENT}, "href": f"{_ROOT}/users/{target}"}]
            texts.append(f',"resources":{compact(resources)}}}'.encode())
    return fragments(texts)


def _actors(block: Block) -> Callable[[Sessions, int], bytes]:
    def render(sessions: Sessions, i: int) -> bytes:
        service = sessions.role[i] == BATCH_ROLE
        name = "lendpath-batch" if service else "lendpath-los"
        client = {"id": name, "name": name, "environment": {"id": _ENVIRONMENT}, "type": "CLIENT"}
        correlation = f"{block.day:06x}-{sessions.number[i]:06x}-{sessions.person[i]:04x}"
        actors = {"client": client, "user": _user(int(sessions.person[i]))}
        return f'","correlationId":"{correlation}","actors":{compact(actors)}'.encode()

    return render


def _evaluation(block: Block) -> Callable[[Sessions, int], bytes]:
    branch = block.world.branch

    def render(sessions: Sessions, i: int) -> bytes:
        score = float(sessions.score[i])
        level = LEVELS[sum(score >= limit for limit in LEVEL_LIMITS)]
        result = {"level": level, "score": score, "source": "AGGREGATED_SCORES"}
        result |= {"recommendedAction": _ADVICE[level], "type": "VALUE"}
        details = {"country": country(sessions, i), "city": city(sessions, i, int(branch[sessions.person[i]]))}
        event = {"ip": dotted(int(sessions.address[i]))}
        embedded = {"riskEvaluation": {"event": event, "result": result, "details": details}}
        return f',{compact(result)[1:]},"_embedded":{compact(embedded)}'.encode()

    return render
