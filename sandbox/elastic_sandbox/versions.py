"""What came after 9.2, the oldest version that the sandbox answers as.

Versions: ``availability.stack.since`` in Elastic's API specification. A feature that the version in force does not
know is refused in the words for an unknown field or parameter, as an older server would.
"""

from __future__ import annotations

SINCE = {
    "esql.time_zone": (9, 4),
    "esql.lookup_join_sort_warning": (9, 4),  # elastic/elasticsearch#141482
    "delete_backing_index": (9, 5),
    "lifecycle.frozen_after": (9, 5),
    "kibana.flapping_enabled": (9, 3),  # alerting: flapping.enabled of a rule
}


def knows(version: str, feature: str) -> bool:
    """Whether a server of ``version`` (``9.2.1``, ``9.5.0-SNAPSHOT``) has the feature."""
    major, minor = (int(piece) for piece in version.split(".")[:2])
    return (major, minor) >= SINCE[feature]
