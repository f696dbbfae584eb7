"""The devices of the local network: added, changed, known again by login or address; what was seen of them."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final

from valija.domain.account import POP_SETTINGS, Actor, Setting
from valija.domain.clock import Clock
from valija.domain.device import (
    Device,
    Rewriting,
    TlsPolicy,
    find_by_address,
    narrowest_around,
    only_one,
    parse_device,
    plain_address,
)
from valija.domain.errors import FieldProblem, InvalidFields, TryLater, UnknownName
from valija.domain.queued_message import QueuedMessage
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.sighting import Seen, Sighting, subject_of
from valija.domain.text import N_, message
from valija.secret import Secret
from valija.services.device_logins import DeviceLogins, login_meant
from valija.services.device_sightings import DeviceSightings
from valija.services.events import DevicesChanged, EventBus
from valija.services.passwords import Passwords
from valija.store.port import Store, VersionedDevice

ACCOUNTS: Final = (Setting.SMTP.value,)
MAILBOXES: Final = tuple(setting.value for setting in POP_SETTINGS)
LETTERS: Final = "abcdefghijkmnpqrstuvwxyz23456789"  # none that look alike on a small display
GROUPS: Final = 3  # of GROUP letters: 60 bits
GROUP: Final = 4
DEVICES_LIMIT: Final = 1000
ADDRESSES_LIMIT: Final = 4096  # looked up before
FLUSH_S: Final = 5.0
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class MadeDevice:
    """A device with its new password, which is shown this once; None for one that is known by its address alone."""

    device: Device
    password: Secret | None


class DeviceDesk:
    """All devices."""

    def __init__(self, store: Store, passwords: Passwords, clock: Clock, events: EventBus) -> None:
        self._store = store
        self._passwords = passwords
        self._clock = clock
        self._events = events
        self._devices: dict[str, VersionedDevice] = {}
        self._sightings = DeviceSightings(store, clock, self.is_taken)
        self._logins = DeviceLogins(store, passwords, clock, events)
        self._played: dict[tuple[str, int], str] = {}
        self._secret_key = secrets.token_bytes(32)
        self._by_address: dict[str, tuple[Device, ...]] = {}
        self._changes = 0  # made here
        self._in_clear: bool | None = None  # of any device; None after a change

    async def start(self) -> None:
        """Read what is stored."""
        await self.read_devices()
        for seen in await self._sightings.start():
            if seen.accepted_at is not None and seen.subject in self._devices:
                self._logins.trust(seen.subject, seen.address)

    async def read_devices(self) -> None:
        """Read the devices anew: somebody else changed one."""
        before, found = -1, list[VersionedDevice]()
        while before != self._changes:  # what was changed here meanwhile may not be in what was read
            before, found = self._changes, await self._store.list_devices()
        self._devices = {stored.value.login: stored for stored in found}
        self._by_address.clear()
        self._in_clear = None

    # --- the operator's side ----------------------------------------------------------------------------------------------

    def all(self) -> list[Device]:
        """Return all devices by login."""
        return [self._devices[login].value for login in sorted(self._devices)]

    def get(self, login: str) -> Device:
        """Return a device. Raises :class:`UnknownName`."""
        return self._stored(login).value

    def goes_as_mailbox(self, sent: QueuedMessage) -> bool:
        """Tell whether a message goes out as the mailbox, as all but that of devices whose sender is never rewritten."""
        if not sent.device:
            return True
        device = self._devices.get(sent.device)
        return bool(sent.report_to) if device is None else device.value.rewriting is not Rewriting.NEVER

    def sighting(self, login: str) -> Sighting | None:
        """Return what was seen of a device."""
        return self._sightings.of(login)

    def strangers(self) -> list[Sighting]:
        """Return the addresses that tried and are nobody's, latest first."""
        return self._sightings.strangers()

    def stranger(self, address: str) -> Sighting:
        """Return what was seen of an address that is nobody's. Raises :class:`UnknownName`."""
        found = self._sightings.of(subject_of(None, plain_address(address)))
        if found is None:
            raise UnknownName(
                message(N_("Nobody unknown was seen at {address}."), address=address[:60]),
                message(N_("`valija device list` shows who tried.")),
            )
        return found

    def is_taken(self, login: str) -> bool:
        """Tell whether a device has this login."""
        return login in self._devices

    async def add(self, changes: Mapping[str, Any], actor: Actor, *, with_password: bool | None = None) -> MadeDevice:
        """Add a device; without ``login`` one is made from its name.

        It gets a password unless it has ``ranges``; None decides so. Where the address is all that is known of it, TLS is
        offered, not required, if nothing else is said. Raises :class:`InvalidFields`.
        """
        if len(self._devices) >= DEVICES_LIMIT:
            raise InvalidFields(
                (FieldProblem("name", message(N_("there are {count} devices already"), count=DEVICES_LIMIT)),)
            )
        asked = {"account": ACCOUNTS[0], **changes}
        asked.setdefault("login", self._free_login(asked.get("name")))
        now = self._clock.now()
        blank = Device("", "", ACCOUNTS[0], created_at=now, created_by=actor.who)
        device = parse_device(blank, {"name": "", **asked}, ACCOUNTS, MAILBOXES)
        by_address = bool(device.ranges) and not with_password
        if by_address and "tls" not in asked:
            device = replace(device, tls=TlsPolicy.OFFERED)
        password = None if by_address else _new_password()
        if password is not None:
            device = replace(device, password=await self._passwords.hash(password))
        self._check_known(device)
        for _try in range(_TRIES):
            record = AuditRecord(now, actor, AuditAction.DEVICE_ADDED, device.login, {"name": device.name})
            saved = await self._store.save_device(0, device, record)
            if saved is not None:
                self._keep(saved)
                return MadeDevice(device, password)
            if "login" in changes:
                break
            await self.read_devices()  # somebody else adds one of the same name
            device = replace(device, login=self._free_login(device.name))
        raise InvalidFields((FieldProblem("login", message(N_("is taken: choose another one"))),))

    async def change(self, login: str, changes: Mapping[str, Any], actor: Actor) -> Device:
        """Apply ``changes``, all or none. Raises :class:`UnknownName`, :class:`InvalidFields`."""
        if "login" in changes:
            raise InvalidFields(
                (FieldProblem("login", message(N_("stays as it is: delete the device and add it anew"))),)
            )
        for _try in range(_TRIES):
            stored = self._stored(login)
            new = parse_device(stored.value, changes, ACCOUNTS, MAILBOXES)
            changed = [f.name for f in fields(new) if getattr(new, f.name) != getattr(stored.value, f.name)]
            if not changed:
                return new
            self._check_known(new)
            if await self._save(stored.version, new, AuditAction.DEVICE_CHANGED, actor, fields=", ".join(changed)):
                return new
        raise TryLater(message(N_("The device is being changed by somebody else.")), message(N_("Try again.")))

    async def new_password(self, login: str, actor: Actor) -> MadeDevice:
        """Give a device a new password; the old one opens nothing any more, and what was guessed at it locks no longer.

        Raises :class:`UnknownName`.
        """
        password = _new_password()
        hashed = await self._passwords.hash(password)
        for _try in range(_TRIES):
            stored = self._stored(login)
            new = replace(stored.value, password=hashed)
            if await self._save(stored.version, new, AuditAction.DEVICE_PASSWORD_MADE, actor):
                self._logins.unlock(stored.value.login)
                return MadeDevice(new, password)
        raise TryLater(message(N_("The device is being changed by somebody else.")), message(N_("Try again.")))

    async def delete(self, login: str, actor: Actor) -> None:
        """Delete a device: it can log in no longer; what it handed in stays. Raises :class:`UnknownName`."""
        self._stored(login)
        await self._store.delete_device(login, AuditRecord(self._clock.now(), actor, AuditAction.DEVICE_DELETED, login))
        self._changes += 1
        self._devices.pop(login, None)
        self._sightings.device_gone(login)
        self._logins.forget(login)
        self._by_address.clear()
        self._in_clear = None
        self._events.publish(DevicesChanged(self._clock.now()))

    def forget_stranger(self, address: str) -> None:
        """Drop what was seen of an address: it is somebody's now."""
        self._sightings.forget_stranger(address)

    # --- the listeners' side ----------------------------------------------------------------------------------------------

    def by_address(self, address: str) -> Device | None:
        """Return the device that an address belongs to."""
        return only_one(self._around(address))

    def _around(self, address: str) -> tuple[Device, ...]:
        if address not in self._by_address:
            if len(self._by_address) >= ADDRESSES_LIMIT:
                self._by_address.clear()
            self._by_address[address] = narrowest_around([s.value for s in self._devices.values()], address)
        return self._by_address[address]

    def is_at_home(self, address: str) -> bool:
        """Tell whether a device is named for an address, or was right there before."""
        return bool(self._around(address)) or self._logins.is_trusted(address)

    def may_be_old(self, address: str, port: int) -> bool:
        """Tell whether TLS 1.0 will do for a connection: one of those that it may belong to is named for it."""
        here, found = self.by_peer(address, port), self._around(address)
        return any(d.tls is TlsPolicy.LEGACY for d in (found if here is None or here in found else (here,)))

    def by_peer(self, address: str, port: int) -> Device | None:
        """Return the device that a connection belongs to: by its address, or one that is played from here."""
        played = self._played.get((address, port)) if self._played else None
        if played is None:
            return self.by_address(address)
        stored = self._devices.get(played)
        return stored.value if stored is not None and stored.value.enabled else None

    def play(self, login: str, address: str, port: int) -> None:
        """Let the connection from here be a device's that is known by its address (:mod:`valija.services.device_test`)."""
        self._played[address, port] = login

    def played(self, login: str) -> None:
        """End that; a password that was not used opens nothing any more."""
        self._played = {place: device for place, device in self._played.items() if device != login}
        self._logins.end_one_time(login)

    def one_time_password(self, login: str) -> Secret:
        """Return a password that lets a device log in once, within a minute, beside its own; nobody need know that one."""
        return self._logins.one_time_password(login)

    def as_it_is(self, device: Device) -> Device | None:
        """Return a device that logged in before as it is now; None if it could not log in like that any more."""
        stored = self._devices.get(device.login)
        if stored is None or not stored.value.enabled or stored.value.password != device.password:
            return None
        return stored.value

    def any_in_clear(self) -> bool:
        """Tell whether a device may log in without TLS; one without a password does not log in at all."""
        if self._in_clear is None:
            devices = (stored.value for stored in self._devices.values())
            self._in_clear = any(d.enabled and d.tls is TlsPolicy.OFFERED and d.password for d in devices)
        return self._in_clear

    def may_in_clear(self, login: str) -> bool:
        """Tell whether the device with this login may do without TLS."""
        device = self._named(login)
        return device is not None and device.tls is TlsPolicy.OFFERED

    def at_its_place(self, login: str, address: str) -> Device | None:
        """Return the device with this login, if the address is the one where it was seen last."""
        device = self._named(login)
        seen = self.sighting(device.login) if device is not None and device.enabled else None
        return device if seen is not None and seen.address == plain_address(address) else None

    def fetches(self, mailbox: str) -> bool:
        """Tell whether a device fetches the mailbox of this POP setting."""
        devices = (stored.value for stored in self._devices.values())
        return any(d.enabled and d.password is not None and d.mailbox == mailbox for d in devices)

    def locked_until(self, login: str, address: str) -> datetime | None:
        """Return until when log-ins are not looked at."""
        return self._logins.locked_until(login_meant(login), address)

    def recognise(self, login: str, password: Secret, address: str) -> Device | None:
        """Return the device whose login and password these are, if they were right before; at once."""
        device = self._named(login)
        return device if device is not None and self._logins.recognise(device, password, address) else None

    async def verify(self, login: str, password: Secret, address: str) -> Device | None:
        """Return the device whose login and password these are, as it is then.

        A wrong one costs time (:class:`DeviceLogins`). Raises :class:`~valija.services.device_logins.NotLookedAt`.
        """
        known = self.recognise(login, password, address)
        if known is not None:
            return known
        device = self._named(login)
        good = await self._logins.check(device, login_meant(login), password, address)
        return self.as_it_is(device) if good and device is not None else None

    def _named(self, login: str) -> Device | None:
        stored = self._devices.get(login_meant(login))
        return stored.value if stored is not None else None

    def saw(self, login: str | None, seen: Seen) -> None:
        """Note what a device did; kept in memory, written down by :meth:`run`."""
        self._sightings.saw(login, seen)

    def changed(self) -> None:
        """Tell the faces that something about the devices is to be shown anew."""
        self._events.publish(DevicesChanged(self._clock.now()))

    async def flush(self) -> None:
        """Write down what was seen. Raises store errors; nothing is lost then."""
        if await self._sightings.flush():
            self._events.publish(DevicesChanged(self._clock.now()))

    async def run(self) -> None:
        """Write down what was seen, every few seconds, for ever."""
        while True:
            await self._clock.sleep(FLUSH_S)
            await self.flush()

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _stored(self, login: str) -> VersionedDevice:
        stored = self._devices.get(login)
        if stored is None:
            raise UnknownName(
                message(N_("There is no device {name}."), name=login[:40]),
                message(N_("`valija device list` shows those that exist.")),
            )
        return stored

    async def _save(self, version: int, device: Device, action: AuditAction, actor: Actor, **details: str) -> bool:
        record = AuditRecord(self._clock.now(), actor, action, device.login, details)
        saved = await self._store.save_device(version, device, record)
        if saved is None:
            await self.read_devices()
            return False
        self._keep(saved)
        return True

    def _check_known(self, device: Device) -> None:
        """Refuse a device that nothing tells from others, or that asks for what it cannot have (:class:`InvalidFields`)."""
        if device.tls is TlsPolicy.LEGACY and not device.ranges:
            problem = message(N_("must say where it connects from: old TLS is only for addresses that are named"))
            raise InvalidFields((FieldProblem("ranges", problem),))
        if device.mailbox and device.password is None:
            text = N_("needs a password, which the device does not have: {with_one} when it is added, or {new_one}")
            values = {"with_one": "--with-password", "new_one": f"valija device password {device.login}"}
            raise InvalidFields((FieldProblem("mailbox", message(text, **values)),))
        if device.password is not None or not device.enabled:
            return
        if not device.ranges:
            problem = message(N_("must not be empty: the device has no password, so nothing else tells who it is"))
            raise InvalidFields((FieldProblem("ranges", problem),))
        for other in (s.value for s in self._devices.values()):
            shared = set(other.ranges) & set(device.ranges)
            if shared and other.login != device.login and other.enabled and other.password is None:
                text = N_("{entry} is {login}'s already, which has no password either: nothing would tell them apart")
                problem = message(text, entry=min(shared), login=other.login)
                raise InvalidFields((FieldProblem("ranges", problem),))

    def _keep(self, saved: VersionedDevice) -> None:
        self._changes += 1
        self._devices[saved.value.login] = saved
        self._by_address.clear()
        self._in_clear = None
        for seen in self.strangers() if saved.value.ranges else ():
            if find_by_address((saved.value,), seen.address) is not None:
                self.forget_stranger(seen.address)
        self._events.publish(DevicesChanged(self._clock.now()))

    def _free_login(self, name: Any) -> str:
        text = unicodedata.normalize("NFKD", name if isinstance(name, str) else "").encode("ascii", "ignore").decode()
        base = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:24].rstrip("-") or "device"
        number, login = 2, base
        while login in self._devices:
            login, number = f"{base}-{number}", number + 1
        return login


def _new_password() -> Secret:
    groups = ["".join(secrets.choice(LETTERS) for _letter in range(GROUP)) for _group in range(GROUPS)]
    return Secret("-".join(groups))
