"""The listeners of the pages: the panel on a Unix socket and on loopback, the web page over HTTPS."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp

from valija.apps.api.access import beside
from valija.apps.api.application import make_network_application
from valija.apps.api.description import PREFIX
from valija.apps.certificates import own_certificate
from valija.apps.config import Configuration
from valija.apps.http_server import HttpServer, PeerCheckedProtocol, tcp_socket, unix_socket
from valija.apps.machine import Machine
from valija.apps.web.application import make_face
from valija.apps.web.launch import LaunchKeys
from valija.apps.web.pages import Pages, load_pages
from valija.apps.web.visit import Face
from valija.domain.account import Presence
from valija.domain.administrator import PANEL, WEB
from valija.domain.errors import ConfigurationError
from valija.domain.text import N_, message
from valija.net.tls import KeyLocked, server_context
from valija.services.administrator import AdministratorDesk
from valija.services.keeping_up import kept_up

PANEL_SOCKET: Final = "panel.sock"
LOOK_S: Final = 60.0
Stamps = tuple[tuple[int, int], ...]
log: Final = logging.getLogger(__name__)
LOOPBACK: Final = "127.0.0.1"


def with_api(machine: Machine, pages: ASGIApp) -> ASGIApp:
    """Return the web listener's application: the pages, and the API for programs that have a token."""
    return beside(make_network_application(machine), PREFIX, pages)


class Faces:
    """All of them; each is there if the configuration says so."""

    def __init__(self, machine: Machine, configuration: Configuration, *, loopback_only: bool) -> None:
        self._machine = machine
        self._configuration = configuration
        self._loopback_only = loopback_only
        self._launch = LaunchKeys(machine.clock)
        self._servers: list[HttpServer] = []
        self._panel_port = 0
        self._web: HttpServer | None = None  # with a certificate
        self._shown: Stamps = ()
        self._watch: asyncio.Task[None] | None = None
        self._looking = asyncio.Event()

    async def start(self) -> None:
        """Listen. Raises :class:`ConfigurationError`."""
        pages = await load_pages()
        administrator = AdministratorDesk(self._machine.store, self._machine.clock, self._machine.events)
        if self._configuration.panel.enabled:
            await self._start_panel(administrator, pages)
        if self._configuration.web.enabled:
            await self._start_web(administrator, pages)

    async def _start_panel(self, administrator: AdministratorDesk, pages: Pages) -> None:
        listener = tcp_socket(self._configuration.panel.port)
        self._panel_port = listener.getsockname()[1]
        by_key = Face(PANEL, Presence.AT_MACHINE, secure=False, launch=self._launch)
        await self._serve(HttpServer(make_face(self._machine, administrator, pages, by_key), listener))
        by_peer = Face(PANEL, Presence.AT_MACHINE, secure=False)
        app = make_face(self._machine, administrator, pages, by_peer)
        path = self._machine.state_dir / PANEL_SOCKET
        await self._serve(HttpServer(app, unix_socket(path), PeerCheckedProtocol))
        self._machine.new_panel_address = self.new_panel_address

    def new_panel_address(self) -> str:
        """Return an address that opens the panel once, within a minute."""
        return f"http://{LOOPBACK}:{self._panel_port}/launch?key={self._launch.new_key()}"

    async def _start_web(self, administrator: AdministratorDesk, pages: Pages) -> None:
        web = self._configuration.web
        certificate = None if web.http else await asyncio.to_thread(self._usable_certificate)
        self._shown = await asyncio.to_thread(_stamps, certificate or ())
        face = Face(WEB, Presence.REMOTE, secure=not web.http)
        listener = tcp_socket(web.port, LOOPBACK if self._loopback_only else web.host)
        app = with_api(self._machine, make_face(self._machine, administrator, pages, face))
        server = HttpServer(app, listener, certificate=certificate)
        await self._serve(server)
        if certificate is not None:
            self._web = server
            watch = kept_up(self._watch_certificate, "web certificate", self._machine.clock)
            self._watch = asyncio.create_task(watch, name="web certificate")
        scheme = "http" if web.http else "https"
        host = "localhost" if self._loopback_only else socket.gethostname()
        self._machine.web_address = f"{scheme}://{host}:{listener.getsockname()[1]}/"

    def _usable_certificate(self) -> tuple[Path, Path]:
        """Return the certificate's files, tried before the server does: it would ask at a terminal for a password."""
        certificate = self._certificate()
        try:
            server_context(*certificate)
        except OSError as error:
            why = error.message if isinstance(error, KeyLocked) else str(error)
            raise ConfigurationError(
                message(N_("The web page's certificate cannot be used: {why}."), why=why),
                message(N_("Check web.certificate and web.key: PEM files that belong together.")),
            ) from None
        return certificate

    def _certificate(self) -> tuple[Path, Path]:
        web = self._configuration.web
        if web.certificate is not None and web.key is not None:
            return web.certificate, web.key
        return own_certificate(self._machine.state_dir)

    # --- a certificate that is renewed while the machine runs ----------------------------------------------------------

    def reload(self) -> None:
        """Look at the certificate's files now."""
        self._looking.set()

    async def _watch_certificate(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._looking.wait()
            self._looking.clear()
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Show the certificate that is there now, if it is another one; blocking. One that is no good is not shown."""
        if self._web is None:
            return
        try:
            certificate = self._certificate()
            stamps = _stamps(certificate)
            if stamps == self._shown:
                return
            self._shown = stamps
            self._web.renew(certificate)
        except (OSError, ValueError) as error:
            log.warning("certificate_not_loaded", extra={"fields": {"certificate": "web", "why": str(error)}})
        else:
            log.info("certificate_loaded", extra={"fields": {"certificate": str(certificate[0])}})

    async def _serve(self, server: HttpServer) -> None:
        await server.start()
        self._servers.append(server)

    async def stop(self) -> None:
        """Listen no more; pages under way end."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await asyncio.gather(*(server.stop() for server in self._servers))
        await asyncio.to_thread((self._machine.state_dir / PANEL_SOCKET).unlink, missing_ok=True)


def _stamps(files: Sequence[Path]) -> Stamps:
    """Return what tells files from those that were there before."""
    return tuple((about.st_mtime_ns, about.st_ino) for about in (path.stat() for path in files))
