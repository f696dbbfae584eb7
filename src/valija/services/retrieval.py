"""Receiving mail with a POP setting: every message is on disk before it is deleted upstream, none is fetched twice.

Order for each message: stream to a file aside → fsync → rename → note in the store → DELE. Deletions happen upstream at
QUIT. A crash in between leaves at most a message that is known and still upstream: it is deleted there without being
fetched again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from valija.domain.account import Setting
from valija.domain.clock import Clock
from valija.domain.errors import StoreFull, TryLater, ValijaError
from valija.domain.record import ReceivedMessage
from valija.domain.settings import PopSettings
from valija.domain.subject_options import without_password
from valija.domain.text import N_, message
from valija.domain.trouble import Trouble
from valija.message.summary import HEADER_LIMIT, summarise
from valija.net.errors import NetError
from valija.net.pop3 import Pop3Connection, PopRefusal
from valija.net.tls import ClientContext
from valija.services.events import EventBus, MailReceived
from valija.services.login import Login, LoginFailed, endpoint_of
from valija.services.providers import ProviderBook
from valija.store.master_key import sync_directory
from valija.store.port import Store, StoredMessage

log: Final = logging.getLogger(__name__)
MESSAGES_A_CHECK: Final = 500
BUFFER: Final = 262_144
MINUTE_S: Final = 60.0
TICK_S: Final = 5.0
SLACK_S: Final = 60.0
TURN_S: Final = 60.0  # how long a check waits until nobody else has the mailbox open
FRESH_S: Final = 2.0  # settings are not read again for so long
T = TypeVar("T")
DIRECTORY: Final = "received"
_MAY_HAVE_PASSWORDS: Final = (Setting.EMAIL_PRINT, Setting.EMAIL_STATUS)  # in the subject


class MaildropBusy(TryLater):
    """Somebody has the mailbox open: a device, or another check."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found: the messages that are new, and the trouble that ended it early, if one did."""

    messages: tuple[StoredMessage, ...]
    trouble: Trouble | None


class Retrieval:
    """Fetches mail, and opens mailboxes for devices; a setting's mailbox is open once at a time."""

    def __init__(
        self,
        store: Store,
        providers: ProviderBook,
        login: Login,
        tls: ClientContext,
        clock: Clock,
        events: EventBus,
        state_dir: Path,
        *,
        sandbox_ports: frozenset[int] = frozenset(),
    ) -> None:
        self._store = store
        self._providers = providers
        self._login = login
        self._tls = tls
        self._clock = clock
        self._events = events
        self._state_dir = state_dir
        self._kept: dict[str, tuple[int, float, Any]] = {}
        self._locks: defaultdict[Setting, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.sandbox_ports = sandbox_ports

    async def check(self, setting: Setting) -> CheckReport:
        """Fetch what is new.

        Raises :class:`NotReady`, :class:`ConsentNeeded`, :class:`TryLater`; a trouble on the way is in the report, with
        the messages that came before it.
        """
        release = await self.take(setting, TURN_S)
        try:
            settings = await self.settings(setting)
            received: list[StoredMessage] = []
            try:
                connection = await self.open(setting, settings)
            except LoginFailed as failed:
                return CheckReport((), failed.trouble)
            trouble = await self._fetch_all(setting, settings, connection, received)
            if received:
                self._events.publish(MailReceived(setting.value, len(received), self._clock.now()))
            return CheckReport(tuple(received), trouble)
        finally:
            release()

    async def take(self, setting: Setting, patience_s: float) -> Callable[[], None]:
        """Wait until a setting's mailbox is free; return what lets others have it. Raises :class:`MaildropBusy`."""
        lock = self._locks[setting]
        try:
            async with asyncio.timeout(patience_s):
                await lock.acquire()
        except TimeoutError:
            raise MaildropBusy(
                message(N_("The mailbox is being read just now, by a device or by a check.")),
                message(N_("Try again in a moment.")),
            ) from None
        return lock.release

    async def settings(self, setting: Setting) -> PopSettings:
        """Return a POP setting."""

        async def read() -> PopSettings:
            settings = (await self._store.load_settings(setting)).value
            if not isinstance(settings, PopSettings):
                raise TypeError("not a POP setting")
            return settings

        return await self._fresh(setting.value, read)

    async def _mechanisms(self, provider: str) -> tuple[str, ...]:
        async def read() -> tuple[str, ...]:
            profile = await self._providers.profile(provider) if provider else None
            return profile.mechanisms if profile else ()

        return await self._fresh(f"provider {provider}", read)

    async def _fresh(self, name: str, read: Callable[[], Awaitable[T]]) -> T:
        """Read, but again only if settings were changed here since, or may have been by another node."""
        now, changes = self._clock.monotonic(), self._events.settings_changes
        kept = self._kept.get(name)
        if kept is None or kept[0] != changes or now - kept[1] > FRESH_S:
            kept = self._kept[name] = (changes, now, await read())
        value: T = kept[2]
        return value

    async def may_check(self, setting: Setting, seconds: float) -> bool:
        """Tell whether it is this node that checks a setting by the clock, for so long."""
        return await self._store.have_duty(f"check {setting.value}", seconds)

    async def open(self, setting: Setting, settings: PopSettings, *, utf8: bool = False) -> Pop3Connection:
        """Return a connection that is logged in. Raises :class:`LoginFailed` and what :meth:`check` raises."""
        endpoint = endpoint_of(settings, plaintext_bearer=settings.port in self.sandbox_ports)
        mechanisms = await self._mechanisms(settings.provider)

        async def connect() -> Pop3Connection:
            return await Pop3Connection.open(endpoint, self._tls, utf8=utf8)

        return await self._login.open(setting, settings, connect, mechanisms)

    async def _fetch_all(
        self, setting: Setting, settings: PopSettings, connection: Pop3Connection, received: list[StoredMessage]
    ) -> Trouble | None:
        maildrop = f"{settings.account.lower()}@{settings.server}"
        troubles = self._login.troubles
        try:
            listed = (await connection.unique_ids())[:MESSAGES_A_CHECK]
            known = await self._store.known_unique_ids(setting.value, maildrop, [uid for _n, uid in listed])
            for number, unique_id in listed:
                if unique_id not in known:
                    stored = await self._fetch(setting, maildrop, connection, number, unique_id)
                    if stored is not None:
                        received.append(stored)
                await connection.delete(number)
            status = await connection.quit()
        except NetError as error:
            await connection.close()
            return troubles.of_net(error)
        except PopRefusal as refusal:
            await connection.close()
            return troubles.of_pop(refusal.refused.stage.value, refusal.refused.status)[0]
        except BaseException:
            await connection.close()
            raise
        return None if status.ok else troubles.of_pop("quit", status)[0]

    async def _fetch(
        self, setting: Setting, maildrop: str, connection: Pop3Connection, number: int, unique_id: str
    ) -> StoredMessage | None:
        now = self._clock.now()
        relative = Path(DIRECTORY) / setting.value / f"{now:%Y-%m}" / f"{now:%d%H%M%S}-{secrets.token_hex(6)}.eml"
        target = self._state_dir / relative
        temporary = target.with_suffix(".tmp")
        try:
            keeper = _Keeper(temporary, target)
            try:
                size, beginning = await self._stream(connection, number, keeper)
                await asyncio.to_thread(keeper.keep)
            finally:
                if keeper.is_open:
                    await asyncio.to_thread(keeper.let_go)
        except OSError as error:
            raise StoreFull(
                message(N_("The received message cannot be written: {why}."), why=error.strerror or str(error)),
                message(N_("Make space on the disk; the message is still on the server.")),
            ) from None
        said = summarise(beginning)
        subject = without_password(said.subject) if setting in _MAY_HAVE_PASSWORDS else said.subject
        record = ReceivedMessage(setting.value, maildrop, unique_id, now, str(relative), size, said.sender, subject)
        stored = await self._store.record_received(record)
        if stored is None:  # noted by somebody else meanwhile
            await asyncio.to_thread(target.unlink, missing_ok=True)
        return stored

    async def _stream(self, connection: Pop3Connection, number: int, keeper: _Keeper) -> tuple[int, bytes]:
        size, beginning = 0, b""
        async for piece in connection.retrieve(number):
            if len(beginning) < HEADER_LIMIT:
                beginning += piece[: HEADER_LIMIT - len(beginning)]
            size += len(piece)
            keeper.waiting += piece
            if len(keeper.waiting) >= BUFFER:
                await asyncio.to_thread(keeper.write)
        return size, beginning


class _Keeper:
    """Writes a message to disk; all but ``waiting`` is for a thread. A small one takes a thread once."""

    def __init__(self, temporary: Path, target: Path) -> None:
        self.waiting = bytearray()
        self._temporary = temporary
        self._target = target
        self._out: BinaryIO | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether something half lies there."""
        return self._out is not None

    def write(self) -> None:
        """Write what waits."""
        if self._out is None:
            self._temporary.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._out = os.fdopen(os.open(self._temporary, flags, 0o600), "wb")
        self._out.write(self.waiting)
        self.waiting.clear()

    def keep(self) -> None:
        """Write the rest, and keep it durably, whole, under its name."""
        self.write()
        if self._out is None:
            raise RuntimeError("nothing is open")
        with self._out as out:
            out.flush()
            os.fsync(out.fileno())
        self._temporary.rename(self._target)
        self._out = None
        sync_directory(self._target.parent)

    def let_go(self) -> None:
        """Close, and leave nothing half behind."""
        try:
            if self._out is not None:
                self._out.close()
        finally:
            self._temporary.unlink(missing_ok=True)
            self._out = None


class CheckTimer:
    """Checks each POP setting at start-up and at its check interval; 0 is never. Run :meth:`run` as a task.

    Where several nodes share the store, one of them checks; another one goes on when it has been silent for an interval.

    A mailbox that a device fetches is the device's: it is not checked here.
    """

    def __init__(
        self,
        retrieval: Retrieval,
        clock: Clock,
        settings: tuple[Setting, ...],
        is_a_devices: Callable[[str], bool] = lambda _setting: False,
    ) -> None:
        self._retrieval = retrieval
        self._clock = clock
        self._settings = settings
        self._is_a_devices = is_a_devices
        self._last: dict[Setting, float] = {}
        self.troubles: dict[Setting, Trouble] = {}

    async def run(self) -> None:
        """Check what is due, for ever."""
        running: dict[Setting, asyncio.Task[None]] = {}
        try:
            while True:
                for setting in self._settings:
                    if setting not in running or running[setting].done():
                        running[setting] = asyncio.create_task(self._check_if_due(setting))
                await self._clock.sleep(TICK_S)
        finally:
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)

    async def _check_if_due(self, setting: Setting) -> None:
        settings = await self._retrieval.settings(setting)
        now = self._clock.monotonic()
        last = self._last.get(setting)
        waits = last is not None and now - last < settings.check_interval * MINUTE_S
        if not settings.server or settings.check_interval == 0 or waits or self._is_a_devices(setting.value):
            return
        self._last[setting] = now
        try:
            if not await self._retrieval.may_check(setting, settings.check_interval * MINUTE_S + SLACK_S):
                return
            report = await self._retrieval.check(setting)
        except ValijaError as error:
            log.info("check_waits", extra={"fields": {"setting": setting.value, "why": str(error)}})
            return
        fields = {"setting": setting.value, "messages": len(report.messages)}
        if report.trouble is None:
            self.troubles.pop(setting, None)
            log.info("mail_checked", extra={"fields": fields})
        else:
            self.troubles[setting] = report.trouble
            log.warning("mail_check_failed", extra={"fields": fields | {"reason": report.trouble.reason}})
