"""Scan to e-mail: pages from a scanner or from files, looked at if somebody wants to, made into documents, put into the queue.

Theory of operation
-------------------
1. A scan is a job (:mod:`valija.services.jobs`). Its pages are files in the job's folder, each made as the scanner gives it, in
   the worker's process; the daemon holds none of their octets.
2. With ``review`` the job then waits for a person, who may turn, move and delete pages and says Send; else it goes on.
3. A file that is already what is asked for, and fits, is sent as it is.
4. What is larger than the limit is made smaller, divided at page boundaries into numbered messages, or refused. All
   documents are there before the first message is queued.
   Messages are written down before that one is: a process that ends in between is gone on after, and each is queued once.
5. What people do with the pages of one scan is done one after the other, and only one of them sends it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from valija.domain.account import Actor
from valija.domain.clock import Clock
from valija.domain.errors import NotReady, RequestError, UnknownName
from valija.domain.job import Awaited, Awaiting, JobEvent, JobKind, Preparing, Resumed, TroubleCame
from valija.domain.scan import SUBJECT, ScanRequest, fill_template, parse_scan_request, template_values
from valija.domain.text import N_, message
from valija.paper.process import PaperProblem
from valija.paper.scanner import Scanner, list_scanners
from valija.services.address_book import AddressBook
from valija.services.job_run import JobRun, JobStopped, card_of
from valija.services.jobs import JobDesk
from valija.services.mail_taking import Say
from valija.services.outgoing import Outgoing
from valija.services.preferences import zone_of
from valija.services.scan_mails import read_mails
from valija.services.scan_pages import PageList, picture_path, read_list, write_list
from valija.services.scan_settings import ScanSettingsDesk
from valija.services.scan_work import ScanFile, ScanWork, take_over
from valija.store.jobs_port import StoredJob
from valija.store.port import Store


class ScanDesk:
    """All scans."""

    def __init__(
        self,
        store: Store,
        settings: ScanSettingsDesk,
        contacts: AddressBook,
        jobs: JobDesk,
        outgoing: Outgoing,
        clock: Clock,
        say: Say,
    ) -> None:
        self.settings = settings
        self.contacts = contacts
        self._store = store
        self._jobs = jobs
        self._clock = clock
        self._say = say
        self._work = ScanWork(store, outgoing, clock)
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        jobs.overdue[JobKind.SCAN] = self._nobody_looked
        jobs.interrupted[JobKind.SCAN] = self._take_up
        jobs.queued[JobKind.SCAN] = self._work.queued

    # --- what people do ---------------------------------------------------------------------------------------------------

    async def scanners(self) -> list[Scanner]:
        """Return the scanners that there are. Raises :class:`NotReady`."""
        try:
            return await list_scanners()
        except PaperProblem as problem:
            raise self._explained(problem.reason) from None

    def _explained(self, reason: str) -> NotReady:
        meaning = self._jobs.troubles.explainer.explain(reason)
        return NotReady(message(meaning.meaning), message(meaning.cure))

    async def begin(
        self, asked: Mapping[str, Any], actor: Actor, files: Sequence[ScanFile] = (), *, where: str = ""
    ) -> StoredJob:
        """Begin a scan: from the scanner, or of ``files``, which are taken over before this returns.

        ``asked``: ``to`` (addresses and names of contacts) and choices. Raises :class:`InvalidFields`, store errors.
        """
        request = await self._request(asked)
        now = self._clock.now()
        preferences = await self._store.load_preferences()
        values = template_values(now.astimezone(zone_of(preferences)), 0, preferences.name, actor.who)
        title = files[0].name if files else fill_template(request.choices.subject, values)
        choices = request.choices
        details = {
            "format": choices.format.value,
            "colour": choices.colour.value,
            "resolution": str(choices.resolution),
            "token": secrets.token_hex(8),
        }
        if where:
            actor = replace(actor, where=where)
        card = card_of(JobKind.SCAN, title, actor, now, request.to, details)
        arrived = asyncio.get_running_loop().create_future()

        async def work(run: JobRun) -> None:
            taken = await asyncio.to_thread(take_over, run.directory, files)
            if not arrived.done():
                arrived.set_result(None)
            await self._work.prepare(run, request, taken)

        job = await self._jobs.begin(card, work)
        if files:
            waiting = asyncio.create_task(self._jobs.wait(job.id))
            await asyncio.wait([arrived, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        return job

    async def usual_recipients(self) -> tuple[str, ...]:
        """Return whom one key sends to: those of the last scan, else the first favourite; empty if there is neither."""
        jobs = await self._store.jobs.list_jobs(kind=JobKind.SCAN, state=None, limit=20)
        last = next((job.card.recipients for job in jobs if job.card.where in ("panel", "web")), ())
        if last:
            return last
        favourite = next((c for c in await self.contacts.all() if c.favourite), None)
        return favourite.addresses if favourite else ()

    async def pages(self, number: int) -> tuple[StoredJob, PageList]:
        """Return a scan and its pages, as far as they are there. Raises :class:`UnknownName`."""
        job = await self._jobs.job(number)
        if job.card.kind is not JobKind.SCAN:
            raise UnknownName(message(N_("Job {number} is no scan."), number=number))
        return job, await asyncio.to_thread(read_list, self._jobs.folder(number))

    async def picture(self, number: int, page: int) -> Path:
        """Return the small picture of a page, by its number as it came. Raises :class:`UnknownName`."""
        _job, found = await self.pages(number)
        path = next((picture_path(self._jobs.folder(number), p) for p in found.pages if p.number == page), None)
        if path is None or not await asyncio.to_thread(path.is_file):
            raise UnknownName(message(N_("Job {number} has no page {page}."), number=number, page=page))
        return path

    async def change_pages(self, number: int, order: Sequence[int], turns: Mapping[int, int] | None = None) -> PageList:
        """Put pages into an order, by their numbers; those not named are deleted. ``turns``: degrees clockwise by number.

        Raises :class:`UnknownName`, :class:`RequestError` if the job does not wait for it, or a number is not there,
        :class:`NotReady` if a page cannot be turned.
        """
        async with self._turn(number):
            return await self._change_pages(number, order, turns or {})

    def _turn(self, number: int) -> asyncio.Lock:
        return self._turns.setdefault(number, asyncio.Lock())

    async def _change_pages(self, number: int, order: Sequence[int], turns: Mapping[int, int]) -> PageList:
        job, found = await self.pages(number)
        self._check_waits(job)
        by_number = {page.number: page for page in found.pages}
        if len(set(order)) != len(order) or not set(order) <= by_number.keys():
            raise RequestError(message(N_("The order names a page that is not there, or one twice.")))
        folder = self._jobs.folder(number)
        for wanted, degrees in turns.items():
            if wanted not in by_number or degrees not in (90, 180, 270):
                raise RequestError(message(N_("Pages are turned by 90, 180 or 270 degrees.")))
            try:
                by_number[wanted] = await self._work.turn(folder, by_number[wanted], degrees)
            except JobStopped as stopped:
                raise self._explained(stopped.reason) from None
        changed = found.with_pages([by_number[n] for n in order])
        await asyncio.to_thread(write_list, folder, changed)
        self._jobs.tell(job)
        return changed

    async def send(self, number: int) -> StoredJob:
        """Send the pages that were looked at. Raises :class:`UnknownName`, :class:`RequestError` if it does not wait."""
        async with self._turn(number):
            job, found = await self.pages(number)
            self._check_waits(job)
            request = await self._request(found.asked or {})

            async def work(run: JobRun) -> None:
                await self._work.send(run, request, found)

            now = self._clock.now()
            changed = await self._jobs.apply(number, Resumed(now))
            if changed is None or changed.state != Preparing(now):  # somebody else has sent it meanwhile, or ended it
                raise _not_waiting(number)
            await self._jobs.go_on(changed, work)
            return changed

    def _check_waits(self, job: StoredJob) -> None:
        if not (isinstance(job.state, Awaiting) and job.state.what is Awaited.PERSON):
            raise _not_waiting(job.id)

    async def _request(self, asked: Mapping[str, Any]) -> ScanRequest:
        to = asked.get("to")
        if isinstance(to, str):
            to = [part for part in to.replace(";", ",").split(",") if part.strip()]
        if isinstance(to, list | tuple) and all(isinstance(address, str) for address in to):
            asked = {**asked, "to": await self.contacts.addresses(to)}
        request = parse_scan_request(await self.settings.load(), asked)
        if request.choices.subject:
            return request
        subject = self._say(SUBJECT, (await self._store.load_preferences()).language)
        return replace(request, choices=replace(request.choices, subject=subject))

    async def _take_up(self, job: StoredJob) -> bool:
        """Go on with a scan whose messages were being queued when the process ended."""
        mails = await asyncio.to_thread(read_mails, self._jobs.folder(job.id))
        if not mails:
            return False

        async def work(run: JobRun) -> None:
            await self._work.queue(run, mails, again=True)

        await self._jobs.go_on(job, work)
        return True

    async def _nobody_looked(self, job: StoredJob) -> JobEvent:
        trouble = self._jobs.troubles.of_reason("scan_not_looked_at")
        return TroubleCame(trouble.at, trouble)


def _not_waiting(number: int) -> RequestError:
    return RequestError(message(N_("Job {number} does not wait for anybody to look at its pages."), number=number))
