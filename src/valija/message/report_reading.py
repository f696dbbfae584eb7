"""Reading delivery status notifications (RFC 3464) of any server: what became of a message, for each recipient. Pure.

Postfix, Exchange, Exim, Sendmail and others write them alike, but for case, folding, the types of addresses
(``rfc822;``, ``RFC822;``, ``utf-8;``) and what names the original:
ENVID where they keep it, else the head that they return.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from valija.message.mdn import typed_address
from valija.message.mime_fields import readable

FIELDS_LIMIT: Final = 262_144
RECIPIENTS_LIMIT: Final = 1_000
ACTIONS: Final = frozenset({"failed", "delayed", "delivered", "relayed", "expanded"})
_MESSAGE_ID: Final = re.compile(r"^Message-ID[ \t]*:\s*<([^<>\s]{1,990})>", re.IGNORECASE | re.MULTILINE)
_ENHANCED: Final = re.compile(r"\b([245]\.[0-9]{1,3}\.[0-9]{1,3})\b")


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """What became of one recipient: ``action`` is one of :data:`ACTIONS`, ``status`` like ``5.1.1``, ``words`` the server's."""

    address: str
    original: str
    action: str
    status: str
    words: str


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What a notification says of a message; ``envelope_id`` is what the sender gave as ENVID, empty if it was not kept."""

    envelope_id: str
    reporting: str
    recipients: tuple[RecipientStatus, ...]


def parse_status(fields: str) -> StatusReport | None:
    """Read the part ``message/delivery-status``; None if it tells of no recipient. Never fails."""
    text = re.sub(r"\n[ \t]+(?=\S)", " ", fields[:FIELDS_LIMIT].replace("\r\n", "\n").replace("\r", "\n"))
    blocks = [_block(block) for block in re.split(r"\n[ \t]*\n+", text) if block.strip()]
    recipients = [_recipient(block) for block in blocks[: RECIPIENTS_LIMIT + 1] if "action" in block]
    if not recipients:
        return None
    first = next((block for block in blocks if "reporting-mta" in block or "original-envelope-id" in block), {})
    return StatusReport(
        envelope_id=readable(first.get("original-envelope-id", ""))[:200],
        reporting=typed_address(first.get("reporting-mta", "")),
        recipients=tuple(recipients[:RECIPIENTS_LIMIT]),
    )


def message_id_of(head: str) -> str:
    """Return the Message-ID in a returned head, without brackets; empty if there is none."""
    match = _MESSAGE_ID.search(head[:FIELDS_LIMIT])
    return match[1] if match else ""


def _block(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip().lower(), value.strip())
    return found


def _recipient(block: dict[str, str]) -> RecipientStatus:
    action = block["action"].partition(" ")[0].lower()
    status = _ENHANCED.search(block.get("status", ""))
    return RecipientStatus(
        address=typed_address(block.get("final-recipient", "")),
        original=typed_address(block.get("original-recipient", "")),
        action=action if action in ACTIONS else "",
        status=status[1] if status else "",
        words=typed_address(block.get("diagnostic-code", ""))[:320],
    )
