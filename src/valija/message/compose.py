"""A new message, built in pieces: header, text, attachments in base64; the size is known before the first byte.

A message is ``multipart/mixed`` (RFC 2046 section 5.1.3) with a ``text/plain`` part in UTF-8 and one part for each
attachment. Attachments come as chunks of any length and leave as base64 lines (RFC 2045 section 6.8), so a message of any
size needs little memory. Every line ends with CRLF.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

_BYTES_A_LINE: Final = 57  # 76 characters of base64
_CRLF: Final = b"\r\n"
_LINE_LENGTH: Final = 78


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to attach: its name as the recipient sees it, its media type, its exact size in octets."""

    file_name: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Draft:
    """What a message says about itself. ``message_id`` without brackets; ``date`` aware; ``boundary`` from the caller.

    ``fields`` are header fields more (name, value).
    """

    sender_name: str
    sender_address: str
    recipients: tuple[str, ...]
    subject: str
    text: str
    date: datetime
    message_id: str
    boundary: str
    fields: tuple[tuple[str, str], ...] = ()


def header_is_ascii(draft: Draft) -> bool:
    """Tell whether every address is ASCII, so that the message needs no SMTPUTF8 (RFC 6531)."""
    return all(address.isascii() for address in (draft.sender_address, *draft.recipients))


def format_head(draft: Draft) -> bytes:
    """Return everything up to the first attachment: header, blank line, the text part.

    Raises ValueError for CR, LF or NUL in a field, so that no header can be injected.
    """
    _refuse_line_ends(draft.sender_name, draft.subject, draft.message_id, draft.boundary)
    _refuse_line_ends(draft.sender_address, *draft.recipients)
    policy = SMTP if header_is_ascii(draft) else SMTP.clone(utf8=True)
    header = EmailMessage(policy=policy)
    by_hand = b""
    if _is_plain(draft.sender_name):
        header["From"] = _address(draft.sender_name, draft.sender_address)
    else:
        by_hand += b"From: %s\r\n <%s>\r\n" % (_words("From", draft.sender_name), draft.sender_address.encode())
    if draft.recipients:
        header["To"] = [_address("", recipient) for recipient in draft.recipients]
    else:  # all are hidden (RFC 5322 section 3.4: a group without members)
        header["To"] = "undisclosed-recipients:;"
    if _is_plain(draft.subject):
        header["Subject"] = draft.subject
    else:
        by_hand += b"Subject: %s\r\n" % _words("Subject", draft.subject)
    header["Date"] = format_datetime(draft.date)
    header["Message-ID"] = f"<{draft.message_id}>"
    for name, value in draft.fields:
        _refuse_line_ends(name, value)
        if _is_plain(value):
            header[name] = value
        else:
            by_hand += b"%s: %s\r\n" % (name.encode("ascii"), _words(name, value))
    # written by hand: with this field set, the generator would write the (empty) parts too
    mime = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="%s"' % draft.boundary.encode()
    text = draft.text.replace("\r\n", "\n").replace("\r", "\n")
    part = EmailMessage(policy=SMTP)
    part.set_content(text if text.endswith("\n") else text + "\n", charset="utf-8", cte=_encoding(text))
    # the line end before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1): the text needs its own
    return (
        header.as_bytes().rstrip(b"\r\n") + _CRLF + by_hand + mime + _CRLF * 2 + _delimiter(draft) + _part(part) + _CRLF
    )


def format_attachment_head(draft: Draft, attachment: Attachment) -> bytes:
    """Return the delimiter and the header of an attachment's part, up to its first base64 line.

    Raises ValueError for CR, LF or NUL in the name or the type.
    """
    _refuse_line_ends(draft.boundary, attachment.file_name, attachment.media_type)
    name = attachment.file_name.encode("utf-8", "replace").decode()  # file systems know names that are no UTF-8
    part = EmailMessage(policy=SMTP)
    part["Content-Type"] = attachment.media_type
    part.add_header("Content-Disposition", "attachment", filename=name)
    part["Content-Transfer-Encoding"] = "base64"
    return _delimiter(draft) + part.as_bytes().rstrip(b"\r\n") + _CRLF * 2


def format_tail(draft: Draft) -> bytes:
    """Return the closing delimiter."""
    return b"--" + draft.boundary.encode() + b"--" + _CRLF


def encoded_size(size: int) -> int:
    """Return how many octets ``size`` octets take as base64 lines with CRLF."""
    full, rest = divmod(size, _BYTES_A_LINE)
    return full * (76 + 2) + ((rest + 2) // 3 * 4 + 2 if rest else 0)


def message_size(draft: Draft, attachments: tuple[Attachment, ...]) -> int:
    """Return the exact size of the whole message in octets, as RFC 1870 counts it."""
    parts = sum(len(format_attachment_head(draft, a)) + encoded_size(a.size) for a in attachments)
    return len(format_head(draft)) + parts + len(format_tail(draft))


class Base64Lines:
    """Turns chunks of any length into base64 lines; keeps at most 56 octets between calls."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return the whole lines that ``chunk`` completes."""
        data = self._left + chunk if self._left else chunk
        whole = len(data) - len(data) % _BYTES_A_LINE
        self._left = data[whole:]
        # base64.encodebytes joins with LF; its lines have 57 octets each
        return base64.encodebytes(data[:whole]).replace(b"\n", _CRLF)

    def finish(self) -> bytes:
        """Return the last, shorter line, or nothing."""
        left, self._left = self._left, b""
        return base64.encodebytes(left).replace(b"\n", _CRLF)


def _refuse_line_ends(*fields: str) -> None:
    # Python's own check misses a line end that comes last
    if any(c in field for field in fields for c in "\r\n\0"):
        raise ValueError("a line end or NUL in a header field")


def _is_plain(text: str) -> bool:
    """Tell whether a header field can hold ``text`` as it is."""
    return text.isascii() and "=?" not in text


def _words(field: str, text: str) -> bytes:
    """Return ``text`` as encoded words (RFC 2047), folded.

    ``EmailMessage`` folds them so that a space between two of them is lost; the older ``Header`` keeps it.
    """
    return Header(text, "utf-8", header_name=field).encode(linesep="\r\n").encode("ascii")


def _address(name: str, address: str) -> Address:
    local, _, domain = address.rpartition("@")
    return Address(display_name=name, username=local, domain=domain)


def _encoding(text: str) -> str:
    fits = all(len(line.encode()) <= _LINE_LENGTH for line in text.splitlines())
    return "7bit" if text.isascii() and fits else "quoted-printable"


def _delimiter(draft: Draft) -> bytes:
    return b"--" + draft.boundary.encode() + _CRLF


def _part(part: EmailMessage) -> bytes:
    del part["MIME-Version"]
    data = part.as_bytes()
    return data if data.endswith(_CRLF) else data + _CRLF
