"""E-mail print at the panel and on the web page: the printer, what came, where mail is printed and whose."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgi_faces import Machinery, blank, log_in, machinery, with_two_providers
from cups import Cups

from long_pdf import pdf
from valija.domain.account import Actor, Presence
from valija.domain.print_job import Duplex
from valija.secret import Secret

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
