"""The line of what is to be printed: a printer's ways, folders, faxes by rule."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

import pytest
from cups import Cups
from fakes import ANA, START
from printing_bench import (
    EVA,
    a_machine,
    a_mail,
    came,
    change,
    is_done,
    machine_fixture,
    pages_of,
    reason_of,
    until,
    words_of,
)

from fax_pages import fax_file
from long_pdf import pdf
from valija.apps.machine import Machine
from valija.domain.account import Setting
from valija.domain.job import (
    Awaiting,
    Cancelled,
    Failed,
    JobKind,
    JobWord,
    Preparing,
)
from valija.domain.print_job import PrintOptions
from valija.domain.printer import PrinterStateName
from valija.domain.record import ReceivedMessage
from valija.services import printing
from valija.services.print_order import order_of
from valija.store.jobs_port import StoredJob

pytestmark = pytest.mark.peers
machine = machine_fixture


# --- the printer ----------------------------------------------------------------------------------------------------------


async def test_a_printer_that_is_off_keeps_the_jobs_and_prints_them_in_order_later(
    machine: Machine, cups: Cups
) -> None:
    cups.stop()
    try:
        jobs = await came(machine, *(a_mail((f"{n}.pdf", pdf(n)), subject=f"Nº {n}") for n in (1, 2, 3)))
        for _try in range(4):
            machine.clock.jump(1000)  # type: ignore[attr-defined]
            await machine.printing.line.turn()
        assert [type((await machine.jobs.job(job.id)).state) for job in jobs] == [Awaiting] * 3
        said = [about for word, about in await words_of(machine, jobs[0].id) if word is JobWord.PRINTER_SAYS]
        assert [about.split()[0] for about in said] == ["connection_refused"], "said once"
        state = await machine.printing.printer_state()
        assert state is not None
        assert state.state is PrinterStateName.UNREACHABLE
    finally:
        cups.start()
    for job in jobs:
        await until(machine, job.id, is_done)
    assert [printed.title.split(" (")[0] for printed in cups.await_output(3)] == ["Nº 1", "Nº 2", "Nº 3"]


async def test_what_stops_the_printer_is_said_once_and_the_job_goes_on_afterwards(machine: Machine, cups: Cups) -> None:
    cups.trouble("office", "media-empty-error")
    (job,) = await came(machine, a_mail(("a.pdf", pdf(1))))
    await until(machine, job.id, lambda _state: bool(machine.printing.line._said))
    await machine.printing.line.turn()
    assert [about for word, about in await words_of(machine, job.id) if word is JobWord.PRINTER_SAYS] == ["media-empty"]
    cups.trouble("office", "")
    await until(machine, job.id, is_done)


async def test_a_queue_that_rejects_is_tried_again_and_another_one_can_be_set_meanwhile(
    machine: Machine, cups: Cups
) -> None:
    await asyncio.to_thread(cups.program, "cupsreject", "office")
    (job,) = await came(machine, a_mail(("a.pdf", pdf(1))))
    await machine.printing.line.turn()
    assert (JobWord.PRINTER_SAYS, 'printer_refused Destination "office" is not accepting jobs.') in await words_of(
        machine, job.id
    )
    await change(machine, target=cups.uri("second"))
    await until(machine, job.id, is_done)
    assert cups.output("office") == []
    assert len(cups.await_output(1, "second")) == 1


async def test_a_job_that_is_cancelled_is_taken_back_from_the_printer(machine: Machine, cups: Cups) -> None:
    await asyncio.to_thread(cups.program, "cupsdisable", "office")
    (job,) = await came(machine, a_mail(("a.pdf", pdf(1))))
    await until(machine, job.id, lambda _state: bool(machine.printing.line._said))
    cancelled = await machine.jobs.cancel(job.id, ANA)
    assert isinstance(cancelled.state, Cancelled)
    await machine.printing.line.turn()
    await asyncio.to_thread(cups.program, "cupsenable", "office")
    assert await asyncio.to_thread(cups.program, "lpstat", "-o") == ""
    assert cups.output() == []


async def test_a_job_that_is_cancelled_at_the_printer_has_failed_and_says_so(machine: Machine, cups: Cups) -> None:
    await asyncio.to_thread(cups.program, "cupsdisable", "office")
    (job,) = await came(machine, a_mail(("a.pdf", pdf(1))))
    await machine.printing.line.turn()
    await asyncio.to_thread(cups.program, "cancel", "-a", "office")
    assert reason_of(await until(machine, job.id, lambda state: isinstance(state, Failed))) == "print_cancelled_there"


async def test_a_printer_that_is_never_ready_is_waited_for_so_long_as_is_set(machine: Machine, cups: Cups) -> None:
    await asyncio.to_thread(cups.program, "cupsdisable", "office")
    await change(machine, wait=3)
    (job,) = await came(machine, a_mail(("a.pdf", pdf(1))))
    await machine.printing.line.turn()
    machine.clock.jump(3 * 3600 + 1)  # type: ignore[attr-defined]
    machine.jobs._followed.add(job.id)
    await machine.jobs._look()
    assert reason_of(await machine.jobs.job(job.id)) == "print_too_late"
    await machine.printing.line.turn()
    assert await asyncio.to_thread(cups.program, "lpstat", "-o") == "", "it is not printed days later"


@pytest.mark.parametrize("title", ["Acta", "会議録" * 60, "ñ" * 119 + "x" * 20, "\ud800" * 3, "👩‍👩‍👧" * 40])
def test_a_jobs_name_fits_a_printer_with_its_token(title: str) -> None:
    """255 octets, in UTF-8: what a printer cuts off, nobody finds again."""
    name = order_of(10**9, title, "0123456789ab", PrintOptions()).name
    assert name.endswith(" (valija 1000000000-0123456789ab)")
    assert len(name.encode()) <= 255
    assert name.startswith(title[:4].replace("\ud800", "?"))


async def test_a_folder_gets_each_document_once_under_a_name_that_tells_it(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    await change(machine, target=str(folder))
    (job,) = await came(machine, a_mail(("a.pdf", pdf(2)), subject="../Año: acta"))
    await machine.printing.line.turn()
    assert (JobWord.PRINTER_SAYS, "print_folder No such file or directory") in await words_of(machine, job.id)
    await asyncio.to_thread(folder.mkdir)
    await until(machine, job.id, is_done)
    (found,) = folder.iterdir()
    assert found.name == f"{START:%Y%m%d}-{job.id:06}--Año- acta.pdf"
    assert pages_of(found) == ["Page 1", "Page 2"]


async def test_without_a_printer_it_waits_until_one_is_set(machine: Machine, cups: Cups) -> None:
    await change(machine, target="")
    assert await machine.printing.printer_state() is None
    (job,) = await came(machine, a_mail(("a.pdf", pdf(1))))
    await machine.printing.line.turn()
    assert (JobWord.PRINTER_SAYS, "print_no_printer") in await words_of(machine, job.id)
    await change(machine, target=cups.uri())
    await until(machine, job.id, is_done)


async def test_a_fax_is_printed_by_rule_when_it_comes(machine: Machine, cups: Cups) -> None:
    await change(machine, faxes=["@example.com"])
    await machine.fax.receiver.mail.start()
    for sender in (EVA, "x@other.example"):
        mail = a_mail(("fax.tif", fax_file(2)), sender=sender).as_bytes()
        name = secrets.token_hex(8)
        await asyncio.to_thread((machine.state_dir / name).write_bytes, mail)
        record = ReceivedMessage(Setting.INTERNET_FAX.value, "m", name, START, name, len(mail), "", "")
        assert await machine.store.record_received(record)
    await machine.fax.receiver.mail.take()
    (job,) = await machine.store.jobs.list_jobs(kind=JobKind.PRINT, state=None, limit=10)
    await machine.jobs.wait(job.id)
    await until(machine, job.id, is_done)
    faxes = await machine.store.jobs.list_jobs(kind=JobKind.FAX_RECEIVE, state=None, limit=10)
    assert (JobWord.PRINTED, str(job.id)) in await words_of(machine, faxes[1].id)
    assert (await machine.jobs.job(job.id)).progress.done == 2
    kept = [machine.jobs.folder(faxes[1].id) / "kept" / "part-002.pdf"]
    assert await machine.printing.desk.print_fax(faxes[1], kept, ANA) == job.id, "after a crash, it is the same job"


@pytest.mark.parametrize("all_there", [True, False])
async def test_a_fax_whose_pages_were_being_made_when_the_process_ended_is_printed(
    machine: Machine, cups: Cups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, all_there: bool
) -> None:
    """Once all of its files were taken over: the fax's own job has ended by then. Else the fax's job asks for it again."""
    source = tmp_path / "part-002.pdf"
    await asyncio.to_thread(source.write_bytes, pdf(2))
    stuck = asyncio.Event()

    async def makes_pages(*_told: Any) -> None:
        stuck.set()
        await asyncio.sleep(60)

    def breaks_off(*_told: Any) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(machine.printing.desk, "_print_parts", makes_pages)
    if not all_there:
        monkeypatch.setattr(printing, "write_parts", breaks_off)
    job = await machine.printing.desk.print_files([source], "Fax ñ", ANA, {"fax": "7"})
    if all_there:
        await stuck.wait()
    await machine.jobs.stop()
    await asyncio.to_thread(source.unlink)
    assert isinstance((await machine.jobs.job(job.id)).state, Preparing)

    again = a_machine(machine.state_dir, machine.store)  # type: ignore[arg-type]
    await again.jobs.start()
    await again.jobs.wait(job.id)
    if all_there:
        await until(again, job.id, is_done)
        (printed,) = cups.await_output(1)
        assert printed.title.startswith("Fax ñ (valija ")
        assert pages_of(printed.path) == ["Page 1", "Page 2"]
    else:
        assert reason_of(await again.jobs.job(job.id)) == "job_interrupted"
    await again.jobs.stop()
    await again.http.close()


async def test_who_asks_for_a_print_that_is_cancelled_at_once_does_not_wait_for_ever(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = machine.jobs.go_on

    async def cancelled(job: StoredJob, work: Any) -> None:
        await real(job, work)
        machine.jobs._running[job.id].cancel()

    monkeypatch.setattr(machine.jobs, "go_on", cancelled)
    async with asyncio.timeout(5):
        job = await machine.printing.desk.print_files([tmp_path / "a.pdf"], "Acta", ANA)
    assert isinstance((await machine.jobs.job(job.id)).state, Preparing)
