"""What takes fetched mail, when it is stopped, the store goes away or its place is lost: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from fakes import ANA, START, FakeClock

from fax_pages import fax_file
from valija.apps.config import Configuration
from valija.apps.machine import Machine, build
from valija.domain.account import Setting
from valija.domain.errors import StoreError
from valija.domain.job import Done, Failed, JobEvent, JobKind, Preparing, TroubleCame
from valija.domain.record import ReceivedMessage
from valija.domain.text import message
from valija.message.mime_reading import MessageHead
from valija.services import mail_taking
from valija.services.job_run import card_of
from valija.services.mail_parts import read_head
from valija.store import sqlite
from valija.store.jobs_port import StoredJob
from valija.store.memory import MemoryStore
from valija.store.port import Store, StoredMessage

FAX = Setting.INTERNET_FAX.value


@pytest.fixture(name="store")
def store_fixture() -> MemoryStore:
    """Give what stays when a machine ends."""
    return MemoryStore()


async def a_machine(directory: Path, store: Store) -> Machine:
    """Start as much of a machine as faxes need; nothing runs in the background."""
    machine = build(Configuration(), store, FakeClock(by_itself=False), directory)
    await machine.settings.change(Setting.SMTP, {"sender_address": "fax@office.example"}, confirm=True, actor=ANA)
    await machine.fax.receiver.mail.start()
    await machine.jobs.start()
    return machine


async def stop(machine: Machine) -> None:
    await machine.jobs.stop()
    await machine.http.close()


def a_fax(pages: int = 1) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "eva@example.com", "Fax"
    mail.set_content("hola")
    mail.add_attachment(fax_file(pages), maintype="image", subtype="tiff", filename="fax.tif")
    return mail.as_bytes()


async def fetched(machine: Machine, octets: bytes, *, here: bool = True, at: datetime = START) -> StoredMessage:
    """Note a message as fetched, by this node or by another one."""
    name = f"{secrets.token_hex(8)}.eml"
    if here:
        await asyncio.to_thread((machine.state_dir / name).write_bytes, octets)
    stored = await machine.store.record_received(ReceivedMessage(FAX, "m", name, at, name, len(octets), "", ""))
    assert stored is not None
    return stored


async def jobs_of(store: Store) -> list[StoredJob]:
    return (await store.jobs.list_jobs(kind=JobKind.FAX_RECEIVE, state=None, limit=1000))[::-1]


async def until(is_so: Callable[[], bool]) -> None:
    for _look in range(2000):
        if is_so():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to that")


async def test_a_stop_while_a_fax_is_read_leaves_it_to_the_next_start(tmp_path: Path, store: MemoryStore) -> None:
    """The end of the process that reads is not taken for a bad file, however long the others take to stop."""
    machine = await a_machine(tmp_path, store)
    await fetched(machine, a_fax(40))
    taking = asyncio.create_task(machine.fax.receiver.mail.run())
    await until(lambda: any(p.done for p in machine.jobs.live_progress.values()))
    taking.cancel()
    await asyncio.gather(taking, asyncio.sleep(0.1), return_exceptions=True)
    await stop(machine)
    (job,) = await jobs_of(store)
    assert isinstance(job.state, Preparing), job.state
    assert (await store.jobs.history(job.id))[1:] == []
    machine = await a_machine(tmp_path, store)
    assert await machine.fax.receiver.mail.take() == 1
    await stop(machine)
    (job,) = await jobs_of(store)
    assert isinstance(job.state, Done), job.state
    assert job.progress.done == 40


async def test_mail_is_found_without_news_of_it(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a note may be lost: nobody tells of that message."""
    monkeypatch.setattr(mail_taking, "LOOK_S", 0.02)
    machine = await a_machine(tmp_path, store)
    taking = asyncio.create_task(machine.fax.receiver.mail.run())
    await asyncio.sleep(0)
    stored = await fetched(machine, b"Subject: x\r\n\r\nhola\r\n")
    await until(lambda: (tmp_path / "fax-cursor").read_text() == str(stored.id))
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    await stop(machine)
    (job,) = await jobs_of(store)
    assert isinstance(job.state, Done)


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_job_whose_end_could_not_be_stored_is_taken_up_again(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    """It is the same job; the message does not count as taken before."""
    machine = await a_machine(tmp_path, store)
    stored = await fetched(machine, a_fax())

    async def away(_number: int, _event: JobEvent) -> StoredJob | None:
        raise StoreError(message("The store is away."))

    with monkeypatch.context() as patch:
        patch.setattr(store.jobs, "apply", away)
        with pytest.raises(StoreError):
            await machine.fax.receiver.mail.take()
    (job,) = await jobs_of(store)
    assert isinstance(job.state, Preparing)
    if restarted:
        await stop(machine)
        machine = await a_machine(tmp_path, store)
    assert await machine.fax.receiver.mail.take() == 1
    (again,) = await jobs_of(store)
    assert again.id == job.id
    assert isinstance(again.state, Done)
    assert (tmp_path / "fax-cursor").read_text() == str(stored.id)
    await stop(machine)


async def test_an_end_that_can_never_be_stored_does_not_hold_up_the_next_message(
    tmp_path: Path, store: MemoryStore
) -> None:
    machine = await a_machine(tmp_path, store)
    await fetched(machine, a_fax())
    await fetched(machine, b"Subject: x\r\n\r\nhola\r\n")
    apply = store.jobs.apply
    refused: list[int] = []

    async def refuses(number: int, event: JobEvent) -> StoredJob | None:
        if number == 1 and not (isinstance(event, TroubleCame) and event.trouble.reason == "job_error"):
            refused.append(number)
            raise StoreError(message("That does not fit."))
        return await apply(number, event)

    store.jobs.apply = refuses  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        await machine.fax.receiver.mail.take()
    assert await machine.fax.receiver.mail.take() == 2
    first, second = await jobs_of(store)
    assert isinstance(first.state, Failed)
    assert isinstance(second.state, Done)
    assert refused
    await stop(machine)


async def test_no_octets_of_a_head_hold_up_the_next_message(tmp_path: Path) -> None:
    """What is no UTF-8, half a character, or nothing at all, wherever it stands."""
    store = sqlite.open_store(tmp_path, None, {})
    machine = await a_machine(tmp_path, store)
    fax = a_fax()
    for field in (
        b"Message-ID: <\xff@x>",
        b"Subject: =?utf-7?Q?+2AA-?= \xff\0",
        b"In-Reply-To: <\xff@x>\r\nReferences: \xed\xa0\x80",
        b"X-Valija-Through: \xff",
        b"Content-Type: image/tiff; name*=unicode-escape''%5Cud800.tif",
        b'Content-Type: text/plain; charset="\xff\0"',
    ):
        await fetched(machine, field + b"\r\n" + fax)
    await fetched(machine, b"From: \xff <\xff@x.y>, =?utf-16-le?B?ANg=?= <b@c>\r\n\r\nhola\r\n")
    assert await machine.fax.receiver.mail.take() == 7
    states = [job.state for job in await jobs_of(store)]
    assert len(states) == 7
    assert not [state for state in states if isinstance(state, Failed) and state.trouble.reason == "job_error"]
    await stop(machine)
    await store.close()


async def test_a_message_that_nobody_foresaw_is_said_to_have_failed_and_does_not_hold_up_the_next_one(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await a_machine(tmp_path, store)
    first = await fetched(machine, b"Subject: x\r\n\r\nhola\r\n")
    await fetched(machine, b"Subject: x\r\n\r\nhola\r\n")
    read = read_head

    def stumbles(path: Path) -> MessageHead:
        if path.name == first.message.file:
            raise RecursionError
        return read(path)

    monkeypatch.setattr(mail_taking, "read_head", stumbles)
    assert await machine.fax.receiver.mail.take() == 2
    bad, good = await jobs_of(store)
    assert isinstance(bad.state, Failed)
    assert (bad.state.trouble.reason, bad.state.trouble.server_words) == ("job_error", "RecursionError")
    assert bad.card.detail("received") == str(first.id)
    assert isinstance(good.state, Done)
    assert await asyncio.to_thread((tmp_path / first.message.file).is_file)
    await stop(machine)


async def test_a_job_behind_the_place_is_said_to_have_failed(tmp_path: Path, store: MemoryStore) -> None:
    """Nobody comes to its message any more."""
    machine = await a_machine(tmp_path, store)
    stored = await fetched(machine, a_fax())
    card = card_of(JobKind.FAX_RECEIVE, "Fax", ANA, START, (), {"received": str(stored.id)})
    job = await store.jobs.add(card, Preparing(START), await machine.jobs.node())
    (tmp_path / "fax-cursor").write_text(str(stored.id))
    await machine.jobs.start()
    found = await machine.jobs.job(job.id)
    assert isinstance(found.state, Failed)
    assert found.state.trouble.reason == "job_interrupted"
    await stop(machine)


@pytest.mark.parametrize("torn", ["", "\0\0\0", "\udcff"], ids=["empty", "zeros", "not text"])
@pytest.mark.parametrize("by", ["start", "take"])
async def test_a_place_that_cannot_be_read_is_told_by_the_jobs(
    tmp_path: Path, store: MemoryStore, torn: str, by: str
) -> None:
    """What waits is taken, what was taken is not; messages and jobs of other nodes tell nothing."""
    machine = await a_machine(tmp_path, store)
    await fetched(machine, b"Subject: one\r\n\r\nhola\r\n")
    await machine.fax.receiver.mail.take()
    await fetched(machine, b"Subject: two\r\n\r\nhola\r\n")
    elsewhere = await fetched(machine, b"", here=False)
    card = card_of(JobKind.FAX_RECEIVE, "elsewhere", ANA, START, (), {"received": str(elsewhere.id)})
    await store.jobs.add(card, Preparing(START), "another node")
    (tmp_path / "fax-cursor").write_text(torn, "utf-8", "surrogateescape")
    if by == "start":
        await stop(machine)
        machine = await a_machine(tmp_path, store)
    await machine.fax.receiver.mail.take()
    assert [job.card.title for job in await jobs_of(store)] == ["one", "elsewhere", "two"]
    assert (tmp_path / "fax-cursor").read_text() == str(elsewhere.id)
    await stop(machine)


async def test_a_job_that_has_only_begun_is_not_past_where_the_place_cannot_be_read(
    tmp_path: Path, store: MemoryStore
) -> None:
    machine = await a_machine(tmp_path, store)
    stored = await fetched(machine, b"Subject: one\r\n\r\nhola\r\n")
    card = card_of(JobKind.FAX_RECEIVE, "one", ANA, START, (), {"received": str(stored.id)})
    await store.jobs.add(card, Preparing(START), await machine.jobs.node())
    (tmp_path / "fax-cursor").write_text("")
    await machine.fax.receiver.mail.take()
    (job,) = await jobs_of(store)
    assert isinstance(job.state, Done)
    await stop(machine)


async def test_without_a_place_and_without_jobs_what_is_older_than_jobs_are_kept_is_not_taken(
    tmp_path: Path, store: MemoryStore
) -> None:
    """It had a job, that was forgotten; what is younger had none."""
    machine = await a_machine(tmp_path, store)
    await fetched(machine, b"Subject: old\r\n\r\nhola\r\n", at=START - timedelta(days=31))
    await fetched(machine, b"Subject: young\r\n\r\nhola\r\n", at=START - timedelta(days=29))
    (tmp_path / "fax-cursor").write_text("")
    await machine.fax.receiver.mail.take()
    assert [job.card.title for job in await jobs_of(store)] == ["young"]
    await stop(machine)


async def test_a_place_is_on_disk_before_the_next_message_is_taken(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file before it has its name, then its directory."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{handle}').readlink().name}")
        fsync(handle)

    def replaced(path: Path, target: Path) -> Path:
        done.append(f"name {Path(target).name}")
        return replace(path, target)

    machine = await a_machine(tmp_path, store)
    await fetched(machine, b"Subject: one\r\n\r\nhola\r\n")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    await machine.fax.receiver.mail.take()
    assert done == ["sync fax-cursor.new", "name fax-cursor", f"sync {tmp_path.name}"]
    await stop(machine)
