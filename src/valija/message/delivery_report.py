"""Delivery status notifications (RFC 3464): what became of a message, for people and for programs. Pure.

A report is ``multipart/report`` (RFC 6522): a text in the reader's language, the fields for programs, and the original's
head, or all of it where that was asked for. It is an automatic answer (RFC 3834), so that nothing answers it by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from email.policy import SMTP
from email.utils import format_datetime
from enum import StrEnum
from typing import Any, Final

WORDS_LIMIT: Final = 800


class Action(StrEnum):
    """What was done (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    RELAYED = "relayed"  # handed to a server that sends no reports (RFC 3461 section 5.2.2)


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """One recipient. ``original`` is ORCPT as it was said (``rfc822;...``), ``words`` the server's, empty for none."""

    address: str
    action: Action
    status: str
    original: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What a report says. ``text`` is for people; ``returned`` the original's octets, all of them or its head (``whole``)."""

    reporting_host: str
    sender_name: str
    sender_address: str
    recipient: str
    subject: str
    text: str
    date: datetime
    message_id: str
    boundary: str
    arrived: datetime
    recipients: tuple[ReportedRecipient, ...]
    returned: bytes
    whole: bool = False
    envelope_id: str = ""
    about: str = ""  # the original's Message-ID, without brackets


def format_report(report: DeliveryReport) -> bytes:
    """Return the whole message with CRLF line ends."""
    root = MIMEMultipart("report", report.boundary, policy=SMTP, report_type="delivery-status")
    policy = SMTP if (report.sender_address + report.recipient).isascii() else SMTP.clone(utf8=True)
    head = EmailMessage(policy=policy)
    head["From"] = _mailbox(report.sender_name, report.sender_address)
    head["To"] = report.recipient
    head["Subject"] = _line(report.subject)
    head["Date"] = format_datetime(report.date)
    head["Message-ID"] = f"<{report.message_id}>"
    head["Auto-Submitted"] = "auto-replied"
    if report.about:
        head["References"] = f"<{_line(report.about)}>"
    for part in (_text(report.text), _status(report), _returned(report)):
        root.attach(part)
    # the original is put in by hand: octet for octet, whatever they are
    parts = root.as_bytes(policy=SMTP).replace(_place(report).encode(), report.returned, 1)
    return head.as_bytes(policy=policy).rstrip(b"\r\n") + b"\r\n" + parts


def _mailbox(name: str, address: str) -> str:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_line(quoted)}" <{address}>'


def _text(text: str) -> Message[Any, Any]:
    part = EmailMessage(policy=SMTP)
    part.set_content(text, charset="utf-8", cte="quoted-printable")
    del part["MIME-Version"]
    return part


def _status(report: DeliveryReport) -> Message[Any, Any]:
    part = _part("message", "delivery-status")
    blocks: list[Any] = [
        _block({"Original-Envelope-Id": report.envelope_id, "Reporting-MTA": f"dns; {report.reporting_host}"})
    ]
    blocks[0]["Arrival-Date"] = format_datetime(report.arrived)
    for recipient in report.recipients:
        fields = {
            "Original-Recipient": recipient.original,
            "Final-Recipient": _typed(recipient.address),
            "Action": recipient.action.value,
            "Status": recipient.status,
            "Diagnostic-Code": f"smtp; {_ascii(recipient.words)}" if recipient.words else "",
            "Last-Attempt-Date": format_datetime(report.date),
        }
        blocks.append(_block(fields))
    part.set_payload(blocks)
    return part


def _block(fields: dict[str, str]) -> Message[Any, Any]:
    block: Message[Any, Any] = Message(policy=SMTP)
    for name, value in fields.items():
        if value:
            block[name] = _ascii(value)
    return block


def _returned(report: DeliveryReport) -> Message[Any, Any]:
    part = _part("message", "rfc822") if report.whole else _part("text", "rfc822-headers")
    if not report.returned.isascii():
        part["Content-Transfer-Encoding"] = "8bit"
    part.set_payload(_place(report))
    return part


def _place(report: DeliveryReport) -> str:
    return f"returned {report.boundary}"


def _part(kind: str, subtype: str) -> Message[Any, Any]:
    part = MIMENonMultipart(kind, subtype, policy=SMTP)
    del part["MIME-Version"]
    return part


def _typed(address: str) -> str:
    """Return an address with its type; what is not ASCII as RFC 6533 section 3 writes it."""
    if address.isascii():
        return f"rfc822; {address}"
    return "utf-8; " + "".join(c if c.isascii() else f"\\x{{{ord(c):X}}}" for c in address)


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _ascii(text: str) -> str:
    return _line(text.encode("ascii", "backslashreplace").decode()[:WORDS_LIMIT])
