"""What a lane's workers have taken, and what of it is tried: until its MAIL FROM is sent, a message can be taken back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from valija.domain.queued_message import RecipientEntry
from valija.services.lane_line import InHand


class LaneWork:
    """Leases by their numbers. One that was taken back is not begun any more, wherever it is when that is asked for."""

    def __init__(self) -> None:
        self._since: dict[int, datetime] = {}  # leases that workers have, and since when they are in hand
        self._tried: dict[int, set[int]] = {}  # recipients that are tried, or were, by lease
        self._taken_back: set[int] = set()

    def __len__(self) -> int:
        return len(self._since)

    def add(self, taken: InHand) -> None:
        """A worker has it."""
        self._since[taken.leased.lease] = taken.since

    def end(self, lease: int) -> None:
        """Nobody has it any more."""
        self._since.pop(lease, None)
        self._tried.pop(lease, None)
        self._taken_back.discard(lease)

    def begin(self, lease: int, entries: Iterable[RecipientEntry]) -> bool:
        """Note that these recipients are tried now; False if they were taken back."""
        if lease in self._taken_back:
            return False
        self._tried.setdefault(lease, set()).update(entry.id for entry in entries)
        return True

    def take_back(self, wanted: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Take back recipients, each with its lease, as far as they are not tried yet; return those."""
        found = [(number, lease) for number, lease in wanted if number not in self._tried.get(lease, ())]
        self._taken_back.update(lease for _number, lease in found)
        return found

    def is_taken_back(self, lease: int) -> bool:
        """Tell whether it may not be begun any more, or no further."""
        return lease in self._taken_back

    def clear(self) -> None:
        """Nothing is in hand: the lane is lost."""
        self._taken_back.clear()

    def has_since_before(self, then: datetime) -> bool:
        """Tell whether something is tried that has been in hand since before then."""
        return any(since < then for since in self._since.values())
