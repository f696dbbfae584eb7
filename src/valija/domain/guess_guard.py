"""Who guesses passwords has to wait: by address, and by login from addresses where it never worked. Pure, bounded.

A device that is right goes on working from the address where it was right before, however much somebody else guesses at its
login; and an address of many devices (behind a router) is locked only after more failures than any device makes by itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from datetime import datetime, timedelta
from typing import Final

FAILURES: Final = 10  # in WINDOW, then LOCKED
WINDOW: Final = timedelta(minutes=10)
LOCKED: Final = timedelta(minutes=5)
ENTRIES_LIMIT: Final = 10_000


class GuessGuard:
    """Counts what failed."""

    def __init__(self) -> None:
        self._failed: OrderedDict[Hashable, list[datetime]] = OrderedDict()
        self._good: OrderedDict[tuple[str, str], None] = OrderedDict()

    def locked_until(self, address: str, login: str, now: datetime) -> datetime | None:
        """Return until when nothing is looked at; None for now."""
        if (address, login) in self._good:
            return None
        ends = [end for key in (address, (login,)) if (end := self._end_of_lock(key, now)) is not None]
        return max(ends, default=None)

    def failed(self, address: str, login: str, now: datetime) -> None:
        """Note a wrong password."""
        self._good.pop((address, login), None)
        for key in (address, (login,)):
            times = [at for at in self._failed.pop(key, []) if now - WINDOW < at <= now]
            self._failed[key] = [*times, now][-FAILURES:]
        while len(self._failed) > ENTRIES_LIMIT:
            self._failed.popitem(last=False)

    def worked(self, address: str, login: str) -> None:
        """Note a right password."""
        self._failed.pop(address, None)
        self._good.pop((address, login), None)
        self._good[address, login] = None
        while len(self._good) > ENTRIES_LIMIT:
            self._good.popitem(last=False)

    def _end_of_lock(self, key: Hashable, now: datetime) -> datetime | None:
        times = self._failed.get(key, [])
        end = times[-1] + LOCKED if len(times) >= FAILURES else None
        return end if end is not None and now < end else None
