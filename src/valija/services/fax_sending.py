"""Sending faxes (T.37, RFC 3965): pages made, mail queued, confirmations waited for, sent again where that may help.

Theory of operation
-------------------
1. A fax is a job. Its pages become ``kept/fax.tif`` in a worker's process; the mail goes through the queue like all mail, with
   NOTIFY=SUCCESS,FAILURE and Disposition-Notification-To where a confirmation is wanted.
2. Its names carry the job's number, which try it is, and a token of the job (:func:`name_of`): as ENVID and as Message-ID. What
   comes back with one of them, and with the right token, is an answer (:meth:`FaxSender.answered`).
3. When the queue is done with it: refused is sent again after a while, to those alone, ``resend`` times; delivered waits for
   the confirmation that was asked for, if the machine can get one (a POP3 server is set for Internet fax).
   A try's mail that is in the queue already, since a process that ended there, is that try's; what cannot be queued is tried
   again later and later, ``QUEUE_TRIES`` times.
4. A confirmation that does not come in time: what was delivered is done, with that said; the rest has failed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

from valija import __version__
from valija.domain.account import Actor, Setting
from valija.domain.clock import Clock
from valija.domain.errors import FieldProblem, InvalidFields, StoreError, StoreFull, ValijaError
from valija.domain.fax import (
    AnswerKind,
    Confirmation,
    FaxAnswer,
    FaxSettings,
    parse_fax_settings,
    settles,
    sum_up,
)
from valija.domain.fax_address import FaxAddress, parse_fax_address
from valija.domain.job import (
    Awaited,
    Awaiting,
    Finished,
    HandedOn,
    JobEvent,
    JobKind,
    JobWord,
    Noted,
    TroubleCame,
    Waits,
)
from valija.domain.queue import Failed, FailureCause
from valija.domain.settings import PopSettings
from valija.domain.text import N_, message
from valija.message.fax_mail import FAX_TYPE
from valija.message.mdn import REQUEST
from valija.paper.process import PaperProblem, PaperWorker
from valija.services.delivery import Delivery, File, check_mail, sender_address
from valija.services.fax_names import FaxName, format_line, name_of, parse_line, parse_name
from valija.services.job_run import JobRun, JobStopped, card_of
from valija.services.jobs import JobDesk
from valija.services.mail_taking import Say
from valija.services.outgoing import ACCOUNT, Outgoing, OutgoingMail
from valija.services.preferences import zone_of
from valija.store.jobs_port import StoredJob
from valija.store.master_key import sync_directory
from valija.store.port import Store
from valija.store.queue_port import StoredQueued

log: Final = logging.getLogger(__name__)
FILE_NAME: Final = "fax.tif"
QUEUE_TRIES: Final = 8  # after 1, 2, 4 ... minutes: two hours
_FROM_SETTINGS: Final = (
    "profile",
    "resolution",
    "paper",
    "halftone",
    "cover",
    "own_number",
    "resend",
    "resend_every",
    "wait",
)
NOTIFY: Final = "SUCCESS,FAILURE"
KINDS: Final = frozenset({".pdf", ".tif", ".tiff", ".jpg", ".jpeg", ".png", ".txt"})


@dataclass(frozen=True, slots=True)
class FaxOrder:
    """What somebody wants sent: ``files`` lie ready, and are copied; ``changes`` are settings for this fax alone."""

    files: tuple[File, ...]
    to: tuple[str, ...]
    subject: str = ""
    text: str = ""
    changes: Mapping[str, Any] | None = None


class FaxSender:
    """Sends faxes as jobs."""

    def __init__(
        self, store: Store, jobs: JobDesk, outgoing: Outgoing, delivery: Delivery, clock: Clock, say: Say
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._outgoing = outgoing
        self._delivery = delivery
        self._clock = clock
        self._say = say
        self._line = asyncio.Semaphore(1)  # one fax is drawn at a time: the machine has other work, too
        jobs.settled[JobKind.FAX_SEND] = self.settled
        jobs.overdue[JobKind.FAX_SEND] = self.overdue
        jobs.interrupted[JobKind.FAX_SEND] = self.take_up
        jobs.queued[JobKind.FAX_SEND] = self._queued

    async def send(self, order: FaxOrder, actor: Actor) -> StoredJob:
        """Begin to send. Raises :class:`InvalidFields`, :class:`~valija.domain.errors.NotReady`, store errors."""
        settings = parse_fax_settings(await self._store.load_fax(), order.changes or {})
        addresses = _addresses(order.to, settings.gateway)
        mails = [address.mail for address in addresses]
        check_mail(mails, order.subject, order.text)
        _check_files(order.files)
        await self._delivery.settings()  # there is a server and a sender, or it says so now
        details = {name: str(getattr(settings, name)) for name in _FROM_SETTINGS} | {
            "token": secrets.token_hex(8),
            "confirmation": (await self._confirmation(settings)).value,
            "subject": order.subject,
            "text": order.text,
        }
        title = order.subject or ", ".join(file.name for file in order.files)
        card = card_of(JobKind.FAX_SEND, title, actor, self._clock.now(), mails, details)
        sources = await asyncio.to_thread(_opened, order.files)
        copied = asyncio.Event()

        async def work(run: JobRun) -> None:
            await asyncio.to_thread(_copy, sources, run.directory)
            copied.set()
            await self._make_and_queue(run)

        job = await self._jobs.begin(card, work)
        waits = [asyncio.create_task(copied.wait()), asyncio.create_task(self._jobs.wait(job.id))]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)  # the caller's files may go now
        for task in waits:
            task.cancel()
        return job

    async def take_up(self, job: StoredJob) -> bool:
        """Go on with a fax that was being drawn when the process ended; False if its files were not there yet."""
        number = await self._in_queue(job, 0)
        if number is not None:
            await self._jobs.apply(job.id, HandedOn(self._clock.now(), (number,)))
            return True
        sources = await asyncio.to_thread(_sources, self._jobs.folder(job.id))
        if not sources:
            return False
        await self._jobs.go_on(job, self._make_and_queue)
        return True

    # --- pages and mail ---------------------------------------------------------------------------------------------------

    async def _make_and_queue(self, run: JobRun) -> None:
        card, target = run.job.card, run.kept / FILE_NAME
        try:
            async with self._line, PaperWorker() as worker:
                await worker.call(
                    "make_fax",
                    run.progress,
                    files=await asyncio.to_thread(_sources, run.directory),
                    out=str(target),
                    **{name: card.detail(name) for name in ("profile", "resolution", "paper", "halftone")},
                    description=", ".join(_numbers(card.recipients))[:300],
                    software=f"Valija {__version__}",
                    at=(await self._local_now()).isoformat(),
                    cover=await self._cover(run.job) if card.detail("cover") == str(True) else None,
                )
                await worker.call("picture", path=str(target), out=str(run.picture))
        except PaperProblem as problem:
            raise JobStopped(problem.reason, problem.words) from None
        if not await run.is_cancelled():
            await run.hand_on([await self._queue(run.job, 0, card.recipients)])

    async def _queue(self, job: StoredJob, attempt: int, to: Sequence[str]) -> int:
        """Put the mail for these recipients into the queue. Raises what :meth:`Outgoing.queue` raises."""
        settings = await self._delivery.settings()
        address = sender_address(settings)
        confirmation = Confirmation(job.card.detail("confirmation"))
        name = name_of(FaxName(job.id, attempt, job.card.detail("token")))
        language = (await self._store.load_preferences()).language or "en"
        text = job.card.detail("text") or self._say(N_("A fax is attached."), language)
        domain = address.rpartition("@")[2]
        mail = OutgoingMail(
            to=tuple(to),
            subject=job.card.detail("subject") or self._say(N_("Fax"), language),
            text=text,
            files=(File(self._jobs.folder(job.id) / "kept" / FILE_NAME, FILE_NAME, FAX_TYPE),),
            fields=((REQUEST, address),) if confirmation is Confirmation.PROCESSING else (),
            notify=NOTIFY if confirmation is not Confirmation.NONE else "",
            envelope_id=name,
            message_id=f"{name}@{domain if domain.isascii() and domain else 'valija.invalid'}",
        )
        return (await self._outgoing.queue(mail)).id

    async def _in_queue(self, job: StoredJob, attempt: int) -> int | None:
        """Return the number that the mail of a try has in the queue, if it is there."""
        name = FaxName(job.id, attempt, job.card.detail("token"))
        found = await self._store.queue.list_messages(
            account=ACCOUNT, state=None, limit=1, device="", text=name_of(name)
        )
        return next((stored.id for stored in found if parse_name(stored.message.envelope_id) == name), None)

    async def _queued(self, job: StoredJob) -> list[int]:
        found = await self._in_queue(job, 0)
        return [] if found is None else [found]

    async def _confirmation(self, settings: FaxSettings) -> Confirmation:
        """Return what is asked for: nothing, if no answer could be fetched."""
        pop = (await self._store.load_settings(Setting.INTERNET_FAX)).value
        return settings.confirmation if isinstance(pop, PopSettings) and pop.server else Confirmation.NONE

    async def _local_now(self) -> Any:
        return self._clock.now().astimezone(zone_of(await self._store.load_preferences()))

    async def _cover(self, job: StoredJob) -> dict[str, Any]:
        smtp, card = await self._delivery.settings(), job.card
        language = (await self._store.load_preferences()).language or "en"
        sender = (smtp.sender_name, card.detail("own_number"), sender_address(smtp))
        lines = (
            (N_("From"), " · ".join(filter(None, sender))),
            (N_("To"), ", ".join(_numbers(card.recipients))),
            (N_("Date"), f"{await self._local_now():%Y-%m-%d %H:%M}"),
            (N_("Pages"), "{pages}"),
            (N_("Subject"), card.detail("subject")),
        )
        shown = [(self._say(label, language), value) for label, value in lines if value]
        return {"title": self._say(N_("Fax"), language), "lines": shown, "text": card.detail("text")}

    # --- what became of it ------------------------------------------------------------------------------------------------

    async def settled(self, job: StoredJob, messages: list[StoredQueued]) -> JobEvent | None:
        """Return what follows when the queue is done with a fax."""
        failed = [e for stored in messages for e in stored.entries if isinstance(e.state, Failed)]
        if not failed:
            return await self._await_answers(job)
        tries_over = await self.attempts(job) >= int(job.card.detail("resend"))
        if tries_over or any(e.state.cause is FailureCause.CANCELLED for e in failed if isinstance(e.state, Failed)):
            return self._jobs.ended(messages)
        return self._again_later(job)

    def _again_later(self, job: StoredJob) -> JobEvent:
        now = self._clock.now()
        return Waits(now, Awaited.RETRY, now + timedelta(minutes=int(job.card.detail("resend_every"))))

    async def _await_answers(self, job: StoredJob) -> JobEvent | None:
        """Let a fax wait, and then see what has come: who takes an answer from now on judges it."""
        now = self._clock.now()
        if Confirmation(job.card.detail("confirmation")) is Confirmation.NONE:
            return Finished(now)
        until = now + timedelta(hours=int(job.card.detail("wait")))
        await self._jobs.apply(job.id, Waits(now, Awaited.CONFIRMATION, until))
        return await self.verdict(job)

    async def overdue(self, job: StoredJob) -> JobEvent | None:
        """Return what follows when the time to wait is over."""
        state = job.state
        if not isinstance(state, Awaiting) or state.what is not Awaited.RETRY:
            return await self._unconfirmed(job)
        attempt = await self.attempts(job) + 1
        to = await self.unsettled(job, state.messages)
        try:
            number = await self._in_queue(job, attempt)
            number = await self._queue(job, attempt, to) if number is None else number
        except StoreError:
            raise  # there is nowhere to write down that it failed
        except ValijaError as error:
            return await self._not_queued(job, error)
        words = [line.word for line in await self._store.jobs.history(job.id)]
        if words.count(JobWord.SENT_AGAIN) < attempt:
            await self._jobs.apply(job.id, Noted(self._clock.now(), JobWord.SENT_AGAIN.value, ", ".join(to)))
        return HandedOn(self._clock.now(), (number,))

    async def _not_queued(self, job: StoredJob, error: ValijaError) -> JobEvent:
        """Return what follows when the mail of a try could not be put into the queue, as it may not have been before."""
        tries, now = 0, self._clock.now()
        for line in await self._store.jobs.history(job.id):
            retries = line.word is JobWord.WAITS and line.about == Awaited.RETRY.value
            tries = 0 if line.word is JobWord.HANDED_ON else tries + retries
        if tries >= QUEUE_TRIES:
            reason = "disk_full" if isinstance(error, StoreFull) else "job_refused"
            trouble = self._jobs.troubles.of_reason(reason, str(error))
            return TroubleCame(trouble.at, trouble)
        log.warning("fax_not_queued", extra={"fields": {"job": job.id, "why": str(error)}})
        return Waits(now, Awaited.RETRY, now + timedelta(minutes=2 ** (tries - 1)))

    async def _unconfirmed(self, job: StoredJob) -> JobEvent:
        judged = await self.verdict(job)
        if judged is not None:
            return judged
        answers = await self.answers(job)
        delivered = all(a.kind in (AnswerKind.DELIVERED, AnswerKind.PROCESSED) for a in answers.values())
        if delivered and len(answers) == len(job.card.recipients):
            return Finished(self._clock.now(), AnswerKind.DELIVERED.value)
        trouble = self._jobs.troubles.of_reason("fax_no_answer")
        return TroubleCame(trouble.at, trouble)

    async def unsettled(self, job: StoredJob, messages: Sequence[int]) -> list[str]:
        """Return who gets it again: those that the queue or an answer says did not get it."""
        answers = await self.answers(job)
        wanted = {who for who, answer in answers.items() if answer.kind is AnswerKind.NOT_DELIVERED}
        for number in messages:
            stored = await self._store.queue.load(number)
            wanted |= {e.recipient.address for e in stored.entries if isinstance(e.state, Failed)} if stored else set()
        return [who for who in job.card.recipients if who in wanted] or list(job.card.recipients)

    async def attempts(self, job: StoredJob) -> int:
        """Return how often a fax was sent again: each time it was put into the queue, after the first one."""
        history = await self._store.jobs.history(job.id)
        return max(sum(line.word is JobWord.HANDED_ON for line in history) - 1, 0)

    async def answers(self, job: StoredJob) -> dict[str, FaxAnswer]:
        """Return what was answered since it was sent last, by recipient."""
        found: list[FaxAnswer] = []
        for line in await self._store.jobs.history(job.id):
            if line.word is JobWord.SENT_AGAIN:  # who gets it again is asked again
                again = line.about.split(", ")
                found = [answer for answer in found if answer.recipient not in again]
            elif line.word is JobWord.ANSWERED and (answer := parse_line(line.about)):
                found.append(answer)
        return sum_up(job.card.recipients, found)

    async def verdict(self, job: StoredJob) -> JobEvent | None:
        """Return what the answers make of a fax; None while one is missing."""
        answers, confirmation = await self.answers(job), Confirmation(job.card.detail("confirmation"))
        kinds = [answer.kind for answer in answers.values()]
        if AnswerKind.NOT_DELIVERED in kinds and await self.attempts(job) < int(job.card.detail("resend")):
            return self._again_later(job)
        bad = [a for a in answers.values() if a.kind in (AnswerKind.NOT_DELIVERED, AnswerKind.REFUSED)]
        if bad:
            trouble = self._jobs.troubles.of_reason("fax_refused", f"{bad[0].recipient}: {bad[0].words}".rstrip(": "))
            return TroubleCame(trouble.at, trouble)
        if len(answers) < len(job.card.recipients) or not all(settles(kind, confirmation) for kind in kinds):
            return None
        return Finished(self._clock.now(), min(kinds, key=list(AnswerKind).index).value)

    async def answered(self, job: StoredJob, attempt: int, answers: Sequence[FaxAnswer]) -> None:
        """Take answers to a fax; they may come before the queue has said that it is done, and after the job has ended."""
        for answer in answers:
            noted = Noted(self._clock.now(), JobWord.ANSWERED.value, format_line(answer))
            job = await self._jobs.apply(job.id, noted) or job  # the queue may have been done with it meanwhile
        waits = isinstance(job.state, Awaiting) and job.state.what is Awaited.CONFIRMATION
        if waits and attempt >= await self.attempts(job) and (event := await self.verdict(job)) is not None:
            await self._jobs.apply(job.id, event)


def _addresses(to: Sequence[str], gateway: str) -> list[FaxAddress]:
    found: dict[str, FaxAddress] = {}
    for text in to:
        address = parse_fax_address(text, gateway)
        if address is None:
            problem = message(N_("must be e-mail addresses, or FAX=+15551234567@gateway, not “{text}”"), text=text[:80])
            raise InvalidFields((FieldProblem("to", problem),))
        found[address.mail] = address
    return list(found.values())


def _check_files(files: Sequence[File]) -> None:
    if not files:
        raise InvalidFields((FieldProblem("file", message(N_("is missing"))),))
    for file in files:
        if Path(file.name).suffix.lower() not in KINDS:
            problem = message(
                N_("must be PDF, TIFF, JPEG, PNG or text, by the end of its name: “{name}”"), name=file.name[:80]
            )
            raise InvalidFields((FieldProblem("file", problem),))


def _numbers(mails: Sequence[str]) -> list[str]:
    """Return what people read of addresses."""
    found = [(mail, parse_fax_address(mail)) for mail in mails]
    return [(address.number if address else "") or mail for mail, address in found]


def _opened(files: Sequence[File]) -> list[tuple[str, BinaryIO]]:
    """Open the files, so that they are there when the job's folder is."""
    return [(f"source-{n:03}{Path(f.name).suffix.lower()}", f.path.open("rb")) for n, f in enumerate(files)]


def _copy(sources: Sequence[tuple[str, BinaryIO]], folder: Path) -> None:
    for name, source in sources:
        with source, (folder / f"new-{name}").open("xb") as target:
            shutil.copyfileobj(source, target, 1_048_576)
            target.flush()
            os.fsync(target.fileno())
    for name, _source in sources:
        (folder / f"new-{name}").rename(folder / name)
    sync_directory(folder)


def _sources(folder: Path) -> list[str]:
    """Return the files of a fax, all of them or none."""
    if any(folder.glob("new-*")):
        return []
    return sorted(str(path) for path in folder.glob("source-*"))
