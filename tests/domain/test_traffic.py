"""How much mail passed, in slots of ten minutes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from valija.domain.traffic import SLOT, TrafficSlot, plus, series, slot_of

NOW = datetime(2026, 11, 24, 12, 7, 30, tzinfo=UTC)
START = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_a_slot_begins_at_a_whole_ten_minutes() -> None:
    """In any zone."""
    assert slot_of(NOW) == START
    assert slot_of(START) == START
    assert slot_of(NOW.astimezone(tz=None)) == START


def test_what_comes_to_a_slot_is_added_and_how_many_wait_is_the_latest() -> None:
    """Also fewer than before."""
    assert plus(TrafficSlot(START, 1, 2, 3, 9), TrafficSlot(START, 1, 1, 1, 4)) == TrafficSlot(START, 2, 3, 4, 4)


def test_a_series_has_every_slot_with_the_present_one_last() -> None:
    """What is not known was quiet, with as many waiting as before, also before it begins."""
    known = [TrafficSlot(START - 9 * SLOT, waiting=7), TrafficSlot(START - SLOT, 5, 4, 1, 2)]
    found = series(known, NOW, timedelta(hours=1))
    assert [slot.at for slot in found] == [START - n * SLOT for n in range(5, -1, -1)]
    assert [slot.waiting for slot in found] == [7, 7, 7, 7, 2, 2]
    assert found[4] == known[1]
    assert series([], NOW, SLOT) == [TrafficSlot(START)]
