"""POP3 connections: runs the dialogs of :mod:`valija.protocol.pop3_client` over a :class:`~valija.net.wire.Wire`."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any, TypeVar

from valija.net.errors import NetError
from valija.net.memory import Memory
from valija.net.smtp import forbid_plaintext
from valija.net.tls import ClientContext, Place
from valija.net.wire import Endpoint, Observer, Slow, TlsMode, Wire, connect, ignore
from valija.protocol import pop3_client as pop
from valija.protocol.dot_stuffing import DotUnstuffer, TerminatorWatch
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

    def __init__(self, wire: Wire, known: Memory[Place, pop.PopCapabilities]) -> None:
        self._wire = wire
        self._known = known
        self._lines = LineReader(pop.STATUS_LIMIT)
        self._observe: Observer = ignore
        self._asked: deque[int] = deque()
        self.capabilities = pop.PopCapabilities(False, (), False, True)

    @classmethod
    async def open(
        cls, endpoint: Endpoint, tls: ClientContext, *, observe: Observer = ignore, utf8: bool = False
    ) -> Pop3Connection:
        """Connect, greet and secure; with ``utf8``, ask for UTF-8 where it is offered (RFC 6856).

        What a server offered over TLS is not asked again for ten minutes, except with an observer or after a refused log-in.
        Raises :class:`NetError` or :class:`PopRefusal`; nothing stays open then.
        """
        wire = await connect(endpoint, tls, observe)
        connection = cls(wire, tls.capabilities)
        connection._observe = observe
        try:
            known = tls.capabilities.recall(wire.place) if wire.secure and observe is ignore else None
            connection.capabilities = await connection._ask(pop.greet(known))
            observe("greeting", {})
            if endpoint.tls is not TlsMode.NONE and not wire.secure:
                if not connection.capabilities.stls:
                    raise NetError("starttls_not_offered", "starttls", "CAPA does not offer STLS")
                connection.capabilities = await connection._ask(pop.start_tls())
            if wire.secure and known is None:
                tls.capabilities.keep(wire.place, connection.capabilities)
            if utf8 and connection.capabilities.utf8:
                await connection._run(pop.ask_utf8())  # refused: it comes as it comes
        except BaseException:
            await wire.close()
            raise
        return connection

    async def authenticate(self, credentials: Credentials, preference: tuple[str, ...] = ()) -> pop.PopAuthOutcome:
        """Log in. Raises :class:`NetError`, also where a token would go over a connection without TLS."""
        if isinstance(credentials, BearerCredentials):
            forbid_plaintext(self._wire)
        outcome = await self._run(pop.authenticate(self.capabilities, credentials, preference))
        if not isinstance(outcome, pop.PopAuthAccepted):
            self._known.forget(self._wire.place)
        return outcome

    async def listing(self) -> list[pop.Listed]:
        """Return all messages with unique-ids and sizes; the sizes may be estimates."""
        return await self._ask(pop.ask_listing(self.capabilities))

    async def stat(self) -> pop.Maildrop:
        """Return how many messages there are."""
        return await self._ask(pop.ask_stat())

    async def unique_ids(self) -> list[tuple[int, str]]:
        """Return message numbers with unique-ids."""
        return await self._ask(pop.ask_unique_ids())

    def ask_ahead(self, numbers: Sequence[int]) -> None:
        """Ask for messages that are retrieved next, in this order, where a server takes commands so (RFC 2449 section 6.6)."""
        if self.capabilities.pipelining:
            self._asked.extend(numbers)
            self._wire.write(pop.retrievals(numbers))

    def retrieve(self, number: int) -> AsyncGenerator[bytes]:
        """Yield a message's octets in pieces; it must be read to its end before anything else is asked."""
        asked = bool(self._asked)
        if asked and self._asked.popleft() != number:
            raise ValueError("it is another message's turn")
        return self._pieces(pop.ask_retrieve(number, asked=asked), DotUnstuffer())

    def relay(self, number: int, lines: int | None = None) -> AsyncGenerator[bytes]:
        """Yield a message as it is on the wire, stuffed and with its terminator; ``lines`` of its body by TOP, None for all.

        It must be read to its end before anything else is asked. Raises :class:`PopRefusal` before anything is yielded.
        """
        asked = pop.ask_retrieve(number) if lines is None else pop.ask_top(number, lines)
        return self._pieces(asked, TerminatorWatch())

    async def _pieces(
        self, asked: Generator[pop.Step, Any, pop.PopStatus], reader: DotUnstuffer | TerminatorWatch
    ) -> AsyncGenerator[bytes]:
        status = await self._run(asked)
        if not status.ok:
            raise PopRefusal(pop.PopRefused(pop.PopStage.RETR, status))
        data = self._lines.take_rest()
        pieces = Slow(self._wire, "retr")
        while True:
            body, rest = reader.feed(data)
            if reader.done:
                self._lines.feed(rest)
            if body:
                yield body
            if reader.done:
                return
            data = await pieces.receive()

    async def delete_all(self, numbers: Sequence[int]) -> list[pop.PopStatus]:
        """Mark messages for deletion at QUIT; return the refusals."""
        return await self._run(pop.ask_deletions(numbers, self.capabilities))

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
                        result = pop.parse_status(await self._line(Slow(self._wire, stage)))
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

    async def _line(self, pieces: Slow) -> bytes:
        while (line := self._lines.next_line()) is None:
            self._lines.feed(await pieces.receive())
        return line

    async def _listing(self, stage: str) -> list[bytes]:
        lines: list[bytes] = []
        octets, pieces = 0, Slow(self._wire, stage)
        while (line := await self._line(pieces)) != b".":
            octets += len(line)
            if len(line) > pop.LISTING_LINE_LIMIT or len(lines) >= pop.LISTING_LIMIT or octets > pop.LISTING_OCTETS:
                raise RemoteProtocolError("a listing without bounds")
            lines.append(line[1:] if line.startswith(b".") else line)
        return lines
