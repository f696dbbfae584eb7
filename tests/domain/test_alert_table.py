"""Alerts: every state meets every event; who is told what, when, and how often."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest

from valija.domain.alert import (
    PATIENCE,
    TRANSITIONS,
    Alert,
    AlertKind,
    AlertState,
    Level,
    NotSeen,
    Raised,
    Seen,
    Solved,
    Solving,
    Told,
    WasTold,
    condition,
    ending,
    next_state,
    see,
    worst,
)
from valija.domain.alert_settings import AlertSettings, may_ask, parse_alert_settings, parse_syslog
from valija.domain.alert_telling import (
    GROUP,
    REMIND,
    RETRIES,
    SPACING,
    TELLINGS_PER_HOUR,
    Channel,
    Handing,
    HandingName,
    TellingWord,
    choose,
    handed,
    tell,
)
from valija.domain.errors import InvalidFields
from valija.domain.status_schedule import due

T0 = datetime(2026, 11, 26, 8, tzinfo=UTC)
LATER = T0 + timedelta(minutes=1)
LONG_AFTER = T0 + PATIENCE * 2
TOLD = Told(T0, T0, Level.WARNING)
DISK = condition(AlertKind.DISK_LOW, "here", Level.WARNING, free="500")
STATES = (Raised, Told, Solving, Solved)
EVENTS = (Seen, NotSeen, WasTold)


def test_every_state_and_event_has_a_row() -> None:
    assert set(TRANSITIONS) == set(product(STATES, EVENTS))


@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        (Raised(T0), Seen(LATER), Raised(T0)),
        (Raised(T0), NotSeen(LATER), Solving(T0, LATER, None)),
        (Raised(T0), WasTold(LATER, Level.INFO), Told(T0, LATER, Level.INFO)),
        (TOLD, Seen(LATER), TOLD),
        (TOLD, NotSeen(LATER), Solving(T0, LATER, TOLD)),
        (TOLD, WasTold(LATER, Level.CRITICAL), Told(T0, LATER, Level.CRITICAL)),
        (Solving(T0, T0, None), Seen(LATER), Raised(T0)),
        (Solving(T0, T0, TOLD), Seen(LATER), TOLD),
        (Solving(T0, T0, TOLD), NotSeen(LATER), Solving(T0, T0, TOLD)),
        (Solving(T0, T0, TOLD), NotSeen(LONG_AFTER), Solved(T0, LONG_AFTER, TOLD)),
        (Solving(T0, LONG_AFTER, TOLD), NotSeen(T0), Solved(T0, T0, TOLD)),  # the clock was set back
        (Solving(T0, T0, None), WasTold(LATER, Level.INFO), Solving(T0, T0, Told(T0, LATER, Level.INFO))),
        (Solved(T0, LATER, TOLD), Seen(LONG_AFTER), TOLD),
        (Solved(T0, LATER, None), Seen(LONG_AFTER), Raised(LONG_AFTER)),
        (Solved(T0, LATER, TOLD), NotSeen(LONG_AFTER), Solved(T0, LATER, TOLD)),
        (Solved(T0, LATER, TOLD), WasTold(LONG_AFTER, Level.INFO), Solved(T0, LATER, None)),
    ],
)
def test_an_event_leads_where_the_table_says(before: AlertState, event: object, after: AlertState) -> None:
    assert next_state(before, event) == after  # type: ignore[arg-type]


def test_what_has_not_changed_is_the_very_same() -> None:
    alert = see(None, DISK, T0)
    assert see(alert, DISK, LATER) is alert


def test_one_telling_for_what_comes_together_and_none_while_it_waits_for_others() -> None:
    alerts = [see(None, condition(AlertKind.LOCKOUT, f"user {n}", Level.WARNING), T0) for n in range(100)]
    assert choose(alerts, [], T0 + GROUP / 2) == []
    assert len(choose(alerts, [], T0 + GROUP)) == 100


def test_what_was_told_is_told_again_after_a_day_or_when_it_gets_worse() -> None:
    told = tell(see(None, DISK, T0), T0)
    assert choose([told], [], T0 + REMIND - timedelta(seconds=1)) == []
    assert choose([told], [], T0 + REMIND)[0][1].word is TellingWord.LASTS
    worse = see(told, condition(AlertKind.DISK_LOW, "here", Level.CRITICAL, free="100"), LATER)
    assert choose([worse], [], LATER)[0][1].word is TellingWord.WORSE
    assert choose([tell(worse, LATER)], [], LATER) == []


def test_solved_is_told_once_and_only_to_whom_was_told() -> None:
    never_told = Alert(DISK, Solved(T0, LATER, None))
    told = Alert(DISK, Solved(T0, LATER, TOLD))
    assert choose([never_told], [], LATER) == []
    assert [line.word for _alert, line in choose([told], [], LATER)] == [TellingWord.SOLVED]
    assert choose([tell(told, LATER)], [], LATER) == []


def test_what_comes_after_a_telling_waits_for_more_unless_it_is_critical() -> None:
    new = see(None, DISK, T0)
    critical = see(None, condition(AlertKind.TOKEN_INVALID, "smtp", Level.CRITICAL), T0)
    now = T0 + GROUP
    assert choose([new], [T0 - GROUP], now) == []
    assert len(choose([new, critical], [T0 - GROUP], now)) == 2
    assert choose([new], [T0 - GROUP], T0 + SPACING)


def test_what_passed_before_it_could_be_told_is_told_while_it_passes() -> None:
    assert choose([Alert(DISK, Solving(T0, LATER, None))], [], LATER)[0][1].word is TellingWord.RAISED


def test_no_more_tellings_an_hour_than_are_bearable() -> None:
    alert = see(None, DISK, T0)
    now = T0 + timedelta(minutes=50)
    at = [T0 + timedelta(minutes=n) for n in range(TELLINGS_PER_HOUR)]
    assert choose([alert], at, now) == []
    assert choose([alert], at, now + timedelta(minutes=11))


@pytest.mark.parametrize(
    ("days", "level"),
    [(31, None), (30, Level.INFO), (7, Level.WARNING), (1, Level.CRITICAL), (-3, Level.CRITICAL)],
)
def test_what_ends_is_told_30_7_and_1_days_before(days: int, level: Level | None) -> None:
    found = ending(AlertKind.CERTIFICATE_ENDING, "web.pem", T0 + timedelta(days=days), T0)
    assert (found.level if found else None) is level


def test_what_never_lives_long_is_not_told_of_all_the_time() -> None:
    week = timedelta(days=7)
    fresh = ending(AlertKind.TOKEN_ENDING, "smtp", T0 + week, T0, life=week)
    assert fresh is None
    assert ending(AlertKind.TOKEN_ENDING, "smtp", T0 + week, T0 + week / 2, life=week) is not None


def test_a_channel_is_tried_again_for_a_while_and_then_given_up() -> None:
    handing, now = Handing(Channel.WEBHOOK, HandingName.WAITING, T0), T0
    for seconds in RETRIES:
        handing = handed(handing, "HTTP 500", now)
        assert handing.state is HandingName.WAITING
        assert handing.next_at - now == timedelta(seconds=seconds)
        now = handing.next_at
    assert handed(handing, "HTTP 500", now).state is HandingName.GIVEN_UP
    assert handed(handing, None, now).state is HandingName.DONE


def test_the_lamp_has_the_worst_level_of_what_holds() -> None:
    critical = condition(AlertKind.TOKEN_INVALID, "smtp", Level.CRITICAL)
    alerts = [see(None, DISK, T0), Alert(critical, Solved(T0, T0, None))]
    assert worst(alerts) is Level.WARNING
    assert worst([]) is None


# --- status mails ---------------------------------------------------------------------------------------------------------


def scheduled(at: str, **lists: tuple[str, ...]) -> AlertSettings:
    return AlertSettings(status_at=at, status_since=datetime(2026, 1, 1, tzinfo=UTC), **lists)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "name", "at"),
    [
        # 2026-03-29: from 02:00 to 03:00 in Madrid; 02:30 does not come
        (datetime(2026, 3, 29, 0, 59, tzinfo=UTC), "daily 2026-03-28", datetime(2026, 3, 28, 1, 30, tzinfo=UTC)),
        (datetime(2026, 3, 29, 6, tzinfo=UTC), "daily 2026-03-29", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        # 2026-10-25: from 03:00 back to 02:00; 02:30 comes twice, and counts once
        (datetime(2026, 10, 25, 0, 31, tzinfo=UTC), "daily 2026-10-25", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (datetime(2026, 10, 25, 1, 31, tzinfo=UTC), "daily 2026-10-25", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_daily_status_is_due_once_a_day_where_clocks_change(now: datetime, name: str, at: datetime) -> None:
    (found,) = due(scheduled("02:30", daily_to=("ana@example.com",)), now, ZoneInfo("Europe/Madrid"))
    assert (found.name, found.at) == (name, at)


def test_weekly_and_monthly_ones_have_their_day_and_their_period() -> None:
    who = ("ana@example.com",)
    weekly, monthly = due(scheduled("08:00", weekly_to=who, monthly_to=who), T0 + timedelta(hours=1), UTC)
    assert (weekly.name, weekly.at - weekly.since) == ("weekly 2026-11-23", timedelta(days=7))
    assert (monthly.name, monthly.since) == ("monthly 2026-11-01", datetime(2026, 10, 1, 8, tzinfo=UTC))


def test_nothing_is_due_for_a_time_before_somebody_wanted_it() -> None:
    settings = AlertSettings(daily_to=("ana@example.com",), status_since=T0 + timedelta(minutes=5))
    assert due(settings, T0 + timedelta(hours=2), UTC) == []
    assert due(settings, T0 + timedelta(hours=25), UTC)


# --- settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("webhook_url", "file:///etc/passwd"),
        ("webhook_url", "ftp://example.com/"),
        ("webhook_url", "https://ana:secreta@example.com/"),
        ("webhook_url", "https://example.com/\r\nX: y"),
        ("webhook_secret", "short"),
        ("syslog", "udp://"),
        ("syslog", "http://example.com"),
        ("alert_to", "ana@example.com\r\nBcc: eva@example.com, no address"),
        ("alert_to", [""] * 51),
        ("daily_to", ["ana@example.com"] * 51),
        ("status_at", "24:00"),
        ("status_weekday", 7),
        ("secret_dates", "microsoft: 2027-02-30"),
        ("status_since", T0),
        ("mail_level", "loud"),
    ],
)
def test_what_does_not_fit_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidFields):
        parse_alert_settings(AlertSettings(), {field: value})


def test_nobody_may_ask_until_somebody_is_allowed() -> None:
    assert not may_ask(AlertSettings(), "ana@example.com")
    allowed = parse_alert_settings(AlertSettings(), {"request_senders": "@Example.com"})
    assert may_ask(allowed, "Ana@example.COM")
    assert not may_ask(allowed, "ana@notexample.com")


def test_a_syslog_target_says_its_transport() -> None:
    found = parse_syslog("tcp://[::1]:6514")
    assert found is not None
    assert (found.transport, found.host, found.port) == ("tcp", "::1", 6514)
