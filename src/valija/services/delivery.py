"""Sending mail with the SMTP setting: a message built in pieces from files, an outcome for each recipient."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from valija.domain.account import Authentication, Setting
from valija.domain.clock import Clock
from valija.domain.errors import FieldProblem, InvalidFields, NotReady
from valija.domain.settings import SmtpSettings
from valija.domain.text import N_, message
from valija.domain.trouble import Trouble
from valija.message.compose import (
    Attachment,
    Base64Lines,
    Draft,
    format_attachment_head,
    format_head,
    format_tail,
    header_is_ascii,
    message_size,
)
from valija.net.smtp import SmtpConnection
from valija.net.tls import ClientContext
from valija.protocol.smtp_path import is_address
from valija.protocol.smtp_transaction import Envelope, Recipient, RecipientOutcome, Verdict
from valija.services.login import Login, endpoint_of
from valija.services.providers import ProviderBook
from valija.store.port import Store

PIECE: Final = 57 * 4096  # whole base64 lines
RECIPIENTS_LIMIT: Final = 500
SUBJECT_LIMIT: Final = 255
TEXT_LIMIT: Final = 100_000


@dataclass(frozen=True, slots=True)
class File:
    """A file to send: where its octets are, its name and type for the recipient."""

    path: Path
    name: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of a message for one recipient."""

    recipient: str
    verdict: Verdict
    server_words: str
    trouble: Trouble | None


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What became of a message; ``size`` in octets."""

    message_id: str
    size: int
    outcomes: tuple[Delivered, ...]


class Delivery:
    """Sends messages now, one connection each."""

    def __init__(
        self,
        store: Store,
        providers: ProviderBook,
        login: Login,
        tls: ClientContext,
        clock: Clock,
        *,
        local_name: str,
        sandbox_ports: frozenset[int] = frozenset(),
    ) -> None:
        self._store = store
        self._providers = providers
        self._login = login
        self._tls = tls
        self._clock = clock
        self._local_name = local_name
        self.sandbox_ports = sandbox_ports

    async def send(self, recipients: Sequence[str], subject: str, text: str, files: Sequence[File]) -> DeliveryReport:
        """Send files to recipients.

        Raises :class:`InvalidFields`, :class:`NotReady`, :class:`ConsentNeeded`, :class:`TryLater`,
        :class:`~valija.services.login.LoginFailed`; whatever a server says about the message is in the report.
        """
        check_mail(recipients, subject, text)
        settings = await self.settings()
        draft = self._draft(settings, recipients, subject, text)
        attachments = tuple(
            [Attachment(f.name, f.media_type, (await asyncio.to_thread(f.path.stat)).st_size) for f in files]
        )
        size = message_size(draft, attachments)
        recipients_of = tuple(Recipient(r) for r in draft.recipients)
        envelope = Envelope(draft.sender_address, recipients_of, size, eight_bit=not header_is_ascii(draft))
        connection = await self.open(settings)
        try:
            found = await connection.send(envelope, message_pieces(draft, attachments, files))
        except BaseException:
            await connection.close(politely=False)
            raise
        await connection.close(politely=found.reusable)
        return DeliveryReport(draft.message_id, size, tuple(self._delivered(o) for o in found.outcomes))

    async def settings(self) -> SmtpSettings:
        """Return the SMTP setting. Raises :class:`NotReady` if it has no sender."""
        settings = (await self._store.load_settings(Setting.SMTP)).value
        if not isinstance(settings, SmtpSettings):
            raise TypeError("the SMTP setting is of another kind")
        if not sender_address(settings):
            raise NotReady(
                message(N_("The sender's address is not set.")),
                message(N_("Set it first: valija smtp set --sender-address ADDRESS")),
            )
        return settings

    async def open(self, settings: SmtpSettings) -> SmtpConnection:
        """Return a connection that is logged in."""
        endpoint = endpoint_of(settings, plaintext_bearer=settings.port in self.sandbox_ports)
        profile = await self._providers.profile(settings.provider) if settings.provider else None
        preference = profile.mechanisms if profile else ()

        async def connect() -> SmtpConnection:
            return await SmtpConnection.open(endpoint, self._tls, local_name=self._local_name)

        return await self._login.open(Setting.SMTP, settings, connect, preference)

    def _draft(self, settings: SmtpSettings, recipients: Sequence[str], subject: str, text: str) -> Draft:
        address = sender_address(settings)
        domain = address.rpartition("@")[2]
        return Draft(
            settings.sender_name,
            address,
            tuple(dict.fromkeys(recipients)),
            subject,
            text,
            self._clock.now(),
            f"{secrets.token_hex(16)}@{domain if domain.isascii() else 'valija.invalid'}",
            f"=_{secrets.token_hex(16)}",
        )

    def _delivered(self, outcome: RecipientOutcome) -> Delivered:
        troubles = self._login.troubles
        if outcome.verdict is Verdict.ACCEPTED:
            words = outcome.reply.server_words if outcome.reply else ""
            return Delivered(outcome.recipient, outcome.verdict, words, None)
        if outcome.reply is not None and outcome.reply.code >= 400:
            stage = "data" if outcome.stage.value == "body" else outcome.stage.value
            trouble = troubles.of_smtp(stage, outcome.reply)[0]
        else:
            words = outcome.reply.server_words if outcome.reply else outcome.words
            trouble = troubles.of_reason(outcome.reason or "peer_nonsense", words)
        return Delivered(outcome.recipient, outcome.verdict, trouble.server_words, trouble)


def sender_address(settings: SmtpSettings) -> str:
    """Return the sender's address: the one that is set, or the account's."""
    return settings.sender_address or (settings.account if is_address(settings.account) else "")


def mailbox_of(settings: SmtpSettings) -> str:
    """Return the address that the account may send as; empty if none is known."""
    named = settings.auth is not Authentication.NONE and is_address(settings.account)
    return sender_address(settings) or (settings.account if named else "")


def check_mail(recipients: Sequence[str], subject: str, text: str) -> None:
    """Raise :class:`InvalidFields` for what no message can have."""
    problems = []
    if not recipients or len(recipients) > RECIPIENTS_LIMIT:
        problems.append(FieldProblem("to", message(N_("needs 1 to {limit} addresses"), limit=RECIPIENTS_LIMIT)))
    wrong = next((r for r in recipients if not is_address(r)), None)
    if wrong is not None:
        shown = "".join(c if c.isprintable() else "?" for c in wrong)[:80]
        problems.append(FieldProblem("to", message(N_("has {address}, which is not an e-mail address"), address=shown)))
    if len(subject) > SUBJECT_LIMIT or not (subject.isprintable() or subject == ""):
        problem = message(N_("must be one line of at most {limit} characters"), limit=SUBJECT_LIMIT)
        problems.append(FieldProblem("subject", problem))
    if len(text) > TEXT_LIMIT:
        problems.append(FieldProblem("text", message(N_("has more than {limit} characters"), limit=TEXT_LIMIT)))
    if problems:
        raise InvalidFields(tuple(problems))


async def message_pieces(
    draft: Draft, attachments: Sequence[Attachment], files: Sequence[File]
) -> AsyncIterator[bytes]:
    """Yield a message's octets, from files of the sizes that the attachments say."""
    yield format_head(draft)
    for attachment, file in zip(attachments, files, strict=True):
        yield format_attachment_head(draft, attachment)
        lines, left = Base64Lines(), attachment.size
        source = await asyncio.to_thread(file.path.open, "rb")
        try:
            # never more than the size that was announced, should the file grow meanwhile
            while left > 0 and (piece := await asyncio.to_thread(source.read, min(PIECE, left))):
                left -= len(piece)
                yield lines.feed(piece)
        finally:
            source.close()
        yield lines.finish()
    yield format_tail(draft)
