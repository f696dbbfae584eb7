"""What a lane has in hand: messages under lease, in a fair line, and the workers that wait for one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime

from valija.domain.fair_line import FairLine
from valija.store.queue_port import Leased


@dataclass(frozen=True, slots=True)
class Offer:
    """A message may be stored under a lease ``until`` then, and is told of by ``taken``, with None if it was not."""

    until: datetime
    taken: Callable[[Leased | None], None]


@dataclass(frozen=True, slots=True)
class InHand:
    """A message that a worker has taken, ``since`` when it was in the line; for a large one ``done`` is owed."""

    leased: Leased
    since: datetime
    large: bool = False


class LaneLine:
    """``idle``: how many workers wait, or are about to take what they were woken for; ``octets`` in memory."""

    def __init__(self) -> None:
        self._jobs: FairLine[InHand] = FairLine()
        self.octets = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self.idle = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, leased: Leased, now: datetime) -> None:
        """Add a message at the end."""
        self._jobs.put(InHand(leased, now), leased.message.size)
        self.octets += len(leased.body.octets)
        self._wake_one()

    async def take(self, places: Callable[[], int], patience_s: float) -> InHand | None:
        """Return the next message; None if none comes for so long."""
        self.idle += 1
        try:
            taken = self._jobs.take(places())
            while taken is None:
                woken = not self._closed and await self._woken(patience_s)
                taken = self._jobs.take(places())  # one may have come in the very turn in which the patience was over
                if taken is None and not woken:
                    return None
            job, large = taken
            self.octets -= len(job.leased.body.octets)
            return replace(job, large=True) if large else job
        finally:
            self.idle -= 1

    async def _woken(self, patience_s: float) -> bool:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(patience_s):
                await waiter
        except TimeoutError:
            return waiter.done() and not waiter.cancelled()
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # it is for somebody else
                self._wake_one()
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        return True

    def take_out(self, leases: Collection[int]) -> list[Leased]:
        """Take what is under these leases, as far as it waits."""
        found = [job.leased for job in self._jobs.take_out(lambda job: job.leased.lease in leases)]
        self.octets -= sum(len(leased.body.octets) for leased in found)
        return found

    def done(self) -> None:
        """A large message has ended."""
        self._jobs.done()

    def clear(self) -> list[Leased]:
        """Take all that waits."""
        self.octets = 0
        return [job.leased for job in self._jobs.clear()]

    def close(self) -> None:
        """Let go of who waits."""
        self._closed = True
        while self._waiting:
            self._wake_one()

    def _wake_one(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
