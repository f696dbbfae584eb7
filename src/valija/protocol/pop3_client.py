"""The client's side of POP3 (RFC 1939, 2449, 2595, 3206, 5034, 6856), without I/O.

As in :mod:`smtp_client`, parts of a session are generators. Steps: ``Write``, ``ReadStatus`` (one status line),
``ReadChallenge`` (a status line or a challenge), ``ReadListing`` (the lines of a multi-line answer), ``StartTls``. Message
bodies are not read here: after the status line of RETR the driver streams them through
:class:`~valija.protocol.dot_stuffing.DotUnstuffer`, so a line may have any length.

Only ``+OK`` is success. ``+ `` begins a challenge: taken for a success, a refused token would look like a log-in.
Sizes in STAT and LIST are estimates at some servers and are never relied on. Commands are sent together only to a server
that offers PIPELINING.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from valija.protocol.errors import LocalProtocolError, RemoteProtocolError
from valija.protocol.sasl import (
    Credentials,
    ErrorChallenge,
    PasswordCredentials,
    choose_mechanism,
    decode_challenge,
    encode_line,
)
from valija.protocol.smtp_client import NoCommonMechanism, StartTls, Write

STATUS_LIMIT: Final = 16384
LISTING_LINE_LIMIT: Final = 2048
LISTING_LIMIT: Final = 200_000
LISTING_OCTETS: Final = LISTING_LIMIT * 84  # a number and a unique-id of 70 in each line
WORDS_LIMIT: Final = 600
TOGETHER: Final = 500  # commands that are sent before their answers are read
_CODE: Final = re.compile(r"\[([A-Z0-9/-]{1,40})\]\s*", re.IGNORECASE)
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_UNIQUE_ID: Final = re.compile(r"[\x21-\x7e]{1,70}")


class PopStage(StrEnum):
    """Where in the dialog."""

    GREETING = "greeting"
    CAPA = "capa"
    STARTTLS = "starttls"
    AUTH = "auth"
    UTF8 = "utf8"
    STAT = "stat"
    UIDL = "uidl"
    LIST = "list"
    RETR = "retr"
    DELE = "dele"
    QUIT = "quit"


@dataclass(frozen=True, slots=True)
class ReadStatus:
    """A step: wait for a status line."""

    stage: PopStage


@dataclass(frozen=True, slots=True)
class ReadListing:
    """A step: wait for the lines of a multi-line answer, up to the line with one dot."""

    stage: PopStage


Step = Write | ReadStatus | ReadListing | StartTls


@dataclass(frozen=True, slots=True)
class PopStatus:
    """A status line: ``ok``, a challenge, or an error; ``code`` is the response code (RFC 2449 section 8) in upper case."""

    ok: bool
    is_challenge: bool
    code: str
    text: str

    @property
    def server_words(self) -> str:
        """Return the line for people, one safe line."""
        words = _UNSAFE.sub(" ", f"{'+OK' if self.ok else '-ERR'} {f'[{self.code}] ' if self.code else ''}{self.text}")
        return words.strip()[:WORDS_LIMIT]


def parse_status(line: bytes) -> PopStatus:
    """Read a status line or a challenge. Raises :class:`RemoteProtocolError`."""
    text = line.decode("utf-8", "replace")
    word, _space, rest = text.partition(" ")
    if word == "+":
        return PopStatus(False, True, "", rest)
    if word.upper() not in ("+OK", "-ERR"):
        raise RemoteProtocolError(f"not a POP3 answer: {_UNSAFE.sub(' ', text[:80])}")
    found = _CODE.match(rest)
    code = found.group(1).upper() if found else ""
    return PopStatus(word.upper() == "+OK", False, code, rest[found.end() :] if found else rest)


@dataclass(frozen=True, slots=True)
class PopRefused:
    """The server refused at a stage."""

    stage: PopStage
    status: PopStatus


@dataclass(frozen=True, slots=True)
class PopCapabilities:
    """What CAPA said; None of it where the server does not know CAPA."""

    known: bool
    mechanisms: tuple[str, ...]
    stls: bool
    user: bool
    top: bool = False
    utf8: bool = False
    pipelining: bool = False


@dataclass(frozen=True, slots=True)
class PopAuthAccepted:
    """The log-in was taken."""

    mechanism: str


@dataclass(frozen=True, slots=True)
class PopAuthRefused:
    """The log-in was refused."""

    mechanism: str
    status: PopStatus
    challenge: ErrorChallenge | None


PopAuthOutcome = PopAuthAccepted | PopAuthRefused | NoCommonMechanism


def greet(known: PopCapabilities | None = None) -> Generator[Step, Any, PopCapabilities | PopRefused]:
    """Read the greeting and ask for the capabilities, unless they are ``known`` from an earlier session."""
    status: PopStatus = yield ReadStatus(PopStage.GREETING)
    if not status.ok:
        return PopRefused(PopStage.GREETING, status)
    return known if known is not None else (yield from ask_capabilities())


def ask_capabilities() -> Generator[Step, Any, PopCapabilities]:
    """Say CAPA; a server without it has USER at least."""
    yield Write(b"CAPA\r\n")
    status: PopStatus = yield ReadStatus(PopStage.CAPA)
    if not status.ok:
        return PopCapabilities(False, (), False, True)
    lines: list[bytes] = yield ReadListing(PopStage.CAPA)
    words = {line.split(b" ")[0].upper().decode("ascii", "replace"): line for line in lines if line}
    sasl = words.get("SASL", b"").decode("ascii", "replace").upper().split()[1:]
    return PopCapabilities(
        True, tuple(sasl), "STLS" in words, "USER" in words, "TOP" in words, "UTF8" in words, "PIPELINING" in words
    )


def start_tls() -> Generator[Step, Any, PopCapabilities | PopRefused]:
    """Ask for TLS; capabilities are asked for again (RFC 2595 section 4)."""
    yield Write(b"STLS\r\n")
    status: PopStatus = yield ReadStatus(PopStage.STARTTLS)
    if not status.ok:
        return PopRefused(PopStage.STARTTLS, status)
    yield StartTls()
    return (yield from ask_capabilities())


def ask_utf8() -> Generator[Step, Any, PopStatus]:
    """Say UTF8, before the log-in: headers may come in UTF-8 (RFC 6856 section 2)."""
    yield Write(b"UTF8\r\n")
    status: PopStatus = yield ReadStatus(PopStage.UTF8)
    return status


def authenticate(
    capabilities: PopCapabilities, credentials: Credentials, preference: tuple[str, ...] = ()
) -> Generator[Step, Any, PopAuthOutcome]:
    """Log in: SASL in two steps, or USER and PASS where a password and no SASL is offered."""
    offered = capabilities.mechanisms if capabilities.known else preference
    mechanism = choose_mechanism(offered, credentials, preference)
    if mechanism is None:
        if isinstance(credentials, PasswordCredentials) and capabilities.user:
            return (yield from _user_and_pass(credentials))
        return NoCommonMechanism(offered)
    yield Write(b"AUTH %s\r\n" % mechanism.name.encode())
    status: PopStatus = yield ReadStatus(PopStage.AUTH)
    for _round in range(6):
        if not status.is_challenge:
            break
        yield Write(encode_line(mechanism.respond(decode_challenge(status.text))), secret=True)
        status = yield ReadStatus(PopStage.AUTH)
    if status.is_challenge:
        raise RemoteProtocolError("the log-in does not come to an end")
    if status.ok:
        return PopAuthAccepted(mechanism.name)
    return PopAuthRefused(mechanism.name, status, mechanism.error)


def _user_and_pass(credentials: PasswordCredentials) -> Generator[Step, Any, PopAuthOutcome]:
    yield Write(b"USER %s\r\n" % _argument(credentials.user))
    status: PopStatus = yield ReadStatus(PopStage.AUTH)
    if status.ok:
        yield Write(b"PASS %s\r\n" % _argument(credentials.password.reveal()), secret=True)
        status = yield ReadStatus(PopStage.AUTH)
    return PopAuthAccepted("USER") if status.ok else PopAuthRefused("USER", status, None)


@dataclass(frozen=True, slots=True)
class Maildrop:
    """What STAT said: number of messages, octets (an estimate)."""

    count: int
    octets: int


def ask_stat() -> Generator[Step, Any, Maildrop | PopRefused]:
    """Say STAT."""
    yield Write(b"STAT\r\n")
    status: PopStatus = yield ReadStatus(PopStage.STAT)
    if not status.ok:
        return PopRefused(PopStage.STAT, status)
    numbers = [_number(word) for word in status.text.split()[:2]]
    if len(numbers) < 2:
        raise RemoteProtocolError("STAT without two numbers")
    return Maildrop(numbers[0], numbers[1])


def ask_unique_ids() -> Generator[Step, Any, list[tuple[int, str]] | PopRefused]:
    """Say UIDL: message numbers of this session with their unique-ids (RFC 1939 section 7)."""
    yield Write(b"UIDL\r\n")
    return (yield from _read_unique_ids())


def _read_unique_ids() -> Generator[Step, Any, list[tuple[int, str]] | PopRefused]:
    status: PopStatus = yield ReadStatus(PopStage.UIDL)
    if not status.ok:
        return PopRefused(PopStage.UIDL, status)
    lines: list[bytes] = yield ReadListing(PopStage.UIDL)
    found: dict[int, str] = {}
    for line in lines:
        number, _space, unique_id = line.decode("utf-8", "replace").strip().partition(" ")
        unique_id = unique_id.strip()
        if _UNIQUE_ID.fullmatch(unique_id) is None:
            raise RemoteProtocolError("UIDL with a unique-id that is none")
        found[_number(number)] = unique_id
    return sorted(found.items())


@dataclass(frozen=True, slots=True)
class Listed:
    """A message as UIDL and LIST name it; ``size`` in octets may be an estimate."""

    number: int
    unique_id: str
    size: int


def ask_listing(capabilities: PopCapabilities) -> Generator[Step, Any, list[Listed] | PopRefused]:
    """Say UIDL and LIST."""
    yield Write(b"UIDL\r\nLIST\r\n" if capabilities.pipelining else b"UIDL\r\n")
    unique_ids = yield from _read_unique_ids()
    if not capabilities.pipelining:
        if isinstance(unique_ids, PopRefused):
            return unique_ids
        yield Write(b"LIST\r\n")
    status: PopStatus = yield ReadStatus(PopStage.LIST)
    lines: list[bytes] = (yield ReadListing(PopStage.LIST)) if status.ok else []
    if isinstance(unique_ids, PopRefused):
        return unique_ids
    if not status.ok:
        return PopRefused(PopStage.LIST, status)
    sizes: dict[int, int] = {}
    for line in lines:
        words = line.decode("utf-8", "replace").split()
        sizes[_number(words[0] if words else "")] = _number(words[1] if len(words) > 1 else "")
    if sizes.keys() != {number for number, _unique_id in unique_ids}:
        raise RemoteProtocolError("UIDL and LIST name different messages")
    return [Listed(number, unique_id, sizes[number]) for number, unique_id in unique_ids]


def retrievals(numbers: Sequence[int]) -> bytes:
    """Return the commands that ask for messages, one after the other."""
    return b"".join(b"RETR %d\r\n" % number for number in numbers)


def ask_retrieve(number: int, *, asked: bool = False) -> Generator[Step, Any, PopStatus]:
    """Say RETR, unless it was ``asked`` before; the body follows a positive status and is read by the driver."""
    if not asked:
        yield Write(retrievals((number,)))
    status: PopStatus = yield ReadStatus(PopStage.RETR)
    return status


def ask_top(number: int, lines: int) -> Generator[Step, Any, PopStatus]:
    """Say TOP; what follows a positive status is read by the driver, as for RETR."""
    yield Write(b"TOP %d %d\r\n" % (number, lines))
    status: PopStatus = yield ReadStatus(PopStage.RETR)
    return status


def ask_deletions(numbers: Sequence[int], capabilities: PopCapabilities) -> Generator[Step, Any, list[PopStatus]]:
    """Say DELE for each; return the refusals."""
    refused: list[PopStatus] = []
    together = TOGETHER if capabilities.pipelining else 1
    for start in range(0, len(numbers), together):
        some = numbers[start : start + together]
        yield Write(b"".join(b"DELE %d\r\n" % number for number in some))
        for _each in some:
            status: PopStatus = yield ReadStatus(PopStage.DELE)
            if not status.ok:
                refused.append(status)
    return refused


def say_goodbye() -> Generator[Step, Any, PopStatus]:
    """Say QUIT; a negative status means that some deletions did not happen."""
    yield Write(b"QUIT\r\n")
    status: PopStatus = yield ReadStatus(PopStage.QUIT)
    return status


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 19):
        raise RemoteProtocolError("not a number where one belongs")
    return int(word)


def _argument(text: str) -> bytes:
    if any(c in "\r\n\0" or "\ud800" <= c <= "\udfff" for c in text):
        raise LocalProtocolError("a control character in a user name or password")
    return text.encode("utf-8")
