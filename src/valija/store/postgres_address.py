"""Where PostgreSQL is and how to get in: ``postgresql://user@host:5432/database``, or ``?host=/run/postgresql`` for its socket.

The password is never in the address. It comes from, in this order: ``VALIJA_STORE_PASSWORD`` (removed from the environment once
read), the systemd credential ``valija-store-password``, ``PGPASSWORD``, ``~/.pgpass``; none is needed where the server knows
the user by the socket. TLS is verified, name and chain, unless the server is on this machine.
"""

from __future__ import annotations

import getpass
import ipaddress
import ssl
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from valija.domain.errors import ConfigurationError
from valija.domain.text import N_, message
from valija.secret import Secret

PASSWORD_NAME: Final = "VALIJA_STORE_PASSWORD"
CREDENTIAL_NAME: Final = "valija-store-password"
SOCKET_DIRECTORY: Final = "/var/run/postgresql"
PORT: Final = 5432


@dataclass(frozen=True, slots=True)
class Address:
    """A database on a server; ``host`` is a directory for a Unix socket."""

    host: str
    port: int
    user: str
    database: str

    def __str__(self) -> str:
        return f"{self.database} ({self.user}@{self.host}:{self.port})"

    @property
    def is_local(self) -> bool:
        """Whether what is sent there does not leave this machine."""
        if self.host.startswith("/") or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(url: str) -> Address:
    """Read ``[store] url``. Raises :class:`ConfigurationError`, which never repeats a password."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORT
        query = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        raise _not_an_address() from None
    if parts.scheme not in ("postgresql", "postgres") or parts.fragment or set(query) - {"host"}:
        raise _not_an_address()
    if parts.password is not None:
        raise ConfigurationError(
            message(N_("The address of the store holds a password.")),
            message(
                N_("Take it out of {key} and give it as {variable}, or in ~/.pgpass."),
                key="url",
                variable=PASSWORD_NAME,
            ),
        )
    database = unquote(parts.path.lstrip("/"))
    if not database or "/" in database:
        raise _not_an_address()
    host = unquote(parts.hostname or "") or query.get("host", SOCKET_DIRECTORY)
    return Address(host, port, unquote(parts.username or "") or getpass.getuser(), database)


def _not_an_address() -> ConfigurationError:
    return ConfigurationError(
        message(N_("The address of the store is not one of PostgreSQL.")),
        message(N_("Write it as {example}."), example="postgresql://valija@db.example.com/valija"),
    )


def find_password(environment: MutableMapping[str, str]) -> Secret | None:
    """Return the password; None: look into ``~/.pgpass``, or do without. Raises :class:`ConfigurationError`."""
    given = environment.pop(PASSWORD_NAME, "")
    credentials = environment.get("CREDENTIALS_DIRECTORY", "")
    if not given and credentials and (file := Path(credentials) / CREDENTIAL_NAME).exists():
        try:
            given = file.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                message(
                    N_("The credential {name} cannot be read: {why}."), name=CREDENTIAL_NAME, why=type(error).__name__
                )
            ) from None
    given = given or environment.get("PGPASSWORD", "")
    return Secret(given) if given else None


def connection_arguments(address: Address, password: Secret | None, tls: ssl.SSLContext) -> dict[str, Any]:
    """Return what ``asyncpg.connect`` takes; ``tls`` is used where the server is another machine."""
    security: Any = tls
    if address.is_local:
        security = False if address.host.startswith("/") else "prefer"
    return {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "database": address.database,
        "password": None if password is None else password.reveal(),
        "ssl": security,
    }
