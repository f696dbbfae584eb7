"""A person at the panel, in Chromium: finds every control by its printed label, in either language."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect, sync_playwright

from driver import Daemon

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
        "pop_server": "POP3 Server",
        "to": "Recipient",
        "file": "File",
        "subject": "Subject",
        "send": "Send",
        "accepted": "accepted",
        "to_provider": "Go to the provider",
        "continue": "Continue",
        "new_code": "New code",
        "cancel": "Cancel",
        "by_code": "In this browser",
        "no_connection": "No connection to the machine",
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
        "pop_server": "Servidor POP3",
        "to": "Destinatario",
        "file": "Archivo",
        "subject": "Asunto",
        "send": "Enviar",
        "accepted": "aceptado",
        "to_provider": "Ir al proveedor",
        "continue": "Continuar",
        "new_code": "Código nuevo",
        "cancel": "Cancelar",
        "by_code": "En este navegador",
        "no_connection": "Sin conexión",
    },
}
FAX_SCREEN = "image-send-internet-fax"
SMTP_SCREENS = ["network-services-smtp", "network-quick", "alert-smtp", "initial-network-quick"]


@contextmanager
def chromium_browser() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    program = shutil.which("chromium")
    assert program is not None, "chromium is not installed: run tests/peers/install.sh"
    quiet = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--force-prefers-reduced-motion",
        f"--host-resolver-rules=MAP {socket.gethostname()} 127.0.0.1",  # not every machine can find itself by its name
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=quiet)
        yield browser
        browser.close()


def open_page(chromium: Browser, url: str, language: str, scheme: str = "light") -> Page:
    """Open an address in a browser of its own (cookies, language)."""
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


def panel(chromium: Browser, daemon: Daemon, language: str) -> tuple[Page, str]:
    """Open the panel and set the first password; return the page and the panel's address."""
    say = LABELS[language]
    page = open_page(chromium, daemon.json("panel")["url"], language)
    page.get_by_role("link", name=say["settings"]).first.click()
    page.get_by_label(say["new"], exact=True).fill(PASSWORD)
    page.get_by_label(say["again"], exact=True).fill(PASSWORD)
    page.get_by_role("button", name=say["ok"], exact=True).click()
    expect(page.get_by_role("heading", name=say["settings"])).to_be_visible()
    return page, page.url.rsplit("/settings", 1)[0]


def set_smtp(page: Page, base: str, daemon: Daemon, language: str) -> None:
    """Fill in the first SMTP screen by its printed labels, for the sandbox."""
    fill_smtp(page, base, language, port=daemon.place("smtp_port"), account=ANA, provider="sandbox")


def fill_smtp(page: Page, base: str, language: str, *, port: str, account: str, provider: str) -> None:
    """Fill in the first SMTP screen by its printed labels."""
    say = LABELS[language]
    page.goto(f"{base}/settings/{SMTP_SCREENS[0]}")
    page.get_by_label(say["server"]).fill("localhost")
    page.get_by_label(say["port"]).fill(port)
    page.get_by_label(say["sender_name"]).fill("Escáner")
    page.get_by_label(say["sender_address"]).fill(account)
    fill_account(page, language, account=account, provider=provider)


def fill_pop(page: Page, base: str, language: str, *, port: str, account: str, provider: str) -> None:
    """Fill in the Internet Fax screen by its printed labels."""
    say = LABELS[language]
    page.goto(f"{base}/settings/{FAX_SCREEN}")
    page.get_by_label(say["pop_server"]).fill("localhost")
    page.get_by_label(say["port"]).fill(port)
    fill_account(page, language, account=account, provider=provider)


def fill_account(page: Page, language: str, *, account: str, provider: str) -> None:
    """Choose OAuth 2.0, the provider and the account; save."""
    say = LABELS[language]
    page.get_by_text("OAuth 2.0", exact=True).click()
    page.get_by_label(say["provider"]).select_option(provider)
    page.get_by_label(say["account"]).fill(account)
    page.get_by_role("button", name=say["save"]).click()
    page.wait_for_url("**?saved")


def press_get_token(page: Page, language: str) -> None:
    """Press [Get Token] on the screen that is open, and OK."""
    page.get_by_role("button", name=LABELS[language]["get"]).click()
    page.locator("#dialog").get_by_role("button", name=LABELS[language]["ok"], exact=True).click()
    page.wait_for_url("**/authorization")


def sit_down_at_a_desk(chromium: Browser, daemon: Daemon, language: str, screen: str) -> Page:
    """Open a screen of the web page and log in."""
    say = LABELS[language]
    desk = open_page(chromium, daemon.json("status")["web_address"] + f"settings/{screen}", language)
    desk.get_by_label(say["password"]).fill(PASSWORD)
    desk.get_by_role("button", name=say["log_in"]).click()
    return desk


def expect_on_every_smtp_screen(page: Page, base: str, words: str) -> None:
    """The token block of each SMTP screen says the same."""
    for slug in SMTP_SCREENS:
        page.goto(f"{base}/settings/{slug}")
        expect(page.locator("#token-smtp .state")).to_have_text(words)
