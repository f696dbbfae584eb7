"""What goes away in the middle of a print: the process, the disk, the store. Nothing is lost or printed twice."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from cups import Cups
from printing_bench import (
    a_machine,
    a_mail,
    came,
    change,
    is_done,
    machine_fixture,
    reason_of,
    until,
    words_of,
)

from long_pdf import pdf
from valija.apps.machine import Machine
from valija.domain.errors import StoreError
from valija.domain.job import (
    Awaiting,
    Failed,
    JobEvent,
    JobWord,
)
from valija.domain.stumbles import TIMES
from valija.domain.text import Message
from valija.net.errors import NetError
from valija.net.ipp import IppRefused, PrintTicket
from valija.services import print_line
from valija.services.print_order import read_order
from valija.store.jobs_port import StoredJob

pytestmark = pytest.mark.peers
machine = machine_fixture


async def test_a_crash_between_handing_over_and_writing_it_down_prints_nothing_twice(
    machine: Machine, cups: Cups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the printer is still at it, or has done it already."""
    for kept in ("media-empty-error", ""):
        cups.trouble("office", kept)
        line = machine.printing.line
        before = len(cups.output())
        job = (await came(machine, a_mail(("a.pdf", pdf(1)))))[-1]

        class Crash(Exception):
            pass

        real = line.ipp.print_file

        async def printed_then_died(*told: Any) -> Any:
            await real(*told)  # noqa: B023
            raise Crash

        monkeypatch.setattr(line.ipp, "print_file", printed_then_died)
        with pytest.raises(Crash):
            await line.turn()
        monkeypatch.undo()
        order = await asyncio.to_thread(read_order, machine.jobs.folder(job.id))
        assert order is not None
        assert (order.begun, order.at_printer) == (True, 0)
        if not kept:
            cups.await_output(before + 1)

        again = a_machine(machine.state_dir, machine.store)  # type: ignore[arg-type]
        await again.printing.line.start()
        await again.printing.line.turn()
        cups.trouble("office", "")
        await until(again, job.id, is_done)
        await again.http.close()
        line._orders.clear()
        assert len(cups.output()) == before + 1


async def test_what_one_job_cannot_do_does_not_hold_the_others(
    machine: Machine, cups: Cups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that the printer refuses, one that is not there any more, an order that cannot be written."""
    jobs = await came(machine, *(a_mail(("a.pdf", pdf(1)), subject=f"Nº {n}") for n in range(4)))
    line = machine.printing.line
    real = line.ipp.print_file

    async def refused_once(target: Any, ticket: Any, path: Path) -> Any:
        if ticket.name.startswith("Nº 0 "):
            raise IppRefused(0x0411, "not a page in it")
        return await real(target, ticket, path)

    monkeypatch.setattr(line.ipp, "print_file", refused_once)
    await asyncio.to_thread((machine.jobs.folder(jobs[1].id) / "kept" / "print.pdf").unlink)
    await asyncio.to_thread(shutil.rmtree, machine.jobs.folder(jobs[2].id))
    await line.turn()
    ended = [await machine.jobs.job(job.id) for job in jobs[:3]]
    assert [reason_of(job) for job in ended] == ["print_not_taken", "job_file", "job_file"]
    assert [s.trouble.server_words for s in (job.state for job in ended) if isinstance(s, Failed)] == [
        "not a page in it",
        "No such file or directory: print.pdf",
        "No such file or directory: order.new",
    ]
    await until(machine, jobs[3].id, is_done)
    assert [printed.title.split(" (")[0] for printed in cups.await_output(1)] == ["Nº 3"]


async def test_a_document_over_which_the_printer_breaks_each_time_does_not_hold_the_others(
    machine: Machine, cups: Cups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits at first, as for any trouble of the printer; then others go before it, and it has failed."""
    jobs = await came(machine, *(a_mail(("a.pdf", pdf(1)), subject=f"Nº {n}") for n in range(2)))
    line = machine.printing.line
    real = line.ipp.print_file
    asked: list[str] = []

    async def breaks_over_one(target: Any, ticket: Any, path: Path) -> Any:
        asked.append(ticket.name[:4])
        if ticket.name.startswith("Nº 0 "):
            raise IppRefused(0x0500, "internal error")
        return await real(target, ticket, path)

    monkeypatch.setattr(line.ipp, "print_file", breaks_over_one)
    for _try in range(TIMES):
        line._retry_at = float("-inf")
        await line.turn()
    assert asked == ["Nº 0"] * TIMES
    assert isinstance((await machine.jobs.job(jobs[0].id)).state, Awaiting)
    line._retry_at = float("-inf")
    await line.turn()
    assert asked[TIMES:] == ["Nº 1", "Nº 0"]
    assert reason_of(await machine.jobs.job(jobs[0].id)) == "print_not_taken"
    await until(machine, jobs[1].id, is_done)


@pytest.mark.parametrize("reason", ["printer_nonsense", "timed_out"])
async def test_a_printer_that_takes_a_document_and_says_nothing_to_be_understood_prints_no_heap_of_it(
    machine: Machine, cups: Cups, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """It knows no job of that name: it may cut names off, or forget at once what it has printed."""
    (job,) = await came(machine, a_mail(("a.pdf", pdf(1))))
    ipp, printed = machine.printing.line.ipp, []

    async def prints(_target: Any, ticket: PrintTicket, _path: Path) -> Any:
        printed.append(ticket.name)
        raise NetError(reason, "printer", "")

    async def knows_nothing(*_told: Any) -> None:
        return None

    monkeypatch.setattr(ipp, "print_file", prints)
    monkeypatch.setattr(ipp, "find", knows_nothing)
    for _try in range(3):
        machine.clock.jump(400)  # type: ignore[attr-defined]
        await machine.printing.line.turn()
    again = a_machine(machine.state_dir, machine.store)  # type: ignore[arg-type]
    await again.printing.line.start()
    monkeypatch.setattr(again.printing.line, "ipp", ipp)
    for _try in range(3):
        again.clock.jump(400)  # type: ignore[attr-defined]
        await again.printing.line.turn()
    await again.http.close()
    assert len(printed) == 3
    assert reason_of(await machine.jobs.job(job.id)) == "print_unsure"
    monkeypatch.undo()
    machine.printing.line._drop(job.id)
    (*_first, other) = await came(machine, a_mail(("a.pdf", pdf(1))))
    await until(machine, other.id, is_done)
    assert len(cups.await_output(1)) == 1


async def test_a_folder_that_is_deleted_while_the_printer_prints_is_not_the_jobs_end(
    machine: Machine, cups: Cups, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = await came(machine, a_mail(("a.pdf", pdf(1))))
    ipp = machine.printing.line.ipp
    print_file = ipp.print_file

    async def prints(*told: Any) -> Any:
        found = await print_file(*told)
        await asyncio.to_thread(shutil.rmtree, machine.jobs.folder(job.id))
        return found

    monkeypatch.setattr(ipp, "print_file", prints)
    await until(machine, job.id, is_done)
    assert len(cups.await_output(1)) == 1


async def test_a_full_disk_keeps_the_line_waiting(
    machine: Machine, cups: Cups, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = await came(machine, a_mail(("a.pdf", pdf(1))))

    def full(*_told: Any) -> None:
        raise OSError(28, "No space left on device", "/x/order.new")

    monkeypatch.setattr(print_line, "write_order", full)
    await machine.printing.line.turn()
    assert (JobWord.PRINTER_SAYS, "disk_full No space left on device: order.new") in await words_of(machine, job.id)
    monkeypatch.undo()
    await until(machine, job.id, is_done)
    assert len(cups.await_output(1)) == 1


@pytest.mark.parametrize("target", ["printer", "folder"])
@pytest.mark.parametrize("broken", range(1, 5))
async def test_a_store_that_is_away_when_a_job_comes_to_its_end_hears_of_it_later(
    machine: Machine, cups: Cups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, broken: int
) -> None:
    """Else what was printed would be said to have failed, days later, and be printed again."""
    if target == "folder":
        await asyncio.to_thread((tmp_path / "out").mkdir)
        await change(machine, target=str(tmp_path / "out"))
    (job,) = await came(machine, a_mail(("a.pdf", pdf(1))))
    apply, calls = machine.store.jobs.apply, 0

    async def away_once(number: int, event: JobEvent) -> StoredJob | None:
        nonlocal calls
        calls += 1
        if calls == broken:
            raise StoreError(Message("The store is away."))
        return await apply(number, event)

    monkeypatch.setattr(machine.store.jobs, "apply", away_once)
    end = time.monotonic() + 15
    while not is_done((await machine.jobs.job(job.id)).state) and time.monotonic() < end:
        machine.clock.jump(11)  # type: ignore[attr-defined]
        with contextlib.suppress(StoreError):
            await machine.printing.line.turn()
        await asyncio.sleep(0.05)
    assert is_done((await machine.jobs.job(job.id)).state)
    if target == "printer":
        assert len(cups.await_output(1)) == 1
    else:
        assert len(list((tmp_path / "out").iterdir())) == 1


async def test_a_printers_no_to_a_store_that_is_away_is_heard_later(
    machine: Machine, cups: Cups, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = await came(machine, a_mail(("a.pdf", pdf(1))))
    apply = machine.store.jobs.apply

    async def refuses(*_told: Any) -> Any:
        raise IppRefused(0x040A, "document format not supported")

    async def away(*_told: Any) -> Any:
        raise StoreError(Message("The store is away."))

    monkeypatch.setattr(machine.printing.line.ipp, "print_file", refuses)
    monkeypatch.setattr(machine.store.jobs, "apply", away)
    with pytest.raises(StoreError):
        await machine.printing.line.turn()
    monkeypatch.setattr(machine.store.jobs, "apply", apply)
    await machine.printing.line.turn()
    assert reason_of(await machine.jobs.job(job.id)) == "print_not_taken"


async def test_a_document_that_is_gone_is_not_the_folders_trouble(machine: Machine, tmp_path: Path) -> None:
    await change(machine, target=str(tmp_path))
    (job,) = await came(machine, a_mail(("a.pdf", pdf(1))))
    await asyncio.to_thread((machine.jobs.folder(job.id) / "kept" / "print.pdf").unlink)
    await machine.printing.line.turn()
    assert reason_of(await machine.jobs.job(job.id)) == "job_file"
