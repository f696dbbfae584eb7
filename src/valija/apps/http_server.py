"""HTTP servers inside this process: uvicorn on a socket that we made, without its own signal handling or logging set-up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from valija.domain.errors import ConfigurationError
from valija.domain.text import N_, message
from valija.net.addresses import bound_socket
from valija.net.tls import load_pair

STOP_LIMIT_S: Final = 30
CONNECTIONS_LIMIT_S: Final = 2.0
DATE_S: Final = 1.0  # the answers' date
JUST_SENT_S: Final = 0.05  # what has been sent is taken
CONNECTIONS_LIMIT: Final = 300  # of one listener
ADDRESS_LIMIT: Final = 100
REQUEST_LIMIT_S: Final = 60.0  # for the head of a request
UNIX_PATH_LIMIT: Final = 107  # octets, unix(7)
_BACKLOG: Final = 128


class BoundedProtocol(H11Protocol):
    """Lets nobody keep a place, or many, without asking anything: each takes a descriptor that mail needs.

    There are so many connections at once, in all and from one address; a request's head must be there in time.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take a connection, if there is a place for it."""
        peer = transport.get_extra_info("peername") or ("",)
        from_there = len([one for one in self.connections if (getattr(one, "client", None) or ("",))[0] == peer[0]])
        if len(self.connections) >= CONNECTIONS_LIMIT or from_there >= ADDRESS_LIMIT:
            self.transport = transport
            transport.abort()
            return
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take octets; once a request is whole, it may take its time."""
        super().data_received(data)
        if self._is_busy():
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if not self._is_busy():
            self._expect_request()

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_request(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(REQUEST_LIMIT_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = asyncio.Event()
        self._end = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve and say so."""
        await super().startup(sockets)
        self.begun.set()

    async def main_loop(self) -> None:
        """Set the date of the answers each second until told to end; uvicorn's own loop wakes ten times a second."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._end.wait(), DATE_S)

    def end(self) -> None:
        """Take no more connections, and end when those that there are have ended."""
        self.should_exit = True
        self._end.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the daemon."""
        yield


class HttpServer:
    """One listener that serves one application; ``protocol`` may look at each connection as it is made."""

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        protocol: type[asyncio.Protocol] = BoundedProtocol,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            ssl_certfile=certificate[0] if certificate else None,
            ssl_keyfile=certificate[1] if certificate else None,
            http=protocol,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=1000,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=STOP_LIMIT_S,
        )
        self._listener = listener
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to serve; return when connections are taken."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="http server")
        begun = asyncio.create_task(self._server.begun.wait())
        await asyncio.wait((self._task, begun), return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        if self._task.done():
            self._task.result()

    def renew(self, certificate: tuple[Path, Path]) -> None:
        """Show another certificate from the next connection on; blocking. Raises OSError: the one before stays then."""
        shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load_pair(shown, *certificate)

        def show(handshake: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            handshake.context = shown

        context = self._server.config.ssl
        if context is not None:
            context.sni_callback = show  # at one stroke: certificate and key are never two ones'

    async def stop(self) -> None:
        """Take no more connections; wait for requests under way, at most :data:`STOP_LIMIT_S` seconds.

        Connections without a request (a browser keeps some, perhaps half-way through TLS) get two seconds.
        """
        self._server.end()
        if self._task is None:
            return
        await asyncio.sleep(JUST_SENT_S)  # what came with the last moment's connections is taken, then nothing more
        if requests := set(self._server.server_state.tasks):
            await asyncio.wait(requests, timeout=STOP_LIMIT_S)
        await asyncio.wait({self._task}, timeout=CONNECTIONS_LIMIT_S)
        self._server.force_exit = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def tcp_socket(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Return a listening TCP socket, on loopback if nothing else is said. Raises :class:`ConfigurationError`."""
    try:
        listener = bound_socket(host, port)
    except OSError as error:
        raise port_taken(port, error) from None
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def port_taken(port: int, error: OSError) -> ConfigurationError:
    """Say that a port cannot be used."""
    return ConfigurationError(
        message(N_("Port {port} cannot be used: {why}."), port=port, why=error.strerror or str(error)),
        message(N_("End the program that has it, or choose another port in the configuration file.")),
    )


def unix_socket(path: Path) -> socket.socket:
    """Return a listening Unix socket that only its owner may use; one left behind by a crash is replaced.

    The caller holds the lock of the state directory, so nobody listens there. Raises :class:`ConfigurationError`.
    """
    if len(os.fsencode(path)) > UNIX_PATH_LIMIT:
        raise ConfigurationError(
            message(N_("The path of the control socket is too long: {path}."), path=str(path)),
            message(N_("Choose a state directory with a shorter name.")),
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            message(
                N_("The control socket {path} cannot be made: {why}."), path=str(path), why=error.strerror or str(error)
            ),
            message(N_("Check the state directory's owner and permissions.")),
        ) from None
    finally:
        os.umask(before)
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


class PeerCheckedProtocol(H11Protocol):
    """Serves only processes of this user and of root (SO_PEERCRED, unix(7)); tells the application the user id."""

    def connection_made(self, transport: Any) -> None:
        """Look at who connects before a byte is read."""
        uid = peer_uid(transport.get_extra_info("socket"))
        if uid not in (0, os.geteuid()):
            self.transport = transport
            transport.abort()
            return
        self.app_state = {**self.app_state, "peer_uid": uid}
        super().connection_made(transport)


def peer_uid(connection: Any) -> int:
    """Return the user id of the process at the other end of a Unix socket."""
    _pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)
