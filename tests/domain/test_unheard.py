"""Messages whose clients never heard that they were taken: once more is the same, later or heard it is a new one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from valija.domain.unheard import ENTRIES_LIMIT, REMEMBERED, Unheard

NOW = datetime(2026, 11, 26, 9, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_what_was_not_heard_of_is_known_once_and_for_a_while() -> None:
    unheard = Unheard()
    assert unheard.known(b"a", NOW) is None
    unheard.note(b"a", 7, NOW)
    assert unheard.known(b"b", NOW) is None
    assert unheard.known(b"a", NOW + SECOND) == (7, NOW)
    assert unheard.known(b"a", NOW + SECOND) is None, "who heard of it scans the same page again"
    unheard.note(b"a", 7, NOW)
    assert unheard.known(b"a", NOW + REMEMBERED) is None


def test_who_never_hears_does_not_hand_in_in_vain_for_ever() -> None:
    """However often it comes, it is the first one's time that counts."""
    unheard, since, now = Unheard(), NOW, NOW
    unheard.note(b"a", 7, since)
    while (found := unheard.known(b"a", now)) is not None:
        unheard.note(b"a", *found)
        now += REMEMBERED / 10
    assert now - NOW == REMEMBERED


def test_the_memory_is_bounded_and_the_earliest_go() -> None:
    unheard = Unheard()
    for number in range(ENTRIES_LIMIT + 1):
        unheard.note(b"%d" % number, number, NOW)
    assert unheard.known(b"0", NOW) is None
    assert unheard.known(b"1", NOW) == (1, NOW)
