"""The pace of an account, judged by the provider's own ways of counting."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from valija.domain.pace import (
    DAY,
    MINUTE,
    Pace,
    PaceLimits,
    begin,
    connections_allowed,
    end,
    slow_down,
    wait_for,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
EXCHANGE = PaceLimits(connections=3, messages_per_minute=30, recipients_per_day=10_000)
SECOND = timedelta(seconds=1)


def _deliver(count: int, limits: PaceLimits, lasts: timedelta, workers: int) -> list[datetime]:
    """Play workers that send ``count`` messages; return when the provider counted each: at the very end of it."""
    pace, now, under_way, counted = Pace(), NOW, deque[datetime](), list[datetime]()
    while count or under_way:
        wait = wait_for(pace, limits, now, 1) if count and len(under_way) < workers else None
        if wait is not None and wait <= timedelta():
            pace, count = begin(pace, limits, now, 1), count - 1
            under_way.append(now + lasts)
            continue
        moments = ([now + wait] if wait is not None else []) + ([under_way[0]] if under_way else [])
        now = min(moments)
        while under_way and under_way[0] <= now:
            counted.append(under_way.popleft())
            pace = end(pace, limits, now, counted=True)
    return counted


def _most_in_a_minute(counted: list[datetime]) -> int:
    return max(sum(1 for other in counted if timedelta() <= other - at < MINUTE) for at in counted)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 4000), st.integers(1, 5), st.integers(1, 40))
def test_no_minute_has_more_than_the_limit(milliseconds: int, workers: int, limit: int) -> None:
    """In any sliding minute, however long each message takes and however many workers there are."""
    limits = PaceLimits(messages_per_minute=limit)
    counted = _deliver(3 * limit, limits, timedelta(milliseconds=milliseconds), workers)
    assert len(counted) == 3 * limit
    assert _most_in_a_minute(counted) <= limit


def test_a_long_queue_leaves_at_nearly_the_limits_pace() -> None:
    """300 messages at 30 a minute: nine full windows after the first burst."""
    counted = _deliver(300, EXCHANGE, SECOND / 5, 2)
    took = counted[-1] - counted[0]
    assert took <= timedelta(minutes=10) / 0.95
    assert counted[29] - NOW < 4 * SECOND, "the first burst leaves at once"


def test_the_day_has_its_limit_too() -> None:
    """10,000 recipients: the next one waits until the earliest of them are a day old."""
    pace, limits = Pace(), PaceLimits(recipients_per_day=10_000)
    for _message in range(20):
        assert wait_for(pace, limits, NOW, 500) == timedelta()
        pace = end(begin(pace, limits, NOW, 500), limits, NOW, counted=True)
    wait = wait_for(pace, limits, NOW, 1)
    assert wait is not None
    assert DAY < wait < DAY * 1.05
    assert wait_for(pace, limits, NOW + wait, 500) == timedelta()


def test_what_is_kept_does_not_grow_with_what_was_sent() -> None:
    """Without a limit nothing is kept; with one, never more than it, and a day's slices."""
    free, pace = PaceLimits(), Pace()
    for number in range(1000):
        now = NOW + number * SECOND / 100
        pace = end(begin(pace, free, now, 1), free, now, counted=True)
    assert pace == Pace()
    for number in range(3000):
        now = NOW + number * MINUTE
        pace = end(begin(pace, EXCHANGE, now, 1), EXCHANGE, now, counted=True)
    assert len(pace.ended) <= 30
    assert len(pace.day) < 105


def test_a_message_with_more_recipients_than_a_day_allows_is_not_kept_for_ever() -> None:
    """The provider will say what it thinks of it."""
    limits = PaceLimits(recipients_per_day=10)
    assert wait_for(Pace(), limits, NOW, 50) == timedelta()
    assert wait_for(begin(Pace(), limits, NOW, 50), limits, NOW + 2 * DAY, 50) == timedelta()


def test_what_the_provider_says_counts_more() -> None:
    """And an earlier wish does not shorten a later one."""
    pace = slow_down(slow_down(Pace(), NOW + 5 * MINUTE), NOW + MINUTE)
    assert wait_for(pace, PaceLimits(), NOW, 1) == 5 * MINUTE
    assert wait_for(pace, PaceLimits(), NOW + 6 * MINUTE, 1) == timedelta()


def test_a_try_that_the_provider_never_saw_frees_its_place() -> None:
    """No connection, nothing counted."""
    limits = PaceLimits(messages_per_minute=1)
    pace = begin(Pace(), limits, NOW, 1)
    assert wait_for(pace, limits, NOW, 1) is None
    assert wait_for(end(pace, limits, NOW, counted=False), limits, NOW, 1) == timedelta()
    assert wait_for(end(pace, limits, NOW, counted=True), limits, NOW, 1) == MINUTE * 1.02


def test_a_clock_that_was_set_back_stops_nobody() -> None:
    """Places filled in the future are free."""
    limits = PaceLimits(messages_per_minute=1)
    pace = end(begin(Pace(), limits, NOW, 1), limits, NOW, counted=True)
    assert wait_for(pace, limits, NOW - timedelta(hours=5), 1) == timedelta()


def test_one_connection_is_left_for_others() -> None:
    """Of Exchange's three, two; never none; no limit known: as many as wanted."""
    assert connections_allowed(EXCHANGE, 20) == 2
    assert connections_allowed(PaceLimits(connections=1), 20) == 1
    assert connections_allowed(PaceLimits(), 20) == 20
