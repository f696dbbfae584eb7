"""Queue and devices by a person's steps, in Chromium, with real mail through the gateway."""

from __future__ import annotations

import re
import smtplib
from typing import Final

import pytest
from panel_driver import ANA, PASSWORD, open_page, panel
from playwright.sync_api import Browser, Page, expect

from driver import Daemon
from printer import Printer

LUIS = "luis@sandbox.test"
SAY: Final = {
    "en": {
        "devices": "Devices",
        "add": "Add a device",
        "name": "Name",
        "ok": "Add",
        "login": "User name",
        "password": "Password",
        "done": "Done",
        "print": "Print",
        "log_in": "Log in",
        "queue": "Mail queue",
        "delivered": "Delivered",
        "waiting": "Waiting",
        "stopped": "Stopped",
        "goes": "Mail goes out",
        "no_token": "There is no token",
        "cannot": "Cannot send",
        "hold": "Hold",
        "release": "Release",
        "held": "Held",
        "hold_all": "Hold all",
        "cancel": "Cancel message",
        "failed": "Failed",
        "search": "Subject or address",
        "find": "Search",
        "off": "Switched off",
        "on": "Switched on",
        "save": "Save",
        "new_password": "New password",
        "sure": "OK",
        "delete": "Delete",
        "none": "No device yet.",
        "test": "Test",
        "tested": "The device can hand in its mail.",
        "to": "Send a test page to",
        "again": "Test again",
        "taken": "The test page was taken",
    },
    "es": {
        "devices": "Equipos",
        "add": "Añadir un equipo",
        "name": "Nombre",
        "ok": "Añadir",
        "login": "Nombre de usuario",
        "password": "Contraseña",
        "done": "Listo",
        "print": "Imprimir",
        "log_in": "Iniciar sesión",
        "queue": "Cola de correo",
        "delivered": "Entregado",
        "waiting": "En espera",
        "stopped": "Detenido",
        "goes": "El correo sale",
        "no_token": "No hay ningún token",
        "cannot": "No puede enviar",
        "hold": "Retener",
        "release": "Liberar",
        "held": "Retenido",
        "hold_all": "Retener todo",
        "cancel": "Cancelar mensaje",
        "failed": "Fallido",
        "search": "Asunto o dirección",
        "find": "Buscar",
        "off": "Apagado",
        "on": "Encendido",
        "save": "Guardar",
        "new_password": "Contraseña nueva",
        "sure": "OK",
        "delete": "Borrar",
        "none": "Todavía no hay equipos.",
        "test": "Probar",
        "tested": "El equipo puede entregar su correo.",
        "to": "Enviar una página de prueba a",
        "again": "Probar otra vez",
        "taken": "Se aceptó la página de prueba",
    },
}
LIVES: Final = {
    "en": [
        "Accepted",
        "The account's mail stopped",
        "Held by administrator",
        "Released by administrator",
        "The account's mail goes on",
        "Delivered",
    ],
    "es": [
        "Aceptado",
        "El correo de la cuenta se detuvo",
        "Retenido por administrador",
        "Liberado por administrador",
        "El correo de la cuenta continúa",
        "Entregado",
    ],
}


def _ready(chromium: Browser, daemon: Daemon, language: str) -> tuple[Page, str]:
    """Return the panel of a machine that can send, with the administrator logged in."""
    daemon.set_smtp()
    daemon.get_token("smtp", ANA)
    page, base = panel(chromium, daemon, language)
    page.goto(base + "/")
    return page, base


def _desk(chromium: Browser, daemon: Daemon, language: str, path: str) -> Page:
    """Open a page from a desk and log in."""
    desk = open_page(chromium, daemon.json("status")["web_address"] + f"login?next={path}", language)
    desk.locator("#f-password").fill(PASSWORD)
    desk.get_by_role("button", name=SAY[language]["log_in"]).click()
    desk.wait_for_url("**" + path)
    return desk


def _typed(page: Page, label: str) -> str:
    """Return what the page says to type for a label."""
    return page.locator(f".credentials dl > div:has(dt:text-is('{label}')) dd").inner_text()


def _add_device(page: Page, language: str, name: str) -> dict[str, str]:
    """Add a device from home; return what the page says to type into it."""
    say = SAY[language]
    page.get_by_role("link", name=say["devices"]).first.click()
    page.get_by_role("button", name=say["add"]).click()
    page.get_by_label(say["name"], exact=True).fill(name)
    page.get_by_role("button", name=say["ok"], exact=True).click()
    page.wait_for_url("**/credentials?once=*")
    made = {"login": _typed(page, say["login"]), "password": _typed(page, say["password"])}
    expect(page.get_by_role("button", name=say["print"])).to_be_visible()
    page.get_by_role("button", name=say["done"]).click()
    page.wait_for_url("**/devices")
    return made


@pytest.mark.parametrize("language", ["en", "es"])
def test_mail_is_followed_from_a_new_device_to_its_delivery(chromium: Browser, daemon: Daemon, language: str) -> None:
    """Added at the panel, seen live from a desk; the token goes and comes back; held, released, cancelled; switched off."""
    say = SAY[language]
    page, base = _ready(chromium, daemon, language)
    made = _add_device(page, language, "Ricoh planta 2")
    printer = Printer(daemon, made)

    desk = _desk(chromium, daemon, language, "/queue")
    desk.get_by_label(say["search"]).fill("fact")
    printer.scan(LUIS, "Contrato")
    row = desk.locator(".mails li", has_text="Contrato")
    expect(row.locator(".state")).to_have_text(say["delivered"])
    expect(row).to_contain_text("Ricoh planta 2")
    expect(desk.get_by_label(say["search"])).to_have_value("fact")
    expect(desk.get_by_label(say["search"])).to_be_focused()

    page.goto(base + "/")
    daemon.ok("token", "delete", "smtp", "--yes")
    printer.scan(LUIS, "Factura")
    expect(page.locator("#alerts [role=alert]")).to_contain_text(say["no_token"])
    expect(page.locator("#lamps")).to_contain_text(say["cannot"])
    expect(desk.locator("#account-smtp .state")).to_have_text(say["stopped"])
    expect(desk.locator(".mails li", has_text="Factura").locator(".state")).to_have_text(say["waiting"])

    desk.get_by_role("button", name=say["find"]).click()
    desk.wait_for_url("**text=fact**")
    expect(desk.locator(".mails li")).to_have_count(1)
    desk.locator(".mails a").click()
    desk.get_by_role("button", name=say["hold"], exact=True).click()
    expect(desk.locator("#message > .headline .state")).to_have_text(say["held"])
    desk.get_by_role("button", name=say["release"]).click()
    expect(desk.locator("#message > .headline .state")).to_have_text(say["waiting"])
    daemon.get_token("smtp", ANA)
    expect(desk.locator("#message > .headline .state")).to_have_text(say["delivered"])
    expect(desk.locator(".life .said")).to_have_text(LIVES[language])
    expect(page.locator("#alerts")).to_be_empty()

    page.get_by_role("link", name=say["queue"]).click()
    page.get_by_role("button", name=say["hold_all"]).click()
    expect(page.locator("#account-smtp .state")).to_have_text(say["held"])
    printer.scan(LUIS, "Nómina")
    page.locator(".mails a", has_text="Nómina").click()
    page.get_by_role("button", name=say["cancel"]).click()
    page.locator("#dialog").get_by_role("button", name=say["cancel"]).last.click()
    expect(page.locator("#message > .headline .state")).to_have_text(say["failed"])
    page.goto(base + "/queue")
    page.get_by_role("button", name=say["release"]).click()
    expect(page.locator("#account-smtp .state")).to_have_text(say["goes"])
    assert [r["state"] for m in daemon.json("queue", "list")["messages"] for r in m["recipients"]] == [
        "failed",
        "delivered",
        "delivered",
    ]
    _end_of_a_device(page, base, language, daemon, printer)


def _play(page: Page, say: dict[str, str]) -> None:
    """Play the device from its page: without mail, and with a test page that goes on its way."""
    page.locator("#devices a").click()
    page.get_by_role("button", name=say["test"], exact=True).click()
    expect(page.get_by_text(say["tested"])).to_be_visible()
    expect(page.locator(".test li[data-outcome=passed]")).to_have_count(6)
    page.get_by_label(say["to"]).fill(LUIS)
    page.get_by_role("button", name=say["again"]).click()
    expect(page.get_by_text(say["taken"])).to_be_visible()
    page.get_by_label(say["to"]).fill("nobody@")
    page.get_by_role("button", name=say["again"]).click()
    expect(page.locator("[aria-invalid=true]")).to_have_count(1)


def test_a_device_is_played_and_what_it_must_trust_is_given_out(chromium: Browser, daemon: Daemon) -> None:
    """Both from the pages; the certificate is the one that the gateway's was signed by."""
    page, base = _ready(chromium, daemon, "es")
    _add_device(page, "es", "Ricoh planta 2")
    page.goto(base + "/devices")
    _play(page, SAY["es"])
    seen = [m["recipients"][0]["state"] for m in daemon.json("queue", "list")["messages"]]
    assert seen in (["queued"], ["in_flight"], ["delivered"])
    page.goto(base + "/devices/ricoh-planta-2/credentials")
    with page.expect_download() as given:
        page.get_by_role("link", name="valija-ca.crt").click()
    authority = given.value.path().read_text()
    assert authority == (daemon.state_dir / "gateway" / "ca.pem").read_text()
    desk = open_page(chromium, daemon.json("status")["web_address"], "es")
    desk.goto(daemon.json("status")["web_address"] + "valija-ca.crt")
    assert "/login" in desk.url, "whoever is not logged in is asked to"


def _end_of_a_device(page: Page, base: str, language: str, daemon: Daemon, printer: Printer) -> None:
    """A new password, switched off, deleted."""
    say = SAY[language]
    page.goto(base + "/devices")
    page.locator("#devices a").click()
    page.get_by_role("button", name=say["new_password"]).click()
    page.locator("#dialog").get_by_role("button", name=say["sure"], exact=True).click()
    page.wait_for_url("**/credentials?once=*")
    newer = Printer(daemon, {"login": _typed(page, say["login"]), "password": _typed(page, say["password"])})
    with pytest.raises(smtplib.SMTPAuthenticationError):
        printer.connect()
    newer.connect().close()
    page.get_by_role("button", name=say["done"]).click()
    page.locator("#devices a").click()
    page.get_by_label(say["on"]).uncheck()
    page.get_by_role("button", name=say["save"]).click()
    expect(page.locator("#devices .state")).to_have_text(say["off"])
    with pytest.raises(smtplib.SMTPAuthenticationError):
        newer.connect()
    page.locator("#devices a").click()
    page.get_by_role("button", name=say["delete"]).click()
    page.locator("#dialog").get_by_role("button", name=say["sure"], exact=True).click()
    expect(page.locator("#devices")).to_contain_text(say["none"])


def test_a_printer_that_nobody_knew_is_let_in_while_the_machine_learns(chromium: Browser, daemon: Daemon) -> None:
    """Its try appears by itself; one key makes a device of it; the countdown runs."""
    page, base = _ready(chromium, daemon, "en")
    page.goto(base + "/devices")
    page.get_by_role("button", name=re.compile("Look for")).click()
    expect(page.locator(".countdown time")).to_have_text(re.compile(r"^(30:00|29:\d\d)$"))
    with pytest.raises(smtplib.SMTPAuthenticationError):
        Printer(daemon, {"login": "canon-3", "password": "factory"}).connect()
    stranger = page.locator("#strangers li", has_text="canon-3")
    expect(stranger).to_be_visible(timeout=15_000)
    expect(page.locator(".countdown time")).to_have_text(re.compile(r"^29:\d\d$"))
    stranger.get_by_role("button", name="Let it in").click()
    page.wait_for_url("**/devices/canon-3/credentials?once=*")
    printer = Printer(daemon, {"login": "canon-3", "password": _typed(page, "Password")})
    printer.scan(LUIS, "Let in")
    page.goto(base + "/queue")
    expect(page.locator(".mails li", has_text="Let in").locator(".state")).to_have_text("Delivered")


def test_without_javascript_all_can_be_done_too(chromium: Browser, daemon: Daemon) -> None:
    """A whole page for each answer; questions are pages of their own."""
    daemon.set_smtp()
    with_script, _base = panel(chromium, daemon, "en")
    with_script.close()
    context = chromium.new_context(java_script_enabled=False, ignore_https_errors=True, locale="en")
    page = context.new_page()
    page.goto(daemon.json("status")["web_address"] + "login?next=/devices")
    page.locator("#f-password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Add a device").click()
    page.get_by_label("Name", exact=True).fill("Ricoh")
    page.get_by_role("button", name="Add", exact=True).click()
    made = {"login": _typed(page, "User name"), "password": _typed(page, "Password")}
    assert not page.get_by_role("button", name="Print").is_visible()
    Printer(daemon, made).scan(LUIS, "By hand")
    page.goto(daemon.json("status")["web_address"] + "queue?text=hand")
    page.locator(".mails a").click()
    page.get_by_role("button", name="Hold", exact=True).click()
    assert page.locator("#message > .headline .state").inner_text() == "Held"
    page.get_by_role("button", name="Cancel message").click()
    page.get_by_role("button", name="Cancel message").click()
    assert page.locator("#message > .headline .state").inner_text() == "Failed"
    context.close()
