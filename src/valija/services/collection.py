"""POP3 for the devices of the local network: a device fetches a mailbox that this machine opens with its own token.

Theory of operation
-------------------
1. A device logs in with its own password; only then is anybody asked upstream. The mailbox is that of the POP setting which
   the device has as its ``mailbox``, opened as the machine opens it (:class:`~valija.services.retrieval.Retrieval`). Neither
   knows anything of the other's credentials.
2. What goes wrong upstream is never the device's fault: it is told to try later, in few words, and the cause is kept in what
   was seen of it.
3. A mailbox is open once: for a device, or for the machine's own check. Whoever comes meanwhile waits a moment.
4. Messages pass through as they come, stuffed and untouched, piece by piece as the device takes them. Unique-ids and sizes
   are the provider's.
5. Who may no longer have it, gets nothing more, from the next message on.
6. Deletions are marks in the device's session. They are sent upstream when it says QUIT, together with our QUIT, and the
   device hears how that ended. Without its QUIT nothing is deleted anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

from valija.domain.account import Setting
from valija.domain.clock import Clock
from valija.domain.device import Device, plain_address
from valija.domain.device_hints import NO_LOGIN, NO_MAILBOX, TAKEN_AWAY
from valija.domain.errors import ValijaError
from valija.domain.sighting import Attempt, Seen
from valija.domain.trouble import Trouble
from valija.net.errors import NetError
from valija.net.message_stream import stuffed
from valija.net.pop3 import Pop3Connection, PopRefusal
from valija.net.visits import LoginRefused, MaildropLost, MessageRefused, Peer, PopHandler, PopVisit
from valija.protocol.pop3_client import Listed
from valija.protocol.pop3_server_events import Entry, PopPolicy
from valija.protocol.sasl_server import Shown
from valija.services.admission import NotAdmitted, admit
from valija.services.devices import DeviceDesk
from valija.services.login import LoginFailed, Troubles
from valija.services.retrieval import MaildropBusy, Retrieval

PROTOCOL: Final = "pop3"
TURN_S: Final = 5.0  # how long a device waits for its turn at the mailbox
OPEN_S: Final = 45.0  # how long it waits for the mailbox to open; devices wait for a minute or so
REASONS: Final = {"consent_needed": "no_token"}  # of explanations, by errors' codes
LEAVE_S: Final = 5.0  # how long our QUIT may take where nothing is deleted
REVOKED: Final = "[AUTH] This device may not have the mailbox any more: nothing was deleted"
GONE: Final = "[SYS/TEMP] The connection to the mailbox is lost, nothing was deleted: try again later"
log: Final = logging.getLogger(__name__)


class Collection(PopHandler):
    """The server's side of all devices."""

    def __init__(
        self,
        devices: DeviceDesk,
        retrieval: Retrieval,
        troubles: Troubles,
        clock: Clock,
        *,
        host_name: str,
        tls: bool,
        is_learning: Callable[[], bool] = lambda: False,
    ) -> None:
        self.devices = devices
        self.retrieval = retrieval
        self.troubles = troubles
        self.clock = clock
        self.host_name = host_name
        self.tls = tls
        self.is_learning = is_learning

    def open(self, peer: Peer) -> PopVisit:
        """Return who decides for a session."""
        return CollectingVisit(self, peer)

    async def open_maildrop(self, device: Device, *, utf8: bool, lost: Callable[[Trouble], None]) -> Maildrop:
        """Open a device's mailbox.

        Raises :class:`MaildropBusy`, :class:`LoginFailed`, :class:`ValijaError`; nothing stays open then.
        """
        setting = Setting(device.mailbox)
        release = await self.retrieval.take(setting, TURN_S)
        try:
            async with asyncio.timeout(OPEN_S):
                connection = await self.retrieval.open(setting, await self.retrieval.settings(setting), utf8=utf8)
                try:
                    listed = await connection.listing()
                except BaseException:
                    await connection.close()
                    raise
        except BaseException as error:
            release()
            raise self._explained(error) from None
        return Maildrop(connection, listed, self.troubles, release, lost, lambda: self._still_may(device))

    def _still_may(self, device: Device) -> bool:
        now = self.devices.as_it_is(device)
        return now is not None and now.mailbox == device.mailbox

    def _explained(self, error: BaseException) -> BaseException:
        if isinstance(error, NetError | PopRefusal):
            return LoginFailed(self.troubles.of_opening(error))
        if isinstance(error, TimeoutError):
            return LoginFailed(self.troubles.of_reason("timed_out", f"not open after {OPEN_S:g} s"))
        return error


class CollectingVisit(PopVisit):
    """One session of a device."""

    def __init__(self, server: Collection, peer: Peer) -> None:
        self._server = server
        self._peer = peer
        self._tls = ""
        self._noted = False
        self._mechanism = ""
        self.policy = PopPolicy(
            server.host_name,
            ("PLAIN", "LOGIN"),
            tls_offered=server.tls,
            auth_needs_tls=server.tls and not server.devices.any_in_clear(),
            sizes_exact=False,
        )

    def secured(self, version: str) -> None:
        """Note the TLS version."""
        self._tls = version

    def not_secured(self, why: str) -> None:
        """Note why there is no TLS."""
        self._saw(None, f"TLS: {why}")

    async def login(self, shown: Shown, *, utf8: bool) -> Maildrop | LoginRefused | None:
        """Check a device's own password, then open its mailbox."""
        server = self._server
        self._mechanism = shown.mechanism
        device = await admit(server.devices, shown, self._peer.address, secure=bool(self._tls), tls_there=server.tls)
        if isinstance(device, NotAdmitted):
            self._saw(device.device, device.why, shown.user)
            return LoginRefused(temporary=device.later)
        if not device.mailbox:
            self._saw(device, NO_MAILBOX, shown.user)
            return LoginRefused()
        return await self._open(device, utf8=utf8)

    async def _open(self, device: Device, *, utf8: bool) -> Maildrop | LoginRefused | None:
        def lost(trouble: Trouble) -> None:
            self._saw(device, f"{device.mailbox}: {trouble.reason} {trouble.server_words}".rstrip())

        try:
            opened = await self._server.open_maildrop(device, utf8=utf8, lost=lost)
        except MaildropBusy as busy:
            self._saw(device, f"{device.mailbox}: maildrop_in_use {busy.what}")
            return None
        except LoginFailed as failed:
            lost(failed.trouble)
            return None if failed.trouble.reason == "maildrop_in_use" else LoginRefused(temporary=True)
        except ValijaError as error:
            self._saw(device, f"{device.mailbox}: {REASONS.get(error.code, error.code)} {error.what}")
            return LoginRefused(temporary=True)
        if not opened.is_allowed:
            await opened.close()
            self._saw(device, TAKEN_AWAY)
            return LoginRefused()
        self._saw(device, "")
        return opened

    def ended(self) -> None:
        """Note a stranger who only connected."""
        if not self._noted:
            self._saw(None, NO_LOGIN)

    def _saw(self, device: Device | None, error: str, tried: str = "") -> None:
        self._noted = True
        address = plain_address(self._peer.address)
        learns = device is None and self._server.is_learning()
        attempt = Attempt(self._peer.listener, mechanism=self._mechanism) if learns else None
        seen = Seen(self._server.clock.now(), address, PROTOCOL, self._tls, tried, error, attempt)
        self._server.devices.saw(device.login if device else None, seen)


class Maildrop:
    """A provider's maildrop, open for one session (:class:`~valija.net.listeners.OpenMaildrop`)."""

    def __init__(
        self,
        connection: Pop3Connection,
        listed: Sequence[Listed],
        troubles: Troubles,
        release: Callable[[], None],
        lost: Callable[[Trouble], None],
        still_may: Callable[[], bool],
    ) -> None:
        self.entries: Sequence[Entry] = [Entry(one.unique_id, one.size) for one in listed]
        self._numbers = [one.number for one in listed]
        self._connection = connection
        self._troubles = troubles
        self._release = release
        self._lost = lost
        self._still_may = still_may
        self._in_step = True  # the server waits for a command

    @property
    def is_allowed(self) -> bool:
        """Tell whether the device may have it still."""
        return self._still_may()

    async def read(self, index: int, lines: int | None) -> AsyncGenerator[bytes]:
        """Yield a message as it comes from the provider."""
        connection, number = self._connection, self._numbers[index]
        if lines is None or connection.capabilities.top:
            pieces = connection.relay(number, lines)
        else:
            pieces = stuffed(connection.retrieve(number), lines)
        if not self.is_allowed:
            raise MaildropLost(REVOKED)
        if not self._in_step:
            raise MaildropLost(GONE)
        self._in_step = False
        try:
            async for piece in pieces:
                yield piece
        except PopRefusal as refusal:
            self._in_step = True
            words = refusal.refused.status.server_words.removeprefix("-ERR").strip()
            raise MessageRefused(words or "The provider refuses it") from None
        except NetError as error:
            self._lost(self._troubles.of_net(error))
            raise MaildropLost(GONE) from None
        self._in_step = True

    async def delete(self, indexes: Sequence[int]) -> bool:
        """Delete messages, and end the provider's session; tell whether all are gone."""
        if not self._in_step or not self.is_allowed:
            return False
        self._in_step = False
        try:
            refused = await self._connection.delete_all([self._numbers[index] for index in indexes])
            status = await self._connection.quit()
        except NetError as error:
            self._lost(self._troubles.of_net(error))
            return False
        refused += [] if status.ok else [status]
        for one in refused[:1]:
            self._lost(self._troubles.of_pop("dele", one)[0])
        return not refused

    async def close(self) -> None:
        """End the provider's session, if it goes on still, and let another one have the mailbox."""
        try:
            if self._in_step:
                self._in_step = False
                with contextlib.suppress(NetError, TimeoutError):
                    async with asyncio.timeout(LEAVE_S):
                        await self._connection.quit()
            else:
                await self._connection.close()
        finally:
            self._release()
