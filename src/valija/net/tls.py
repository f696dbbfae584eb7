"""TLS: one client context for the whole program, certificates always checked; server contexts."""

from __future__ import annotations

import ssl
from pathlib import Path

from valija.domain.errors import ConfigurationError
from valija.domain.text import N_, message


class ClientContext(ssl.SSLContext):
    """A client's context; ``silent`` holds (host, port) of servers on unusual ports that were found to begin with TLS."""

    silent: set[tuple[str, int]]


def client_context(*ca_files: Path | None) -> ClientContext:
    """Return a context that checks certificates and speaks TLS 1.2 or later.

    Trusts the system's authorities (SSL_CERT_FILE is honoured) and those in ``ca_files``. Raises
    :class:`ConfigurationError` for a file that cannot be used.
    """
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.silent = set()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    for ca_file in filter(None, ca_files):
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            raise ConfigurationError(
                message(N_("The file of authorities {file} cannot be used: {why}."), file=str(ca_file), why=str(error)),
                message(N_("It must hold certificates in PEM; correct tls.ca_file.")),
            ) from None
    return context


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a context for listeners: TLS 1.2 or later. Raises OSError for files that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context
