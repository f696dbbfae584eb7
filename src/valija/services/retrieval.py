"""Receiving mail with a POP setting: every message is on disk before it is deleted upstream, none is fetched twice.

Order for each message: stream to a file aside → fsync → rename → note in the store; then DELE for all of them. Some small ones
are made durable together: their syncs at one moment, their notes in one commit, in order. Deletions happen upstream at QUIT.
A crash in between leaves at most messages that are known and still upstream: they are deleted there without being fetched anew.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from valija.domain.account import Setting
from valija.domain.clock import Clock
from valija.domain.errors import StoreFull, TryLater, ValijaError
from valija.domain.record import ReceivedMessage
from valija.domain.settings import PopSettings
from valija.domain.subject_options import without_password
from valija.domain.text import N_, message
from valija.domain.trouble import Trouble
from valija.domain.unique_ids import may_go, told_apart
from valija.message.summary import summarise
from valija.net.errors import NetError
from valija.net.pop3 import Pop3Connection, PopRefusal
from valija.net.tls import ClientContext
from valija.protocol.pop3_client import PopStatus
from valija.services.events import EventBus, MailReceived
from valija.services.fetched import Fetched, NoEnd, discard, keep_together
from valija.services.login import Login, LoginFailed, endpoint_of
from valija.services.providers import ProviderBook
from valija.store.port import Store, StoredMessage

log: Final = logging.getLogger(__name__)
MESSAGES_A_CHECK: Final = 500
LOOKED_UP: Final = 1000  # unique-ids, in one read of the store
REFUSALS_A_CHECK: Final = 20  # then the server is left alone
BUFFER: Final = 262_144
TOGETHER: Final = 16  # messages
TOGETHER_OCTETS: Final = 4_194_304
MINUTE_S: Final = 60.0
TICK_S: Final = 5.0
FIRST_AGAIN_S: Final = 60.0
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
        self._without_end: set[tuple[str, str]] = set()  # maildrop and unique-id: it stays there, and holds up no other
        self.sandbox_ports = sandbox_ports
        self.unfinished: set[Setting] = set()  # whose last check left some for the next one

    async def check(self, setting: Setting) -> CheckReport:
        """Fetch what is new.

        Raises :class:`NotReady`, :class:`ConsentNeeded`, :class:`TryLater`; a trouble on the way is in the report, with
        the messages that came before it.
        """
        release = await self.take(setting, TURN_S)
        self.unfinished.discard(setting)
        try:
            settings = await self.settings(setting)
            received: list[StoredMessage] = []
            try:
                connection = await self.open(setting, settings)
            except LoginFailed as failed:
                return CheckReport((), failed.trouble)
            try:
                trouble = await self._fetch_all(setting, settings, connection, received)
            finally:
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
            as_listed = await connection.unique_ids()
            listed = told_apart(as_listed)
            new, here = await self._sort_out(setting, maildrop, listed)
            had, not_given = await self._fetch(setting, maildrop, connection, new[:MESSAGES_A_CHECK], received)
            not_deleted = await connection.delete_all(may_go(as_listed, here + had))
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
        for stage, said in (("retr", not_given), ("dele", not_deleted), ("quit", [status])):
            for answer in said:
                if not answer.ok:
                    return troubles.of_pop(stage, answer)[0]
        if len(new) > MESSAGES_A_CHECK:
            self.unfinished.add(setting)
        if any((maildrop, unique_id) in self._without_end for _number, unique_id in listed):
            return troubles.of_reason("peer_nonsense", str(NoEnd()))
        return None

    async def _sort_out(
        self, setting: Setting, maildrop: str, listed: Sequence[tuple[int, str]]
    ) -> tuple[list[tuple[int, str]], list[int]]:
        """Return what is new, as far as one check goes and one more, and the numbers of what is here already before that."""
        new: list[tuple[int, str]] = []
        here: list[int] = []
        for start in range(0, len(listed), LOOKED_UP):
            some = listed[start : start + LOOKED_UP]
            known = await self._store.known_unique_ids(
                setting.value, maildrop, [unique_id for _number, unique_id in some]
            )
            new += [e for e in some if e[1] not in known and (maildrop, e[1]) not in self._without_end]
            here += [number for number, unique_id in some if unique_id in known]
            if len(new) > MESSAGES_A_CHECK:
                break
        return new, here

    async def _fetch(
        self,
        setting: Setting,
        maildrop: str,
        connection: Pop3Connection,
        listed: Sequence[tuple[int, str]],
        received: list[StoredMessage],
    ) -> tuple[list[int], list[PopStatus]]:
        """Fetch messages, some at a time; what came before a trouble is kept. Return the numbers of what is here, and refusals.

        A message that the server does not give stays there, and does not hold up the others.
        """
        some: list[Fetched] = []
        had: list[int] = []
        refused: list[PopStatus] = []

        async def keep() -> None:
            kept, some[:] = list(some), []
            await self._keep(setting, maildrop, kept, received)

        try:
            for place, (number, unique_id) in enumerate(listed):
                if place % TOGETHER == 0:
                    if len(refused) >= REFUSALS_A_CHECK:
                        break
                    connection.ask_ahead([ahead for ahead, _unique_id in listed[place : place + TOGETHER]])
                try:
                    some.append(await self._stream(setting, maildrop, connection, number, unique_id))
                    had.append(number)
                except PopRefusal as refusal:
                    refused.append(refusal.refused.status)
                if len(some) >= TOGETHER or sum(fetched.size for fetched in some) >= TOGETHER_OCTETS:
                    await keep()
            await keep()
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.to_thread(discard, some))
            raise
        except Exception:
            await keep()
            raise
        return had, refused

    async def _stream(
        self, setting: Setting, maildrop: str, connection: Pop3Connection, number: int, unique_id: str
    ) -> Fetched:
        now = self._clock.now()
        name = Path(DIRECTORY) / setting.value / f"{now:%Y-%m}" / f"{now:%d%H%M%S}-{secrets.token_hex(6)}.eml"
        fetched = Fetched(unique_id, now, name, self._state_dir)
        try:
            async for piece in connection.retrieve(number):
                fetched.take(piece)
                if len(fetched.waiting) >= BUFFER:
                    await asyncio.to_thread(fetched.write_on)
        except BaseException as error:
            await asyncio.shield(asyncio.to_thread(fetched.let_go))
            if isinstance(error, NoEnd):
                self._without_end.add((maildrop, unique_id))
                raise NetError("peer_nonsense", "retr", str(error)) from None
            if isinstance(error, OSError):
                raise _not_written(error) from None
            raise
        return fetched

    async def _keep(
        self, setting: Setting, maildrop: str, some: Sequence[Fetched], received: list[StoredMessage]
    ) -> None:
        """Make messages durable, then note them, in order; add those that nobody had noted before to ``received``.

        Those that can be kept are, even if others cannot; then :class:`StoreFull` or the store's error is raised.
        """
        outcomes = await asyncio.to_thread(keep_together, some)
        notes = [
            self._note(setting, maildrop, fetched)
            for fetched, error in zip(some, outcomes, strict=True)
            if error is None
        ]
        noted = await asyncio.gather(*notes, return_exceptions=True)
        received += [stored for stored in noted if isinstance(stored, StoredMessage)]
        for error in (*outcomes, *noted):
            if isinstance(error, OSError):
                raise _not_written(error) from None
            if isinstance(error, BaseException):
                raise error

    async def _note(self, setting: Setting, maildrop: str, fetched: Fetched) -> StoredMessage | None:
        said = summarise(fetched.beginning)
        subject = without_password(said.subject) if setting in _MAY_HAVE_PASSWORDS else said.subject
        record = ReceivedMessage(
            setting.value,
            maildrop,
            fetched.unique_id,
            fetched.at,
            str(fetched.name),
            fetched.size,
            said.sender,
            subject,
        )
        stored = await self._store.record_received(record)
        if stored is None:  # noted by somebody else meanwhile
            await asyncio.to_thread(fetched.let_go)
        return stored


def _not_written(error: OSError) -> StoreFull:
    return StoreFull(
        message(N_("The received message cannot be written: {why}."), why=error.strerror or str(error)),
        message(N_("Make space on the disk; the message is still on the server.")),
    )


class CheckTimer:
    """Checks each POP setting at start-up and at its check interval; 0 is never. Run :meth:`run` as a task.

    What a check left because there was too much for one is fetched at once. A check that failed is made again sooner than at
    the interval, later and later: at the start, the network may not be there yet.

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
        self._failures: dict[Setting, int] = {}
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
        now = self._clock.monotonic()
        last = self._last.get(setting)
        failures = self._failures.get(setting, 0)
        try:
            settings = await self._retrieval.settings(setting)
        except ValijaError as error:  # the store; it is asked again at the next look
            log.info("check_waits", extra={"fields": {"setting": setting.value, "why": str(error)}})
            return
        waits = last is not None and now - last < self._pause(setting, settings.check_interval * MINUTE_S, failures)
        if not settings.server or settings.check_interval == 0 or waits or self._is_a_devices(setting.value):
            return
        self._last[setting] = now
        try:
            if not await self._retrieval.may_check(setting, settings.check_interval * MINUTE_S + SLACK_S):
                return
            report = await self._retrieval.check(setting)
        except ValijaError as error:
            self._failures[setting] = failures + 1
            log.info("check_waits", extra={"fields": {"setting": setting.value, "why": str(error)}})
            return
        self._failures[setting] = 0 if report.trouble is None else failures + 1
        fields = {"setting": setting.value, "messages": len(report.messages)}
        if report.trouble is None:
            self.troubles.pop(setting, None)
            log.info("mail_checked", extra={"fields": fields})
        else:
            self.troubles[setting] = report.trouble
            log.warning("mail_check_failed", extra={"fields": fields | {"reason": report.trouble.reason}})

    def _pause(self, setting: Setting, interval: float, failures: int) -> float:
        """Return how many seconds lie between the last check and the next."""
        if failures:
            return min(interval, FIRST_AGAIN_S * (1 << min(failures - 1, 10)))
        return 0 if setting in self._retrieval.unfinished else interval
