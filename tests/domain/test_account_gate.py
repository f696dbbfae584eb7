"""An account's gate: two locks that know nothing of each other, one time that does not count."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valija.domain.account_gate import (
    FIRST_PROBE,
    LONGEST_PROBE,
    Gate,
    account_works,
    block,
    hold,
    probe_now,
    release,
    token_works,
)
from valija.domain.errors import InvalidFields
from valija.domain.retry_schedule import RetrySchedule, check_schedule
from valija.domain.trouble import Trouble, WhoActs

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def _trouble(at: datetime, reason: str = "smtp_auth_disabled") -> Trouble:
    return Trouble(reason, WhoActs.ADMINISTRATOR, "535 5.7.139", at)


def _block(gate: Gate, at: datetime, *, token: bool = False, reason: str = "smtp_auth_disabled") -> Gate:
    return block(gate, _trouble(at, reason), at, opens_with_token=token, jitter=0.5)


def test_a_token_opens_what_its_absence_closed_and_nothing_else() -> None:
    """SMTP AUTH that is switched off is not mended by a token."""
    assert token_works(_block(Gate(), NOW, token=True), NOW).is_open
    off = _block(Gate(), NOW)
    assert token_works(off, NOW) is off
    assert account_works(off, NOW).is_open


def test_the_two_locks_know_nothing_of_each_other() -> None:
    """An operator's hold outlasts the account's recovery, and the other way round."""
    both = hold(_block(Gate(), NOW, token=True), NOW)
    held = token_works(both, NOW + HOUR)
    assert not held.is_open
    assert release(held, NOW + 2 * HOUR).is_open
    assert not release(both, NOW + HOUR).is_open
    assert release(both, NOW + 3 * HOUR).closed_at == NOW


def test_the_closed_time_does_not_count() -> None:
    """Five days run only while mail may leave: nothing expires for an account's fault."""
    schedule = RetrySchedule()
    gate = account_works(_block(Gate(), NOW + HOUR), NOW + HOUR + timedelta(days=30))
    end = NOW + timedelta(days=35)
    assert gate.stopped == timedelta(days=30)
    assert not schedule.is_over(accepted_at=NOW, stopped=gate.stopped_until(end), now=end - timedelta(seconds=1))
    assert schedule.is_over(accepted_at=NOW, stopped=gate.stopped_until(end), now=end)
    again = hold(gate, end)
    assert again.stopped_until(end + HOUR) == timedelta(days=30) + HOUR


def test_a_clock_that_was_set_back_takes_no_time_away() -> None:
    """The sum never shrinks."""
    assert account_works(_block(Gate(), NOW), NOW - HOUR).stopped == timedelta()


def test_probes_become_rarer_and_never_stop() -> None:
    """2, 4, 8, 16, 30, 30 minutes."""
    gate, waits = _block(Gate(), NOW), []
    assert gate.blocked is not None
    for _probe in range(6):
        assert gate.blocked is not None
        since = gate.blocked.trouble.at
        waits.append(gate.blocked.probe_at - since)
        assert not gate.may_probe(gate.blocked.probe_at - timedelta(seconds=1))
        assert gate.may_probe(gate.blocked.probe_at)
        gate = _block(gate, gate.blocked.probe_at)
    assert waits == [FIRST_PROBE, 2 * FIRST_PROBE, 4 * FIRST_PROBE, 8 * FIRST_PROBE, LONGEST_PROBE, LONGEST_PROBE]
    assert gate.blocked is not None
    assert gate.blocked.since == NOW


def test_the_same_news_from_many_workers_is_one_change() -> None:
    """Else three connections that are refused at once would make the probes three times rarer."""
    gate = _block(Gate(), NOW)
    assert _block(gate, NOW + timedelta(seconds=1)) is gate
    other = _block(gate, NOW + timedelta(seconds=1), reason="no_right_to_send")
    assert other.blocked is not None
    assert other.blocked.trouble.reason == "no_right_to_send"


def test_an_operator_can_have_it_tried_at_once_but_not_through_a_hold() -> None:
    """Whoever mended something does not want to wait for half an hour."""
    gate = probe_now(_block(Gate(), NOW), NOW)
    assert gate.may_probe(NOW)
    assert not hold(gate, NOW).may_probe(NOW)
    assert probe_now(Gate(), NOW) == Gate()


@given(
    st.lists(st.tuples(st.sampled_from(["block", "token", "works", "hold", "release", "probe"]), st.integers(0, 100)))
)
def test_open_means_no_lock_and_the_closed_time_is_the_sum(steps: list[tuple[str, int]]) -> None:
    """Whatever happens in whatever order; versions grow with each change."""
    gate, now, closed = Gate(), NOW, timedelta()
    for name, minutes in steps:
        later = now + timedelta(minutes=minutes)
        closed += timedelta() if gate.is_open else later - now
        now, before = later, gate
        changes: dict[str, Callable[[Gate, datetime], Gate]] = {
            "block": partial(_block, token=minutes % 2 == 0),
            "token": token_works,
            "works": account_works,
            "hold": hold,
            "release": release,
            "probe": probe_now,
        }
        gate = changes[name](gate, now)
        assert gate.is_open == (gate.blocked is None and gate.held_at is None)
        assert gate.stopped_until(now) == closed
        assert gate is before or gate.version == before.version + 1


def test_the_schedule_waits_longer_each_time_and_keeps_a_servers_wish() -> None:
    """One minute, then longer, an hour at the most; 20 % more or less."""
    schedule = RetrySchedule()
    waits = [schedule.delay(tries, jitter=0.5).total_seconds() for tries in range(1, 10)]
    assert waits == [60, 120, 300, 600, 900, 1800, 3600, 3600, 3600]
    assert schedule.delay(1, jitter=0).total_seconds() == 48
    assert 71 < schedule.delay(1, jitter=0.999).total_seconds() < 72
    assert schedule.delay(1, jitter=0, retry_after=6 * HOUR) == 6 * HOUR
    assert schedule.delay(9, jitter=0.5, retry_after=timedelta(seconds=1)).total_seconds() == 3600
    assert schedule.delay(1, jitter=0, retry_after=timedelta(days=9)) == timedelta(days=1)


@pytest.mark.parametrize(
    ("schedule", "fields"),
    [
        (RetrySchedule(delays=()), ["delays"]),
        (RetrySchedule(delays=(1,)), ["delays"]),
        (RetrySchedule(delays=(600, 60)), ["delays"]),
        (RetrySchedule(delays=(60,) * 21), ["delays"]),
        (RetrySchedule(lifetime=timedelta(days=6)), ["lifetime"]),
        (RetrySchedule(delays=(99999,), lifetime=timedelta(0)), ["delays", "lifetime"]),
    ],
)
def test_a_schedule_out_of_its_limits_is_refused(schedule: RetrySchedule, fields: list[str]) -> None:
    """With every field that is wrong."""
    with pytest.raises(InvalidFields) as caught:
        check_schedule(schedule)
    assert [problem.field for problem in caught.value.problems] == fields
    assert check_schedule(RetrySchedule()) == RetrySchedule()
