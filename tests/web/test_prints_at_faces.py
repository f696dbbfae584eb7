"""E-mail print at the panel and on the web page: the printer, what came, where mail is printed and whose."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgi_faces import Machinery, blank, log_in, machinery, with_two_providers
from cups import Cups
from rig_process import free_ports

from long_pdf import pdf
from valija.apps.web import live
from valija.domain.account import Actor, Presence
from valija.domain.print_job import Duplex
from valija.domain.printer import PrinterReason, PrinterState, PrinterStateName, PrinterTarget, Severity
from valija.secret import Secret
from valija.services.events import PrinterChanged, Stopping

ANA = Actor("ana", "panel", Presence.AT_MACHINE)
SUPPLIES = "marker-names=Negro\nmarker-levels=7\nmarker-types=toner\n"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Machinery]:
    async with machinery(tmp_path, new=True) as made:
        await with_two_providers(made)
        yield made
        await made.machine.jobs.stop()


@pytest.mark.peers
@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["The printer has no paper.", "Ready|Printing", "Supplies", "E-mail print"]),
        ("es", ["La impresora no tiene papel.", "Lista|Imprimiendo", "Consumibles", "Impresión de correo"]),
    ],
)
async def test_the_panel_shows_what_the_printer_lacks_and_titles_only_to_those_who_may_see_them(
    here: Machinery, cups: Cups, tmp_path: Path, language: str, words: list[str]
) -> None:
    cups.supplies("office", SUPPLIES)
    cups.trouble("office", "media-empty-error")
    printing = here.machine.printing
    await printing.settings.change({"target": cups.uri()}, actor=ANA)
    document = tmp_path / "Nóminas.pdf"
    document.write_bytes(pdf(1))
    job = await printing.desk.print_files([document], "Nóminas", Actor("", "eva@example.com", Presence.REMOTE))
    await here.machine.jobs.wait(job.id)
    await printing.line.turn()
    async with here.panel(language) as panel:
        for _try in range(100):
            page = (await panel.get("/print")).text
            if words[0] in page:
                break
        for word in words:
            assert re.search(word, page), word
        assert "7 %" in page
        assert "Nóminas" not in page
        assert cups.uri() not in page
        await log_in(panel)
        page = (await panel.get("/print")).text
        assert "Nóminas" in page
        assert cups.uri() in page


@pytest.mark.parametrize(
    ("language", "off", "lacks"),
    [
        ("en", "Off, or not to be reached", "The printer has no paper."),
        ("es", "Apagada o inaccesible", "La impresora no tiene papel."),
    ],
)
async def test_an_open_page_tells_what_is_heard_of_the_printer_and_asks_it_no_more(
    here: Machinery, monkeypatch: pytest.MonkeyPatch, language: str, off: str, lacks: str
) -> None:
    """Who has heard something, such as the line that prints, tells it to all pages; only the printer's part is sent."""
    (port,) = free_ports(1)
    printing, asked = here.machine.printing, []
    settings = await printing.settings.change({"target": f"ipp://127.0.0.1:{port}/ipp/print"}, actor=ANA)
    ask = printing.line.ipp.printer_state

    async def ask_and_count(target: PrinterTarget) -> PrinterState:
        asked.append(target)
        return await ask(target)

    monkeypatch.setattr(printing.line.ipp, "printer_state", ask_and_count)
    monkeypatch.setattr(live, "PAUSE_S", 0.0)
    async with here.panel(language) as panel, here.machine.events.subscribe() as told:
        page = (await panel.get("/print")).text
        assert off in page
        stream = re.search(r'"(/print/events\?seen=[0-9a-f]+)"', page)
        assert stream is not None
        lack = PrinterReason("media-empty", Severity.ERROR)
        for _look in range(2):
            printing.line.watch.saw(settings.printer, PrinterState(PrinterStateName.STOPPED, reasons=(lack,)))
        changes = [told.get_nowait() for _event in range(told.qsize())]
        assert [type(event) for event in changes] == [PrinterChanged, PrinterChanged], "heard first, and otherwise"
        here.machine.events.publish(Stopping(here.machine.clock.now()))  # the streams say no more than what is new
        news = {(await panel.get(stream[1])).text for _page in range(3)}
        assert [lacks in sent and off not in sent for sent in news] == [True]
        assert asked == [settings.printer]


async def test_settings_are_changed_from_a_desk_all_or_none(here: Machinery) -> None:
    """Behind the password; each field that is wrong is named; the subject's password is set, kept, forgotten, never shown."""
    async with here.web() as web:
        assert (await web.get("/settings/print")).headers["location"] == "/login?next=/settings/print"
        await log_in(web)
        form = await blank(web, "/settings/print")
        changed = {"target": "office", "senders": "@example.com\nana@x.y", "password": "s3cret-pin", "duplex": "long"}
        saved = await web.post("/settings/print", data=form | changed)
        assert (saved.status_code, saved.headers["location"]) == (303, "/settings/print?saved")
        load = here.machine.printing.settings.load
        now = await load()
        assert (now.target, now.senders, now.duplex) == ("office", ("@example.com", "ana@x.y"), Duplex.LONG)
        assert now.password == Secret("s3cret-pin")
        page = (await web.get("/settings/print?saved")).text
        assert "s3cret-pin" not in page
        form = await blank(web, "/settings/print")
        wrong = {"copies": "x", "senders": "nobody", "target": "http://x", "password": "abc"}
        refused = await web.post("/settings/print", data=form | wrong)
        assert refused.status_code == 422
        assert refused.text.count('aria-invalid="true"') == 4
        assert await load() == now
        await web.post("/settings/print", data=form | {"copies": "2"})
        assert (await load()).password == Secret("s3cret-pin")
        await web.post("/settings/print", data=form | {"forget_password": "on"})
        assert (await load()).password is None


async def test_receiving_without_a_mailbox_says_what_to_do(here: Machinery) -> None:
    async with here.panel() as panel:
        form = await blank(panel, "/print")
        refused = await panel.post("/print/receive", data=form)
        assert refused.status_code == 409
        assert "POP3" in refused.text or "server" in refused.text
