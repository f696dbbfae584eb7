"""A line of jobs in which large ones do not hold up small ones, nor wait for ever. Pure.

Of ``places`` that work at once, large jobs get all but one; with a single place, one large job comes after every
``SMALL_FIRST`` small ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

LARGE: Final = 1_048_576  # octets
SMALL_FIRST: Final = 4
T = TypeVar("T")


class FairLine(Generic[T]):
    """Jobs that wait."""

    def __init__(self) -> None:
        self._small: deque[T] = deque()
        self._large: deque[T] = deque()
        self._large_busy = 0
        self._since_large = 0

    def __len__(self) -> int:
        return len(self._small) + len(self._large)

    def put(self, job: T, size: int) -> None:
        """Add a job at the end."""
        (self._large if size > LARGE else self._small).append(job)

    def take(self, places: int) -> tuple[T, bool] | None:
        """Return the next job and whether it is large (then :meth:`done` is owed); None if none may begin now."""
        free = self._large_busy < max(places - 1, 1)
        if self._large and free and (not self._small or places > 1 or self._since_large >= SMALL_FIRST):
            self._large_busy += 1
            self._since_large = 0
            return self._large.popleft(), True
        if not self._small:
            return None
        self._since_large += 1
        return self._small.popleft(), False

    def take_out(self, wanted: Callable[[T], bool]) -> list[T]:
        """Take jobs from wherever they wait."""
        found = [job for job in (*self._small, *self._large) if wanted(job)]
        if found:
            self._small = deque(job for job in self._small if not wanted(job))
            self._large = deque(job for job in self._large if not wanted(job))
        return found

    def done(self) -> None:
        """A large job has ended."""
        self._large_busy -= 1

    def clear(self) -> list[T]:
        """Take all that waits."""
        jobs = [*self._small, *self._large]
        self._small.clear()
        self._large.clear()
        return jobs
