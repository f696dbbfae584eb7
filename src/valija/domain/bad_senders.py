"""Senders that a mailbox may not send as, each left alone for a while. Pure, bounded."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from typing import Final

ENTRIES_LIMIT: Final = 1000


class BadSenders:
    """Reverse-paths that were refused, and until when no mail of theirs is tried; of too many the oldest is forgotten."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, datetime] = OrderedDict()

    def note(self, sender: str, until: datetime) -> None:
        """Leave a sender alone until then."""
        self._until[sender] = until
        self._until.move_to_end(sender)
        if len(self._until) > ENTRIES_LIMIT:
            self._until.popitem(last=False)

    def until(self, sender: str, now: datetime) -> datetime | None:
        """Return until when a sender is left alone; None if it may be tried."""
        until = self._until.get(sender)
        if until is not None and until <= now:
            del self._until[sender]
            return None
        return until
