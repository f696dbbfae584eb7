"""TLS: one client context for the whole program, certificates always checked, sessions resumed; server contexts."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final

from valija.domain.errors import ConfigurationError
from valija.domain.text import N_, message

SESSIONS_LIMIT: Final = 256


class ResumingContext(ssl.SSLContext):
    """Offers the last session of a host again (RFC 8446 section 2.2): a poll then needs no certificate exchange.

    A session comes only from a handshake in which the certificate was checked, and is used only for the same host name.
    """

    _sessions: dict[str, ssl.SSLSession]
    silent: set[tuple[str, int]]  # (host, port) of servers on unusual ports that were found to begin with TLS

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a handshake, with a session that is kept for the host, if there is one."""
        kept = session or self._sessions.get(str(server_hostname))
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, kept)

    def remember(self, host: str, ssl_object: Any) -> None:
        """Keep the session of a connection that has done its work."""
        session = ssl_object.session if ssl_object is not None else None
        if session is None or not session.has_ticket:
            return
        self._sessions.pop(host, None)
        self._sessions[host] = session
        if len(self._sessions) > SESSIONS_LIMIT:
            self._sessions.pop(next(iter(self._sessions)))


def client_context(*ca_files: Path | None) -> ResumingContext:
    """Return a context that checks certificates and speaks TLS 1.2 or later.

    Trusts the system's authorities (SSL_CERT_FILE is honoured) and those in ``ca_files``. Raises
    :class:`ConfigurationError` for a file that cannot be used.
    """
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context._sessions, context.silent = {}, set()
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
