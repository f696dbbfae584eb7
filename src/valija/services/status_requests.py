"""The state of the machine, asked for by mail: answered once, to who may ask, never to what no person wrote."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final

from valija.domain.account import Setting
from valija.domain.alert_settings import AlertSettings, may_ask
from valija.domain.job import JobKind, JobStateName
from valija.domain.print_job import PrintOptions
from valija.domain.subject_options import parse_subject
from valija.domain.text import N_
from valija.message.mdn import is_automatic
from valija.message.mime_fields import readable
from valija.paper.process import PaperWorker
from valija.services.alert_channels import Channels
from valija.services.job_run import JobRun, JobStopped
from valija.services.mail_taking import Letter, MailTaker, Taking
from valija.services.outgoing import Outgoing, OutgoingMail
from valija.services.status_report import StatusReport

log: Final = logging.getLogger(__name__)
CURSOR: Final = "status-cursor"
PER_HOUR: Final = 6
LOOKED_AT: Final = 500
TITLE: Final = N_("Status request")
REPLIED: Final = ("Auto-Submitted", "auto-replied")


class StatusRequests:
    """Run ``mail``'s :meth:`MailTaker.run` as a task."""

    def __init__(
        self,
        taking: Taking,
        outgoing: Outgoing,
        channels: Channels,
        report: StatusReport,
    ) -> None:
        self._store = taking.store
        self._outgoing = outgoing
        self._channels = channels
        self.report = report
        self._clock = taking.clock
        self.mail = MailTaker(
            taking,
            setting=Setting.EMAIL_STATUS,
            kind=JobKind.STATUS_REQUEST,
            cursor=CURSOR,
            receive=self._receive,
            title_of=lambda _subject: str(TITLE),  # a subject may hold the password
        )

    async def _receive(self, run: JobRun, letter: Letter, _worker: PaperWorker) -> None:
        settings = await self._store.load_alerting()
        reason = await self._refusal(run, letter, settings)
        if reason:
            raise JobStopped(reason)
        words = await self._channels.words()
        subject, text = await self.report.mail("", None, words)
        fields = [REPLIED]
        message_id = letter.head.first("message-id").strip()
        if message_id.startswith("<") and message_id.endswith(">") and _is_one_word(message_id):
            fields += [("In-Reply-To", message_id), ("References", message_id)]
        name = f"valija-status.{run.id}."
        mail = OutgoingMail((letter.sender,), subject, text, fields=tuple(fields), message_id=name)
        queued = await self._outgoing.queue_once(mail)
        await run.hand_on([queued.id])

    async def _refusal(self, run: JobRun, letter: Letter, settings: AlertSettings) -> str:
        """Return why a request is not answered; nothing if it is."""
        own = (await self._store.load_settings(Setting.SMTP)).value
        own_address = getattr(own, "sender_address", "").lower()
        if not letter.sender or is_automatic(letter.head) or letter.sender.lower() == own_address:
            return "status_automatic"
        if not may_ask(settings, letter.sender):
            return "status_not_allowed"
        if await self._asked_lately(run.id, letter.sender, self._clock.now()) >= PER_HOUR:
            return "status_too_often"
        password = settings.request_password
        said = parse_subject(readable(letter.head.first("subject")), PrintOptions(), 1).password
        if password is not None and said != password:
            return "status_wrong_password"
        return ""

    async def _asked_lately(self, but: int, sender: str, now: datetime) -> int:
        jobs = await self._store.jobs.list_jobs(kind=JobKind.STATUS_REQUEST, state=None, limit=LOOKED_AT)
        since = now - timedelta(hours=1)
        return sum(
            job.id != but
            and job.card.detail("sender").lower() == sender.lower()
            and job.card.created_at > since
            and job.state.name is not JobStateName.CANCELLED
            for job in jobs
        )


def _is_one_word(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text and len(text) <= 990
