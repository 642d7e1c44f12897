"""Locks and leases: one holder, seen by everybody, taken over only after expiry."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from elastic_ml.clients.elasticsearch import connect
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.exceptions import IngestError, LockHeldError
from elastic_ml.ingest.ledger import Ledger


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 10, 8, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(sandbox, clock) -> Ledger:
    client = connect(ElasticsearchSettings(url=sandbox.elasticsearch_url))
    client.indices.create(index="ml-ledger", mappings={"dynamic": False})
    return Ledger(client, "ml-ledger", now=clock.now, sleep=clock.sleep)


def test_a_lock_is_held_for_the_block_and_free_after_it(ledger):
    with ledger.lock("model|fraud", owner="run 1"):
        assert ledger.read("lock|model|fraud").document["state"] == "held"
        with pytest.raises(LockHeldError) as held, ledger.lock("model|fraud", owner="run 2"):
            pass
        assert "'lock|model|fraud' is held by run 1 until 2026-11-10T08:15:00.000Z" in str(held.value)
        assert (held.value.owner, held.value.expires) == ("run 1", "2026-11-10T08:15:00.000Z")
    with ledger.lock("model|fraud", owner="run 2"):
        pass


def test_different_names_do_not_disturb_each_other(ledger):
    with ledger.lock("a", owner="1"), ledger.lock("b", owner="2"):
        pass


def test_a_failing_block_gives_the_lock_back(ledger):
    with pytest.raises(ZeroDivisionError), ledger.lock("a", owner="1"):
        raise ZeroDivisionError
    with ledger.lock("a", owner="2"):
        pass


def test_an_expired_lock_is_taken_over_and_its_old_holder_notices_when_it_gives_it_back(ledger, clock):
    def outlived() -> None:
        with ledger.lock("a", owner="1", ttl=timedelta(minutes=1)):
            clock.sleep(61)
            ledger.claim("lock|a", owner="2", ttl=timedelta(minutes=1), change=lambda _: {})

    with pytest.raises(LockHeldError, match=r"1 lost 'lock\|a' while it was working.* now held by 2 until"):
        outlived()
    assert ledger.read("lock|a").owner == "2"


def test_the_old_holders_renewal_is_refused(ledger, clock):
    old = ledger.claim("lock|a", owner="1", ttl=timedelta(minutes=1), change=lambda _: {})
    clock.sleep(61)
    ledger.claim("lock|a", owner="2", ttl=timedelta(minutes=1), change=lambda _: {})
    with pytest.raises(LockHeldError, match=r"lost 'lock\|a' while it was working: it expired and is now held by 2"):
        old.renew()


def test_an_expiry_that_nobody_used_can_still_be_renewed(ledger, clock):
    lease = ledger.claim("lock|a", owner="1", ttl=timedelta(minutes=1), change=lambda _: {})
    clock.sleep(300)
    lease.renew()
    assert ledger.read("lock|a").expires_at == clock.now() + timedelta(minutes=1)


def test_the_same_owner_gets_its_own_lock_again_after_a_crash(ledger):
    ledger.claim("lock|a", owner="dag/run/task", ttl=timedelta(minutes=15), change=lambda _: {})
    with ledger.lock("a", owner="dag/run/task"):
        pass


def test_waiting_ends_when_a_dead_holder_expires(ledger, clock):
    ledger.claim("lock|a", owner="dead", ttl=timedelta(minutes=1), change=lambda _: {})
    started = clock.now()
    with ledger.lock("a", owner="2", wait=timedelta(minutes=5)):
        assert timedelta(seconds=59) < clock.now() - started < timedelta(seconds=63)


def test_waiting_ends_at_once_when_the_holder_renews_because_it_is_alive(ledger, clock):
    alive = ledger.claim("lock|a", owner="alive", ttl=timedelta(minutes=1), change=lambda _: {})
    ledger._sleep = lambda seconds: (clock.sleep(seconds), alive.renew())
    with pytest.raises(LockHeldError), ledger.lock("a", owner="2", wait=timedelta(hours=1)):
        pass
    assert clock.now() < datetime(2026, 11, 10, 8, 1, tzinfo=UTC)


def test_renewal_is_due_after_a_third_of_the_time(ledger, clock):
    lease = ledger.claim("lock|a", owner="1", ttl=timedelta(seconds=90), change=lambda _: {})
    assert not lease.due
    clock.sleep(31)
    assert lease.due
    lease.renew()
    assert not lease.due


def test_of_many_writers_at_once_exactly_one_wins(ledger):
    won, lost = [], []

    def attempt(number: int) -> None:
        try:
            ledger.claim("lock|race", owner=f"writer {number}", ttl=timedelta(minutes=1), change=lambda _: {})
            won.append(number)
        except LockHeldError:
            lost.append(number)

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)


def test_a_write_whose_answer_was_lost_is_recognised_as_our_own(ledger, sandbox):
    """The client sends it again and meets its own first copy."""
    sandbox.faults.add(method="PUT", path="/ml-ledger/_create/*", action="cut_after", times=1)
    lease = ledger.claim("lock|a", owner="1", ttl=timedelta(minutes=1), change=lambda _: {})
    sandbox.faults.add(method="PUT", path="/ml-ledger/_doc/*", action="cut_after", times=1)
    lease.renew({"note": "kept"})
    lease.release()
    assert ledger.read("lock|a").document["note"] == "kept"


def test_several_partitions_are_read_at_once(ledger):
    lease = ledger.claim(
        "partition|trail|2026-11-09", owner="1", ttl=timedelta(minutes=1), change=lambda _: {"state": "running"}
    )
    lease.release({"state": "done"})
    found = ledger.partitions("trail", ["2026-11-08", "2026-11-09"])
    assert found["2026-11-08"] is None
    assert found["2026-11-09"]["state"] == "done"
    assert ledger.partition("trail", "2026-11-09")["state"] == "done"


def test_a_missing_index_is_a_sentence_with_the_remedy(sandbox):
    client = connect(ElasticsearchSettings(url=sandbox.elasticsearch_url))
    with pytest.raises(IngestError, match=r"'ml-other' does not exist. Run the DAG elastic_setup with mode=apply"):
        Ledger(client, "ml-other").partition("trail", "2026-11-09")
