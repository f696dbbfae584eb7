"""Senders that a mailbox may not send as, each left alone for a while. Pure, bounded."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from typing import Final, NamedTuple

ENTRIES_LIMIT: Final = 1000


class Sender(NamedTuple):
    """Whose names a message bears: in the envelope, and in From (``author``). A provider looks at both."""

    reverse_path: str
    author: str = ""


class BadSenders:
    """Senders that were refused, and until when no mail of theirs is tried; of too many the oldest is forgotten."""

    def __init__(self) -> None:
        self._until: OrderedDict[Sender, datetime] = OrderedDict()

    def note(self, sender: Sender, until: datetime) -> None:
        """Leave a sender alone until then."""
        self._until[sender] = until
        self._until.move_to_end(sender)
        if len(self._until) > ENTRIES_LIMIT:
            self._until.popitem(last=False)

    def has(self, reverse_path: str) -> bool:
        """Tell whether there is one with this envelope."""
        return any(sender.reverse_path == reverse_path for sender in self._until)

    def until(self, sender: Sender, now: datetime) -> datetime | None:
        """Return until when a sender is left alone; None if it may be tried."""
        until = self._until.get(sender)
        if until is not None and until <= now:
            del self._until[sender]
            return None
        return until
