"""What changes while a page is open: told by its stream, from the moment that the page was read."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from asgi_faces import AT_MACHINE, SMTP, Machinery, furnished_fixture, log_in

from valija.apps.web import live
from valija.domain.account import GrantKind
from valija.domain.queue import Deferred, HoldAsked
from valija.domain.sighting import Seen
from valija.domain.token import Authorization, AwaitingAuthorization, NotRetrieved
from valija.services.events import Stopping

here = furnished_fixture
NOTHING_NEW = ": ok\n\n: still here\n\n"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of a machine that stops need not wait before they end."""
    monkeypatch.setattr(live, "PAUSE_S", 0.0)


async def _first_news(here: Machinery, browser: httpx2.AsyncClient, page: str) -> str:
    """Return what the stream of a page says first; the machine stops, so it says no more."""
    found = re.search(r'"(/[^"]*[?&](?:amp;)?seen=[0-9a-f]+[^"]*)"', page)
    assert found
    here.machine.events.publish(Stopping(here.machine.clock.now()))
    return (await browser.get(html.unescape(found[1]))).text


def _states(text: str) -> set[str]:
    """Return the states in a part of a page."""
    return set(re.findall(r'class="state" data-state="([a-z_]+)"', text))


async def test_what_a_page_shows_already_is_not_sent_again(here: Machinery) -> None:
    """The stream of each page that has one says only that it is there."""
    async with here.web() as web:
        await log_in(web)
        pages = {
            path: (await web.get(path)).text
            for path in ("/", "/queue", "/queue/1", "/devices", "/devices/ricoh-floor-2", "/jobs", "/print", SMTP)
        }
        for path, page in pages.items():
            assert await _first_news(here, web, page) in (NOTHING_NEW, ": ok\n\n"), path


async def test_mail_that_ends_while_its_page_is_made_does_not_stay_on_its_way(
    here: Machinery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It changes between the reading of the queue and the opening of the stream."""
    queue = here.machine.store.queue
    read = queue.list_messages

    async def read_and_change(**asked: Any) -> Any:
        found = await read(**asked)
        waiting = [r.id for m in found for r in m.entries if isinstance(r.state, Deferred)]
        await queue.apply([(number, HoldAsked(here.machine.clock.now())) for number in waiting])
        return found

    async with here.web() as web:
        await log_in(web)
        monkeypatch.setattr(queue, "list_messages", read_and_change)
        page = (await web.get("/queue")).text
        assert "deferred" in _states(page)
        news = await _first_news(here, web, page)
    assert "held" in _states(news) and "deferred" not in _states(news)


@pytest.mark.parametrize("path", [SMTP, f"{SMTP}/authorization"])
async def test_a_token_that_comes_before_the_stream_is_open_is_told(here: Machinery, path: str) -> None:
    """The provider may be faster than the page."""
    store, now = here.machine.store, here.machine.clock.now()
    asked = Authorization(
        "asked-1", GrantKind.DEVICE, now, now + timedelta(minutes=15), "https://login.example/device", user_code="ABCD"
    )
    waiting = AwaitingAuthorization(asked, NotRetrieved())
    stored = await store.replace_token("smtp", 0, waiting, due_at=None)
    assert stored is not None
    async with here.panel() as panel:
        await log_in(panel)
        page = (await panel.get(path)).text
        assert "awaiting_authorization" in page
        await store.replace_token("smtp", stored.version, NotRetrieved(), due_at=None)
        news = await _first_news(here, panel, page)
    assert _states(news) == {"not_retrieved"}
    assert 'hx-swap-oob="innerHTML:#waiting"' in news


async def test_what_is_seen_of_a_device_comes_to_its_open_page(here: Machinery) -> None:
    """It hands in a first message; what is typed into the form stays. A device that is deleted meanwhile ends nothing."""
    async with here.web() as web:
        await log_in(web)
        page = (await web.get("/devices/ricoh-floor-2")).text
        later = here.machine.clock.now() + timedelta(seconds=1)
        here.machine.gateway.devices.saw("ricoh-floor-2", Seen(later, "192.0.2.9", "smtp", "TLSv1.3"))
        news = await _first_news(here, web, page)
        assert re.findall(r"innerMorph:#([a-z-]+)", news) == ["device-state", "device-seen"]
        assert "192.0.2.9" in news
        assert _states(news) == {"works"}
        await here.machine.gateway.devices.delete("ricoh-floor-2", AT_MACHINE)
        assert (await web.get("/devices/ricoh-floor-2/events")).status_code == 404
