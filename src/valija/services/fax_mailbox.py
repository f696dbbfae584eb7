"""Answers to faxes, read from messages that were fetched: blocking, for a thread of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from valija.domain.fax import AnswerKind, FaxAnswer
from valija.message.fax_mail import PartKind, kind_of
from valija.message.mdn import parse_notification
from valija.message.mime_fields import decode_text
from valija.message.mime_reading import (
    BadMail,
    Limits,
    MessageHead,
    MimeReader,
    PartBegan,
    PartData,
    PartEnded,
)
from valija.message.report_reading import message_id_of, parse_status
from valija.services.mail_parts import PIECE

REPORT_LIMITS: Final = Limits(parts=20, depth=6, decoded=8_000_000)
_ACTIONS: Final = {
    "failed": AnswerKind.NOT_DELIVERED,
    "delayed": AnswerKind.DELAYED,
    "relayed": AnswerKind.HANDED_ON,
    "expanded": AnswerKind.HANDED_ON,
    "delivered": AnswerKind.DELIVERED,
}


@dataclass(frozen=True, slots=True)
class Report:
    """What an answer says: ``names`` are all that may tell which mail it is about (ENVID, Message-IDs), best first."""

    names: tuple[str, ...]
    answers: tuple[FaxAnswer, ...]


def read_report(path: Path) -> Report | None:
    """Read a delivery report or a notification; None if it is none that tells anything. Raises OSError."""
    texts: dict[PartKind, str] = {}
    reader = MimeReader(REPORT_LIMITS)
    kind, kept = PartKind.OTHER, b""
    head = None
    try:
        with path.open("rb") as file:
            while True:
                piece = file.read(PIECE)
                for event in reader.feed(piece) if piece else reader.end():
                    if isinstance(event, PartBegan):
                        kind, kept = kind_of(event.head, b""), b""
                    elif isinstance(event, PartData) and len(kept) < PIECE:
                        kept += event.octets
                    elif isinstance(event, PartEnded):
                        texts.setdefault(kind, decode_text(kept[:PIECE], "utf-8"))
                    elif isinstance(event, MessageHead):
                        head = event
                if not piece:
                    break
    except BadMail:
        return None
    references = " ".join((*head.texts("in-reply-to"), *head.texts("references"))) if head else ""
    return _report(texts, re.findall(r"<([^<>\s]{1,990})>", references[:8_000]))


def _report(texts: dict[PartKind, str], references: list[str]) -> Report | None:
    returned = message_id_of(texts.get(PartKind.RETURNED, ""))
    if PartKind.NOTIFICATION in texts:
        found = parse_notification(texts[PartKind.NOTIFICATION])
        if found is None:
            return None
        kind = AnswerKind.REFUSED if found.is_error or found.disposition in _UNREAD else AnswerKind.PROCESSED
        names = (found.about, returned, *references)
        return Report(tuple(filter(None, names)), (FaxAnswer(found.recipient, kind, found.error),))
    status = parse_status(texts.get(PartKind.STATUS, ""))
    if status is None:
        return None
    answers = tuple(
        FaxAnswer(r.original or r.address, _ACTIONS[r.action], r.words if r.action == "failed" else "")
        for r in status.recipients
        if r.action in _ACTIONS
    )
    names = (status.envelope_id, returned, *references)
    return Report(tuple(filter(None, names)), answers)


_UNREAD: Final = frozenset({"deleted", "denied", "failed"})
