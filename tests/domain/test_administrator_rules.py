"""When sessions end, when wrong passwords lock, which passwords are good enough."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valija.domain.account import Presence
from valija.domain.administrator import (
    LOCK_SPAN,
    PANEL,
    TOO_COMMON,
    WEB,
    WRONG_LIMIT,
    Lockout,
    Session,
    attempts_left,
    count_wrong,
    normalized,
    password_problem,
    session_ended,
    settle_lockout,
    touch_due,
)
from valija.secret import Secret

NOW: Final = datetime(2031, 3, 1, 9, 0, tzinfo=UTC)
SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)


def session(face: str = WEB, *, age: timedelta = timedelta(), idle: timedelta = timedelta()) -> Session:
    """Return a session as old, and as long not used, at ``NOW``."""
    return Session("k", Presence.REMOTE, face, NOW - max(age, idle), NOW - idle, Secret("c"))


# --- sessions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("face", "minutes"), [(PANEL, 10), (WEB, 15), ("another", 10)])
def test_a_session_ends_when_it_was_not_used_for_its_faces_span(face: str, minutes: int) -> None:
    assert not session_ended(session(face, idle=minutes * MINUTE - SECOND), NOW)
    assert session_ended(session(face, idle=minutes * MINUTE), NOW)


@pytest.mark.parametrize("face", [PANEL, WEB])
def test_a_session_in_use_ends_after_twelve_hours(face: str) -> None:
    assert not session_ended(session(face, age=12 * HOUR - SECOND), NOW)
    assert session_ended(session(face, age=12 * HOUR), NOW)


def test_a_clock_corrected_by_seconds_ends_no_session() -> None:
    assert not session_ended(session(), NOW - 30 * SECOND)


def test_a_session_from_a_time_that_has_not_come_has_ended() -> None:
    assert session_ended(session(), NOW - HOUR)
    assert session_ended(replace(session(age=HOUR), last_seen_at=NOW + HOUR), NOW)


def test_a_use_is_noted_once_a_minute() -> None:
    assert not touch_due(session(idle=MINUTE - SECOND), NOW)
    assert touch_due(session(idle=MINUTE), NOW)


# --- wrong passwords ---------------------------------------------------------------------------------------------------


def test_the_third_wrong_password_locks_for_five_minutes() -> None:
    lockout, seen = Lockout(), []
    for _ in range(3):
        lockout = count_wrong(lockout, NOW)
        seen.append((attempts_left(lockout), lockout.locked_until))
    assert seen == [(2, None), (1, None), (0, NOW + 5 * MINUTE)]
    assert (WRONG_LIMIT, LOCK_SPAN) == (3, 5 * MINUTE)


def test_a_lock_holds_until_its_end_and_then_nothing_is_counted() -> None:
    lockout = Lockout(3, NOW + LOCK_SPAN)
    assert settle_lockout(lockout, NOW + LOCK_SPAN - SECOND) == lockout
    assert settle_lockout(lockout, NOW + LOCK_SPAN) == Lockout()


def test_a_count_without_a_lock_stays_however_long_it_takes() -> None:
    assert settle_lockout(Lockout(2), NOW + 1000 * HOUR) == Lockout(2)


@given(ahead=st.timedeltas(timedelta(), timedelta(days=4000)))
def test_a_lock_is_never_longer_than_its_span_also_when_the_clock_was_set_back(ahead: timedelta) -> None:
    until = settle_lockout(Lockout(3, NOW + ahead), NOW).locked_until
    assert until is None or until <= NOW + LOCK_SPAN


# --- passwords ---------------------------------------------------------------------------------------------------------


def problem(password: str) -> str:
    """Return what is wrong with a password, or nothing."""
    return str(password_problem(Secret(password)) or "")


@pytest.mark.parametrize(
    "password",
    [
        "tres tristes",
        "x7#Kq2m!",
        "48151623",
        "contraseña del taller",
        "ñandú-verde",
        "密码很长也可以的啊",
        "🔑🐟🪣🌋🧭🛶🪁🎺",
        "password of the scanner on the third floor",
        " l e a d i n g",
        "tab\tand\nline",
        "half a pair \ud83d",
        "ab" * 31 + "c" + "d" * 65,
    ],
)
def test_a_password_of_any_characters_is_good_enough(password: str) -> None:
    assert problem(password) == ""


@pytest.mark.parametrize("password", ["", " ", " " * 12, "\t\n \u00a0\u2003" * 3])
def test_nothing_but_spaces_is_refused(password: str) -> None:
    assert "only spaces" in problem(password)


@pytest.mark.parametrize("password", ["x7#Kq2m", "x7#Kq2m! " * 15, "abc" * 43, "x7#Kq2m!" * 200_000])
def test_shorter_than_8_and_longer_than_128_is_refused(password: str) -> None:
    assert problem(password) == "must have from 8 to 128 characters"


def test_the_limits_themselves_are_allowed() -> None:
    assert problem("x7#Kq2m!") == ""
    assert problem("x7#Kq2m!" * 16) == ""


def test_characters_are_counted_not_how_they_are_written() -> None:
    assert "from 8" in problem("n\u0303" * 4 + "abc"), "7 characters, of which 4 are written with a mark of their own"
    assert problem("n\u0303abcde" * 21) == "", "126 characters"


@pytest.mark.parametrize(
    "password",
    [
        "12345678",
        "password",
        "Password",
        "administrator",
        "Administrador1",
        "valija2031",
        "Valija!!",
        "contraseña",
        "contrasen\u0303a",
        "CONTRASEÑA123",
        "qwertyuiop",
        " password ",
        "aaaaaaaa",
        "00000000",
        "abababab",
        "admin1234",
        "p@ssw0rd",
    ],
)
def test_what_is_tried_first_is_refused(password: str) -> None:
    assert "tried first" in problem(password)


def test_the_list_is_in_the_form_that_is_compared() -> None:
    assert {normalized(word).casefold() for word in TOO_COMMON} == TOO_COMMON


@given(st.text(max_size=200))
def test_every_text_has_an_answer(password: str) -> None:
    verdict = problem(password)
    if not verdict:
        assert 8 <= len(normalized(password)) <= 128


def test_two_ways_to_write_a_letter_are_one_password() -> None:
    assert normalized("contrasen\u0303a") == normalized("contrase\u00f1a")
