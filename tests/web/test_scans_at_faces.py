"""Scans at the panel and on the web page, without a browser: files taken, pages put in order, one key, the address book."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from asgi_faces import Machinery, blank, log_in, machinery, with_two_providers
from paper_files import make_file

from valija.domain.account import Actor, Presence, Setting
from valija.domain.job import Awaiting, JobKind, Sending
from valija.store.jobs_port import StoredJob

ANA = Actor("ana", "panel", Presence.AT_MACHINE)
LUIS = "luis@example.com"
CHOICES = {"from": "file", "review": "on"}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Machinery]:
    """A machine that has a sender."""
    async with machinery(tmp_path, new=True) as made:
        await with_two_providers(made)
        await made.machine.settings.change(Setting.SMTP, {"sender_address": "mfp@x.test"}, confirm=True, actor=ANA)
        yield made
        await made.machine.jobs.stop()


async def scanned(here: Machinery, browser: httpx2.AsyncClient, document: Path, **fields: str) -> StoredJob:
    """Send the form with a file; return the job when its pages are there."""
    upload = {"file": (document.name, await asyncio.to_thread(document.read_bytes), "application/octet-stream")}
    answer = await browser.post("/scan", data=await blank(browser, "/scan") | CHOICES | fields, files=upload)
    assert answer.status_code == 303, answer.text
    number = int(answer.headers["location"].rpartition("/")[2])
    await asyncio.wait_for(here.machine.jobs.wait(number), 30)
    return await here.machine.jobs.job(number)


async def order(here: Machinery, job: StoredJob) -> list[int]:
    return [page.number for page in (await here.machine.scans.pages(job.id))[1].pages]


async def test_pages_are_put_in_order_turned_and_left_out_at_the_panel(here: Machinery, tmp_path: Path) -> None:
    """Without having logged in: whoever stands there. At its ends a page stays; what is no page or action is nothing."""
    async with here.panel() as panel:
        job = await scanned(here, panel, make_file(tmp_path / "a.tif", [1, 2, 3, 4]), to=LUIS)
        assert isinstance(job.state, Awaiting)
        base = f"/jobs/{job.id}"
        assert (await panel.get(f"{base}/pages/1")).content.startswith(b"\x89PNG")

        async def press(action: str, page: int | str) -> int:
            form = await blank(panel, base) | {"action": action, "page": str(page)}
            return (await panel.post(f"{base}/pages", data=form)).status_code

        for action, page, now in (
            ("down", 1, [2, 1, 3, 4]),
            ("up", 4, [2, 1, 4, 3]),
            ("up", 2, [2, 1, 4, 3]),
            ("down", 3, [2, 1, 4, 3]),
            ("delete", 1, [2, 4, 3]),
        ):
            assert await press(action, page) == 303
            assert await order(here, job) == now
        upright = (await here.machine.scans.pages(job.id))[1].pages[1]
        assert await press("right", 4) == 303
        turned = (await here.machine.scans.pages(job.id))[1].pages[1]
        assert (turned.number, turned.width, turned.height) == (4, upright.height, upright.width)
        for action, wrong in (("eat", 2), ("delete", 1), ("delete", 99), ("delete", "x"), ("delete", "")):
            assert await press(action, wrong) == 404
        assert await order(here, job) == [2, 4, 3]
        assert (await panel.post(f"{base}/send", data=await blank(panel, base))).status_code == 303
        await asyncio.wait_for(here.machine.jobs.wait(job.id), 30)
        assert isinstance((await here.machine.jobs.job(job.id)).state, Sending)


async def test_what_was_scanned_from_a_desk_is_not_shown_at_the_panel_to_everybody(
    here: Machinery, tmp_path: Path
) -> None:
    """Nor can its pages be changed, or it be sent, from there."""
    async with here.web("es") as web, here.panel() as panel:
        await log_in(web)
        job = await scanned(here, web, make_file(tmp_path / "Nóminas.png", [1]), to=LUIS)
        assert job.card.recipients == (LUIS,)
        form = await blank(panel, "/scan")
        for path in ("", "/picture", "/pages/1"):
            assert (await panel.get(f"/jobs/{job.id}{path}")).status_code == 404
        for path in ("/pages", "/send", "/cancel"):
            gone = await panel.post(f"/jobs/{job.id}{path}", data=form | {"action": "delete", "page": "1"})
            assert gone.status_code == 404
        assert isinstance((await here.machine.jobs.job(job.id)).state, Awaiting)


async def test_one_key_scans_for_the_last_recipients_and_without_any_it_asks(here: Machinery, tmp_path: Path) -> None:
    async with here.panel() as panel:
        nobody = await panel.post("/scan/again", data=await blank(panel, "/"))
        assert nobody.headers["location"] == "/scan"
        await scanned(here, panel, make_file(tmp_path / "a.png", [1]), to=f"{LUIS}; eva@example.com")
        assert LUIS in (await panel.get("/")).text
        again = await panel.post("/scan/again", data=await blank(panel, "/"))
        jobs = await here.machine.store.jobs.list_jobs(kind=JobKind.SCAN, state=None, limit=10)
        assert (len(jobs), again.headers["location"]) == (2, f"/jobs/{jobs[0].id}")
        assert jobs[0].card.recipients == (LUIS, "eva@example.com")


@pytest.mark.parametrize("form", ["csv", "vcf"])
async def test_the_address_book_goes_out_and_in_at_a_desk(here: Machinery, form: str) -> None:
    """People, groups and favourites come back as they were; what is no such file is said, and changes nothing."""
    async with here.web() as web:
        await log_in(web)
        blanks = await blank(web, "/contacts")
        for name, addresses, favourite in (("Núñez; Ana", LUIS, "on"), ("Obra Norte", f"{LUIS}, b@x.test", "")):
            fields = {"name": name, "addresses": addresses} | ({"favourite": "on"} if favourite else {})
            assert (await web.post("/contacts", data=blanks | fields)).status_code == 303
        before = await here.machine.contacts.all()
        assert [contact.favourite for contact in before] == [True, False]
        written = (await web.get(f"/contacts/valija.{form}")).content
        for contact in before:
            await web.post("/contacts/delete", data=await blank(web, "/contacts") | {"was": contact.name})
        assert await here.machine.contacts.all() == []
        for octets, status in ((b"\x00\xff hello", 422), (written, 303)):
            taken = await web.post(
                "/contacts/file",
                data=await blank(web, "/contacts"),
                files={"file": (f"a.{form}", octets, "text/plain")},
            )
            assert taken.status_code == status, taken.text
        assert await here.machine.contacts.all() == before
