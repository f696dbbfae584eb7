"""Mail that came for the printer, and what came out of it: a real CUPS, its pages read by poppler."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from cups import Cups
from fakes import ANA, START, FakeClock
from paper_files import make_file

from fax_pages import fax_file
from long_pdf import pdf
from valija.apps.config import Configuration
from valija.apps.machine import Machine, build
from valija.domain.account import Setting
from valija.domain.errors import StoreError
from valija.domain.job import (
    Awaited,
    Awaiting,
    Cancelled,
    Done,
    Failed,
    JobEvent,
    JobKind,
    JobState,
    JobWord,
    Preparing,
)
from valija.domain.print_job import PrintOptions
from valija.domain.printer import PrinterStateName
from valija.domain.record import ReceivedMessage
from valija.domain.stumbles import TIMES
from valija.domain.text import Message
from valija.net.errors import NetError
from valija.net.ipp import IppRefused, PrintTicket
from valija.services import print_line, printing
from valija.services.print_order import order_of, read_order
from valija.store.jobs_port import StoredJob
from valija.store.memory import MemoryStore

pytestmark = pytest.mark.peers
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


# --- what is printed ------------------------------------------------------------------------------------------------------


async def test_a_pdf_that_came_is_printed_once_and_its_job_is_done(machine: Machine, cups: Cups) -> None:
    (job,) = await came(machine, a_mail(("acta.pdf", pdf(3))))
    assert isinstance(job.state, Awaiting)
    assert (job.state.what, job.card.title, job.card.where) == (Awaited.PRINTER, "Acta", EVA)

    await until(machine, job.id, is_done)

    (printed,) = cups.await_output(1)
    assert pages_of(printed.path) == ["Page 1", "Page 2", "Page 3"]
    assert printed.title.startswith("Acta (valija ")
    assert (await machine.jobs.job(job.id)).progress.done == 3
    assert (machine.jobs.folder(job.id) / "first.png").is_file()
    assert [word for word, _about in await words_of(machine, job.id)] == [
        JobWord.BEGAN,
        JobWord.WAITS,
        JobWord.AT_PRINTER,
        JobWord.PRINTED,
        JobWord.FINISHED,
    ]
    await machine.printing.desk.mail.take()
    await machine.printing.line.turn()
    assert len(cups.output()) == 1


async def test_the_subjects_options_hold_and_what_is_unknown_is_told(machine: Machine, cups: Cups) -> None:
    subject = "[EXT] Acta ñ [copias=2 dúplex=largo color=no pages=2-3,5- stapler=yes copies=900]"
    (job,) = await came(machine, a_mail(("acta.pdf", pdf(6)), subject=subject))
    assert job.card.title == "[EXT] Acta ñ"
    await until(machine, job.id, is_done)
    (printed,) = cups.await_output(1)
    assert pages_of(printed.path) == ["Page 2", "Page 3", "Page 5", "Page 6"]
    assert printed.copies == 2
    assert "sides=two-sided-long-edge print-color-mode=monochrome" in printed.options
    assert "media=iso_a4_210x297mm" in printed.options
    assert (JobWord.LEFT_OUT, "stapler=yes, copies=900") in await words_of(machine, job.id)


async def test_every_kind_of_part_is_printed_in_order_and_no_page_is_larger_than_the_paper(
    machine: Machine, cups: Cups, tmp_path: Path
) -> None:
    names = ["a.jpg", "b.png", "c.tif"]
    files = [await asyncio.to_thread(make_file(tmp_path / name, [1]).read_bytes) for name in names]
    mail = a_mail(*zip(names, files, strict=True), ("fax.tif", fax_file(2)), ("d.pdf", pdf(1)), text="Página de texto")
    mail.add_attachment("<p>Un &euro;</p><img src='http://127.0.0.1:9/x.png'>", subtype="html", filename="e.html")
    await change(machine, bodies=True, paper="a5")
    (job,) = await came(machine, mail)
    await until(machine, job.id, is_done)
    (printed,) = cups.await_output(1)
    found = await asyncio.to_thread(
        subprocess.run, ["pdfinfo", "-l", "99", str(printed.path)], capture_output=True, text=True, check=True
    )
    sizes = [tuple(map(float, size)) for size in re.findall(r"Page +\d+ size: +([\d.]+) x ([\d.]+)", found.stdout)]
    assert len(sizes) == 8
    own = sizes.index((595.0, 842.0))  # a PDF is the printer's to fit
    assert own == 6
    assert all(width < 420.5 and height < 596 for place, (width, height) in enumerate(sizes) if place not in (4, 5, 6))


async def test_a_mail_of_text_alone_is_pages(machine: Machine, cups: Cups) -> None:
    html = EmailMessage()
    html["From"], html["Subject"] = EVA, "=?utf-8?q?A=C3=B1o?="
    html.set_content("plano")
    html.add_alternative("<b>plano</b>", subtype="html")
    jobs = await came(machine, a_mail(text="hola\n" * 200), html)
    for job, pages in zip(jobs, (4, 1), strict=True):
        await until(machine, job.id, is_done)
        assert (await machine.jobs.job(job.id)).progress.done == pages
    assert jobs[1].card.title == "Año"


# --- whose ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "reason"),
    [
        ("mallory@example.net", "print_unwanted"),
        ("eva@example.com.evil.example", "print_unwanted"),
        ("Eva <eva@example.com>, Mallory <mallory@example.net>", "print_sender_unclear"),
        ("=?utf-8?q?eva=40example=2Ecom?= <mallory@example.net>", "print_unwanted"),
        ('"eva@example.com" <mallory@example.net>', "print_unwanted"),
        ("undisclosed", "print_sender_unclear"),
    ],
)
async def test_who_is_not_allowed_prints_nothing_and_is_told_nothing(
    machine: Machine, cups: Cups, sender: str, reason: str
) -> None:
    octets = a_mail(("acta.pdf", pdf(1))).as_bytes().replace(b"From: eva@example.com", b"From: " + sender.encode())
    await change(machine, confirmation="always")
    (job,) = await came(machine, octets)
    assert reason_of(job) == reason
    await machine.printing.line.turn()
    assert cups.output() == []
    assert await machine.store.queue.list_messages(account=None, state=None, limit=10) == []


async def test_a_second_from_is_no_way_in_and_nobody_is_allowed_at_first(machine: Machine, tmp_path: Path) -> None:
    (job,) = await came(machine, b"From: mallory@example.net\r\n" + a_mail(("a.pdf", pdf(1))).as_bytes())
    assert reason_of(job) == "print_sender_unclear"
    await change(machine, senders=[])
    assert reason_of((await came(machine, a_mail(("a.pdf", pdf(1)))))[1]) == "print_unwanted"


async def test_the_password_opens_and_is_nowhere_to_be_read(machine: Machine, cups: Cups) -> None:
    await change(machine, password="c0rrect-horse")
    subjects = ["Acta", "Acta [pin=wrong-one]", "Acta [pin=c0rrect-horse]", "Acta [contraseña=c0rrect-horse"]
    jobs = await came(machine, *(a_mail(("acta.pdf", pdf(1)), subject=subject) for subject in subjects))
    await until(machine, jobs[2].id, is_done)
    assert [reason_of(jobs[place]) for place in (0, 1, 3)] == ["print_password"] * 3
    assert len(cups.await_output(1)) == 1
    said = repr([[job.card, await machine.store.jobs.history(job.id)] for job in jobs])
    assert "c0rrect-horse" not in said
    assert "wrong-one" not in said
    assert "c0rrect-horse" not in repr(await machine.printing.settings.load())


# --- what cannot be printed -----------------------------------------------------------------------------------------------


async def test_what_cannot_be_printed_is_told_and_kept_and_the_rest_is_printed(machine: Machine, cups: Cups) -> None:
    bad = b"%PDF-1.4\nnothing of the kind"
    mail = a_mail(("../../x.pdf", bad), ("report.docx", b"PK\x03\x04" + bytes(500)), ("ok.pdf", pdf(1)))
    (job,) = await came(machine, mail)
    await until(machine, job.id, is_done)
    (printed,) = cups.await_output(1)
    assert pages_of(printed.path) == ["Page 1"]
    lines = [about for word, about in await words_of(machine, job.id) if word is JobWord.NOT_SHOWN]
    assert [line.partition(":")[0] for line in lines] == ["report.docx", "../../x.pdf"]
    kept = {path.name for path in (machine.jobs.folder(job.id) / "kept").iterdir()}
    assert kept == {"part-002.pdf", "part-003.bin", "print.pdf"}
    (answer,) = await answers(machine)
    assert "report.docx" in answer
    assert "Printed: Acta" in answer


@pytest.mark.parametrize(
    ("mail", "changes", "reason"),
    [
        (a_mail(("a.docx", b"PK\x03\x04" + bytes(500))), {}, "print_nothing"),
        (a_mail(text=" \n"), {}, "print_nothing"),
        (a_mail(("a.pdf", b"%PDF-1.4\n" + bytes(100))), {}, "paper_unreadable"),
        (a_mail(("a.png", b"\x89PNG\r\n\x1a\n" + bytes(100))), {}, "paper_unreadable"),
        (a_mail(("a.pdf", pdf(9))), {"page_limit": 8}, "print_too_many_pages"),
        (a_mail(("a.pdf", pdf(9)), subject="[pages=12-]"), {}, "print_no_such_pages"),
        (a_mail(("a.pdf", pdf(9)), subject="[pages=all]"), {}, "print_bad_pages"),
        (a_mail(("a.pdf", pdf(1, size=(14_000, 14_000)) + bytes(1_100_000))), {"size_limit": 1}, "print_too_large"),
        (a_mail(*[(f"{n}.pdf", pdf(1)) for n in range(250)]), {}, "print_bad_mail"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_mail_that_is_not_printed_says_why(
    machine: Machine, mail: EmailMessage, changes: dict[str, Any], reason: str
) -> None:
    await change(machine, **changes)
    (job,) = await came(machine, mail)
    assert reason_of(job) == reason
    (answer,) = await answers(machine)
    assert "Not printed" in answer
    assert machine.explainer.explain(reason).meaning.split(",")[0] in " ".join(answer.split())


async def test_an_encrypted_pdf_is_said_to_be_one(machine: Machine, tmp_path: Path) -> None:
    plain, locked = tmp_path / "plain.pdf", tmp_path / "locked.pdf"
    await asyncio.to_thread(plain.write_bytes, pdf(1))
    command = ["qpdf", "--encrypt", "secret", "secret", "256", "--", str(plain), str(locked)]
    await asyncio.to_thread(subprocess.run, command, check=True)
    (job,) = await came(machine, a_mail(("locked.pdf", await asyncio.to_thread(locked.read_bytes))))
    assert reason_of(job) == "paper_encrypted"


async def test_hostile_mail_makes_a_job_with_a_note_and_the_next_one_is_printed(machine: Machine, cups: Cups) -> None:
    """Endless heads, parts within parts, odd encodings, nothing at all."""
    head = f"From: {EVA}\r\nSubject: x\r\n".encode()
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(50))
    hostile = [
        head + b"X: " + b"y" * 300_000 + b"\r\n\r\nx",
        head + deep,
        b"",
        b"\x00\xff\xfe" * 1000,
        b"From: =?x-unknown?q?eva=40example.com?=\r\nSubject: =?utf-8?b?////?=\r\n\r\nx",
        b"From: " + b"<" * 5000 + b"eva@example.com\r\n\r\nx",
        head + b"Content-Type: image/png; name*0*=utf-8''..%2f..%2f\r\n\r\n\x89PNG",
    ]
    jobs = await came(machine, *hostile, a_mail(("ok.pdf", pdf(1))))
    assert len(jobs) == len(hostile) + 1
    reasons = [job.state.trouble.reason if isinstance(job.state, Failed) else "" for job in jobs[:-1]]
    assert reasons[:4] == ["print_bad_mail"] * 4
    assert reasons[4:] == ["print_sender_unclear", "", "print_nothing"]
    await until(machine, jobs[-1].id, is_done)
    assert len(cups.await_output(2)) == 2, "an odd head that names her alone, and the last one"


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


async def test_who_sent_it_is_told_that_it_was_printed_if_that_is_wanted_and_a_machine_never(
    machine: Machine, cups: Cups
) -> None:
    await change(machine, confirmation="always")
    by_hand = a_mail(("a.pdf", pdf(1)), Message_ID="<one@example.com>")
    jobs = await came(machine, by_hand, a_mail(("a.pdf", pdf(1)), Auto_Submitted="auto-generated"))
    for job in jobs:
        await until(machine, job.id, is_done)
    (answer,) = await answers(machine)
    assert "In-Reply-To: <one@example.com>" in answer
    assert "Auto-Submitted: auto-replied" in answer
    assert "Printed: Acta" in answer


async def test_an_answer_that_comes_by_itself_is_not_printed_and_not_answered(machine: Machine, cups: Cups) -> None:
    """A note of absence, a report, this machine's own answer: nothing goes in circles."""
    await change(machine, confirmation="always", senders=[EVA, "@office.example"])
    (printed,) = await came(machine, a_mail(("a.pdf", pdf(1))))
    await until(machine, printed.id, is_done)
    (own,) = await answers(machine)
    report = b"From: eva@example.com\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\nhola\r\n--b--\r\n"
    jobs = await came(machine, own.encode(), report)
    assert [reason_of(job) for job in jobs[1:]] == ["print_automatic"] * 2
    assert len(await answers(machine)) == 1
    assert len(cups.output()) == 1


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
