"""The messages of a scan, written down before the first one is queued: who takes the scan up again queues the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from valija.services.delivery import File
from valija.services.durable import write_durably
from valija.services.outgoing import OutgoingMail

MAILS: Final = "mails.json"


def write_mails(folder: Path, mails: Sequence[OutgoingMail]) -> None:
    """Write them down durably, with their files. Blocking; raises OSError."""
    for mail in mails:
        for file in mail.files:
            with file.path.open("rb") as octets:
                os.fsync(octets.fileno())
    write_durably(folder / MAILS, json.dumps([asdict(mail) for mail in mails], ensure_ascii=False, default=str))


def read_mails(folder: Path) -> list[OutgoingMail]:
    """Read them; nothing if they were not all there. Blocking."""
    try:
        return [_mail(**said) for said in json.loads((folder / MAILS).read_text("utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def _mail(
    to: list[str],
    bcc: list[str],
    files: list[dict[str, str]],
    subject: str,
    text: str,
    message_id: str,
    **_others: object,
) -> OutgoingMail:
    attached = tuple(File(Path(file["path"]), file["name"], file["media_type"]) for file in files)
    return OutgoingMail(tuple(to), subject, text, attached, tuple(bcc), message_id=message_id)
