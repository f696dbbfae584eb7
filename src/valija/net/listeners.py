"""Listening sockets for SMTP and POP3, and the sessions that came in by them.

Bounds: sessions at once, in all and by address; seconds without progress; seconds that a stop waits. At a limit the longest
idle session of a stranger makes room for who comes; where there is none, who comes is told to come again. For who comes from
where a device is at home, a stranger from elsewhere goes before it is idle.

An address whose first octets on a plain port were a TLS handshake (some devices do that on port 587) is remembered: its next
session is not greeted before it has had a moment to begin with TLS again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, Final

from valija.net.addresses import bound_socket
from valija.net.pop3_session import PopSession
from valija.net.sessions import Session
from valija.net.smtp_session import SmtpSession
from valija.net.visits import Peer, PopHandler, SmtpHandler

BACKLOG: Final = 2048
STALE_S: Final = 10.0  # without progress: a stranger may be sent away for somebody else
SWEEP_S: Final = 5.0
TLS_FIRST_LIMIT: Final = 1000
AddressLimit = Callable[[str], int]
AtHome = Callable[[str], bool]
TlsChoice = Callable[[Peer], ssl.SSLContext | None]


class Listener:
    """A listening socket and its sessions; made and started inside a running loop."""

    def __init__(
        self,
        make: Callable[[Listener], Session],
        *,
        name: str,
        tls: ssl.SSLContext | TlsChoice | None,
        too_many: bytes,
        closing: bytes,
        idle_s: float,
        connections_limit: int,
        address_limit: AddressLimit | None = None,
        is_at_home: AtHome = lambda _address: False,
    ) -> None:
        self._make = make
        self.name = name
        self.tls: TlsChoice | None = (lambda _peer: tls) if isinstance(tls, ssl.SSLContext) else tls
        self.too_many = too_many
        self.closing = closing
        self.stopping = False
        self.idle_s = idle_s
        self.handshake_s = min(idle_s, 60.0)
        self.implicit_tls = False
        self.port = 0
        self.loop: asyncio.AbstractEventLoop
        self.time: Callable[[], float]
        self._limit = connections_limit
        self._address_limit = address_limit or (lambda _address: connections_limit)
        self._is_at_home = is_at_home
        self._sessions: dict[Session, None] = {}
        self._by_address: Counter[str] = Counter()
        self._tls_first: OrderedDict[str, None] = OrderedDict()
        self._kept: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int, *, implicit_tls: bool = False) -> None:
        """Listen; ``port`` 0 is any free one, read it from ``port`` afterwards. Raises OSError."""
        self.loop = asyncio.get_running_loop()
        self.time = self.loop.time
        self.implicit_tls = implicit_tls
        where: dict[str, Any] = {"sock": bound_socket(host, port)} if host == "::" else {"host": host, "port": port}
        self._server = await self.loop.create_server(lambda: self._make(self), backlog=BACKLOG, **where)
        self.port = self._server.sockets[0].getsockname()[1]
        self._sweeper = self.loop.create_task(self._sweep(), name=f"idle sessions {self.name}")

    async def stop(self, patience_s: float = 2.0) -> None:
        """Accept nobody any more; let what is under way end for a while, then end it."""
        if self._server is None:
            return
        self.stopping = True
        self._server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for session in [*self._sessions]:
            session.shut(self.closing)
        under_way = {session.task for session in self._sessions if session.task is not None} | self._kept
        if under_way:
            _done, late = await asyncio.wait(under_way, timeout=patience_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for session in [*self._sessions]:
            session.abort()
        await asyncio.sleep(0)
        await asyncio.gather(*self._kept, return_exceptions=True)

    # --- for the sessions ---------------------------------------------------------------------------------------------------

    def joined(self, session: Session) -> bool:
        """Count a session; false if there is no place for it."""
        address = session.peer.address
        if self._by_address[address] >= self._address_limit(address) and not self._make_room(address):
            return False
        if len(self._sessions) >= self._limit and not self._make_room():
            at_home = self._is_at_home(address)
            if not (at_home and self._make_room(stale_s=0.0, spares=self._is_at_home)):
                return False
        self._sessions[session] = None
        self._by_address[address] += 1
        return True

    def left(self, session: Session) -> None:
        """Count a session no more."""
        if session in self._sessions:
            self._forget(session)

    def _forget(self, session: Session) -> None:
        del self._sessions[session]
        address = session.peer.address
        self._by_address[address] -= 1
        if self._by_address[address] <= 0:
            del self._by_address[address]

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Let a session's last work come to its end."""
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)

    def note_tls(self, address: str) -> None:
        """Remember that an address begins with TLS."""
        self._tls_first[address] = None
        self._tls_first.move_to_end(address)
        if len(self._tls_first) > TLS_FIRST_LIMIT:
            self._tls_first.popitem(last=False)

    def began_with_tls(self, address: str) -> bool:
        """Tell whether an address began with TLS the last time."""
        return address in self._tls_first

    def _make_room(
        self, at: str = "", *, stale_s: float | None = None, spares: AtHome = lambda _address: False
    ) -> bool:
        """Send one stranger away: ``at`` an address, or anywhere but where ``spares`` says."""
        stale = self.time() - (STALE_S if stale_s is None else stale_s)
        for session in self._sessions:  # who came first is first
            address = session.peer.address
            idle = not session.known and not session.has_work and session.progress_at <= stale
            if idle and at in ("", address) and not spares(address):
                session.shut(self.too_many)
                self._forget(session)
                return True
        return False

    async def _sweep(self) -> None:
        """End sessions without progress, for ever."""
        while True:
            await asyncio.sleep(min(SWEEP_S, self.idle_s / 4))
            over = self.time() - self.idle_s
            for session in [s for s in self._sessions if s.progress_at < over and s.task is None]:
                session.shut(self.closing)


def smtp_listener(
    handler: SmtpHandler,
    tls: ssl.SSLContext | TlsChoice | None,
    *,
    name: str = "smtp",
    idle_s: float = 300,
    connections_limit: int = 500,
    address_limit: AddressLimit | None = None,
    is_at_home: AtHome = lambda _address: False,
) -> Listener:
    """Return a listener for SMTP; with ``tls``, STARTTLS works if the policy offers it."""
    leaving: set[SmtpSession] = set()
    return Listener(
        lambda listener: SmtpSession(listener, handler, leaving),
        name=name,
        tls=tls,
        too_many=b"421 4.3.2 Too many connections, try again later\r\n",
        closing=b"421 4.4.2 Closing the connection\r\n",
        idle_s=idle_s,
        connections_limit=connections_limit,
        address_limit=address_limit,
        is_at_home=is_at_home,
    )


def pop3_listener(
    handler: PopHandler,
    tls: ssl.SSLContext | TlsChoice | None,
    *,
    name: str = "pop3",
    idle_s: float = 600,
    connections_limit: int = 500,
    address_limit: AddressLimit | None = None,
    is_at_home: AtHome = lambda _address: False,
) -> Listener:
    """Return a listener for POP3; with ``tls``, STLS works if the policy offers it."""
    return Listener(
        lambda listener: PopSession(listener, handler),
        name=name,
        tls=tls,
        too_many=b"-ERR [SYS/TEMP] Too many connections, try again later\r\n",
        closing=b"-ERR Closing the connection\r\n",
        idle_s=idle_s,
        connections_limit=connections_limit,
        address_limit=address_limit,
        is_at_home=is_at_home,
    )
