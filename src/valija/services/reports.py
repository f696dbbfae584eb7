"""Tells who handed a message in what became of it: a delivery report through the same queue (RFC 3461, RFC 3464).

A report has the empty reverse path, and of its own trouble nobody is told, so nothing goes in circles. It is durable before
the recipient's end is: a crash in between may report twice, never not at all. Somebody who got many within an hour is sent no
more for now: they would take the pace of the mail itself, and the queue shows what failed.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Final

from valija.domain.account import Setting
from valija.domain.clock import Clock
from valija.domain.errors import BodyMissing, UnknownName
from valija.domain.explanations import Explainer
from valija.domain.preferences import Preferences
from valija.domain.queue import Delivered, Failed, FailureCause
from valija.domain.queued_message import QueuedMessage, QueuedRecipient, RecipientEntry
from valija.domain.report_limit import ReportLimit
from valija.domain.settings import SmtpSettings
from valija.domain.text import N_, Message, message
from valija.message.delivery_report import Action, DeliveryReport, ReportedRecipient, format_report
from valija.services.delivery import mailbox_of
from valija.services.devices import DeviceDesk
from valija.store.port import Store
from valija.store.queue_port import Body

log: Final = logging.getLogger(__name__)
HEAD_LIMIT: Final = 65_536
ENDED_STATUS: Final = {FailureCause.REFUSED: "5.0.0", FailureCause.EXPIRED: "4.4.7", FailureCause.CANCELLED: "5.0.0"}
_ENHANCED: Final = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
Ended = tuple[RecipientEntry, Failed | Delivered]
Say = Callable[[Message | str, str], str]


class Reporter:
    """Writes reports; ``copy_to`` gets each one of a failure too, empty for nobody."""

    def __init__(
        self,
        store: Store,
        devices: DeviceDesk,
        explainer: Explainer,
        clock: Clock,
        say: Say,
        *,
        body: Callable[[int], AsyncIterator[bytes]],
        accepted: Callable[[str, int], None],
        stopped: Callable[[str], timedelta],
        host_name: str,
        copy_to: str = "",
    ) -> None:
        self._store = store
        self._devices = devices
        self._explainer = explainer
        self._clock = clock
        self._say = say
        self._body = body
        self._accepted = accepted
        self._stopped = stopped
        self._host_name = host_name
        self._copy_to = copy_to
        self._limit = ReportLimit()

    async def report(self, sent: QueuedMessage, number: int, ended: Sequence[Ended]) -> None:
        """Queue a report for whom it concerns. Raises :class:`~valija.domain.errors.StoreError`."""
        if sent.is_report:
            return
        to = sent.report_to or sent.reverse_path
        asked = [pair for pair in ended if _is_wanted(*pair)]
        if to and asked:
            await self._queue(sent, number, asked, to)
        failed = [pair for pair in ended if isinstance(pair[1], Failed)]
        if failed and self._copy_to and self._copy_to.casefold() != to.casefold():
            await self._queue(sent, number, failed, self._copy_to)

    async def _queue(self, sent: QueuedMessage, number: int, ended: Sequence[Ended], to: str) -> None:
        if not self._limit.take(to, self._clock.now()):
            log.warning("report_withheld", extra={"fields": {"id": number, "to": to}})
            return
        try:
            await self._write(sent, number, ended, to)
        except BaseException:
            self._limit.give_back(to)
            raise

    async def _write(self, sent: QueuedMessage, number: int, ended: Sequence[Ended], to: str) -> None:
        report = await self._written(sent, number, ended, to)
        octets = format_report(report)
        queued = QueuedMessage(
            account=sent.account,
            device="",
            reverse_path="",
            message_id="",
            size=len(octets),
            accepted_at=self._clock.now(),
            recipients=(QueuedRecipient(to),),
            subject=report.subject,
            eight_bit=not octets.isascii(),
            stopped=self._stopped(sent.account),
            is_report=True,
        )
        await self._store.queue.accept(queued, Body(octets))
        self._accepted(sent.account, len(queued.recipients))

    async def _written(self, sent: QueuedMessage, number: int, ended: Sequence[Ended], to: str) -> DeliveryReport:
        preferences = await self._store.load_preferences()
        language = self._language(sent, preferences)
        settings = (await self._store.load_settings(Setting.SMTP)).value
        mailbox = mailbox_of(settings) if isinstance(settings, SmtpSettings) else ""
        octets = await self._beginning(number)
        whole = sent.ret == "FULL" and len(octets) == sent.size
        head = octets.partition(b"\r\n\r\n")[0] + b"\r\n"
        failed = any(isinstance(state, Failed) for _entry, state in ended)
        title = N_("Not delivered: {subject}") if failed else N_("Handed on: {subject}")
        return DeliveryReport(
            reporting_host=self._host_name,
            sender_name=preferences.name,
            sender_address=mailbox or sent.reverse_path or f"valija@{self._host_name}",
            recipient=to,
            subject=self._say(
                message(title, subject=sent.subject or self._say(N_("(no subject)"), language)), language
            ),
            text=self._text(sent, ended, preferences.name, language),
            date=self._clock.now(),
            message_id=f"{secrets.token_hex(16)}@{(mailbox.rpartition('@')[2] or self._host_name)}",
            boundary=f"=_{secrets.token_hex(16)}",
            arrived=sent.accepted_at,
            recipients=tuple(_reported(entry, state) for entry, state in ended),
            returned=octets if whole else head,
            whole=whole,
            envelope_id=sent.envelope_id,
            about=sent.message_id,
        )

    async def _beginning(self, number: int) -> bytes:
        kept = b""
        with contextlib.suppress(BodyMissing):  # then the report says what it can
            async for piece in self._body(number):
                kept += piece
                if len(kept) > HEAD_LIMIT:
                    break
        return kept[:HEAD_LIMIT]

    def _language(self, sent: QueuedMessage, preferences: Preferences) -> str:
        try:
            device = self._devices.get(sent.device)
        except UnknownName:
            return preferences.language or "en"
        return device.language or preferences.language or "en"

    def _text(self, sent: QueuedMessage, ended: Sequence[Ended], machine: str, language: str) -> str:
        def say(text: str, **values: str) -> str:
            return self._say(message(text, **values), language)

        lines = [say(N_("This is {machine}. About the message “{subject}”:"), machine=machine, subject=sent.subject)]
        for entry, state in ended:
            lines += ["", f"{entry.recipient.address}"]
            if isinstance(state, Delivered):
                lines.append("  " + say(N_("It was handed to a server that sends no confirmations.")))
                continue
            lines.append("  " + say(N_("It was not delivered.")))
            if state.cause is FailureCause.EXPIRED:
                lines.append("  " + say(N_("It was tried again and again until its time was over.")))
            lines += [f"  {line}" for line in self._why(state, say)]
            if state.in_doubt:
                lines.append("  " + say(N_("A try before may have delivered it all the same.")))
        return "\n".join(lines) + "\n"

    def _why(self, state: Failed, say: Callable[..., str]) -> list[str]:
        if state.trouble is None:
            return []
        explained = self._explainer.explain(state.trouble.reason)
        lines = [say(explained.meaning), say(N_("What to do: {cure}"), cure=say(explained.cure))]
        if state.trouble.server_words:
            lines.append(say(N_("The server said: {words}"), words=state.trouble.server_words))
        return lines


def _is_wanted(entry: RecipientEntry, state: Failed | Delivered) -> bool:
    """Tell whether the sender asked to hear of this (RFC 3461 section 4.1); failures, if nothing was said."""
    asked = entry.recipient.notify.split(",") if entry.recipient.notify else ["FAILURE"]
    return ("FAILURE" if isinstance(state, Failed) else "SUCCESS") in asked


def _reported(entry: RecipientEntry, state: Failed | Delivered) -> ReportedRecipient:
    address, original = entry.recipient.address, entry.recipient.original
    original = f"rfc822; {original}" if original else ""
    if isinstance(state, Delivered):
        return ReportedRecipient(address, Action.RELAYED, "2.0.0", original, state.server_words)
    words = state.trouble.server_words if state.trouble else ""
    status = ENDED_STATUS[state.cause]
    if state.cause is FailureCause.REFUSED and (found := _ENHANCED.search(words)) and found[1].startswith("5"):
        status = found[1]
    return ReportedRecipient(address, Action.FAILED, status, original, words)
