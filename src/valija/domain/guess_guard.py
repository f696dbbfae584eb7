"""Who guesses passwords has to wait: by address, and by login from addresses where it never worked. Pure, bounded.

Theory of operation
-------------------
1. Each refused answer comes later than the one before, up to ``LONGEST_DELAY_S``. Nobody else waits for it.
2. After ``FAILURES`` within ``WINDOW`` nothing is looked at for a while (``LOCKED``), neither from that address nor for that
   login.
3. A device that was right goes on working from the address where it was right before, however much somebody else guesses at its
   login; and an address of many devices (behind a router) is locked only after more failures than any device makes by itself.
4. An IPv6 network of 64 bits is one address to who guesses: who has one has them all. A device is trusted at its very own, for
   an office's devices are all in one such network.
5. What is kept is bounded; the longest unused goes first.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

FAILURES: Final = 10  # in WINDOW, then LOCKED
WINDOW: Final = timedelta(minutes=10)
LOCKED: Final = timedelta(minutes=5)
ENTRIES_LIMIT: Final = 10_000
FIRST_DELAY_S: Final = 0.25
LONGEST_DELAY_S: Final = 4.0


@lru_cache(4096)
def place_of(address: str) -> str:
    """Return what counts as one address."""
    try:
        here = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((here, 64), strict=False)) if isinstance(here, IPv6Address) else address


class GuessGuard:
    """Counts what failed."""

    def __init__(self) -> None:
        self._failed: OrderedDict[Hashable, list[datetime]] = OrderedDict()
        self._good: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._homes: Counter[str] = Counter()  # addresses of those

    def locked_until(self, address: str, login: str, now: datetime) -> datetime | None:
        """Return until when nothing is looked at; None for now."""
        if (address, login) in self._good:
            return None
        ends = [end for key in _keys(address, login) if (end := self._end_of_lock(key, now)) is not None]
        return max(ends, default=None)

    def failed(self, address: str, login: str, now: datetime) -> bool:
        """Note a wrong password; tell whether it was the one that locks."""
        self._distrust(address, login)
        locks = False
        for key in _keys(address, login):
            times = [at for at in self._failed.pop(key, []) if now - WINDOW < at <= now]
            self._failed[key] = [*times, now][-FAILURES:]
            locks |= len(times) == FAILURES - 1
        while len(self._failed) > ENTRIES_LIMIT:
            self._failed.popitem(last=False)
        return locks

    def delay_s(self, address: str, login: str) -> float:
        """Return for how many seconds the answer to a wrong password is kept back, after it was noted."""
        count = max(len(self._failed.get(key, ())) for key in _keys(address, login))
        return float(min(FIRST_DELAY_S * 2 ** max(count - 1, 0), LONGEST_DELAY_S))

    def worked(self, address: str, login: str) -> None:
        """Note a right password."""
        self._failed.pop(place_of(address), None)
        self.trust(address, login)

    def forgive(self, login: str) -> None:
        """Forget the wrong passwords of a login: it has another one now."""
        self._failed.pop((login,), None)

    def is_trusted(self, address: str) -> bool:
        """Tell whether any password was right at an address, and none of the same login wrong since."""
        return address in self._homes

    def trust(self, address: str, login: str) -> None:
        """Note that a password was right there before: a device goes on, also after a restart."""
        self._distrust(address, login)
        self._good[address, login] = None
        self._homes[address] += 1
        while len(self._good) > ENTRIES_LIMIT:
            self._distrust(*next(iter(self._good)))

    def _distrust(self, address: str, login: str) -> None:
        if (address, login) in self._good:
            del self._good[address, login]
            self._homes[address] -= 1
            if not self._homes[address]:
                del self._homes[address]

    def _end_of_lock(self, key: Hashable, now: datetime) -> datetime | None:
        times = self._failed.get(key, [])
        end = times[-1] + LOCKED if len(times) >= FAILURES else None
        # a lock that seems longer than it can be: the clock was set back meanwhile
        return end if end is not None and timedelta() < end - now <= LOCKED else None


def _keys(address: str, login: str) -> tuple[Hashable, Hashable]:
    """Return by what failures are counted."""
    return place_of(address), (login,)
