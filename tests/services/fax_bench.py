"""A machine that sends and receives faxes by mail, and what is asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from fakes import ANA, FakeClock

from fax_pages import fax_file
from valija.apps.config import Configuration
from valija.apps.machine import Machine, build
from valija.domain.account import Setting
from valija.domain.fax import AnswerKind, FaxAnswer
from valija.domain.job import JobWord, Sending
from valija.domain.queue import Accepted, Leased, Refused
from valija.domain.trouble import Trouble, WhoActs
from valija.services.delivery import File
from valija.services.fax_sending import FaxOrder
from valija.store.jobs_port import StoredJob
from valija.store.memory import MemoryStore

OWN = "fax@office.example"


@pytest.fixture(name="machine")
async def machine_fixture(tmp_path: Path) -> AsyncIterator[Machine]:
    """Give a machine with a sender and a mailbox for answers; nothing runs in the background, mail stays where it is."""
    machine = build(Configuration(), MemoryStore(), FakeClock(by_itself=False), tmp_path)
    await machine.settings.change(Setting.SMTP, {"sender_address": OWN}, confirm=True, actor=ANA)
    await machine.settings.change(Setting.INTERNET_FAX, {"server": "pop.example"}, confirm=True, actor=ANA)
    await machine.fax.receiver.mail.start()
    yield machine
    await machine.jobs.stop()
    await machine.http.close()


async def sent(machine: Machine, *to: str, **changes: Any) -> StoredJob:
    """Send a fax of one page; return its job when it is in the queue."""
    source = machine.state_dir / "page.tif"
    await asyncio.to_thread(source.write_bytes, fax_file(1))
    order = FaxOrder((File(source, "página.tif", "image/tiff"),), to, "Contrato", "hola", changes)
    job = await machine.fax.sender.send(order, ANA)
    await asyncio.to_thread(source.unlink)  # what was handed in is the machine's now
    await machine.jobs.wait(job.id)
    return await machine.jobs.job(job.id)


async def left(machine: Machine, job: StoredJob, *refused: str) -> StoredJob:
    """Let the queue be done with a fax: delivered, but to these."""
    assert isinstance(job.state, Sending), job.state
    for number in job.state.messages:
        stored = await machine.store.queue.load(number)
        assert stored is not None
        for entry in stored.entries:
            trouble = Trouble("recipient_unknown", WhoActs.USER, "550 5.1.1 who?", machine.clock.now())
            bad = entry.recipient.address in refused
            ending: Any = Refused(1, trouble) if bad else Accepted(machine.clock.now(), "250 ok")
            await machine.store.queue.apply([(entry.id, Leased(1)), (entry.id, ending)])
    await machine.jobs._look()
    return await machine.jobs.job(job.id)


async def later(machine: Machine, job: StoredJob, minutes: float) -> StoredJob:
    machine.clock.jump(minutes * 60)  # type: ignore[attr-defined]
    await machine.jobs._look()
    return await machine.jobs.job(job.id)


async def answered(machine: Machine, job: StoredJob, kind: AnswerKind, who: str, attempt: int = 0) -> StoredJob:
    await machine.fax.sender.answered(await machine.jobs.job(job.id), attempt, (FaxAnswer(who, kind, "no paper"),))
    return await machine.jobs.job(job.id)


async def mail_of(machine: Machine, job: StoredJob) -> tuple[Any, Any]:
    assert isinstance(job.state, Sending)
    stored = await machine.store.queue.load(job.state.messages[0])
    assert stored is not None
    pieces = [piece async for piece in machine.gateway.dispatcher.body(stored.id)]
    return stored, message_from_bytes(b"".join(pieces))


async def lines(machine: Machine, job: StoredJob, word: JobWord) -> int:
    return [line.word for line in await machine.store.jobs.history(job.id)].count(word)


async def queued(machine: Machine) -> list[Any]:
    found = await machine.store.queue.list_messages(account=None, state=None, limit=100)
    return [await machine.store.queue.load(message.id) for message in found]
