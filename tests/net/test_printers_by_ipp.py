"""Printers by IPP, against a real CUPS: how they are, jobs handed over, followed, found again and taken back."""

from __future__ import annotations

import asyncio
import filecmp
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cups import Cups

from valija.domain.printer import PrinterReason, PrinterStateName, PrinterTarget, Severity, parse_target
from valija.net.errors import NetError
from valija.net.ipp import Ipp, IppRefused, JobAtPrinter, PrintTicket
from valija.net.tls import client_context

pytestmark = pytest.mark.peers
SUPPLIES = "marker-names=Black,Waste\nmarker-levels=7,-2\nmarker-types=toner,wasteToner\nmarker-low-levels=10,0\n"


@pytest.fixture
def ipp(cups: Cups) -> Ipp:
    return Ipp(client_context(), cups=cups.server)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "document.pdf"
    path.write_bytes(b"%PDF-1.4\n" + bytes(300_000))
    return path


def target(text: str) -> PrinterTarget:
    found = parse_target(text)
    assert found is not None
    return found


async def until(ipp: Ipp, where: PrinterTarget, number: int, is_so: Callable[[JobAtPrinter], bool]) -> JobAtPrinter:
    end = time.monotonic() + 15
    while True:
        job = await ipp.job(where, number)
        if job is not None and is_so(job):
            return job
        assert time.monotonic() < end, job
        await asyncio.sleep(0.05)


async def test_a_queue_is_reached_by_name_and_by_address(ipp: Ipp, cups: Cups) -> None:
    for where in ("office", cups.uri()):
        state = await ipp.printer_state(target(where))
        assert (state.state, state.accepting, state.reasons) == (PrinterStateName.IDLE, True, ())
        assert state.can_print
        assert state.model == "Local Raw Printer"


async def test_a_job_is_handed_over_followed_and_found_by_its_name(ipp: Ipp, cups: Cups, document: Path) -> None:
    where = target(cups.uri())
    ticket = PrintTicket("Añoranza 17", copies=2, sides="two-sided-long-edge", color_mode="monochrome")
    assert await ipp.find(where, ticket.name) is None

    handed = await ipp.print_file(where, ticket, document)

    ended = await until(ipp, where, handed.id, lambda job: job.state == 9)
    assert ended.pages == 1
    found = await ipp.find(where, ticket.name)
    assert found is not None
    assert found.id == handed.id
    (printed,) = cups.await_output(1)
    assert (printed.title, printed.copies) == ("Añoranza 17", 2)
    assert "sides=two-sided-long-edge print-color-mode=monochrome" in printed.options
    assert filecmp.cmp(printed.path, document, shallow=False)


async def test_what_a_printer_lacks_is_told_with_its_severity_and_its_supplies(
    ipp: Ipp, cups: Cups, document: Path
) -> None:
    cups.supplies("office", SUPPLIES)
    cups.trouble("office", "media-empty-error")
    where = target("office")

    handed = await ipp.print_file(where, PrintTicket("one"), document)
    await until(ipp, where, handed.id, lambda job: job.state == 5)
    end = time.monotonic() + 10
    while not (state := await ipp.printer_state(where)).reasons:
        assert time.monotonic() < end
        await asyncio.sleep(0.05)

    assert state.reasons == (PrinterReason("media-empty", Severity.ERROR),)
    assert not state.can_print
    black, waste = state.supplies
    assert (black.name, black.kind, black.level, black.low) == ("Black", "toner", 7, 10)
    assert (waste.name, waste.level) == ("Waste", None)
    cups.trouble("office", "")
    await until(ipp, where, handed.id, lambda job: job.state == 9)


async def test_a_paused_printer_keeps_the_job_and_gives_it_back(ipp: Ipp, cups: Cups, document: Path) -> None:
    where = target("office")
    cups.program("cupsdisable", "office")
    handed = await ipp.print_file(where, PrintTicket("one"), document)
    state = await ipp.printer_state(where)
    assert (state.state, state.can_print) == (PrinterStateName.STOPPED, False)

    await ipp.cancel(where, handed.id)
    await ipp.cancel(where, handed.id)  # once more changes nothing

    job = await ipp.job(where, handed.id)
    assert job is not None
    assert job.state == 7
    assert cups.output() == []


async def test_a_queue_that_rejects_says_so(ipp: Ipp, cups: Cups, document: Path) -> None:
    cups.program("cupsreject", "office")
    with pytest.raises(IppRefused) as refused:
        await ipp.print_file(target("office"), PrintTicket("one"), document)
    assert refused.value.status == 0x0506  # server-error-not-accepting-jobs
    assert not refused.value.is_final
    assert not (await ipp.printer_state(target("office"))).can_print


async def test_a_queue_and_a_job_that_are_not_there_are_said_to_be_unknown(
    ipp: Ipp, cups: Cups, document: Path
) -> None:
    with pytest.raises(IppRefused) as refused:
        await ipp.print_file(target("nowhere"), PrintTicket("one"), document)
    assert refused.value.is_unknown
    assert await ipp.job(target("office"), 999_999) is None


async def test_a_printer_that_is_off_is_a_state_and_an_error_when_it_is_sent_something(document: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        where = target(f"ipp://127.0.0.1:{closed.getsockname()[1]}/ipp/print")
    ipp = Ipp(client_context(), cups="")
    state = await ipp.printer_state(where)
    assert (state.state, state.can_print) == (PrinterStateName.UNREACHABLE, False)
    assert state.trouble == "connection_refused"
    with pytest.raises(NetError) as error:
        await ipp.print_file(where, PrintTicket("one"), document)
    assert error.value.reason == "connection_refused"


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[PrinterTarget]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield target(f"ipp://127.0.0.1:{server.sockets[0].getsockname()[1]}/ipp/print")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "printer_denied"),
        (b"HTTP/1.1 501 Unsupported method\r\nContent-Length: 0\r\n\r\n", "printer_nonsense"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "printer_nonsense"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + bytes(2_000_000), "printer_nonsense"),
        (b"220 mail.example ESMTP\r\n", "connection_lost"),
        (b"", "connection_lost"),
    ],
)
async def test_what_is_no_printer_is_an_error_with_a_reason(answer: bytes, reason: str, document: Path) -> None:
    async with answering(answer) as where:
        ipp = Ipp(client_context(), cups="")
        with pytest.raises(NetError) as error:
            await ipp.job(where, 1)
        assert error.value.reason == reason
        assert not (await ipp.printer_state(where)).can_print


@pytest.mark.parametrize(
    ("status", "is_final"),
    [(0x0400, True), (0x0409, True), (0x040B, True), (0x040E, True), (0x0411, True), (0x041B, True)]
    + [(0x0401, False), (0x0403, False), (0x0404, False), (0x040D, False), (0x0500, False), (0x0507, False)],
    ids=hex,
)
async def test_what_is_about_one_job_is_told_from_what_is_about_the_printer(
    status: int, is_final: bool, document: Path
) -> None:
    words = b"\x01\x47\x00\x12attributes-charset\x00\x05utf-8\x48\x00\x1battributes-natural-language\x00\x02en"
    body = b"\x02\x00" + status.to_bytes(2) + b"\x00\x00\x00\x01" + words + b"\x03"
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as where:
        await asyncio.to_thread(document.write_bytes, b"%PDF-1.4\n")
        with pytest.raises(IppRefused) as refused:
            await Ipp(client_context(), cups="").print_file(where, PrintTicket("one"), document)
    assert (refused.value.status, refused.value.is_final) == (status, is_final)


ASK = """{
  OPERATION Get-Printer-Attributes
  GROUP operation-attributes-tag
  ATTR charset attributes-charset utf-8
  ATTR naturalLanguage attributes-natural-language en
  ATTR uri printer-uri $uri
  STATUS successful-ok
}
"""


async def test_what_ipptool_reads_is_what_valija_reads(ipp: Ipp, cups: Cups, tmp_path: Path) -> None:
    test = tmp_path / "ask.test"
    test.write_text(ASK)
    where = cups.uri("second")  # once a queue has supplies, CUPS names an attribute twice, and ipptool minds
    said = await asyncio.to_thread(cups.program, "ipptool", "-tv", where, str(test))
    state = await ipp.printer_state(target(where))
    assert f"printer-make-and-model (textWithoutLanguage) = {state.model}" in said
    assert f"printer-state (enum) = {state.state}" in said
