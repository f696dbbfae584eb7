"""Message disposition notifications (RFC 8098): asked for, answered where that is right, read when they come back. Pure.

Theory of operation
-------------------
A notification tells a sender what became of a message at its recipient: printed or filed (``processed``), or that it could not
be (``processed/error``). This machine sends one by itself, so the rules for automatic ones hold (:func:`answer_to`):

1. Only if it was asked for, by exactly one address, which is the Return-Path's (section 2.1).
2. Never to an automatic message: a report, a notification, a list, anything that says it is Auto-Submitted (RFC 3834), or
   that has an empty Return-Path. A notification has an empty reverse path itself and asks for none: nothing goes in circles.
3. Never if something is required of it that is not understood (section 2.2).
4. Once for each message: whoever calls keeps account of that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from enum import StrEnum
from typing import Final

from valija.message.addresses import read_addresses
from valija.message.mime_fields import readable
from valija.message.mime_reading import MessageHead

REQUEST: Final = "Disposition-Notification-To"
_WORD: Final = r"([\w-]{1,60})"
_DISPOSITION: Final = re.compile(rf"{_WORD}\s*/\s*{_WORD}\s*;\s*{_WORD}\s*(?:/\s*([^\r\n]{{1,200}}))?", re.ASCII)
_LISTED: Final = ("list-id", "list-post", "list-unsubscribe")


class Disposition(StrEnum):
    """What became of a message (RFC 8098 section 3.2.6.2)."""

    DISPLAYED = "displayed"
    PROCESSED = "processed"
    DISPATCHED = "dispatched"
    DELETED = "deleted"
    DENIED = "denied"  # of RFC 3798, still sent
    FAILED = "failed"  # likewise


@dataclass(frozen=True, slots=True)
class Notification:
    """What a notification says. ``about`` is the original's Message-ID without brackets; ``error`` the other side's words."""

    about: str
    recipient: str
    disposition: Disposition
    is_error: bool
    error: str = ""


def parse_notification(fields: str) -> Notification | None:
    """Read the part ``message/disposition-notification``; None if it has no disposition that is known. Never fails."""
    found: dict[str, str] = {}
    for line in re.sub(r"\r?\n[ \t]+", " ", fields[:65_536]).splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip().lower(), value.strip())
    match = _DISPOSITION.search(found.get("disposition", ""))
    try:
        disposition = Disposition(match[3].lower()) if match else None
    except ValueError:
        return None
    if match is None or disposition is None:
        return None
    error = found.get("error", "") or found.get("failure", "")
    modified = (match[4] or "").lower()
    return Notification(
        about=found.get("original-message-id", "").strip("<> "),
        recipient=typed_address(found.get("final-recipient", "") or found.get("original-recipient", "")),
        disposition=disposition,
        is_error=bool(error) or "error" in modified or "failed" in modified,
        error=readable(error)[:400],
    )


def typed_address(value: str) -> str:
    """Return the address of ``rfc822; ana@example.com``."""
    kind, semicolon, address = value.partition(";")
    return readable((address if semicolon else kind).strip().strip("<>"))[:320]


def answer_to(head: MessageHead) -> str:
    """Return the address that gets a notification about a message; empty if none may be sent by itself."""
    asked = _addresses(head.all(REQUEST.lower()))
    paths = head.all("return-path")
    if len(asked) != 1 or len(paths) != 1 or is_automatic(head):
        return ""
    if any("required" in value.lower() for value in head.all("disposition-notification-options")):
        return ""
    (wanted,) = asked
    return wanted if _addresses(paths) == {wanted} else ""


def is_automatic(head: MessageHead) -> bool:
    """Tell whether no person wrote a message, so that nothing may answer it by itself."""
    submitted = head.first("auto-submitted").split(";")[0].strip().lower()
    bulk = head.first("precedence").strip().lower() in ("bulk", "junk", "list")
    empty = any(value.strip() in ("<>", "") for value in head.all("return-path"))
    report = head.media_type == "multipart/report"
    return submitted not in ("", "no") or bulk or empty or report or any(head.all(name) for name in _LISTED)


def is_answer(head: MessageHead) -> bool:
    """Tell whether a message answers another one by itself, or reports on one (RFC 3834 section 5, RFC 6522)."""
    submitted = head.first("auto-submitted").split(";")[0].strip().lower()
    return submitted == "auto-replied" or head.media_type == "multipart/report"


def _addresses(values: Sequence[str]) -> set[str]:
    """Return addresses, the domain in small letters."""
    pairs = read_addresses([value[:4_000] for value in values[:10]])
    return {f"{a.rpartition('@')[0]}@{a.rpartition('@')[2].lower()}" for _name, a in pairs if "@" in a}


@dataclass(frozen=True, slots=True)
class Answer:
    """A notification to write: ``machine`` is the Reporting-UA's name, ``original`` the head of the message (its octets)."""

    machine: str
    host_name: str
    sender_name: str
    sender_address: str
    recipient: str
    subject: str
    text: str
    date: datetime
    message_id: str
    boundary: str
    about: str
    original_recipient: str = ""
    error: str = ""


def format_answer(answer: Answer) -> bytes:
    """Return the whole message with CRLF line ends: what people read, then what programs read (RFC 8098 section 3)."""
    head = EmailMessage(policy=SMTP if (answer.sender_address + answer.recipient).isascii() else SMTP.clone(utf8=True))
    quoted = _line(answer.sender_name).replace("\\", "\\\\").replace('"', '\\"')
    head["From"] = f'"{quoted}" <{answer.sender_address}>' if quoted else answer.sender_address
    head["To"] = answer.recipient
    head["Subject"] = _line(answer.subject)
    head["Date"] = format_datetime(answer.date)
    head["Message-ID"] = f"<{answer.message_id}>"
    head["Auto-Submitted"] = "auto-replied"
    if answer.about:
        head["In-Reply-To"] = f"<{_line(answer.about)}>"
        head["References"] = f"<{_line(answer.about)}>"
    text = EmailMessage(policy=SMTP)
    text.set_content(answer.text, charset="utf-8", cte="quoted-printable")
    del text["MIME-Version"]
    delimiter = b"--" + answer.boundary.encode()
    kind = "multipart/report; report-type=disposition-notification"
    mime = f'MIME-Version: 1.0\r\nContent-Type: {kind};\r\n boundary="{answer.boundary}"'
    return b"".join(
        (
            head.as_bytes().rstrip(b"\r\n") + b"\r\n" + mime.encode() + b"\r\n\r\n",
            delimiter + b"\r\n" + text.as_bytes() + b"\r\n",
            delimiter + b"\r\nContent-Type: message/disposition-notification\r\n\r\n",
            _fields(answer) + b"\r\n" + delimiter + b"--\r\n",
        )
    )


def _fields(answer: Answer) -> bytes:
    modifier = "/error" if answer.error else ""
    fields = {
        "Reporting-UA": f"{_line(answer.host_name)}; {_line(answer.machine)}",
        "Original-Recipient": _line(answer.original_recipient),
        "Final-Recipient": f"{'rfc822' if answer.sender_address.isascii() else 'utf-8'}; {_line(answer.sender_address)}",
        "Original-Message-ID": f"<{_line(answer.about)}>" if answer.about else "",
        "Disposition": f"automatic-action/MDN-sent-automatically; processed{modifier}",
        "Error": _line(answer.error)[:400],
    }
    lines = [f"{name}: {value}\r\n".encode("ascii", "backslashreplace") for name, value in fields.items() if value]
    return b"".join(lines)


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
