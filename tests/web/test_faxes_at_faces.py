"""Internet fax at the panel and on the web page: sent, listed for those who may look, set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgi_faces import Machinery, blank, log_in, machinery, with_cheap_password

from fax_pages import fax_file
from valija.domain.account import Actor, Presence, Setting
from valija.domain.fax import JunkRule
from valija.domain.job import JobKind
from valija.message.tiff_fax import FaxProfile

ANA = Actor("ana", "panel", Presence.AT_MACHINE)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Machinery]:
    """A machine that has a sender."""
    async with machinery(tmp_path, new=True) as made:
        await with_cheap_password(made)
        await made.machine.settings.change(
            Setting.SMTP, {"sender_address": "fax@office.example"}, confirm=True, actor=ANA
        )
        yield made
        await made.machine.jobs.stop()


@pytest.mark.parametrize(("language", "done"), [("en", "The fax is being sent."), ("es", "El fax se está enviando.")])
async def test_a_fax_is_sent_from_the_panel_and_listed_for_who_has_logged_in(
    here: Machinery, language: str, done: str
) -> None:
    """What is wrong is said beside its field, and what was typed stays."""
    async with here.panel(language) as panel:
        form = await blank(panel, "/fax") | {"subject": "Contrato secreto"}
        upload = {"file": ("a.tif", fax_file(1), "image/tiff")}
        refused = await panel.post("/fax", data=form | {"to": "FAX=abc@gw"}, files=upload)
        assert refused.status_code == 422
        assert "FAX=abc@gw" in refused.text
        assert 'aria-invalid="true"' in refused.text
        sent = await panel.post("/fax", data=form | {"to": "luis@example.com, +34911"}, files=upload)
        assert sent.status_code == 422, "a number needs a gateway"
        sent = await panel.post("/fax", data=form | {"to": "luis@example.com"}, files=upload)
        assert (sent.status_code, sent.headers["location"]) == (303, "/fax?sent")
        page = (await panel.get("/fax?sent")).text
        assert done in page
        assert page.count("Contrato secreto") == 0, "a subject is not everybody's"
        await log_in(panel)
        assert "Contrato secreto" in (await panel.get("/fax")).text
    (job,) = await here.machine.store.jobs.list_jobs(kind=JobKind.FAX_SEND, state=None, limit=10)
    await asyncio.wait_for(here.machine.jobs.wait(job.id), 30)
    assert job.card.recipients == ("luis@example.com",)


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
