"""Internet fax at the panel and on the web page: sent, listed for those who may look, set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgi_faces import Machinery, blank, log_in, machinery, with_two_providers

from fax_pages import fax_file
from valija.domain.account import Actor, Presence, Setting
from valija.domain.fax import JunkRule
from valija.domain.job import JobKind
from valija.message.tiff_fax import FaxProfile
from valija.services.delivery import File
from valija.services.fax_sending import FaxOrder

ANA = Actor("ana", "panel", Presence.AT_MACHINE)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Machinery]:
    """A machine that has a sender."""
    async with machinery(tmp_path, new=True) as made:
        await with_two_providers(made)
        await made.machine.settings.change(
            Setting.SMTP, {"sender_address": "fax@office.example"}, confirm=True, actor=ANA
        )
        yield made
        await made.machine.jobs.stop()


@pytest.mark.parametrize("language", ["en", "es"])
async def test_a_fax_is_sent_from_the_panel_and_only_those_begun_there_are_shown_to_everybody(
    here: Machinery, language: str, tmp_path: Path
) -> None:
    """What is wrong is said beside its field, and what was typed stays."""
    async with here.panel(language) as panel:
        fax_path = tmp_path / "a.tif"
        fax_path.write_bytes(fax_file(1))
        form = await blank(panel, "/fax") | {"subject": "Contrato secreto"}
        upload = {"file": ("a.tif", fax_file(1), "image/tiff")}
        refused = await panel.post("/fax", data=form | {"to": "FAX=abc@gw"}, files=upload)
        assert refused.status_code == 422
        assert "FAX=abc@gw" in refused.text
        assert 'aria-invalid="true"' in refused.text
        sent = await panel.post("/fax", data=form | {"to": "luis@example.com, +34911"}, files=upload)
        assert sent.status_code == 422, "a number needs a gateway"
        sent = await panel.post("/fax", data=form | {"to": "luis@example.com"}, files=upload)
        (job,) = await here.machine.store.jobs.list_jobs(kind=JobKind.FAX_SEND, state=None, limit=10)
        assert (sent.status_code, sent.headers["location"]) == (303, f"/jobs/{job.id}")
        assert job.card.recipients == ("luis@example.com",)
        await asyncio.wait_for(here.machine.jobs.wait(job.id), 30)
        order = FaxOrder((File(fax_path, "a.tif", ""),), ("luis@example.com",), "Nóminas")
        other = await here.machine.fax.sender.send(order, Actor("luis", "cli", Presence.AT_MACHINE))
        await asyncio.wait_for(here.machine.jobs.wait(other.id), 30)
        page = (await panel.get("/fax")).text
        assert "Contrato secreto" in page
        assert "Nóminas" not in page, "a subject is not everybody's"
        assert (await panel.get(f"/jobs/{other.id}/files/fax.tif")).status_code == 404
        await log_in(panel)
        assert "Nóminas" in (await panel.get("/fax")).text
    async with here.web(language) as web:
        assert (await web.get(f"/jobs/{other.id}/files/fax.tif")).status_code == 303
        await log_in(web)
        assert f"/jobs/{other.id}/files/fax.tif" in (await web.get(f"/jobs/{other.id}")).text
        kept = await web.get(f"/jobs/{other.id}/files/fax.tif")
        assert kept.headers["content-disposition"].startswith("attachment")
        assert kept.content.startswith(b"II*")
        for name in ("..%2f..%2fmaster.key", "..%2ffirst.png", "first.png", "no-such"):
            assert (await web.get(f"/jobs/{other.id}/files/{name}")).status_code == 404


async def test_settings_are_changed_from_a_desk_all_or_none(here: Machinery) -> None:
    """Behind the password; each field that is wrong is named."""
    async with here.web() as web:
        assert (await web.get("/settings/fax")).headers["location"] == "/login?next=/settings/fax"
        await log_in(web)
        form = await blank(web, "/settings/fax")
        changed = {"profile": "f", "paper": "b4", "junk": "reject", "senders": "@junk.example\nbad@x.y", "resend": "15"}
        saved = await web.post("/settings/fax", data=form | changed)
        assert (saved.status_code, saved.headers["location"]) == (303, "/settings/fax?saved")
        now = await here.machine.fax.settings.load()
        assert (now.profile, now.junk, now.resend) == (FaxProfile.F, JunkRule.REJECT, 15)
        assert now.senders == ("@junk.example", "bad@x.y")
        form = await blank(web, "/settings/fax")
        refused = await web.post("/settings/fax", data=form | {"resend": "16", "senders": "nobody", "wait": "x"})
        assert refused.status_code == 422
        assert refused.text.count('aria-invalid="true"') == 3
        assert await here.machine.fax.settings.load() == now
