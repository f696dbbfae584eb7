"""How fast an account may send: messages a minute, recipients a day, connections. Pure.

Theory of operation
-------------------
The limits are the provider's, and counted there when it takes a message, not when this side begins. So a message fills its
place from the moment it is begun (``begin``) until a window after its end (``end``): whatever the provider counts by, a fixed
minute, a sliding one or a bucket, it never sees more than the limit. A place is freed ``MARGIN`` later than needed, for clocks
that do not run alike; a burst is sent at once, and a long queue leaves at 98 % of the limit's pace.

What the provider says against it (``slow_down``) counts more than what is computed: until then nothing is begun.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

MINUTE: Final = timedelta(minutes=1)
DAY: Final = timedelta(days=1)
MARGIN: Final = 1.02
SLICE: Final = timedelta(minutes=15)  # of the day; recipients are counted by slices
MINUTE_WINDOW: Final = MINUTE * MARGIN
DAY_WINDOW: Final = DAY * MARGIN + SLICE
LONGEST_SLOW_DOWN: Final = timedelta(hours=2)  # what seems longer: the clock was set back meanwhile
CONNECTIONS_LEFT: Final = 1  # of a mailbox's connections for others (a person's program)


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """What the provider allows an account; None for no limit that is known."""

    connections: int | None = None
    messages_per_minute: int | None = None
    recipients_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """What an account has sent. ``ended``: when messages of the last window ended, earliest first; ``begun``: under way.

    ``day`` counts recipients by slice, as (start of the slice, how many), earliest first, those under way included.
    """

    ended: tuple[datetime, ...] = ()
    begun: int = 0
    day: tuple[tuple[datetime, int], ...] = ()
    not_before: datetime | None = None


def resume(ended: Iterable[datetime], day: Iterable[tuple[datetime, int]]) -> Pace:
    """Return the pace of an account that sends again, from what is known of the last minute and day (:func:`slice_of`)."""
    return Pace(ended=tuple(sorted(ended)), day=tuple(sorted(day)))


def slice_of(moment: datetime) -> datetime:
    """Return when the slice of the day began in which ``moment`` is."""
    return moment - (moment - datetime.min.replace(tzinfo=moment.tzinfo)) % SLICE


def wait_for(pace: Pace, limits: PaceLimits, now: datetime, recipients: int) -> timedelta | None:
    """Return how long to wait before a message to so many recipients may begin; None: until one that is under way ends."""
    slow = timedelta() if pace.not_before is None else pace.not_before - now
    waits = [timedelta(), slow if slow <= LONGEST_SLOW_DOWN else timedelta()]
    if limits.messages_per_minute is not None:
        free = limits.messages_per_minute - pace.begun - 1  # places for those that ended
        if free < 0:
            return None
        filled = _recent(pace.ended, now)
        if len(filled) > free:
            waits.append(filled[len(filled) - free - 1] + MINUTE_WINDOW - now)
    if limits.recipients_per_day is not None:
        waits.append(_wait_for_day(pace, limits.recipients_per_day, now, recipients))
    return max(waits)


def begin(pace: Pace, limits: PaceLimits, now: datetime, recipients: int) -> Pace:
    """Return the pace after a message was begun."""
    if limits.recipients_per_day is None:
        return replace(pace, begun=pace.begun + 1)
    start = slice_of(now)
    if pace.day and pace.day[-1][0] == start:
        day = (*pace.day[:-1], (start, pace.day[-1][1] + recipients))
    else:
        day = (*((at, count) for at, count in pace.day if now - at < DAY_WINDOW), (start, recipients))
    return replace(pace, begun=pace.begun + 1, day=day)


def end(pace: Pace, limits: PaceLimits, now: datetime, *, counted: bool) -> Pace:
    """Return the pace after a message that was begun has ended; ``counted``: the provider saw it, taken or not."""
    begun, places = max(pace.begun - 1, 0), limits.messages_per_minute
    if places is None or not counted:
        return replace(pace, begun=begun)
    return replace(pace, begun=begun, ended=(*_recent(pace.ended, now), now)[-places:])  # older ones fill no place


def slow_down(pace: Pace, until: datetime) -> Pace:
    """Return the pace after the provider said that it is too fast."""
    return pace if pace.not_before is not None and pace.not_before >= until else replace(pace, not_before=until)


def connections_allowed(limits: PaceLimits, most: int) -> int:
    """Return how many connections to keep at the most: one less than the provider allows, at least one."""
    return most if limits.connections is None else max(min(most, limits.connections - CONNECTIONS_LEFT), 1)


def _recent(ended: Iterable[datetime], now: datetime) -> tuple[datetime, ...]:
    # a moment after now: the clock was set back; such a place would be filled for too long
    return tuple(at for at in ended if now - MINUTE_WINDOW < at <= now)


def _wait_for_day(pace: Pace, limit: int, now: datetime, recipients: int) -> timedelta:
    recent = [
        (at, count) for at, count in pace.day if -SLICE < now - at < DAY_WINDOW
    ]  # the clock may have been set back
    over = sum(count for _at, count in recent) + min(recipients, limit) - limit
    for at, count in recent:
        if over <= 0:
            break
        over -= count
        if over <= 0:
            return at + SLICE + DAY * MARGIN - now
    return timedelta()
