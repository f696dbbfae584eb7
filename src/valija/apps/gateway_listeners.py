"""The gateway's listeners: SMTP for the devices of the local network."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Final

from valija.apps.certificates import own_certificate
from valija.apps.config import Configuration
from valija.apps.http_server import port_taken
from valija.apps.machine import Machine, local_name
from valija.domain.errors import ConfigurationError
from valija.domain.text import N_, message
from valija.net.addresses import local_addresses
from valija.net.listeners import Listener, smtp_listener
from valija.net.tls import server_context
from valija.services.submission import Submission

LOOPBACK: Final = "127.0.0.1"
IDLE_S: Final = 300.0
NAMES: Final = ("smtp", "submission", "submissions")


class GatewayListeners:
    """All of them; each is there if the configuration says so. ``places``: their ports by name."""

    def __init__(self, machine: Machine, configuration: Configuration, *, loopback_only: bool) -> None:
        self._machine = machine
        self._settings = configuration.gateway
        self._web = configuration.web
        self._host = LOOPBACK if loopback_only else configuration.gateway.host
        self._listeners: list[Listener] = []
        self.places: dict[str, int] = {}

    async def start(self) -> None:
        """Listen. Raises :class:`ConfigurationError`."""
        settings = self._settings
        if not settings.enabled:
            return
        tls = await asyncio.to_thread(self._tls)
        gateway = self._machine.gateway
        handler = Submission(
            gateway.devices,
            gateway.intake,
            self._machine.store,
            self._machine.clock,
            host_name=local_name(),
            tls=True,
        )
        ports = (settings.smtp_port, settings.submission_port, settings.submissions_port)
        for name, port in zip(NAMES, ports, strict=True):
            if port:
                listener = smtp_listener(handler, tls, name=name, idle_s=IDLE_S, connections_limit=settings.connections)
                await self._listen(listener, name, max(port, 0), implicit_tls=name == "submissions")
        self._machine.gateway_ports = self.places
        self._machine.gateway_addresses = self.addresses

    def addresses(self) -> list[str]:
        """Return where devices of the local network find this machine; blocking, briefly."""
        everywhere = self._host in ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
        return local_addresses() if everywhere else [self._host]

    async def _listen(self, listener: Listener, name: str, port: int, *, implicit_tls: bool) -> None:
        try:
            await listener.start(self._host, port, implicit_tls=implicit_tls)
        except OSError as error:
            raise port_taken(port, error) from None
        self._listeners.append(listener)
        self.places[name] = listener.port

    def _tls(self) -> ssl.SSLContext:
        certificate, key = self._files()
        try:
            return server_context(certificate, key)
        except OSError as error:
            raise ConfigurationError(
                message(N_("The gateway's certificate cannot be used: {why}."), why=str(error)),
                message(N_("Check gateway.certificate and gateway.key: PEM files that belong together.")),
            ) from None

    def _files(self) -> tuple[Path, Path]:
        for section in (self._settings, self._web):
            if section.certificate is not None and section.key is not None:
                return section.certificate, section.key
        return own_certificate(self._machine.state_dir)

    async def stop(self) -> None:
        """Accept nobody any more."""
        await asyncio.gather(*(listener.stop() for listener in self._listeners))
