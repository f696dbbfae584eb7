"""TLS: one client context for the whole program, certificates always checked; server contexts."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from valija.domain.errors import ConfigurationError
from valija.domain.text import N_, message
from valija.net.memory import Memory
from valija.protocol.pop3_client import PopCapabilities

ADDRESSES_FRESH_S: Final = 30.0
CAPABILITIES_FRESH_S: Final = 600.0
Place = tuple[str, int]  # host and port

FLIGHTS: Final = 6  # of a handshake, with one to spare


class ClientContext(ssl.SSLContext):
    """A client's context, and what is known of the servers that it reaches.

    ``silent``: those on unusual ports that were found to begin with TLS. ``addresses``: of their names. ``capabilities``: what
    POP3 servers offered over TLS.
    """

    silent: set[Place]
    addresses: Memory[Place, list[str]]
    capabilities: Memory[Place, PopCapabilities]

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Announce no protocol (RFC 7301): HTTP/1.1 needs none, and a POP3 server refuses who announces HTTP."""


def client_context(*ca_files: Path | None) -> ClientContext:
    """Return a context that checks certificates and speaks TLS 1.2 or later.

    Trusts the system's authorities (SSL_CERT_FILE is honoured) and those in ``ca_files``. Raises
    :class:`ConfigurationError` for a file that cannot be used.
    """
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.silent = set()
    context.addresses = Memory(ADDRESSES_FRESH_S)
    context.capabilities = Memory(CAPABILITIES_FRESH_S)
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


class KeyLocked(OSError):
    """A private key is encrypted. Nobody is there to type its password: OpenSSL would ask at the terminal, and wait."""

    def __init__(self, key: Path) -> None:
        text = N_("{file} is encrypted, and nobody is there to type its password; `openssl pkey` takes it off")
        self.message = message(text, file=str(key))
        super().__init__(str(self.message))


def load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Give a context its certificate. Raises OSError for files that cannot be used, :class:`KeyLocked` among them."""

    def ask_nobody() -> bytes:
        raise KeyLocked(key)

    context.load_cert_chain(certificate, key, ask_nobody)


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a context for listeners: TLS 1.2 or later. Raises OSError for files that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_pair(context, certificate, key)
    return context


Pair = tuple[Path, Path]  # certificate and key, PEM
MODERN: Final = "DEFAULT:!aNULL:!eNULL"
OLD: Final = "DEFAULT:!aNULL:!eNULL:@SECLEVEL=0"


def device_context(pairs: Sequence[Pair], *, old: bool = False) -> ssl.SSLContext:
    """Return a context for devices, with a certificate of each kind of key in ``pairs``.

    TLS 1.2 and later, with OpenSSL's own list of ciphers: Python's shorter one leaves out what many printers have (RSA key
    exchange, SHA-1). ``old``: TLS 1.0 and later, at security level 0, without which no handshake of TLS 1.0 succeeds.
    Raises OSError or ValueError for what cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(OLD if old else MODERN)
    _set_lowest(context, ssl.TLSVersion.TLSv1 if old else ssl.TLSVersion.TLSv1_2)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0  # devices do not resume
    for certificate, key in pairs:
        load_pair(context, certificate, key)
    return context


def what_old_devices_lack(context: ssl.SSLContext) -> list[str]:
    """Return what a context made with ``old`` cannot do after all, by a handshake in memory with each; none is good.

    A later OpenSSL, or a system-wide policy, may have taken it away.
    """
    tries = (("TLS 1.0", ssl.TLSVersion.TLSv1, OLD), ("AES128-SHA", ssl.TLSVersion.TLSv1_2, "AES128-SHA:@SECLEVEL=0"))
    return [name for name, version, ciphers in tries if not _shakes_hands(context, version, ciphers)]


def _shakes_hands(context: ssl.SSLContext, version: ssl.TLSVersion, ciphers: str) -> bool:
    try:
        client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client_side.check_hostname, client_side.verify_mode = False, ssl.CERT_NONE  # it is ourselves
        client_side.set_ciphers(ciphers)
        _set_lowest(client_side, version)
        _set_highest(client_side, version)
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        sides = [context.wrap_bio(up, down, server_side=True), client_side.wrap_bio(down, up)]
        for _flight in range(FLIGHTS):
            sides = [side for side in sides if not _is_done(side)]
    except (ssl.SSLError, ValueError):
        return False
    return not sides


def _is_done(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _set_lowest(context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TLS 1.0: it is asked for, by name
        context.minimum_version = version


def _set_highest(context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = version
