"""Who guesses at devices' passwords: waits longer and longer, costs little, and locks out no device that was right."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest
from device_bench import HERE, Office, office_fixture
from fakes import ANA, START

from valija.domain import device_hints as hints
from valija.domain.device import Device
from valija.domain.guess_guard import (
    ENTRIES_LIMIT,
    FAILURES,
    FIRST_DELAY_S,
    LOCKED,
    LONGEST_DELAY_S,
    WINDOW,
    GuessGuard,
)
from valija.domain.record import AuditAction
from valija.domain.sighting import Seen
from valija.protocol.sasl_server import Shown
from valija.secret import Secret
from valija.services.admission import NotAdmitted, admit
from valija.services.device_logins import NotLookedAt

office = office_fixture


async def _guess(office: Office, login: str, address: str) -> None:
    with contextlib.suppress(NotLookedAt):
        assert await office.desk.verify(login, Secret("guess"), address) is None


def test_who_guesses_has_to_wait_by_address_and_by_login() -> None:
    """A device that was right before goes on."""
    guard = GuessGuard()
    guard.worked("10.0.0.5", "ricoh")
    for number in range(FAILURES):
        assert guard.locked_until("10.0.0.66", "ricoh", START) is None
        guard.failed("10.0.0.66", "ricoh", START + timedelta(seconds=number))
    now = START + timedelta(seconds=FAILURES)
    end = START + timedelta(seconds=FAILURES - 1) + LOCKED
    assert guard.locked_until("10.0.0.66", "other", now) == end  # the address
    assert guard.locked_until("10.0.0.77", "ricoh", now) == end  # the login, from elsewhere
    assert guard.locked_until("10.0.0.5", "ricoh", now) is None
    assert guard.locked_until("10.0.0.66", "ricoh", end) is None


def test_few_failures_over_a_long_time_lock_nobody() -> None:
    """Somebody who mistypes now and then."""
    guard = GuessGuard()
    for number in range(5 * FAILURES):
        guard.failed("10.0.0.66", "ricoh", START + number * WINDOW / (FAILURES - 1))
        assert guard.locked_until("10.0.0.66", "ricoh", START + number * WINDOW / (FAILURES - 1)) is None


def test_the_guard_is_bounded() -> None:
    """However many addresses and logins are tried."""
    guard = GuessGuard()
    for number in range(ENTRIES_LIMIT + 100):
        guard.failed(f"a{number}", f"l{number}", START)
        guard.worked(f"b{number}", f"l{number}")
    assert len(guard._failed) <= ENTRIES_LIMIT
    assert len(guard._good) <= ENTRIES_LIMIT
    assert guard._homes.total() == len(guard._good)
    assert not guard.is_trusted("b0")
    last = f"b{ENTRIES_LIMIT + 99}"
    assert guard.is_trusted(last)
    guard.failed(last, f"l{ENTRIES_LIMIT + 99}", START)
    assert not guard.is_trusted(last)


@pytest.mark.parametrize("network", ["10.{}.{}.7", "2001:db8:{:x}:{:x}::7"])
async def test_guesses_from_many_addresses_cost_little_and_lock_the_login(office: Office, network: str) -> None:
    """Its memory is bounded, and so is what is put on record; the device itself goes on."""
    made = await office.desk.add({"name": "Ricoh"}, ANA)
    assert made.password is not None
    assert await office.desk.verify("ricoh", made.password, HERE) == made.device
    asked = office.slow
    for number in range(2000):
        login = "ricoh" if number % 2 else f"nobody-{number}"
        await _guess(office, login, network.format(number // 250, number % 250))
    assert office.slow < asked + 2000, "the login was not locked"
    assert len(office.desk._logins._guard._failed) <= ENTRIES_LIMIT
    assert office.desk._logins._turns == {}
    told = [s.record for s in await office.store.list_audit(500) if s.record.action is AuditAction.DEVICE_LOCKED_OUT]
    assert 0 < len(told) < 100
    assert await office.desk.verify("ricoh", made.password, HERE) == made.device


async def test_guesses_at_one_login_from_many_addresses_at_once_are_no_more_for_that(office: Office) -> None:
    """While one is looked at, the others are not; the device is, at its turn, where it was right before."""
    made = await office.desk.add({"name": "Ricoh"}, ANA)
    assert made.password is not None
    office.desk._logins.trust("ricoh", HERE)
    guesses = [_guess(office, "ricoh", f"10.0.0.{number}") for number in range(5 * FAILURES)]
    *_wrong, found = await asyncio.gather(*guesses, office.desk.verify("ricoh", made.password, HERE))
    assert found == made.device
    assert office.slow == FAILURES + 1
    assert office.desk._logins._turns == {}


async def test_the_password_of_a_device_that_is_off_is_worth_nothing_to_who_guesses(office: Office) -> None:
    """It wipes out no guesses, and makes no address a device's home; it is no guess either."""
    made = await office.desk.add({"name": "Lost"}, ANA)
    assert made.password is not None
    await office.desk.change("lost", {"enabled": False}, ANA)
    for number in range(FAILURES):
        await _guess(office, f"nobody-{number}", HERE)
        if number < FAILURES - 1:
            assert await office.desk.verify("lost", made.password, HERE) is None
    assert office.desk.locked_until("other", HERE) is not None
    assert office.desk.locked_until("lost", "10.0.0.9") is None
    assert not office.desk.is_at_home(HERE)


async def test_a_login_of_any_length_takes_little_memory(office: Office) -> None:
    """What is longer than any login is nobody's, and is not kept whole."""
    for number in range(3):
        await office.desk.verify(f"{number}" * 9000, Secret("guess"), HERE)
    kept = [key for key in office.desk._logins._guard._failed if isinstance(key, tuple)]
    assert len(kept) == 3
    assert max(len(login) for (login,) in kept) < 100


async def test_who_is_not_looked_at_is_not_said_to_be_wrong(office: Office) -> None:
    """A device behind the guesser's router waits for its turn, and the lock comes before it."""
    made = await office.desk.add({"name": "One"}, ANA)
    assert made.password is not None
    guesses = [Shown("PLAIN", f"nobody-{n}", password=Secret("guess")) for n in range(FAILURES)]
    mine = Shown("PLAIN", "one", password=made.password)
    found = await asyncio.gather(
        *(admit(office.desk, shown, HERE, secure=True, tls_there=True) for shown in [*guesses, mine])
    )
    assert found[:-1] == [NotAdmitted(hints.WRONG)] * FAILURES
    assert found[-1] == NotAdmitted(hints.LOCKED, later=True)
    assert office.slow == FAILURES


async def test_an_ipv6_network_is_one_address(office: Office) -> None:
    """Who has one has them all."""
    for number in range(FAILURES):
        await office.desk.verify(f"nobody-{number}", Secret("guess"), f"2001:db8::{number:x}")
    assert office.desk.locked_until("other", "2001:db8::ffff") is not None
    assert office.desk.locked_until("other", "2001:db8:0:1::1") is None


async def test_who_guesses_beside_a_device_does_not_lock_it_out(office: Office) -> None:
    """All of an office are in one IPv6 network of 64 bits; the device goes on from the address that is its own."""
    made = await office.desk.add({"name": "Ricoh"}, ANA)
    assert made.password is not None
    assert await office.desk.verify("ricoh", made.password, "2001:db8::20") == made.device
    for _time in range(2 * FAILURES):
        await _guess(office, "ricoh", "2001:db8::66")
    assert office.desk.locked_until("ricoh", "2001:db8::67") is not None
    assert await office.desk.verify("ricoh", made.password, "2001:db8::20") == made.device


async def test_a_new_password_is_not_locked_by_what_was_guessed_before(office: Office) -> None:
    """Who types it into the device need not wait; who guesses has to."""
    await office.desk.add({"name": "Ricoh"}, ANA)
    for _guess in range(FAILURES):
        await office.desk.verify("ricoh", Secret("guess"), "10.0.0.66")
    assert office.desk.locked_until("ricoh", HERE) is not None
    made = await office.desk.new_password("ricoh", ANA)
    assert made.password is not None
    assert await office.desk.verify("ricoh", made.password, HERE) == made.device
    assert office.desk.locked_until("ricoh", "10.0.0.66") is not None


async def test_a_wrong_password_is_a_devices_where_it_was_seen_last(office: Office) -> None:
    """There it is refused, not a stranger; elsewhere somebody else shows its login. So are those that are not looked at."""
    device = (await office.desk.add({"name": "Ricoh"}, ANA)).device
    office.desk.saw("ricoh", Seen(START, HERE, "smtp", "TLSv1.2"))

    async def why(address: str, login: str = "ricoh") -> tuple[str, Device | None]:
        shown = Shown("PLAIN", login, password=Secret("wrong"))
        found = await admit(office.desk, shown, address, secure=True, tls_there=True)
        assert isinstance(found, NotAdmitted)
        return found.why, found.device

    assert await why(HERE, "Ricoh@office.example") == (hints.WRONG, device)
    assert await why("192.168.1.21") == (hints.WRONG, None)
    assert await why(HERE, "nobody") == (hints.WRONG, None)
    for _time in range(FAILURES):
        await _guess(office, "ricoh", HERE)
    assert await why(HERE) == (hints.LOCKED, device)
    await office.desk.change("ricoh", {"enabled": False}, ANA)
    assert await why(HERE) == (hints.LOCKED, None)


async def test_a_device_is_at_home_where_it_is_named_or_was_right(office: Office) -> None:
    """Nobody else is, who shows a wrong password or none."""
    made = await office.desk.add({"name": "Ricoh"}, ANA)
    await office.desk.add({"name": "Fax", "ranges": "10.0.0.7"}, ANA)
    assert made.password is not None
    assert not office.desk.is_at_home(HERE)
    await office.desk.verify("ricoh", made.password, f"::ffff:{HERE}")
    await _guess(office, "ricoh", "10.0.0.8")
    found = [office.desk.is_at_home(address) for address in (HERE, f"::ffff:{HERE}", "10.0.0.7", "10.0.0.8")]
    assert found == [True, True, True, False]


async def test_a_device_is_trusted_at_its_address_after_a_restart(office: Office) -> None:
    """However much somebody guesses at its login before it comes back."""
    made = await office.desk.add({"name": "Ricoh"}, ANA)
    assert made.password is not None
    office.desk.saw("ricoh", Seen(START, HERE, "smtp", "TLSv1.2"))
    await office.desk.flush()
    later = Office(office.store)
    await later.desk.start()
    for number in range(2 * FAILURES):
        await _guess(later, "ricoh", f"10.0.0.{number}")
    assert later.desk.locked_until("ricoh", "10.0.0.99") is not None
    assert await later.desk.verify("ricoh", made.password, HERE) == made.device


def test_answers_to_wrong_passwords_come_later_and_later_up_to_a_bound() -> None:
    """By address or by login, whichever failed more."""
    guard, delays = GuessGuard(), []
    for number in range(FAILURES):
        guard.failed("10.0.0.66", f"login-{number}", START)
        delays.append(guard.delay_s("10.0.0.66", f"login-{number}"))
    assert delays == sorted(delays)
    assert (delays[0], delays[1], delays[-1]) == (FIRST_DELAY_S, 2 * FIRST_DELAY_S, LONGEST_DELAY_S)
    assert guard.delay_s("10.0.0.1", "unknown") == FIRST_DELAY_S
