"""Connections that the workers of a lane keep from message to message, and how many there may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from valija.domain.clock import Clock
from valija.domain.connection_count import STEP, ConnectionCount, opened, refused
from valija.domain.pace import PaceLimits, connections_allowed
from valija.net.smtp import SmtpConnection

MOST_CONNECTIONS: Final = 20  # where the provider names no limit
MESSAGES_PER_CONNECTION: Final = 500
MARGIN_S: Final = 0.1  # so that STEP is over, by whatever clock


class KeptConnection:
    """A worker's connection; ``age``: the settings that it was opened with; ``sent``: messages over it."""

    def __init__(self) -> None:
        self.connection: SmtpConnection | None = None
        self.age = 0
        self.sent = 0

    def usable(self, age: int) -> bool:
        """Tell whether it can be used once more, with the settings of that age."""
        return self.connection is not None and self.age == age and self.sent < MESSAGES_PER_CONNECTION

    async def close(self, *, politely: bool = True) -> None:
        """Let it go."""
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.close(politely=politely)


class LaneConnections:
    """Those of one lane. ``more`` is called when there may be one more than a moment ago."""

    def __init__(self, clock: Clock, more: Callable[[], None]) -> None:
        self._clock = clock
        self._more = more
        self._kept: set[KeptConnection] = set()
        self._count: ConnectionCount | None = None
        self._later: set[asyncio.Task[None]] = set()

    def join(self, kept: KeptConnection) -> None:
        """Count a worker's own."""
        self._kept.add(kept)

    async def leave(self, kept: KeptConnection) -> None:
        """Close it, and count it no more."""
        self._kept.discard(kept)
        await kept.close()

    def places(self, limits: PaceLimits) -> int:
        """Return how many there may be: by the provider's limits, and by what the server was seen to take."""
        allowed = connections_allowed(limits, MOST_CONNECTIONS)
        return allowed if self._count is None else min(allowed, self._count.allowed(self._clock.now()))

    def can_spare(self, kept: KeptConnection, places: int) -> bool:
        """Tell whether a worker may go where there are too many: it has none, or more are open than there may be by now."""
        return kept.connection is None or self._open() > places

    def refused(self) -> bool:
        """Learn from one that could not be opened; tell whether others are open, so that mail goes on without it."""
        self._count = refused(self._open(), self._clock.now())
        if self._count is not None:
            task = asyncio.create_task(self._tell_later())
            self._later.add(task)
            task.add_done_callback(self._later.discard)
        return self._count is not None

    async def _tell_later(self) -> None:
        """Let one more be tried though no message ends until then: a large one over a slow line takes half an hour."""
        await self._clock.sleep(STEP.total_seconds() + MARGIN_S)
        self._more()

    def opened(self) -> None:
        """Learn from one that was opened."""
        if self._count is not None:
            self._count = opened(self._count, self._open())
            self._more()

    def _open(self) -> int:
        return sum(kept.connection is not None for kept in self._kept)

    def forget(self) -> None:
        """Count on nothing that was learned."""
        self._count = None

    def stop(self) -> None:
        """Try no more."""
        for task in self._later:
            task.cancel()
