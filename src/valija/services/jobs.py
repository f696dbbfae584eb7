"""The machine's jobs: begun, followed through the mail queue, cancelled, forgotten, whatever their kind.

Theory of operation
-------------------
1. :meth:`JobDesk.begin` stores a job and starts its work, a coroutine that gets a :class:`JobRun`: the job's own folder and
   the words with which it says how far it is and how it ends. A work that raises ends its job as failed; one that returns
   leaves it in the state that it has put it in.
2. A job that is in the mail queue is followed by its messages' states. What it means that all of them have ended is the
   kind's own (``settled``); without that, delivered to all is done, and one failure is a failure.
3. What is waited for ends in time: ``overdue`` of the kind, or else a failure.
4. A work that was under way when the process ended is not there any more: ``interrupted`` of the kind takes the job up again,
   or it fails, which is said. What could not be stored of a work's end is stored when the store is back; a message's job
   (:mod:`valija.services.mail_taking`) is taken up again instead.
   Where several nodes share the store, each job is one node's, by the name in its state directory: that one alone follows
   and ends it. Those of a node that was not seen for ``GONE`` are another one's then; what it was at has failed: its files
   are not here.
5. Of an ended job's folder stays the picture of its first page and what is in ``kept/``; after ``keep_days`` nothing stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from valija.domain.account import Actor
from valija.domain.clock import Clock
from valija.domain.errors import RequestError, StoreFull, UnknownName, ValijaError
from valija.domain.job import (
    Awaiting,
    CancelAsked,
    Cancelled,
    Finished,
    JobCard,
    JobEvent,
    JobKind,
    Preparing,
    Progress,
    Sending,
    TroubleCame,
    is_final,
)
from valija.domain.queue import Delivered, Failed
from valija.domain.record import AuditAction, AuditRecord
from valija.domain.text import N_, message
from valija.domain.trouble import Trouble
from valija.services.events import EventBus, JobChanged, QueueChanged
from valija.services.gateway import Gateway
from valija.services.job_folders import JobFolders
from valija.services.job_run import JobRun, JobStopped, words_of
from valija.services.login import LoginFailed, Troubles
from valija.store.jobs_port import UNREADABLE, StoredJob
from valija.store.port import Store
from valija.store.queue_port import StoredQueued

log: Final = logging.getLogger(__name__)
KEEP_DAYS: Final = 30
TICK_S: Final = 30.0
FORGET_S: Final = 3600.0
FORGET_AT_ONCE: Final = 200
GONE: Final = timedelta(days=1)

Settled = Callable[[StoredJob, list[StoredQueued]], Awaitable[JobEvent | None]]
Overdue = Callable[[StoredJob], Awaitable[JobEvent | None]]
Interrupted = Callable[[StoredJob], Awaitable[bool]]
Work = Callable[[JobRun], Awaitable[None]]


class JobDesk:
    """All jobs. Run :meth:`run` as a task."""

    def __init__(
        self,
        store: Store,
        gateway: Gateway,
        troubles: Troubles,
        clock: Clock,
        events: EventBus,
        state_dir: Path,
        *,
        keep_days: int = KEEP_DAYS,
    ) -> None:
        self.store = store
        self.clock = clock
        self.troubles = troubles
        self.folders = JobFolders(state_dir)
        self.live_progress: dict[int, Progress] = {}
        self.settled: dict[JobKind, Settled] = {}
        self.overdue: dict[JobKind, Overdue] = {}
        self.interrupted: dict[JobKind, Interrupted] = {}
        self.queued: dict[JobKind, Callable[[StoredJob], Awaitable[list[int]]]] = {}  # also what was not handed on yet
        self.cancelled: dict[JobKind, Callable[[StoredJob], Awaitable[None]]] = {}
        self._gateway = gateway
        self._events = events
        self.keep = timedelta(days=keep_days)
        self._running: dict[int, asyncio.Task[None]] = {}
        self._followed: set[int] = set()
        self._unstored: dict[int, JobEvent] = {}  # how works ended while the store was away
        self._node = ""

    # --- what a job's keeper does -----------------------------------------------------------------------------------------

    async def begin(self, card: JobCard, work: Work) -> StoredJob:
        """Store a job and start its work. Raises store errors, OSError."""
        job = await self.store.jobs.add(card, Preparing(card.created_at), await self.node())
        self.tell(job)
        try:
            await self.go_on(job, work)
        except OSError as error:
            if not card.detail("received"):  # what came by mail is taken again, as the same job
                await self._lost_a_file(job.id, error)
            raise
        return job

    async def go_on(self, job: StoredJob, work: Work) -> None:
        """Start work for a job that is there already."""
        directory = await asyncio.to_thread(self.folders.make, job.id)
        self._unstored.pop(job.id, None)
        task = asyncio.create_task(self._do(JobRun(self, job, directory), work), name=f"job {job.id}")
        self._running[job.id] = task
        task.add_done_callback(lambda done: self._forget_task(job.id, done))

    async def apply(self, number: int, event: JobEvent) -> StoredJob | None:
        """Apply an event, whoever saw it; the news is told, and an end tidied up after."""
        known = self.live_progress.get(number)
        if known is not None:
            await self.store.jobs.note_progress(number, known)
        job = await self.store.jobs.apply(number, event)
        if job is None:
            return None
        follows = isinstance(job.state, Sending | Awaiting) and job.node == await self.node()
        (self._followed.add if follows else self._followed.discard)(number)
        if is_final(job.state):
            self.live_progress.pop(number, None)
            await self._tidy(number)
        self.tell(job)
        return job

    async def _tidy(self, number: int) -> None:
        try:
            await asyncio.to_thread(self.folders.tidy, number)
        except OSError as error:  # it goes with the job; whose end this is must hear of that all the same
            log.warning("job_not_tidied", extra={"fields": {"job": number, "why": words_of(error)}})

    def tell(self, job: StoredJob) -> None:
        """Tell whoever listens how a job is."""
        now = self.clock.now()
        self._events.publish(JobChanged(str(job.id), job.state.name.value, job.progress.done, job.progress.of, now))

    def folder(self, number: int) -> Path:
        """Return a job's own folder."""
        return self.folders.of(number)

    async def wait(self, number: int) -> None:
        """Wait until a job's work here has ended."""
        task = self._running.get(number)
        if task is not None:
            await asyncio.wait([task])

    async def stay_with(self, number: int) -> StoredJob | None:
        """Wait so, for who lends the work what it needs; return the job then, None if it is gone. Raises store errors.

        Who is cancelled meanwhile ends the work first: it must not take the end of what it was lent for the job's own.
        """
        task = self._running.get(number)
        if task is not None:
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                task.cancel()
                await asyncio.wait([task])
                raise
        return await self.store.jobs.load(number)

    # --- what people do ---------------------------------------------------------------------------------------------------

    async def job(self, number: int) -> StoredJob:
        """Return a job. Raises :class:`UnknownName`."""
        found = await self.store.jobs.load(number)
        if found is None:
            raise UnknownName(
                message(N_("There is no job {number}."), number=number),
                message(N_("`valija job list` shows those that exist.")),
            )
        return self.present(found)

    def present(self, job: StoredJob) -> StoredJob:
        """Return a job with the progress of this moment."""
        return replace(job, progress=self.live_progress.get(job.id, job.progress))

    async def cancel(self, number: int, actor: Actor) -> StoredJob:
        """End a job, whatever it is at. Raises :class:`UnknownName`, :class:`RequestError` if it has ended."""
        job = await self.job(number)
        if is_final(job.state):
            raise RequestError(message(N_("Job {number} has ended already."), number=number))
        now = self.clock.now()
        await self.store.append_audit(AuditRecord(now, actor, AuditAction.JOB_CANCELLED, str(number)))
        changed = await self.apply(number, CancelAsked(now, actor.who))
        task = self._running.get(number)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            await self._tidy(number)
        messages = job.state.messages if isinstance(job.state, Sending | Awaiting) else ()
        if (task is not None or job.node != await self.node()) and job.card.kind in self.queued:
            messages = tuple(await self.queued[job.card.kind](job))
        await self.take_back(messages, actor)
        if job.card.kind in self.cancelled:
            await self.cancelled[job.card.kind](job)
        return changed or await self.job(number)

    async def take_back(self, messages: Sequence[int], actor: Actor) -> None:
        """Cancel messages of a job; what has gone from the queue need not be taken from it."""
        there = [number for number in messages if await self.store.queue.load(number) is not None]
        with contextlib.suppress(UnknownName):
            await self._gateway.act("cancel", there, actor)

    # --- in the background ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take up what the last process left. Call it when every kind has said what it does."""
        for job in await self.store.jobs.live(await self.node()):
            await asyncio.to_thread(self.folders.make, job.id)
            await self._take_up(job)
        await self._adopt()
        numbers = await self.store.jobs.numbers()
        await asyncio.to_thread(self.folders.sweep, numbers)

    async def _take_up(self, job: StoredJob) -> None:
        """Go on with a job that no process works on."""
        if not job.readable:
            await self.fail(job.id, UNREADABLE)
            return
        if not isinstance(job.state, Preparing):
            self._followed.add(job.id)
            return
        taken_up = self.interrupted.get(job.card.kind)
        is_here = await asyncio.to_thread(self.folder(job.id).is_dir)
        if not (is_here and taken_up is not None and await taken_up(job)):
            await self.fail(job.id, "job_interrupted")

    async def _adopt(self) -> None:
        """Say that this node is there, and take over from those that are not any more."""
        node, now = await self.node(), self._gateway.clock.now()  # the one that all nodes go by
        await self.store.jobs.seen(node, now)
        for job in await self.store.jobs.adopt(node, now - GONE):
            log.info("job_adopted", extra={"fields": {"job": job.id}})
            await self._take_up(job)

    async def node(self) -> str:
        """Return the name of this machine among those that share the store; its state directory keeps it."""
        if not self._node:
            self._node = await asyncio.to_thread(self.folders.own_name)
        return self._node

    async def run(self) -> None:
        """Follow jobs through the mail queue, for ever."""
        forget_at = self.clock.monotonic()
        async with self._events.subscribe() as queue:
            while True:
                await self._look()
                if self.clock.monotonic() >= forget_at:
                    forget_at = self.clock.monotonic() + FORGET_S
                    await self._keep_house()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        while not isinstance(await queue.get(), QueueChanged):
                            pass

    async def _keep_house(self) -> None:
        """Do what is due now and then; what goes wrong with one of it is tried again the next time."""
        for chore in (self._adopt, self._forget):
            try:
                await self._safely(chore())
            except Exception:
                log.exception("jobs_not_kept")

    async def stop(self) -> None:
        """End the works that are under way; their jobs are taken up at the next start, or said to have failed."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def fail(self, number: int, reason: str, words: str = "") -> None:
        """End a job as failed."""
        trouble = self.troubles.of_reason(reason, words)
        await self.apply(number, TroubleCame(trouble.at, trouble))

    async def _do(self, run: JobRun, work: Work) -> None:
        try:
            await work(run)
        except JobStopped as stopped:
            await self._end(run, stopped.reason, stopped.words)
        except LoginFailed as failed:
            await self._end_with(run, TroubleCame(failed.trouble.at, failed.trouble))
        except StoreFull:
            await self._end(run, "disk_full")
        except ValijaError as error:
            await self._end(run, "job_refused", str(error))
        except OSError as error:
            await self._end(run, "disk_full" if error.errno == errno.ENOSPC else "job_error", error.strerror or "")
        except Exception as error:
            log.exception("job_failed", extra={"fields": {"job": run.id}})
            await self._end(run, "job_error", type(error).__name__)

    async def _end(self, run: JobRun, reason: str, words: str = "") -> None:
        """End a job whose work broke off. What the work itself had said, and could not be stored, comes first: it is so."""
        trouble = self.troubles.of_reason(reason, words)
        await self._end_with(run, run.unstored or TroubleCame(trouble.at, trouble))

    async def _end_with(self, run: JobRun, event: JobEvent) -> None:
        try:
            await self.apply(run.id, event)
        except ValijaError as error:
            log.warning("job_not_stored", extra={"fields": {"job": run.id, "why": str(error)}})
            if not run.job.card.detail("received"):
                self._unstored[run.id] = event

    async def _safely(self, ending: Awaitable[object]) -> bool:
        try:
            await ending
        except ValijaError as error:
            log.warning("job_not_stored", extra={"fields": {"why": str(error)}})
            return False
        return True

    def _forget_task(self, number: int, done: asyncio.Task[None]) -> None:
        if self._running.get(number) is done:
            del self._running[number]
        self.live_progress.pop(number, None)

    async def _look(self) -> None:
        """See what became of the jobs that are in the mail queue or wait; what one stumbles over is no other one's matter."""
        for number, event in list(self._unstored.items()):
            if await self._safely(self.apply(number, event)) and self._unstored.get(number) is event:
                del self._unstored[number]
        for number in list(self._running):
            await self._safely(self._stop_if_cancelled(number))
        for number in sorted(self._followed):
            try:
                await self._safely(self._look_at(number))
            except OSError as error:
                await self._lost_a_file(number, error)
            except Exception:
                log.exception("job_not_looked_at", extra={"fields": {"job": number}})

    async def _lost_a_file(self, number: int, error: OSError) -> None:
        """End a job whose files cannot be used."""
        reason = "disk_full" if error.errno == errno.ENOSPC else "job_file"
        words = words_of(error)
        log.warning("job_without_its_file", extra={"fields": {"job": number, "why": words}})
        try:
            await self.fail(number, reason, words)
        except (ValijaError, OSError) as why:
            log.warning("job_not_stored", extra={"fields": {"job": number, "why": str(why)}})

    async def _stop_if_cancelled(self, number: int) -> None:
        """End a work whose job somebody has cancelled at another node."""
        job, task = await self.store.jobs.load(number), self._running.get(number)
        if job is not None and isinstance(job.state, Cancelled) and task is not None:
            task.cancel()

    async def _look_at(self, number: int) -> None:
        job = await self.store.jobs.load(number)
        if job is None or is_final(job.state):
            self._followed.discard(number)
        elif isinstance(job.state, Sending):
            event = await self._sent(job, job.state)
            if event is not None:
                await self.apply(number, event)
        elif isinstance(job.state, Awaiting) and job.state.until is not None and job.state.until <= self.clock.now():
            late = self.overdue.get(job.card.kind)
            event = await late(job) if late else self._no_answer()
            if event is not None:
                await self.apply(number, event)

    def _no_answer(self) -> JobEvent:
        trouble = self.troubles.of_reason("job_no_answer")
        return TroubleCame(trouble.at, trouble)

    async def _sent(self, job: StoredJob, state: Sending) -> JobEvent | None:
        found = [await self.store.queue.load(number) for number in state.messages]
        there = [stored for stored in found if stored is not None]
        if len(there) < len(found):
            trouble = self.troubles.of_reason("job_mail_gone")
            return TroubleCame(trouble.at, trouble)
        entries = [entry.state for stored in there for entry in stored.entries]
        if not all(isinstance(entry, Delivered | Failed) for entry in entries):
            return None
        settled = self.settled.get(job.card.kind)
        return await settled(job, there) if settled else self.ended(there)

    def ended(self, messages: Sequence[StoredQueued]) -> JobEvent:
        """Return what it means that all of these messages have ended, if nothing more is waited for."""
        now = self.clock.now()
        for stored in messages:
            for entry in stored.entries:
                if isinstance(entry.state, Failed):
                    why = entry.state.trouble or self.troubles.of_reason("job_not_delivered")
                    words = f"{entry.recipient.address}: {why.server_words}".rstrip(": ")
                    return TroubleCame(now, Trouble(why.reason, why.who_acts, words, now))
        return Finished(now)

    async def _forget(self) -> None:
        while True:
            gone = await self.store.jobs.forget_ended(self.clock.now() - self.keep, FORGET_AT_ONCE)
            for number in gone:
                await asyncio.to_thread(self.folders.forget, number)
            if len(gone) < FORGET_AT_ONCE:
                return
