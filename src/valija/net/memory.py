"""What is known of servers for a while, bounded."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
ENTRIES_LIMIT: Final = 256


class Memory(Generic[K, V]):
    """Keeps values for ``seconds``; when it is full, it begins anew."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: dict[K, tuple[float, V]] = {}

    def recall(self, key: K) -> V | None:
        """Return what is kept; None if nothing is, or nothing fresh."""
        kept = self._kept.get(key)
        if kept is None or time.monotonic() - kept[0] > self._seconds:
            return None
        return kept[1]

    def keep(self, key: K, value: V) -> None:
        """Keep a value from now on."""
        if len(self._kept) >= ENTRIES_LIMIT and key not in self._kept:
            self._kept.clear()
        self._kept[key] = (time.monotonic(), value)

    def forget(self, key: K) -> None:
        """Keep it no longer."""
        self._kept.pop(key, None)
