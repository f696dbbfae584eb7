"""Receiving faxes: what the Internet fax setting has fetched becomes jobs with pages, or an answer to a fax that was sent.

Theory of operation
-------------------
1. Messages are taken one by one (:mod:`valija.services.mail_taking`).
2. A report or notification that names a fax of this machine, with its token, is an answer to it, and makes no job.
3. All else is a job: rejected by the anti-junk list, or made pages of: pictures and PDF; a text only where there is
   nothing else. Parts that cannot be shown are kept as they came, and said. Nothing is ever deleted here.
4. A fax is handed on by rule as it came, with a field that says through which machines it went: never twice through one.
   Into a folder it goes as PDF (:mod:`valija.services.fax_filing`).
5. A notification is sent where RFC 8098 allows it, once, from the empty reverse path (:mod:`valija.message.mdn`).
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from valija import __version__
from valija.domain.account import Actor, Presence, Setting
from valija.domain.fax import FaxSettings, forward_to, is_wanted
from valija.domain.job import JobKind, JobWord
from valija.domain.queued_message import QueuedMessage, QueuedRecipient
from valija.domain.text import N_
from valija.message.fax_mail import PAGES, PartKind
from valija.message.mdn import Answer, answer_to, format_answer, is_automatic
from valija.message.mime_fields import readable
from valija.message.mime_reading import MessageHead
from valija.paper.process import PaperProblem, PaperWorker
from valija.services.delivery import Delivery, File, sender_address
from valija.services.fax_filing import FaxFiling
from valija.services.fax_mailbox import read_report
from valija.services.fax_names import parse_name
from valija.services.fax_sending import FaxSender
from valija.services.gateway import Gateway
from valija.services.job_run import JobRun, JobStopped
from valija.services.keeping_up import to_its_end
from valija.services.mail_parts import PartFile, copy_to, unpack
from valija.services.mail_taking import Letter, MailTaker, Taking
from valija.services.outgoing import Outgoing, OutgoingMail
from valija.store.jobs_port import StoredJob
from valija.store.queue_port import Body

CURSOR: Final = "fax-cursor"
THROUGH: Final = "X-Valija-Through"  # the machines that a fax was handed on by
HOPS_LIMIT: Final = 5
_TYPES: Final = {
    "tif": "image/tiff",
    "pdf": "application/pdf",
    "jpg": "image/jpeg",
    "png": "image/png",
    "txt": "text/plain",
}


PrintFax = Callable[[StoredJob, Sequence[Path], Actor], Awaitable[int | None]]


class FaxReceiver:
    """Makes jobs of what ``mail`` takes."""

    def __init__(
        self,
        taking: Taking,
        sender: FaxSender,
        outgoing: Outgoing,
        delivery: Delivery,
        gateway: Gateway,
        *,
        host_name: str,
    ) -> None:
        self._store = taking.store
        self._sender = sender
        self._outgoing = outgoing
        self._delivery = delivery
        self._gateway = gateway
        self._clock = taking.clock
        self._say = taking.say
        self._host_name = host_name
        self.print_fax: PrintFax | None = None
        self.filing = FaxFiling(taking.store, taking.jobs, taking.clock)
        self.mail = MailTaker(
            taking,
            setting=Setting.INTERNET_FAX,
            kind=JobKind.FAX_RECEIVE,
            cursor=CURSOR,
            receive=self._receive,
            is_answer=self._is_answer,
        )

    # --- one message ------------------------------------------------------------------------------------------------------

    async def _is_answer(self, letter: Letter) -> bool:
        """Tell whether a message answers a fax of this machine; take it, if it does."""
        if letter.head.media_type != "multipart/report":
            return False
        report = await asyncio.to_thread(read_report, letter.path)
        for name in (parse_name(text) for text in report.names) if report else ():
            job = await self._store.jobs.load(name.job) if name else None
            if name and job and job.card.kind is JobKind.FAX_SEND and job.card.detail("token") == name.token:
                await self._sender.answered(job, name.attempt, report.answers if report else ())
                return True
        return False

    async def _receive(self, run: JobRun, letter: Letter, worker: PaperWorker) -> None:
        head, sender = letter.head, letter.sender
        settings = await self._store.load_fax()
        if not is_wanted(settings, sender):
            raise JobStopped("fax_unwanted", sender)
        folder = run.directory / "parts"
        await asyncio.to_thread(folder.mkdir, exist_ok=True)
        parts, why = await asyncio.to_thread(unpack, letter.path, folder)
        if why:
            await run.note(JobWord.NOT_SHOWN, why)
        wanted = [part for part in parts if part.kind in PAGES]
        if not wanted and not why:
            wanted = [part for part in parts if part.kind is PartKind.TEXT][:1]
        pages, trouble = await self._show(run, wanted, worker, readable(head.first("subject")))
        others = [part for part in parts if part.kind is PartKind.OTHER]
        await self._keep(run, others)
        only_text = bool(others) and all(part.kind is PartKind.TEXT for part in wanted)
        forwarded = await self._forward(run, head, settings, sender, wanted) if pages else ()
        waits = None
        if pages:
            await self._print(run, wanted, sender)
            waits = await self.filing.file(run.job)
        unreadable = None
        if not pages or only_text:
            unreadable = trouble or ("fax_bad_mail" if why else "fax_unreadable")
        if settings.answer and not is_automatic(head):
            await self._answer(run, head, unreadable)
        if unreadable:
            raise JobStopped(unreadable, why)
        if waits is not None:
            await run.apply(waits)
        else:
            await run.finish(", ".join(forwarded))

    async def _show(self, run: JobRun, parts: Sequence[PartFile], worker: PaperWorker, title: str) -> tuple[int, str]:
        """Make pages of parts, as PDF in ``kept/``; return how many pages, and why there are none."""
        pages, trouble = 0, ""
        for part in parts:
            before = pages

            async def told(done: int, of: int, before: int = before) -> None:
                await run.progress(before + done, before + of)

            target = run.kept / f"{part.path.stem}.pdf"
            try:
                pages += await self._pages_of(part, target, run, worker, told, title)
            except PaperProblem as problem:
                trouble = problem.reason
                await run.note(JobWord.NOT_SHOWN, f"{part.name or part.path.name}: {problem.words or problem.reason}")
                await asyncio.to_thread(target.unlink, missing_ok=True)
            await asyncio.to_thread(copy_to, part.path, run.kept)
        await run.progress(pages, pages)
        return pages, trouble

    async def _pages_of(
        self, part: PartFile, target: Path, run: JobRun, worker: PaperWorker, told: object, title: str
    ) -> int:
        first = not await asyncio.to_thread(run.picture.is_file)
        if part.kind is PartKind.PDF:
            pages = int((await worker.call("count", path=str(part.path)))["pages"])
            shown = part.path
        else:
            found = await worker.call(
                "read_fax" if part.kind is PartKind.TIFF else "any_pages",
                told,  # type: ignore[arg-type]
                path=str(part.path),
                out=str(target),
                folder=str(part.path.parent),
                title=title or part.name,
                at=self._clock.now().isoformat(),
            )
            pages, shown = int(found["pages"]), target
        if first:
            await worker.call("picture", path=str(shown), out=str(run.picture))
        await run.note(
            JobWord.FILED, f"{part.name or part.path.name} → {target.name if shown == target else part.path.name}"
        )
        return pages

    async def _keep(self, run: JobRun, parts: Sequence[PartFile]) -> None:
        """Keep what nobody can show, and say so."""
        for part in parts:
            await asyncio.to_thread(copy_to, part.path, run.kept)
            await run.note(JobWord.NOT_SHOWN, part.name or part.path.name)

    # --- handed on, answered ----------------------------------------------------------------------------------------------

    async def _forward(
        self, run: JobRun, head: MessageHead, settings: FaxSettings, sender: str, parts: Sequence[PartFile]
    ) -> tuple[str, ...]:
        to = forward_to(settings, sender)
        if not to or await self._was(run, JobWord.FORWARDED):
            return ()
        own = sender_address(await self._delivery.settings()).lower()
        through = [value.strip().lower() for line in head.texts(THROUGH.lower()) for value in line.split(",")]
        if own in through or len(through) >= HOPS_LIMIT or is_automatic(head):
            await run.note(JobWord.NOT_SHOWN, f"{THROUGH}: {', '.join(through)}"[:200])
            return ()
        mail = OutgoingMail(
            to=to,
            subject=run.job.card.title,
            text=self._say(N_("A fax is attached."), await self._language()) + f"\n{sender}",
            files=tuple(File(p.path, _safe_name(p), _TYPES[p.kind.value]) for p in parts),
            fields=((THROUGH, ", ".join([*through, own])),),
            message_id=f"valija-forward.{run.id}.",
        )
        queued = await self._outgoing.queue_once(mail)
        await run.note(JobWord.FORWARDED, f"{', '.join(to)} ({queued.id})")
        return to

    async def _print(self, run: JobRun, parts: Sequence[PartFile], sender: str) -> None:
        """Print it, if the rule of the printer says so, once."""
        if self.print_fax is None or await self._was(run, JobWord.PRINTED):
            return
        files = [run.kept / f"{part.path.stem}.pdf" for part in parts]
        there = [file for file in files if await asyncio.to_thread(file.is_file)]
        number = await self.print_fax(run.job, there, Actor("", sender or "fax", Presence.REMOTE))
        if number is not None:
            await run.note(JobWord.PRINTED, str(number))

    async def _answer(self, run: JobRun, head: MessageHead, unreadable: str | None) -> None:
        """Send a notification, where one may be sent, and none was."""
        to = answer_to(head)
        if not to or await self._was(run, JobWord.CONFIRMED):
            return
        settings = await self._delivery.settings()
        preferences = await self._store.load_preferences()
        language = preferences.language or "en"
        address = sender_address(settings)
        name = f"valija-answer.{run.id}."
        if await self._outgoing.find(name):  # by a process that has ended
            await run.note(JobWord.CONFIRMED, to)
            return
        message_id = f"{name}{secrets.token_hex(8)}@{address.rpartition('@')[2] or self._host_name}"
        error = self._say(N_("The fax cannot be shown as pages."), "en") if unreadable else ""
        sentence = (
            N_("The fax cannot be shown as pages.") if unreadable else N_("The fax has arrived, and was made pages of.")
        )
        fax = self._say(N_("Fax"), language)
        octets = format_answer(
            Answer(
                machine=f"Valija {__version__}",
                host_name=self._host_name,
                sender_name=settings.sender_name,
                sender_address=address,
                recipient=to,
                subject=f"{fax}: {run.job.card.title}",
                text=f"{preferences.name}: {self._say(sentence, language)}\n",
                date=self._clock.now(),
                message_id=message_id,
                boundary=f"=_{secrets.token_hex(16)}",
                about=head.text("message-id").strip("<> ")[:990],
                original_recipient=head.text("original-recipient")[:320],
                error=error,
            )
        )
        await self._queue_answer(octets, to, run.job.card.title, message_id)
        await run.note(JobWord.CONFIRMED, to)

    async def _queue_answer(self, octets: bytes, to: str, subject: str, message_id: str) -> None:
        """Queue it from the empty reverse path; of its own trouble nobody is told."""
        account = Setting.SMTP.value
        queued = QueuedMessage(
            account=account,
            device="",
            reverse_path="",
            message_id=message_id,
            size=len(octets),
            accepted_at=self._clock.now(),
            recipients=(QueuedRecipient(to),),
            subject=subject,
            eight_bit=not octets.isascii(),
            stopped=self._gateway.intake.stopped(account),
            is_report=True,
        )

        async def put() -> None:
            await self._store.queue.accept(queued, Body(octets))
            self._gateway.intake.accepted(account, 1)

        await to_its_end(put())

    async def _was(self, run: JobRun, word: JobWord) -> bool:
        return any(line.word is word for line in await self._store.jobs.history(run.id))

    async def _language(self) -> str:
        return (await self._store.load_preferences()).language or "en"


def _safe_name(part: PartFile) -> str:
    name = re.sub(r"[^\w. -]", "_", Path(part.name).name).strip(". ")[:80]
    return name if name.lower().endswith(part.path.suffix) else f"{name or 'fax'}{part.path.suffix}"
