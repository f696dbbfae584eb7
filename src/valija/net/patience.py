"""The end of each wait of a connection, by one timer for all of them: it is set anew only where it must ring earlier."""

from __future__ import annotations

import asyncio


class Patience:
    """Waits for one future at a time. The timer of a wait that has ended is left as it is: the next one mostly ends later."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0
        self._future: asyncio.Future[None] | None = None
        self._ends_at = 0.0

    async def wait(self, future: asyncio.Future[None], seconds: float) -> None:
        """Wait for ``future``; raises :class:`TimeoutError` after so long."""
        self._future, self._ends_at = future, self._loop.time() + seconds
        if self._timer is None or self._rings_at > self._ends_at:
            self.end()
            self._set()
        try:
            await future
        finally:
            self._future = None

    def end(self) -> None:
        """Let the timer go: nothing is waited for any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self) -> None:
        self._rings_at = self._ends_at
        self._timer = self._loop.call_at(self._ends_at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._future is None or self._future.done():
            return
        if self._loop.time() < self._ends_at:
            self._set()
        else:
            self._future.set_exception(TimeoutError())
