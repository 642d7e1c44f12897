"""The internal audit trail as LendPath's application writes it: one JSON object a line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import lru_cache

import numpy as np

from lendpath.behaviour import ACTIONS, CORPORATE_VPN, HOSTING, MFA
from lendpath.events import Block
from lendpath.people import BRANCHES, ROLES, directory, make_world
from lendpath.rendering import (
    city,
    compact,
    country,
    dotted,
    fragments,
    hexadecimal,
    iso_times,
    number_list,
    per_session,
    pick,
)
from lendpath.sessions import Sessions

_RESULTS = ("success", "failure")
_WHAT = fragments([f'","action":"{action}","result":"{result}"'.encode() for action in ACTIONS for result in _RESULTS])


def event_ids(block: Block, chosen: np.ndarray) -> list[str]:
    """Return the ids of the chosen events."""
    return hexadecimal(block.internal.ids, chosen)


def records(block: Block, chosen: np.ndarray) -> list[bytes]:
    """Return the chosen events of a block as NDJSON lines without line ends."""
    events = block.internal
    session = events.session[chosen]
    tails = per_session(block.sessions, session, _tail(block))
    minutes, seconds = iso_times(events.time_ms[chosen])
    duration = events.duration[chosen]
    columns = (
        [b'{"id":"' + text.encode() for text in event_ids(block, chosen)],
        [b'","time":"' + text for text in minutes],
        seconds,
        pick(_WHAT, events.action[chosen] * 2 + events.failed[chosen]),
        number_list(b',"records":', events.records[chosen]),
        number_list(b',"gap_seconds":', events.gap[chosen], divisor=10),
        number_list(b',"discount_bps":', events.discount[chosen]),
        number_list(b',"failures_last_hour":', events.failures[chosen]),
        pick(_loans(block.parameters.seed), events.loan[chosen]),
        number_list(b',"session":{"event":', events.position[chosen]),
        [b"" if value < 0 else b',"duration":' + repr(value / 10).encode() for value in duration.tolist()],
        pick(tails, session),
    )
    return list(map(b"".join, zip(*columns, strict=True)))


@lru_cache(maxsize=2)
def _loans(seed: int) -> np.ndarray:
    amounts = make_world(seed).loan_amount.tolist()
    return fragments([f',"loan":{{"id":"LN{i:07d}","amount":{amount}}}'.encode() for i, amount in enumerate(amounts)])


def _tail(block: Block) -> Callable[[Sessions, int], bytes]:
    world, people = block.world, directory()
    day = date.fromordinal(block.day)

    def render(sessions: Sessions, i: int) -> bytes:
        person = int(sessions.person[i])
        branch = int(world.branch[person])
        actor = {
            "id": people.user_ids[person],
            "name": people.names[person],
            "role": ROLES[world.role[person]],
            "branch": BRANCHES[branch].city,
            "peer_group": world.peer_group(person),
        }
        client = {
            "ip": dotted(int(sessions.address[i])),
            "country": country(sessions, i),
            "city": city(sessions, i, branch),
            "device": f"dev-{sessions.device[i]}",
            "new_device": bool(sessions.new_device[i]),
            "vpn": bool(sessions.network[i] in {CORPORATE_VPN, HOSTING}),
            "mfa": MFA[sessions.mfa[i]],
        }
        rest = {"zone": world.time_zone(person), "actor": actor, "client": client}
        text = compact(rest)[1:]
        return f',"id":"s-{day:%Y%m%d}-{sessions.number[i]:05d}"}},{text}'.encode()

    return render
