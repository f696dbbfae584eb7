"""How many connections a server takes at once, learned from those that it refuses while others work. Pure.

After a refusal there are no more than there were. After ``STEP`` one more is tried; while they are taken, one after the other.
So a busy account asks a server that takes few in vain once a minute, and one that took few for a while has all again at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

STEP: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class ConnectionCount:
    """``known`` are taken; one more was refused ``refused_at`` then."""

    known: int
    refused_at: datetime

    def allowed(self, now: datetime) -> int:
        """Return how many may be open. A clock that was set back lets nobody wait longer."""
        return self.known + (not timedelta() <= now - self.refused_at < STEP)


def refused(open_now: int, now: datetime) -> ConnectionCount | None:
    """Return what a refusal tells: as many as are open are taken; None where none is, for then it is no matter of how many."""
    return ConnectionCount(open_now, now) if open_now > 0 else None


def opened(count: ConnectionCount, open_now: int) -> ConnectionCount:
    """Return what is known once so many are open."""
    return replace(count, known=max(count.known, open_now))
