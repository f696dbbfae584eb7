"""E-mail print: mail that came for the printer becomes one document in the printer's line; files of other jobs, too.

Theory of operation
-------------------
1. Only the mail of allowed senders is printed, of one sender a message; with a password set, only if the subject has it. All
   else is kept, and said in its job. A sender's address can be forged: only the password, or the provider, keeps others out.
2. The attachments that can be printed are, in order; the text of a mail where there are none, or by setting. HTML is printed as
   its text; nothing is fetched. What cannot be printed is kept, and said.
3. All is made one PDF in the worker's process, each page drawn once there: what a printer would choke on is refused here.
4. An allowed sender, and nobody else, is told by mail what became of it, by setting; never a machine that sends by itself.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from valija.domain.account import Actor, Setting
from valija.domain.errors import ValijaError
from valija.domain.job import Awaited, Failed, JobKind, JobWord, Waits
from valija.domain.print_job import (
    PrintConfirmation,
    PrintOptions,
    PrintSettings,
    may_print,
    prints_fax,
    usual_options,
)
from valija.domain.printer import PrinterState, PrinterStateName, TargetKind
from valija.domain.subject_options import parse_subject, title_of
from valija.domain.text import N_, Message, message
from valija.domain.trouble import Trouble
from valija.message.addresses import read_addresses
from valija.message.fax_mail import PAGES, PartKind
from valija.message.mdn import is_answer, is_automatic
from valija.message.mime_fields import readable
from valija.message.mime_reading import Limits, MessageHead
from valija.paper.process import PaperProblem, PaperWorker
from valija.services.job_run import JobRun, JobStopped, card_of
from valija.services.mail_parts import PartFile, copy_to, unpack
from valija.services.mail_taking import KNOWN_JOBS, STRANGERS, Letter, MailTaker, Taking
from valija.services.outgoing import Outgoing, OutgoingMail
from valija.services.print_line import PrintLine
from valija.services.print_order import DOCUMENT, PrintOrder, order_of, read_parts, write_order, write_parts
from valija.services.print_settings import PrintSettingsDesk
from valija.store.jobs_port import StoredJob

log: Final = logging.getLogger(__name__)
CURSOR: Final = "print-cursor"
PARTS_FOLDER: Final = "parts"
MEGABYTE: Final = 1_000_000
ENCODED: Final = 1.4  # how much larger a file is in a mail


@dataclass(frozen=True, slots=True)
class Printing:
    """All of it. Run :meth:`PrintLine.run` and the desk's ``mail`` as tasks."""

    settings: PrintSettingsDesk
    desk: PrintDesk
    line: PrintLine

    async def printer_state(self) -> PrinterState | None:
        """Return how the printer is that is set; None if it is a folder, or none is set. Never raises."""
        try:
            target = (await self.settings.load()).printer
        except ValijaError as error:
            return PrinterState(PrinterStateName.UNKNOWN, words=str(error))
        return await self.line.watch.ask(target) if target.uri else None


@dataclass(frozen=True, slots=True)
class _Work:
    """What is being made ready: its settings, how it is printed, and for whom."""

    settings: PrintSettings
    options: PrintOptions
    title: str
    answer_to: str = ""
    message_id: str = ""
    left: tuple[str, ...] = ()  # parts that cannot be printed


class PrintDesk:
    """Makes jobs of what ``mail`` takes."""

    def __init__(
        self,
        taking: Taking,
        line: PrintLine,
        outgoing: Outgoing,
    ) -> None:
        self._store = taking.store
        self._jobs = taking.jobs
        self._line = line
        self._outgoing = outgoing
        self._clock = taking.clock
        self._say = taking.say
        line.ended = self._ended
        self.mail = MailTaker(
            taking,
            setting=Setting.EMAIL_PRINT,
            kind=JobKind.PRINT,
            cursor=CURSOR,
            receive=self._receive,
            title_of=title_of,
        )
        taking.jobs.interrupted[JobKind.PRINT] = self._take_up

    async def _take_up(self, job: StoredJob) -> bool:
        """A mail's job is found again by its message; files are there once all of them were taken over."""
        if job.card.detail("received"):
            return await self.mail.leave_to_run(job)
        parts = await asyncio.to_thread(read_parts, self._jobs.folder(job.id) / PARTS_FOLDER)
        if not parts:
            return False

        async def work(run: JobRun) -> None:
            await self._print_files(run, parts)

        await self._jobs.go_on(job, work)
        return True

    # --- mail -------------------------------------------------------------------------------------------------------------

    async def _receive(self, run: JobRun, letter: Letter, worker: PaperWorker) -> None:
        settings = await self._store.load_print()
        sender = self._sender(settings, letter)
        work = _Work(
            settings,
            usual_options(settings),
            run.job.card.title,
            "" if is_automatic(letter.head) else sender,
            letter.head.text("message-id")[:990],
        )
        try:
            work = await self._asked(run, work, letter.head)
            work, parts = await self._unpacked(run, letter, work)
            await self._print_parts(run, work, parts, worker)
        except JobStopped as stopped:
            await self._answer(work, self._jobs.troubles.of_reason(stopped.reason, stopped.words))
            raise

    def _sender(self, settings: PrintSettings, letter: Letter) -> str:
        """Return whose mail it is, who may print. Raises :class:`JobStopped`."""
        if not letter.head.fields:
            raise JobStopped("print_bad_mail")
        said = letter.head.all("from")
        found = [address for _name, address in read_addresses(said[:2]) if address]
        if len(said) != 1 or len(found) != 1 or "@" not in found[0] or readable(found[0]) != found[0]:
            raise JobStopped("print_sender_unclear", readable(", ".join(said))[:200])
        if not may_print(settings, found[0]):
            raise JobStopped("print_unwanted", readable(found[0])[:200])
        if is_answer(letter.head):
            raise JobStopped("print_automatic")
        return found[0]

    async def _asked(self, run: JobRun, work: _Work, head: MessageHead) -> _Work:
        """Read what the subject asks for. Raises :class:`JobStopped`."""
        subject = readable(head.first("subject"))
        asked = parse_subject(subject, work.options, work.settings.copies_limit)
        if work.settings.password is not None and asked.password != work.settings.password:
            raise JobStopped("print_password")
        if asked.problems:
            await run.note(JobWord.LEFT_OUT, ", ".join(asked.problems))
        if asked.refused:
            raise JobStopped("print_bad_pages", asked.refused)
        return replace(work, options=asked.options)

    async def _unpacked(self, run: JobRun, letter: Letter, work: _Work) -> tuple[_Work, list[PartFile]]:
        """Return what is to be printed of a mail. Raises :class:`JobStopped`."""
        settings = work.settings
        limit = settings.size_limit * MEGABYTE
        if (await asyncio.to_thread(letter.path.stat)).st_size > limit * ENCODED + MEGABYTE:
            raise JobStopped("print_too_large", f"> {settings.size_limit} MB")
        folder = run.directory / PARTS_FOLDER
        await asyncio.to_thread(folder.mkdir, exist_ok=True)
        parts, why = await asyncio.to_thread(unpack, letter.path, folder, Limits(decoded=limit))
        if why:
            raise JobStopped("print_too_large" if "octets" in why else "print_bad_mail", why)
        unknown = [part for part in parts if part.kind is PartKind.OTHER and part.media_type not in _NOT_PAGES]
        for part in unknown:
            await asyncio.to_thread(copy_to, part.path, run.kept)
            await run.note(JobWord.NOT_SHOWN, part.name or part.path.name)
        wanted = printed_parts(parts, with_body=settings.bodies)
        if unknown and not any(part.is_attached for part in wanted):  # what was meant to be printed is another file
            raise JobStopped("print_nothing", ", ".join(part.name or part.path.name for part in unknown)[:200])
        return replace(work, left=tuple(part.name or part.path.name for part in unknown)), wanted

    # --- files of other jobs ----------------------------------------------------------------------------------------------

    async def print_fax(self, fax: StoredJob, files: Sequence[Path], actor: Actor) -> int | None:
        """Print a fax that came, if the rule says so, once; return the number of its job. Raises store errors, OSError."""
        settings = await self._store.load_print()
        if not prints_fax(settings, fax.card.detail("sender")) or settings.printer.kind is TargetKind.NONE:
            return None
        for job in await self._store.jobs.list_jobs(kind=JobKind.PRINT, state=None, limit=KNOWN_JOBS):
            if job.card.detail("fax") == str(fax.id) and not isinstance(job.state, Failed):  # before a crash
                return job.id
        return (await self.print_files(files, fax.card.title, actor, {"fax": str(fax.id)})).id

    async def print_files(
        self, files: Sequence[Path], title: str, actor: Actor, details: Mapping[str, str] | None = None
    ) -> StoredJob:
        """Print files (PDF, TIFF, JPEG, PNG, ``.txt``), which may go when this returns. Raises store errors, OSError."""
        ready = asyncio.Event()

        async def work(run: JobRun) -> None:
            try:
                parts = await asyncio.to_thread(_take_over, files, run.directory / PARTS_FOLDER)
            finally:
                ready.set()
            await self._print_files(run, parts)

        job = await self._jobs.begin(card_of(JobKind.PRINT, title, actor, self._clock.now(), (), details), work)
        waits = [asyncio.create_task(ready.wait()), asyncio.create_task(self._jobs.wait(job.id))]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)  # it may be cancelled before it has begun
        for task in waits:
            task.cancel()
        return job

    async def _print_files(self, run: JobRun, parts: Sequence[PartFile]) -> None:
        settings = await self._store.load_print()
        async with PaperWorker(STRANGERS) as worker:
            await self._print_parts(run, _Work(settings, usual_options(settings), run.job.card.title), parts, worker)

    # --- pages ------------------------------------------------------------------------------------------------------------

    async def _print_parts(self, run: JobRun, work: _Work, parts: Sequence[PartFile], worker: PaperWorker) -> None:
        """Make one document of parts, and put it into the printer's line. Raises :class:`JobStopped`."""
        documents: list[str] = []
        trouble, left = None, list(work.left)
        for part in parts:
            try:
                documents.append(await self._document(part, work, worker))
            except PaperProblem as problem:
                trouble = problem
                words = f"{part.name or part.path.name}: {problem.words or problem.reason}"
                await run.note(JobWord.NOT_SHOWN, words)
                await asyncio.to_thread(copy_to, part.path, run.kept)
                left.append(words)
        if not documents:
            raise JobStopped(trouble.reason if trouble else "print_nothing", trouble.words if trouble else "")
        await self._join(run, work, documents, worker)
        order = order_of(run.id, work.title, secrets.token_hex(6), work.options)
        order = replace(order, answer_to=work.answer_to, message_id=work.message_id, left=", ".join(left)[:400])
        await asyncio.to_thread(write_order, run.directory, order)
        until = self._clock.now() + timedelta(hours=work.settings.wait)
        await run.apply(Waits(self._clock.now(), Awaited.PRINTER, until))
        self._line.add(run.id, order)

    async def _document(self, part: PartFile, work: _Work, worker: PaperWorker) -> str:
        """Return the path of a part as a PDF. Raises :class:`PaperProblem`."""
        if part.kind is PartKind.PDF:
            await worker.call("count", path=str(part.path))
            return str(part.path)
        out = part.path.with_name(f"{part.path.stem}-pages.pdf")
        await worker.call(
            "for_printer",
            path=str(part.path),
            out=str(out),
            folder=str(part.path.parent),
            title=work.title,
            at=self._clock.now().isoformat(),
            paper=work.options.paper.value,
        )
        return str(out)

    async def _join(self, run: JobRun, work: _Work, documents: Sequence[str], worker: PaperWorker) -> None:
        document = run.kept / DOCUMENT
        try:
            found = await worker.call(
                "join_pages",
                run.progress,
                files=list(documents),
                out=str(document),
                ranges=[list(pages) for pages in work.options.pages],
                limit=work.settings.page_limit,
            )
            await worker.call("picture", path=str(document), out=str(run.picture))
        except PaperProblem as problem:
            await asyncio.to_thread(document.unlink, missing_ok=True)
            raise JobStopped(problem.reason, problem.words) from None
        await run.progress(found["pages"], found["pages"])

    # --- answers ----------------------------------------------------------------------------------------------------------

    async def _ended(self, order: PrintOrder, trouble: Trouble | None) -> None:
        settings = await self._store.load_print()
        left = (order.left,) if order.left else ()
        work = _Work(settings, PrintOptions(), order.title, order.answer_to, order.message_id, left)
        await self._answer(work, trouble)

    async def _answer(self, work: _Work, trouble: Trouble | None) -> None:
        """Tell the sender, if they are to be told. What goes wrong with that is no trouble of the print's."""
        wanted = work.settings.confirmation
        if not work.answer_to or wanted is PrintConfirmation.OFF:
            return
        if trouble is None and not work.left and wanted is not PrintConfirmation.ALWAYS:
            return
        try:
            await self._outgoing.queue(await self._mail(work, trouble))
        except ValijaError as error:
            log.warning("print_answer_not_sent", extra={"fields": {"why": str(error)}})

    async def _mail(self, work: _Work, trouble: Trouble | None) -> OutgoingMail:
        preferences = await self._store.load_preferences()
        language = preferences.language or "en"
        said: list[Message | str] = [message(N_("“{title}” was printed."), title=work.title)]
        if trouble is not None:
            explained = self._jobs.troubles.explainer.explain(trouble.reason)
            said = [message(N_("“{title}” was not printed."), title=work.title), explained.meaning]
            said += [trouble.server_words] if trouble.server_words else []
            said += [explained.cure]
        if work.left:
            said.append(message(N_("These parts could not be printed: {names}"), names=", ".join(work.left)))
        head = N_("Not printed: {title}") if trouble else N_("Printed: {title}")
        about = (("In-Reply-To", work.message_id),) if _is_message_id(work.message_id) else ()
        return OutgoingMail(
            to=(work.answer_to,),
            subject=self._say(message(head, title=work.title), language)[:200],
            text="\n".join([*(self._say(line, language) for line in said), "", preferences.name]),
            fields=(("Auto-Submitted", "auto-replied"), *about),
        )


def printed_parts(parts: Sequence[PartFile], *, with_body: bool) -> list[PartFile]:
    """Return the parts of a mail that are printed, in order: its body (by setting, or for want of others), its attachments."""
    texts = [part for part in parts if part.kind is PartKind.TEXT]
    attached = [p for p in parts if (p.kind in PAGES and not p.is_in_text) or (p in texts and p.is_attached)]
    body = [part for part in texts if not part.is_attached]
    plain = [part for part in body if part.media_type != "text/html"]  # the other is the same, in most mails
    return [*((plain or body) if with_body or not attached else []), *attached]


def _is_message_id(text: str) -> bool:
    return text.startswith("<") and text.endswith(">") and text.isascii() and text.isprintable() and " " not in text


_NOT_PAGES: Final = frozenset(
    {
        "text/plain",  # an empty one
        "text/html",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
        "application/pgp-signature",
        "application/pgp-keys",
        "application/ms-tnef",
    }
)
_KINDS: Final = {
    ".pdf": PartKind.PDF,
    ".tif": PartKind.TIFF,
    ".tiff": PartKind.TIFF,
    ".jpg": PartKind.JPEG,
    ".jpeg": PartKind.JPEG,
    ".png": PartKind.PNG,
    ".txt": PartKind.TEXT,
}


def _take_over(files: Sequence[Path], folder: Path) -> list[PartFile]:
    """Link files into a folder, and write down that all are there. Raises :class:`JobStopped`, OSError."""
    folder.mkdir(exist_ok=True)
    parts = [_taken(file, folder, number) for number, file in enumerate(files, 1)]
    write_parts(folder, parts)
    return parts


def _taken(file: Path, folder: Path, number: int) -> PartFile:
    """Link a file into a folder, under a name that tells its kind. Raises :class:`JobStopped`."""
    kind = _KINDS.get(file.suffix.lower())
    if kind is None:
        raise JobStopped("paper_unreadable", file.name)
    target = folder / f"part-{number:03}.{kind.value}"
    target.unlink(missing_ok=True)
    target.hardlink_to(file)
    return PartFile(target, kind, file.name)
