"""What an operator stops is stopped at once, as long as its MAIL FROM was not sent; what is being sent is said to be."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dispatch_bench import ACCOUNT, ANSWER_S, Office, all_delivered
from fakes import settle

from valija.domain.account_gate import hold, release
from valija.domain.pace import PaceLimits
from valija.domain.queue import CancelAsked, Delivered, Failed, FailureCause, Held, HoldAsked, InFlight, Queued, Wish
from valija.store.memory import MemoryStore
from valija.store.memory_queue import MemoryQueue
from valija.store.queue_port import Leased

ONE_A_MINUTE = PaceLimits(messages_per_minute=1)


async def _stop(office: Office, number: int, event: type[HoldAsked | CancelAsked]) -> None:
    """Do as the gateway does."""
    stored = await office.store.queue.load(number)
    assert stored is not None
    await office.dispatcher.apply([(entry.id, event(office.clock.now())) for entry in stored.entries])
    await office.dispatcher.recall(ACCOUNT)


def _offered(office: Office) -> list[str]:
    return [recipient.address for _at, envelope in office.upstream.offered for recipient in envelope.recipients]


async def test_what_waits_for_its_pace_is_cancelled_at_once(tmp_path: Path) -> None:
    """A worker has it in hand; what comes after it does not wait for it."""
    office = Office(tmp_path, ONE_A_MINUTE)
    await office.start()
    await office.put("first@example.org")
    await office.until(all_delivered)
    number = await office.put("second@example.org")
    await settle()
    assert isinstance((await office.states())[1], InFlight)
    await _stop(office, number, CancelAsked)
    state = (await office.states())[1]
    assert isinstance(state, Failed)
    assert state.cause is FailureCause.CANCELLED
    await office.put("third@example.org")
    await office.until(lambda states: isinstance(states[2], Delivered), timedelta(minutes=2))
    assert _offered(office) == ["first@example.org", "third@example.org"]
    assert office.reports == []
    await office.stop()


async def test_what_waits_for_a_connection_is_held_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection serves the next message."""
    office, may_open = Office(tmp_path), asyncio.Event()
    opened = office.upstream.open

    async def slow(account: str) -> Any:
        await may_open.wait()
        return await opened(account)

    monkeypatch.setattr(office.upstream, "open", slow)
    await office.start()
    number = await office.put("first@example.org")
    await settle()
    await _stop(office, number, HoldAsked)
    assert isinstance((await office.states())[0], Held)
    may_open.set()
    await office.put("second@example.org")
    await office.until(lambda states: isinstance(states[1], Delivered), timedelta(seconds=5))
    assert _offered(office) == ["second@example.org"]
    await office.stop()


async def test_of_a_message_in_parts_only_what_was_begun_is_sent(tmp_path: Path) -> None:
    """The second part waits for its pace."""
    office = Office(tmp_path, ONE_A_MINUTE)
    office.upstream.per_message = 1
    await office.start()
    number = await office.put("a@example.org", "b@example.org")
    await office.until(lambda states: isinstance(states[0], Delivered), timedelta(seconds=5))
    await _stop(office, number, HoldAsked)
    assert [type(state) for state in await office.states()] == [Delivered, Held]
    await office.clock.advance(120)
    assert _offered(office) == ["a@example.org"]
    await office.stop()


async def test_what_is_being_sent_is_not_said_to_be_stopped(tmp_path: Path) -> None:
    office = Office(tmp_path)
    await office.start()
    number = await office.put("a@example.org")
    await settle()
    await _stop(office, number, CancelAsked)
    state = (await office.states())[0]
    assert isinstance(state, InFlight)
    assert state.wish is Wish.CANCEL
    await office.until(all_delivered, timedelta(seconds=ANSWER_S * 2))
    await office.stop()


async def test_an_account_that_is_held_has_nothing_in_hand_but_what_is_being_sent(tmp_path: Path) -> None:
    """Not what waits for its pace, and not what stands behind that; all of it leaves when it is released."""
    office = Office(tmp_path, PaceLimits(messages_per_minute=2))
    await office.start()
    for number in range(60):
        await office.put(f"{number}@example.org")
    await office.clock.advance(ANSWER_S / 2)
    assert any(isinstance(state, InFlight) for state in (await office.states())[10:])
    await office.dispatcher.change_gate(ACCOUNT, lambda gate: hold(gate, office.clock.now()))
    await office.dispatcher.recall(ACCOUNT)
    states = await office.states()
    assert sum(isinstance(state, InFlight) for state in states) == office.upstream.busy == len(_offered(office))
    assert all(isinstance(state, Queued | InFlight) for state in states)
    begun = len(_offered(office))
    await office.clock.advance(300)
    assert len(_offered(office)) == begun
    await office.dispatcher.change_gate(ACCOUNT, lambda gate: release(gate, office.clock.now()))
    await office.until(all_delivered, timedelta(hours=1))
    assert sorted(_offered(office)) == sorted(f"{number}@example.org" for number in range(60))
    await office.stop()


class SlowLine(MemoryQueue):
    """A queue whose leases take their time to arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.may_arrive = asyncio.Event()

    async def lease(self, account: str, now: datetime, until: datetime, limit: int) -> list[Leased]:
        found = await super().lease(account, now, until, limit)
        await self.may_arrive.wait()
        return found


async def test_what_is_stopped_while_its_lease_is_on_the_way_is_not_begun(tmp_path: Path) -> None:
    """The store has given it, and the lane has not got it."""
    store = MemoryStore()
    queue = store.queue = SlowLine()
    office = Office(tmp_path, store=store)
    await office.start()
    number = await office.put("first@example.org")
    await office.put("second@example.org")
    await settle()
    await _stop(office, number, HoldAsked)
    assert isinstance((await office.states())[0], Held)
    queue.may_arrive.set()
    await office.until(lambda states: isinstance(states[1], Delivered), timedelta(seconds=5))
    await office.clock.advance(60)
    assert _offered(office) == ["second@example.org"]
    await office.stop()
