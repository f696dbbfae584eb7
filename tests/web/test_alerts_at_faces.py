"""Alert and status at the panel and on the web page: who is told, what is wrong, channels tried."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgi_faces import Machinery, blank, log_in, machinery, with_two_providers

from valija.domain.account import Actor, Presence
from valija.secret import Secret
from valija.services.events import GuessingSeen

ANA = Actor("ana", "panel", Presence.AT_MACHINE)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Machinery]:
    async with machinery(tmp_path, new=True) as made:
        await with_two_providers(made)
        yield made
        await made.machine.jobs.stop()


async def test_settings_are_changed_from_a_desk_all_or_none_and_secrets_are_never_shown(here: Machinery) -> None:
    async with here.web() as web:
        assert (await web.get("/settings/alerts")).headers["location"] == "/login?next=/settings/alerts"
        await log_in(web)
        form = await blank(web, "/settings/alerts")
        changed = {
            "alert_to": "ana@example.com\nluis@example.com",
            "mail_level": "warning",
            "webhook_url": "https://example.com/hook",
            "webhook_secret": "a planted secret",
            "request_senders": "@example.com",
            "request_password": "planted-pin",
            "status_weekday": "4",
        }
        saved = await web.post("/settings/alerts", data=form | changed)
        assert (saved.status_code, saved.headers["location"]) == (303, "/settings/alerts?saved")
        load = here.machine.alerts.settings.load
        now = await load()
        assert now.alert_to == ("ana@example.com", "luis@example.com")
        assert (now.status_weekday, now.webhook_secret) == (4, Secret("a planted secret"))
        page = (await web.get("/settings/alerts?saved")).text
        assert "planted" not in page
        form = await blank(web, "/settings/alerts")
        wrong = {"alert_to": "nobody", "webhook_url": "file:///etc/passwd", "status_at": "25:00", "syslog": "x"}
        refused = await web.post("/settings/alerts", data=form | wrong)
        assert refused.status_code == 422
        assert refused.text.count('aria-invalid="true"') == 4
        assert await load() == now
        await web.post("/settings/alerts", data=form | {"forget_webhook_secret": "on"})
        assert (await load()).webhook_secret is None


@pytest.mark.parametrize(
    ("language", "sentence", "title"),
    [
        ("en", "Somebody guesses passwords and is locked out: scanner, from 192.0.2.7.", "Alerts"),
        ("es", "Alguien adivina contraseñas y está bloqueado: scanner, desde 192.0.2.7.", "Alertas"),
    ],
)
async def test_home_and_the_list_show_what_is_wrong(here: Machinery, language: str, sentence: str, title: str) -> None:
    await here.machine.alerts.settings.change({"disk_mb": 0}, actor=ANA)
    async with here.panel(language) as panel:
        assert "lamp-alerts" not in (await panel.get("/")).text
    here.machine.alerts._conditions.locked_out(GuessingSeen("scanner", "192.0.2.7", here.machine.clock.now()))
    await here.machine.alerts.look()
    async with here.panel(language) as panel:
        assert sentence in (await panel.get("/")).text
        lamp = f'id="lamp-alerts" data-lamp="wait" href="/" aria-label="{title}: 1"'
        for page in ("/status", "/jobs"):  # wherever somebody looks
            assert lamp in (await panel.get(page)).text
        await log_in(panel)
        page = (await panel.get("/settings/alerts/list")).text
        assert sentence in page
        assert f"<h1>{title}</h1>" in page


async def test_a_channel_is_tried_and_the_page_says_how_it_went(here: Machinery) -> None:
    got = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        got.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with here.web() as web:
        await log_in(web)
        form = await blank(web, "/settings/alerts/list")
        assert (await web.post("/settings/alerts/test", data=form | {"channel": "webhook"})).status_code == 409
        await here.machine.alerts.settings.change({"webhook_url": url}, actor=ANA)
        page = (await web.post("/settings/alerts/test", data=form | {"channel": "webhook"})).text
        assert "The test could not be handed over: HTTP 500" in page
        assert (await web.post("/settings/alerts/test", data=form | {"channel": "carrier pigeon"})).status_code == 422
    await asyncio.wait_for(got.wait(), 5)
    server.close()
