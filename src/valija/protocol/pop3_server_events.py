"""What a server of POP3 offers, and what its core asks and tells whoever drives it (:mod:`valija.protocol.pop3_server`)."""

from __future__ import annotations

from dataclasses import dataclass

from valija.protocol.sasl_server import Shown


@dataclass(frozen=True, slots=True)
class PopPolicy:
    """What this server offers and allows."""

    host_name: str
    mechanisms: tuple[str, ...] = ()
    tls_offered: bool = False
    auth_needs_tls: bool = True
    sizes_exact: bool = True  # False: RETR does not name a size that may be wrong
    errors_limit: int = 20
    auth_failures_limit: int = 5
    commands_before_login: int = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of the maildrop: its unique-id, and its size in octets with CRLF for a line end, before stuffing."""

    unique_id: str
    size: int


@dataclass(frozen=True, slots=True)
class LoginShown:
    """Question: are these good? Answer with ``open_maildrop`` or ``refuse_login``. ``utf8``: UTF8 was said (RFC 6856)."""

    shown: Shown
    utf8: bool = False


@dataclass(frozen=True, slots=True)
class MessageWanted:
    """Question: is this message there? ``lines`` of its body for TOP, None for all.

    Answer with ``message_follows``, send the message after the output, dot-stuffed with its terminator, then say
    ``message_sent``; or answer with ``refuse_message`` or ``lose_maildrop``.
    """

    index: int
    lines: int | None


@dataclass(frozen=True, slots=True)
class DeletionsDue:
    """Question: delete these now. Answer with ``deleted``."""

    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TlsWanted:
    """The client waits for the handshake; call ``tls_started`` after it."""


@dataclass(frozen=True, slots=True)
class OutputWaits:
    """There is much to say, or to go through: send the output, and ask again after others have had their turn."""


@dataclass(frozen=True, slots=True)
class SessionEnds:
    """Send the output, then close."""


Event = LoginShown | MessageWanted | DeletionsDue | TlsWanted | OutputWaits | SessionEnds
