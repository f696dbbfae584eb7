"""Time as a port: pure code takes ``now`` as an argument, services ask a :class:`Clock`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

FRESH_S: Final = 0.001


class Clock(Protocol):
    """What services may ask about time."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC. It may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds from a fixed, unknown point; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` of this clock."""
        ...


class SharedClock:
    """The clock of several machines: this one's, and what ``shift`` says of how far that is ahead of it."""

    def __init__(self, clock: Clock, shift: Callable[[], timedelta]) -> None:
        self._clock = clock
        self._shift = shift

    def now(self) -> datetime:
        """Return the wall-clock time that all go by. It may jump."""
        return self._clock.now() + self._shift()

    def monotonic(self) -> float:
        """Return seconds from a fixed, unknown point; never goes back."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        await self._clock.sleep(seconds)


class SteadyClock:
    """A clock that follows another one forward, and goes on at its own pace when that one is set back.

    What waits for a moment waits no longer for it than it was told to, whatever is done to the wall clock meanwhile. That is
    looked at once in ``FRESH_S``: many who ask at one moment hear the same.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now, self._at = clock.now(), clock.monotonic()

    def now(self) -> datetime:
        """Return the wall-clock time, or a later one if that was set back."""
        at = self._clock.monotonic()
        if at - self._at < FRESH_S:
            return self._now
        self._now, self._at = max(self._clock.now(), self._now + timedelta(seconds=at - self._at)), at
        return self._now

    def monotonic(self) -> float:
        """Return seconds from a fixed, unknown point; never goes back."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        await self._clock.sleep(seconds)
