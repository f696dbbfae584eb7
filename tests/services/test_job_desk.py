"""The desk of jobs: how they end, what follows from the mail queue, what is left when the process has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes import ANA, START, FakeClock, settle

from valija.apps.config import Configuration
from valija.apps.machine import Machine, build
from valija.domain.account import Setting
from valija.domain.errors import RequestError, StoreError, StoreFull, UnknownName
from valija.domain.job import (
    Awaited,
    Awaiting,
    Cancelled,
    Done,
    Failed,
    JobEvent,
    JobKind,
    JobWord,
    Preparing,
    Sending,
    Waits,
    is_final,
)
from valija.domain.queue import Accepted, Leased, Refused
from valija.domain.queue import Failed as MailFailed
from valija.domain.queued_message import QueuedMessage
from valija.domain.text import message
from valija.domain.trouble import Trouble, WhoActs
from valija.services.delivery import File
from valija.services.events import JobChanged
from valija.services.job_run import JobRun, JobStopped, card_of
from valija.services.outgoing import OutgoingMail
from valija.store.jobs_port import StoredJob
from valija.store.memory import MemoryStore
from valija.store.queue_port import Body

CARD = card_of(JobKind.SCAN, "Contrato\r\n 7", ANA, START, ["luis@example.com"], {"format": "pdf"})


@pytest.fixture(name="machine")
async def machine_fixture(tmp_path: Path) -> AsyncIterator[Machine]:
    """Give a machine whose SMTP setting has a sender; nothing runs in the background, mail stays where it is."""
    store = MemoryStore()
    machine = build(Configuration(), store, FakeClock(by_itself=False), tmp_path)
    await machine.settings.change(Setting.SMTP, {"sender_address": "ana@example.com"}, confirm=True, actor=ANA)
    yield machine
    await machine.jobs.stop()
    await machine.http.close()


async def ended(machine: Machine, job: StoredJob) -> StoredJob:
    """Wait for a job's work; return the job."""
    await machine.jobs.wait(job.id)
    return await machine.jobs.job(job.id)


async def mail(run: JobRun) -> int:
    """Hand a job on as a message; return its number."""
    path = run.directory / "a.pdf"
    await asyncio.to_thread(path.write_bytes, b"%PDF-" + bytes(100_000))
    queued = await _machine(run).outgoing.queue(
        OutgoingMail(("luis@example.com",), "Contrato ñ", "hola", (File(path, "año.pdf", "application/pdf"),))
    )
    await run.hand_on([queued.id])
    return queued.id


MACHINES: dict[int, Machine] = {}


async def test_mail_that_is_stored_when_its_job_is_cancelled_is_told_to_who_sends(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write cannot be called back: what nobody knew of would leave hours later, with the next mail."""
    queue, intake = machine.store.queue, machine.gateway.intake
    accept, writing, written = queue.accept, asyncio.Event(), asyncio.Event()
    told: list[tuple[str, int]] = []

    async def slow(sent: QueuedMessage, body: Body) -> int:
        writing.set()
        await written.wait()
        return await accept(sent, body)

    async def as_a_store_does(sent: QueuedMessage, body: Body) -> int:
        return await asyncio.shield(asyncio.create_task(slow(sent, body)))

    async def work(run: JobRun) -> None:
        await mail(run)

    monkeypatch.setattr(queue, "accept", as_a_store_does)
    monkeypatch.setattr(intake, "accepted", lambda account, recipients: told.append((account, recipients)))
    job = await machine.jobs.begin(CARD, work)
    await writing.wait()
    cancelling = asyncio.create_task(machine.jobs.cancel(job.id, ANA))
    await settle()
    written.set()
    assert isinstance((await cancelling).state, Cancelled)
    assert await queue.load(1) is not None
    assert told == [("smtp", 1)]


def _machine(run: JobRun) -> Machine:
    return MACHINES[id(run.desk)]


@pytest.fixture(autouse=True)
def _known(machine: Machine) -> None:
    MACHINES[id(machine.jobs)] = machine


async def test_a_title_is_one_line_and_what_is_known_is_kept(machine: Machine) -> None:
    async def work(run: JobRun) -> None:
        await run.finish("printed")

    job = await ended(machine, await machine.jobs.begin(CARD, work))
    assert (job.card.title, job.card.who, job.card.where) == ("Contrato 7", "ana", "panel")
    assert job.state == Done(START, "printed")


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (JobStopped("scanner_jammed", "feeder jammed"), "scanner_jammed"),
        (StoreFull(message("full")), "disk_full"),
        (RequestError(message("no such thing")), "job_refused"),
        (OSError(28, "No space left on device"), "disk_full"),
        (ZeroDivisionError(), "job_error"),
    ],
    ids=repr,
)
async def test_a_work_that_raises_ends_its_job_with_a_reason(machine: Machine, raised: Exception, reason: str) -> None:
    async def work(_run: JobRun) -> None:
        raise raised

    job = await ended(machine, await machine.jobs.begin(CARD, work))
    assert isinstance(job.state, Failed)
    assert job.state.trouble.reason == reason


async def test_a_job_is_followed_through_the_mail_queue(machine: Machine) -> None:
    """Delivered to all is done; a recipient who is refused is a failure that names him."""

    async def work(run: JobRun) -> None:
        await mail(run)

    for refused in (False, True):
        job = await ended(machine, await machine.jobs.begin(CARD, work))
        assert isinstance(job.state, Sending)
        stored = await machine.store.queue.load(job.state.messages[0])
        assert stored is not None
        assert stored.message.size > 130_000
        assert stored.message.subject == "Contrato ñ"
        entry = stored.entries[0].id
        await machine.jobs._look()
        assert (await machine.jobs.job(job.id)).state == job.state, "nothing has ended yet"
        trouble = Trouble("recipient_unknown", WhoActs.USER, "550 5.1.1 who?", START)
        ending: Any = Refused(1, trouble) if refused else Accepted(START, "250 ok")
        await machine.store.queue.apply([(entry, Leased(1)), (entry, ending)])
        await machine.jobs._look()
        state = (await machine.jobs.job(job.id)).state
        if refused:
            assert isinstance(state, Failed)
            assert state.trouble.server_words == "luis@example.com: 550 5.1.1 who?"
        else:
            assert state == Done(START)


async def test_cancel_works_at_any_moment(machine: Machine) -> None:
    """While it is prepared its work ends at once; in the queue its mail is not sent any more; when it has ended: no."""
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def work(run: JobRun) -> None:
        await asyncio.to_thread((run.directory / "page").touch)
        await asyncio.to_thread(run.picture.touch)
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    job = await machine.jobs.begin(CARD, work)
    await begun.wait()
    cancelled = await machine.jobs.cancel(job.id, ANA)
    assert stopped.is_set()
    assert cancelled.state == Cancelled(START, "ana")
    assert sorted(path.name for path in machine.jobs.folder(job.id).iterdir()) == ["first.png", "kept"]

    async def send(run: JobRun) -> None:
        await mail(run)

    job = await ended(machine, await machine.jobs.begin(CARD, send))
    await machine.jobs.cancel(job.id, ANA)
    stored = await machine.store.queue.load(1)
    assert stored is not None
    assert isinstance(stored.entries[0].state, MailFailed)
    assert isinstance((await machine.jobs.job(job.id)).state, Cancelled)
    with pytest.raises(RequestError):
        await machine.jobs.cancel(job.id, ANA)
    with pytest.raises(UnknownName):
        await machine.jobs.cancel(99, ANA)


async def test_of_a_cancelled_job_all_that_is_in_the_queue_is_cancelled(machine: Machine) -> None:
    """Though one of its messages has gone from there."""

    async def send(run: JobRun) -> None:
        await run.hand_on([99, await mail(run)])

    job = await ended(machine, await machine.jobs.begin(CARD, send))
    assert isinstance(job.state, Sending)
    assert job.state.messages == (99, 1)
    await machine.jobs.cancel(job.id, ANA)
    stored = await machine.store.queue.load(1)
    assert stored is not None
    assert isinstance(stored.entries[0].state, MailFailed)


@pytest.mark.parametrize("end", ["sent", "finished", "stopped", "broken"])
async def test_an_end_that_cannot_be_stored_is_stored_when_the_store_is_back(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Nobody waits for ever for a job whose work is not there any more; what has been sent is not said to have failed."""

    async def away(_number: int, _event: JobEvent) -> StoredJob | None:
        raise StoreError(message("The store is away."))

    async def work(run: JobRun) -> None:
        monkeypatch.setattr(machine.store.jobs, "apply", away)
        if end == "sent":
            await mail(run)
        elif end == "finished":
            await run.finish("page 1")
        elif end == "stopped":
            raise JobStopped("scan_empty")
        else:
            raise ZeroDivisionError

    job = await ended(machine, await machine.jobs.begin(CARD, work))
    await machine.jobs._look()
    assert isinstance((await machine.jobs.job(job.id)).state, Preparing)
    monkeypatch.undo()
    await machine.jobs._look()
    state = (await machine.jobs.job(job.id)).state
    assert isinstance(state, {"sent": Sending, "finished": Done}.get(end, Failed))
    if isinstance(state, Failed):
        assert state.trouble.reason == ("scan_empty" if end == "stopped" else "job_error")
    if end == "sent":
        await machine.jobs.cancel(job.id, ANA)
    await machine.jobs._look()
    words = [line.word for line in await machine.store.jobs.history(job.id)]
    assert len(words) == 2 + (end == "sent"), words


async def test_who_cancels_a_job_whose_folder_cannot_be_tidied_ends_its_work_all_the_same(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would send what was said to be cancelled."""

    def refuses(_number: int) -> None:
        raise PermissionError(13, "Permission denied", "/x/page")

    async def work(run: JobRun) -> None:
        await asyncio.sleep(0.05)
        await mail(run)

    monkeypatch.setattr(machine.jobs.folders, "tidy", refuses)
    job = await machine.jobs.begin(CARD, work)
    assert isinstance((await machine.jobs.cancel(job.id, ANA)).state, Cancelled)
    await ended(machine, job)
    assert await machine.store.queue.list_messages(account=None, state=None, limit=1) == []


async def test_what_is_waited_for_ends_in_time(machine: Machine) -> None:
    async def work(run: JobRun) -> None:
        await run.apply(Waits(START, Awaited.CONFIRMATION, START + timedelta(hours=1)))

    job = await ended(machine, await machine.jobs.begin(replace(CARD, kind=JobKind.STATUS_REQUEST), work))
    await machine.jobs._look()
    assert isinstance((await machine.jobs.job(job.id)).state, Awaiting)
    machine.clock.jump(3601)  # type: ignore[attr-defined]
    await machine.jobs._look()
    state = (await machine.jobs.job(job.id)).state
    assert isinstance(state, Failed)
    assert state.trouble.reason == "job_no_answer"


async def test_a_job_whose_process_has_gone_is_taken_up_or_said_to_have_failed(machine: Machine) -> None:
    """Another node's job is left alone while that node is seen, and has failed when it is gone; what waits is followed."""

    async def work(_run: JobRun) -> None:
        await asyncio.sleep(60)

    here = await machine.jobs.begin(CARD, work)
    await machine.store.jobs.seen("other", START)
    other = await machine.store.jobs.add(CARD, Preparing(START), "other")
    waits = await machine.store.jobs.add(replace(CARD, kind=JobKind.STATUS_REQUEST), Preparing(START), "other")
    await machine.store.jobs.apply(waits.id, Waits(START, Awaited.CONFIRMATION, START + timedelta(hours=1)))
    fax = await machine.jobs.begin(card_of(JobKind.FAX_RECEIVE, "Fax", ANA, START), work)
    await settle()
    await machine.jobs.stop()
    taken_up = []

    async def take_up(job: StoredJob) -> bool:
        taken_up.append(job.id)
        return True

    machine.jobs.interrupted[JobKind.FAX_RECEIVE] = take_up
    await machine.jobs.start()
    state = (await machine.jobs.job(here.id)).state
    assert isinstance(state, Failed)
    assert state.trouble.reason == "job_interrupted"
    assert isinstance((await machine.jobs.job(other.id)).state, Preparing)
    assert taken_up == [fax.id]
    machine.clock.jump(86_300)  # type: ignore[attr-defined]
    await machine.jobs._adopt()
    await machine.jobs._look()
    assert [is_final((await machine.jobs.job(job.id)).state) for job in (other, waits)] == [False, False]
    machine.clock.jump(200)  # type: ignore[attr-defined]
    await machine.jobs._adopt()
    await machine.jobs._look()
    states = [(await machine.jobs.job(job.id)).state for job in (other, waits)]
    assert [s.trouble.reason for s in states if isinstance(s, Failed)] == ["job_interrupted", "job_no_answer"]


async def test_progress_is_told_but_not_for_every_page(machine: Machine) -> None:
    async def work(run: JobRun) -> None:
        for page in range(1, 301):
            await run.progress(page, 300)
        await run.note(JobWord.BLANK_DROPPED, "7")
        await run.finish()

    async with machine.events.subscribe() as queue:
        job = await ended(machine, await machine.jobs.begin(CARD, work))
        told = [event for event in iter_now(queue) if isinstance(event, JobChanged)]
    assert len(told) < 10
    assert (told[-1].state, told[-1].done, told[-1].of) == ("done", 300, 300)
    assert (job.progress.done, job.progress.of) == (300, 300)
    words = [line.word for line in await machine.store.jobs.history(job.id)]
    assert words == [JobWord.BEGAN, JobWord.BLANK_DROPPED, JobWord.FINISHED]


def iter_now(queue: asyncio.Queue[Any]) -> list[Any]:
    """Return what waits in a queue."""
    return [queue.get_nowait() for _ in range(queue.qsize())]


async def test_old_jobs_and_their_files_are_forgotten(machine: Machine) -> None:
    async def work(run: JobRun) -> None:
        await asyncio.to_thread((run.kept / "fax.tif").touch)
        await run.finish()

    job = await ended(machine, await machine.jobs.begin(CARD, work))
    await machine.jobs._forget()
    assert (machine.jobs.folder(job.id) / "kept" / "fax.tif").exists()
    machine.clock.jump(31 * 86400)  # type: ignore[attr-defined]
    await machine.jobs._forget()
    assert not machine.jobs.folder(job.id).exists()
    with pytest.raises(UnknownName):
        await machine.jobs.job(job.id)


async def test_a_job_whose_file_is_gone_fails_and_the_others_are_followed(machine: Machine) -> None:
    """So are those after one that fails of what nobody foresaw."""

    async def waits(run: JobRun) -> None:
        await run.apply(Waits(START, Awaited.CONFIRMATION, START + timedelta(hours=1)))

    async def late(job: StoredJob) -> Any:
        if job.id == odd.id:
            raise ZeroDivisionError
        path = machine.jobs.folder(job.id) / "kept" / "fax.tif"
        return await asyncio.to_thread(path.stat)

    machine.jobs.overdue[JobKind.FAX_SEND] = late
    fax, status = (replace(CARD, kind=kind) for kind in (JobKind.FAX_SEND, JobKind.STATUS_REQUEST))
    odd, gone, last = [await ended(machine, await machine.jobs.begin(card, waits)) for card in (fax, fax, status)]
    machine.clock.jump(3601)  # type: ignore[attr-defined]
    await machine.jobs._look()
    states = [(await machine.jobs.job(job.id)).state for job in (odd, gone, last)]
    assert isinstance(states[0], Awaiting), "it is looked at again"
    assert [s.trouble.reason for s in states[1:] if isinstance(s, Failed)] == ["job_file", "job_no_answer"]
    assert isinstance(states[1], Failed)
    assert states[1].trouble.server_words == "No such file or directory: fax.tif"


async def test_a_job_that_has_no_folder_has_failed_and_its_caller_knows(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_number: int) -> Path:
        raise OSError(28, "No space left on device")

    async def work(_run: JobRun) -> None:
        raise AssertionError

    monkeypatch.setattr(machine.jobs.folders, "make", full)
    with pytest.raises(OSError, match="No space"):
        await machine.jobs.begin(CARD, work)
    (job,) = await machine.store.jobs.list_jobs(kind=None, state=None, limit=9)
    assert isinstance(job.state, Failed)
    assert job.state.trouble.reason == "disk_full"
    with pytest.raises(OSError, match="No space"):
        await machine.jobs.begin(card_of(JobKind.FAX_RECEIVE, "Fax", ANA, START, (), {"received": "7"}), work)
    (mail, _job) = await machine.store.jobs.list_jobs(kind=None, state=None, limit=9)
    assert isinstance(mail.state, Preparing), "it is taken again"


async def test_what_cannot_be_taken_over_now_does_not_end_the_desk(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old jobs are forgotten all the same."""
    forgot = []

    async def adopt() -> None:
        raise PermissionError(13, "Permission denied")

    async def forget() -> None:
        forgot.append(1)

    monkeypatch.setattr(machine.jobs, "_adopt", adopt)
    monkeypatch.setattr(machine.jobs, "_forget", forget)
    task = asyncio.create_task(machine.jobs.run())
    await settle()
    assert (forgot, task.done()) == ([1], False)
    task.cancel()
