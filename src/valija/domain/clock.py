"""Time as a port: pure code takes ``now`` as an argument, services ask a :class:`Clock`."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


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
