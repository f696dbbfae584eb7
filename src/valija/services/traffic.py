"""How much mail passes: counted in memory, written down every minute, for a picture of the last hours and for status mails.

What is counted since the last minute is added to the slot of the present moment, so a slot is right to a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from valija.domain.clock import Clock
from valija.domain.errors import ValijaError
from valija.domain.queue import RecipientEvent, RecipientState, RecipientStateName
from valija.domain.traffic import KEPT, SHOWN, TrafficSlot, count_ended, plus, series, slot_of
from valija.services.queue_counts import QueueCounts
from valija.store.queue_port import QueueStore

log: Final = logging.getLogger(__name__)
FLUSH_S: Final = 60.0
ENDED: Final = (RecipientStateName.DELIVERED, RecipientStateName.FAILED)


class Traffic:
    """Counts recipients."""

    def __init__(self, queue: QueueStore, counts: QueueCounts, clock: Clock) -> None:
        self._queue = queue
        self._counts = counts
        self._clock = clock
        self._stored: list[TrafficSlot] = []
        self._accepted = self._delivered = self._failed = self._waiting = 0

    async def start(self) -> None:
        """Read what is stored."""
        self._stored = await self._queue.traffic(self._clock.now() - SHOWN)
        self._waiting = self._stored[-1].waiting if self._stored else 0

    def accepted(self, recipients: int) -> None:
        """Count a message that was taken."""
        self._accepted += recipients

    def applied(self, events: Sequence[tuple[int, RecipientEvent]], states: Sequence[RecipientState | None]) -> None:
        """Count what ended with these events."""
        delivered, failed = count_ended(events, states)
        self._delivered += delivered
        self._failed += failed

    def picture(self, length: timedelta) -> list[TrafficSlot]:
        """Return every slot of the last ``length``, the present one last."""
        now = self._clock.now()
        slots = {slot.at: slot for slot in self._stored}
        fresh = self._fresh(now)
        slots[fresh.at] = plus(slots.get(fresh.at, TrafficSlot(fresh.at)), fresh)
        return series(slots.values(), now, length)

    async def waiting(self) -> int:
        """Return how many wait now. Raises store errors."""
        counts = await self._counts.read()
        return sum(number for (_account, state), number in counts.items() if state not in ENDED)

    async def counted(self, since: datetime) -> TrafficSlot:
        """Return all that passed since then, as if it were one slot. Raises store errors."""
        now = self._clock.now()
        whole = TrafficSlot(slot_of(since))
        for slot in [*await self._queue.traffic(since), self._fresh(now)]:
            whole = plus(whole, slot)
        return whole

    async def flush(self) -> None:
        """Write down what was counted. Raises store errors; nothing is lost then."""
        self._waiting = await self.waiting()
        fresh = self._fresh(self._clock.now())
        await self._queue.add_traffic([fresh], fresh.at - KEPT)
        self._accepted -= fresh.accepted
        self._delivered -= fresh.delivered
        self._failed -= fresh.failed
        self._stored = await self._queue.traffic(self._clock.now() - SHOWN)

    async def run(self) -> None:
        """Write down what was counted, every minute, for ever."""
        while True:
            try:
                await self.flush()
            except ValijaError as error:
                log.warning("traffic_not_written", extra={"fields": {"why": str(error)}})
            await self._clock.sleep(FLUSH_S)

    def _fresh(self, now: datetime) -> TrafficSlot:
        return TrafficSlot(slot_of(now), self._accepted, self._delivered, self._failed, self._waiting)
