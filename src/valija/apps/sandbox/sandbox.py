"""The sandbox as a whole: certificates, authorization server, mail server, a provider that is already registered."""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from valija.apps import config
from valija.apps.certificates import make_certificates
from valija.apps.http_server import HttpServer, tcp_socket
from valija.apps.machine import Machine
from valija.apps.sandbox.authorization import PUBLIC_CLIENT, Authorization
from valija.apps.sandbox.mail_server import MailPorts, SandboxMail
from valija.apps.sandbox.maildrop import Maildrops
from valija.apps.sandbox.web import SandboxWeb
from valija.domain.registration import Registration
from valija.net.data_files import read_catalogue
from valija.net.tls import server_context
from valija.oauth.catalogue import MailHost

PROVIDER: Final = "sandbox"
SAMPLE: Final = "scan.pdf"
HERE: Final = Path(__file__).parent


class Sandbox:
    """A provider and a mail server on loopback; made before the machine, because the machine must trust its authority."""

    def __init__(self, directory: Path, ports: config.Sandbox) -> None:
        self._wanted = ports
        self.ca_file, certificate, key = make_certificates(directory, "Valija sandbox authority")
        self._authorization = Authorization(directory / "grants.json", time.time)
        self._web = SandboxWeb(self._authorization)
        maildrops = Maildrops(directory / "mail")
        self._mail = SandboxMail(maildrops, self._authorization.verify, server_context(certificate, key))
        self._server: HttpServer | None = None
        self.sample = Path()

    async def start(self, machine: Machine, sample_dir: Path) -> None:
        """Listen, and make the machine know its provider. Raises :class:`ConfigurationError` for a port that is taken."""
        wanted = self._wanted
        listener = tcp_socket(wanted.authorization_port)
        self._web.issuer = f"http://localhost:{listener.getsockname()[1]}"
        self._server = HttpServer(self._web.app, listener)
        await self._server.start()
        ports = await self._mail.start(
            MailPorts(wanted.smtp_port, wanted.smtps_port, wanted.pop3_port, wanted.pop3s_port)
        )
        self.sample = await asyncio.to_thread(_copy_sample, sample_dir, machine.state_dir)
        self._register(machine, ports)

    def _register(self, machine: Machine, ports: MailPorts) -> None:
        profile = read_catalogue().profile(PROVIDER)
        if profile is None:
            raise LookupError("providers.toml has no sandbox")
        profile = replace(
            profile,
            issuer=self._web.issuer,
            smtp=MailHost("localhost", ports.smtp),
            pop=MailHost("localhost", ports.pop3s),
        )
        registration = Registration(PROVIDER, PROVIDER, issuer=self._web.issuer, client_id=PUBLIC_CLIENT)
        machine.providers.builtin[PROVIDER] = (registration, profile)
        numbers = frozenset({ports.smtp, ports.smtps, ports.pop3, ports.pop3s})
        machine.delivery.sandbox_ports = machine.retrieval.sandbox_ports = numbers
        machine.sandbox = {
            "provider": PROVIDER,
            "issuer": self._web.issuer,
            "device_page": f"{self._web.issuer}/device",
            "server": "localhost",
            "smtp_port": str(ports.smtp),
            "smtps_port": str(ports.smtps),
            "pop3_port": str(ports.pop3),
            "pop3s_port": str(ports.pop3s),
            "ca_file": str(self.ca_file),
            "sample": str(self.sample),
        }

    async def stop(self) -> None:
        """Stop listening."""
        await self._mail.stop()
        if self._server is not None:
            await self._server.stop()


def _copy_sample(directory: Path, fallback: Path) -> Path:
    """Put the sample scan where the program was started, or else into the state directory; one that is there stays."""
    for target in (directory / SAMPLE, fallback / SAMPLE):
        if target.exists():
            return target
        try:
            shutil.copyfile(HERE / SAMPLE, target)
        except OSError:
            continue
        return target
    return HERE / SAMPLE
