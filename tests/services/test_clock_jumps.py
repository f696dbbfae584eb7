"""The wall clock jumps, forward and back: mail is neither lost nor sent twice nor kept waiting; guards do not lock for days."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from dispatch_bench import ACCOUNT, Office, all_delivered
from fakes import FakeClock

from valija.domain.account_gate import FIRST_PROBE, LONGEST_PROBE
from valija.domain.errors import TryLater
from valija.domain.guess_guard import GuessGuard
from valija.domain.pace import PaceLimits
from valija.domain.queue import Deferred, Delivered, Failed, Queued
from valija.domain.text import message
from valija.domain.trouble import Trouble, WhoActs
from valija.services.login import LoginFailed

DAY = timedelta(days=1)
YEAR = 365 * DAY
OK = "250 2.0.0 OK"


def set_clock(clock: FakeClock, by: timedelta) -> None:
    """Do what an operator does, or a time server when the network comes."""
    clock.set_wall(clock.now() + by)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """A dispatcher that was started."""
    made = Office(tmp_path)
    await made.start()
    yield made
    await made.stop()


@pytest.mark.parametrize("by", [-YEAR, -DAY, -timedelta(hours=3), YEAR, DAY])
async def test_mail_that_was_put_off_does_not_wait_for_the_clock(office: Office, by: timedelta) -> None:
    """It is tried as soon as it would have been, or sooner."""
    office.upstream.answer = lambda _envelope: OK if len(office.upstream.offered) > 1 else "451 4.7.1 Later"
    await office.put()
    await office.until(lambda states: isinstance(states[0], Deferred), timedelta(seconds=5))
    set_clock(office.clock, by)
    await office.until(all_delivered, timedelta(minutes=3))


@pytest.mark.parametrize("by", [-YEAR, -DAY, -timedelta(minutes=40), YEAR])
async def test_a_lane_that_pauses_goes_on_when_its_time_has_passed(office: Office, by: timedelta) -> None:
    """No network, then there is one: and with it the right time."""
    office.upstream.trouble = TryLater(message("no network"))
    await office.put()
    await office.clock.advance(20)
    office.upstream.trouble = None
    set_clock(office.clock, by)
    await office.put()
    await office.until(all_delivered, timedelta(minutes=1))


@pytest.mark.parametrize("by", [-YEAR, -DAY, -timedelta(minutes=40), YEAR])
async def test_a_blocked_account_is_probed_when_its_time_has_passed(office: Office, by: timedelta) -> None:
    """Within the longest time between two probes."""
    office.upstream.trouble = LoginFailed(
        Trouble("smtp_auth_disabled", WhoActs.ADMINISTRATOR, "535", office.clock.now())
    )
    await office.put()
    await office.clock.advance(5)
    assert not office.dispatcher.gate(ACCOUNT).is_open
    office.upstream.trouble = None
    set_clock(office.clock, by)
    await office.until(all_delivered, LONGEST_PROBE * 1.3 + FIRST_PROBE)


@pytest.mark.parametrize("by", [-YEAR, -DAY, -timedelta(minutes=40), YEAR])
async def test_the_pace_is_kept_and_no_more_than_that(tmp_path: Path, by: timedelta) -> None:
    """Thirty a minute: a full minute does not become a full day."""
    office = Office(tmp_path, PaceLimits(3, 30, 10_000))
    await office.start()
    for number in range(45):
        await office.put(f"{number}@example.org")
    await office.until(lambda states: sum(isinstance(s, Delivered) for s in states) == 30, timedelta(seconds=30))
    set_clock(office.clock, by)
    await office.until(all_delivered, timedelta(minutes=2))
    assert len(office.upstream.offered) == 45
    await office.stop()


@pytest.mark.parametrize("by", [-YEAR, -DAY])
async def test_who_was_told_to_slow_down_does_not_stop_for_days(office: Office, by: timedelta) -> None:
    """421 from the provider, then the clock is set back."""
    said = "421 4.4.2 Message submission rate for this client has exceeded the configured limit"
    office.upstream.answer = lambda _envelope: said if len(office.upstream.offered) == 1 else OK
    await office.put()
    await office.clock.advance(2)
    set_clock(office.clock, by)
    await office.until(all_delivered, timedelta(minutes=5))


async def test_what_is_under_way_when_the_clock_is_set_forward_is_not_begun_again(office: Office) -> None:
    """A lease that seems to have ended has a worker: two of them would make two copies."""
    office.upstream.takes_s = 600.0
    await office.put()
    await office.clock.advance(1)
    assert len(office.upstream.offered) == 1
    set_clock(office.clock, YEAR)
    await office.clock.advance(300)
    assert len(office.upstream.offered) == 1
    await office.until(all_delivered, timedelta(minutes=10))
    assert len(office.upstream.offered) == 1


async def test_a_lease_that_nobody_has_any_more_ends_in_spite_of_a_jump(office: Office) -> None:
    """Later than usual, but by itself."""
    await office.dispatcher.stop()
    await office.put()
    now = office.clock.now()
    assert len(await office.store.queue.lease(ACCOUNT, now, now + timedelta(hours=2), 9)) == 1
    set_clock(office.clock, DAY)
    await office.clock.advance(3600 * 3)
    [state] = await office.states()
    assert isinstance(state, Queued)


@pytest.mark.parametrize("by", [YEAR, 6 * DAY])
async def test_mail_does_not_expire_untried_because_the_clock_was_wrong_before(office: Office, by: timedelta) -> None:
    """Accepted in what seemed to be last year, while there was no network; then the time server is heard."""
    office.upstream.trouble = TryLater(message("no network"))
    await office.put()
    await office.clock.advance(3)
    office.upstream.trouble = None
    set_clock(office.clock, by)
    await office.until(all_delivered, timedelta(minutes=10))
    assert office.reports == []


async def test_mail_that_is_over_ends_with_its_last_try(office: Office) -> None:
    """Refused for now once more: told so, and not tried again."""
    office.upstream.answer = lambda _envelope: "451 4.7.1 Later"
    await office.put()
    await office.until(lambda states: isinstance(states[0], Deferred), timedelta(seconds=5))
    set_clock(office.clock, YEAR)
    await office.until(lambda states: isinstance(states[0], Failed), timedelta(minutes=3))
    assert len(office.reports) == 1
    assert len(office.upstream.offered) == 2
    await office.clock.advance(3600)
    assert len(office.upstream.offered) == 2


async def test_mail_from_before_a_restart_does_not_wait_for_the_clock(tmp_path: Path) -> None:
    """The machine had the wrong day when it took it; it is started again with the right one."""
    first = Office(tmp_path)
    first.upstream.answer = lambda _envelope: "451 4.7.1 Later"
    await first.start()
    await first.put()
    await first.until(lambda states: isinstance(states[0], Deferred), timedelta(seconds=5))
    await first.stop()
    await first.put()
    second = Office(tmp_path, store=first.store)
    set_clock(second.clock, -DAY)
    await second.start()
    await second.until(all_delivered, timedelta(minutes=3))
    await second.stop()


@pytest.mark.parametrize("by", [-YEAR, -DAY, YEAR])
def test_who_guessed_is_locked_out_no_longer_than_usual(by: timedelta) -> None:
    """A clock that is set back makes no lock of a day."""
    guard, clock = GuessGuard(), FakeClock(by_itself=False)
    for _guess in range(40):
        guard.failed("192.0.2.1", "ricoh", clock.now())
        clock.jump(5)
    assert guard.locked_until("192.0.2.1", "ricoh", clock.now()) is not None
    set_clock(clock, by)
    clock.jump(3600)
    assert guard.locked_until("192.0.2.1", "ricoh", clock.now()) is None
