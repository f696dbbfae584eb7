"""How much mail passes: counted, kept over a restart; a long queue is not counted too often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import pytest
from fakes import FakeClock

from valija.domain import queue as q
from valija.domain.errors import StoreError
from valija.domain.queue import RecipientEvent, RecipientStateName
from valija.domain.queued_message import QueuedMessage, QueuedRecipient
from valija.domain.text import message
from valija.domain.traffic import SLOT, TrafficSlot, slot_of
from valija.domain.trouble import Trouble, WhoActs
from valija.services.queue_counts import SHARE, QueueCounts
from valija.services.traffic import Traffic
from valija.store.memory_queue import MemoryQueue
from valija.store.queue_port import Body

HOUR = timedelta(hours=1)


class Line(MemoryQueue):
    """A queue that takes time to count, and can be broken."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock, self.counted, self.takes_s, self.broken = clock, 0, 0.0, False

    async def counts(self) -> Mapping[tuple[str, RecipientStateName], int]:
        self.counted += 1
        await self.clock.advance(self.takes_s)
        return await super().counts()

    async def add_traffic(self, slots: Sequence[TrafficSlot], forget_before: datetime) -> None:
        if self.broken:
            raise StoreError(message("full"))
        await super().add_traffic(slots, forget_before)


def bench() -> tuple[FakeClock, Line, Traffic]:
    """Return a clock, a queue and what counts."""
    clock = FakeClock(by_itself=False)
    line = Line(clock)
    return clock, line, Traffic(line, QueueCounts(line, clock), clock)


async def a_message_passes(line: Line, traffic: Traffic, now: datetime) -> None:
    """Three recipients: one delivered, one refused, one waits; what is said again is not counted again."""
    recipients = tuple(QueuedRecipient(f"{name}@x.org") for name in "abc")
    await line.accept(QueuedMessage("smtp", "", "s@x.org", "1", 9, now, recipients), Body())
    traffic.accepted(3)
    (leased,) = await line.lease("smtp", now, now, 9)
    a, b, c = (entry.id for entry in leased.entries)
    trouble = Trouble("no", WhoActs.NOBODY, "550", now)
    events: list[tuple[int, RecipientEvent]] = [
        (a, q.Accepted(now, "250")),
        (b, q.Refused(leased.lease, trouble)),
        (c, q.TryFailed(leased.lease, now, trouble)),
        (b, q.CancelAsked(now + HOUR)),
        (999, q.HoldAsked(now)),
    ]
    traffic.applied(events, await line.apply(events))


async def test_what_passes_is_seen_at_once_and_kept_over_a_restart() -> None:
    """In its slot; how many wait is counted every minute."""
    clock, line, traffic = bench()
    await traffic.start()
    now = clock.now()
    await a_message_passes(line, traffic, now)
    assert traffic.picture(HOUR)[-1] == TrafficSlot(slot_of(now), 3, 1, 1, 0)
    await traffic.flush()
    wanted = TrafficSlot(slot_of(now), 3, 1, 1, 1)
    assert traffic.picture(HOUR)[-1] == wanted
    assert await line.traffic() == [wanted]
    await clock.advance(SLOT.total_seconds())
    traffic.accepted(5)
    await traffic.flush()
    again = Traffic(line, QueueCounts(line, clock), clock)
    await again.start()
    for one in (traffic, again):
        assert one.picture(HOUR)[-2:] == [wanted, TrafficSlot(wanted.at + SLOT, 5, waiting=1)]
        assert len(one.picture(HOUR)) == 6


async def test_what_cannot_be_written_down_is_written_down_later() -> None:
    """A full disk loses no number."""
    clock, line, traffic = bench()
    await a_message_passes(line, traffic, clock.now())
    line.broken = True
    with pytest.raises(StoreError):
        await traffic.flush()
    line.broken = False
    await traffic.flush()
    await traffic.flush()
    assert [(slot.accepted, slot.delivered, slot.failed) for slot in await line.traffic()] == [(3, 1, 1)]


async def test_a_long_queue_is_counted_in_a_twentieth_of_the_time_at_most() -> None:
    """A short one each time that somebody asks, and a long one after somebody changed many."""
    clock, line, _traffic = bench()
    counts = QueueCounts(line, clock)
    for _ask in range(3):
        await counts.read()
    assert line.counted == 3
    line.takes_s = 0.5
    for _ask in range(100):
        await counts.read()
        await clock.advance(0.1)
    assert line.counted == 4
    await clock.advance(SHARE * line.takes_s)
    await counts.read()
    assert line.counted == 5
    counts.forget()
    await counts.read()
    assert line.counted == 6
