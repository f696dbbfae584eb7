"""A machine for scans: SANE's test scanner, real paper, and the mail that waits in its queue, read as a recipient would."""

from __future__ import annotations

import email
import email.policy
import subprocess
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from valija.apps.config import Configuration
from valija.apps.machine import Machine, SystemClock, build
from valija.domain.account import Actor, Presence, Setting
from valija.domain.job import Sending
from valija.store.jobs_port import StoredJob
from valija.store.memory import MemoryStore

ANA = Actor("ana", "panel", Presence.AT_MACHINE)


@pytest.fixture(name="sane")
def sane_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SANE know its test scanner, and no other."""
    set_up_sane(tmp_path / "sane")
    monkeypatch.setenv("SANE_CONFIG_DIR", str(tmp_path / "sane"))


def set_up_sane(folder: Path) -> None:
    """Write a configuration of SANE."""
    folder.mkdir()
    (folder / "dll.conf").write_text("test\n")
    (folder / "test.conf").write_text("number_of_devices 2\n")


@pytest.fixture(name="machine")
async def machine_fixture(tmp_path: Path) -> AsyncIterator[Machine]:
    """Give a machine whose SMTP setting has a sender; mail stays in its queue."""
    (tmp_path / "state").mkdir()
    machine = build(Configuration(), MemoryStore(), SystemClock(), tmp_path / "state")
    await machine.settings.change(Setting.SMTP, {"sender_address": "ana@example.com"}, confirm=True, actor=ANA)
    yield machine
    await machine.jobs.stop()
    await machine.http.close()


async def ended(machine: Machine, job: StoredJob) -> StoredJob:
    """Wait until a job's work here has ended; return the job."""
    await machine.jobs.wait(job.id)
    return await machine.jobs.job(job.id)


async def mails(machine: Machine, job: StoredJob) -> list[EmailMessage]:
    """Return the messages that a job is in the queue as."""
    job = await ended(machine, job)
    assert isinstance(job.state, Sending), job.state
    found = []
    for number in job.state.messages:
        octets = b"".join([piece async for piece in machine.gateway.dispatcher.body(number)])
        mail = email.message_from_bytes(octets, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        found.append(mail)
    return found


def attachments(mail: EmailMessage, folder: Path) -> list[Path]:
    """Write a message's attachments into a folder; return their paths."""
    folder.mkdir(exist_ok=True)
    paths = []
    for part in mail.iter_attachments():
        path = folder / (part.get_filename() or "unnamed")
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        path.write_bytes(payload)
        paths.append(path)
    return paths


def said(*command: str | Path) -> str:
    """Return what a program prints about a file."""
    done = subprocess.run([str(c) for c in command], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.decode("utf-8", "replace")


def page_count(pdf: Path) -> int:
    """Return how many pages poppler finds."""
    line = next(line for line in said("pdfinfo", pdf).splitlines() if line.startswith("Pages:"))
    return int(line.split()[1])
