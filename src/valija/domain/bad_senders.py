"""Senders that a mailbox may not send as, each left alone for a while. Pure, bounded."""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import datetime
from typing import Final, NamedTuple

ENTRIES_LIMIT: Final = 1000
OF_DEVICE: Final = 5  # senders of a device that are refused before any other one it names has to wait


class Sender(NamedTuple):
    """Whose names a message bears: in the envelope, and in From (``author``). A provider looks at both."""

    reverse_path: str
    author: str = ""


class BadSenders:
    """Senders that were refused, and until when no mail of theirs is tried; of too many the oldest is forgotten."""

    def __init__(self) -> None:
        self._until: OrderedDict[Sender, datetime] = OrderedDict()
        self._of_device: OrderedDict[str, deque[datetime]] = OrderedDict()

    def note(self, sender: Sender, until: datetime, device: str = "") -> None:
        """Leave a sender alone until then; ``device`` named it."""
        self._of_device.setdefault(device, deque(maxlen=OF_DEVICE)).append(until)
        if len(self._of_device) > ENTRIES_LIMIT:
            self._of_device.popitem(last=False)
        self._until[sender] = until
        self._until.move_to_end(sender)
        if len(self._until) > ENTRIES_LIMIT:
            self._until.popitem(last=False)

    def device_until(self, device: str, now: datetime) -> datetime | None:
        """Return until when no other sender of a device is tried; None if one may be."""
        untils = self._of_device.get(device, deque[datetime]())
        return untils[0] if len(untils) == OF_DEVICE and untils[0] > now else None

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
