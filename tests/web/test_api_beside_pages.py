"""The web page's listener: the API below /v1 and the pages beside it; what opens one does not open the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from asgi_faces import AT_MACHINE, BASE, Machinery, log_in, machinery

from valija.apps.api.routes import ROUTES
from valija.apps.web.application import make_face
from valija.apps.web.faces import with_api
from valija.apps.web.launch import COOKIE
from valija.apps.web.visit import Face
from valija.domain.account import Presence
from valija.domain.administrator import PANEL, WEB
from valija.services.events import Stopping

PLACES = {"setting": "internet-fax", "id": "1", "name": "microsoft", "login": "ricoh"}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Machinery]:
    """A machine with an administrator's password and a provider."""
    async with machinery(tmp_path) as made:
        made.machine.events.publish(Stopping(made.machine.clock.now()))
        yield made


def _listener(here: Machinery) -> httpx2.AsyncClient:
    """Return a browser at the whole listener."""
    face = Face(WEB, Presence.REMOTE, secure=False)
    app = with_api(here.machine, make_face(here.machine, here.administrator, here.pages, face))
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=BASE)


async def _refused_everywhere(browser: httpx2.AsyncClient) -> None:
    for route in ROUTES:
        answer = await browser.request(route.method, "/v1" + route.path.format(**PLACES), json={})
        expected = (401, "unauthorized") if route.scope else (403, "not_at_the_machine")
        assert (answer.status_code, answer.json()["code"]) == expected, route.path


async def test_a_session_of_the_web_page_does_not_open_the_api(here: Machinery) -> None:
    """So a page of another site cannot make the administrator's browser do anything there."""
    async with _listener(here) as browser:
        await log_in(browser)
        assert (await browser.get("/settings")).status_code == 200
        assert browser.cookies
        await _refused_everywhere(browser)


async def test_a_session_and_a_cookie_of_the_panel_do_not_open_the_api(here: Machinery) -> None:
    """Nor a launch key, wherever it is sent: presence is the listener's."""
    face = Face(PANEL, Presence.AT_MACHINE, secure=False, launch=here.launch)
    key = here.launch.new_key()
    async with here.browser(face) as panel:
        await panel.get(f"/launch?key={key}")
        await log_in(panel)
        assert (await panel.get("/settings")).status_code == 200
        cookies = dict(panel.cookies)
    assert COOKIE in cookies
    async with _listener(here) as browser:
        browser.cookies.update(cookies)
        await _refused_everywhere(browser)
        fresh = here.launch.new_key()
        sent = {"Authorization": f"Bearer {fresh}", "X-Launch-Key": fresh}
        for path in (f"/v1/tokens/smtp/authorization?key={fresh}", f"/v1/panel?key={fresh}"):
            assert (await browser.post(path, headers=sent)).status_code == 403
        assert (await browser.get(f"/v1/tokens?key={fresh}", headers=sent)).status_code == 401
        assert here.launch.spend(fresh) is not None, "nobody has taken it"


async def test_an_api_token_does_not_open_a_page(here: Machinery) -> None:
    """Pages want the administrator's password."""
    made = await here.machine.api_access.make("all", ["read", "settings", "tokens", "mail"], 1, AT_MACHINE)
    token = made.secret.reveal()
    async with _listener(here) as browser:
        browser.headers["Authorization"] = f"Bearer {token}"
        assert (await browser.get("/v1/tokens")).status_code == 200
        for path in ("/settings", "/settings/providers", "/settings/audit", "/send"):
            answer = await browser.get(path)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/login")
        answer = await browser.post("/settings/providers/microsoft/delete", data={"confirm": "true"})
        assert (answer.status_code, answer.headers["location"][:6]) == (303, "/login")


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nothing", "/v1//tokens", "/v1/static/x", "/v1/%2e%2e/settings"])
async def test_below_v1_there_are_no_pages(here: Machinery, path: str) -> None:
    """Whatever is not there is a problem for programs, not a page."""
    async with _listener(here) as browser:
        answer = await browser.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/v10/tokens", "/V1/tokens", "/tokens", "//v1/tokens", "/static/../v1x"])
async def test_beside_v1_there_is_no_api(here: Machinery, path: str) -> None:
    """Nothing that looks like it reaches it, with a good token."""
    made = await here.machine.api_access.make("all", ["read"], 1, AT_MACHINE)
    async with _listener(here) as browser:
        answer = await browser.get(path, headers={"Authorization": f"Bearer {made.secret.reveal()}"})
    assert not answer.headers["content-type"].startswith("application/")


async def test_a_panel_has_no_api(here: Machinery) -> None:
    """There programs use the control socket."""
    async with here.panel() as panel:
        assert (await panel.get("/v1/tokens")).status_code == 404
