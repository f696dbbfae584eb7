"""Which document a printer stumbles over: told by what it does with the others."""

from __future__ import annotations

from valija.domain.stumbles import TIMES, Stumbles


def test_a_printer_that_breaks_over_all_of_them_is_to_blame_itself() -> None:
    """However often."""
    stumbles = Stumbles()
    assert not any(stumbles.stumbled(number) for _try in range(5 * TIMES) for number in (1, 2))
    assert stumbles.goes_last(1)
    assert stumbles.goes_last(2)


def test_a_document_is_to_blame_if_another_one_is_taken_after_it_stumbled_often() -> None:
    """Not one that stumbled once or twice, and not the one that was taken."""
    stumbles = Stumbles()
    for _try in range(TIMES):
        stumbles.stumbled(1)
    stumbles.stumbled(2)
    stumbles.taken(3)
    assert stumbles.stumbled(1)
    assert not stumbles.stumbled(2)


def test_what_was_taken_or_left_the_line_is_not_counted_any_more() -> None:
    """It begins anew."""
    stumbles = Stumbles()
    for _try in range(TIMES):
        stumbles.stumbled(1)
    stumbles.taken(1)
    assert not stumbles.goes_last(1)
    stumbles.taken(2)
    assert not stumbles.stumbled(1)
