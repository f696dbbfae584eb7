"""A lane is on one node at a time, whatever the store and the clocks do; what became of a try is stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from dispatch_bench import ACCOUNT, ANSWER_S, Connection, Office, all_delivered
from fakes import START, FakeClock, settle

from valija.domain.errors import StoreError, StoreUnreachable
from valija.domain.pace import Pace, PaceLimits
from valija.domain.queue import Delivered, RecipientEvent, RecipientState
from valija.domain.text import message
from valija.services import lane_connection, lane_hold
from valija.services.dispatcher import FAR
from valija.services.lane_hold import LaneHold
from valija.store.memory_queue import MemoryQueue


class SharedLine(MemoryQueue):
    """A queue that another node may have taken, or that does not answer."""

    shared = True

    def __init__(self) -> None:
        super().__init__()
        self.anothers = False
        self.answers = True
        self.silent = False
        self.took = self.renewed = self.left = 0
        self.sent = Pace()

    async def _ask(self) -> bool:
        if self.silent:
            await asyncio.Event().wait()
        if not self.answers:
            raise StoreUnreachable(message("gone"))
        return not self.anothers

    async def take_lane(self, account: str, now: datetime, seconds: float) -> bool:
        self.took += 1
        free = await self._ask()
        if free:
            await self.end_leases(now, FAR)
        return free

    async def renew_lane(self, account: str, seconds: float) -> bool:
        self.renewed += 1
        return await self._ask()

    async def leave_lane(self, account: str) -> None:
        self.left += 1

    async def pace(self, account: str, now: datetime) -> Pace:
        return self.sent


class Holder:
    """A hold with what it said."""

    def __init__(self, queue: SharedLine) -> None:
        self.said: list[str] = []
        self.hold = LaneHold(
            queue, FakeClock(), ACCOUNT, taken=self._taken, lost=self._lost, changed=lambda: self.said.append("changed")
        )

    async def _taken(self) -> None:
        self.said.append(f"taken {self.hold.held}")

    async def _lost(self) -> None:
        self.said.append(f"lost {self.hold.held}")

    async def until(self, reached: Callable[[], bool]) -> float:
        """Wait; return how long it took."""
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(3):
            while not reached():  # noqa: ASYNC110 - it is looked at from outside
                await asyncio.sleep(0.005)
        return asyncio.get_running_loop().time() - began


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty seconds are 0.6."""
    for name, seconds in (("HOLD_S", 0.6), ("RENEW_S", 0.1), ("MARGIN_S", 0.2), ("AGAIN_S", 0.02)):
        monkeypatch.setattr(lane_hold, name, seconds)


async def test_a_lane_is_renewed_while_it_is_held_and_left_at_the_end() -> None:
    queue = SharedLine()
    holder = Holder(queue)
    holder.hold.start()
    await holder.until(lambda: queue.renewed >= 3)
    assert holder.said == ["taken False", "changed"]
    assert (queue.took, holder.hold.held, holder.hold.times) == (1, True, 1)
    await holder.hold.stop()
    assert (queue.left, holder.hold.held) == (1, False)


async def test_another_nodes_lane_is_asked_for_again_and_at_once_when_it_is_left() -> None:
    queue = SharedLine()
    queue.anothers = True
    holder = Holder(queue)
    holder.hold.start()
    await holder.until(lambda: queue.took >= 3)
    assert not holder.hold.held
    took, queue.anothers = queue.took, False
    holder.hold.ask_now()
    assert await holder.until(lambda: holder.hold.held) < 0.05
    assert queue.took == took + 1
    await holder.hold.stop()


async def test_a_lane_that_another_node_took_is_lost_at_once_and_asked_for_again() -> None:
    queue = SharedLine()
    holder = Holder(queue)
    holder.hold.start()
    await holder.until(lambda: holder.hold.held)
    queue.anothers = True
    await holder.until(lambda: not holder.hold.held)
    await holder.until(lambda: "lost False" in holder.said)
    queue.anothers = False
    await holder.until(lambda: holder.hold.held)
    assert holder.hold.times == 2
    await holder.hold.stop()


@pytest.mark.parametrize("silent", [True, False])
async def test_a_store_that_does_not_answer_ends_the_lane_before_its_time_and_not_at_once(silent: bool) -> None:
    """By this machine's clock, counted from before the last answer was asked for."""
    queue = SharedLine()
    holder = Holder(queue)
    holder.hold.start()
    await holder.until(lambda: holder.hold.held)
    queue.silent, queue.answers = silent, False
    took = await holder.until(lambda: not holder.hold.held)
    assert 0.2 < took < 0.8
    queue.silent, queue.answers = False, True
    if not silent:
        await holder.until(lambda: holder.hold.held)
    await holder.hold.stop()


async def test_a_store_that_is_away_for_a_moment_ends_nothing() -> None:
    queue = SharedLine()
    holder = Holder(queue)
    holder.hold.start()
    await holder.until(lambda: holder.hold.held)
    queue.answers = False
    await asyncio.sleep(0.25)
    queue.answers = True
    renewed = queue.renewed
    await holder.until(lambda: queue.renewed > renewed + 1)
    assert holder.said == ["taken False", "changed"]
    await holder.hold.stop()


def _office_on(queue: SharedLine, directory: Path, limits: PaceLimits | None = None) -> Office:
    office = Office(directory, limits or PaceLimits())
    office.store.queue = queue
    office.dispatcher.queue = queue
    return office


async def test_nothing_is_sent_without_the_lane_and_all_is_when_it_comes(tmp_path: Path) -> None:
    queue = SharedLine()
    queue.anothers = True
    office = _office_on(queue, tmp_path)
    await office.start()
    await office.put("a@example.org")
    await office.clock.advance(60)
    assert office.upstream.offered == []
    queue.anothers = False
    office.dispatcher.lane_left(ACCOUNT)
    await asyncio.sleep(0.02)
    await office.until(all_delivered)
    await office.stop()
    assert queue.left == 1


async def test_what_is_under_way_is_broken_off_when_the_lane_is_lost(tmp_path: Path) -> None:
    """Before its final dot is answered; nothing of it is told to the store, where another node has it now."""
    queue = SharedLine()
    office = _office_on(queue, tmp_path)
    await office.start()
    await office.put("a@example.org")
    await asyncio.sleep(0.02)
    await settle()
    assert office.upstream.busy == 1
    queue.anothers = True
    await asyncio.sleep(0.2)
    await office.clock.advance(5)
    assert not any(isinstance(state, Delivered) for state in await office.states())
    assert len(office.upstream.offered) == 1
    await office.stop()


async def test_a_lane_goes_on_at_the_pace_that_the_account_had(tmp_path: Path) -> None:
    """What another node has just sent fills the provider's minute."""
    queue = SharedLine()
    queue.sent = Pace(ended=tuple(START - timedelta(seconds=10 - n) for n in range(10)))
    office = _office_on(queue, tmp_path, PaceLimits(messages_per_minute=10))
    await office.start()
    await office.put("a@example.org")
    await asyncio.sleep(0.02)
    await office.clock.advance(40)
    assert office.upstream.offered == []
    await office.until(all_delivered, timedelta(minutes=2))
    (at, _envelope) = office.upstream.offered[0]
    assert timedelta(seconds=50) <= at - START <= timedelta(seconds=55)
    await office.stop()


async def test_the_pace_survives_a_restart(tmp_path: Path) -> None:
    """Counted from what the store knows."""
    office = Office(tmp_path, PaceLimits(messages_per_minute=5))
    await office.start()
    for number in range(5):
        await office.put(f"{number}@example.org")
    await office.until(all_delivered)
    await office.stop()
    again = Office(tmp_path, PaceLimits(messages_per_minute=5))
    again.clock = office.clock
    again.store.queue = again.dispatcher.queue = office.store.queue
    again.dispatcher.clock, again.upstream.clock = office.clock, office.clock
    began = office.clock.now()
    await again.start()
    await again.put("late@example.org")
    await again.until(all_delivered, timedelta(minutes=2))
    assert again.upstream.offered[0][0] - began > timedelta(seconds=50)
    await again.stop()


class Stumbling(MemoryQueue):
    """A queue that cannot store outcomes for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0

    async def apply(self, events: Sequence[tuple[int, RecipientEvent]]) -> list[RecipientState | None]:
        if self.failures:
            self.failures -= 1
            raise StoreError(message("full"))
        return await super().apply(events)


async def test_what_was_delivered_is_not_sent_again_because_the_store_could_not_be_written(tmp_path: Path) -> None:
    """It is kept until it is stored."""
    office = Office(tmp_path)
    queue = Stumbling()
    office.store.queue = office.dispatcher.queue = queue
    await office.start()
    queue.failures = 20
    await office.put("a@example.org")
    await office.until(all_delivered, timedelta(hours=3))
    assert queue.failures == 0
    assert len(office.upstream.offered) == 1
    await office.stop()


@pytest.mark.parametrize("slow", ["the report", "the end of the connection"])
async def test_what_was_delivered_is_stored_though_the_lane_is_lost_before(
    slow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next node would send it again."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def takes_long(*_of: object, **_how: object) -> None:
        reached.set()
        await go_on.wait()

    queue = SharedLine()
    office = _office_on(queue, tmp_path)
    if slow == "the report":
        office.dispatcher.report = takes_long
    else:
        monkeypatch.setattr(lane_connection, "MESSAGES_PER_CONNECTION", 1)
        monkeypatch.setattr(Connection, "close", takes_long)
    await office.start()
    await office.put("a@example.org")
    await asyncio.sleep(0.02)
    await office.clock.advance(ANSWER_S)
    if slow == "the report":
        await reached.wait()
    queue.anothers = True
    await asyncio.sleep(0.2)
    go_on.set()
    await settle()
    assert all_delivered(await office.states())
    await office.stop()


async def test_a_machine_that_stood_still_begins_nothing_when_it_goes_on(tmp_path: Path) -> None:
    """Its time was over meanwhile, and another node has the lane; what was answered before anything else is looked at first."""
    queue = SharedLine()
    office = _office_on(queue, tmp_path, PaceLimits(connections=2))
    await office.start()
    for number in range(5):
        await office.put(f"{number}@example.org")
    await asyncio.sleep(0.02)
    await settle()
    begun = len(office.upstream.offered)
    queue.anothers = True
    time.sleep(0.7)  # noqa: ASYNC251 - the whole process stands still
    await office.clock.advance(ANSWER_S)
    await asyncio.sleep(0.02)
    assert len(office.upstream.offered) == begun
    await office.stop()


async def test_a_machine_that_was_asleep_knows_that_its_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop's clock stands still in a suspended machine; the lane is asked for anew before anything is begun."""
    asleep = [0.0]
    monkeypatch.setattr(lane_hold, "boot_time", lambda: time.monotonic() + asleep[0])
    monkeypatch.setattr(lane_hold, "RENEW_S", 0.3)
    queue = SharedLine()
    office = _office_on(queue, tmp_path)
    await office.start()
    await asyncio.sleep(0.02)
    await office.put("first@example.org")
    await office.until(all_delivered)
    asleep[0], queue.anothers = 60.0, True
    await office.put("second@example.org")
    await settle()
    assert len(office.upstream.offered) == 1
    queue.anothers = False
    await asyncio.sleep(0.4)
    await office.until(all_delivered)
    await office.stop()
