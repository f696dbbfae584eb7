"""SMTP and POP3 servers on asyncio: run the dialogs of :mod:`valija.protocol`, ask a handler what the dialog asks.

Bounds: connections at once, seconds without an octet, seconds that a stop waits for sessions to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from valija.protocol import pop3_server as pop
from valija.protocol import smtp_server as smtp
from valija.protocol.dot_stuffing import DotStuffer
from valija.protocol.sasl_server import Shown
from valija.protocol.smtp_path import Path

PIECE: Final = 65536
log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A reply to say."""

    code: int
    enhanced: str
    text: str


@dataclass(frozen=True, slots=True)
class LoginAccepted:
    """The credentials are good, for this mailbox."""

    user: str


@dataclass(frozen=True, slots=True)
class LoginRefused:
    """The credentials are not good; ``status`` and ``scope`` go into the error challenge."""

    status: str = "401"
    scope: str = ""
    temporary: bool = False


OK: Final = Verdict(250, "2.1.0", "OK")


class MessageSink(Protocol):
    """Takes one message's octets; nothing is kept unless ``commit`` has returned."""

    async def write(self, data: bytes) -> None:
        """Take the next octets."""
        ...

    async def commit(self) -> Verdict:
        """Keep the message durably; say so."""
        ...

    async def abandon(self) -> None:
        """Forget what came."""
        ...


@dataclass(frozen=True, slots=True)
class Peer:
    """Who has connected, and to which listener."""

    address: str
    port: int
    listener: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """A message that is offered: its paths with their parameters, and how the client greeted."""

    sender: Path
    recipients: tuple[Path, ...]
    helo: str
    extended: bool  # by EHLO
    secure: bool


class SmtpVisit(ABC):
    """Decides for one session of an SMTP server."""

    policy: smtp.SmtpPolicy

    async def secured(self, version: str) -> None:  # noqa: B027 - nothing to do, for most
        """Hear of the TLS version after a handshake."""

    @abstractmethod
    async def login(self, shown: Shown) -> LoginAccepted | LoginRefused:
        """Check credentials."""

    @abstractmethod
    async def sender(self, path: Path) -> Verdict:
        """Decide about a sender."""

    @abstractmethod
    async def recipient(self, path: Path) -> Verdict:
        """Decide about a recipient."""

    @abstractmethod
    async def message(self, transaction: Transaction) -> MessageSink | Verdict:
        """Take a message, or say why not."""

    async def ended(self) -> None:  # noqa: B027 - nothing to do, for most
        """Hear that the session is over."""


class SmtpHandler(ABC):
    """Opens a visit for each session; one for all."""

    @abstractmethod
    def open(self, peer: Peer) -> SmtpVisit:
        """Return who decides for a session."""


class OpenMaildrop(Protocol):
    """A maildrop for one session."""

    entries: Sequence[pop.Entry]

    def read(self, index: int) -> AsyncIterator[bytes]:
        """Yield a message's octets."""
        ...

    async def delete(self, indexes: Sequence[int]) -> bool:
        """Delete messages; tell whether all are gone."""
        ...

    async def close(self) -> None:
        """Let another session have it."""
        ...


class PopVisit(ABC):
    """Decides for one session of a POP3 server."""

    policy: pop.PopPolicy

    async def secured(self, version: str) -> None:  # noqa: B027 - nothing to do, for most
        """Hear of the TLS version after a handshake."""

    @abstractmethod
    async def login(self, shown: Shown) -> OpenMaildrop | LoginRefused | None:
        """Check credentials and open the maildrop; None if another session has it."""

    async def ended(self) -> None:  # noqa: B027 - nothing to do, for most
        """Hear that the session is over."""


class PopHandler(ABC):
    """Opens a visit for each session; one for all."""

    @abstractmethod
    def open(self, peer: Peer) -> PopVisit:
        """Return who decides for a session."""


class _Stream:
    """Reader and writer of a session, with the idle time-out on every wait."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle_s: float) -> None:
        self.reader = reader
        self.writer = writer
        self._idle_s = idle_s

    async def read(self) -> bytes:
        async with asyncio.timeout(self._idle_s):
            return await self.reader.read(PIECE)

    async def write(self, data: bytes) -> None:
        if data:
            self.writer.write(data)
            async with asyncio.timeout(self._idle_s):
                await self.writer.drain()

    async def start_tls(self, tls: ssl.SSLContext) -> None:
        # what was read ahead of the handshake is dropped with the old reader's buffer
        self.reader._buffer.clear()  # type: ignore[attr-defined]
        await self.writer.start_tls(tls, ssl_handshake_timeout=self._idle_s)

    @property
    def tls_version(self) -> str:
        inside = self.writer.get_extra_info("ssl_object")
        return (inside.version() or "") if inside is not None else ""

    def peer(self, listener: str) -> Peer:
        found = self.writer.get_extra_info("peername") or ("", 0)
        return Peer(str(found[0]), int(found[1]), listener)


Session = Callable[[_Stream, bool], Coroutine[Any, Any, None]]


class Listener:
    """A listening socket and its sessions."""

    def __init__(self, session: Session, *, idle_s: float, connections_limit: int) -> None:
        self._session = session
        self._idle_s = idle_s
        self._limit = connections_limit
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, host: str, port: int, *, implicit_tls: ssl.SSLContext | None = None) -> None:
        """Listen; ``port`` 0 is any free one, read it from ``port`` afterwards. Raises OSError."""
        secure = implicit_tls is not None

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is None or len(self._tasks) >= self._limit:
                writer.close()
                return
            self._tasks.add(task)
            try:
                await self._serve(reader, writer, secure)
            finally:
                self._tasks.discard(task)

        timeout = self._idle_s if secure else None
        self._server = await asyncio.start_server(
            accept, host, port, ssl=implicit_tls, backlog=1024, limit=PIECE, ssl_handshake_timeout=timeout
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secure: bool) -> None:
        sock = writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = _Stream(reader, writer, self._idle_s)
        try:
            await self._session(stream, secure)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.debug("session_lost", extra={"fields": {"why": str(error) or type(error).__name__}})
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(2):
                    await writer.wait_closed()

    async def stop(self, patience_s: float = 2.0) -> None:
        """Accept nobody any more; let sessions end for a while, then end them."""
        if self._server is None:
            return
        self._server.close()
        tasks = set(self._tasks)
        if tasks:
            _done, late = await asyncio.wait(tasks, timeout=patience_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def smtp_listener(
    handler: SmtpHandler,
    tls: ssl.SSLContext | None,
    *,
    name: str = "smtp",
    idle_s: float = 300,
    connections_limit: int = 500,
) -> Listener:
    """Return a listener for SMTP; with ``tls``, STARTTLS works if the policy offers it."""

    async def session(stream: _Stream, secure: bool) -> None:
        await _SmtpSession(handler.open(stream.peer(name)), tls, stream, secure).run()

    return Listener(session, idle_s=idle_s, connections_limit=connections_limit)


def pop3_listener(
    handler: PopHandler,
    tls: ssl.SSLContext | None,
    *,
    name: str = "pop3",
    idle_s: float = 600,
    connections_limit: int = 500,
) -> Listener:
    """Return a listener for POP3; with ``tls``, STLS works if the policy offers it."""

    async def session(stream: _Stream, secure: bool) -> None:
        await _PopSession(handler.open(stream.peer(name)), tls, stream, secure).run()

    return Listener(session, idle_s=idle_s, connections_limit=connections_limit)


class _SmtpSession:
    def __init__(self, visit: SmtpVisit, tls: ssl.SSLContext | None, stream: _Stream, secure: bool) -> None:
        self._visit = visit
        self._tls = tls
        self._stream = stream
        self._core = smtp.SmtpServer(visit.policy, secure=secure)
        self._sink: MessageSink | None = None

    async def run(self) -> None:
        try:
            if self._core.secure:
                await self._visit.secured(self._stream.tls_version)
            while True:
                event = self._core.next_event()
                if isinstance(event, smtp.SessionEnds):
                    await self._stream.write(self._core.output())
                    return
                if event is not None:
                    await self._handle(event)
                    continue
                await self._stream.write(self._core.output())
                data = await self._stream.read()
                if not data:
                    return
                self._core.feed(data)
        finally:
            if self._sink is not None:
                await self._sink.abandon()
            await self._visit.ended()

    async def _handle(self, event: smtp.Event) -> None:
        core, visit = self._core, self._visit
        match event:
            case smtp.CredentialsShown(shown):
                await self._login(shown)
            case smtp.SenderOffered(path):
                self._answer(await visit.sender(path))
            case smtp.RecipientOffered(path):
                self._answer(await visit.recipient(path))
            case smtp.MessageStarts():
                await self._begin_message(event)
            case smtp.BodyPiece(data):
                if self._sink is not None:
                    await self._sink.write(data)
            case smtp.MessageEnds():
                await self._end_message(too_large=event.too_large)
            case smtp.TlsWanted():
                await self._stream.write(core.output())
                if self._tls is None:
                    raise ConnectionError("TLS was offered without a certificate")
                await self._stream.start_tls(self._tls)
                core.tls_started()
                await self._visit.secured(self._stream.tls_version)

    async def _login(self, shown: Shown) -> None:
        found = await self._visit.login(shown)
        if isinstance(found, LoginAccepted):
            self._core.accept_login(found.user)
        else:
            self._core.refuse_login(status=found.status, scope=found.scope, temporary=found.temporary)

    async def _begin_message(self, event: smtp.MessageStarts) -> None:
        core = self._core
        taken = await self._visit.message(
            Transaction(event.sender, event.recipients, core.helo, core.extended, core.secure)
        )
        if isinstance(taken, Verdict):
            self._answer(taken)
            return
        self._sink = taken
        self._core.answer(354, "", "End data with <CR><LF>.<CR><LF>")

    async def _end_message(self, *, too_large: bool) -> None:
        sink, self._sink = self._sink, None
        if sink is None:
            return
        if too_large:
            await sink.abandon()
            return
        self._answer(await sink.commit())

    def _answer(self, verdict: Verdict) -> None:
        self._core.answer(verdict.code, verdict.enhanced, verdict.text)


class _PopSession:
    def __init__(self, visit: PopVisit, tls: ssl.SSLContext | None, stream: _Stream, secure: bool) -> None:
        self._visit = visit
        self._tls = tls
        self._stream = stream
        self._core = pop.Pop3Server(visit.policy, secure=secure)
        self._maildrop: OpenMaildrop | None = None

    async def run(self) -> None:
        try:
            if self._core.secure:
                await self._visit.secured(self._stream.tls_version)
            while True:
                event = self._core.next_event()
                if isinstance(event, pop.SessionEnds):
                    await self._stream.write(self._core.output())
                    return
                if event is not None:
                    await self._handle(event)
                    continue
                await self._stream.write(self._core.output())
                data = await self._stream.read()
                if not data:
                    return
                self._core.feed(data)
        finally:
            if self._maildrop is not None:
                await self._maildrop.close()
            await self._visit.ended()

    async def _handle(self, event: pop.Event) -> None:
        core = self._core
        match event:
            case pop.LoginShown(shown):
                await self._login(shown)
            case pop.MessageWanted():
                await self._stream.write(core.output())
                await self._send_message(event)
                core.message_sent()
            case pop.DeletionsDue(indexes):
                done = self._maildrop is not None and await self._maildrop.delete(indexes)
                core.deleted(all_of_them=done)
            case pop.TlsWanted():
                await self._stream.write(core.output())
                if self._tls is None:
                    raise ConnectionError("TLS was offered without a certificate")
                await self._stream.start_tls(self._tls)
                core.tls_started()
                await self._visit.secured(self._stream.tls_version)

    async def _login(self, shown: Shown) -> None:
        found = await self._visit.login(shown)
        if found is None:
            self._core.refuse_login(code="IN-USE")
        elif isinstance(found, LoginRefused):
            code = "SYS/TEMP" if found.temporary else "AUTH"
            self._core.refuse_login(code=code, status=found.status, scope=found.scope)
        else:
            self._maildrop = found
            self._core.open_maildrop(found.entries)

    async def _send_message(self, wanted: pop.MessageWanted) -> None:
        if self._maildrop is None:
            return
        stuffer, left = DotStuffer(), wanted.lines
        in_header, carried = True, b""
        async for piece in self._maildrop.read(wanted.index):
            if left is None:
                await self._stream.write(stuffer.feed(piece))
                continue
            carried += piece
            while (end := carried.find(b"\n")) >= 0:
                line, carried = carried[: end + 1], carried[end + 1 :]
                if in_header:
                    in_header = line.strip(b"\r\n") != b""
                elif left == 0:
                    await self._stream.write(stuffer.finish())
                    return
                else:
                    left -= 1
                await self._stream.write(stuffer.feed(line))
        if left:
            await self._stream.write(stuffer.feed(carried))
        await self._stream.write(stuffer.finish())
