"""Panel and web page without a browser: who gets in, what a page may do, and that from afar no token can be got."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from asgi_faces import AT_MACHINE, PASSWORD, SMTP, Machinery, blank, csrf, log_in, machinery
from form_walk import read

from valija.apps.machine import Machine, SystemClock
from valija.apps.web.launch import KEY_LIFE, LaunchKeys
from valija.apps.web.screens import SCREENS
from valija.apps.web.visit import Face
from valija.domain.account import Presence, Setting
from valija.domain.administrator import PANEL


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Machinery]:
    """A machine with an administrator's password and a provider."""
    async with machinery(tmp_path) as made:
        yield made


SECURED = ["/settings", "/settings/audit", "/settings/password", *(s.base for s in SCREENS), SMTP + "/get-token"]


@pytest.mark.parametrize("path", SECURED)
async def test_settings_are_behind_the_password(here: Machinery, path: str) -> None:
    """At the machine and from afar."""
    for browser in (here.panel(), here.web()):
        async with browser:
            answer = await browser.get(path)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/login")


@pytest.mark.parametrize("path", ["/status", "/send"])
async def test_from_afar_nothing_is_seen_withoutlog_in(here: Machinery, path: str) -> None:
    """Whoever stands at the machine may send and look; a desk must log in."""
    async with here.panel() as panel, here.web() as web:
        assert (await panel.get(path)).status_code == 200
        assert (await web.get(path)).status_code == 303


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize(
    "path", ["/", "/status", "/send", "/settings", "/settings/audit", "/settings/password", *(s.base for s in SCREENS)]
)
async def test_every_page_is_shown_in_both_languages(here: Machinery, language: str, path: str) -> None:
    """With a strict policy, without inline script or style, and not kept in a cache."""
    for browser in (here.panel(language), here.web(language)):
        async with browser:
            assert (await log_in(browser)).status_code == 303
            page = await browser.get(path)
            assert page.status_code == 200
            assert f'<html lang="{language}"' in page.text
            assert "unsafe" not in page.headers["content-security-policy"]
            assert page.headers["cache-control"] == "no-store"
            assert page.headers["x-frame-options"] == "DENY"
            assert not re.search(r"<style|<script(?![^>]* src=)|\sstyle=|\son[a-z]+=", page.text)
            assert "http://" not in re.sub(r"http://machine|http://www.w3.org\S*", "", page.text), (
                "nothing from outside"
            )


FORGED: list[dict[str, str]] = [
    {},
    {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
    {"X-Forwarded-Host": "localhost", "X-Valija-Presence": "at_machine"},
]


@pytest.mark.parametrize("headers", FORGED)
@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "The setup cannot be completed on the web page."),
        ("es", "La configuración no se puede completar en la página web."),
    ],
)
async def test_the_web_page_cannot_get_a_token(
    here: Machinery, headers: dict[str, str], language: str, sentence: str
) -> None:
    """Not by the page, not by a forged header, not with the panel's cookies, not with a launch key."""
    async with here.panel() as panel, here.web(language) as web:
        await log_in(panel)
        await log_in(web)
        for name, value in panel.cookies.items():
            web.cookies.set(name, value)
            web.cookies.set(
                name.replace("panel", "web"), value
            ) if "csrf" not in name and "session" not in name else None
        web.cookies.set("valija_panel", here.launch.spend(here.launch.new_key()) or "")
        screen = await web.get(SMTP)
        assert sentence in screen.text
        assert SMTP + "/get-token" not in screen.text
        for grant in ("", "device", "code", "client-credentials"):
            form = {"csrf": csrf(screen.text), "grant": grant, "presence": "at_machine"}
            answer = await web.post(f"{SMTP}/get-token?key={here.launch.new_key()}", data=form, headers=headers)
            assert answer.status_code == 403
            assert sentence in answer.text
    assert (await here.machine.tokens.state("smtp")).version == 0


async def test_the_panels_session_is_worth_nothing_at_the_web_page(here: Machinery) -> None:
    """A session counts only where it was opened."""
    async with here.panel() as panel, here.web() as web:
        await log_in(panel)
        web.cookies.set("valija_session_web", panel.cookies["valija_session_panel"])
        assert (await web.get("/settings")).status_code == 303


async def test_the_panel_over_tcp_opens_only_with_a_launch_key_and_only_once(here: Machinery) -> None:
    """No key, a wrong one, a spent one, an old one: the entrance says how it is done."""
    face = Face(PANEL, Presence.AT_MACHINE, secure=False, launch=here.launch)
    async with here.browser(face) as stranger:
        entrance = await stranger.get("/")
        assert (entrance.status_code, "valija panel" in entrance.text) == (403, True)
        assert (await stranger.get("/launch?key=wrong")).status_code == 303
        assert (await stranger.get("/", headers={"Cookie": "valija_panel=guess"})).status_code == 403
    key = here.launch.new_key()
    async with here.browser(face) as browser:
        assert (await browser.get(f"/launch?key={key}")).status_code == 200
        assert (await browser.get("/")).status_code == 200
    async with here.browser(face) as replayed:
        await replayed.get(f"/launch?key={key}")
        assert (await replayed.get("/")).status_code == 403


def test_a_launch_key_is_good_for_a_minute() -> None:
    """Then it is worthless."""

    class Later(SystemClock):
        def __init__(self) -> None:
            self.ahead = 0.0

        def now(self) -> Any:
            from datetime import timedelta

            return super().now() + timedelta(seconds=self.ahead)

    clock = Later()
    keys = LaunchKeys(clock)
    key = keys.new_key()
    clock.ahead = KEY_LIFE.total_seconds() + 1
    assert keys.spend(key) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_form_of_another_site_is_refused(here: Machinery, headers: dict[str, str]) -> None:
    """Also with the right token in it."""
    async with here.panel() as panel:
        await log_in(panel)
        form = await blank(panel, SMTP) | {"server": "evil.example"}
        assert (await panel.post(SMTP, data=form, headers=headers)).status_code == 400
        assert (await panel.post(SMTP, data=form | {"csrf": "guess"})).status_code == 400
        assert (await panel.post(SMTP, data={"server": "evil.example"})).status_code == 400
    assert (await here.machine.settings.load(Setting.SMTP)).server == ""


async def test_three_wrong_passwords_lock_and_the_machine_lifts(here: Machinery) -> None:
    """From a desk it takes five minutes; at the machine it can be lifted."""
    async with here.web() as web, here.panel() as panel:
        for _try in range(3):
            refused = await log_in(web, "wrong password 1")
            assert refused.status_code == 403
        assert (await log_in(web)).status_code == 403, "the right password is not even looked at"
        page = await log_in(panel)
        assert "Lift the lock" in page.text
        await panel.post("/lift", data=await blank(panel, "/login"))
        assert (await log_in(web)).status_code == 303


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "/settings\\@evil"])
async def test_the_log_in_leads_nowhere_else(here: Machinery, target: str) -> None:
    """No open redirect."""
    async with here.web() as web:
        form = await blank(web, "/login") | {"password": PASSWORD, "next": target}
        assert (await web.post("/login", data=form)).headers["location"] == "/settings"
        form = {"csrf": csrf((await web.get("/")).text), "language": "es", "here": target}
        assert (await web.post("/language", data=form)).headers["location"] in ("/", "/settings%5C@evil")


@pytest.mark.parametrize("page", ["/contacts", "/jobs/7", "/scan", "/fax", "/print", "/send", "/devices", "/queue"])
async def test_the_log_in_leads_to_the_page_that_was_wanted(here: Machinery, page: str) -> None:
    async with here.web() as web:
        asked = (await web.get(page)).headers["location"]
        assert asked == f"/login?next={page}"
        form = {"csrf": csrf((await web.get(asked)).text), "password": PASSWORD, "next": page}
        assert (await web.post("/login", data=form)).headers["location"] == page


async def test_a_new_contact_takes_no_other_ones_place(here: Machinery) -> None:
    """It is said that the name is there already, and what was typed stays."""
    async with here.panel() as panel:
        await log_in(panel)
        for addresses, status in (("ana@example.com", 303), ("other@example.com", 422)):
            form = await blank(panel, "/contacts") | {"name": "Ana", "addresses": addresses}
            answer = await panel.post("/contacts", data=form)
            assert answer.status_code == status
        assert 'value="other@example.com"' in answer.text
        form = await blank(panel, "/contacts") | {"was": "Ana", "name": "ANA", "addresses": "new@example.com"}
        assert (await panel.post("/contacts", data=form)).status_code == 303
    [contact] = await here.machine.contacts.all()
    assert (contact.name, contact.addresses) == ("ANA", ("new@example.com",))


async def test_what_was_typed_stays_and_the_message_stands_beside_the_field(here: Machinery) -> None:
    """Nothing is stored; all problems at once."""
    async with here.panel() as panel:
        await log_in(panel)
        typed = {
            "server": "a b",
            "port": "99999",
            "timeout": "20",
            "auth": "oauth2",
            "provider": "microsoft",
            "tls": "on",
        }
        page = await panel.post(SMTP, data=await blank(panel, SMTP) | typed | {"account": "<b>ana"})
        assert page.status_code == 422
        assert 'value="a b"' in page.text
        assert 'value="99999"' in page.text
        assert "&lt;b&gt;ana" in page.text
        assert page.text.count('aria-invalid="true"') == 2
    assert (await here.machine.settings.load(Setting.SMTP)).server == ""


@pytest.mark.parametrize(
    ("path", "change", "name"),
    [
        (
            SMTP,
            lambda m: m.settings.change(Setting.SMTP, {"server": "n.example"}, confirm=True, actor=AT_MACHINE),
            "server",
        ),
        ("/settings/alerts", lambda m: m.alerts.settings.change({"queue_hours": 9}, actor=AT_MACHINE), "queue_hours"),
        ("/settings/fax", lambda m: m.fax.settings.change({"cover": True}, actor=AT_MACHINE), "cover"),
        (
            "/settings/print",
            lambda m: m.printing.settings.change({"copies_limit": 7}, actor=AT_MACHINE),
            "copies_limit",
        ),
        ("/settings/scan", lambda m: m.scan_settings.change({"duplex": True}, actor=AT_MACHINE), "duplex"),
        ("/settings/machine", lambda m: m.preferences.change({"name": "Planta 9"}, actor=AT_MACHINE), "name"),
    ],
)
async def test_who_saves_an_older_page_takes_nothing_back(
    here: Machinery, path: str, change: Callable[[Machine], Awaitable[Any]], name: str
) -> None:
    """Only what was changed on it is stored: here nothing was, but somewhere else meanwhile."""
    async with here.panel() as panel:
        await log_in(panel)

        async def form() -> dict[str, str]:
            found = read((await panel.get(path)).text, path)
            return next(f for f in found.forms if f.action == path).values()

        opened = await form()
        await change(here.machine)
        changed = await form()
        assert changed.get(name, "") != opened.get(name, "")
        assert (await panel.post(path, data=opened)).status_code == 303
        assert await form() == changed


async def test_a_connection_test_keeps_what_was_typed_and_not_saved(here: Machinery) -> None:
    """It says that this is not what is tested; without anything typed it begins."""
    async with here.panel() as panel:
        await log_in(panel)
        form = next(f for f in read((await panel.get(SMTP)).text, SMTP).forms if f.action == SMTP).values()
        page = await panel.post(f"{SMTP}/test", data=form | {"server": "new.example"})
        assert page.status_code == 409
        assert 'value="new.example"' in page.text
        assert "save what you have typed first" in page.text
        assert (await panel.post(f"{SMTP}/test", data=form)).status_code == 200


async def test_the_first_password_is_set_at_the_machine_only(tmp_path: Path) -> None:
    """The web page says so."""
    async with machinery(tmp_path, new=True) as new, new.web() as web, new.panel() as panel:
        page = await web.get("/login")
        assert "It is set at the machine" in page.text
        form = {"csrf": csrf(page.text), "password": PASSWORD, "again": PASSWORD}
        assert (await web.post("/login", data=form)).status_code == 422
        assert not await new.administrator.is_set()
        form = await blank(panel, "/login")
        assert (await panel.post("/login", data=form | {"password": PASSWORD, "again": "other"})).status_code == 422
        assert (await panel.post("/login", data=form | {"password": PASSWORD, "again": PASSWORD})).status_code == 303
        assert (await panel.get("/settings")).status_code == 200


async def test_all_four_smtp_screens_are_one_setting_and_each_pop_screen_its_own(here: Machinery) -> None:
    """Rows 14 and 19 of the manual."""
    async with here.panel() as panel:
        await log_in(panel)
        typed = {
            "server": "mail.example.com",
            "port": "587",
            "timeout": "20",
            "auth": "none",
            "tls": "on",
            "provider": "",
        }
        assert (await panel.post(SMTP, data=await blank(panel, SMTP) | typed)).status_code == 303
        for screen in SCREENS:
            shown = "mail.example.com" in (await panel.get(screen.base)).text
            assert shown is (screen.setting is Setting.SMTP)


async def test_an_address_that_has_no_page_leads_on(here: Machinery) -> None:
    """One that only takes forms leads to the page with the form; any other says that it is none, to whoever may look."""
    async with here.panel() as panel, here.web() as web:
        await log_in(panel)
        for path, leads_to in (
            (f"{SMTP}/test", SMTP),
            ("/logout", "/"),
            (f"{SMTP}/authorization/cancel", f"{SMTP}/authorization"),
        ):
            answer = await panel.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, leads_to)
        for visitor, path, status in (
            (panel, "/nowhere", 404),
            (web, "/nowhere", 404),
            (panel, "/settings/nowhere", 404),
        ):
            answer = await visitor.get(path)
            assert answer.status_code == status
            assert "There is no such page." in answer.text
        answer = await panel.put("/settings")
        assert answer.status_code == 404
        assert "There is no such page." in answer.text
