"""What a server of SMTP offers, and what its core asks and tells whoever drives it (:mod:`valija.protocol.smtp_server`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from valija.protocol.sasl_server import Shown
from valija.protocol.smtp_path import Path


@dataclass(frozen=True, slots=True)
class SmtpPolicy:
    """What this server offers and allows. ``size_limit`` and ``endless_after`` in octets."""

    host_name: str
    mechanisms: tuple[str, ...] = ()
    tls_offered: bool = False
    auth_needs_tls: bool = True
    auth_required: bool = True
    reports_offered: bool = False  # DSN (RFC 3461)
    old_auth_line: bool = False  # AUTH=LOGIN PLAIN as well: what was written before RFC 2554
    size_limit: int = 157_286_400
    endless_after: int = 1 << 33  # octets of one body
    recipients_limit: int = 500
    idle_commands_limit: int = 100  # in a row that bring no message forward
    errors_limit: int = 20
    auth_failures_limit: int = 5


@dataclass(frozen=True, slots=True)
class CredentialsShown:
    """Question: are these good? Answer with ``accept_login`` or ``refuse_login``."""

    shown: Shown


@dataclass(frozen=True, slots=True)
class SenderOffered:
    """Question: may this sender? Answer with ``answer``."""

    path: Path


@dataclass(frozen=True, slots=True)
class RecipientOffered:
    """Question: may this recipient? Answer with ``answer``."""

    path: Path


@dataclass(frozen=True, slots=True)
class MessageStarts:
    """Question: may the data come? Answer with ``answer`` (354 to go on). Paths come with their parameters."""

    sender: Path
    recipients: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class BodyPiece:
    """Octets of the message, dots removed."""

    data: bytes


@dataclass(frozen=True, slots=True)
class MessageEnds:
    """Question: is it taken? Answer with ``answer``. ``too_large``: it must be dropped; that was answered already."""

    too_large: bool


@dataclass(frozen=True, slots=True)
class TlsWanted:
    """The client waits for the handshake; call ``tls_started`` after it."""


@dataclass(frozen=True, slots=True)
class SessionEnds:
    """Send the output, then close."""


Event = (
    CredentialsShown
    | SenderOffered
    | RecipientOffered
    | MessageStarts
    | BodyPiece
    | MessageEnds
    | TlsWanted
    | SessionEnds
)


def auth_allowed(policy: SmtpPolicy, *, secure: bool) -> bool:
    """Tell whether AUTH may be said now."""
    return secure or not policy.auth_needs_tls


@lru_cache(100)
def ehlo_reply(policy: SmtpPolicy, *, secure: bool) -> bytes:
    """Return the reply to EHLO."""
    offers = ["PIPELINING", f"SIZE {policy.size_limit}", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8"]
    offers += ["DSN"] if policy.reports_offered else []
    if policy.tls_offered and not secure:
        offers.append("STARTTLS")
    if policy.mechanisms and auth_allowed(policy, secure=secure):
        offers.append("AUTH " + " ".join(policy.mechanisms))
        offers += ["AUTH=" + " ".join(policy.mechanisms)] if policy.old_auth_line else []
    lines = [policy.host_name, *offers]
    return "".join(
        f"250{'-' if number < len(lines) else ' '}{text}\r\n" for number, text in enumerate(lines, 1)
    ).encode()
