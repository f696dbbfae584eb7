"""Which document a printer stumbles over: it breaks over this one time after time, and takes another one in between."""

from __future__ import annotations

from typing import Final

TIMES: Final = 3  # after which the others go first


class Stumbles:
    """Counts, by the number of a job: after :data:`TIMES` it goes last; if another one is taken then, it is to blame."""

    def __init__(self) -> None:
        self._times: dict[int, int] = {}
        self._to_blame: set[int] = set()

    def goes_last(self, number: int) -> bool:
        """Tell whether others are to be tried before this one."""
        return self._times.get(number, 0) >= TIMES

    def stumbled(self, number: int) -> bool:
        """Count once more; tell whether it is this job's own fault."""
        self._times[number] = self._times.get(number, 0) + 1
        return number in self._to_blame

    def taken(self, number: int) -> None:
        """Note that the printer took a job: it works, so those that go last are to blame if it breaks over them again."""
        self.forget(number)
        self._to_blame |= {other for other in self._times if self.goes_last(other)}

    def forget(self, number: int) -> None:
        """Count no more for a job that is not in the line."""
        self._times.pop(number, None)
        self._to_blame.discard(number)
