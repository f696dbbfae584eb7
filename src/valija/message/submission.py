"""What a submission server mends in a message before it goes on (RFC 6409 section 8), in pieces, without I/O.

Theory of operation
-------------------
1. :class:`LineEnds` makes every line end CRLF: a lone LF or CR is what old devices send, what Exchange refuses, and what
   message smuggling is made of (RFC 5321 section 2.3.8). NUL goes: no mail may hold it (RFC 5322 section 4.1), and a server
   that drops it would find a line with one dot where there was none.
2. :class:`HeadReader` takes the head off the front of the stream; all that follows it goes through untouched.
3. :func:`mend_head` keeps every field of the head octet for octet, but for those it must change: it adds what is missing
   (Date, Message-ID), takes out what nobody else may see (Bcc, Return-Path), writes the trace, and, where the message goes out
   as the mailbox and From names another, puts the mailbox there and what the device wrote into Reply-To and X-Original-From.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import format_datetime, formataddr
from functools import lru_cache
from typing import Final

from valija.message.addresses import read_addresses

HEAD_LIMIT: Final = 262_144  # octets
ADDRESS_LIMIT: Final = 320
SENDERS_LIMIT: Final = 16_384  # octets of From and Sender
HOPS_LIMIT: Final = 50  # Received fields; more is a loop (RFC 5321 section 6.3)
_FIELD_NAME: Final = re.compile(rb"([!-9;-~]{1,200})[ \t]*:")
_MAILBOX_LINE: Final = re.compile(rb">?From [^\r\n]*\r\n(?=[!-9;-~]{1,200}[ \t]*:)")
_DROPPED: Final = frozenset({b"bcc", b"resent-bcc", b"return-path"})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class LineEnds:
    """Octets in, the same octets with CRLF at every line's end and without NUL out."""

    def __init__(self) -> None:
        self._cr = False

    def feed(self, data: bytes) -> bytes:
        """Return what is certain after ``data``."""
        if b"\0" in data:
            data = data.replace(b"\0", b"")
        if self._cr:
            data = b"\r" + data
        self._cr = data.endswith(b"\r")
        if self._cr:
            data = data[:-1]
        pairs = data.count(b"\r\n")
        if data.count(b"\n") == pairs and data.count(b"\r") == pairs:
            return data
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")

    def end(self) -> bytes:
        """Return what was kept back."""
        kept, self._cr = self._cr, False
        return b"\r\n" if kept else b""


class HeadTooLarge(Exception):
    """The head goes on after ``HEAD_LIMIT`` octets, or what names its senders has more than ``SENDERS_LIMIT``."""


class HeadReader:
    """Takes a head off a stream of CRLF lines.

    A message that begins with no field has no head: the first line is part of the body then. A line that begins a message in
    a mailbox file ("From ana Thu ..."), before a field, is dropped: some programs hand it in, and no server takes it for one.
    """

    def __init__(self) -> None:
        self._kept = bytearray()

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Return (head, beginning of the body) once the head has ended. Raises :class:`HeadTooLarge`."""
        start = max(len(self._kept) - 3, 0)
        self._kept += data
        if self._kept.startswith(b"\r\n"):
            return b"", bytes(self._kept[2:])
        end = self._kept.find(b"\r\n\r\n", start)
        if end > HEAD_LIMIT or (end < 0 and len(self._kept) > HEAD_LIMIT):
            raise HeadTooLarge
        return None if end < 0 else _split(bytes(self._kept[: end + 2]), bytes(self._kept[end + 2 :]))

    def end(self) -> tuple[bytes, bytes]:
        """Return (head, body) of a message that ended before its head did."""
        kept = bytes(self._kept)
        return _split(kept if kept.endswith(b"\r\n") or not kept else kept + b"\r\n", b"")


def _split(head: bytes, rest: bytes) -> tuple[bytes, bytes]:
    """Give back to the body what is no field and all after it. ``rest`` begins with the empty line, if there is one."""
    mailbox_line = _MAILBOX_LINE.match(head)
    start = at = mailbox_line.end() if mailbox_line else 0
    for line in head[start:].splitlines(keepends=True):
        if not _FIELD_NAME.match(line) and not (at > start and line[:1] in (b" ", b"\t")):
            return head[start:at], head[at:] + rest
        at += len(line)
    return head[start:], rest[2:]


@dataclass(frozen=True, slots=True)
class Mending:
    """What to write.

    ``message_id`` makes one, for a head without; ``sender``: the envelope's, for a head without From. ``mailbox``: the address
    that the message goes out as, empty to leave its sender as it is; ``is_own`` tells whether another one may stand there.
    """

    received: str
    date: datetime
    message_id: Callable[[], str]
    sender: str
    mailbox: str = ""
    is_own: Callable[[str], bool] | None = None


@dataclass(frozen=True, slots=True)
class MendedHead:
    """``octets`` end with the empty line. ``hops``: how many servers had it before; ``subject`` and ``message_id`` as sent."""

    octets: bytes
    message_id: str
    subject: str
    hops: int


def mend_head(head: bytes, mending: Mending) -> MendedHead:
    """Return the head as it goes on. Raises :class:`HeadTooLarge`: reading addresses takes time, and everybody waits."""
    fields = _fields(head)
    if sum(len(octets) for name, octets in fields if name in (b"from", b"sender")) > SENDERS_LIMIT:
        raise HeadTooLarge
    names = [name for name, _octets in fields]
    kept = [(name, octets) for name, octets in fields if name not in _DROPPED]
    own_id = _clean(_first(fields, b"message-id"))
    message_id = own_id or f"<{mending.message_id()}>"
    out = [_field("Received", mending.received)]
    if mending.mailbox and not _is_from(kept, mending.mailbox, mending.is_own):
        kept, added = _as_mailbox(kept, mending.mailbox)
        out += added
    elif b"from" not in names:
        out.append(_field("From", _address("", mending.sender)))
    if not _first(fields, b"date").strip():
        kept = [(name, octets) for name, octets in kept if name != b"date"]
        out.append(_field("Date", date_text(mending.date)))
    if not own_id:
        kept = [(name, octets) for name, octets in kept if name != b"message-id"]
        out.append(_field("Message-ID", message_id))
    octets = b"".join([*out, *(octets for _name, octets in kept), b"\r\n"])
    return MendedHead(
        octets, message_id.strip("<>"), _decoded(_first(fields, b"subject"))[:255], names.count(b"received")
    )


def authors_of(octets: bytes) -> list[str]:
    """Return all addresses in a message's From and Sender, in small letters."""
    fields = _fields(octets.partition(b"\r\n\r\n")[0] + b"\r\n")
    said = [field.partition(b":")[2].replace(b"\r\n", b"") for name, field in fields if name in (b"from", b"sender")]
    found = read_addresses([_decoded(value) for value in said])
    return [address.casefold()[:ADDRESS_LIMIT] for _name, address in found if address]


def author_of(octets: bytes) -> str:
    """Return the first address in a message's From, in small letters; empty if there is none."""
    fields = _fields(octets.partition(b"\r\n\r\n")[0] + b"\r\n")
    found = [address for _name, address in read_addresses([_decoded(_first(fields, b"from"))]) if address]
    return found[0].casefold()[:ADDRESS_LIMIT] if found else ""


def rename_author(head: bytes, before: str, now: str) -> bytes:
    """Return a head whose From names ``now`` where it named ``before`` alone; nothing else changes."""
    fields = _fields(head)
    if not _is_from(fields, before):
        return head
    name = read_addresses([_decoded(_first(fields, b"from"))])[0][0]
    new = {b"from": _field("From", _address(name, now)), b"sender": b""}
    return b"".join(new.get(field, octets) for field, octets in fields)


def name_mailbox(head: bytes, mailbox: str) -> bytes:
    """Return a mended head as it would be if it had been known that the message goes out as the mailbox."""
    fields = _fields(head)
    if _is_from(fields, mailbox):
        return head
    (_name, trace), *others = fields
    kept, added = _as_mailbox(others, mailbox)
    return b"".join([trace, *added, *(octets for _name, octets in kept)])


def date_text(moment: datetime) -> str:
    """Return a date as it stands in a field (RFC 5322 section 3.3)."""
    return _date_of(moment.replace(microsecond=0))


@lru_cache(16)
def _date_of(second: datetime) -> str:
    return format_datetime(second)


def _is_from(kept: list[tuple[bytes, bytes]], mailbox: str, is_own: Callable[[str], bool] | None = None) -> bool:
    """Tell whether the head names the mailbox as its sender, or another address of its own, and nobody else."""
    senders = [field.partition(b":")[2] for name, field in kept if name in (b"from", b"sender")]
    if not senders or sum(name == b"from" for name, _octets in kept) != 1:
        return False
    for octets in senders:
        value = octets.replace(b"\r\n", b"").strip().decode("utf-8", "replace")
        plain = value.count("@") == 1 and value.casefold().endswith(f"<{mailbox.casefold()}>")  # by far the most
        found = [mailbox.casefold()] if plain else [a.casefold() for _name, a in read_addresses([value]) if a]
        if found != [mailbox.casefold()] and not (is_own is not None and len(found) == 1 and is_own(found[0])):
            return False
    return True


def _as_mailbox(kept: list[tuple[bytes, bytes]], mailbox: str) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """Return the fields without the sender, and the new ones that name the mailbox."""
    named = _decoded(_first(kept, b"from"))
    found = [(name, address) for name, address in read_addresses([named]) if address]
    name, address = found[0] if found else ("", "")
    added = [_field("From", _address(name, mailbox))]
    if address and address.casefold() != mailbox.casefold():
        if not _first(kept, b"reply-to").strip() and "@" in address:
            added.append(_field("Reply-To", _address(name, address)))
        added.append(_field("X-Original-From", _address(name, address)))
    return [(field, octets) for field, octets in kept if field not in (b"from", b"sender")], added


def _address(name: str, address: str) -> str:
    try:
        return formataddr((name, address))
    except UnicodeEncodeError:  # an address that is not ASCII (RFC 6532)
        return f"<{address}>"


def _fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """Return fields as (name in small letters, octets with their line ends)."""
    named = ((_FIELD_NAME.match(field), field) for field in whole_fields(head))
    return [(match[1].lower(), field) for match, field in named if match]


def whole_fields(head: bytes) -> list[bytes]:
    """Return a head's fields, each with the lines that go on with it; lines end with CRLF."""
    fields: list[list[bytes]] = []
    for line in head.split(b"\r\n")[:-1]:
        if fields and line[:1] in (b" ", b"\t"):
            fields[-1].append(line)
        else:
            fields.append([line])
    return [b"\r\n".join(lines) + b"\r\n" for lines in fields]


def _first(fields: list[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    """Return the first such field's value, on one line."""
    for name, octets in fields:
        if name == wanted:
            return octets.partition(b":")[2].replace(b"\r\n", b"").strip()
    return b""


def _clean(value: bytes) -> str:
    return _CONTROL.sub("", value.decode("ascii", "ignore")).strip()


def _decoded(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    if "=?" in text:  # an encoded word (RFC 2047)
        with suppress(HeaderParseError, LookupError, ValueError, UnicodeError):
            text = str(make_header(decode_header(text)))
    return _CONTROL.sub(" ", text).strip()


def _field(name: str, value: str) -> bytes:
    return f"{name}: {value}\r\n".encode("utf-8", "replace")
