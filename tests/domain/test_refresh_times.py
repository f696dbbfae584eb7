"""When tokens are refreshed: with injected time, ninety days are an ordinary test."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valija.domain.account import GrantKind
from valija.domain.refresh_policy import (
    LONGEST_RETRY,
    LONGEST_RETRY_AFTER,
    due_at,
    idle_limit_at,
    is_due,
    is_usable,
    refresh_due_at,
    retry_delay,
)
from valija.domain.token import Invalid, InvalidCause, NotRetrieved, Retrieved, TokenSet
from valija.domain.trouble import Trouble, WhoActs
from valija.secret import Secret

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
JITTER = st.floats(0, 1, exclude_max=True)


def _tokens(life: timedelta, *, refresh: bool = True, grant: GrantKind = GrantKind.DEVICE) -> TokenSet:
    return TokenSet("g", grant, Secret("a"), NOW + life, Secret("r") if refresh else None, (), NOW, NOW)


@given(JITTER, st.integers(30, 31 * 86400))
def test_a_refresh_is_due_between_70_and_80_percent_or_sooner(jitter: float, life_s: int) -> None:
    """Never after the end, never at once; long lives are cut to a week, and five minutes are kept before the end."""
    life = timedelta(seconds=life_s)
    after = refresh_due_at(_tokens(life), jitter=jitter) - NOW
    assert timedelta(0) < after <= life * 0.8
    assert after <= timedelta(days=7)
    if life <= timedelta(days=8):
        assert after >= min(life * 0.7 - timedelta(seconds=1), timedelta(days=6))
    if life > timedelta(minutes=25):
        assert life - after >= timedelta(minutes=5)


@given(JITTER)
def test_idle_accounts_are_refreshed_weekly_so_no_idle_limit_comes_near(jitter: float) -> None:
    """Ninety days (Microsoft), six months (Google): a token that nobody uses is refreshed a dozen times before."""
    now, tokens, refreshes = NOW, _tokens(timedelta(days=30)), 0
    while now < NOW + timedelta(days=183):
        now = refresh_due_at(tokens, jitter=jitter)
        limit = idle_limit_at(tokens, 90)
        assert limit is not None
        assert now < limit - timedelta(days=80)
        tokens = replace(tokens, refreshed_at=now, expires_at=now + timedelta(days=30))
        refreshes += 1
    assert refreshes >= 26


def test_a_laptop_that_slept_for_days_refreshes_at_once() -> None:
    """Due is a date, not a count-down."""
    tokens = _tokens(timedelta(hours=1))
    assert not is_due(tokens, now=NOW + timedelta(minutes=30), jitter=0.5)
    assert is_due(tokens, now=NOW + timedelta(days=3), jitter=0.5)
    assert not is_usable(tokens, now=NOW + timedelta(days=3))


def test_a_clock_that_jumps_back_makes_a_token_due_not_eternal() -> None:
    """A clock set back a year would otherwise keep an expired token for a year."""
    tokens = _tokens(timedelta(hours=1))
    year_ago = NOW - timedelta(days=365)
    assert is_due(tokens, now=year_ago, jitter=0.5)
    assert not is_usable(tokens, now=year_ago)
    assert not is_due(tokens, now=NOW - timedelta(minutes=1), jitter=0.5), "small corrections are ordinary"


def test_a_clock_that_jumps_forward_makes_a_token_due() -> None:
    """It is refreshed; the answer has the right date again."""
    assert is_due(_tokens(timedelta(hours=1)), now=NOW + timedelta(days=3650), jitter=0.0)


@given(st.integers(1, 10_000), JITTER, st.booleans())
def test_back_off_doubles_to_a_bound_and_is_spread(failures: int, jitter: float, person: bool) -> None:
    """Between half and the whole of it; at most a quarter of an hour, or half an hour where a person must act."""
    delay = retry_delay(failures, retry_after=None, person_must_act=person, jitter=jitter)
    assert 2.5 <= delay <= (1800 if person else LONGEST_RETRY)


@given(st.floats(0, 10**9), JITTER)
def test_retry_after_is_kept_up_to_six_hours(retry_after: float, jitter: float) -> None:
    """At least as long as the provider said; a nonsense value does not silence a machine for ever."""
    delay = retry_delay(1, retry_after=retry_after, person_must_act=False, jitter=jitter)
    assert delay >= min(retry_after, LONGEST_RETRY_AFTER)
    assert delay <= LONGEST_RETRY_AFTER * 1.1


def test_what_is_never_due() -> None:
    """No token, or one that nothing can renew any more."""
    trouble = Trouble("refresh_token_unusable", WhoActs.USER, "", NOW)
    assert due_at(NotRetrieved(), now=NOW, jitter=0.5) is None
    assert due_at(Invalid(_tokens(timedelta(1)), trouble, NOW, InvalidCause.GRANT_ENDED), now=NOW, jitter=0.5) is None


def test_an_ended_grant_is_looked_at_again_every_six_hours() -> None:
    """Administrators mend things."""
    trouble = Trouble("conditional_access", WhoActs.ADMINISTRATOR, "", NOW)
    due = due_at(Invalid(_tokens(timedelta(1)), trouble, NOW, InvalidCause.GRANT_ENDED), now=NOW, jitter=0.0)
    assert due == NOW + timedelta(hours=6)


def test_a_token_without_refresh_token_is_looked_at_when_it_ends() -> None:
    """Then it is Invalid: expired, and nothing to renew it with."""
    tokens = _tokens(timedelta(hours=1), refresh=False)
    assert due_at(Retrieved(tokens), now=NOW, jitter=0.5) == tokens.expires_at
    robot = _tokens(timedelta(hours=1), refresh=False, grant=GrantKind.CLIENT_CREDENTIALS)
    due = due_at(Retrieved(robot), now=NOW, jitter=0.5)
    assert due is not None
    assert due < robot.expires_at, "grants without a person ask anew in time"


@pytest.mark.parametrize(("seconds", "usable"), [(0, True), (3500, True), (3545, False), (3600, False), (9999, False)])
def test_a_log_in_needs_a_minute_of_life(seconds: int, usable: bool) -> None:
    """A token that ends during the log-in is of no use."""
    assert is_usable(_tokens(timedelta(hours=1)), now=NOW + timedelta(seconds=seconds)) is usable


def test_the_idle_limit_is_the_earlier_of_what_is_known() -> None:
    """The provider's own date, or the profile's days; none without a refresh token."""
    tokens = _tokens(timedelta(hours=1))
    assert idle_limit_at(tokens, 90) == NOW + timedelta(days=90)
    told = replace(tokens, refresh_token_expires_at=NOW + timedelta(days=7))
    assert idle_limit_at(told, 90) == NOW + timedelta(days=7)
    assert idle_limit_at(_tokens(timedelta(hours=1), refresh=False), 90) is None
