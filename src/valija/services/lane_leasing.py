"""What an account's lane takes in hand, and when: a batch of leases, or a message straight from who accepts it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from valija.domain.account_gate import Gate
from valija.domain.clock import Clock
from valija.domain.errors import ValijaError
from valija.services.lane_hold import LaneHold
from valija.services.lane_line import LaneLine, Offer
from valija.services.outcomes import WRONG_SENDER_PAUSE
from valija.store.queue_port import Leased

if TYPE_CHECKING:
    from valija.services.dispatcher import AccountLimits, Dispatcher

log: Final = logging.getLogger(__name__)
BATCH: Final = 64
LOW: Final = 16
IN_HAND: Final = 1000  # messages that come straight from who accepts them
IN_HAND_OCTETS: Final = 4_194_304
LEASE: Final = timedelta(hours=2)  # longer than the slowest message takes
NOT_READ: Final = timedelta(seconds=5)
NOT_SURE: Final = timedelta(seconds=1)  # that the lane is still this node's


class Pause(NamedTuple):
    """Until when nothing is sent, and why: the other side's words, and the reason of a trouble; empty where there is none."""

    until: datetime
    words: str = ""
    reason: str = ""


class Leasing:
    """Fills ``line``.

    ``put`` is for what was leased, ``give_back`` for what cannot be sent now, ``busy`` tells how many messages are tried.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        account: str,
        line: LaneLine,
        hold: LaneHold,
        *,
        put: Callable[[Sequence[Leased]], None],
        give_back: Callable[[list[Leased]], Awaitable[None]],
        busy: Callable[[], int],
    ) -> None:
        self._d = dispatcher
        self._account = account
        self._line = line
        self._hold = hold
        self._put = put
        self._give_back = give_back
        self._busy = busy
        self._offered = 0  # messages that are being stored under a lease for this lane
        self._caught_up = False  # what is due is in hand, and when more will be is known
        self._news = False  # there may be, since the lane looked
        self._woken = asyncio.Event()
        self._stopping = False
        self.limits: AccountLimits | None = None  # None: nothing was leased yet
        self._limits_read = False
        self.pause: Pause | None = None

    def is_paused(self, now: datetime) -> bool:
        """Tell whether the lane waits for something that passes."""
        return self.pause is not None and now < self.pause[0]

    def wake(self) -> None:
        """Look again whether something is due."""
        self.fall_behind()
        self._woken.set()

    def fall_behind(self) -> None:
        """Note that something may be due that is in the store only: whoever ends a try wakes."""
        self._caught_up, self._news = False, True

    def read_limits_anew(self) -> None:
        """Ask again what the provider allows, before anything is leased; until then it is what it was."""
        self._limits_read = False

    def line_is_short(self) -> None:
        """Lease more, if there may be more."""
        if not self._caught_up and len(self._line) <= LOW:
            self._woken.set()

    def stop(self) -> None:
        """Lease no more."""
        self._stopping = True
        self._woken.set()

    # --- from hand to hand ------------------------------------------------------------------------------------------------

    def offer(self) -> Offer | None:
        """Offer to take a message straight from who accepts it; None if it must wait its turn in the store."""
        full = len(self._line) + self._offered >= IN_HAND or self._line.octets >= IN_HAND_OCTETS
        ready = self._caught_up and self._hold.held and self.limits is not None and not self._stopping
        if full or not ready or self.pause is not None or not self._d.gate(self._account).is_open:
            return None
        self._offered += 1
        return Offer(self._d.clock.now() + LEASE, self._take)

    def _take(self, leased: Leased | None) -> None:
        self._offered -= 1
        if leased is None:
            self.wake()
        elif not self._stopping:  # else the next start ends the lease
            self._put([leased])

    # --- from the store ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Lease until it is stopped; then give back what waits."""
        while not self._stopping:
            self._woken.clear()
            try:
                wait = await self._fill()
            except ValijaError as error:
                log.warning("queue_not_read", extra={"fields": {"account": self._account, "why": str(error)}})
                wait = NOT_READ
            await wait_for_event(self._woken, wait, self._d.clock)
        await self._give_back(self._line.clear())

    async def _fill(self) -> timedelta | None:
        """Lease what is due; return how long until there may be more, None: until somebody says so."""
        if not self._hold.held:
            return None
        if not self._hold.is_sure():
            self._hold.ask_now()
            return NOT_SURE
        now = self._d.clock.now()
        if self.pause is not None:
            if now < self.pause.until:
                return self.pause.until - now
            self.pause = None
        if not self._limits_read:
            await self._read_limits()
        gate, self._caught_up, self._news = self._d.gate(self._account), False, False
        limit, wait = self._room(gate, now)
        if not limit:
            return wait
        taken = self._hold.times
        batch = await self._d.queue.lease(self._account, now, now + LEASE, limit)
        self._caught_up = len(batch) < limit and gate.is_open and not self._news
        if batch:
            await self._hand_out(batch, taken)
        if len(batch) == limit:
            return timedelta() if gate.is_open and len(self._line) <= LOW else None
        due = await self._d.queue.next_due(self._account)
        if due is not None and due - now > self._longest_wait():
            # the clock was set back: nothing is put off for so long
            await self._hand_out(await self._d.queue.lease(self._account, due, now + LEASE, limit), taken)
            return timedelta()
        return None if due is None else max(due - now, timedelta(milliseconds=50))

    async def _read_limits(self) -> None:
        self._limits_read = True  # before they are asked for: a change meanwhile makes it ask once more
        try:
            self.limits = await self._d.route.limits(self._account)
        except BaseException:
            self._limits_read = False
            raise

    def _room(self, gate: Gate, now: datetime) -> tuple[int, timedelta | None]:
        """Return how many messages to lease; if none, how long until there may be some, None: until somebody says so."""
        if gate.is_open:
            limit = BATCH - len(self._line)
            return (limit, None) if limit >= BATCH - LOW else (0, None)  # a worker wakes when the line is short
        if gate.may_probe(now) and not self._busy() and not len(self._line):
            return 1, None
        blocked = gate.blocked
        under_way = self._busy() or len(self._line) or blocked is None or blocked.probe_at <= now
        return 0, None if gate.held_at is not None or blocked is None or under_way else blocked.probe_at - now

    def _longest_wait(self) -> timedelta:
        return max(self._d.schedule.longest, WRONG_SENDER_PAUSE)

    async def _hand_out(self, batch: list[Leased], taken: int) -> None:
        if not self._hold.held or self._hold.times != taken:  # lost meanwhile: these leases may have been ended
            await self._give_back(batch)
        else:
            self._put(batch)


async def wait_for_event(event: asyncio.Event, wait: timedelta | None, clock: Clock) -> None:
    """Wait for ``event``, or for so long; None: however long it takes."""
    if wait is None:
        await event.wait()
    elif wait <= timedelta():
        await asyncio.sleep(0)
    else:
        sleeper = asyncio.ensure_future(clock.sleep(wait.total_seconds()))
        waiter = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({sleeper, waiter}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            waiter.cancel()
