"""Learning mode: begun, ended, over a restart; what a stranger tried becomes a device."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from argon2.profiles import CHEAPEST
from fakes import ANA, START, FakeClock

from valija.domain.device import TlsPolicy
from valija.domain.errors import InvalidFields, UnknownName
from valija.domain.learning import as_device
from valija.domain.record import AuditAction
from valija.domain.sighting import Attempt, Seen, Sighting, note
from valija.services.devices import DeviceDesk
from valija.services.events import DevicesChanged, EventBus
from valija.services.learning import CHECK_S, LearningDesk
from valija.services.passwords import Passwords
from valija.store.memory import MemoryStore

HERE = "192.168.1.40"
TRIED = Attempt("smtp", "BRN30055C", "LOGIN", "scan@office.local", 2)


class Office:
    """A desk with all that it uses."""

    def __init__(self, store: MemoryStore | None = None, clock: FakeClock | None = None) -> None:
        self.store, self.clock, self.events = store or MemoryStore(), clock or FakeClock(by_itself=False), EventBus()
        self.devices = DeviceDesk(self.store, Passwords(CHEAPEST), self.clock, self.events)
        self.desk = LearningDesk(self.store, self.devices, self.clock, self.events)

    def see(self, **changes: Any) -> None:
        """Let a stranger try something."""
        seen = Seen(self.clock.now(), HERE, "smtp", "TLSv1.3", "scanner@example.com", "535", TRIED)
        self.devices.saw(None, replace(seen, **changes))


@pytest.fixture
def office() -> Office:
    """A desk without devices."""
    return Office()


async def test_learning_mode_ends_by_itself_and_survives_a_restart(office: Office) -> None:
    """At the same moment; a clock that is set back does not lengthen it."""
    assert not office.desk.is_on()
    await office.desk.begin(30, ANA)
    later = Office(office.store, office.clock)
    await later.desk.start()
    assert later.desk.is_on()
    office.clock.set_wall(START - timedelta(hours=1))
    assert not office.desk.is_on()
    office.clock.set_wall(START + timedelta(minutes=30))
    assert not office.desk.is_on()
    assert not later.desk.is_on()


async def test_its_end_is_told_to_the_faces(office: Office) -> None:
    """Once."""
    await office.desk.begin(1, ANA)
    async with office.events.subscribe() as told:
        task = asyncio.create_task(office.desk.run())
        await office.clock.advance(60 + 3 * CHECK_S)
        task.cancel()
        assert [type(told.get_nowait()) for _event in range(told.qsize())] == [DevicesChanged]


async def test_it_is_stopped_and_both_are_on_record(office: Office) -> None:
    """By whom, and for how long it was to be; who stops what is not on, changes nothing."""
    await office.desk.stop(ANA)
    await office.desk.begin(60, ANA)
    await office.desk.stop(ANA)
    assert not office.desk.is_on()
    stopped, started = [stored.record for stored in await office.store.list_audit(10)]
    assert (started.action, started.details["minutes"]) == (AuditAction.LEARNING_STARTED, "60")
    assert (stopped.action, stopped.actor) == (AuditAction.LEARNING_STOPPED, ANA)


@pytest.mark.parametrize("minutes", [0, -5, 24 * 60 + 1])
async def test_it_has_an_end_within_a_day(office: Office, minutes: int) -> None:
    """Longer or shorter is refused."""
    with pytest.raises(InvalidFields):
        await office.desk.begin(minutes, ANA)
    assert not office.desk.is_on()


async def test_two_who_begin_at_once_do_not_lose_one_another(office: Office) -> None:
    """The later one counts."""
    other = Office(office.store, office.clock)
    await office.desk.begin(30, ANA)
    await other.desk.begin(60, ANA)
    await office.desk.start()
    assert office.desk.state == other.desk.state


async def test_a_stranger_who_logged_in_becomes_a_device_with_a_password(office: Office) -> None:
    """Under what it showed, as far as that can be a login; it is no stranger any more."""
    office.see()
    made = await office.desk.accept(HERE, {}, ANA)
    assert (made.device.login, made.device.name, made.device.tls) == ("scanner", "BRN30055C", TlsPolicy.REQUIRED)
    assert made.device.ranges == ()
    assert made.password is not None
    assert await office.devices.verify("scanner", made.password, HERE) == made.device
    assert office.devices.strangers() == []
    await office.devices.flush()
    assert await office.store.list_sightings() == []
    with pytest.raises(UnknownName):
        await office.desk.accept(HERE, {}, ANA)


async def test_a_stranger_without_a_log_in_becomes_a_device_of_its_address(office: Office) -> None:
    """In clear, if that is what it does."""
    office.see(tls="", tried="", attempt=Attempt("smtp", "[192.168.1.40]", "", "fax@office.local", 1))
    made = await office.desk.accept(HERE, {"name": "Old fax"}, ANA)
    assert (made.device.ranges, made.device.tls, made.password) == ((f"{HERE}/32",), TlsPolicy.OFFERED, None)
    assert office.devices.by_address(f"::ffff:{HERE}") == made.device


async def test_the_login_of_another_device_is_not_taken_over(office: Office) -> None:
    """Most likely it is that device, with a password mistyped: so it says."""
    await office.devices.add({"name": "Scanner"}, ANA)
    office.see()
    with pytest.raises(InvalidFields) as refused:
        await office.desk.accept(HERE, {}, ANA)
    assert "valija device password scanner" in str(refused.value)
    made = await office.desk.accept(HERE, {"login": "scanner-2"}, ANA)
    assert made.device.login == "scanner-2"


async def test_a_range_that_is_named_takes_its_strangers_off_the_list(office: Office) -> None:
    """They are somebody's now."""
    office.see()
    office.see(address="192.168.2.7")
    await office.devices.add({"name": "Floor 1", "ranges": "192.168.1.0/24"}, ANA)
    assert [seen.address for seen in office.devices.strangers()] == ["192.168.2.7"]


@pytest.mark.parametrize(
    ("tls", "tried", "attempt", "expected"),
    [
        ("", "", None, ({"name": HERE, "tls": "offered", "ranges": [HERE]}, False)),
        ("TLSv1.2", "", Attempt(helo="RNP0026"), ({"name": "RNP0026", "tls": "required", "ranges": [HERE]}, False)),
        ("TLSv1", "hp", None, ({"name": HERE, "tls": "legacy", "ranges": [HERE], "login": "hp"}, True)),
        ("", "HP LaserJet", None, ({"name": HERE, "tls": "offered"}, True)),
        ("", "", Attempt(mechanism="LOGIN"), ({"name": HERE, "tls": "offered"}, True)),
        ("", "a" * 33, Attempt(helo="localhost.localdomain"), ({"name": HERE, "tls": "offered"}, True)),
    ],
)
def test_what_was_tried_says_what_device_it_is(
    tls: str, tried: str, attempt: Attempt | None, expected: tuple[dict[str, Any], bool]
) -> None:
    """Name, login, range, TLS."""
    seen = Sighting(f"@{HERE}", START, START, HERE, "smtp", tls, tried, attempt=attempt)
    assert as_device(seen) == expected


def test_several_tries_are_one_picture() -> None:
    """A device that was refused at its log-in may try without it the next time; what it sends is made printable."""
    first = note(None, f"@{HERE}", Seen(START, HERE, "smtp", "", "hp", "535", Attempt("smtp", "hp\x07", "LOGIN")))
    second = note(first, f"@{HERE}", Seen(START, HERE, "smtp", "", "", "450", Attempt("smtp", "", "", "a@b", 3)))
    assert second.attempt == Attempt("smtp", "hp?", "LOGIN", "a@b", 3)
    assert note(second, f"@{HERE}", Seen(START, HERE, "smtp", "")).attempt == second.attempt
