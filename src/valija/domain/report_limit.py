"""How many delivery reports somebody gets in an hour: a device that is stuck must not bury people, nor fill the pace. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import datetime, timedelta
from typing import Final

AN_HOUR: Final = 60
HOUR: Final = timedelta(hours=1)
ADDRESSES_LIMIT: Final = 1000


class ReportLimit:
    """Counts by address, large and small letters alike; of too many addresses the oldest is forgotten."""

    def __init__(self) -> None:
        self._sent: OrderedDict[str, deque[datetime]] = OrderedDict()

    def take(self, address: str, now: datetime) -> bool:
        """Count one more, if it may be sent."""
        key = address.casefold()
        sent = self._sent.setdefault(key, deque(maxlen=AN_HOUR))
        self._sent.move_to_end(key)
        if len(self._sent) > ADDRESSES_LIMIT:
            self._sent.popitem(last=False)
        if (
            len(sent) == AN_HOUR and timedelta() <= now - sent[0] < HOUR
        ):  # a clock that was set back keeps nobody waiting
            return False
        sent.append(now)
        return True

    def give_back(self, address: str) -> None:
        """One that was counted was not sent after all."""
        if sent := self._sent.get(address.casefold()):
            sent.pop()
