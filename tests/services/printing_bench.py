"""A machine that prints the mail of one sender at a real CUPS, and what is asked of it."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from cups import Cups
from fakes import ANA, START, FakeClock

from valija.apps.config import Configuration
from valija.apps.machine import Machine, build
from valija.domain.account import Setting
from valija.domain.job import (
    Done,
    Failed,
    JobKind,
    JobState,
    JobWord,
)
from valija.domain.record import ReceivedMessage
from valija.store.jobs_port import StoredJob
from valija.store.memory import MemoryStore

EVA = "eva@example.com"


def a_machine(directory: Path, store: MemoryStore | None = None) -> Machine:
    return build(Configuration(), store or MemoryStore(), FakeClock(by_itself=False), directory)


@pytest.fixture(name="machine")
async def machine_fixture(tmp_path: Path, cups: Cups) -> AsyncIterator[Machine]:
    """Give a machine that prints Eva's mail; nothing runs in the background."""
    machine = a_machine(tmp_path)
    await machine.settings.change(Setting.SMTP, {"sender_address": "mfp@office.example"}, confirm=True, actor=ANA)
    await change(machine, target=cups.uri(), senders=[EVA])
    await machine.printing.desk.mail.start()
    yield machine
    await machine.jobs.stop()
    await machine.http.close()


async def change(machine: Machine, **changes: Any) -> None:
    await machine.printing.settings.change(changes, actor=ANA)


def a_mail(
    *attachments: tuple[str, bytes], subject: str = "Acta", text: str = "hola", sender: str = EVA, **fields: str
) -> EmailMessage:
    mail = EmailMessage()
    for name, value in {"From": sender, "To": "print@office.example", "Subject": subject, **fields}.items():
        mail[name.replace("_", "-")] = value
    mail.set_content(text)
    for name, octets in attachments:
        mail.add_attachment(octets, maintype="application", subtype="octet-stream", filename=name)
    return mail


async def came(machine: Machine, *mails: EmailMessage | bytes) -> list[StoredJob]:
    """Let mail be fetched; return the jobs that it made, in order."""
    for mail in mails:
        octets = mail if isinstance(mail, bytes) else mail.as_bytes()
        name = secrets.token_hex(8)
        path = machine.state_dir / f"{name}.eml"
        await asyncio.to_thread(path.write_bytes, octets)
        record = ReceivedMessage(Setting.EMAIL_PRINT.value, "m", name, START, path.name, len(octets), "", "")
        assert await machine.store.record_received(record)
    await machine.printing.desk.mail.take()
    found = await machine.store.jobs.list_jobs(kind=JobKind.PRINT, state=None, limit=100)
    return found[::-1]


async def until(machine: Machine, number: int, is_so: Callable[[JobState], bool]) -> StoredJob:
    """Let the line work until a job is so."""
    end = time.monotonic() + 15
    while True:
        machine.clock.jump(11)  # type: ignore[attr-defined]
        await machine.printing.line.turn()
        job = await machine.jobs.job(number)
        if is_so(job.state):
            return job
        assert time.monotonic() < end, (job.state, await words_of(machine, number))
        await asyncio.sleep(0.05)


def is_done(state: JobState) -> bool:
    return isinstance(state, Done)


async def words_of(machine: Machine, number: int) -> list[tuple[JobWord, str]]:
    return [(line.word, line.about) for line in await machine.store.jobs.history(number)]


def reason_of(job: StoredJob) -> str:
    assert isinstance(job.state, Failed), job.state
    return job.state.trouble.reason


def pages_of(path: Path) -> list[str]:
    """Return the words of each page, by a reader that is not ours; the file is a sound PDF."""
    subprocess.run(["qpdf", "--check", str(path)], check=True, capture_output=True, timeout=20)
    text = subprocess.run(["pdftotext", str(path), "-"], check=True, capture_output=True, timeout=20).stdout.decode()
    return [" ".join(page.split()) for page in text.split("\f")[:-1]]


async def answers(machine: Machine) -> list[str]:
    """Return the mail that Eva gets."""
    found = await machine.store.queue.list_messages(account=None, state=None, limit=10)
    mails = []
    for message in found:
        stored = await machine.store.queue.load(message.id)
        assert stored is not None
        assert [r.address for r in stored.message.recipients] == [EVA]
        mails.append(b"".join([piece async for piece in machine.gateway.dispatcher.body(message.id)]).decode())
    return mails
