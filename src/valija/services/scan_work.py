"""The work of a scan: pages from a scanner or from files, documents of pages, messages that fit.

Everything that touches the octets of a page is done in the worker's process, one page after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from valija.domain.clock import Clock
from valija.domain.job import Awaited, JobWord, Waits
from valija.domain.scan import (
    BLANK_INK,
    CHOICES,
    MEDIA_TYPES,
    MEGABYTE,
    SHRINK_STEPS,
    Colour,
    PaperSource,
    ScanFormat,
    ScanRequest,
    SizeChoice,
    fill_template,
    message_octets,
    safe_file_name,
    split_pages,
    template_values,
)
from valija.paper.process import PaperProblem, PaperWorker
from valija.paper.scanner import ScanOptions, list_scanners, scan
from valija.services.delivery import File
from valija.services.job_run import JobRun, JobStopped
from valija.services.outgoing import Outgoing, OutgoingMail
from valija.services.preferences import zone_of
from valija.services.scan_mails import write_mails
from valija.services.scan_pages import FOLDER, PageList, ScanPage, page_path, picture_path, write_list
from valija.store.jobs_port import StoredJob
from valija.store.port import Store

PAGES_LIMIT: Final = 1000
WORKERS: Final = 2  # processes at one moment
REVIEW_LIMIT: Final = timedelta(minutes=30)
PICTURE: Final = {"width": 240, "height": 340}
FILES_FOLDER: Final = "files"
_KINDS: Final = {ScanFormat.PDF: "pdf", ScanFormat.TIFF: "tiff", ScanFormat.JPEG: "jpeg"}


@dataclass(frozen=True, slots=True)
class ScanFile:
    """A file to send: where its octets are for as long as the job begins, and its name."""

    path: Path
    name: str


class ScanWork:
    """What is done in the background for all scans."""

    def __init__(self, store: Store, outgoing: Outgoing, clock: Clock) -> None:
        self._store = store
        self._outgoing = outgoing
        self._clock = clock
        self._workers = asyncio.Semaphore(WORKERS)
        self._scanners: dict[str, asyncio.Lock] = {}

    async def turn(self, folder: Path, page: ScanPage, degrees: int) -> ScanPage:
        """Turn a page clockwise."""
        async with self._workers, PaperWorker() as worker:
            made = await _asked(worker, "turn", path=str(page_path(folder, page)), degrees=degrees)
            turned = replace(page, width=made["width"], height=made["height"], octets=made["octets"])
            await self._make_picture(worker, folder, turned)
        return replace(turned, turned=(page.turned + degrees) % 360)

    async def send(self, run: JobRun, request: ScanRequest, found: PageList) -> None:
        """Make documents of pages and queue them."""
        async with self._workers, PaperWorker() as worker:
            await self._send(run, request, found, worker)

    async def prepare(self, run: JobRun, request: ScanRequest, files: Sequence[ScanFile]) -> None:
        """Take the pages; send them, or wait for somebody to look at them."""
        async with self._workers, PaperWorker() as worker:
            choices = request.choices
            found = PageList(asked=asked_again(request))
            if len(files) == 1:
                found = await self._original(run, request, files[0], worker, found)
            if choices.review or not found.original:
                found = await self._take_pages(run, request, files, worker, found)
            if not choices.review:
                await self._send(run, request, found, worker)
                return
            if not found.pages:
                raise JobStopped("scan_empty")
        now = self._clock.now()
        await run.apply(Waits(now, Awaited.PERSON, now + REVIEW_LIMIT))

    async def _original(
        self, run: JobRun, request: ScanRequest, file: ScanFile, worker: PaperWorker, found: PageList
    ) -> PageList:
        """Note a file that may be sent as it is, and show its first page."""
        counted = await _asked(worker, "count", path=str(file.path))
        await run.progress(0, counted["pages"])
        await _asked(worker, "picture", path=str(file.path), out=str(run.picture))
        fits = (await asyncio.to_thread(file.path.stat)).st_size <= self._room(request)
        plain = request.choices.colour is Colour.COLOUR and not request.choices.drop_blank
        if plain and fits and _KINDS.get(request.choices.format) == counted["kind"]:
            await run.progress(counted["pages"], counted["pages"])
            return replace(found, original=str(file.path), kind=counted["kind"])
        return found

    async def _take_pages(
        self, run: JobRun, request: ScanRequest, files: Sequence[ScanFile], worker: PaperWorker, found: PageList
    ) -> PageList:
        folder = run.directory / FOLDER
        await asyncio.to_thread(folder.mkdir, exist_ok=True)
        pages: list[ScanPage] = []
        sources = self._of_files(run, request, files, worker) if files else self._of_scanner(run, request, worker)
        async with contextlib.aclosing(sources) as made:
            async for page in made:
                number = len(pages) + 1
                if request.choices.drop_blank and page["ink"] < BLANK_INK:
                    await run.note(
                        JobWord.BLANK_DROPPED, str(Path(page["file"]).stem.removeprefix("page-").lstrip("0"))
                    )
                    await asyncio.to_thread(Path(page["file"]).unlink)
                    continue
                pages.append(
                    ScanPage(
                        int(Path(page["file"]).stem.removeprefix("page-")),
                        Path(page["file"]).name,
                        page["width"],
                        page["height"],
                        page["octets"],
                    )
                )
                if number == 1:
                    await _asked(worker, "picture", path=page["file"], out=str(run.picture))
                if request.choices.review:
                    await self._make_picture(worker, run.directory, pages[-1])
                    found = replace(found, pages=tuple(pages))
                    await asyncio.to_thread(write_list, run.directory, found)
        return replace(found, pages=tuple(pages))

    async def _of_files(
        self, run: JobRun, request: ScanRequest, files: Sequence[ScanFile], worker: PaperWorker
    ) -> AsyncGenerator[dict[str, Any], None]:
        choices, first = request.choices, 1
        for file in files:
            made = await _asked(
                worker,
                "take",
                run,
                path=str(file.path),
                folder=str(run.directory / FOLDER),
                first=first,
                colour=choices.colour.value,
                dpi=choices.resolution,
                limit=PAGES_LIMIT - first + 1,
            )
            first += len(made["pages"])
            for page in made["pages"]:
                yield page

    async def _of_scanner(
        self, run: JobRun, request: ScanRequest, worker: PaperWorker
    ) -> AsyncGenerator[dict[str, Any], None]:
        choices = request.choices
        device = choices.scanner
        if not device:
            found = await _said(list_scanners())
            if not found:
                raise JobStopped("scanner_missing")
            device = found[0].name
        source = choices.source.value if not choices.duplex or choices.source is PaperSource.GLASS else "feeder"
        options = ScanOptions(choices.colour.value, choices.resolution, source, choices.duplex)
        raw = run.directory / "raw"
        await asyncio.to_thread(raw.mkdir, exist_ok=True)
        lock = self._scanners.setdefault(device, asyncio.Lock())
        if lock.locked():
            raise JobStopped("scanner_busy")
        number = 0
        async with lock, contextlib.aclosing(scan(device, options, raw, limit=PAGES_LIMIT)) as pages:
            try:
                async for path, dpi in pages:
                    number += 1
                    made = await _asked(
                        worker,
                        "take",
                        path=str(path),
                        folder=str(run.directory / FOLDER),
                        first=number,
                        colour=choices.colour.value,
                        own_dpi=dpi,
                    )
                    await asyncio.to_thread(path.unlink)
                    yield made["pages"][0]
                    await run.progress(number)
            except PaperProblem as problem:
                raise JobStopped(problem.reason, problem.words) from None

    async def _make_picture(self, worker: PaperWorker, folder: Path, page: ScanPage) -> None:
        out = picture_path(folder, page)
        await _asked(worker, "picture", path=str(page_path(folder, page)), out=str(out), **PICTURE)

    # --- documents and messages -------------------------------------------------------------------------------------------

    def _room(self, request: ScanRequest) -> int:
        """Return how many octets a single file may have."""
        limit = request.choices.size_limit_mb * MEGABYTE
        return int((limit - message_octets([])) * 57 / 78)

    async def _send(self, run: JobRun, request: ScanRequest, found: PageList, worker: PaperWorker) -> None:
        at = self._clock.now()
        preferences = await self._store.load_preferences()
        zone = zone_of(preferences)
        values = template_values(at.astimezone(zone), run.id, preferences.name, run.job.card.who)
        name = fill_template(request.choices.file_name, values)
        if found.original:
            suffix = MEDIA_TYPES[request.choices.format][1]
            own = Path(found.original).name
            parts = [
                [
                    File(
                        Path(found.original),
                        safe_file_name(Path(own).stem, suffix),
                        MEDIA_TYPES[request.choices.format][0],
                    )
                ]
            ]
        else:
            parts = await self._documents(run, request, found, worker, name)
        subject = fill_template(request.choices.subject, values)
        mails = [
            OutgoingMail(
                request.to,
                subject[:240] + (f" ({part}/{len(parts)})" if len(parts) > 1 else ""),
                _text(request),
                tuple(files),
                bcc=tuple(a for a in request.choices.bcc if a not in request.to),
                message_id=mail_name(run.job) + str(part),
            )
            for part, files in enumerate(parts, 1)
        ]
        await asyncio.to_thread(write_mails, run.directory, mails)
        await self.queue(run, mails)

    async def queue(self, run: JobRun, mails: Sequence[OutgoingMail], *, again: bool = False) -> None:
        """Put all messages of a scan into the queue; of one that is taken up ``again`` those that are not there."""
        there = await self._outgoing.find(mail_name(run.job), PAGES_LIMIT) if again else []
        known = {queued.message_id.partition("@")[0]: queued.id for queued in there}
        numbers: list[int] = []
        for mail in mails:
            if await run.is_cancelled():
                break
            numbers.append(known.get(mail.message_id) or (await self._outgoing.queue(mail)).id)
        await run.hand_on(numbers)

    async def queued(self, job: StoredJob) -> list[int]:
        """Return the numbers of a scan's messages in the queue."""
        return [queued.id for queued in await self._outgoing.find(mail_name(job), PAGES_LIMIT)]

    async def _documents(
        self, run: JobRun, request: ScanRequest, found: PageList, worker: PaperWorker, name: str
    ) -> list[list[File]]:
        """Make the documents of each message."""
        pages = [(str(page_path(run.directory, page)), page.octets) for page in found.pages]
        if not pages:
            raise JobStopped("scan_empty")
        pages, runs = await self._fit(run, request, pages, worker)
        if len(runs) > 1:
            await run.note(JobWord.SPLIT, str(len(runs)))
        documents = []
        for number, pages_of in enumerate(runs, 1):
            numbered = f"{name}-{number}" if len(runs) > 1 else name
            documents.append(await self._document(run, request, [pages[p][0] for p in pages_of], worker, numbered))
        await run.progress(len(pages), len(pages))
        return documents

    async def _fit(
        self, run: JobRun, request: ScanRequest, pages: list[tuple[str, int]], worker: PaperWorker
    ) -> tuple[list[tuple[str, int]], list[range]]:
        """Return pages, and which go into each message, so that all fit the limit as chosen."""
        limit = request.choices.size_limit_mb * MEGABYTE
        whole = [range(len(pages))]
        if message_octets([octets for _page, octets in pages]) <= limit:
            return pages, whole
        if request.choices.size_choice is SizeChoice.SPLIT:
            runs = split_pages([octets for _page, octets in pages], limit)
            if runs is None:
                raise JobStopped("scan_too_large")
            return pages, runs
        if request.choices.size_choice is SizeChoice.REFUSE:
            size = message_octets([octets for _page, octets in pages]) / MEGABYTE
            raise JobStopped("scan_too_large", f"{size:.1f} MB > {request.choices.size_limit_mb} MB")
        for scale, quality in SHRINK_STEPS:
            folder = str(run.directory / FOLDER)
            names = [page for page, _octets in pages]
            made = await _asked(worker, "shrink", run, pages=names, folder=folder, scale=scale, quality=quality)
            smaller = [(page["file"], page["octets"]) for page in made["pages"]]
            if message_octets([octets for _page, octets in smaller]) <= limit:
                await run.note(JobWord.SHRUNK, f"{scale:.0%}, JPEG {quality}")
                return smaller, whole
        raise JobStopped("scan_too_large")

    async def _document(
        self, run: JobRun, request: ScanRequest, pages: list[str], worker: PaperWorker, name: str
    ) -> list[File]:
        choices = request.choices
        media_type, suffix = MEDIA_TYPES[choices.format]
        files = []
        if choices.format is ScanFormat.JPEG:
            for number, page in enumerate(pages, 1):
                own = safe_file_name(f"{name}-{number:03}" if len(pages) > 1 else name, suffix)
                out = run.directory / own
                await _asked(worker, "jpeg", page=page, out=str(out))
                files.append(File(out, own, media_type))
            return files
        own = safe_file_name(name, suffix)
        out = run.directory / own
        await _asked(
            worker,
            "assemble",
            run
            if choices.format is ScanFormat.PDF_SEARCHABLE
            else None,  # all others take no time that anybody would see
            pages=pages,
            out=str(out),
            kind=choices.format.value,
            title=name,
            at=self._clock.now().isoformat(timespec="seconds"),
            language=choices.ocr_language,
        )
        return [File(out, own, media_type)]


def mail_name(job: StoredJob) -> str:
    """Return what the Message-IDs of a scan begin with; the number of the part follows."""
    return f"valija-scan.{job.id}.{job.card.detail('token')}."


def asked_again(request: ScanRequest) -> dict[str, Any]:
    """Return a request as it can be asked for once more."""
    choices = {name: getattr(request.choices, name) for name in CHOICES}
    return {"to": list(request.to)} | {k: getattr(v, "value", v) for k, v in choices.items()}


def _text(request: ScanRequest) -> str:
    parts = [part.strip("\n") for part in (request.choices.text, request.choices.signature)]
    return "\n\n-- \n".join(parts) if all(parts) else "".join(parts)


def take_over(folder: Path, files: Sequence[ScanFile]) -> list[ScanFile]:
    """Copy files into the job's folder, under names that are safe; nothing of what they are called is a path."""
    taken = []
    for number, file in enumerate(files, 1):
        inside = folder / FILES_FOLDER / str(number)
        inside.mkdir(parents=True, exist_ok=True)
        path = inside / safe_file_name(Path(file.name).name, "", f"file-{number}")
        shutil.copyfile(file.path, path)
        taken.append(ScanFile(path, file.name))
    return taken


async def _asked(worker: PaperWorker, operation: str, run: JobRun | None = None, /, **arguments: Any) -> dict[str, Any]:
    """Ask the worker; what it says no to ends the job."""
    try:
        return await worker.call(operation, run.progress if run else None, **arguments)
    except PaperProblem as problem:
        raise JobStopped(problem.reason, problem.words) from None


async def _said(found: Any) -> Any:
    try:
        return await found
    except PaperProblem as problem:
        raise JobStopped(problem.reason, problem.words) from None
