"""Whether this node sends an account's mail: where several share the store, one of them does, and its provider sees one pace.

A lane is had for ``HOLD_S`` and renewed every ``RENEW_S``. It is lost ``MARGIN_S`` before its end, counted on this machine from
before the store was asked, so that nothing is under way here any more when another node may take it, however clocks run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from valija.domain.clock import Clock
from valija.domain.errors import ValijaError
from valija.services.keeping_up import kept_up
from valija.store.queue_port import QueueStore

log: Final = logging.getLogger(__name__)
HOLD_S: Final = 30.0
RENEW_S: Final = 10.0
MARGIN_S: Final = 5.0
AGAIN_S: Final = 1.0  # after a store that did not answer


def boot_time() -> float:
    """Return seconds that go on while the machine sleeps, which the loop's own do not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LaneHold:
    """``taken`` is awaited before ``held`` becomes true, ``lost`` after it became false; ``changed`` tells of both.

    ``times`` is how often it was taken.
    """

    def __init__(
        self,
        queue: QueueStore,
        clock: Clock,
        account: str,
        *,
        taken: Callable[[], Awaitable[None]],
        lost: Callable[[], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._account = account
        self._taken, self._lost, self._changed = taken, lost, changed
        self._ends = self._ends_by_boot_time = 0.0
        self._ask = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.held = False
        self.times = 0

    def start(self) -> None:
        """Begin to ask for the lane."""
        name = f"hold {self._account}"
        self._task = asyncio.create_task(kept_up(self._run, name, self._clock), name=name)

    def is_sure(self) -> bool:
        """Tell whether no other node can have the lane: a machine that stood still may not have seen yet that it ended."""
        return not self._queue.shared or boot_time() < self._ends_by_boot_time

    def ask_now(self) -> None:
        """The lane may be free."""
        self._ask.set()

    async def stop(self) -> None:
        """Let another node have the lane; nothing may be under way any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.held:
            self.held = False
            try:
                await self._queue.leave_lane(self._account)
            except ValijaError as error:
                log.warning("lane_not_left", extra={"fields": {"account": self._account, "why": str(error)}})

    async def _run(self) -> None:
        while True:
            try:
                wait = await (self._renew() if self.held else self._take())
            except ValijaError as error:
                log.warning("lane_not_asked", extra={"fields": {"account": self._account, "why": str(error)}})
                wait = AGAIN_S
            if self.held and not self._queue.shared:
                return
            if self.held and asyncio.get_running_loop().time() + wait > self._ends:
                wait = max(self._ends - asyncio.get_running_loop().time(), 0)
            self._ask.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._ask.wait()

    async def _take(self) -> float:
        asked_at, asked_at_by_boot_time = asyncio.get_running_loop().time(), boot_time()
        if not await self._queue.take_lane(self._account, self._clock.now(), HOLD_S):
            return RENEW_S
        await self._taken()
        self._ends, self._ends_by_boot_time = (at + HOLD_S - MARGIN_S for at in (asked_at, asked_at_by_boot_time))
        if asyncio.get_running_loop().time() >= self._ends:
            return 0.0
        self.held = True
        self.times += 1
        if self._queue.shared:
            log.info("lane_taken", extra={"fields": {"account": self._account}})
        self._changed()
        return RENEW_S

    async def _renew(self) -> float:
        asked_at, asked_at_by_boot_time = asyncio.get_running_loop().time(), boot_time()
        renewed = False
        try:
            async with asyncio.timeout_at(self._ends):
                renewed = await self._queue.renew_lane(self._account, HOLD_S)
        except TimeoutError:
            pass
        except ValijaError:
            if asyncio.get_running_loop().time() < self._ends:
                raise
        if renewed:
            self._ends, self._ends_by_boot_time = (at + HOLD_S - MARGIN_S for at in (asked_at, asked_at_by_boot_time))
            return RENEW_S
        log.warning("lane_lost", extra={"fields": {"account": self._account}})
        self.held = False
        await self._lost()
        self._changed()
        return AGAIN_S
