"""Partitions, attempts, faults, kills, rollovers and replays in any order, against a model of what has to be there.

Whatever happens on the way: when every partition has been read to its end, each distinct event that was delivered lies
in the stream once, and the ledger's figures are the stream's.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from elastic_ml.exceptions import ElasticMLError
from elastic_ml.ingest.encoding import ChunkSize
from elastic_ml.ingest.history import month_bounds, unsealed_history
from elastic_ml.ingest.partition import PartitionIngest
from elastic_ml.ingest.replay import FailureReplay
from elastic_ml.sources.partition import Partition

STREAM = "logs-acme.audit-test"
MONTH = (datetime.now(UTC) - timedelta(days=100)).strftime("%Y.%m")
END = month_bounds(MONTH)[1]
TODAY = datetime.now(UTC).date()
# Two days that complete a past month, the day after it (another month), and two recent days.
DAYS = [
    *(f"{(END + timedelta(days=n)).date()}" for n in (-2, -1, 0)),
    f"{TODAY - timedelta(days=2)}",
    f"{TODAY - timedelta(days=1)}",
]
BULK = {"method": "PUT", "path": f"/*{STREAM}*/_bulk"}
FAULTS = [
    None,
    {**BULK, "status": 429},
    {**BULK, "status": 503},
    {**BULK, "action": "cut_after"},
    {**BULK, "action": "cut_before"},
    {"path": f"*{STREAM}*", "action": "bulk_items", "status": 503, "times": 2},
    {"method": "POST", "path": "/_data_stream/_modify", "action": "cut_after"},
    {"method": "PUT", "path": "/*/_settings", "action": "answer", "status": 503},
    {"method": "POST", "path": "/*/_refresh", "status": 500, "type": "exception"},
]


class KilledError(BaseException):
    """Stands for SIGKILL: nothing is tidied up."""


@pytest.fixture
def machine(acme) -> type[RuleBasedStateMachine]:
    acme.write_source("trail", start_date=date.fromisoformat(DAYS[0]))
    client = acme.client

    class Ingestion(RuleBasedStateMachine):
        """What was delivered per day, as ids; everything else is looked up."""

        @initialize()
        def begin(self) -> None:
            acme.empty()
            self.delivered: dict[str, list[int]] = {day: [] for day in DAYS}
            for number, day in enumerate(DAYS):
                self._deliver(day, range(number * 20, number * 20 + 12))

        def _deliver(self, day: str, ids: range) -> None:
            self.delivered[day] += ids
            lines = [{"time": f"{day}T10:00:00Z", "id": f"m-{n:03d}", "user": "ana"} for n in self.delivered[day]]
            (acme.folder / f"trail-{day}.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))

        @rule(position=st.integers(0, len(DAYS) - 1), again=st.integers(0, 6), start=st.integers(0, 12))
        def deliver_more(self, position: int, again: int, start: int) -> None:
            """New events, and some of the day before once more."""
            day = DAYS[position]
            self._deliver(day, range(position * 20 + 12, position * 20 + 12 + start // 3))
            if position not in {0, 3}:
                self._deliver(day, range((position - 1) * 20 + start, (position - 1) * 20 + start + again))

        @rule(
            day=st.sampled_from(DAYS),
            fault=st.sampled_from(FAULTS),
            killed_after=st.sampled_from([None, None, 0, 1, 2]),
            kind=st.sampled_from([PartitionIngest, PartitionIngest, FailureReplay]),
        )
        def attempt(self, day: str, fault: dict | None, killed_after: int | None, kind: type[PartitionIngest]) -> None:
            acme.sandbox.faults.clear()
            if fault:
                acme.sandbox.faults.add(**fault)
            try:
                self._run(day, kind, killed_after)
            except (ElasticMLError, KilledError):
                pass
            finally:
                acme.sandbox.faults.clear()

        @rule()
        def roll_over(self) -> None:
            client.indices.rollover(alias=STREAM)

        def _run(self, day: str, kind: type[PartitionIngest], killed_after: int | None) -> dict[str, int]:
            attempt = kind(
                client,
                acme.project,
                acme.project.source("trail"),
                Partition.parse(day),
                owner="dag/run/ingest",
                backoff_seconds=0.001,
                size=ChunkSize(documents=5, most=5),
            )
            account, seen = attempt._account, []

            def counted(result):
                seen.append(result)
                if killed_after is not None and len(seen) > killed_after:
                    raise KilledError
                account(result)

            attempt._account = counted
            figures = attempt.run()
            assert figures["read"] == figures["indexed"] + figures["duplicate"] + figures["rejected"]
            return figures

        def teardown(self) -> None:
            acme.sandbox.faults.clear()
            # The day after the month belongs to a month that is never complete here.
            for day in DAYS:
                figures = self._run(day, PartitionIngest, None)
                assert figures["read"] == len(self.delivered[day])
                assert acme.record(day=day)["state"] == "done"
            waiting = [index.name for index in unsealed_history(client, [STREAM])]
            assert all(END.strftime("%Y.%m") in name for name in waiting), "the complete month is in the stream"
            stored = Counter(document for target in [STREAM, *waiting] for document in acme.ids(target))
            wanted = {f"m-{n:03d}" for ids in self.delivered.values() for n in ids}
            assert set(stored) == wanted
            assert set(stored.values()) == {1}, f"twice: {[k for k, times in stored.items() if times > 1]}"
            assert sum(acme.record(day=day)["indexed"] for day in DAYS) == len(wanted)

    return Ingestion


def test_in_any_order_of_attempts_faults_kills_and_rollovers_every_event_is_there_once(machine):
    profile = settings(
        max_examples=6,
        stateful_step_count=8,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=profile)
