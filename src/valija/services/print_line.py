"""The line before the printer: jobs are handed over in order, followed to their end, and taken back; nothing is printed twice.

Theory of operation
-------------------
1. A job that waits for the printer has its order in a file (:mod:`valija.services.print_order`) and its document in ``kept/``.
   One job at a time is handed over, the oldest first; those that the printer has are followed side by side.
2. A printer that is off, paused, or refuses for now keeps the line waiting: it is tried again after a while that grows to
   minutes, not at the same moment as by others. What the printer says is a line in the history whenever it changes. A job
   waits so long as the setting says, then it has failed. What it says of one job, and a job whose files are gone, end that job
   alone; so does a document over which the printer breaks again and again while it takes another one.
3. Before a document goes out, the order says so (``begun``). Who finds such an order without the printer's number, after a
   crash or a connection that was lost, looks for the job by its name before anything is sent again. A printer that cannot tell
   its jobs gets nothing twice: the job fails, and says that it may have been printed. So it does when the printer was handed
   it ``DOUBTS_LIMIT`` times without an answer to be understood, and does not know it: it may print it each time.
4. Printed is what the printer says is completed. Where it has forgotten a job that was seen at work, that is taken for it.
5. What is cancelled is taken back from the printer, too (:mod:`valija.services.print_taking_back`).
6. A folder as target gets the document under a name that has the job's number: so once, however often it is tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from valija.domain.clock import Clock
from valija.domain.errors import ValijaError
from valija.domain.job import Awaited, Awaiting, Finished, JobEvent, JobKind, JobStateName, JobWord, Noted, TroubleCame
from valija.domain.print_job import PrintSettings
from valija.domain.printer import PrinterStateName, PrinterTarget, Severity, TargetKind, parse_target
from valija.domain.scan import safe_file_name
from valija.domain.stumbles import Stumbles
from valija.domain.trouble import Trouble
from valija.net.errors import NetError
from valija.net.ipp import Ipp, IppRefused, JobAtPrinter
from valija.services.durable import copy_durably
from valija.services.events import EventBus, SettingsChanged
from valija.services.job_run import KEPT, words_of
from valija.services.jobs import JobDesk
from valija.services.print_order import DOCUMENT, PrintOrder, read_order, write_order
from valija.services.print_settings import SUBJECT
from valija.services.print_taking_back import TakingBack
from valija.services.printer_watch import PrinterWatch
from valija.store.jobs_port import StoredJob
from valija.store.port import Store

log: Final = logging.getLogger(__name__)
FIRST_RETRY_S: Final = 5.0
LAST_RETRY_S: Final = 300.0
FIRST_LOOK_S: Final = 0.5
LAST_LOOK_S: Final = 10.0
IDLE_S: Final = 600.0
JOBS_LIMIT: Final = 5_000
DOUBTS_LIMIT: Final = 3
_CANCELLED, _ABORTED, _COMPLETED = 7, 8, 9
_WORKING: Final = (5, 6)
_NEVER_SENT: Final = frozenset({"connection_refused", "name_not_found"})
_BROKE: Final = 0x0500  # server-error-internal-error
_NOT_SUPPORTED: Final = 0x0501  # server-error-operation-not-supported
_FOR_ALL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
Ended = Callable[[PrintOrder, Trouble | None], Awaitable[None]]


class PrintLine:
    """The line. Run :meth:`run` as a task; ``ended`` is told of each job that has come to its end at the printer."""

    def __init__(
        self, store: Store, jobs: JobDesk, ipp: Ipp, clock: Clock, events: EventBus, chance: random.Random
    ) -> None:
        self.ipp = ipp
        self.watch = PrinterWatch(ipp, clock, events)
        self.ended: Ended | None = None
        self._store = store
        self._jobs = jobs
        self._clock = clock
        self._events = events
        self._chance = chance
        self._orders: dict[int, PrintOrder] = {}
        self._look_at: dict[int, tuple[float, float]] = {}  # when next, and how long after that
        self._said: dict[int, str] = {}
        self._taking_back = TakingBack(ipp, clock, self._printer_says)
        self._stumbles = Stumbles()
        self._tries = 0
        self._retry_at = float("-inf")
        self._handing: tuple[int, asyncio.Task[None]] | None = None
        self._wake = asyncio.Event()
        jobs.overdue[JobKind.PRINT] = self._too_late
        jobs.cancelled[JobKind.PRINT] = self._was_cancelled

    def add(self, number: int, order: PrintOrder) -> None:
        """Take a job that waits for the printer; its order is written already."""
        self._orders[number] = order
        self._wake.set()

    async def start(self) -> None:
        """Take up what waited when the last process ended."""
        jobs = await self._store.jobs.list_jobs(kind=JobKind.PRINT, state=JobStateName.AWAITING, limit=JOBS_LIMIT)
        for job in jobs:
            order = await asyncio.to_thread(read_order, self._jobs.folder(job.id))
            if order is not None:  # else it is another node's
                self._orders[job.id] = order

    async def run(self) -> None:
        """Serve the line, for ever."""
        listener = asyncio.create_task(self._listen())
        try:
            while True:
                self._wake.clear()
                try:
                    pause = await self.turn()
                except (ValijaError, OSError) as error:
                    log.warning("prints_wait", extra={"fields": {"why": str(error)}})
                    pause = LAST_LOOK_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
        finally:
            listener.cancel()
            if self._handing:
                self._handing[1].cancel()

    async def _listen(self) -> None:
        async with self._events.subscribe() as queue:
            while True:
                event = await queue.get()
                if isinstance(event, SettingsChanged) and event.subject == SUBJECT:
                    self._tries, self._retry_at = 0, float("-inf")
                    self._wake.set()

    async def turn(self) -> float:
        """Do what is due now; return for how many seconds there is nothing more to do."""
        await self._taking_back.turn()
        for number in sorted(self._orders, key=lambda number: (self._stumbles.goes_last(number), number)):
            order = self._orders.get(number)
            if order is None or not self._is_due(number, order):
                continue
            try:
                await self._serve(number, order)
            except OSError as error:
                await self._broken(number, order, error)
        return self._pause()

    async def _serve(self, number: int, order: PrintOrder) -> None:
        if not await self._still_waits(number):
            self._drop(number)
        elif order.at_printer:
            await self._follow(number, order)
        else:
            await self._hand_over(number, order)

    async def _broken(self, number: int, order: PrintOrder, error: OSError) -> None:
        """Go on without a job's files: a full disk is for all to wait for, anything else is this job's end."""
        words = words_of(error)
        log.warning("print_without_its_file", extra={"fields": {"job": number, "why": words}})
        if self._orders.get(number, order).at_printer:  # the printer has all of it
            return
        if error.errno in _FOR_ALL:
            await self._wait(number, "disk_full", words)
        else:
            await self._fail(number, "job_file", words)

    def _is_due(self, number: int, order: PrintOrder) -> bool:
        at = self._look_at.get(number, (0.0, 0.0))[0] if order.at_printer else self._retry_at
        return at <= self._clock.monotonic()

    def _pause(self) -> float:
        now = self._clock.monotonic()
        due = [at for number, (at, _step) in self._look_at.items() if number in self._orders]
        due += self._taking_back.due()
        due += [self._retry_at] if any(not order.at_printer for order in self._orders.values()) else []
        return min(max(min(due, default=now + IDLE_S) - now, 0.05), IDLE_S)

    async def _still_waits(self, number: int) -> bool:
        job = await self._store.jobs.load(number)
        return job is not None and isinstance(job.state, Awaiting) and job.state.what is Awaited.PRINTER

    def _drop(self, number: int) -> None:
        for known in (self._orders, self._look_at, self._said):
            known.pop(number, None)
        self.watch.doubt()
        self._stumbles.forget(number)

    async def _keep(self, number: int, order: PrintOrder) -> None:
        await asyncio.to_thread(write_order, self._jobs.folder(number), order)
        if number in self._orders:
            self._orders[number] = order

    # --- handed over ------------------------------------------------------------------------------------------------------

    async def _hand_over(self, number: int, order: PrintOrder) -> None:
        """Hand a job over in a task of its own, which cancelling the job ends."""
        task = asyncio.create_task(self._try(number, order))
        self._handing = number, task
        try:
            await asyncio.wait([task])
        finally:
            if not task.done():
                task.cancel()
            self._handing = None
        if not task.cancelled():
            task.result()

    async def _try(self, number: int, order: PrintOrder) -> None:
        settings = await self._store.load_print()
        target = (parse_target(order.target) if order.begun else None) or settings.printer
        if target.kind is TargetKind.NONE:
            await self._wait(number, "print_no_printer", "")
            return
        try:
            if target.kind is TargetKind.FOLDER:
                await self._file(number, order, target, settings)
            else:
                await self._send(number, order, target)
        except NetError as error:
            await self._wait(number, error.reason, error.words)
        except IppRefused as refused:
            words = refused.words or f"{refused.status:#06x}"
            if refused.status == _BROKE and self._stumbles.stumbled(number):
                await self._fail(number, "print_not_taken", words)
            else:
                await self._wait(number, "printer_refused", words)
        else:
            self._tries, self._retry_at = 0, float("-inf")

    async def _send(self, number: int, order: PrintOrder, target: PrinterTarget) -> None:
        found = await self._found(number, order, target) if order.begun else None
        if number not in self._orders:
            return
        if found is None:
            if order.doubts >= DOUBTS_LIMIT:
                await self._fail(number, "print_unsure")
                return
            if not await self.ipp.takes_pdf(target):
                await self._fail(number, "print_no_pdf")
                return
            order = replace(order, target=target.where, begun=True, doubts=order.doubts + 1)
            await self._keep(number, order)
            try:
                found = await self._print(number, order, target)
            except IppRefused as refused:
                if not refused.is_final:
                    raise
                await self._fail(number, "print_not_taken", refused.words or f"{refused.status:#06x}")
                return
        self._stumbles.taken(number)
        order = replace(order, at_printer=found.id)
        if number in self._orders:  # the printer has it, whatever becomes of the file
            self._orders[number] = order
        await self._keep(number, order)
        self._look_at[number] = (self._clock.monotonic() + FIRST_LOOK_S, FIRST_LOOK_S)
        await self._note(number, JobWord.AT_PRINTER, f"{target.where} ({found.id})")
        if found.left_out:
            await self._note(number, JobWord.LEFT_OUT, ", ".join(found.left_out))

    async def _print(self, number: int, order: PrintOrder, target: PrinterTarget) -> JobAtPrinter:
        try:
            return await self.ipp.print_file(target, order.ticket, self._jobs.folder(number) / KEPT / DOCUMENT)
        except (NetError, IppRefused) as error:
            if isinstance(error, IppRefused) or error.reason in _NEVER_SENT:  # it is surely not there
                await self._keep(number, replace(order, begun=False, doubts=order.doubts - 1))
            raise

    async def _found(self, number: int, order: PrintOrder, target: PrinterTarget) -> JobAtPrinter | None:
        """Look whether the printer has the job already."""
        try:
            return await self.ipp.find(target, order.name)
        except IppRefused as refused:
            if refused.status == _NOT_SUPPORTED or refused.is_final:  # or it does not understand the question
                await self._fail(number, "print_unsure")
                return None
            raise

    async def _file(self, number: int, order: PrintOrder, target: PrinterTarget, settings: PrintSettings) -> None:
        job = await self._jobs.job(number)
        name = f"{job.card.created_at:%Y%m%d}-{number:06}-{safe_file_name(order.title, '', 'print')[:80]}.pdf"
        source = self._jobs.folder(number) / KEPT / DOCUMENT
        await asyncio.to_thread(source.stat)  # what is wrong with the job is not wrong with the folder
        try:
            await asyncio.to_thread(copy_durably, source, Path(target.where) / name)
        except OSError as error:
            await self._wait(number, "print_folder", error.strerror or str(error))
            return
        await self._note(number, JobWord.FILED, name)
        await self._finish(number, order)

    async def _wait(self, number: int, reason: str, words: str) -> None:
        """Let the whole line wait, longer each time, and say why."""
        pause = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(self._tries, 10))
        self._tries += 1
        self._retry_at = self._clock.monotonic() + pause * self._chance.uniform(0.8, 1.2)
        await self._say(number, f"{reason} {words}".strip())

    # --- followed ---------------------------------------------------------------------------------------------------------

    async def _follow(self, number: int, order: PrintOrder) -> None:
        target = parse_target(order.target) or PrinterTarget()
        _at, step = self._look_at.get(number, (0.0, FIRST_LOOK_S))
        step = min(step * 2, LAST_LOOK_S)
        self._look_at[number] = (self._clock.monotonic() + step, step)
        try:
            job = await self.ipp.job(target, order.at_printer)
        except NetError as error:
            await self._say(number, f"{error.reason} {error.words}".strip())
        except IppRefused as refused:
            await self._say(number, f"printer_refused {refused.words}".strip())
        else:
            await self._at(number, order, target, job)

    async def _at(self, number: int, order: PrintOrder, target: PrinterTarget, job: JobAtPrinter | None) -> None:
        if job is None:
            await (self._finish(number, order) if order.seen else self._fail(number, "print_lost"))
        elif job.state == _COMPLETED:
            await self._finish(number, order)
        elif job.state == _CANCELLED:
            await self._fail(number, "print_cancelled_there", job.words)
        elif job.state == _ABORTED:
            await self._fail(number, "print_aborted", job.words or ", ".join(job.reasons))
        else:
            if job.state in _WORKING and not order.seen:
                await self._keep(number, replace(order, seen=True))
            await self._ask_printer(number, target)

    async def _ask_printer(self, number: int, target: PrinterTarget) -> None:
        """Say what stops the printer, if something does."""
        state = await self.ipp.printer_state(target)
        self.watch.saw(target, state)
        stops = [reason.keyword for reason in state.reasons if reason.severity is Severity.ERROR]
        if not stops and state.state is PrinterStateName.STOPPED:
            stops = ["paused"]
        if stops:
            await self._say(number, " ".join(sorted(stops)))
        else:
            self._said.pop(number, None)

    # --- ended ------------------------------------------------------------------------------------------------------------

    async def _finish(self, number: int, order: PrintOrder) -> None:
        if number not in self._orders:  # cancelled meanwhile
            return
        await self._note(number, JobWord.PRINTED, order.target or order.title)
        await self._end(number, order, Finished(self._clock.now()), None)

    async def _fail(self, number: int, reason: str, words: str = "") -> None:
        order = self._orders.get(number)
        if order is None:
            return
        trouble = self._jobs.troubles.of_reason(reason, words)
        await self._end(number, order, TroubleCame(trouble.at, trouble), trouble)

    async def _end(self, number: int, order: PrintOrder, event: JobEvent, trouble: Trouble | None) -> None:
        """End a job. It is in the line until that is stored: else what was printed would be said to be late one day."""
        await self._jobs.apply(number, event)
        self._drop(number)
        await self._tell(order, trouble)

    async def _tell(self, order: PrintOrder, trouble: Trouble | None) -> None:
        if self.ended is not None:
            await self.ended(order, trouble)

    async def _too_late(self, job: StoredJob) -> JobEvent | None:
        order = self._orders.get(job.id)
        trouble = self._jobs.troubles.of_reason("print_too_late")
        if order is not None:
            await self._was_cancelled(job)
            await self._tell(order, trouble)
        return TroubleCame(trouble.at, trouble)

    async def _was_cancelled(self, job: StoredJob) -> None:
        """Take a job out of the line; if the printer may have it, back from there."""
        order = self._orders.get(job.id)
        self._drop(job.id)
        if self._handing is not None and self._handing[0] == job.id:
            self._handing[1].cancel()
        if order is not None and order.begun:
            self._taking_back.add(job.id, order)
            self._wake.set()

    # --- history ----------------------------------------------------------------------------------------------------------

    async def _say(self, number: int, what: str) -> None:
        """Write what the printer says, if it is something new."""
        if self._said.get(number) != what:
            self._said[number] = what
            await self._printer_says(number, what[:200])

    async def _printer_says(self, number: int, what: str) -> None:
        await self._note(number, JobWord.PRINTER_SAYS, what)

    async def _note(self, number: int, word: JobWord, about: str) -> None:
        self.watch.doubt()
        await self._jobs.apply(number, Noted(self._clock.now(), word.value, about))
