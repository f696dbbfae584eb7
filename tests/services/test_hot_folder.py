"""The folder whose files are sent: each file once, whatever it is called and whenever the process ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fakes import ANA, FakeClock

from fax_pages import fax_file
from valija.apps.config import Configuration
from valija.apps.machine import Machine, build
from valija.domain.account import Setting
from valija.domain.job import JobKind, JobWord
from valija.services.hot_folder import given_name
from valija.store.jobs_port import StoredJob
from valija.store.memory import MemoryStore


def a_machine(directory: Path, store: MemoryStore | None = None) -> Machine:
    return build(Configuration(), store or MemoryStore(), FakeClock(by_itself=False), directory / "state")


@pytest.fixture(name="machine")
async def machine_fixture(tmp_path: Path) -> AsyncIterator[Machine]:
    """Give a machine that sends what lies in ``in/``; nothing runs in the background."""
    for name in ("state", "in"):
        (tmp_path / name).mkdir()
    machine = a_machine(tmp_path)
    await machine.settings.change(Setting.SMTP, {"sender_address": "mfp@office.example"}, confirm=True, actor=ANA)
    await machine.scan_settings.change({"folder": str(tmp_path / "in"), "folder_to": ["a@b.example"]}, actor=ANA)
    yield machine
    await machine.jobs.stop()
    await machine.http.close()


async def put(folder: Path, name: str = "scan.tif") -> None:
    await asyncio.to_thread((folder / "in" / name).write_bytes, fax_file(1))


async def there(folder: Path, *, of: str = "**") -> list[str]:
    inside = folder / "in"
    found = await asyncio.to_thread(lambda: [path for path in inside.glob(f"{of}/*") if path.is_file()])
    return sorted(str(path.relative_to(inside)) for path in found)


async def looked(machine: Machine) -> list[StoredJob]:
    """Look until all is where it belongs; return the jobs, oldest first."""
    for _look in range(3):
        await machine.hot_folder.look()
        jobs = await machine.store.jobs.list_jobs(kind=JobKind.SCAN, state=None, limit=10)
        for job in jobs:
            await machine.jobs.wait(job.id)
    await machine.hot_folder.look()
    return jobs[::-1]


async def mails(machine: Machine) -> int:
    return len(await machine.store.queue.list_messages(account=None, state=None, limit=10))


async def crash_in(machine: Machine, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the next file be taken, and nothing follow from it."""

    async def broken(*_told: Any, **_more: Any) -> None:
        raise error

    monkeypatch.setattr(machine.hot_folder.scans, "begin", broken)
    await machine.hot_folder.look()
    with pytest.raises(type(error)):
        await machine.hot_folder.look()
    monkeypatch.undo()


async def test_files_of_the_same_name_are_sent_each_and_keep_it(machine: Machine, tmp_path: Path) -> None:
    """In the job, for the recipient, and in ``done/``."""
    for _scan in range(2):
        await put(tmp_path)
        jobs = await looked(machine)
    assert await there(tmp_path) == ["done/scan (2).tif", "done/scan.tif"]
    assert [job.card.title for job in jobs] == ["scan.tif"] * 2
    assert jobs[0].card.where != jobs[1].card.where
    history = await machine.store.jobs.history(jobs[0].id)
    assert [line.about for line in history if line.word is JobWord.TAKEN_FROM_FOLDER] == ["scan.tif"]
    assert await mails(machine) == 2


async def test_a_file_that_still_grows_or_is_called_unfinished_is_left_alone(machine: Machine, tmp_path: Path) -> None:
    """Until it has been the same for a look, or has got its name: scanners write for minutes, over slow networks."""
    whole = fax_file(3)
    for length in (0, 100, len(whole) // 2, len(whole)):
        for name in ("slow.tif", "renamed.tif.part", "~open.tif", ".hidden.tif", "notes.docx"):
            await asyncio.to_thread((tmp_path / "in" / name).write_bytes, whole[:length])
        await machine.hot_folder.look()
        assert await mails(machine) == 0
        assert await there(tmp_path, of="sending") == []
    (job,) = await looked(machine)
    assert job.card.title == "slow.tif"
    assert await mails(machine) == 1
    await asyncio.to_thread((tmp_path / "in/renamed.tif.part").rename, tmp_path / "in/renamed.tif")
    assert [job.card.title for job in await looked(machine)] == ["slow.tif", "renamed.tif"]
    left = [name for name in await there(tmp_path) if "/" not in name]
    assert left == [".hidden.tif", "notes.docx", "~open.tif"]


async def test_a_crash_before_the_job_is_there_does_not_put_away_what_was_not_sent(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the device calls all its scans the same, and the one of yesterday was sent."""
    await put(tmp_path)
    await looked(machine)
    await put(tmp_path)
    await crash_in(machine, monkeypatch, SystemError("power"))
    assert len(await there(tmp_path, of="sending")) == 1
    again = a_machine(tmp_path, machine.store)  # type: ignore[arg-type]
    await looked(again)
    await again.jobs.stop()
    await again.http.close()
    assert await there(tmp_path) == ["done/scan (2).tif", "done/scan.tif"]
    assert await mails(machine) == 2


async def test_a_file_that_an_error_left_is_sent_without_a_restart(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(tmp_path)
    await crash_in(machine, monkeypatch, OSError(28, "No space left on device"))
    await looked(machine)
    assert await there(tmp_path) == ["done/scan.tif"]
    assert await mails(machine) == 1


async def test_a_file_that_somebody_takes_away_does_not_stop_the_others(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(tmp_path)
    await machine.hot_folder.look()
    await machine.hot_folder.look()
    (path,) = await there(tmp_path, of="sending")
    await asyncio.to_thread((tmp_path / "in" / path).unlink)
    await put(tmp_path, "b.tif")
    await looked(machine)
    assert await there(tmp_path) == ["done/b.tif"]


async def test_a_name_as_long_as_a_file_system_takes_is_sent(machine: Machine, tmp_path: Path) -> None:
    name = "ñ" * 125 + ".tif"
    await put(tmp_path, name)
    (job,) = await looked(machine)
    assert name.startswith(job.card.title.removesuffix(".tif"))
    (done,) = await there(tmp_path)
    assert done.startswith("done/ñññ")
    assert done.endswith("ñ.tif")


async def test_a_name_in_latin_1_is_sent_and_does_not_stop_the_others(machine: Machine, tmp_path: Path) -> None:
    """What an old device calls its files by FTP is no UTF-8."""
    old = Path(os.fsdecode(b"M\xfcller.tif"))
    await put(tmp_path, str(old))
    await put(tmp_path, "b.tif")
    jobs = await looked(machine)
    assert sorted(job.card.title for job in jobs) == ["Müller.tif", "b.tif"]
    assert await there(tmp_path) == ["done/Müller.tif", "done/b.tif"]
    assert await mails(machine) == 2


def test_a_name_without_a_token_is_the_devices() -> None:
    assert given_name("20310301T090000-0123abcd scan 1.pdf") == "scan 1.pdf"
    assert given_name("20310301 scan.pdf") == "20310301 scan.pdf"
