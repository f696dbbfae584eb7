"""What a server's listeners ask: who decides about a session, who takes a message, who gives a maildrop.

An answer may be given at once or awaited (``Maybe``): what needs no waiting costs no task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, TypeVar

from valija.protocol import pop3_server_events as pop
from valija.protocol import smtp_server_events as smtp
from valija.protocol.sasl_server import Shown
from valija.protocol.smtp_path import Path

T = TypeVar("T")
Maybe: TypeAlias = T | Awaitable[T]


@dataclass(frozen=True, slots=True)
class Peer:
    """Who has connected, and to which listener."""

    address: str
    port: int
    listener: str


@dataclass(frozen=True, slots=True)
class LoginAccepted:
    """The credentials are good, for this mailbox."""

    user: str


@dataclass(frozen=True, slots=True)
class LoginRefused:
    """The credentials are not good; ``status`` and ``scope`` go into the error challenge."""

    status: str = "401"
    scope: str = ""
    temporary: bool = False


# --- SMTP -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """A reply to say."""

    code: int
    enhanced: str
    text: str


OK: Final = Verdict(250, "2.1.0", "OK")


class MessageSink(Protocol):
    """Takes one message's octets; nothing is kept unless ``commit`` has given its verdict."""

    def write(self, data: bytes) -> Awaitable[None] | None:
        """Take the next octets; what is returned must be awaited before more are given."""
        ...

    def commit(self) -> Maybe[Verdict]:
        """Keep the message durably; say so."""
        ...

    def unheard(self) -> None:
        """Hear that the verdict could not be told: the client has gone, and will hand in the same again."""
        ...

    async def abandon(self) -> None:
        """Forget what came."""
        ...


@dataclass(frozen=True, slots=True)
class Transaction:
    """A message that is offered: its paths with their parameters, and how the client greeted."""

    sender: Path
    recipients: tuple[Path, ...]
    helo: str
    extended: bool  # by EHLO
    secure: bool


class SmtpVisit(ABC):
    """Decides for one session of an SMTP server."""

    policy: smtp.SmtpPolicy
    lf_ends_message = False  # for the message that begins (:class:`valija.protocol.smtp_server.SmtpServer`)
    is_stranger = False  # listened to, but not known

    def heard(self, helo: str, mechanism: str) -> None:  # noqa: B027 - nothing to do, for most
        """Hear how the client greeted and how it tried to log in (both may be empty), before a question and at the end."""

    def not_secured(self, why: str) -> None:  # noqa: B027 - nothing to do, for most
        """Hear that a handshake failed."""

    def secured(self, version: str) -> None:  # noqa: B027 - nothing to do, for most
        """Hear of the TLS version after a handshake."""

    @abstractmethod
    def login(self, shown: Shown) -> Maybe[LoginAccepted | LoginRefused]:
        """Check credentials."""

    @abstractmethod
    def sender(self, path: Path) -> Maybe[Verdict]:
        """Decide about a sender."""

    @abstractmethod
    def recipient(self, path: Path) -> Maybe[Verdict]:
        """Decide about a recipient."""

    @abstractmethod
    def message(self, transaction: Transaction) -> Maybe[MessageSink | Verdict]:
        """Take a message, or say why not."""

    def ended(self) -> None:  # noqa: B027 - nothing to do, for most
        """Hear that the session is over."""


class SmtpHandler(ABC):
    """Opens a visit for each session; one for all."""

    @abstractmethod
    def open(self, peer: Peer) -> SmtpVisit:
        """Return who decides for a session."""


# --- POP3 -----------------------------------------------------------------------------------------------------------------


class MessageRefused(Exception):
    """This message cannot be had; the text goes to the client."""


class MaildropLost(Exception):
    """The maildrop is out of reach, and nothing was deleted; the text goes to the client."""


class OpenMaildrop(Protocol):
    """A maildrop for one session."""

    entries: Sequence[pop.Entry]

    def read(self, index: int, lines: int | None) -> AsyncGenerator[bytes]:
        """Yield a message as it goes over the wire: stuffed, with its terminator; ``lines`` of its body, None for all.

        Raises :class:`MessageRefused` before anything is yielded, or :class:`MaildropLost`.
        """
        ...

    async def delete(self, indexes: Sequence[int]) -> bool:
        """Delete messages; tell whether all are gone."""
        ...

    async def close(self) -> None:
        """Let another session have it."""
        ...


class PopVisit(ABC):
    """Decides for one session of a POP3 server."""

    policy: pop.PopPolicy

    def not_secured(self, why: str) -> None:  # noqa: B027 - nothing to do, for most
        """Hear that a handshake failed."""

    def secured(self, version: str) -> None:  # noqa: B027 - nothing to do, for most
        """Hear of the TLS version after a handshake."""

    @abstractmethod
    def login(self, shown: Shown, *, utf8: bool) -> Maybe[OpenMaildrop | LoginRefused | None]:
        """Check credentials and open the maildrop; None if another session has it. ``utf8``: UTF8 was said (RFC 6856)."""

    def ended(self) -> None:  # noqa: B027 - nothing to do, for most
        """Hear that the session is over."""


class PopHandler(ABC):
    """Opens a visit for each session; one for all."""

    @abstractmethod
    def open(self, peer: Peer) -> PopVisit:
        """Return who decides for a session."""
