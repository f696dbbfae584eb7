"""How fast a lane may begin messages: what the provider allows, what it has asked for, what was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from valija.domain.clock import Clock
from valija.domain.pace import Pace, PaceLimits, begin, end, slow_down, wait_for
from valija.services.lane_leasing import wait_for_event


class LanePace:
    """The pace of one lane; ``limits`` tells what the provider allows now."""

    def __init__(self, clock: Clock, limits: Callable[[], PaceLimits]) -> None:
        self._clock = clock
        self._limits = limits
        self._pace = Pace()
        self._place = asyncio.Event()  # may be free

    def resume(self, pace: Pace) -> None:
        """Go on from what the account has sent, whoever did; what the provider asked for here still counts."""
        self._pace = replace(pace, not_before=self._pace.not_before)

    def wait(self, recipients: int) -> timedelta | None:
        """Return how long to wait before a message to so many may begin; None: until one that is under way ends."""
        return wait_for(self._pace, self._limits(), self._clock.now(), recipients)

    def begin(self, recipients: int) -> None:
        """Count a message that begins."""
        self._pace = begin(self._pace, self._limits(), self._clock.now(), recipients)

    def end(self, *, counted: bool) -> None:
        """Count one that has ended; ``counted``: the provider saw it."""
        self._pace = end(self._pace, self._limits(), self._clock.now(), counted=counted)
        self._place.set()

    def slow_down(self, until: datetime) -> None:
        """Begin nothing until then."""
        self._pace = slow_down(self._pace, until)

    async def sleep(self, wait: timedelta | None) -> None:
        """Wait for so long, or until a message ends or :meth:`wake` is called, if that is sooner."""
        self._place.clear()
        await wait_for_event(self._place, wait, self._clock)

    def wake(self) -> None:
        """Let who waits look again."""
        self._place.set()
