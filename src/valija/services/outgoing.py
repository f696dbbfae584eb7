"""The machine's own mail, from files into the queue: built in pieces, durable when it is said to be queued."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field, replace
from typing import Final

from valija.domain.account import Setting
from valija.domain.clock import Clock
from valija.domain.errors import StoreFull, TryLater
from valija.domain.queued_message import QueuedRecipient
from valija.domain.text import N_, message
from valija.message.compose import Attachment, Draft
from valija.services.delivery import Delivery, File, check_mail, message_pieces, sender_address
from valija.services.intake import IncomingEnvelope, Intake, Origin, recipients_of
from valija.services.keeping_up import to_its_end

ACCOUNT: Final = Setting.SMTP.value
NO_SPACE: Final = 452


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    """A message of the machine: ``to`` is in its head, ``bcc`` gets it as well.

    ``fields`` are header fields more; ``notify`` and ``envelope_id`` are DSN parameters (RFC 3461), ``reverse_path`` is where
    reports go, the sender's address if empty. ``message_id`` may be what stands before the @ alone. ``original``: ORCPT for
    those whose address is another one than was named.
    """

    to: tuple[str, ...]
    subject: str
    text: str
    files: tuple[File, ...] = ()
    bcc: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    notify: str = ""
    envelope_id: str = ""
    reverse_path: str = ""
    message_id: str = ""
    original: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueuedMail:
    """The number that a message has in the queue, and its Message-ID (without brackets)."""

    id: int
    message_id: str


class Outgoing:
    """Puts the machine's own mail into the queue."""

    def __init__(self, delivery: Delivery, intake: Intake, clock: Clock) -> None:
        self._delivery = delivery
        self._intake = intake
        self._clock = clock

    async def queue(self, mail: OutgoingMail) -> QueuedMail:
        """Queue a message durably. Raises :class:`InvalidFields`, :class:`NotReady`, :class:`TryLater`, store errors."""
        check_mail([*mail.to, *mail.bcc], mail.subject, mail.text)
        settings = await self._delivery.settings()
        address = sender_address(settings)
        domain = address.rpartition("@")[2]
        local = mail.message_id or secrets.token_hex(16)
        draft = Draft(
            settings.sender_name,
            address,
            tuple(dict.fromkeys(mail.to)),
            mail.subject,
            mail.text,
            self._clock.now(),
            local if "@" in local else f"{local}@{domain if domain.isascii() else 'valija.invalid'}",
            f"=_{secrets.token_hex(16)}",
            mail.fields,
        )
        attachments = [
            Attachment(f.name, f.media_type, (await asyncio.to_thread(f.path.stat)).st_size) for f in mail.files
        ]
        reverse_path = mail.reverse_path or address
        envelope = IncomingEnvelope(
            ACCOUNT, reverse_path, reverse_path, False, self._recipients(mail), mail.envelope_id
        )
        incoming = self._intake.begin(Origin("", "127.0.0.1", self._intake.host_name, "local"), envelope)
        try:
            async for piece in message_pieces(draft, attachments, mail.files):
                rest = incoming.write(piece)
                if rest is not None:
                    await rest
            verdict = await to_its_end(incoming.commit())  # what is in the queue must be told to who sends
        except BaseException:
            await incoming.abandon()
            raise
        if incoming.id is None:
            words = message(N_("The message could not be queued: {why}."), why=verdict.text)
            raise (StoreFull if verdict.code == NO_SPACE else TryLater)(words)
        return QueuedMail(incoming.id, draft.message_id)

    async def queue_once(self, mail: OutgoingMail) -> QueuedMail:
        """Queue a message, unless one is there whose Message-ID begins with this one's: a process that has ended put it there.

        Raises what :meth:`queue` raises.
        """
        there = await self.find(mail.message_id)
        return there[0] if there else await self.queue(replace(mail, message_id=mail.message_id + secrets.token_hex(8)))

    async def find(self, beginning: str, limit: int = 1) -> list[QueuedMail]:
        """Return what is in the queue under Message-IDs that begin so, also what has left, in order. Raises store errors."""
        found = await self._intake.queue.list_messages(
            account=ACCOUNT, state=None, limit=limit, device="", text=beginning
        )
        named = [QueuedMail(stored.id, stored.message.message_id.strip("<> ")) for stored in found]
        return [mail for mail in named[::-1] if mail.message_id.startswith(beginning)]

    def _recipients(self, mail: OutgoingMail) -> tuple[QueuedRecipient, ...]:
        bare = recipients_of([*mail.to, *mail.bcc])
        return tuple(QueuedRecipient(r.address, mail.notify, mail.original.get(r.address, "")) for r in bare)
