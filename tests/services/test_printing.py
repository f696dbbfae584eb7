"""Mail that came for the printer, and what came out of it: a real CUPS, its pages read by poppler."""

from __future__ import annotations

import asyncio
import re
import subprocess
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from cups import Cups
from paper_files import make_file
from printing_bench import (
    EVA,
    a_mail,
    answers,
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
from valija.domain.job import (
    Awaited,
    Awaiting,
    Failed,
    JobWord,
)

pytestmark = pytest.mark.peers
machine = machine_fixture


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
