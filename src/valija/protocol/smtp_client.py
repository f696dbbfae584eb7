"""The client's side of SMTP (RFC 5321, RFC 3207, RFC 4954, RFC 2920), without I/O.

Theory of operation
-------------------
Each part of a session is a generator. It yields steps and is sent what came of them: ``Write`` (nothing), ``Read`` (a reply),
``StartTls`` (nothing), ``SendBody`` (nothing; the driver streams the body through dot-stuffing and sends the terminator).
A driver that loses the connection throws :class:`ConnectionGone` into the generator. Messages are in
:mod:`valija.protocol.smtp_transaction`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from valija.protocol.errors import LocalProtocolError
from valija.protocol.sasl import (
    Credentials,
    ErrorChallenge,
    Mechanism,
    choose_mechanism,
    decode_challenge,
    encode_line,
)
from valija.protocol.smtp_reply import SmtpReply

AUTH_ROUNDS_LIMIT: Final = 6


class Stage(StrEnum):
    """Where in the dialog."""

    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    RSET = "rset"
    QUIT = "quit"


@dataclass(frozen=True, slots=True)
class Write:
    """A step: send octets. ``secret`` must not be shown in transcripts."""

    data: bytes
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """A step: wait for one reply."""

    stage: Stage


@dataclass(frozen=True, slots=True)
class StartTls:
    """A step: make the connection secure; octets that are buffered in clear are an injection."""


@dataclass(frozen=True, slots=True)
class SendBody:
    """A step: send the body, dot-stuffed, with its terminator; ``empty`` sends the terminator alone."""

    empty: bool = False


Step = Write | Read | StartTls | SendBody
Steps = Generator[Step, Any, Any]


class ConnectionGone(Exception):
    """Thrown into a dialog: the connection was lost, or a wait was over. ``reason`` is a key of the explanations."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason
        self.words = words


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What EHLO said; keywords in upper case. Empty after HELO."""

    keywords: Mapping[str, str]

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """Return the SASL mechanisms that are offered."""
        return tuple(self.keywords.get("AUTH", "").upper().split())

    @property
    def size_limit(self) -> int | None:
        """Return the largest message in octets; None if there is no limit or it is not known."""
        word = self.keywords.get("SIZE", "").split(" ")[0]
        return int(word) or None if word.isascii() and word.isdigit() and len(word) < 19 else None

    def has(self, keyword: str) -> bool:
        """Tell whether an extension is offered."""
        return keyword in self.keywords


@dataclass(frozen=True, slots=True)
class Refused:
    """The server refused at a stage."""

    stage: Stage
    reply: SmtpReply


def parse_capabilities(reply: SmtpReply) -> Capabilities:
    """Read the reply to EHLO; the old form ``AUTH=LOGIN PLAIN`` counts as AUTH."""
    keywords: dict[str, str] = {}
    for line in reply.lines[1:]:
        word, _space, rest = line.strip().partition(" ")
        name, equals, value = word.upper().partition("=")
        text = f"{value} {rest}".strip() if equals else rest.strip()
        keywords[name] = f"{keywords[name]} {text}".strip() if name == "AUTH" and name in keywords else text
    return Capabilities(keywords)


# --- opening -----------------------------------------------------------------------------------------------------------


def greet(local_name: str) -> Generator[Step, Any, Capabilities | Refused]:
    """Read the greeting and say EHLO, or HELO to a server that does not know it."""
    greeting: SmtpReply = yield Read(Stage.GREETING)
    if not greeting.is_positive:
        return Refused(Stage.GREETING, greeting)
    return (yield from say_hello(local_name))


def say_hello(local_name: str) -> Generator[Step, Any, Capabilities | Refused]:
    """Say EHLO, or HELO to a server that does not know it (RFC 5321 section 3.2)."""
    name = _domain(local_name)
    yield Write(b"EHLO %s\r\n" % name)
    reply: SmtpReply = yield Read(Stage.EHLO)
    if reply.is_positive:
        return parse_capabilities(reply)
    if reply.is_transient:
        return Refused(Stage.EHLO, reply)
    yield Write(b"HELO %s\r\n" % name)
    reply = yield Read(Stage.EHLO)
    return Capabilities({}) if reply.is_positive else Refused(Stage.EHLO, reply)


def start_tls(local_name: str) -> Generator[Step, Any, Capabilities | Refused]:
    """Ask for TLS; what the server said before is forgotten and asked again (RFC 3207 section 4.2)."""
    yield Write(b"STARTTLS\r\n")
    reply: SmtpReply = yield Read(Stage.STARTTLS)
    if not reply.is_positive:
        return Refused(Stage.STARTTLS, reply)
    yield StartTls()
    return (yield from say_hello(local_name))


def _domain(local_name: str) -> bytes:
    if (
        not local_name
        or len(local_name) > 253
        or not local_name.isascii()
        or not local_name.isprintable()
        or " " in local_name
    ):
        raise LocalProtocolError("not a name for EHLO")
    return local_name.encode()


# --- authentication ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuthAccepted:
    """The log-in was taken."""

    mechanism: str


@dataclass(frozen=True, slots=True)
class AuthRefused:
    """The log-in was refused; ``challenge`` is the error that came before the reply, if one came."""

    mechanism: str
    reply: SmtpReply
    challenge: ErrorChallenge | None


@dataclass(frozen=True, slots=True)
class NoCommonMechanism:
    """The server offers nothing that fits the credentials."""

    offered: tuple[str, ...]


AuthOutcome = AuthAccepted | AuthRefused | NoCommonMechanism


def authenticate(
    capabilities: Capabilities, credentials: Credentials, preference: tuple[str, ...] = ()
) -> Generator[Step, Any, AuthOutcome]:
    """Log in with the best mechanism that both sides have."""
    mechanism = choose_mechanism(capabilities.mechanisms, credentials, preference)
    if mechanism is None:
        return NoCommonMechanism(capabilities.mechanisms)
    reply = yield from _exchange(mechanism)
    if reply.code == 235:
        return AuthAccepted(mechanism.name)
    return AuthRefused(mechanism.name, reply, mechanism.error)


def _exchange(mechanism: Mechanism) -> Generator[Step, Any, SmtpReply]:
    yield Write(b"AUTH %s\r\n" % mechanism.name.encode())
    reply: SmtpReply = yield Read(Stage.AUTH)
    for _round in range(AUTH_ROUNDS_LIMIT):
        if reply.code != 334:
            return reply
        challenge = decode_challenge(reply.lines[0])
        yield Write(encode_line(mechanism.respond(challenge)), secret=True)
        reply = yield Read(Stage.AUTH)
    yield Write(b"*\r\n")
    reply = yield Read(Stage.AUTH)
    return reply


# --- the end ---------------------------------------------------------------------------------------------------------------


def say_goodbye() -> Generator[Step, Any, None]:
    """End the session politely."""
    yield Write(b"QUIT\r\n")
    yield Read(Stage.QUIT)
