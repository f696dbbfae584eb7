"""Messages that were taken whose clients never heard so: handed in again, they are the same message. Pure, bounded.

A device that hangs up right after its last octet gets no 250 and sends once more (RFC 5321 section 4.5.4.1 asks it to). Only
for these, and only for a while: who scans the same page twice wants it twice.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

REMEMBERED: Final = timedelta(minutes=30)
ENTRIES_LIMIT: Final = 1000


class Unheard:
    """Message numbers by what the client would send again: its device, envelope and octets, as a digest."""

    def __init__(self) -> None:
        self._taken: OrderedDict[bytes, tuple[int, datetime]] = OrderedDict()

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self._taken)

    def note(self, digest: bytes, number: int, since: datetime) -> None:
        """Remember a message that was first taken then: that it comes again and again makes nobody wait longer."""
        self._taken[digest] = number, since
        if len(self._taken) > ENTRIES_LIMIT:
            self._taken.popitem(last=False)

    def known(self, digest: bytes, now: datetime) -> tuple[int, datetime] | None:
        """Return the number of the message that this is again, and since when it is there, once; None for a new one."""
        found = self._taken.pop(digest, None)
        return found if found is not None and abs(now - found[1]) < REMEMBERED else None
