"""The guided path, the machine's preferences, the providers' screens: without a browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from asgi_faces import AT_MACHINE, PASSWORD, SMTP, Machinery, blank, csrf, log_in, machinery

from valija.domain.account import Setting
from valija.domain.preferences import Preferences
from valija.domain.settings import SmtpSettings

PATH = "/settings/first-start"
STEP = PATH + "/step/"
PROVIDERS = "/settings/providers"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Machinery]:
    """A machine with an administrator's password and a provider."""
    async with machinery(tmp_path) as made:
        yield made


@pytest.fixture
async def new(tmp_path: Path) -> AsyncIterator[Machinery]:
    """A machine that was just unpacked."""
    async with machinery(tmp_path, new=True) as made:
        yield made


async def _post(browser: httpx2.AsyncClient, page: str, action: str, **fields: str) -> httpx2.Response:
    return await browser.post(action, data=await blank(browser, page) | fields)


async def test_the_path_leads_from_the_password_to_the_token(new: Machinery) -> None:
    """Each step stores what it asks for and leads to the next; what is set already is not asked for again."""
    async with new.panel("es") as panel:
        home = (await panel.get("/")).text
        assert "/login?next=/settings/first-start" in home
        first = await panel.get("/login?next=/settings/first-start")
        assert "Paso 1 de 7" in first.text
        typed = {"csrf": csrf(first.text), "password": PASSWORD, "again": PASSWORD, "next": PATH}
        assert (await panel.post("/login", data=typed)).headers["location"] == PATH
        assert (await panel.get(PATH)).headers["location"] == STEP + "machine"

        machine = {"name": "Ricoh planta 2", "language": "es", "time_zone": "Europe/Madrid", "keyboard": "on"}
        answer = await _post(panel, STEP + "machine", STEP + "machine", **machine)
        assert answer.headers["location"] == STEP + "provider"
        assert (await panel.get(PATH)).headers["location"] == STEP + "provider"
        assert "Ricoh planta 2" in (await panel.get("/")).text

        page = STEP + "provider?kind=microsoft"
        registration = {"kind": "microsoft", "name": "microsoft", "tenant": "example.com", "client_id": "id-1"}
        answer = await _post(panel, page, STEP + "provider", **registration)
        assert answer.headers["location"] == STEP + "smtp?provider=microsoft"
        prefilled = (await panel.get(answer.headers["location"])).text
        assert 'value="smtp.office365.com"' in prefilled
        smtp = {
            "provider": "microsoft",
            "server": "smtp.office365.com",
            "port": "587",
            "sender_address": "a@example.com",
        }
        answer = await _post(panel, STEP + "smtp", STEP + "smtp", sender_name="Escáner", account="", **smtp)
        assert answer.headers["location"] == STEP + "token"
        assert (await panel.get(PATH)).headers["location"] == STEP + "token"
        assert PATH + "/get-token" in (await panel.get(STEP + "token")).text
        settings = await new.machine.settings.load(Setting.SMTP)
        assert (settings.account, settings.auth.value, settings.tls) == ("a@example.com", "oauth2", True)

        assert (await _post(panel, STEP + "mail", STEP + "end")).headers["location"] == "/"
        assert "/settings/first-start" not in (await panel.get("/")).text
    assert (await new.machine.preferences.load()).is_set_up


@pytest.mark.parametrize("step", ["machine", "provider", "provider?kind=google", "smtp", "token", "test", "mail"])
@pytest.mark.parametrize("language", ["en", "es"])
async def test_every_step_is_shown_in_both_languages_and_to_the_administrator_only(
    here: Machinery, step: str, language: str
) -> None:
    """At the panel and at a desk, where the token's step says that it is got at the machine."""
    for browser in (here.panel(language), here.web(language)):
        async with browser:
            assert (await browser.get(STEP + step)).status_code == 303
            await log_in(browser)
            page = await browser.get(STEP + step)
            assert page.status_code == 200
            assert f'<html lang="{language}"' in page.text


async def test_a_step_that_is_refused_keeps_what_was_typed(here: Machinery) -> None:
    """The message stands beside the field, nothing is stored."""
    async with here.panel() as panel:
        await log_in(panel)
        page = await _post(
            panel, STEP + "machine", STEP + "machine", name="x" * 41, language="xx", time_zone="Moon/Sea"
        )
        assert page.status_code == 422
        assert page.text.count('aria-invalid="true"') == 3
        typed = {"server": "a b", "port": "0", "sender_address": "ana", "provider": "nobody"}
        page = await _post(panel, STEP + "smtp", STEP + "smtp", **typed)
        assert page.status_code == 422
        assert page.text.count('aria-invalid="true"') == 3
        assert 'value="a b"' in page.text
        page = await _post(
            panel, STEP + "provider", STEP + "provider", kind="custom", name="A B", issuer="http://x.example"
        )
        assert page.status_code == 422
        assert 'value="A B"' in page.text
        page = await _post(panel, STEP + "mail", STEP + "mail", to="nobody")
        assert page.status_code == 422
    assert await here.machine.preferences.load() == Preferences()
    assert await here.machine.settings.load(Setting.SMTP) == SmtpSettings()


async def test_a_registration_is_added_changed_and_deleted_on_its_screens(here: Machinery) -> None:
    """A secret goes in and is never shown; empty it stays; it can be forgotten."""
    secret = "s3cret-of-google"
    async with here.web() as web:
        await log_in(web)
        assert f"{PROVIDERS}/microsoft" in (await web.get(PROVIDERS)).text
        page = "/settings/new-provider?kind=google"
        answer = await _post(web, page, PROVIDERS, kind="google", name="google", client_id="c1", client_secret=secret)
        assert answer.status_code == 303
        shown = (await web.get(f"{PROVIDERS}/google")).text
        assert 'value="c1"' in shown
        assert secret not in shown
        assert 'name="forget_client_secret"' in shown
        again = await _post(web, page, PROVIDERS, kind="google", name="google", client_id="c2")
        assert again.status_code == 422, "the name is taken"

        await _post(web, f"{PROVIDERS}/google", f"{PROVIDERS}/google", client_id="c3", scopes="a b")
        registration, _profile = await here.machine.providers.load("google")
        assert registration.client_secret is not None
        assert registration.client_secret.reveal() == secret
        assert (registration.client_id, registration.scopes) == ("c3", ("a", "b"))
        await _post(web, f"{PROVIDERS}/google", f"{PROVIDERS}/google", forget_client_secret="on")
        assert (await here.machine.providers.load("google"))[0].client_secret is None

        assert (await web.get(f"{PROVIDERS}/google/delete")).status_code == 200
        await _post(web, f"{PROVIDERS}/google/delete", f"{PROVIDERS}/google/delete")
        assert await here.machine.providers.find("google") is None
        assert (await web.get(f"{PROVIDERS}/google")).status_code == 404


async def test_a_change_that_deletes_a_token_asks_first_and_the_password_stays_here(here: Machinery) -> None:
    """The page that asks does not carry what was typed; a yes counts once, and only from the session that was asked."""
    oauth = {"server": "smtp.office365.com", "auth": "oauth2", "provider": "microsoft", "account": "a@example.com"}
    await here.machine.settings.change(Setting.SMTP, oauth, confirm=False, actor=AT_MACHINE)
    await _pretend_token(here)
    async with here.panel() as panel, here.panel() as other:
        await log_in(panel)
        await log_in(other)
        typed = {"server": "smtp.office365.com", "port": "587", "timeout": "20", "auth": "password", "tls": "on"}
        asked = await _post(
            panel, SMTP, SMTP, provider="", account="b@example.com", password="hidden-password", **typed
        )
        assert asked.status_code == 409
        assert "hidden-password" not in asked.text
        found = re.search(r'name="pending" value="([^"]+)"', asked.text)
        assert found is not None
        assert (await _post(other, SMTP, SMTP, pending=found[1])).status_code == 400
        assert (await here.machine.settings.load(Setting.SMTP)).account == "a@example.com"
        assert (await _post(panel, SMTP, SMTP, pending=found[1])).status_code == 303
        assert (await _post(panel, SMTP, SMTP, pending=found[1])).status_code == 400
    settings = await here.machine.settings.load(Setting.SMTP)
    assert settings.account == "b@example.com"
    assert settings.password is not None
    assert settings.password.reveal() == "hidden-password"
    assert (await here.machine.tokens.state("smtp")).state.name == "not_retrieved"


async def _pretend_token(here: Machinery) -> None:
    from datetime import timedelta

    from valija.domain.account import GrantKind
    from valija.domain.token import Retrieved, TokenSet
    from valija.secret import Secret

    now = here.machine.clock.now()
    tokens = TokenSet(
        access_token=Secret("a"),
        refresh_token=None,
        grant_id="g",
        grant=GrantKind.DEVICE,
        scopes=(),
        obtained_at=now,
        refreshed_at=now,
        expires_at=now + timedelta(hours=1),
    )
    await here.machine.store.replace_token("smtp", 0, Retrieved(tokens), due_at=None)


async def test_times_are_shown_in_the_machines_time_zone(here: Machinery) -> None:
    """And the language of the panel is the machine's, unless the browser chose one."""
    await here.machine.preferences.change({"time_zone": "Asia/Tokyo", "language": "es"}, actor=AT_MACHINE)
    async with here.panel("en") as panel, here.web("en") as web:
        await log_in(panel)
        shown = (await panel.get("/settings/audit")).text
        assert '<html lang="es"' in shown
        now = here.machine.clock.now()
        from zoneinfo import ZoneInfo

        assert f"{now.astimezone(ZoneInfo('Asia/Tokyo')):%Y-%m-%d %H:}" in shown
        assert '<html lang="en"' in (await web.get("/")).text
