"""Whether a device's password is right: cheap when it was right before, slow and slower for who guesses.

Theory of operation
-------------------
1. A password that was right is known again without the slow hash, by a keyed digest that never leaves this process.
2. Any other is hashed, and takes as long where there is no such device. A wrong one is answered later and later, then not
   looked at for a while (:mod:`valija.domain.guess_guard`).
3. From one address, and of one login, one password is hashed at a time: who guesses on many connections or from many addresses
   holds up nobody else, and gets no more guesses by that.
4. A device is trusted at the address where its password was right, also after a restart.
5. None of this touches the mailbox's token.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from valija.domain.account import Actor, Presence
from valija.domain.clock import Clock
from valija.domain.device import Device, plain_address
from valija.domain.errors import ValijaError
from valija.domain.guess_guard import WINDOW, GuessGuard, place_of
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.sighting import printable
from valija.secret import Secret
from valija.services.events import EventBus, GuessingSeen
from valija.services.passwords import Passwords
from valija.store.port import Store

LOOKED_AT: Final = 64  # letters of a login
ONE_TIME_S: Final = 60.0
TOLD_LIMIT: Final = 20  # lock-outs on record in ten minutes
log: Final = logging.getLogger(__name__)


class NotLookedAt(Exception):
    """Too many were wrong, there or of that login, before this one's turn came."""


def login_meant(login: str) -> str:
    """Return the login that was meant: some devices take nothing but an e-mail address there.

    Of what is longer than any login, only the beginning: it is remembered for a while.
    """
    return login.strip().lower().partition("@")[0][:LOOKED_AT]


class DeviceLogins:
    """Looks at passwords. Logins are as :func:`login_meant` gives them."""

    def __init__(self, store: Store, passwords: Passwords, clock: Clock, events: EventBus) -> None:
        self._store = store
        self._passwords = passwords
        self._clock = clock
        self._events = events
        self._guard = GuessGuard()
        self._secret_key = secrets.token_bytes(32)
        self._known_good: dict[str, tuple[Secret, bytes]] = {}
        self._one_time: dict[str, tuple[bytes, float]] = {}
        self._turns: dict[Hashable, tuple[asyncio.Lock, int]] = {}
        self._told: list[datetime] = []

    def trust(self, login: str, address: str) -> None:
        """Note that a device's password was right there before."""
        self._guard.trust(plain_address(address), login)

    def is_trusted(self, address: str) -> bool:
        """Tell whether any device's password was right there before."""
        return self._guard.is_trusted(plain_address(address))

    def forget(self, login: str) -> None:
        """Forget a device's password."""
        self._known_good.pop(login, None)
        self._one_time.pop(login, None)

    def unlock(self, login: str) -> None:
        """Forget the wrong passwords of a device that has a new one; an address that guesses stays locked."""
        self._guard.forgive(login)

    def locked_until(self, login: str, address: str) -> datetime | None:
        """Return until when log-ins are not looked at."""
        return self._guard.locked_until(plain_address(address), login, self._clock.now())

    def recognise(self, device: Device, password: Secret, address: str) -> bool:
        """Tell whether a password is right, if that can be told at once."""
        if not device.enabled:
            return False
        if device.login in self._one_time and self._is_one_time(device.login, password):
            return True
        known = self._known_good.get(device.login)
        if known is None or known[0] != device.password or not hmac.compare_digest(known[1], self._digest(password)):
            return False
        if self.locked_until(device.login, address) is not None:
            return False
        self._guard.worked(plain_address(address), device.login)
        return True

    async def check(self, device: Device | None, login: str, password: Secret, address: str) -> bool:
        """Tell whether a password is a device's; None where there is no device of this login. Raises :class:`NotLookedAt`."""
        here = plain_address(address)
        async with self._turn(place_of(here)), self._turn((login,)):
            if device is not None and self.recognise(device, password, address):
                return True  # somebody in front was right
            if self._guard.locked_until(here, login, self._clock.now()) is not None:
                raise NotLookedAt
            hashed = device.password if device is not None else None
            if await self._passwords.matches(hashed, password) and device is not None and hashed is not None:
                if device.enabled:
                    self._known_good[login] = (hashed, self._digest(password))
                    self._guard.worked(here, login)
                return True
            now = self._clock.now()
            locks = self._guard.failed(here, login, now)
            delay_s = self._guard.delay_s(here, login)
        if locks:
            await self._tell(login, address, now)
        await self._clock.sleep(delay_s)
        return False

    def one_time_password(self, login: str) -> Secret:
        """Return a password that is good once, within a minute, beside the device's own."""
        password = Secret(secrets.token_urlsafe(24))
        self._one_time[login] = self._digest(password), self._clock.monotonic() + ONE_TIME_S
        return password

    def end_one_time(self, login: str) -> None:
        """Let it open nothing any more."""
        self._one_time.pop(login, None)

    def _is_one_time(self, login: str, password: Secret) -> bool:
        digest, end = self._one_time[login]
        good = self._clock.monotonic() <= end and hmac.compare_digest(digest, self._digest(password))
        if good or self._clock.monotonic() > end:
            del self._one_time[login]
        return good

    @asynccontextmanager
    async def _turn(self, whose: Hashable) -> AsyncIterator[None]:
        lock, waiting = self._turns.get(whose, (asyncio.Lock(), 0))
        self._turns[whose] = lock, waiting + 1
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._turns.pop(whose)
            if waiting > 1:
                self._turns[whose] = lock, waiting - 1

    async def _tell(self, login: str, address: str, now: datetime) -> None:
        """Put a lock-out on record, a few in ten minutes: who guesses from everywhere must not fill the disk."""
        self._told = [at for at in self._told if now - WINDOW < at <= now]
        if len(self._told) >= TOLD_LIMIT:
            return
        self._told.append(now)
        who = printable(login)
        log.warning("device_locked_out", extra={"fields": {"login": who, "address": address}})
        actor = Actor(who, address, Presence.REMOTE)
        try:
            await self._store.append_audit(AuditRecord(now, actor, AuditAction.DEVICE_LOCKED_OUT, who))
        except ValijaError as error:  # who guesses is told no sooner for that
            log.warning("lock_out_not_recorded", extra={"fields": {"login": who, "why": str(error)}})
        self._events.publish(GuessingSeen(who, address, now))

    def _digest(self, password: Secret) -> bytes:
        octets = password.reveal().encode("utf-8", "surrogatepass")
        return hashlib.blake2b(octets, key=self._secret_key, digest_size=32).digest()  # a MAC by itself (RFC 7693)
