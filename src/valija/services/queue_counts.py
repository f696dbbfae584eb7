"""How much mail is in which state, for faces that ask often: a long queue is not counted anew for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from valija.domain.clock import Clock
from valija.domain.queue import RecipientStateName
from valija.store.queue_port import QueueStore

QUICK_S: Final = 0.02  # a count that took no longer is not kept
SHARE: Final = (
    20  # a slower one is kept so many times as long as it took: counting takes a twentieth of the time at most
)

Counts = Mapping[tuple[str, RecipientStateName], int]


class QueueCounts:
    """Counts recipients by account and state."""

    def __init__(self, queue: QueueStore, clock: Clock) -> None:
        self._queue = queue
        self._clock = clock
        self._lock = asyncio.Lock()
        self._found: Counts = {}
        self._good_until = float("-inf")

    async def read(self) -> Counts:
        """Return the numbers, a little old if they take long to count."""
        if self._clock.monotonic() < self._good_until:
            return self._found
        async with self._lock:
            if (before := self._clock.monotonic()) < self._good_until:
                return self._found
            self._found = await self._queue.counts()
            now = self._clock.monotonic()
            took = now - before
            self._good_until = now + SHARE * took if took > QUICK_S else float("-inf")
            return self._found

    def forget(self) -> None:
        """Count anew next time: somebody has just changed many."""
        self._good_until = float("-inf")
