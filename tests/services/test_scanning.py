"""Scan to e-mail with SANE's test scanner and with files: what the recipient gets, and what becomes of it otherwise."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from paper_files import make_file
from PIL import Image
from scan_rig import ANA, attachments, ended, machine_fixture, mails, page_count, said, sane_fixture

from valija.apps.config import Configuration
from valija.apps.machine import Machine, SystemClock, build
from valija.domain.errors import InvalidFields, NotReady, RequestError, UnknownName
from valija.domain.job import Awaiting, Cancelled, Failed, JobEvent, JobWord, Resumed, Sending
from valija.domain.queue import Failed as NotSent
from valija.services.events import JobChanged
from valija.services.scan_work import ScanFile
from valija.store.jobs_port import StoredJob

machine, sane = machine_fixture, sane_fixture
TO = ["luis@example.com"]
IN_PARTS = {"to": TO, "review": False, "format": "pdf", "subject": "Grande", "size_choice": "split"}
FEEDER = {"to": TO, "source": "feeder", "resolution": 75, "review": False}


def files(folder: Path, *named: tuple[str, list[int]], mode: str = "RGB") -> list[ScanFile]:
    """Make files with pages."""
    return [ScanFile(make_file(folder / name, numbers, mode), name) for name, numbers in named]


@pytest.mark.usefixtures("sane")
async def test_ten_sheets_from_the_feeder_arrive_as_one_pdf(machine: Machine, tmp_path: Path) -> None:
    """With subject, text, signature and file name as the templates say, and a hidden copy to whom the setting names."""
    assert [scanner.name for scanner in await machine.scans.scanners()] == ["test:0", "test:1"]
    settings = {
        "subject": "De {machine}: {counter}",
        "text": "Hola:\nva el contrato.",
        "signature": "Oficina 7",
        "file_name": "contrato/{counter}",
        "bcc": "archivo@example.com",
    }
    await machine.scan_settings.change(settings, actor=ANA)
    job = await machine.scans.begin(FEEDER, ANA)
    [mail] = await mails(machine, job)
    assert mail["Subject"] == f"De Valija: {job.id:04}"
    assert mail["To"] == "luis@example.com"
    assert "archivo" not in mail.as_string()
    body = mail.get_body()
    assert body is not None
    assert body.get_content().strip().splitlines() == ["Hola:", "va el contrato.", "", "-- ", "Oficina 7"]
    [pdf] = attachments(mail, tmp_path / "got")
    assert pdf.name == f"contrato-{job.id:04}.pdf"
    assert page_count(pdf) == 10
    assert "No syntax or stream encoding errors" in said("qpdf", "--check", pdf)
    job = await machine.jobs.job(job.id)
    assert (job.progress.done, job.progress.of) == (10, 10)
    assert isinstance(job.state, Sending)
    stored = await machine.store.queue.load(job.state.messages[0])
    assert stored is not None
    assert [entry.recipient.address for entry in stored.entries] == ["luis@example.com", "archivo@example.com"]
    assert (machine.jobs.folder(job.id) / "first.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("sane")
async def test_the_glass_gives_one_page_in_the_colours_and_resolution_asked_for(
    machine: Machine, tmp_path: Path
) -> None:
    asked = {"to": TO, "source": "glass", "resolution": 150, "colour": "mono", "format": "tiff", "review": False}
    [mail] = await mails(machine, await machine.scans.begin(asked, ANA))
    [tiff] = attachments(mail, tmp_path / "got")
    told = said("tiffinfo", tiff)
    assert "Resolution: 150, 150 pixels/inch" in told
    assert "Bits/Sample: 1" in told
    assert told.count("Image Width") == 1


@pytest.mark.usefixtures("sane")
@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"scanner": "nosuch:1"}, "scanner_missing"),
        ({"duplex": True}, "scanner_cannot"),
    ],
    ids=str,
)
async def test_what_the_scanner_says_no_to_is_explained(machine: Machine, asked: dict[str, Any], reason: str) -> None:
    job = await ended(machine, await machine.scans.begin(FEEDER | asked, ANA))
    assert isinstance(job.state, Failed)
    assert job.state.trouble.reason == reason


@pytest.mark.usefixtures("sane")
async def test_a_jam_is_said_in_the_scanners_own_words(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scanner is in use meanwhile for nobody else; and when it is jammed nothing is sent."""
    from valija.paper import scanner

    arguments = scanner._arguments
    jam = ["--enable-test-options=yes", "--read-return-value", "SANE_STATUS_JAMMED"]

    def jammed(*given: Any) -> tuple[list[str], int]:
        made, resolution = arguments(*given)
        return [*made, *jam], resolution

    monkeypatch.setattr(scanner, "_arguments", jammed)
    job = await ended(machine, await machine.scans.begin(FEEDER, ANA))
    assert isinstance(job.state, Failed)
    assert job.state.trouble.reason == "scanner_jammed"
    assert "Document feeder jammed" in job.state.trouble.server_words
    assert await machine.store.queue.list_messages(account=None, state=None, limit=9) == []


@pytest.mark.usefixtures("sane")
async def test_a_scan_is_cancelled_while_the_scanner_works(machine: Machine) -> None:
    slow = FEEDER | {"resolution": 600, "colour": "colour"}
    job = await machine.scans.begin(slow, ANA)
    async with machine.events.subscribe() as queue, asyncio.timeout(20):
        while not (isinstance(event := await queue.get(), JobChanged) and event.done):
            assert not isinstance(event, JobChanged) or event.state == "preparing"
    before = time.monotonic()
    cancelled = await machine.jobs.cancel(job.id, ANA)
    assert time.monotonic() - before < 3
    assert isinstance(cancelled.state, Cancelled)
    assert sorted(path.name for path in machine.jobs.folder(job.id).iterdir()) == ["first.png", "kept"]


async def test_pages_are_looked_at_turned_moved_and_deleted_before_they_are_sent(
    machine: Machine, tmp_path: Path
) -> None:
    given = files(tmp_path, ("a.tif", [1, 2, 3, 4]))
    job = await ended(machine, await machine.scans.begin({"to": TO}, ANA, given))
    assert isinstance(job.state, Awaiting)
    _job, found = await machine.scans.pages(job.id)
    assert [page.number for page in found.pages] == [1, 2, 3, 4]
    assert (await machine.scans.picture(job.id, 2)).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UnknownName):
        await machine.scans.picture(job.id, 5)
    for wrong in ([1, 1], [9]):
        with pytest.raises(RequestError):
            await machine.scans.change_pages(job.id, wrong)
    await machine.scans.change_pages(job.id, [4, 1, 2], {1: 90})
    sent = await machine.scans.send(job.id)
    [mail] = await mails(machine, sent)
    [pdf] = attachments(mail, tmp_path / "got")
    sizes = [
        line.split(":")[1].split()[:3:2] for line in said("pdfinfo", "-l", "3", pdf).splitlines() if " pts" in line
    ]
    assert page_count(pdf) == 3
    wide = [float(width) > float(height) for width, height in sizes]
    assert wide == [False, True, False]
    with pytest.raises(RequestError):
        await machine.scans.send(job.id)


async def test_a_scan_that_two_people_send_at_once_is_sent_once(machine: Machine, tmp_path: Path) -> None:
    """And none at all that somebody cancels meanwhile."""
    sent, cancelled = [
        await ended(machine, await machine.scans.begin({"to": TO}, ANA, files(tmp_path, (name, [1]))))
        for name in ("a.tif", "b.tif")
    ]
    found = await asyncio.gather(*(machine.scans.send(sent.id) for _who in range(2)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["RequestError", "StoredJob"]
    apply = machine.jobs.apply

    async def cancel_first(number: int, event: JobEvent) -> StoredJob | None:
        if isinstance(event, Resumed):
            await machine.jobs.cancel(number, ANA)
        return await apply(number, event)

    machine.jobs.apply = cancel_first  # type: ignore[method-assign]
    with pytest.raises(RequestError):
        await machine.scans.send(cancelled.id)
    for job in (sent, cancelled):
        await machine.jobs.wait(job.id)
    assert len(await machine.store.queue.list_messages(account=None, state=None, limit=10)) == 1


async def test_a_page_that_is_deleted_while_another_is_turned_stays_deleted(machine: Machine, tmp_path: Path) -> None:
    job = await ended(machine, await machine.scans.begin({"to": TO}, ANA, files(tmp_path, ("a.tif", [1, 2]))))
    turned = machine.scans.change_pages(job.id, [1, 2], {1: 90})
    await asyncio.gather(turned, machine.scans.change_pages(job.id, [1]))
    _job, found = await machine.scans.pages(job.id)
    assert [(page.number, page.turned) for page in found.pages] == [(1, 90)]


async def test_a_page_that_cannot_be_turned_is_said_in_words(machine: Machine, tmp_path: Path) -> None:
    job = await ended(machine, await machine.scans.begin({"to": TO}, ANA, files(tmp_path, ("a.tif", [1]))))
    [page] = (machine.jobs.folder(job.id) / "pages").glob("page*")
    page.write_bytes(b"")
    with pytest.raises(NotReady):
        await machine.scans.change_pages(job.id, [1], {1: 90})


async def test_a_pdf_that_fits_is_sent_as_it_is(machine: Machine, tmp_path: Path) -> None:
    given = files(tmp_path, ("Año 2026.pdf", [1, 2]))
    [mail] = await mails(machine, await machine.scans.begin({"to": TO, "review": False}, ANA, given))
    [pdf] = attachments(mail, tmp_path / "got")
    assert pdf.name == "Año 2026.pdf"
    assert pdf.read_bytes() == given[0].path.read_bytes()


async def test_several_files_become_one_document_without_its_blank_pages(machine: Machine, tmp_path: Path) -> None:
    given = files(tmp_path, ("a.pdf", [1, 0]), ("b.png", [2]), ("c.tif", [0, 3]))
    asked = {"to": TO, "review": False, "drop_blank": True, "colour": "grey"}
    job = await machine.scans.begin(asked, ANA, given)
    [mail] = await mails(machine, job)
    [pdf] = attachments(mail, tmp_path / "got")
    assert page_count(pdf) == 3
    lines = [line for line in await machine.store.jobs.history(job.id) if line.word is JobWord.BLANK_DROPPED]
    assert [line.about for line in lines] == ["2", "4"]


async def test_only_blank_pages_are_nothing_to_send(machine: Machine, tmp_path: Path) -> None:
    asked = {"to": TO, "review": False, "drop_blank": True}
    job = await ended(machine, await machine.scans.begin(asked, ANA, files(tmp_path, ("a.tif", [0, 0]))))
    assert isinstance(job.state, Failed)
    assert job.state.trouble.reason == "scan_empty"


def noisy(folder: Path, pages: int) -> list[ScanFile]:
    """Make a TIFF whose pages hardly compress: about 0.9 MB each as JPEG."""

    sheets = [Image.effect_noise((1000, 1400), 120).convert("RGB") for _ in range(pages)]
    sheets[0].save(folder / "n.tif", save_all=True, append_images=sheets[1:], dpi=(100, 100))
    return [ScanFile(folder / "n.tif", "n.tif")]


async def test_a_scan_that_is_too_large_is_divided_shrunk_or_refused_as_chosen(
    machine: Machine, tmp_path: Path
) -> None:
    """Every message keeps the limit, all pages are there, in order, and the messages are numbered."""
    given = noisy(tmp_path, 4)
    await machine.scan_settings.change({"size_limit_mb": 2}, actor=ANA)
    asked = {"to": TO, "review": False, "format": "pdf", "subject": "Grande"}
    parts = await mails(machine, await machine.scans.begin(asked | {"size_choice": "split"}, ANA, given))
    count = len(parts)
    assert count >= 2
    assert [mail["Subject"] for mail in parts] == [f"Grande ({n}/{count})" for n in range(1, count + 1)]
    assert all(len(mail.as_bytes()) <= 2_000_000 for mail in parts)
    assert sum(page_count(attachments(mail, tmp_path / "got")[0]) for mail in parts) == 4
    shrunk = await machine.scans.begin(asked | {"size_choice": "shrink"}, ANA, given)
    [mail] = await mails(machine, shrunk)
    assert len(mail.as_bytes()) <= 2_000_000
    assert page_count(attachments(mail, tmp_path / "got")[0]) == 4
    assert JobWord.SHRUNK in [line.word for line in await machine.store.jobs.history(shrunk.id)]
    refused = await ended(machine, await machine.scans.begin(asked | {"size_choice": "refuse"}, ANA, given))
    assert isinstance(refused.state, Failed)
    assert refused.state.trouble.reason == "scan_too_large"


async def test_jpeg_gives_a_file_for_each_page(machine: Machine, tmp_path: Path) -> None:
    asked = {"to": TO, "review": False, "format": "jpeg", "file_name": "foto"}
    [mail] = await mails(machine, await machine.scans.begin(asked, ANA, files(tmp_path, ("a.pdf", [1, 2]))))
    got = attachments(mail, tmp_path / "got")
    assert [path.name for path in got] == ["foto-001.jpg", "foto-002.jpg"]
    assert all(path.read_bytes().startswith(b"\xff\xd8\xff") for path in got)


async def test_recipients_are_addresses_and_names_of_the_address_book(machine: Machine, tmp_path: Path) -> None:
    await machine.contacts.save("Obra Norte", {"addresses": ["a@example.com", "b@example.com"]}, ANA)
    given = files(tmp_path, ("a.jpg", [1]))
    job = await machine.scans.begin({"to": ["obra  norte", "c@example.com"], "review": False}, ANA, given)
    assert job.card.recipients == ("a@example.com", "b@example.com", "c@example.com")
    assert await machine.scans.usual_recipients() == job.card.recipients
    for wrong in (["nadie"], [], "no es", ["x@"]):
        with pytest.raises(InvalidFields):
            await machine.scans.begin({"to": wrong}, ANA, given)


async def test_the_daemons_memory_does_not_grow_with_the_pages(machine: Machine, tmp_path: Path) -> None:
    """24 noisy pages are 20 MB as PDF; the daemon's peak grows by far less, since no octet of a page stays in it."""
    import resource

    given = noisy(tmp_path, 24)
    await machine.scan_settings.change({"size_limit_mb": 150}, actor=ANA)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    [number] = (await _sending(machine, {"to": TO, "review": False}, given)).messages
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    stored = await machine.store.queue.load(number)
    assert stored is not None
    assert stored.message.size > 20_000_000
    assert grown_kb < 10_000


async def _sending(machine: Machine, asked: dict[str, Any], given: list[ScanFile]) -> Sending:
    job = await ended(machine, await machine.scans.begin(asked, ANA, given))
    assert isinstance(job.state, Sending), job.state
    return job.state


@pytest.mark.parametrize("stopped_at", range(1, 5))
async def test_a_scan_in_parts_is_sent_once_whenever_the_machine_is_stopped(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    """Before the first message, between two, and when all are in the queue, but nobody knows yet."""
    await machine.scan_settings.change({"size_limit_mb": 2, "bcc": ["eva@example.com"]}, actor=ANA)
    accept, calls = machine.store.queue.accept, 0

    async def stops(*told: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == stopped_at:
            machine.jobs._running[job.id].cancel()
        return await accept(*told)

    with monkeypatch.context() as patch:
        patch.setattr(machine.store.queue, "accept", stops)
        patch.setattr(machine.gateway.intake, "offer", lambda _account: None)
        job = await machine.jobs.job((await machine.scans.begin(IN_PARTS, ANA, noisy(tmp_path, 4))).id)
        await machine.jobs.wait(job.id)
    again = build(Configuration(), machine.store, SystemClock(), machine.state_dir)
    await again.jobs.start()
    await again.jobs.wait(job.id)
    state = (await again.jobs.job(job.id)).state
    await again.jobs.stop()
    await again.http.close()
    assert isinstance(state, Sending)
    found = await machine.store.queue.list_messages(account=None, state=None, limit=10)
    count = len(found)
    assert sorted(stored.message.subject for stored in found) == [f"Grande ({n}/{count})" for n in range(1, count + 1)]
    assert sorted(state.messages) == sorted(stored.id for stored in found)
    assert {stored.message.recipients[-1].address for stored in found} == {"eva@example.com"}


@pytest.mark.parametrize("at_another_node", [False, True])
async def test_a_scan_that_is_cancelled_between_its_messages_sends_none(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_another_node: bool
) -> None:
    """Whichever node of several is asked."""
    (tmp_path / "other").mkdir()
    asked = build(Configuration(), machine.store, SystemClock(), tmp_path / "other") if at_another_node else machine
    accept, second, cancelled = machine.store.queue.accept, asyncio.Event(), asyncio.Event()

    async def slow(*told: Any) -> int:
        number = await accept(*told)
        if number == 2:
            second.set()
            await cancelled.wait()
        return number

    monkeypatch.setattr(machine.store.queue, "accept", slow)
    monkeypatch.setattr(machine.gateway.intake, "offer", lambda _account: None)
    await machine.scan_settings.change({"size_limit_mb": 2}, actor=ANA)
    job = await machine.scans.begin(IN_PARTS, ANA, noisy(tmp_path, 4))
    await second.wait()
    cancelling = asyncio.create_task(asked.jobs.cancel(job.id, ANA))
    await asyncio.sleep(0.05)
    cancelled.set()
    assert isinstance((await cancelling).state, Cancelled)
    assert isinstance((await ended(machine, job)).state, Cancelled)
    for number in (1, 2):
        stored = await machine.store.queue.load(number)
        assert stored is not None
        assert isinstance(stored.entries[0].state, NotSent)
    assert await machine.store.queue.load(3) is None


@pytest.mark.usefixtures("sane")
async def test_a_scanner_that_works_for_a_job_cancelled_at_another_node_stops(machine: Machine, tmp_path: Path) -> None:
    """As soon as this node looks; nothing of it is sent."""
    (tmp_path / "other").mkdir()
    other = build(Configuration(), machine.store, SystemClock(), tmp_path / "other")
    job = await machine.scans.begin(FEEDER | {"resolution": 600, "colour": "colour"}, ANA)
    async with machine.events.subscribe() as queue, asyncio.timeout(20):
        while not (isinstance(event := await queue.get(), JobChanged) and event.done):
            pass
    assert isinstance((await other.jobs.cancel(job.id, ANA)).state, Cancelled)
    await machine.jobs._look()
    async with asyncio.timeout(3):
        assert isinstance((await ended(machine, job)).state, Cancelled)
    assert await machine.store.queue.list_messages(account=None, state=None, limit=9) == []
