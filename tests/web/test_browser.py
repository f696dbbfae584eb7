"""The printed manual followed in Chromium, finding every control by its printed label; and what stands on each screen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from driver import Daemon, decide

PASSWORD = "correct horse 7"
ANA = "ana@sandbox.test"
LABELS = {
    "en": {
        "settings": "Settings (Administrator)",
        "new": "New password",
        "again": "The same once more",
        "ok": "OK",
        "server": "Primary Server",
        "port": "Port Number",
        "sender_name": "Sender Name",
        "sender_address": "Sender Address",
        "provider": "Provider",
        "account": "Account Name",
        "save": "Save",
        "get": "Get Token",
        "delete": "Delete",
        "test": "Connection test",
        "works": "The connection works.",
        "none": "Not retrieved",
        "waiting": "Waiting for authorization",
        "got": "Retrieved",
        "invalid": "Invalid",
        "only_here": "The setup cannot be completed on the web page.",
        "log_in": "Log in",
        "password": "Administrator's password",
    },
    "es": {
        "settings": "Ajustes (administrador)",
        "new": "Contraseña nueva",
        "again": "La misma otra vez",
        "ok": "OK",
        "server": "Servidor Primario",
        "port": "Número de Puerto",
        "sender_name": "Nombre Remit.",
        "sender_address": "Dirección del Remitente",
        "provider": "Proveedor",
        "account": "Nombre de cuenta",
        "save": "Guardar",
        "get": "Obtener token",
        "delete": "Borrar",
        "test": "Prueba de conexión",
        "works": "La conexión funciona.",
        "none": "No se ha recuperado",
        "waiting": "Esperando autorización",
        "got": "Recuperado",
        "invalid": "No válido",
        "only_here": "La configuración no se puede completar en la página web.",
        "log_in": "Iniciar sesión",
        "password": "Contraseña del administrador",
    },
}
SMTP_SCREENS = ["network-services-smtp", "network-quick", "alert-smtp", "initial-network-quick"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    program = shutil.which("chromium")
    assert program is not None, "chromium is not installed: run tests/peers/install.sh"
    quiet = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=quiet)
        yield browser
        browser.close()


def _open(chromium: Browser, url: str, language: str, scheme: str = "light") -> Page:
    context = chromium.new_context(
        viewport={"width": 1024, "height": 600},
        locale=language,
        ignore_https_errors=True,
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.goto(url)
    return page


def _panel(chromium: Browser, daemon: Daemon, language: str) -> tuple[Page, str]:
    """Open the panel and set the first password; return the page and the panel's address."""
    say = LABELS[language]
    page = _open(chromium, daemon.json("panel")["url"], language)
    page.get_by_role("link", name=say["settings"]).first.click()
    page.get_by_label(say["new"], exact=True).fill(PASSWORD)
    page.get_by_label(say["again"], exact=True).fill(PASSWORD)
    page.get_by_role("button", name=say["ok"], exact=True).click()
    expect(page.get_by_role("heading", name=say["settings"])).to_be_visible()
    return page, page.url.rsplit("/settings", 1)[0]


def _set_smtp(page: Page, base: str, daemon: Daemon, language: str) -> None:
    """Fill in the first SMTP screen by its printed labels."""
    say = LABELS[language]
    page.goto(f"{base}/settings/{SMTP_SCREENS[0]}")
    page.get_by_label(say["server"]).fill("localhost")
    page.get_by_label(say["port"]).fill(daemon.place("smtp_port"))
    page.get_by_label(say["sender_name"]).fill("Escáner")
    page.get_by_label(say["sender_address"]).fill(ANA)
    page.get_by_text("OAuth 2.0").click()
    page.get_by_label(say["provider"]).select_option("sandbox")
    page.get_by_label(say["account"]).fill(ANA)
    page.get_by_role("button", name=say["save"]).click()
    page.wait_for_url("**?saved")


def _expect_on_every_smtp_screen(page: Page, base: str, words: str) -> None:
    for slug in SMTP_SCREENS:
        page.goto(f"{base}/settings/{slug}")
        expect(page.locator("#token-smtp .state")).to_have_text(words)


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_manual_is_followed_step_by_step(chromium: Browser, daemon: Daemon, language: str) -> None:
    """Settings, token, the four states on every SMTP screen, connection test, deletion from a desk seen live here."""
    say = LABELS[language]
    page, base = _panel(chromium, daemon, language)
    _set_smtp(page, base, daemon, language)
    _expect_on_every_smtp_screen(page, base, say["none"])

    page.get_by_role("button", name=say["get"]).click()
    page.locator("#dialog").get_by_role("button", name=say["ok"], exact=True).click()
    page.wait_for_url("**/authorization")
    asked = daemon.json("token", "status", "smtp")["authorization"]
    expect(page.locator("output.code")).to_contain_text(asked["user_code"][:4])
    expect(page.locator(".qr img")).to_be_visible()
    other = page.context.new_page()
    _expect_on_every_smtp_screen(other, base, say["waiting"])
    page.reload()
    decide(asked["verification_uri_complete"], ANA)
    expect(page.locator("#waiting")).to_contain_text(say["got"])
    expect(other.locator("#token-smtp .state")).to_have_text(say["got"])
    _expect_on_every_smtp_screen(page, base, say["got"])

    page.get_by_role("button", name=say["test"]).click()
    expect(page.get_by_text(say["works"])).to_be_visible()

    desk = _open(chromium, daemon.json("status")["web_address"] + "settings/alert-smtp", language)
    desk.get_by_label(say["password"]).fill(PASSWORD)
    desk.get_by_role("button", name=say["log_in"]).click()
    expect(desk.get_by_text(say["only_here"])).to_be_visible()
    expect(desk.get_by_role("button", name=say["get"])).to_have_count(0)
    desk.get_by_role("button", name=say["delete"]).click()
    desk.locator("#dialog").get_by_role("button", name=say["ok"], exact=True).click()
    expect(other.locator("#token-smtp .state")).to_have_text(say["none"])
    expect(desk.locator("#token-smtp .state")).to_have_text(say["none"])


def test_a_token_that_turns_invalid_is_seen_while_the_page_is_open(chromium: Browser, daemon: Daemon) -> None:
    """The fourth state: the sandbox forgets the grant, the next refresh proves it."""
    page, base = _panel(chromium, daemon, "en")
    _set_smtp(page, base, daemon, "en")
    daemon.get_token("smtp", ANA)
    page.goto(f"{base}/settings/{SMTP_SCREENS[1]}")
    expect(page.locator("#token-smtp .state")).to_have_text("Retrieved")
    daemon.revoke_at_provider("smtp")
    daemon.run("token", "refresh", "smtp")
    expect(page.locator("#token-smtp .state")).to_have_text("Invalid")
    expect(page.locator("#token-smtp .cure")).to_be_visible()
    expect(page.locator("#lamps")).to_contain_text("Cannot send")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "es"])
def test_no_page_has_a_barrier(chromium: Browser, daemon: Daemon, language: str, scheme: str) -> None:
    """axe-core finds no violation of any impact, in both languages, light and dark."""
    daemon.set_smtp(ANA)
    daemon.get_token("smtp", ANA)
    first, base = _panel(chromium, daemon, language)
    first.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    axe, found = Axe(), []
    slugs = ["settings", "settings/audit", "settings/password", "status", "send", "", "settings/alert-status"]
    for path in [*slugs, f"settings/{SMTP_SCREENS[0]}", f"settings/{SMTP_SCREENS[0]}/delete-token"]:
        first.goto(f"{base}/{path}")
        results = axe.run(first)
        found += [(path, v["id"], v["nodes"][0]["html"][:150]) for v in results.response["violations"]]
    assert found == []


def test_a_large_form_can_be_filled_by_keyboard_alone(chromium: Browser, daemon: Daemon, tmp_path: Path) -> None:
    """Tab reaches every control of a screen in reading order, Enter saves."""
    page, base = _panel(chromium, daemon, "en")
    page.goto(f"{base}/settings/{SMTP_SCREENS[0]}")
    page.get_by_label("Primary Server").focus()
    reached = []
    for _step in range(14):
        reached.append(page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
        if reached[-1] == "auth":
            page.keyboard.press("ArrowLeft")  # round from None to OAuth 2.0: now a provider is asked for
        page.keyboard.press("Tab")
    wanted = ["server", "port", "timeout", "sender_name", "sender_address", "tls", "auth", "provider", "account"]
    assert [name for name in reached if name in wanted] == wanted
    page.get_by_label("Primary Server").fill("mail.example.com")
    page.get_by_label("Primary Server").press("Enter")
    page.wait_for_url("**?saved")
    assert daemon.json("smtp", "show")["fields"]["server"] == "mail.example.com"
