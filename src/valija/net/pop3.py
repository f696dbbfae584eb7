"""POP3 connections: runs the dialogs of :mod:`valija.protocol.pop3_client` over a :class:`~valija.net.wire.Wire`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from typing import Any, TypeVar

from valija.net.errors import NetError
from valija.net.smtp import forbid_plaintext
from valija.net.tls import ClientContext
from valija.net.wire import Endpoint, Observer, TlsMode, Wire, connect, ignore
from valija.protocol import pop3_client as pop
from valija.protocol.dot_stuffing import DotUnstuffer
from valija.protocol.errors import RemoteProtocolError
from valija.protocol.lines import LineReader
from valija.protocol.sasl import BearerCredentials, Credentials
from valija.protocol.smtp_client import StartTls, Write

T = TypeVar("T")


class PopRefusal(Exception):
    """The server refused a command."""

    def __init__(self, refused: pop.PopRefused) -> None:
        super().__init__(refused.status.server_words)
        self.refused = refused


class Pop3Connection:
    """An open, greeted, secured connection. Use :meth:`open`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lines = LineReader(pop.STATUS_LIMIT)
        self._observe: Observer = ignore
        self.capabilities = pop.PopCapabilities(False, (), False, True)

    @classmethod
    async def open(cls, endpoint: Endpoint, tls: ClientContext, *, observe: Observer = ignore) -> Pop3Connection:
        """Connect, greet and secure. Raises :class:`NetError` or :class:`PopRefusal`; nothing stays open then."""
        wire = await connect(endpoint, tls, observe)
        connection = cls(wire)
        connection._observe = observe
        try:
            connection.capabilities = await connection._ask(pop.greet())
            observe("greeting", {})
            if endpoint.tls is not TlsMode.NONE and not wire.secure:
                if not connection.capabilities.stls:
                    raise NetError("starttls_not_offered", "starttls", "CAPA does not offer STLS")
                connection.capabilities = await connection._ask(pop.start_tls())
        except BaseException:
            await wire.close()
            raise
        return connection

    async def authenticate(self, credentials: Credentials, preference: tuple[str, ...] = ()) -> pop.PopAuthOutcome:
        """Log in. Raises :class:`NetError`, also where a token would go over a connection without TLS."""
        if isinstance(credentials, BearerCredentials):
            forbid_plaintext(self._wire)
        return await self._run(pop.authenticate(self.capabilities, credentials, preference))

    async def stat(self) -> pop.Maildrop:
        """Return how many messages there are."""
        return await self._ask(pop.ask_stat())

    async def unique_ids(self) -> list[tuple[int, str]]:
        """Return message numbers with unique-ids."""
        return await self._ask(pop.ask_unique_ids())

    async def retrieve(self, number: int) -> AsyncIterator[bytes]:
        """Yield a message's octets in pieces; it must be read to its end before anything else is asked."""
        status = await self._run(pop.ask_retrieve(number))
        if not status.ok:
            raise PopRefusal(pop.PopRefused(pop.PopStage.RETR, status))
        unstuffer = DotUnstuffer()
        data = self._lines.take_rest()
        while True:
            body, rest = unstuffer.feed(data)
            if body:
                yield body
            if unstuffer.done:
                self._lines.feed(rest)
                return
            data = await self._wire.receive("retr")

    async def delete(self, number: int) -> None:
        """Mark a message for deletion at QUIT."""
        status = await self._run(pop.ask_delete(number))
        if not status.ok:
            raise PopRefusal(pop.PopRefused(pop.PopStage.DELE, status))

    async def quit(self) -> pop.PopStatus:
        """End the session; only now deletions happen. Closes the connection."""
        try:
            return await self._run(pop.say_goodbye())
        finally:
            await self._wire.close()

    async def close(self) -> None:
        """Let the connection go without QUIT: nothing is deleted."""
        await self._wire.close()

    async def _ask(self, dialog: Generator[pop.Step, Any, T | pop.PopRefused]) -> T:
        found = await self._run(dialog)
        if isinstance(found, pop.PopRefused):
            raise PopRefusal(found)
        return found

    async def _run(self, dialog: Generator[pop.Step, Any, T]) -> T:
        result: Any = None
        stage = "greeting"
        try:
            while True:
                step = dialog.send(result)
                result = None
                match step:
                    case Write():
                        self._wire.write(step.data)
                    case pop.ReadStatus():
                        stage = step.stage.value
                        result = pop.parse_status(await self._line(stage))
                    case pop.ReadListing():
                        result = await self._listing(step.stage.value)
                    case StartTls():
                        if len(self._lines) or self._wire.has_octets():
                            raise RemoteProtocolError("octets in clear after the answer to STLS")
                        await self._wire.start_tls(self._observe)
        except StopIteration as end:
            value: T = end.value
            return value
        except RemoteProtocolError as error:
            raise NetError("peer_nonsense", stage, str(error)) from None
        finally:
            dialog.close()

    async def _line(self, stage: str) -> bytes:
        while (line := self._lines.next_line()) is None:
            self._lines.feed(await self._wire.receive(stage))
        return line

    async def _listing(self, stage: str) -> list[bytes]:
        lines: list[bytes] = []
        while (line := await self._line(stage)) != b".":
            if len(line) > pop.LISTING_LINE_LIMIT or len(lines) >= pop.LISTING_LIMIT:
                raise RemoteProtocolError("a listing without bounds")
            lines.append(line[1:] if line.startswith(b".") else line)
        return lines
