"""One client connection: octets in and out with bounds, waits with an end, TLS at any moment.

TCP_NODELAY is set on every socket. Right after the first write on a connection that has just become secure, TCP_QUICKACK is
set too: a server that has just sent its session tickets would otherwise wait 40 ms for our acknowledgement (measured).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

from valija.net.errors import NetError, explain_os_error
from valija.net.patience import Patience
from valija.net.tls import ClientContext, Place

RECEIVE_LIMIT: Final = 1_048_576  # octets that wait to be read before the peer is slowed down
CLOSE_TIMEOUT_S: Final = 2.0
SILENT_LIMIT: Final = 256
PROGRESS: Final = 1024  # octets in the time of one wait, or the server is too slow
DETECT_S: Final = 1.5  # how long a server on an unusual port may be silent before it is taken for one that wants TLS


class TlsMode(StrEnum):
    """When TLS begins; DETECT: at once if the server waits silently for it, else by STARTTLS or STLS."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    DETECT = "detect"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server. ``timeout_s`` bounds each wait, and what comes in too small pieces (:class:`Slow`).

    ``plaintext_bearer`` lets a token go to loopback without TLS.
    """

    host: str
    port: int
    tls: TlsMode
    timeout_s: float = 20.0
    plaintext_bearer: bool = False


Observer = Callable[[str, dict[str, Any]], None]


def ignore(_stage: str, _facts: dict[str, Any]) -> None:
    """Observe nothing."""


class Wire(asyncio.Protocol):
    """A connection; use :func:`connect`."""

    def __init__(self, endpoint: Endpoint, tls: ClientContext) -> None:
        self.endpoint = endpoint
        self.secure = False
        self._tls = tls
        self._transport: asyncio.Transport | None = None
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._paused_reading = False
        self._lost: BaseException | None = None
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._quick = False
        self._loop = asyncio.get_running_loop()
        self._patience = Patience(self._loop)

    # --- asyncio's side --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; called again by TLS."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Keep octets; slow the peer down if nobody reads them."""
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > RECEIVE_LIMIT and not self._paused_reading and self._transport is not None:
            self._transport.pause_reading()
            self._paused_reading = True
        self._wake()

    def eof_received(self) -> bool:
        """The peer has said its last; nothing more can be asked of it."""
        self._ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._ended = True
        self._lost = exc
        self._patience.end()
        self._wake()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def pause_writing(self) -> None:
        """The peer reads slowly: the next drain waits."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """The peer has read."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def time(self) -> float:
        """Return the clock of waits."""
        return self._loop.time()

    @property
    def place(self) -> Place:
        """Return the server's host and port."""
        return self.endpoint.host, self.endpoint.port

    # --- our side --------------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send octets; never waits."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return  # the next read tells
        transport.write(data)
        if self._quick:
            self._quick = False
            self._set_option(socket.IPPROTO_TCP, socket.TCP_QUICKACK)

    @property
    def is_full(self) -> bool:
        """Tell whether there is something to :meth:`drain`, or nobody there to read."""
        return self._ended or self._writable is not None

    async def drain(self, stage: str) -> None:
        """Wait until the peer has read enough for more to be sent."""
        if self._ended:
            raise self._gone(stage)
        if self._writable is not None:
            await self._within(self._writable, stage, self.endpoint.timeout_s)

    async def receive(self, stage: str, timeout_s: float | None = None) -> bytes:
        """Return the octets that have come, at least one. Raises :class:`NetError` at the end of the connection."""
        if not self._chunks:
            if self._ended:
                raise self._gone(stage)
            self._waiter = self._loop.create_future()
            try:
                await self._within(self._waiter, stage, timeout_s or self.endpoint.timeout_s)
            finally:
                self._waiter = None
            if not self._chunks:
                raise self._gone(stage)
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused_reading and self._transport is not None:
            self._paused_reading = False
            self._transport.resume_reading()
        return data

    def has_octets(self) -> bool:
        """Tell whether octets have come that nobody has read."""
        return bool(self._chunks)

    async def greets_first(self) -> bool:
        """Tell whether octets come before we say anything: so does a server that does not begin with TLS."""
        if not self._chunks and not self._ended:
            self._waiter = self._loop.create_future()
            with contextlib.suppress(NetError):
                await self._within(self._waiter, "greeting", min(DETECT_S, self.endpoint.timeout_s))
            self._waiter = None
        return bool(self._chunks) or self._ended

    async def start_tls(self, observe: Observer) -> None:
        """Make the connection secure. Raises :class:`NetError`."""
        transport, self._transport = self._transport, None
        if transport is None:
            raise self._gone("tls")
        name, timeout = self.endpoint.host, self.endpoint.timeout_s
        try:
            new = await self._loop.start_tls(
                transport, self, self._tls, server_hostname=name, ssl_handshake_timeout=timeout
            )
        except OSError as error:
            transport.abort()
            raise explain_os_error(error, "tls") from None
        if new is None:
            raise self._gone("tls")
        self._transport = new
        self.secure = True
        self._quick = True
        observe("tls", tls_facts(new.get_extra_info("ssl_object")))

    def is_loopback(self) -> bool:
        """Tell whether the peer is this machine."""
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return peer is not None and ipaddress.ip_address(str(peer[0]).split("%")[0]).is_loopback

    async def close(self) -> None:
        """Let the connection go; waits a moment for what is being sent."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        transport.close()
        if self._ended:
            return
        self._waiter = self._loop.create_future()
        try:
            with contextlib.suppress(NetError):
                await self._within(self._waiter, "quit", CLOSE_TIMEOUT_S)
        finally:
            if not self._ended:
                transport.abort()

    async def _within(self, future: asyncio.Future[None], stage: str, seconds: float) -> None:
        try:
            await self._patience.wait(future, seconds)
        except TimeoutError:
            raise NetError("timed_out", stage, f"nothing for {seconds:g} s") from None

    def _gone(self, stage: str) -> NetError:
        if isinstance(self._lost, OSError) and not isinstance(self._lost, ConnectionError):
            return explain_os_error(self._lost, stage)
        return NetError("connection_lost", stage, str(self._lost or "the server closed the connection"))

    def _set_option(self, level: int, option: int) -> None:
        sock = self._transport.get_extra_info("socket") if self._transport else None
        if sock is not None:
            with contextlib.suppress(OSError):  # not on every system; only speed is lost
                sock.setsockopt(level, option, 1)


async def connect(endpoint: Endpoint, tls: ClientContext, observe: Observer = ignore) -> Wire:
    """Resolve, connect and, for implicit TLS, make secure. Raises :class:`NetError`; tells ``observe`` each stage.

    With an observer, names are looked up anew.
    """
    place = (endpoint.host, endpoint.port)
    addresses = tls.addresses.recall(place) if observe is ignore else None
    if addresses is None:
        addresses = await _look_up(endpoint)
        tls.addresses.keep(place, addresses)
    observe("name", {"addresses": addresses})
    try:
        wire = await _connect_one_of(endpoint, addresses, tls)
    except NetError:
        tls.addresses.forget(place)
        raise
    observe("tcp", {"address": str(wire.peer_address)})
    try:
        if endpoint.tls is TlsMode.IMPLICIT or (endpoint.tls is TlsMode.DETECT and await _begins_with_tls(wire, tls)):
            await wire.start_tls(observe)
    except NetError:
        tls.silent.discard(place)
        raise
    except BaseException:
        await wire.close()
        raise
    return wire


async def _look_up(endpoint: Endpoint) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(endpoint.timeout_s):
            found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        failed = error if isinstance(error, OSError) else socket.gaierror(str(error))
        raise explain_os_error(failed, "name") from None
    return list(dict.fromkeys(str(item[4][0]) for item in found))


async def _begins_with_tls(wire: Wire, tls: ClientContext) -> bool:
    """Find out on an unusual port, once: later connections do not wait."""
    place = (wire.endpoint.host, wire.endpoint.port)
    if place not in tls.silent:
        if await wire.greets_first():
            return False
        if len(tls.silent) >= SILENT_LIMIT:
            tls.silent.clear()
        tls.silent.add(place)
    return True


async def _connect_one_of(endpoint: Endpoint, addresses: list[str], tls: ClientContext) -> ConnectedWire:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + endpoint.timeout_s
    failure: NetError | None = None
    for number, address in enumerate(addresses):
        left = max(deadline - loop.time(), 0.1)
        patience = left if number == len(addresses) - 1 else left / 2
        try:
            async with asyncio.timeout(patience):
                _transport, wire = await loop.create_connection(
                    lambda: ConnectedWire(endpoint, tls), address, endpoint.port
                )
        except OSError as error:
            failure = failure or explain_os_error(error, "tcp")
            continue
        wire.peer_address = address
        wire._set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        return wire
    raise failure or NetError("connection_failed", "tcp", "no address")


class Slow:
    """Waits for what comes in several pieces, a reply or a message; each time-out must bring :data:`PROGRESS` octets of it.

    A server that sends one now and then would be waited for without end. Only waits count, not what is done in between.
    """

    __slots__ = ("_left", "_octets", "_stage", "_wire")

    def __init__(self, wire: Wire, stage: str) -> None:
        self._wire = wire
        self._stage = stage
        self._left = wire.endpoint.timeout_s
        self._octets = 0

    async def receive(self) -> bytes:
        """Return the next octets. Raises :class:`NetError`."""
        seconds, time = self._wire.endpoint.timeout_s, self._wire.time
        began, is_first = time(), self._left == seconds
        try:
            data = await self._wire.receive(self._stage, max(self._left, 0.001))
        except NetError as error:
            if error.reason != "timed_out" or is_first:
                raise
            raise NetError("timed_out", self._stage, f"too little in {seconds:g} s") from None
        self._left -= time() - began
        self._octets += len(data)
        if self._octets >= PROGRESS:
            self._left, self._octets = seconds, 0
        return data


class ConnectedWire(Wire):
    """A wire that knows whom it reached."""

    peer_address: str = ""


def tls_facts(ssl_object: ssl.SSLObject) -> dict[str, Any]:
    """Return what a secure connection is: version, cipher, whom the certificate names, by whom, until when."""
    certificate = cast(dict[str, Any], ssl_object.getpeercert() or {})
    cipher = ssl_object.cipher()
    return {
        "version": ssl_object.version() or "",
        "cipher": cipher[0] if cipher else "",
        "subject": _common_name(certificate.get("subject", ())),
        "issuer": _common_name(certificate.get("issuer", ())),
        "not_after": certificate.get("notAfter", ""),
    }


def _common_name(name: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    fields = {key: value for part in name for key, value in part}
    return fields.get("commonName") or fields.get("organizationName", "")
