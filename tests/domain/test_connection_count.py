"""How many connections a server takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from valija.domain.connection_count import STEP, ConnectionCount, opened, refused

NOW = datetime(2026, 11, 26, tzinfo=UTC)
THREE = ConnectionCount(3, NOW)


def test_a_refusal_leaves_as_many_as_are_open_and_after_a_while_one_more() -> None:
    """A server that has changed its mind is noticed."""
    assert refused(3, NOW) == THREE
    assert [THREE.allowed(NOW + STEP * n / 2) for n in range(4)] == [3, 3, 4, 4]


def test_what_is_taken_then_lets_the_next_one_follow_at_once() -> None:
    """And what was known stays known when fewer are open."""
    later = NOW + STEP
    assert opened(THREE, 4).allowed(later) == 5
    assert opened(THREE, 1).allowed(later) == 4


def test_a_clock_that_was_set_back_takes_nothing_away() -> None:
    """As many as were seen, and one more."""
    assert THREE.allowed(NOW - timedelta(days=9)) == 4


def test_a_refusal_with_none_open_is_no_matter_of_how_many() -> None:
    """The server is away, or does not want us at all."""
    assert refused(0, NOW) is None
