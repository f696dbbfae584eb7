"""Valija as a gateway, set up to be measured."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rig_certificates import Certificates

from bench.machines import machine
from bench.peers import MAILBOX
from bench.postfix import PASSWORD
from driver import Daemon
from valija.apps.sandbox.authorization import CONFIDENTIAL_CLIENT, CONFIDENTIAL_SECRET

SENDER: Final = "bench@example.com"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running one: its port for devices in clear, a device's login and password."""

    daemon: Daemon
    port: int
    login: str
    password: str

    @property
    def pid(self) -> int:
        """The daemon's process."""
        assert self.daemon.process is not None
        return self.daemon.process.pid

    def waiting(self) -> int:
        """Return how many recipients wait."""
        accounts = self.daemon.json("queue", "list", "--limit", "1")["accounts"]
        return int(accounts[0]["counts"].get("queued", 0)) if accounts else 0

    def hold(self) -> None:
        """Let no mail leave."""
        self.daemon.ok("queue", "hold", "--account", "smtp")

    def release(self) -> None:
        """Let mail leave."""
        self.daemon.ok("queue", "release", "--account", "smtp")


@contextlib.contextmanager
def gateway(directory: Path, configuration: str = "") -> Iterator[Gateway]:
    """Run one with two devices, one known by its login and one by its address; no mail leaves it yet.

    ``configuration`` begins with what belongs to the section ``gateway``.
    """
    with machine(directory, sandbox=False, configuration=configuration) as daemon:
        daemon.ok("smtp", "set", "--server", "localhost", "--port", "9", "--sender-address", SENDER, "--auth", "none")
        daemon.ok("queue", "hold", "--account", "smtp")  # before a device is there
        made: dict[str, Any] = daemon.json("device", "add", "Printer")
        daemon.ok("device", "set", made["login"], "--tls", "offered")
        yield Gateway(daemon, as_device(daemon), made["login"], made["password"])


def as_device(daemon: Daemon) -> int:
    """Let all addresses of loopback be a device that does no AUTH; return the port for it."""
    daemon.ok("device", "add", "Old fax", "--range", "127.0.0.0/16", "--tls", "offered")
    return int(daemon.json("device", "list")["ports"]["smtp"])


def trusting(made: Certificates) -> str:
    """Return the configuration that trusts an authority."""
    return f"[tls]\nca_file = '{made.ca}'\n"


def send_with_password(to: Gateway, port: int) -> None:
    """Let its mail leave by a submission server with SASL PLAIN."""
    file = to.daemon.directory / "password"
    file.write_text(PASSWORD)
    login = ("--auth", "password", "--account", "bench", "--password-file", str(file))
    to.daemon.ok("smtp", "set", "--server", "localhost", "--port", str(port), *login)
    to.release()


def send_with_token(to: Gateway, port: int, issuer: str) -> None:
    """Let its mail leave by a submission server with a token, which it gets by client credentials."""
    file = to.daemon.directory / "secret"
    file.write_text(CONFIDENTIAL_SECRET.reveal())
    client = ("--client-id", CONFIDENTIAL_CLIENT, "--client-secret-file", str(file), "--grant", "client-credentials")
    to.daemon.ok("provider", "set", "office", "--kind", "custom", "--issuer", issuer, "--scope", "smtp", *client)
    login = ("--auth", "oauth2", "--provider", "office", "--account", MAILBOX)
    to.daemon.ok("smtp", "set", "--server", "localhost", "--port", str(port), *login, "--yes")
    to.daemon.ok("token", "get", "smtp", "--yes")
    to.release()
