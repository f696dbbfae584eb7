"""What takes fetched mail, when it is stopped, the store goes away or its place is lost: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest
from fakes import ANA, START, FakeClock

from fax_pages import fax_file
from valija.apps.config import Configuration
from valija.apps.machine import Machine, build
from valija.domain.account import Setting
from valija.domain.job import Done, JobKind, Preparing
from valija.domain.record import ReceivedMessage
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


async def fetched(machine: Machine, octets: bytes, *, here: bool = True) -> StoredMessage:
    """Note a message as fetched, by this node or by another one."""
    name = f"{secrets.token_hex(8)}.eml"
    if here:
        await asyncio.to_thread((machine.state_dir / name).write_bytes, octets)
    stored = await machine.store.record_received(ReceivedMessage(FAX, "m", name, START, name, len(octets), "", ""))
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
