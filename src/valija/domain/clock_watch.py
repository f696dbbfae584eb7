"""Whether moments that were written down before can be compared with now: not soon after the wall clock was set forward. Pure.

A lease of two hours seems to have ended when the clock is set forward by a day, while its worker is in the middle of a message.
So for as long as a lease lasts after such a jump, no lease is taken for ended.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

TOLERANCE: Final = timedelta(minutes=1)  # what a time server corrects now and then


class ClockWatch:
    """Looks at both clocks now and then. ``distrust`` is how long nothing is believed after a jump."""

    def __init__(self, now: datetime, monotonic: float, distrust: timedelta) -> None:
        self._last = now, monotonic
        self._distrust_s = distrust.total_seconds()
        self._trusted_from = float("-inf")

    def trusts(self, now: datetime, monotonic: float) -> bool:
        """Tell whether what seems to have ended has ended."""
        then, before = self._last
        self._last = now, monotonic
        if now - then > timedelta(seconds=monotonic - before) + TOLERANCE:
            self._trusted_from = monotonic + self._distrust_s
        return monotonic >= self._trusted_from
