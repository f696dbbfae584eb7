"""A server's connections on asyncio: octets go to a dialog's core, what it asks goes to a visit, without a task for each.

Theory of operation
-------------------
1. A session is an :class:`asyncio.Protocol`. What can be answered at once is answered inside ``data_received``; only an answer
   that must be waited for (a password's hash, a commit) takes a task, and meanwhile nothing else of the session goes on.
2. A client that hangs up does not stop an answer that is under way: a message whose last octet came is kept all the same.
   What it had sent ahead of a polite end is still worked through.
3. Bounds: octets that wait to be worked through, octets that the client does not read, seconds without *progress*. Progress
   is a whole command (of a stranger, one that asks something) or ``BODY_PROGRESS`` octets of a body, so one octet a minute
   keeps nobody connected.
4. TLS begins at once, by command, or, for an address that once began with it where it must not, as soon as its first octet
   is seen to be a handshake's (:mod:`valija.net.listeners`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, cast

from valija.net.visits import Maybe, Peer

if TYPE_CHECKING:
    from valija.net.listeners import Listener

WAITING_LIMIT: Final = 262_144  # octets that wait to be worked through
BODY_PROGRESS: Final = 4096
LOOKS: Final = 20  # 50 ms each: how long a client may take to begin with TLS where it did before
BROKEN_OFF: Final = "BROKEN_OFF"  # a handshake, without an alert
HANDSHAKE: Final = b"\x16\x03"  # how a TLS handshake begins
log: Final = logging.getLogger(__name__)


class Session(asyncio.Protocol, ABC):
    """One client's connection; what is SMTP's or POP3's is in a subclass."""

    __slots__ = (
        "_core",
        "_drained",
        "_early",
        "_eof",
        "_heard",
        "_lost",
        "_octets",
        "_reading",
        "_shaking",
        "_task",
        "_transport",
        "_waiting",
        "_writable",
        "known",
        "listener",
        "peer",
        "progress_at",
    )

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.peer = Peer("", 0, listener.name)
        self.progress_at = 0.0
        self.known = False  # the client has shown who it is
        self._core: Any = None
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._early = b""  # came before TLS was ready for it
        self._waiting = 0
        self._octets = 0  # since the last progress
        self._heard = False
        self._eof = False
        self._lost = False
        self._reading = True
        self._shaking = False  # the client is waited for in a handshake
        self._writable = True
        self._drained: asyncio.Future[None] | None = None

    # --- what a subclass says -----------------------------------------------------------------------------------------------

    @abstractmethod
    def _open(self, *, secure: bool) -> Any:
        """Return the dialog's core, and open a visit."""

    @abstractmethod
    def _handle(self, event: Any) -> Awaitable[None] | None:
        """Answer a question of the core; what is returned must be awaited first."""

    @abstractmethod
    def _secured(self, version: str) -> None:
        """Tell the visit of TLS."""

    @abstractmethod
    def _not_secured(self, why: str) -> None:
        """Tell the visit of a handshake that failed, in OpenSSL's words."""

    @abstractmethod
    def _over(self) -> Coroutine[Any, Any, None] | None:
        """Let go of what the session had."""

    def _may_stay(self) -> bool:
        """Tell whether commands that ask nothing of the visit keep the session of who is known."""
        return True

    # --- asyncio's side -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or begin with TLS."""
        self._transport = cast(asyncio.Transport, transport)
        found = transport.get_extra_info("peername")
        if not found:  # it is gone already
            self._lost = True
            self._transport.abort()
            return
        self.peer = Peer(str(found[0]), int(found[1]), self.listener.name)
        self.progress_at = self.listener.time()
        if not self.listener.joined(self):
            self._transport.write(self.listener.too_many)
            self._transport.close()
            self._lost = True
        elif self.listener.implicit_tls or self.listener.began_with_tls(self.peer.address):
            self._transport.pause_reading()  # what comes now is for TLS
            self._begin(self._start_at_once())
        else:
            self._start(secure=False)

    def data_received(self, data: bytes) -> None:
        """Work through what came, or keep it while an answer is waited for."""
        if self._core is None:
            if self._task is not None:
                self._early += data
            return
        if not self._heard:
            self._heard = True
            if data.startswith(HANDSHAKE) and self.listener.tls is not None and not self._core.secure:
                self.listener.note_tls(self.peer.address)
                self.abort()
                return
        self._octets += len(data)
        self._core.feed(data)
        if self._task is None and self._writable:
            self._pump()
            return
        self._waiting += len(data)
        if self._waiting > WAITING_LIMIT:
            self._pause()

    def eof_received(self) -> bool:
        """The client has said its last: work through what is there, then close."""
        self._eof = True
        if self._task is None and self._core is not None and self._writable:
            self._pump()
        return not self.is_secure  # over TLS there is no half of a connection

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go; an answer under way comes to its end first."""
        self._lost = True
        self._set_drained()
        if self._task is None:
            self._end()

    def pause_writing(self) -> None:
        """The client does not read: nothing more is worked through until it does."""
        self._writable = False
        self._pause()

    def resume_writing(self) -> None:
        """It reads."""
        self._writable = True
        self._set_drained()
        if self._task is None and not self._lost:
            self._resume()
            self._pump()

    # --- our side -----------------------------------------------------------------------------------------------------------

    @property
    def is_secure(self) -> bool:
        """Tell whether the session is inside TLS."""
        return self._core is not None and bool(self._core.secure)

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def shut(self, last_words: bytes) -> None:
        """End the connection after some last words, unless an answer is under way; one that does not read is not told."""
        transport = self._transport
        if transport is None or self.has_work or self._lost:
            return
        if self._shaking or transport.is_closing() or transport.get_write_buffer_size():
            transport.abort()
            return
        transport.write(last_words)
        transport.close()

    @property
    def has_work(self) -> bool:
        """Tell whether an answer is under way; to wait for the client in a handshake is none."""
        return self._task is not None and not self._shaking

    @property
    def task(self) -> asyncio.Task[None] | None:
        """Return what is waited for now."""
        return self._task

    def write(self, data: bytes) -> None:
        """Send octets."""
        if data and self._transport is not None and not self._lost:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has read; raises :class:`ConnectionError` when it has gone, TimeoutError when it does not."""
        if not self._writable and not self._lost:
            self._drained = self.listener.loop.create_future()
            async with asyncio.timeout(self.listener.idle_s):
                await self._drained
            self.progress_at = self.listener.time()
        if self._lost:
            raise ConnectionResetError("the client has gone")

    def _start(self, *, secure: bool) -> None:
        self._core = self._open(secure=secure)
        if secure:
            self._secured(self._tls_version())
        self._pump()

    def _pump(self) -> None:
        """Answer questions until one must wait, or octets are missing."""
        core = self._core
        while self._writable:
            event = core.next_event()
            if event is None or core.has_ended:
                said = core.output()
                if (
                    said and self.known and self._may_stay()
                ):  # each command has its reply; a stranger's place is for others
                    self.progress_at = self.listener.time()
                self.write(said)
                if event is not None or self._eof:
                    self._close()
                return
            if self.listener.stopping:  # what is begun now would be broken off
                self.write(core.output() + self.listener.closing)
                self._close()
                return
            if not core.in_data or self._octets >= BODY_PROGRESS:
                self.progress_at = self.listener.time()
                self._octets = 0
            try:
                waits = self._handle(event)
            except Exception:
                log.exception("session_failed")
                self.abort()
                return
            if waits is not None:
                self.write(core.output())
                self._begin(waits)
                return

    def _begin(self, work: Awaitable[None]) -> None:
        self._task = self.listener.loop.create_task(self._until(work))

    async def _until(self, work: Awaitable[None]) -> None:
        """Wait for an answer, then go on."""
        try:
            await work
        except asyncio.CancelledError:  # whoever is gone, or in a handshake, is not heard of again
            self._task, self._lost = None, True
            self.abort()
            self._end()
            raise
        except (OSError, TimeoutError) as error:
            log.debug("session_lost", extra={"fields": {"why": str(error) or type(error).__name__}})
            self.abort()
            self._lost = True
        except Exception:
            log.exception("session_failed")
            self.abort()
            self._lost = True
        finally:
            self._task = None
        self.progress_at = self.listener.time()
        if self._lost:
            self._end()
            return
        self._waiting = 0
        if self._core is not None:
            self._resume()
            self._pump()

    def _answer_with(self, found: Maybe[Any], then: Callable[[Any], None]) -> Awaitable[None] | None:
        """Give an answer to ``then``: now, or when it is there."""
        if isinstance(found, Awaitable):
            return _settle(found, then)
        then(found)
        return None

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _end(self) -> None:
        self.listener.left(self)
        if self._core is not None:
            rest = self._over()
            self._core = None
            if rest is not None:
                self.listener.keep(self.listener.loop.create_task(rest))

    def _pause(self) -> None:
        if self._reading and self._transport is not None and not self._lost:
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and self._writable and self._transport is not None and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def _set_drained(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # --- TLS ----------------------------------------------------------------------------------------------------------------

    async def _start_at_once(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()  # uvloop begins to read after connection_made, whatever was said there
        secure = self.listener.implicit_tls or await self._is_handshake()
        self._core = self._open(secure=secure)  # before the handshake: what the client says may come with its end
        self._reading = False
        if secure:
            await self._handshake()
            self._secured(self._tls_version())
        elif self._early:
            early, self._early = self._early, b""
            self.data_received(early)

    async def _is_handshake(self) -> bool:
        """Look at the first octet without taking it, for a while: it is TLS's if it is anybody's."""
        if self._early:
            return HANDSHAKE.startswith(self._early[:1])
        outer = self._transport.get_extra_info("socket") if self._transport else None
        if outer is None:
            return False
        with socket.socket(fileno=socket.dup(outer.fileno())) as sock:
            sock.setblocking(False)
            for _look in range(LOOKS):
                try:
                    seen = sock.recv(len(HANDSHAKE), socket.MSG_PEEK)
                except BlockingIOError:
                    await asyncio.sleep(0.05)
                    continue
                return bool(seen) and HANDSHAKE.startswith(seen[:1])
        return False

    async def _handshake(self) -> None:
        transport = self._transport
        context = self.listener.tls(self.peer) if self.listener.tls is not None else None
        if transport is None or context is None:
            raise ConnectionError("there is no TLS here")
        if self._lost or transport.is_closing():  # a handshake with nobody would come to its end by its time alone
            raise ConnectionResetError("the client has gone")
        early, self._early = self._early, b""
        loop, timeout = self.listener.loop, self.listener.handshake_s
        handshake = loop.start_tls(transport, self, context, server_side=True, ssl_handshake_timeout=timeout)
        self._shaking = True
        try:
            new = await (_handshake_with(early, handshake, transport) if early else handshake)
        except OSError as error:
            self._not_secured(getattr(error, "reason", None) or BROKEN_OFF)
            raise
        finally:
            self._shaking = False
        if new is None:
            raise ConnectionError("the client has gone")
        self._transport = new
        if not self._tls_version():  # uvloop returns where the connection was aborted, too
            raise ConnectionAbortedError("the handshake was broken off")
        self._writable = self._reading = True

    async def start_tls(self) -> None:
        """Make the connection secure, after the core's last words in clear were sent and reading was paused."""
        self._core.tls_started()  # what came in clear is forgotten now: what comes from here on comes inside TLS
        await self._handshake()
        self._secured(self._tls_version())

    def _tls_version(self) -> str:
        inside: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object") if self._transport else None
        return (inside.version() or "") if inside is not None else ""


async def _handshake_with(
    early: bytes, handshake: Coroutine[Any, Any, asyncio.Transport | None], transport: asyncio.Transport
) -> asyncio.Transport | None:
    """Give TLS the octets that came before it was there."""
    task = asyncio.create_task(handshake)
    try:
        await asyncio.sleep(0)  # now start_tls has put its protocol before ours
        await asyncio.sleep(0)  # and has connected it
        protocol: Any = transport.get_protocol()
        while early and hasattr(protocol, "get_buffer"):
            buffer = memoryview(protocol.get_buffer(len(early)))
            length = min(len(buffer), len(early))
            buffer[:length] = early[:length]
            protocol.buffer_updated(length)
            early = early[length:]
        return await task
    finally:
        task.cancel()


async def _settle(found: Awaitable[Any], then: Callable[[Any], None]) -> None:
    then(await found)
