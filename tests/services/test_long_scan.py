"""A scan of 300 colour pages: its progress is told, memory is flat, and it is cancelled at any moment."""

from __future__ import annotations

import asyncio
import re
import resource
import time
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image
from scan_rig import ANA, attachments, ended, machine_fixture, mails, page_count

from valija.apps.machine import Machine
from valija.domain.job import Cancelled
from valija.services.events import JobChanged
from valija.services.scan_work import ScanFile
from valija.store.jobs_port import StoredJob

machine = machine_fixture
PAGES = 300
ASKED = {"to": ["luis@example.com"], "review": False, "format": "pdf"}


def _stack(path: Path, pages: int) -> list[ScanFile]:
    """Make a TIFF of colour pages, A4 at 75 dpi."""
    sheet = Image.merge("RGB", [Image.effect_noise((620, 877), spread) for spread in (2, 3, 4)])
    sheet.save(path, save_all=True, append_images=[sheet] * (pages - 1), compression="jpeg", dpi=(75, 75))
    return [ScanFile(path, path.name)]


def _workers() -> list[int]:
    found = [int(pid) for task in Path("/proc/self/task").iterdir() for pid in _read(f"{task}/children").split()]
    return [pid for pid in found if b"paper.worker" in _read(f"/proc/{pid}/cmdline")]


def _read(path: str) -> bytes:
    with suppress(OSError):  # it has ended
        return Path(path).read_bytes()
    return b""


def _memory_kb(pids: list[int]) -> int:
    """Return what processes hold; a file that libtiff maps is no memory that they keep from others."""
    found = [re.search(rb"RssAnon:\s+(\d+)", _read(f"/proc/{pid}/status")) for pid in pids]
    return max((int(match[1]) for match in found if match), default=0)


async def _follow(machine: Machine, job: StoredJob, pages: int) -> tuple[list[int], int]:
    """Wait until all pages are taken; return the progress as it was told, and the peak memory of who takes them."""
    told, peak = [0], 0
    async with machine.events.subscribe() as queue, asyncio.timeout(60):
        while told[-1] < pages:
            event = await queue.get()
            if isinstance(event, JobChanged) and event.subject == str(job.id) and event.done:
                told.append(event.done)
                peak = max(peak, _memory_kb(_workers()))
    return told, peak


async def test_300_colour_pages_are_taken_with_flat_memory(machine: Machine, tmp_path: Path) -> None:
    """Ten times the pages need as much as a tenth, in the daemon and in the process that does the work."""
    peaks, own = [], []
    for pages in (PAGES // 10, PAGES):
        given = _stack(tmp_path / f"{pages}.tif", pages)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        job = await machine.scans.begin(ASKED, ANA, given)
        told, peak = await _follow(machine, job, pages)
        await ended(machine, job)
        own.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        assert told == sorted(told) and told[-1] == pages
        peaks.append(peak)
        [mail] = await mails(machine, job)
        assert page_count(attachments(mail, tmp_path / f"got{pages}")[0]) == pages
    assert 0 < peaks[1] < peaks[0] + 12_000, peaks
    assert max(own) < 10_000, own


@pytest.mark.parametrize("at", [1, PAGES // 2])
async def test_it_is_cancelled_at_any_moment(machine: Machine, tmp_path: Path, at: int) -> None:
    """At once: no mail, and no process that goes on."""
    job = await machine.scans.begin(ASKED, ANA, _stack(tmp_path / "long.tif", PAGES))
    told, _peak = await _follow(machine, job, at)
    assert told[-1] < PAGES and _workers()
    before = time.monotonic()
    cancelled = await machine.jobs.cancel(job.id, ANA)
    assert time.monotonic() - before < 3
    assert isinstance(cancelled.state, Cancelled) and not _workers()
    assert await machine.store.queue.list_messages(account=None, state=None, limit=9) == []
