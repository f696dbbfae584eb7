"""When a message is tried again, and for how long (RFC 5321 section 4.5.4.1). Pure.

``jitter`` (0 ≤ jitter < 1, fresh for each call) spreads tries, so that a thousand messages do not come back at one moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from valija.domain.errors import FieldProblem, InvalidFields
from valija.domain.text import N_, message

DELAYS_RANGE_S: Final = (10, 4 * 3600)
DELAYS_LIMIT: Final = 20
LIFETIME_RANGE: Final = (timedelta(minutes=5), timedelta(days=5))
SPREAD: Final = 0.2
LONGEST_RETRY_AFTER: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """``delays`` (s) after the first, second, ... failed try, the last one from then on; it expires after ``lifetime``."""

    delays: tuple[int, ...] = (60, 120, 300, 600, 900, 1800, 3600)
    lifetime: timedelta = timedelta(days=5)

    def delay(self, tries: int, *, jitter: float, retry_after: timedelta | None = None) -> timedelta:
        """Return how long to wait after the ``tries``-th failure (1 is the first), 20 % more or less.

        ``retry_after`` is what the server's reply is known to need (a quota's hours): never sooner than that.
        """
        base = self.delays[min(max(tries, 1), len(self.delays)) - 1]
        wait = timedelta(seconds=base * (1 - SPREAD + 2 * SPREAD * jitter))
        if retry_after is None:
            return wait
        return max(wait, min(retry_after, LONGEST_RETRY_AFTER) * (1 + SPREAD * jitter))

    @property
    def longest(self) -> timedelta:
        """Return how long nothing waits longer than after any failure."""
        return timedelta(seconds=self.delays[-1] * (1 + SPREAD))

    def is_over(self, *, accepted_at: datetime, stopped: timedelta, now: datetime) -> bool:
        """Tell whether a message has waited long enough. The time in which its account was ``stopped`` does not count."""
        return now - accepted_at - stopped >= self.lifetime


def check_schedule(schedule: RetrySchedule) -> RetrySchedule:
    """Return ``schedule``. Raises :class:`InvalidFields` if it tries too often, too rarely or without end."""
    problems = []
    low, high = DELAYS_RANGE_S
    in_range = all(low <= delay <= high for delay in schedule.delays)
    grows = all(before <= after for before, after in pairwise(schedule.delays))
    if not 1 <= len(schedule.delays) <= DELAYS_LIMIT or not in_range or not grows:
        text = N_("must be 1 to {limit} growing numbers of seconds, each from {low} to {high}")
        problems.append(FieldProblem("delays", message(text, limit=DELAYS_LIMIT, low=low, high=high)))
    if not LIFETIME_RANGE[0] <= schedule.lifetime <= LIFETIME_RANGE[1]:
        problems.append(FieldProblem("lifetime", message(N_("must be from five minutes to five days"))))
    if problems:
        raise InvalidFields(tuple(problems))
    return schedule
