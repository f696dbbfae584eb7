"""Devices: made, known again by login and by address, guessed at, seen."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from device_bench import HERE, Office, office_fixture
from fakes import ANA, START

from valija.domain.device import TlsPolicy
from valija.domain.errors import InvalidFields, StoreError, UnknownName
from valija.domain.queued_message import QueuedMessage
from valija.domain.record import AuditAction
from valija.domain.sighting import UNKNOWN_LIMIT, Seen, Sighting
from valija.domain.text import message
from valija.secret import Secret
from valija.services.device_sightings import LOOK_S
from valija.services.events import DevicesChanged
from valija.store.port import VersionedDevice

office = office_fixture


async def test_a_device_gets_a_login_and_a_password_that_is_shown_once(office: Office) -> None:
    """The login is made from its name, the hash alone is kept."""
    made = await office.desk.add({"name": "Ricoh planta 2"}, ANA)
    assert made.device.login == "ricoh-planta-2"
    assert made.password is not None
    assert len(made.password.reveal()) == 14
    assert made.device.password is not None
    assert made.password.reveal() not in made.device.password.reveal()
    assert (await office.desk.add({"name": "Ricoh, planta 2"}, ANA)).device.login == "ricoh-planta-2-2"
    assert (await office.desk.add({"name": "複合機"}, ANA)).device.login == "device"
    found = [stored.record.action for stored in await office.store.list_audit(10)]
    assert found == [AuditAction.DEVICE_ADDED] * 3


async def test_a_login_works_fast_the_second_time_and_not_after_a_new_password(office: Office) -> None:
    """A thousand log-ins a minute cost one slow hash."""
    made = await office.desk.add({"name": "Brother"}, ANA)
    assert made.password is not None
    for _time in range(50):
        assert await office.desk.verify("Brother ", made.password, HERE) == made.device
    assert office.slow == 1
    again = await office.desk.new_password("brother", ANA)
    assert await office.desk.verify("brother", made.password, HERE) is None
    assert again.password is not None
    assert await office.desk.verify("brother", again.password, HERE) == again.device
    assert await office.desk.verify("nobody", made.password, HERE) is None
    assert office.slow == 4


async def test_many_first_log_ins_at_once_cost_one_slow_hash(office: Office) -> None:
    """As after a restart, when all come back."""
    made = await office.desk.add({"name": "Ricoh"}, ANA)
    password = made.password
    assert password is not None
    found = await asyncio.gather(*(office.desk.verify("ricoh", password, HERE) for _session in range(30)))
    assert found == [made.device] * 30
    assert office.slow == 1


async def test_a_device_that_is_switched_off_or_deleted_opens_nothing(office: Office) -> None:
    """The others do not notice."""
    one, other = await office.desk.add({"name": "One"}, ANA), await office.desk.add({"name": "Other"}, ANA)
    assert one.password is not None
    assert other.password is not None
    await office.desk.change("one", {"enabled": False}, ANA)
    assert await office.desk.verify("one", one.password, HERE) is None
    await office.desk.change("one", {"enabled": True}, ANA)
    assert await office.desk.verify("one", one.password, HERE) is not None
    await office.desk.delete("one", ANA)
    assert await office.desk.verify("one", one.password, HERE) is None
    assert await office.desk.verify("other", other.password, HERE) == other.device
    with pytest.raises(UnknownName):
        await office.desk.delete("one", ANA)


@pytest.mark.parametrize(
    ("device", "report_to", "goes"),
    [("", "", True), ("one", "", True), ("never", "", False), ("gone", "", False), ("gone", "ana@x.org", True)],
)
async def test_all_goes_out_as_the_mailbox_but_what_comes_from_devices_that_are_never_rewritten(
    office: Office, device: str, report_to: str, goes: bool
) -> None:
    """Of a device that is gone, what had been rewritten."""
    await office.desk.add({"name": "One"}, ANA)
    await office.desk.add({"name": "Never", "rewriting": "never"}, ANA)
    sent = QueuedMessage("smtp", device, "s@x.org", "1@x.org", 9, office.clock.now(), (), report_to=report_to)
    assert office.desk.goes_as_mailbox(sent) is goes


@pytest.mark.parametrize("revoke", ["off", "deleted", "password"])
async def test_a_device_that_is_revoked_while_its_password_is_looked_at_opens_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch, revoke: str
) -> None:
    """The hash takes its time, and so does who is looked at before."""
    made = await office.desk.add({"name": "One"}, ANA)
    assert made.password is not None
    matches = office.passwords.matches

    async def meanwhile(stored: Secret | None, password: Secret) -> bool:
        found = await matches(stored, password)
        if revoke == "off":
            await office.desk.change("one", {"enabled": False}, ANA)
        elif revoke == "deleted":
            await office.desk.delete("one", ANA)
        else:
            await office.desk.new_password("one", ANA)
        return found

    monkeypatch.setattr(office.passwords, "matches", meanwhile)
    assert await office.desk.verify("one", made.password, HERE) is None


async def test_what_is_let_in_is_the_device_as_it_is(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the mailbox that it was given while its password was looked at."""
    made = await office.desk.add({"name": "One", "mailbox": "internet-fax"}, ANA)
    assert made.password is not None
    matches = office.passwords.matches

    async def meanwhile(stored: Secret | None, password: Secret) -> bool:
        await office.desk.change("one", {"mailbox": ""}, ANA)
        return await matches(stored, password)

    monkeypatch.setattr(office.passwords, "matches", meanwhile)
    found = await office.desk.verify("one", made.password, HERE)
    assert found is not None
    assert found.mailbox == ""


async def test_another_nodes_change_makes_nobody_log_in_anew(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """All devices are read again then; whose password is the same is known again all the same."""
    made = await office.desk.add({"name": "One"}, ANA)
    assert made.password is not None
    assert await office.desk.verify("one", made.password, HERE) is not None
    listed = office.store.list_devices

    async def from_a_database() -> list[VersionedDevice]:
        found = await listed()
        return [replace(one, value=replace(one.value, password=_copied(one.value.password))) for one in found]

    monkeypatch.setattr(office.store, "list_devices", from_a_database)
    await office.desk.read_devices()
    assert await office.desk.verify("one", made.password, HERE) is not None
    assert office.slow == 1


def _copied(secret: Secret | None) -> Secret | None:
    return None if secret is None else Secret(secret.reveal())


async def test_a_device_of_an_address_has_no_password(office: Office) -> None:
    """It is known by where it is."""
    made = await office.desk.add({"name": "Old fax", "ranges": "192.168.1.0/24"}, ANA)
    assert made.password is None
    assert office.desk.by_address(HERE) == made.device
    assert office.desk.by_address("192.168.2.20") is None
    assert await office.desk.verify("old-fax", Secret(""), HERE) is None


async def test_what_is_wrong_is_said_and_nothing_is_stored(office: Office) -> None:
    """Name, login, range."""
    await office.desk.add({"name": "One"}, ANA)
    for changes in ({}, {"name": ""}, {"name": "x", "login": "one"}, {"name": "x", "ranges": "0.0.0.0/0"}):
        with pytest.raises(InvalidFields):
            await office.desk.add(changes, ANA)
    with pytest.raises(InvalidFields):
        await office.desk.change("one", {"login": "two"}, ANA)
    assert [device.login for device in office.desk.all()] == ["one"]


async def test_two_devices_that_nothing_would_tell_apart_are_refused(office: Office) -> None:
    """The first one would be nobody any more. A device with a password, and one that is switched off, are in nobody's way."""
    one = (await office.desk.add({"name": "One", "ranges": HERE}, ANA)).device
    with pytest.raises(InvalidFields, match="one"):
        await office.desk.add({"name": "Two", "ranges": f"10.0.0.1 {HERE}"}, ANA)
    await office.desk.add({"name": "Three", "ranges": HERE, "tls": "legacy"}, ANA, with_password=True)
    two = (await office.desk.add({"name": "Two", "ranges": HERE, "enabled": False}, ANA)).device
    assert office.desk.by_address(HERE) == one
    assert office.desk.may_be_old(HERE, 40000)
    with pytest.raises(InvalidFields):
        await office.desk.change(two.login, {"enabled": True}, ANA)
    await office.desk.change(one.login, {"enabled": False}, ANA)
    await office.desk.change(two.login, {"enabled": True}, ANA)
    assert office.desk.by_address(HERE) == office.desk.get(two.login)


async def test_a_device_without_a_password_keeps_an_address(office: Office) -> None:
    """Nothing else tells who it is."""
    await office.desk.add({"name": "Fax", "ranges": HERE}, ANA)
    with pytest.raises(InvalidFields):
        await office.desk.change("fax", {"ranges": ""}, ANA)
    await office.desk.change("fax", {"ranges": "", "enabled": False}, ANA)
    assert office.desk.get("fax").ranges == ()


async def test_old_tls_without_an_address_would_be_in_vain_and_is_refused(office: Office) -> None:
    """Before the handshake nothing but its address tells who it is."""
    with pytest.raises(InvalidFields, match="must say where it connects from"):
        await office.desk.add({"name": "Old HP", "tls": "legacy"}, ANA)
    await office.desk.add({"name": "Old HP"}, ANA)
    with pytest.raises(InvalidFields, match="must say where it connects from"):
        await office.desk.change("old-hp", {"tls": "legacy"}, ANA)
    changed = await office.desk.change("old-hp", {"tls": "legacy", "ranges": HERE}, ANA)
    assert changed.tls is TlsPolicy.LEGACY
    with pytest.raises(InvalidFields, match="must say where it connects from"):
        await office.desk.change("old-hp", {"ranges": ""}, ANA)


async def test_a_mailbox_is_fetched_with_a_password_only(office: Office) -> None:
    """The machine would leave it alone, and nobody could fetch it."""
    fax = {"name": "Fax", "ranges": HERE, "mailbox": "internet-fax"}
    with pytest.raises(InvalidFields, match="needs a password"):
        await office.desk.add(fax, ANA)
    await office.desk.add({"name": "Fax", "ranges": HERE}, ANA)
    with pytest.raises(InvalidFields, match="valija device password fax"):
        await office.desk.change("fax", {"mailbox": "internet-fax"}, ANA)
    assert not office.desk.fetches("internet-fax")
    await office.desk.new_password("fax", ANA)
    await office.desk.change("fax", {"mailbox": "internet-fax"}, ANA)
    assert office.desk.fetches("internet-fax")
    assert (await office.desk.add(fax | {"name": "Two"}, ANA, with_password=True)).password is not None


async def test_two_of_one_name_that_are_added_at_once_get_logins_of_their_own(office: Office) -> None:
    made = await asyncio.gather(*(office.desk.add({"name": "Ricoh"}, ANA) for _who in range(3)))
    assert {one.device.login for one in made} == {"ricoh", "ricoh-2", "ricoh-3"}
    with pytest.raises(InvalidFields):
        await office.desk.add({"name": "Ricoh", "login": "ricoh"}, ANA)


async def test_what_is_changed_while_the_devices_are_read_anew_stays_changed(office: Office) -> None:
    """A device that was deleted meanwhile does not come back, one that was added does not go."""
    gone = await office.desk.add({"name": "Gone"}, ANA)
    assert gone.password is not None
    list_devices = office.store.list_devices

    async def slowly() -> list[VersionedDevice]:
        found = await list_devices()
        if office.desk.is_taken("gone"):
            await office.desk.delete("gone", ANA)
            await office.desk.add({"name": "New"}, ANA)
        return found

    office.store.list_devices = slowly  # type: ignore[method-assign]
    await office.desk.read_devices()
    assert [device.login for device in office.desk.all()] == ["new"]
    assert await office.desk.verify("gone", gone.password, HERE) is None


async def test_what_was_seen_is_written_down_when_the_store_is_there_again(office: Office) -> None:
    """Who was forgotten and comes again is kept; a device that was deleted meanwhile leaves nothing."""
    office.desk.saw(None, Seen(START, "10.0.0.9", "smtp", "", "scan", "535"))
    await office.desk.flush()
    await office.desk.add({"name": "One"}, ANA)
    save = office.store.save_sightings

    async def down(*_what: object) -> None:
        raise StoreError(message("The store is down."))

    office.store.save_sightings = down  # type: ignore[method-assign,assignment]
    office.desk.saw("one", Seen(START, HERE, "smtp", "TLSv1.2"))
    office.desk.forget_stranger("10.0.0.9")
    with pytest.raises(StoreError):
        await office.desk.flush()
    office.store.save_sightings = save  # type: ignore[method-assign]
    await office.desk.flush()
    assert [seen.subject for seen in await office.store.list_sightings()] == ["one"]
    office.desk.saw(None, Seen(START, "10.0.0.9", "smtp", "", "scan", "535"))
    office.desk.forget_stranger("10.0.0.9")
    office.desk.saw(None, Seen(START, "10.0.0.9", "smtp", "", "scan", "535"))
    await office.desk.delete("one", ANA)
    office.desk.saw("one", Seen(START, HERE, "smtp", "TLSv1.2"))
    await office.desk.flush()
    assert [seen.subject for seen in await office.store.list_sightings()] == ["@10.0.0.9"]


async def test_what_several_nodes_see_is_one_record(office: Office) -> None:
    """A stranger who tried at one is let in at another; what each has counted counts."""
    office.store.shared = True
    other = Office(office.store)
    for node in (office, other):
        await node.desk.start()
    await office.desk.add({"name": "Ricoh"}, ANA)
    await other.desk.read_devices()

    async def all_flush() -> None:
        for node in (office, other, office):
            await node.clock.advance(LOOK_S)
            await node.desk.flush()

    later = START + timedelta(seconds=9)
    for node, at, error in ((office, START, "535 no"), (other, later, ""), (other, later, ""), (office, START, "")):
        node.desk.saw("ricoh", Seen(at, HERE, "smtp", "", "", error))
        await node.desk.flush()
    office.desk.saw(None, Seen(START, "10.0.0.9", "smtp", "", "canon", "535 no"))
    office.desk.saw(None, Seen(START, "10.0.0.8", "smtp", "", "", "530 no"))
    other.desk.saw(None, Seen(later, "10.0.0.9", "smtp", "TLSv1.2", "", "530 no"))
    await all_flush()
    for node in (office, other):
        seen, stranger = node.desk.sighting("ricoh"), node.desk.stranger("10.0.0.9")
        assert seen is not None
        assert (seen.accepted, seen.refused, seen.last_at, seen.last_error) == (3, 1, later, "535 no")
        assert (stranger.refused, stranger.tls, stranger.tried, stranger.last_error) == (
            2,
            "TLSv1.2",
            "canon",
            "530 no",
        )
    other.desk.forget_stranger("10.0.0.9")
    office.desk.saw("ricoh", Seen(later, HERE, "smtp", ""))
    await all_flush()
    for node in (office, other):
        assert [s.address for s in node.desk.strangers()] == ["10.0.0.8"]
        seen = node.desk.sighting("ricoh")
        assert seen is not None
        assert (seen.accepted, seen.refused) == (4, 1)
    await office.desk.delete("ricoh", ANA)
    await other.desk.read_devices()
    await all_flush()
    assert other.desk.sighting("ricoh") is None
    assert [s.subject for s in await office.store.list_sightings()] == ["@10.0.0.8"]


async def test_all_is_there_after_a_restart(office: Office) -> None:
    """Devices, passwords, what was seen."""
    made = await office.desk.add({"name": "One"}, ANA)
    assert made.password is not None
    office.desk.saw("one", Seen(START, HERE, "smtp", "TLSv1.2"))
    await office.desk.flush()
    later = Office(office.store)
    await later.desk.start()
    assert later.desk.all() == [made.device]
    assert later.desk.sighting("one") == office.desk.sighting("one")
    assert await later.desk.verify("one", made.password, HERE) == made.device


async def test_strangers_are_listed_and_their_number_is_bounded(office: Office) -> None:
    """The longest unseen go, from the store too."""
    async with office.events.subscribe() as told:
        for number in range(UNKNOWN_LIMIT + 10):
            at = START + timedelta(seconds=number)
            office.desk.saw(None, Seen(at, f"10.0.{number // 250}.{number % 250}", "smtp", "", "scan", "535"))
            if number == UNKNOWN_LIMIT - 1:
                await office.desk.flush()
        await office.desk.flush()
        assert isinstance(told.get_nowait(), DevicesChanged)
    assert len(office.desk.strangers()) == UNKNOWN_LIMIT
    assert office.desk.strangers()[-1].address == "10.0.0.10"
    assert len(await office.store.list_sightings()) == UNKNOWN_LIMIT


async def test_strangers_that_come_while_nothing_can_be_written_take_little_memory(office: Office) -> None:
    """Who was never written down need not be struck off; who was is, also where that happens at the same moment."""
    save = office.store.save_sightings
    at = (START + timedelta(seconds=number) for number in range(10_000))

    def come(network: str) -> None:
        for number in range(UNKNOWN_LIMIT):
            office.desk.saw(None, Seen(next(at), f"{network}.{number}", "smtp", "", "scan", "535"))

    async def down(*_what: object) -> None:
        raise StoreError(message("The store is down."))

    async def slow(sightings: Sequence[Sighting], forget: Collection[str] = ()) -> None:
        come("10.0.99")
        await save(sightings, forget)

    come("10.0.0")
    office.store.save_sightings = slow  # type: ignore[method-assign]
    await office.desk.flush()
    office.store.save_sightings = down  # type: ignore[method-assign,assignment]
    for network in range(1, 20):
        come(f"10.0.{network}")
        with pytest.raises(StoreError):
            await office.desk.flush()
    assert len(office.desk._sightings._forgotten) <= UNKNOWN_LIMIT
    office.store.save_sightings = save  # type: ignore[method-assign]
    await office.desk.flush()
    assert {seen.subject for seen in await office.store.list_sightings()} == {
        f"@10.0.19.{n}" for n in range(UNKNOWN_LIMIT)
    }
    assert office.desk._sightings._forgotten == set()
    assert len(office.desk._sightings._stored) == UNKNOWN_LIMIT
